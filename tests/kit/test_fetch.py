"""Promises of `kit.fetch`: the right bytes or a clear error, and never half a file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envbuild.errors import EnvbuildError
from envbuild.kit.fetch import fetch_file
from envbuild.kit.http import open_pool
from envbuild.kit.retry import Patience
from tests.rig.scripted import Handler, ScriptedServer, answer, cut, hang

DATA = b"wheel" * 100_000
SHA = hashlib.sha256(DATA).hexdigest()
QUICK = Patience(delay=0.01, longest=0.05, read=0.3)


class Watch:
    """A progress that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        self.seen.append((task, done, total))

    def finish(self, task: str, outcome: str) -> None:
        raise AssertionError("whoever began the task ends it")

    def note(self, text: str) -> None:
        raise AssertionError(text)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(files={"/a.whl": DATA}).running() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "packages" / SHA / "a.whl"


def fetch(urls: list[str], target: Path, sha256: str = SHA) -> Path:
    pool = open_pool(patience=QUICK)
    try:
        return fetch_file(urls, sha256=sha256, target=target, pool=pool, patience=QUICK)
    finally:
        pool.clear()


def leftovers(target: Path) -> list[str]:
    """Return all that lies beside the target."""
    folder = target.parent
    return sorted(p.name for p in folder.iterdir() if p != target) if folder.is_dir() else []


def test_a_file_is_fetched_and_its_progress_told(server: ScriptedServer, target: Path) -> None:
    watch = Watch()
    urls = [f"{server.url}/a.whl"]
    found = fetch_file(urls, sha256=SHA, target=target, size=len(DATA), progress=watch, task="cpu")
    assert found == target
    assert target.read_bytes() == DATA
    assert watch.seen[-1] == ("cpu", len(DATA), len(DATA))
    assert leftovers(target) == []


def test_a_file_that_is_there_is_not_asked_for(server: ScriptedServer, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(DATA)
    fetch([f"{server.url}/a.whl"], target)
    assert server.seen == []


def test_a_damaged_file_is_fetched_anew(server: ScriptedServer, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(DATA[:-1] + b"?")
    fetch([f"{server.url}/a.whl"], target)
    assert target.read_bytes() == DATA


def test_a_local_file_will_do(tmp_path: Path, target: Path) -> None:
    (tmp_path / "a file.whl").write_bytes(DATA)
    fetch([(tmp_path / "a file.whl").as_uri()], target)
    assert target.read_bytes() == DATA


@pytest.mark.parametrize("status", [404, 403, 500, 418])
def test_the_next_place_is_asked(server: ScriptedServer, target: Path, status: int) -> None:
    server.script("GET", "/mirror/", answer(status), forever=True)
    fetch([f"{server.url}/mirror/a.whl", f"{server.url}/a.whl"], target)
    assert target.read_bytes() == DATA


def test_a_mirror_with_other_bytes_is_passed_over(server: ScriptedServer, target: Path) -> None:
    server.files["/mirror/a.whl"] = b"something else"
    fetch([f"{server.url}/mirror/a.whl", f"{server.url}/a.whl"], target)
    assert target.read_bytes() == DATA


def test_a_file_that_is_nowhere_is_gone(server: ScriptedServer, target: Path) -> None:
    urls = [f"{server.url}/x/a.whl", f"{server.url}/y/a.whl", "file:///nowhere/a.whl"]
    with pytest.raises(EnvbuildError) as caught:
        fetch(urls, target)
    assert caught.value.code == "fetch.gone"
    assert all(url in caught.value.message for url in urls)
    assert len(server.seen) == 2
    assert leftovers(target) == []


def test_other_bytes_are_refused_with_both_hashes(server: ScriptedServer, target: Path) -> None:
    server.files["/a.whl"] = b"something else"
    with pytest.raises(EnvbuildError) as caught:
        fetch([f"{server.url}/a.whl"], target)
    assert caught.value.code == "fetch.hash-mismatch"
    for part in ("a.whl", SHA, hashlib.sha256(b"something else").hexdigest()):
        assert part in caught.value.message
    assert not target.exists()
    assert leftovers(target) == []


def test_other_bytes_count_more_than_a_missing_file(server: ScriptedServer, target: Path) -> None:
    server.files["/a.whl"] = b"something else"
    with pytest.raises(EnvbuildError) as caught:
        fetch([f"{server.url}/a.whl", f"{server.url}/b.whl"], target)
    assert caught.value.code == "fetch.hash-mismatch"


@pytest.mark.parametrize(
    "trouble",
    [answer(503), answer(500), answer(429, Retry_After="0"), cut(), hang],
    ids=["503", "500", "429", "cut", "hang"],
)
def test_what_may_pass_is_tried_again(
    server: ScriptedServer, target: Path, trouble: object
) -> None:
    server.script("GET", "/a.whl", trouble, trouble)  # type: ignore[arg-type]
    fetch([f"{server.url}/a.whl"], target)
    assert target.read_bytes() == DATA
    assert len(server.seen) == 3


def test_a_body_that_breaks_off_is_fetched_anew(server: ScriptedServer, target: Path) -> None:
    def half(handler: Handler) -> None:
        handler.reply(200, DATA[:1000], {"Content-Length": str(len(DATA))})
        handler.close_connection = True

    server.script("GET", "/a.whl", half)
    fetch([f"{server.url}/a.whl"], target)
    assert target.read_bytes() == DATA


def test_what_does_not_pass_is_given_up(server: ScriptedServer, target: Path) -> None:
    server.script("GET", "/a.whl", answer(503), forever=True)
    with pytest.raises(EnvbuildError, match="503") as caught:
        fetch([f"{server.url}/a.whl"], target)
    assert caught.value.code == "fetch.failed"
    assert len(server.seen) == QUICK.attempts


def test_a_closed_port_is_an_error_in_words(target: Path) -> None:
    with pytest.raises(EnvbuildError, match="refused the connection") as caught:
        fetch(["http://127.0.0.1:1/a.whl"], target)
    assert caught.value.code == "fetch.failed"


def test_credentials_are_sent_and_never_shown(
    server: ScriptedServer, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "s3cret")
    server.script("GET", "/a.whl", answer(401))
    with pytest.raises(EnvbuildError) as caught:
        fetch([f"http://me:${{ACME_TOKEN}}@{server.host}/a.whl"], target)
    assert caught.value.code == "fetch.unauthorised"
    assert "s3cret" not in str(caught.value)
    assert "with the login in `ACME_TOKEN`" in caught.value.message
    assert "`export ACME_TOKEN=...`" in str(caught.value.hint)
    assert "ACME_TOKEN}@" not in caught.value.message
    assert server.seen[0].headers["Authorization"] == "Basic bWU6czNjcmV0"
    assert server.seen[0].path == "/a.whl"


def test_many_threads_may_fetch_the_same_file(server: ScriptedServer, target: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        urls = [f"{server.url}/a.whl"]
        found = list(pool.map(lambda _: fetch(urls, target).read_bytes(), range(16)))
    assert set(found) == {DATA}
    assert leftovers(target) == []


def test_a_full_disk_is_named_and_left_clean(server: ScriptedServer, small_disk: Path) -> None:
    target = small_disk / "a.whl"
    with pytest.raises(EnvbuildError, match=r"small/a\.whl") as caught:
        fetch([f"{server.url}/a.whl"], target)
    assert caught.value.code == "disk.full"
    assert list(small_disk.iterdir()) == []
