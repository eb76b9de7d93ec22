"""The promises of the compiling process: the same bytes whatever came before, and no hang."""

from __future__ import annotations

import ast
import importlib.util
import marshal
import os
import random
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

from envbuild.errors import ImageError
from envbuild.kit.process import stop_tools
from envbuild.layers.bytecode import Compiler
from envbuild.layers.compiler import Interpreter, ask_interpreter, find_fault
from tests.layers.modules import VERSION
from tests.rig.need import missing


def test_it_is_unchecked_and_says_where_the_source_is(compiler: Compiler) -> None:
    source = b"def f():\n    def g(): assert __debug__\n"
    made = compiler.compile("/opt/env/a b/\udcff.py", source)
    assert made is not None
    assert made[:4] == importlib.util.MAGIC_NUMBER
    assert made[4:8] == b"\1\0\0\0"
    assert made[8:16] == importlib.util.source_hash(source)
    codes = [marshal.loads(made[16:])]
    while codes:
        code = codes.pop()
        assert code.co_filename == "/opt/env/a b/\udcff.py"
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]


def test_it_is_what_pythons_own_compiler_makes(compiler: Compiler, tmp_path: Path) -> None:
    source = Path(ast.__file__).read_bytes()
    made = compiler.compile("/opt/ast.py", source)
    assert made is not None
    theirs = compile(source, "/opt/ast.py", "exec", dont_inherit=True)
    assert marshal.loads(made[16:]) == theirs


def test_warnings_and_debugging_are_nobodys_affair(
    compiler: Compiler, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = b"assert (1, 'x')\n'\\d'\nx = 1 is 1\n"
    plain = compiler.compile("/a.py", source)
    for name, value in {
        "PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error", "PYTHONHASHSEED": "7",
        "PYTHONPATH": "/nowhere", "PYTHONHOME": "/nowhere", "PYTHONSTARTUP": "/nowhere",
        "PYTHONVERBOSE": "1", "LC_ALL": "C",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with Compiler([sys.executable], version=VERSION) as other:
        assert other.compile("/a.py", source) == plain is not None
    assert capfd.readouterr() == ("", "")


def test_modules_beside_us_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("marshal", "struct", "importlib", "unicodedata", "contextlib", "signal"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Compiler([sys.executable], version=VERSION) as compiler:
        assert compiler.compile("/a.py", b"") is not None


def test_order_and_company_change_nothing(library: dict[str, bytes]) -> None:
    """Each module alone in a process gives what it gives among hundreds, in any order."""
    names = list(library)
    made: list[dict[str, bytes | None]] = []
    for seed in (1, 2):
        random.Random(seed).shuffle(names)
        files = [(f"/usr/lib/{name}", library[name]) for name in names]
        with Compiler([sys.executable], version=VERSION) as compiler:
            made.append(dict(zip(names, compiler.compile_many(files), strict=True)))
    assert made[0] == made[1]
    for name in random.Random(3).sample(names, 25):
        with Compiler([sys.executable], version=VERSION) as compiler:
            assert compiler.compile(f"/usr/lib/{name}", library[name]) == made[0][name], name


_TRICKS = {
    # What made bytes depend on other files, each in some version of Python.
    "one-character strings, interned by a format or an attribute": "a = '{'; b = ['.', '*', ' ']",
    "names that all modules share": "import os, sys\ndef f(self, name): return self.name",
    "sets, written in the order of their hashes": "x = y in {'a', 'b', 1, 2.5, b'd', (1, 'e')}",
    "sets of objects whose hash is an address": "x = y in {None, ..., 'a', ('b', None)}",
    "shared constants": "def f(): return (1, 'two', 3.0)\ndef g(): return (1, 'two', 3.0)",
    "names of characters": r"x = '\N{MINUS SIGN}'",
    "big and small numbers": "x = [0, 255, 257, -5, -6, 10**30, 1j, 0.1 + 0.2, -0.0]",
    "docstrings and annotations": "def f(a: 'int' = 1) -> str:\n    'says'\n    b: int = 2",
    "format strings": "x = f'{a!r:>{w}} {b:%Y}'",
    "empties": "x = (), '', b'', b'a', frozenset()",
    "another coding": "# coding: latin-1\nx = 'ä'",
}


@pytest.mark.parametrize("trick", _TRICKS)
def test_what_was_compiled_before_changes_nothing(trick: str) -> None:
    source = _TRICKS[trick].encode("latin-1" if "latin-1" in _TRICKS[trick] else "utf-8")
    with Compiler([sys.executable], version=VERSION) as compiler:
        alone = compiler.compile("/a.py", source)
    others = [("/b.py", text.encode()) for text in _TRICKS.values()]
    with Compiler([sys.executable], version=VERSION) as compiler:
        *_, among = compiler.compile_many([*others, *others, ("/a.py", source)])
    assert among == alone is not None


def _find_pythons() -> list[str]:
    """Return interpreters of this machine, one of each version."""
    places = [*Path("/usr/bin").glob("python3.*"), *Path("/usr/local/bin").glob("python3.*")]
    places += Path.home().glob(".pyenv/versions/3.*/bin/python3.*")
    found: dict[str, str] = {}
    for place in sorted(p for p in places if re.fullmatch(r"python3\.\d+", p.name)):
        facts = ask_interpreter([str(place)])
        if facts is not None and facts.implementation == "cpython":
            found.setdefault(facts.version, str(place))
    return [f"{version}={place}" for version, place in sorted(found.items())]


def test_every_python_of_this_machine_keeps_the_promise(library: dict[str, bytes]) -> None:
    """Old ones too, which need help: see compiler_script.py."""
    pythons = _find_pythons()
    if len(pythons) < 2:
        missing("a second Python", "install any other version of Python, such as Debian's python3")
    tricks = {name: text.encode("utf-8") for name, text in _TRICKS.items()}
    files = list({**tricks, **dict(list(library.items())[:60])}.items())
    for version, _, place in (python.partition("=") for python in pythons):
        if int(version.split(".")[1]) < 7:
            continue
        made = []
        for order in (1, -1):
            with Compiler([place], version=version) as compiler:
                some = [(f"/{name}", source) for name, source in files][::order]
                made.append(list(compiler.compile_many(some))[::order])
        differing = [f[0] for f, a, b in zip(files, *made, strict=True) if a != b]
        assert differing == [], version
        assert sum(answer is not None for answer in made[0]) > 30, version


def test_sets_of_addresses_are_left_out_where_they_would_count(library: dict[str, bytes]) -> None:
    old = [p.partition("=") for p in _find_pythons() if int(p.split(".")[1]) in range(7, 11)]
    if not old:
        missing("a Python before 3.11", "install one, such as pyenv's 3.10")
    for version, _, place in old:
        with Compiler([place], version=version) as compiler:
            assert compiler.compile("/a.py", b"x = y in {None, 'a'}") is None
            assert compiler.compile("/a.py", b"x = y in {('a', None), 'b'}") is None
            assert compiler.compile("/a.py", b"x = y in {'a', 'b'}") is not None


@pytest.mark.parametrize("version", ["3.11.999", "2.7.18"])
def test_another_version_is_refused(version: str) -> None:
    with (
        Compiler([sys.executable], version=version) as compiler,
        pytest.raises(ImageError, match=re.escape(VERSION)) as caught,
    ):
        compiler.compile("/a.py", b"")
    assert caught.value.code == "bytecode.interpreter"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, ""),
        ({"implementation": "pypy"}, "pypy 3.13.1"),
        ({"version": "3.13.2"}, "cpython 3.13.2"),
        ({"flags": "t"}, "without a global lock"),
        ({"flags": "d"}, "for debugging"),
        ({"tag": "graalpy-313"}, "graalpy-313"),
        ({"magic": b"\xf2\r\r\n"}, "3570"),
    ],
)
def test_builds_that_write_other_bytes_are_told_apart(change: dict[str, Any], why: str) -> None:
    plain = Interpreter(
        implementation="cpython",
        version="3.13.1",
        flags="-",
        magic=b"\xf3\r\r\n",
        tag="cpython-313",
    )
    fault = find_fault(replace(plain, **change), "3.13.1")
    assert why in fault
    assert bool(fault) == bool(change)


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (["/no/such/python"], "can't be started"),
        (["/bin/true"], "ended with exit code 0"),
        (["/bin/sh", "-c", "echo hello; cat"], "doesn't answer as a Python"),
        (["/bin/sh", "-c", "echo it is broken >&2; exit 3"], "exit code 3 .it is broken"),
    ],
)
def test_what_is_no_python_is_refused(argv: list[str], why: str) -> None:
    with Compiler(argv, version=VERSION) as compiler:
        with pytest.raises(ImageError, match=why) as caught:
            compiler.compile("/a.py", b"")
        assert caught.value.code == "bytecode.interpreter"
    assert ask_interpreter(argv) is None


def test_an_error_of_the_caller_does_not_mix_up_answers(compiler: Compiler) -> None:
    def files() -> Iterator[tuple[str, bytes]]:
        yield "/a.py", b"x = 1"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        list(compiler.compile_many(files()))
    answers = compiler.compile_many([("/b.py", b"x = 2"), ("/c.py", b"x = 3")])
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    made = compiler.compile("/d.py", b"")
    assert made is not None
    assert marshal.loads(made[16:]).co_filename == "/d.py"


def test_megabytes_go_through_without_a_hang(compiler: Compiler) -> None:
    """More than pipes hold, in both directions, from sources of every size."""
    sources = [b"x = '" + b"y" * size + b"'\n" for size in (0, 10, 3 << 20, 1, 2 << 20, 70_000) * 4]
    made = list(compiler.compile_many((f"/{n}.py", s) for n, s in enumerate(sources)))
    assert [len(m or b"") > len(s) for m, s in zip(made, sources, strict=True)] == [True] * 24


_INTERRUPTED = """
import os, signal, sys, threading
from pathlib import Path
from envbuild.layers.archive import body_of_bytes
from envbuild.layers.bytecode import Compiler, compile_entries
from envbuild.layers.entry import Entry

def entries():
    for number in range(10**6):
        if number == 50:
            print("begun", compiler._child._process.pid if compiler._child else 0, flush=True)
        yield f"/m{number}.py", b"x = [" + b"1, " * 9000 + b"]"

with Compiler([sys.executable], version=sys.argv[1]) as compiler:
    compiler.compile("/a.py", b"")
    from envbuild.layers.bytepack import write_pack
    made = ((path, data) for (path, _), data in zip(entries(), compiler.compile_many(entries())))
    write_pack(Path(sys.argv[2]) / "pack", made, label="")
"""


def _start_long_work(folder: Path) -> tuple[subprocess.Popen[str], int]:
    program = textwrap.dedent(_INTERRUPTED)
    argv = [sys.executable, "-c", program, VERSION, str(folder)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    word, pid = child.stdout.readline().split()
    assert word == "begun"
    return child, int(pid)


def _wait_for_end(pid: int) -> bool:
    for _ in range(200):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.1)
    return False


def test_ctrl_c_ends_the_compiler_and_leaves_nothing(tmp_path: Path) -> None:
    child, pid = _start_long_work(tmp_path)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert _wait_for_end(pid)
    assert list(tmp_path.iterdir()) == []


def test_the_compiler_does_not_outlive_us(tmp_path: Path) -> None:
    child, pid = _start_long_work(tmp_path)
    child.kill()
    child.communicate(timeout=60)
    assert _wait_for_end(pid)


def test_the_compiler_ends_although_somebody_holds_its_pipe(tmp_path: Path) -> None:
    """A child of ours that outlives us may have the pipe's other end; so it looks for us, too."""
    program = """
import os, subprocess, sys
from envbuild.layers.compiler import Compiler
compiler = Compiler([sys.executable], version=sys.argv[1])
compiler.compile("/a.py", b"")
pipe = compiler._child._to
os.set_inheritable(pipe, True)
holder = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)
print(compiler._child._process.pid, holder.pid, flush=True)
os._exit(0)
"""
    argv = [sys.executable, "-c", program, VERSION]
    ended = subprocess.run(argv, capture_output=True, text=True, check=True)
    pid, holder = map(int, ended.stdout.split())
    try:
        assert _wait_for_end(pid)
    finally:
        os.kill(holder, signal.SIGKILL)


def test_a_compiler_in_a_thread_is_ended_from_outside() -> None:
    """A thread hears nothing of Ctrl-C; what ends all children ends this one, too."""
    errors: list[BaseException] = []
    begun = threading.Event()

    def files() -> Iterator[tuple[str, bytes]]:
        for number in range(10**6):
            if number == 300:
                begun.set()
            yield f"/m{number}.py", b"x = [" + b"1, " * 9000 + b"]"

    def work() -> None:
        try:
            with Compiler([sys.executable], version=VERSION) as compiler:
                for _ in compiler.compile_many(files()):
                    pass
        except ImageError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    stop_tools()
    thread.join(60)
    assert [error.code for error in errors if isinstance(error, ImageError)] == ["bytecode.died"]
