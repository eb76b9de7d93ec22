"""Where packages come from: the spec, else pip's configuration, for every resolver alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuild.lock.pip_indexes import find_indexes, pip_environment, uv_environment
from envbuild.spec.model import EnvSpec, Pip
from tests.rig.pip_bench import Bench
from tests.rig.pip_index import PipIndex

RESOLVERS = pytest.mark.parametrize("resolver", ["pip-tools", "uv"])


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    return Configure(tmp_path / "pip.conf", monkeypatch)


class Configure:
    """Gives pip a configuration file, in place of all that this machine has."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        for name in ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX"):
            monkeypatch.delenv(f"PIP_{name}", raising=False)
        monkeypatch.setenv("PIP_CONFIG_FILE", str(path))
        monkeypatch.setenv("HOME", str(path.parent))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(path.parent))

    def __call__(self, text: str) -> None:
        self.path.write_text(text)


def _find(tmp_path: Path, **options: object) -> dict[str, dict[str, str]]:
    spec = EnvSpec(python="3.11.*", pip=Pip(**options))  # type: ignore[arg-type]
    indexes = find_indexes(spec, logs=tmp_path)
    return {"pip": pip_environment(indexes), "uv": uv_environment(indexes)}


@RESOLVERS
def test_pips_configuration_counts_where_the_spec_names_no_index(
    pip_bench: Bench, configure: Configure, resolver: str
) -> None:
    pip_bench.index.add("one", "1.0")
    configure(f"[global]\nindex-url = {pip_bench.index.url}\n")
    assert pip_bench.pins("one", resolver=resolver, index_url=None) == {"one": "1.0"}


@RESOLVERS
def test_the_best_version_of_all_indexes_is_locked(
    pip_bench: Bench, configure: Configure, resolver: str
) -> None:
    configure(f"[global]\nindex-url = {pip_bench.index.url}\n")
    pip_bench.index.add("one", "1.0")
    pip_bench.index.add("two", "3.0")
    with PipIndex() as more:
        more.add("one", "2.0")
        more.add("two", "2.0")
        pins = pip_bench.pins("one", "two", resolver=resolver, index_url=None, extra=(more.url,))
    assert pins == {"one": "2.0", "two": "3.0"}


@RESOLVERS
def test_an_index_of_the_spec_replaces_the_machines(
    pip_bench: Bench, configure: Configure, resolver: str
) -> None:
    pip_bench.index.add("one", "1.0")
    with PipIndex() as machines:
        machines.add("one", "99.0")
        links = configure.path.parent / "links"
        links.mkdir()
        file = machines.add("one", "98.0")
        (links / file.filename).write_bytes(file.data)
        configure(f"[global]\nextra-index-url = {machines.url}\nfind-links = {links}\n")
        assert pip_bench.pins("one", resolver=resolver) == {"one": "1.0"}
        assert machines.requests == []


@RESOLVERS
def test_a_folder_of_links_is_searched_and_not_told(
    pip_bench: Bench, configure: Configure, resolver: str
) -> None:
    links = configure.path.parent / "my,links"
    links.mkdir()
    file = pip_bench.index.add("one", "1.0")
    (links / file.filename).write_bytes(file.data)
    pip_bench.index.remove(file)
    configure(f"[global]\nindex-url = {pip_bench.index.url}\nfind-links =\n  {links}\n")
    solution = pip_bench.resolve("one", resolver=resolver, index_url=None)
    (wheel,) = solution.wheels
    assert (wheel.sha256, wheel.size) == (file.sha256, len(file.data))
    assert b"links" not in solution.text


@RESOLVERS
def test_an_index_can_be_a_folder(pip_bench: Bench, resolver: str) -> None:
    folder = pip_bench.root / "folder index" / "one"
    folder.mkdir(parents=True)
    file = pip_bench.index.add("one", "1.0")
    (folder / file.filename).write_bytes(file.data)
    link = f'<a href="{file.filename}#sha256={file.sha256}">{file.filename}</a>'
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
    url = folder.parent.as_uri()
    (wheel,) = pip_bench.resolve("one", resolver=resolver, index_url=url).wheels
    assert (wheel.filename, wheel.size) == (file.filename, len(file.data))


@RESOLVERS
def test_variables_that_would_change_the_answer_are_not_heard(
    pip_bench: Bench, resolver: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip_bench.index.add("one", "1.0")
    pip_bench.index.add("one", "2.0rc1")
    limits = tmp_path / "limits.txt"
    limits.write_text("one<1\n")
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_CONSTRAINT", str(limits))
        monkeypatch.setenv(f"{tool}_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_PRE", "1")
    monkeypatch.setenv("UV_PRERELEASE", "allow")
    monkeypatch.setenv("UV_INDEX", "http://127.0.0.1:9/simple")
    assert pip_bench.pins("one", resolver=resolver) == {"one": "1.0"}


def test_ways_to_reach_an_index_are_translated_for_uv(
    tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_CERT", "/certs/all.pem")
    monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "77")
    monkeypatch.delenv("PIP_TIMEOUT", raising=False)
    configure(
        "[global]\nproxy = http://proxy.example.com:3128\nretries = 2\n"
        "trusted-host =\n  a.example.com\n  b.example.com\n[install]\nno-compile = true\n"
    )
    environment = _find(tmp_path, index_url="https://pkgs.example.com/simple")
    uv, pip = environment["uv"], environment["pip"]
    assert uv["SSL_CERT_FILE"] == pip["PIP_CERT"] == "/certs/all.pem"
    assert uv["UV_HTTP_TIMEOUT"] == pip["PIP_TIMEOUT"] == "77"
    assert uv["UV_HTTP_RETRIES"] == pip["PIP_RETRIES"] == "2"
    assert uv["UV_INSECURE_HOST"] == pip["PIP_TRUSTED_HOST"] == "a.example.com b.example.com"
    assert uv["HTTPS_PROXY"] == pip["PIP_PROXY"] == "http://proxy.example.com:3128"
    assert uv["UV_DEFAULT_INDEX"] == pip["PIP_INDEX_URL"] == "https://pkgs.example.com/simple"
    assert "PIP_NO_COMPILE" not in pip


def test_a_credential_is_quoted_and_known_as_a_secret(
    tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("")
    monkeypatch.setenv("TOKEN", "a:b/c@d%e")
    url = "https://robot:${TOKEN}@pkgs.example.com/simple"
    spec = EnvSpec(python="3.11.*", pip=Pip(index_url=url))
    indexes = find_indexes(spec, logs=tmp_path)
    assert indexes.index_url == "https://robot:a%3Ab%2Fc%40d%25e@pkgs.example.com/simple"
    assert {"a:b/c@d%e", "a%3Ab%2Fc%40d%25e"} <= set(indexes.secrets)
    assert "robot" not in indexes.secrets
    assert "a:b" not in repr(indexes)
    assert "a%3A" not in repr(indexes)


def test_a_lone_user_name_may_be_a_token(
    tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure("[global]\nextra-index-url = https://machine-token@pkgs.example.com/more\n")
    monkeypatch.setenv("TOKEN", "spec-token")
    spec = EnvSpec(
        python="3.11.*", pip=Pip(extra_index_urls=("https://${TOKEN}@pkgs.example.com/simple",))
    )
    indexes = find_indexes(spec, logs=tmp_path)
    assert set(indexes.secrets) == {"machine-token", "spec-token"}
    assert [url.rsplit("/", 1)[1] for url in indexes.extra_urls] == ["more", "simple"]
