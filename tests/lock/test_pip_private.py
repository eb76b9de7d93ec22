"""Private indexes as they are: odd passwords, redirects, own authorities, old tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.places import Cache
from envbuild.lock.model import Wheel
from envbuild.lock.wheels import fetch_wheels
from envbuild.spec.model import EnvSpec, Pip
from tests.rig.pip_bench import MINOR, Bench, Heard, find_host
from tests.rig.pip_index import PipIndex
from tests.rig.registry import make_tls

RESOLVERS = pytest.mark.parametrize("resolver", ["pip-tools", "uv"])


def _fetch(wheels: tuple[Wheel, ...], url: str | None, cache: Cache) -> Mapping[str, Path]:
    return fetch_wheels(
        wheels, spec=EnvSpec(python=f"{MINOR}.*", pip=Pip(index_url=url)), platform=find_host(),
        python_minor=MINOR, cache=cache, progress=Heard(), task="cpu",
    )  # fmt: skip


@RESOLVERS
@pytest.mark.parametrize("value", ["a@b:c/d?e#f +50% off&a%2", "pässwörd-密"])
def test_a_password_may_hold_any_character(
    pip_bench: Bench, cache: Cache, monkeypatch: pytest.MonkeyPatch, resolver: str, value: str
) -> None:
    monkeypatch.setenv("ACME_TOKEN", value)
    index = pip_bench.index
    index.login = ("robot", value)
    index.add("app", "1.0")
    url = index.url_with("robot:${ACME_TOKEN}")
    assert _fetch(pip_bench.resolve("app", resolver=resolver, index_url=url).wheels, url, cache)


@RESOLVERS
@pytest.mark.parametrize("moved", ["files", "all"])
def test_a_login_does_not_follow_to_another_host(
    pip_bench: Bench, cache: Cache, monkeypatch: pytest.MonkeyPatch, resolver: str, moved: str
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "hush")
    index = pip_bench.index
    index.login = ("robot", "hush")
    index.add("app", "1.0")
    url = index.url_with("robot:${ACME_TOKEN}")
    with PipIndex() as other:
        other.files = index.files
        # Another name is another host: by its number alone the two differ in nothing but the port.
        place = other.root.replace("127.0.0.1", "localhost")
        index.moved = ("files", place) if moved == "files" else ("all", place)
        assert _fetch(pip_bench.resolve("app", resolver=resolver, index_url=url).wheels, url, cache)
        assert other.requests
        assert set(other.logins) == {""}
    assert any(index.logins)


@pytest.mark.parametrize(
    ("resolver", "variable"),
    [("pip-tools", "PIP_CERT"), ("uv", "SSL_CERT_FILE"), ("uv", "REQUESTS_CA_BUNDLE")],
)
def test_an_index_with_an_authority_of_its_own(
    pip_bench: Bench,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    resolver: str,
    variable: str,
) -> None:
    for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    context, ca = make_tls(tmp_path)
    with PipIndex(tls=context) as index:
        index.add("app", "1.0")
        monkeypatch.setenv(variable, str(ca))
        wheels = pip_bench.resolve("app", resolver=resolver, index_url=index.url).wheels
        assert _fetch(wheels, index.url, cache)


def test_an_authority_that_nobody_named_is_not_trusted(pip_bench: Bench, tmp_path: Path) -> None:
    context, _ = make_tls(tmp_path)
    with PipIndex(tls=context) as index:
        index.add("app", "1.0")
        with pytest.raises(LockError, match="certificate") as failure:
            pip_bench.resolve("app", index_url=index.url)
    assert failure.value.code == "lock.index"


def test_a_token_that_ends_between_lock_and_build(
    pip_bench: Bench, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "hush-old")
    index = pip_bench.index
    index.login = ("robot", "hush-old")
    index.add("app", "1.0")
    url = index.url_with("robot:${ACME_TOKEN}")
    wheels = pip_bench.resolve("app", index_url=url).wheels
    index.login = ("robot", "hush-new")
    with pytest.raises(EnvbuildError, match="with the login in `ACME_TOKEN`") as failure:
        _fetch(wheels, url, cache)
    assert failure.value.code == "lock.index"
    assert "hush" not in str(failure.value)
    monkeypatch.setenv("ACME_TOKEN", "hush-new")
    assert _fetch(wheels, url, cache)


def test_a_token_that_ends_in_mid_download(
    pip_bench: Bench, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "hush")
    index = pip_bench.index
    index.login = ("robot", "hush")
    for name in ("one", "two"):
        index.add(name, "1.0")
    url = index.url_with("robot:${ACME_TOKEN}")
    wheels = pip_bench.resolve("one", "two", index_url=url).wheels

    def revoke() -> None:
        if index.downloads()[-1:] == [wheels[0].filename]:
            index.login = ("robot", "another")

    index.requests.clear()
    index.watch = revoke
    with pytest.raises(EnvbuildError) as failure:
        _fetch(wheels, url, cache)
    assert failure.value.code == "lock.index"
    assert not [path for path in cache.packages.rglob("*") if path.is_file()]


@RESOLVERS
def test_a_login_in_this_machines_pip_settings_stays_there(
    pip_bench: Bench,
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    resolver: str,
) -> None:
    index = pip_bench.index
    index.login = ("robot", "hush-hush")
    index.add("app", "1.0")
    (tmp_path / "pip.conf").write_text(f"[global]\nindex-url = {index.url_with('robot:hush-hush')}")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    solution = pip_bench.resolve("app", resolver=resolver, index_url=None)
    assert "hush" not in solution.text.decode() + repr(solution)
    assert _fetch(solution.wheels, None, cache)
    index.login = ("robot", "another")
    with pytest.raises(LockError, match="this machine's own settings") as failure:
        pip_bench.resolve("app", resolver=resolver, index_url=None)
    assert "hush" not in str(failure.value)
    for folder in (pip_bench.root, cache.root):
        kept = (path for path in folder.rglob("*") if path.is_file())
        assert not [path for path in kept if b"hush-hush" in path.read_bytes()]
