"""Fetching locked wheels: exactly the locked bytes, once, whole, or a clear error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from envbuild.errors import LockError
from envbuild.kit.canonical import digest_file
from envbuild.kit.places import Cache
from envbuild.lock.model import Wheel
from envbuild.lock.wheels import fetch_wheels
from envbuild.spec.model import EnvSpec, Pip
from tests.rig.pip_bench import FOREIGN, MINOR, TAG, Heard, find_host
from tests.rig.pip_index import IndexFile, PipIndex
from tests.rig.processes import list_commands


def _wheel(file: IndexFile) -> Wheel:
    return Wheel(
        name=file.name,
        version=file.version,
        filename=file.filename,
        sha256=file.sha256,
        size=len(file.data),
    )


def _fetch(
    index: PipIndex, cache: Cache, *wheels: Wheel, heard: Heard | None = None
) -> Mapping[str, Path]:
    return fetch_wheels(
        wheels, spec=EnvSpec(python=f"{MINOR}.*", pip=Pip(index_url=index.url)),
        platform=find_host(), python_minor=MINOR, cache=cache, progress=heard or Heard(),
        task="cpu",
    )  # fmt: skip


def _fail(index: PipIndex, cache: Cache, *wheels: Wheel) -> LockError:
    with pytest.raises(LockError) as failure:
        _fetch(index, cache, *wheels)
    assert [p.name for p in cache.packages.iterdir()] == []
    return failure.value


def test_wheels_come_whole_and_verified(pip_index: PipIndex, cache: Cache) -> None:
    files = [pip_index.add("one", "1.0"), pip_index.add("Two.Three", "2.0", "one")]
    heard = Heard()
    found = _fetch(pip_index, cache, *map(_wheel, files), heard=heard)
    for file in files:
        path = found[file.sha256]
        assert path == cache.packages / file.sha256 / file.filename
        assert path.read_bytes() == file.data
    assert [p for p in cache.packages.iterdir() if p.name.startswith(".")] == []
    assert heard.updates[0][2:] == (0, sum(len(file.data) for file in files))


def test_what_is_there_is_not_asked_for_again(pip_index: PipIndex, cache: Cache) -> None:
    one, two = pip_index.add("one", "1.0"), pip_index.add("two", "1.0")
    _fetch(pip_index, cache, _wheel(one))
    pip_index.requests.clear()
    again = _fetch(pip_index, cache, _wheel(one))
    assert set(again) == {one.sha256}
    assert pip_index.requests == []
    _fetch(pip_index, cache, _wheel(one), _wheel(two))
    assert pip_index.downloads() == [two.filename]


def test_many_wheels_are_fetched_by_two_pips(pip_index: PipIndex, cache: Cache) -> None:
    files = [pip_index.add(f"package-{n}", "1.0") for n in range(9)]
    found = _fetch(pip_index, cache, *map(_wheel, files))
    assert {p.read_bytes() for p in found.values()} == {file.data for file in files}
    assert sorted(pip_index.downloads()) == sorted(file.filename for file in files)


def test_foreign_and_odd_wheels_are_fetched_as_locked(pip_index: PipIndex, cache: Cache) -> None:
    files = [
        pip_index.add("one", "1.0", tag=f"{TAG}-{TAG}-manylinux_2_28_{FOREIGN.machine}"),
        pip_index.add("two", "1.0+cpu", tag=f"cp32-abi3-manylinux_2_17_{FOREIGN.machine}"),
        pip_index.add("three", "2.0rc1", tag="py2.py3-none-any", requires_python=">=99"),
        pip_index.add("four", "1.0", yanked=True),
    ]
    for file in files:
        pip_index.add(file.name, f"{file.version}.post1" if "+" not in file.version else "2.0")
        pip_index.add(file.name, file.version, tag="py3-none-any")
    found = _fetch(pip_index, cache, *map(_wheel, files))
    assert {p.name for p in found.values()} == {file.filename for file in files}


def test_a_better_wheel_of_the_version_is_not_taken(pip_index: PipIndex, cache: Cache) -> None:
    locked = pip_index.add("one", "1.0")
    pip_index.add("one", "1.0", tag=f"{TAG}-{TAG}-linux_{find_host().machine}")
    found = _fetch(pip_index, cache, _wheel(locked))
    assert [p.name for p in found.values()] == [locked.filename]


def test_other_bytes_under_the_locked_name_are_refused(pip_index: PipIndex, cache: Cache) -> None:
    file = pip_index.add("one", "1.0", served=b"something else")
    error = _fail(pip_index, cache, _wheel(file))
    assert error.code == "lock.hash-mismatch"
    assert "`one-1.0-py3-none-any.whl`" in error.message
    assert "nox -s lock -- cpu --upgrade-package one" in str(error.hint)


def test_a_wrong_size_is_refused(pip_index: PipIndex, cache: Cache) -> None:
    """The size decides which wheels share a layer, and is no part of the tag."""
    wheel = _wheel(pip_index.add("one", "1.0"))
    error = _fail(pip_index, cache, replace(wheel, size=wheel.size + 1))
    assert error.code == "lock.wrong-size"
    assert f"{wheel.size} bytes" in error.message


def test_what_a_killed_download_left_is_removed_after_a_day(
    pip_index: PipIndex, cache: Cache
) -> None:
    old, new = cache.packages / ".wheels-a.part", cache.packages / ".wheels-b.part"
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "half.whl").write_bytes(b"half")
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    _fetch(pip_index, cache, _wheel(pip_index.add("one", "1.0")))
    assert not old.exists()
    assert new.exists()


def test_a_file_that_was_replaced_is_refused(pip_index: PipIndex, cache: Cache) -> None:
    locked = _wheel(pip_index.add("one", "1.0"))
    pip_index.add("one", "1.0", files={"one.py": b"evil = True\n"})
    error = _fail(pip_index, cache, locked)
    assert error.code == "lock.hash-mismatch"


def test_a_package_that_is_gone_is_named(pip_index: PipIndex, cache: Cache) -> None:
    one, two = pip_index.add("one", "1.0"), pip_index.add("two", "1.0")
    pip_index.remove(two)
    error = _fail(pip_index, cache, _wheel(one), _wheel(two))
    assert error.code == "lock.artifact-gone"
    assert "`two-1.0-py3-none-any.whl`" in error.message
    assert "nox -s lock -- cpu --upgrade-package two" in str(error.hint)


def test_a_wheel_of_another_name_is_no_substitute(pip_index: PipIndex, cache: Cache) -> None:
    file = pip_index.add("one", "1.0")
    renamed = replace(_wheel(file), filename="one-1.0-py2.py3-none-any.whl")
    error = _fail(pip_index, cache, renamed)
    assert error.code == "lock.artifact-gone"


def test_one_failure_among_many_keeps_nothing_half(pip_index: PipIndex, cache: Cache) -> None:
    files = [pip_index.add(f"package-{n}", "1.0") for n in range(6)]
    files.append(pip_index.add("bad", "1.0", served=b"something else"))
    error = _fail(pip_index, cache, *map(_wheel, files))
    assert error.code == "lock.hash-mismatch"
    assert "bad-1.0" in error.message


@pytest.mark.parametrize("status", [401, 500])
def test_an_index_that_refuses_is_not_a_missing_file(
    pip_index: PipIndex, cache: Cache, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_RETRIES", "0")
    file = pip_index.add("one", "1.0")
    pip_index.broken = status
    error = _fail(pip_index, cache, _wheel(file))
    assert error.code == "lock.index"
    assert f"HTTP {status}" in error.message


def test_a_damaged_cache_entry_is_fetched_again(pip_index: PipIndex, cache: Cache) -> None:
    wheel = _wheel(pip_index.add("one", "1.0"))
    path = _fetch(pip_index, cache, wheel)[wheel.sha256]
    path.write_bytes(b"cut")
    assert digest_file(_fetch(pip_index, cache, wheel)[wheel.sha256]) == f"sha256:{wheel.sha256}"


def test_concurrent_fetches_share_a_cache(pip_index: PipIndex, cache: Cache) -> None:
    wheels = [_wheel(pip_index.add(f"package-{n}", "1.0")) for n in range(3)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda _: _fetch(pip_index, cache, *wheels), range(3)))
    assert results[0] == results[1] == results[2]
    for wheel in wheels:
        assert digest_file(results[0][wheel.sha256]) == f"sha256:{wheel.sha256}"
    assert {p.name for p in cache.packages.iterdir()} == {wheel.sha256 for wheel in wheels}


def test_ctrl_c_ends_the_download_and_leaves_nothing(pip_index: PipIndex, cache: Cache) -> None:
    wheels = [_wheel(pip_index.add(f"package-{n}", "1.0")) for n in range(6)]
    asked, ended = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        ended.wait(60)

    pip_index.watch = hang
    program = (
        "from pathlib import Path\n"
        "from envbuild.kit.places import Cache\n"
        "from envbuild.kit.progress import Silent\n"
        "from envbuild.lock.model import Wheel\n"
        "from envbuild.lock.wheels import fetch_wheels\n"
        "from envbuild.spec.model import EnvSpec, Pip\n"
        "from envbuild.spec.platforms import PLATFORMS\n"
        f"fetch_wheels({wheels!r}, spec=EnvSpec(python='3', pip=Pip(index_url={pip_index.url!r})),"
        f" platform=PLATFORMS[{find_host().subdir!r}], python_minor={MINOR!r},"
        f" cache=Cache(root=Path({str(cache.root)!r})), progress=Silent(), task='cpu')\n"
    )
    try:
        with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE) as child:
            assert asked.wait(60)
            child.send_signal(signal.SIGINT)
            _, stderr = child.communicate(timeout=60)
    finally:
        ended.set()
    assert b"KeyboardInterrupt" in stderr
    assert list(cache.packages.iterdir()) == []
    assert not _find_processes(str(cache.packages))


def _find_processes(text: str) -> list[str]:
    """Return the commands of running processes that have `text` in their arguments."""
    return [
        command.decode("utf-8", "replace")
        for pid, command in list_commands()
        if text.encode() in command and pid != os.getpid()
    ]
