"""Lockfiles on disk: written whole, read back the same, and refused when anything is off."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given

from envbuild.errors import LockError
from envbuild.kit.canonical import digest_bytes
from envbuild.kit.places import Cache
from envbuild.lock.files import load_lock, read_siblings, render_lock, write_lock
from envbuild.lock.model import Lock
from envbuild.lock.recall import find_parsed, remember_parsed
from envbuild.lock.rows import order_lock
from tests.rig.locks import FILES, conda, folder_of, locks, make_lock, make_platform, wheel


def _write(folder: Path, lock: Lock | None = None, files: dict[str, bytes] | None = None) -> bool:
    return write_lock(
        folder, lock or make_lock(), name="cpu", files=FILES if files is None else files
    )


def _load(folder: Path, cache: Cache) -> Lock:
    return load_lock(folder, name="cpu", cache=cache)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _state(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {".": (folder.stat().st_mtime_ns, folder.stat().st_ino, b"")}
    for path in sorted(folder.iterdir()):
        found[path.name] = (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes())
    return found


def test_a_lock_is_loaded_as_it_was_written(tmp_path: Path, cache: Cache) -> None:
    folder = folder_of(tmp_path)
    assert _write(folder)
    cold, warm = _load(folder, cache), _load(folder, cache)
    assert cold == warm == order_lock(make_lock())
    assert read_siblings(folder, cold) == FILES


@given(lock=locks)
def test_memory_gives_back_what_was_parsed(
    lock: Lock, tmp_path_factory: pytest.TempPathFactory
) -> None:
    memory = Cache(root=tmp_path_factory.getbasetemp() / "memory")
    data = render_lock(lock, name="cpu").encode()
    remember_parsed(data, order_lock(lock), cache=memory)
    assert find_parsed(data, cache=memory) == order_lock(lock)


def test_writing_the_same_lock_again_touches_nothing(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    _write(folder)
    before = _state(folder)
    assert not _write(folder)
    assert _state(folder) == before


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    _write(folder)
    before = _state(folder)
    assert _write(folder, make_lock(tools={"uv": "0.9.0"}))
    after = _state(folder)
    moved = {file for file in after if file != "." and after[file] != before[file]}
    assert moved == {"envbuild.lock"}


def _smaller() -> tuple[Lock, dict[str, bytes]]:
    """Return a lock without conda and with other pins."""
    files = {"requirements.linux-64.txt": b"httpx==0.28.0\n"}
    part = make_platform(conda=(), wheels=(wheel("httpx", "0.28.0"),))
    digests = {file: digest_bytes(data) for file, data in files.items()}
    return make_lock(platforms={"linux-64": part}, files=digests), files


def test_obsolete_siblings_go_and_other_files_stay(tmp_path: Path, cache: Cache) -> None:
    folder = folder_of(tmp_path)
    _write(folder)
    (folder / "README.md").write_text("why we pin numpy\n")
    lock, files = _smaller()
    assert _write(folder, lock, files)
    assert _names(folder) == ["README.md", "envbuild.lock", "requirements.linux-64.txt"]
    assert _load(folder, cache) == order_lock(lock)


def test_digests_that_are_not_of_the_files_are_a_bug(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="digests"):
        _write(folder_of(tmp_path), files={"conda-lock.yml": b"other"})
    assert not folder_of(tmp_path).exists()


def _load_error(folder: Path, cache: Cache) -> LockError:
    with pytest.raises(LockError) as caught:
        _load(folder, cache)
    return caught.value


@pytest.mark.parametrize("empty", [True, False])
def test_a_missing_lock_names_the_command(tmp_path: Path, cache: Cache, empty: bool) -> None:
    folder = folder_of(tmp_path)
    if empty:
        folder.mkdir(parents=True)
    error = _load_error(folder, cache)
    assert error.code == "lock.missing"
    assert error.hint == "to lock it, run `nox -s lock -- cpu`"


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("file", sorted(FILES))
@pytest.mark.parametrize("harm", ["remove", "edit", "empty"])
def test_a_sibling_that_is_not_the_lock_s_own_is_refused(
    tmp_path: Path, cache: Cache, file: str, harm: str, warm: bool
) -> None:
    folder = folder_of(tmp_path)
    _write(folder)
    if warm:
        _load(folder, cache)
    path = folder / file
    if harm == "remove":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"# note\n" if harm == "edit" else b"")
    error = _load_error(folder, cache)
    assert error.code == "lock.edited"
    assert f"`lockfiles/cpu/{file}`" in error.message
    assert "`nox -s lock -- cpu`" in (error.hint or "")


def test_a_sibling_from_another_lock_is_refused(tmp_path: Path, cache: Cache) -> None:
    folder = folder_of(tmp_path)
    _write(folder)
    (folder / "requirements.osx-64.txt").write_text("rich==1.0\n")
    error = _load_error(folder, cache)
    assert error.code == "lock.edited"
    assert "`lockfiles/cpu/requirements.osx-64.txt`" in error.message
    assert _write(folder)
    assert _load(folder, cache) == order_lock(make_lock())


def test_an_edited_lock_is_refused_also_after_a_warm_load(tmp_path: Path, cache: Cache) -> None:
    folder = folder_of(tmp_path)
    _write(folder)
    _load(folder, cache)
    path = folder / "envbuild.lock"
    path.write_text(path.read_text().replace('"2.1.3"', '"2.1.4"'))
    for _ in range(2):
        assert _load_error(folder, cache).code == "lock.edited"


@pytest.mark.parametrize("harm", [b"", b"{}", b"garbage", None])
def test_a_damaged_memory_is_made_again(tmp_path: Path, cache: Cache, harm: bytes | None) -> None:
    folder = folder_of(tmp_path)
    _write(folder)
    _load(folder, cache)
    (entry,) = cache.locks.iterdir()
    good = entry.read_bytes()
    flipped = good.replace(b'"2.1.3"', b'"2.1.4"')
    assert flipped != good
    entry.write_bytes(flipped if harm is None else harm)
    assert _load(folder, cache) == order_lock(make_lock())
    assert entry.read_bytes() == good


def test_no_cache_is_no_error(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    _write(folder)
    (tmp_path / "file").write_text("")
    assert _load(folder, Cache(root=tmp_path / "file")) == order_lock(make_lock())


@pytest.mark.parametrize("file", ["envbuild.lock", "conda-lock.yml"])
def test_what_the_system_refuses_is_said(tmp_path: Path, cache: Cache, file: str) -> None:
    folder = folder_of(tmp_path)
    _write(folder)
    (folder / file).unlink()
    (folder / file).mkdir()
    error = _load_error(folder, cache)
    assert error.code == "lock.unreadable"
    assert file in error.message
    with pytest.raises(LockError) as caught:
        _write(folder, make_lock(tools={}))
    assert caught.value.code == "lock.unreadable"


@pytest.mark.parametrize(
    "secret",
    [
        "https://robot:hunter2@pkgs.example.com/simple",
        "https://hunter2@pkgs.example.com/simple",
        "https://pkgs.example.com/t/hunter2/forge",
    ],
)
@pytest.mark.parametrize("place", ["sibling", "lock"])
def test_a_secret_never_reaches_a_lockfile(tmp_path: Path, secret: str, place: str) -> None:
    folder = folder_of(tmp_path)
    files = dict(FILES)
    platforms = make_lock().platforms
    if place == "sibling":
        files["requirements.linux-64.txt"] = f"--index-url {secret}\nrich==1.0\n".encode()
    else:
        package = conda("numpy", url=f"{secret}/numpy-1.0-h0_0.conda")
        platforms = {"linux-64": make_platform(conda=(package,))}
    digests = {file: digest_bytes(data) for file, data in files.items()}
    with pytest.raises(LockError) as caught:
        _write(folder, make_lock(files=digests, platforms=platforms), files)
    assert caught.value.code == "lock.secret"
    assert "hunter2" not in str(caught.value)
    assert not folder.exists()


def test_a_reference_to_a_secret_is_welcome(tmp_path: Path, cache: Cache) -> None:
    url = "https://robot:${TOKEN}@pkgs.example.com/t/${OTHER}/forge/numpy-1.0-h0_0.conda"
    lock = make_lock(platforms={"linux-64": make_platform(conda=(conda("numpy", url=url),))})
    _write(folder_of(tmp_path), lock)
    assert _load(folder_of(tmp_path), cache).platforms["linux-64"].conda[0].url == url


# Processes that die, and what a fresh process imports


_CHILD = textwrap.dedent(
    """
    import os, resource, signal, sys
    from pathlib import Path
    from tests.lock.test_files import _smaller
    from envbuild.errors import LockError
    from envbuild.lock.files import write_lock

    folder, how, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    lock, files = _smaller()
    seen = 0

    def count(event, arguments):
        global seen
        if event in ("open", "os.rename", "os.remove", "os.scandir", "os.listdir", "os.chmod"):
            if str(folder) not in str(arguments[0]):
                return
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    if how == "kill":
        sys.addaudithook(count)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
    try:
        write_lock(folder, lock, name="cpu", files=files)
    except LockError as error:
        print(error.code)
    """
)


def _child(folder: Path, how: str, number: int) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder), how, str(number)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def _outcome(folder: Path, cache: Cache, known: dict[str, Lock]) -> str:
    """Return which of the `known` locks the folder holds, or the code of its refusal."""
    try:
        found = _load(folder, cache)
    except LockError as error:
        return f"{error.code}: {error.hint}"
    return next(name for name, lock in known.items() if lock == found)


def test_a_killed_writer_leaves_the_old_lock_the_new_one_or_a_refusal(
    tmp_path: Path, cache: Cache
) -> None:
    """The writer is killed before each thing it does to the folder, one run for each."""
    old, (new, files) = order_lock(make_lock()), _smaller()
    seen = set()
    for number in range(1, 100):
        folder = folder_of(tmp_path / str(number))
        _write(folder)
        child = _child(folder, "kill", number)
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL, child.stderr
        seen.add(_outcome(folder, cache, {"old": old, "new": order_lock(new)}))
        if (folder / "envbuild.lock").read_text() == render_lock(new, name="cpu"):
            # It comes last: where it is the new one, what it speaks of is there.
            assert read_siblings(folder, new) == files
        _write(folder, new, files)
        assert _load(folder, cache) == order_lock(new)
        assert _names(folder) == ["envbuild.lock", "requirements.linux-64.txt"]
    restore = "to keep its versions, restore it with `git checkout -- lockfiles/cpu`"
    anew = "to make the lock anew, run `nox -s lock -- cpu`"
    assert seen == {"old", f"lock.edited: {restore}; {anew}"}
    assert _load(folder, cache) == order_lock(new)


def test_a_full_disk_changes_nothing(tmp_path: Path, cache: Cache) -> None:
    """The size limit lets the small sibling through, and stops the lock itself."""
    folder = folder_of(tmp_path)
    _write(folder)
    before = {name: entry[2] for name, entry in _state(folder).items()}
    child = _child(folder, "limit", 200)
    assert (child.returncode, child.stdout) == (0, "lock.unwritable\n"), child.stderr
    assert {name: entry[2] for name, entry in _state(folder).items()} == before
    assert _load(folder, cache) == order_lock(make_lock())


def test_a_warm_load_and_check_import_nothing_heavy(tmp_path: Path, cache: Cache) -> None:
    folder = folder_of(tmp_path)
    _write(folder)
    _load(folder, cache)
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from envbuild.kit.places import find_cache
        from envbuild.lock.files import load_lock
        from envbuild.lock.freshness import find_staleness
        from envbuild.identity.digest import digest_recipe, plan_recipe
        from envbuild.spec.model import Conda, EnvSpec, Pip

        lock = load_lock(Path(sys.argv[1]), name="cpu", cache=find_cache())
        pip = Pip(dependencies=("httpx[http2]>=0.27,<1 ; python_version >= '3.9'",))
        spec = EnvSpec(python="3.11.*", conda=Conda(dependencies=("numpy 2.*",)), pip=pip)
        assert find_staleness(spec, lock)
        digest_recipe(plan_recipe(spec, lock.platforms["linux-64"]), assembler=1, plan={})
        print(*sorted({name.partition(".")[0] for name in sys.modules}))
        """
    )
    child = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    heavy = {
        "conda_lock", "docker", "nox", "packaging", "piptools", "pip", "rattler", "rich", "tomli",
        "urllib3", "uv", "yaml", "zstandard",
    }  # fmt: skip
    assert not heavy & set(child.stdout.split())
