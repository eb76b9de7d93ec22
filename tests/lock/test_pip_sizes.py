"""A wheel's size is in the lock, whether or not its index tells it."""

from __future__ import annotations

import pytest

from tests.rig.pip_bench import Bench


def _check(bench: Bench, index_url: str = "") -> None:
    wheels = bench.resolve("app", index_url=index_url).wheels
    assert [wheel.name for wheel in wheels] == ["app", "one"]
    for wheel in wheels:
        file = bench.index.find(wheel.filename)
        assert file is not None
        assert (wheel.sha256, wheel.size) == (file.sha256, len(file.data))


@pytest.fixture
def bench(pip_bench: Bench) -> Bench:
    pip_bench.index.add("app", "1.0", "one")
    pip_bench.index.add("one", "1.0", files={"one.py": b"pass\n" * 5000})
    pip_bench.index.with_sizes = False
    return pip_bench


def test_sizes_are_asked_for_where_an_index_does_not_tell(bench: Bench) -> None:
    _check(bench)
    assert [method for method, _ in bench.index.requests].count("HEAD") == 2
    assert bench.index.downloads() == []


def test_an_index_of_plain_html_will_do(bench: Bench) -> None:
    bench.index.html_only = True
    _check(bench)


def test_an_index_without_hashes_will_do(bench: Bench) -> None:
    bench.index.with_hashes = False
    _check(bench)


def test_sizes_are_asked_for_with_the_credentials_of_the_index(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "pass:word")
    bench.index.login = ("robot", "pass:word")
    _check(bench, bench.index.url_with("robot:${ACME_TOKEN}"))
    assert bench.index.downloads() == []


def test_a_wheel_is_downloaded_if_nothing_else_tells_its_size(bench: Bench) -> None:
    bench.index.without_head = True
    _check(bench)
    assert sorted(bench.index.downloads()) == sorted(
        name for files in bench.index.files.values() for name in files
    )
