"""A request or an index that can't be used ends in one clear error, never in a traceback."""

from __future__ import annotations

import pytest

from envbuild.errors import EnvbuildError, LockError
from envbuild.lock.pip_failures import find_silent_host
from tests.rig.pip_bench import FOREIGN, MINOR, TAG, Bench, find_host

RESOLVERS = pytest.mark.parametrize("resolver", ["pip-tools", "uv"])


def _fail(bench: Bench, *requirements: str, **options: object) -> LockError:
    with pytest.raises(LockError) as failure:
        bench.resolve(*requirements, **options)  # type: ignore[arg-type]
    text = str(failure.value)
    assert "Traceback" not in text
    assert str(bench.root) not in text
    assert not failure.value.message.endswith(".")
    return failure.value


@RESOLVERS
def test_contradicting_needs_are_explained(pip_bench: Bench, resolver: str) -> None:
    for version in ("1.0", "2.0"):
        pip_bench.index.add("base", version)
    pip_bench.index.add("left", "1.0", "base<2")
    pip_bench.index.add("right", "1.0", "base>=2")
    error = _fail(pip_bench, "left", "right", resolver=resolver)
    assert error.code == "lock.unsatisfiable"
    assert "depend on base<2" in error.message
    assert "depend on base>=2" in error.message
    assert "nox -s lock -- cpu" in str(error.hint)


@RESOLVERS
def test_a_package_that_does_not_exist_is_named(pip_bench: Bench, resolver: str) -> None:
    error = _fail(pip_bench, "no-such-package", resolver=resolver)
    assert error.code == "lock.unsatisfiable"
    assert "no-such-package" in error.message


@RESOLVERS
def test_a_version_that_does_not_exist_is_named(pip_bench: Bench, resolver: str) -> None:
    pip_bench.index.add("one", "1.0")
    error = _fail(pip_bench, "one==9", resolver=resolver)
    assert error.code == "lock.unsatisfiable"
    assert "one==9" in error.message


@RESOLVERS
def test_a_package_with_only_a_source_has_no_wheel(pip_bench: Bench, resolver: str) -> None:
    pip_bench.index.add_sdist("source-only", "1.0")
    error = _fail(pip_bench, "source-only", resolver=resolver)
    assert error.code == "lock.no-wheel"
    assert "`source-only` 1.0 has no wheel for" in error.message
    assert find_host().subdir in error.message
    assert "`source_only-1.0.tar.gz`" in error.message
    assert "conda.dependencies" in str(error.hint)


@RESOLVERS
def test_a_package_for_other_machines_shows_its_files(pip_bench: Bench, resolver: str) -> None:
    pip_bench.index.add("elsewhere", "1.0", tag=f"{TAG}-{TAG}-win_amd64")
    pip_bench.index.add("elsewhere", "1.0", tag="cp39-cp39-macosx_11_0_arm64")
    error = _fail(pip_bench, "elsewhere", resolver=resolver)
    assert error.code == "lock.no-wheel"
    assert f"`elsewhere-1.0-{TAG}-{TAG}-win_amd64.whl`" in error.message
    assert "`elsewhere-1.0-cp39-cp39-macosx_11_0_arm64.whl`" in error.message


@RESOLVERS
def test_a_version_for_other_pythons_says_which(pip_bench: Bench, resolver: str) -> None:
    machine = find_host().machine
    pip_bench.index.add(
        "future", "2.0", tag=f"cp399-cp399-manylinux_2_17_{machine}", requires_python=">=3.99"
    )
    pip_bench.index.add("app", "1.0", "future==2.0")
    for request in ("future==2.0", "app"):
        error = _fail(pip_bench, request, resolver=resolver)
        assert error.code == "lock.no-wheel"
        assert f"`future` 2.0 needs Python >=3.99, and `cpu` has {MINOR}" in error.message
        assert "`python` in `envs/cpu.toml`" in str(error.hint)
        assert "conda" not in str(error.hint)


def test_a_package_that_lacks_the_foreign_wheel_is_named(pip_bench: Bench) -> None:
    here = find_host().machine
    pip_bench.index.add("app", "1.0", "native")
    pip_bench.index.add("native", "1.0", tag=f"{TAG}-{TAG}-manylinux_2_17_{here}")
    assert pip_bench.pins("app") == {"app": "1.0", "native": "1.0"}
    error = _fail(pip_bench, "app", platform=FOREIGN)
    assert error.code == "lock.no-wheel"
    assert f"`native` 1.0 has no wheel for {FOREIGN.subdir}" in error.message
    assert "app depend" in error.message


@RESOLVERS
@pytest.mark.parametrize("status", [401, 403])
def test_an_index_that_refuses_is_not_a_missing_package(
    pip_bench: Bench, resolver: str, status: int
) -> None:
    pip_bench.index.add("one", "1.0")
    pip_bench.index.broken = status
    error = _fail(pip_bench, "one", resolver=resolver)
    assert error.code == "lock.index"
    assert f"refuses access (HTTP {status})" in error.message
    assert pip_bench.index.url in error.message


@RESOLVERS
def test_an_index_out_of_order_is_named(
    pip_bench: Bench, resolver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(monkeypatch)
    pip_bench.index.broken = 500
    error = _fail(pip_bench, "one", resolver=resolver)
    assert error.code == "lock.index"
    assert "HTTP 500" in error.message


@RESOLVERS
def test_an_index_that_is_down_is_named(
    pip_bench: Bench, resolver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _hurry(monkeypatch)
    pip_bench.index.close()
    error = _fail(pip_bench, "one", resolver=resolver)
    assert error.code == "lock.index"
    assert "refused the connection" in error.message


def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pip and uv give up at once, through the settings that users have for that."""
    monkeypatch.setenv("PIP_RETRIES", "0")


@RESOLVERS
def test_an_index_folder_that_is_not_there_is_named(pip_bench: Bench, resolver: str) -> None:
    error = _fail(
        pip_bench, "one", resolver=resolver, index_url="file:///nowhere/that/is/there/simple"
    )
    assert error.code == "lock.index"
    assert "`file:///nowhere/that/is/there/simple`" in error.message


def test_an_unset_credential_is_named(pip_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACME_TOKEN", raising=False)
    with pytest.raises(EnvbuildError) as failure:
        pip_bench.resolve("one", index_url=pip_bench.index.url_with("${ACME_TOKEN}"))
    assert failure.value.code == "credential.unset"
    assert "`ACME_TOKEN`" in failure.value.message


@pytest.mark.parametrize(
    ("said", "host", "why"),
    [
        (
            (
                "error: Request failed after 3 retries\n"
                "  cause: Failed to fetch: `https://user:pw@pkgs.example.com/simple/one/`\n"
                "  cause: dns error\n  cause: Name or service not known\n"
            ),
            "pkgs.example.com",
            ": name or service not known",
        ),
        (
            (
                "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError("
                "\"HTTPSConnection(host='pkgs.example.com', port=443): Failed\")': /simple/one/\n"
                "ERROR: No matching distribution found for one==1.0\n"
            ),
            "pkgs.example.com",
            "",
        ),
    ],
)
def test_the_default_index_is_named_when_it_is_silent(said: str, host: str, why: str) -> None:
    error = find_silent_host(said)
    assert error is not None
    assert error.code == "lock.index"
    assert error.message == f"the package index on `{host}` can't be reached{why}"


def test_a_missing_package_is_no_silent_index() -> None:
    assert find_silent_host("ERROR: No matching distribution found for one==1.0\n") is None
