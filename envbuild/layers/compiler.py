"""A child process of the image's own Python version that compiles sources to byte code."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, cast

from envbuild.errors import ImageError
from envbuild.kit.process import open_child

__all__ = ["Compiler", "Interpreter", "ask_interpreter", "find_fault"]

_SCRIPT: Final = Path(__file__).with_name("compiler_script.py")
# The script isn't run as a file: its folder would be where it imports from.
_BOOT: Final = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; file = open(sys.argv[1], 'rb'); "
    "exec(compile(file.read(), sys.argv[1], 'exec'), {'__name__': '__main__'})"
)
_REQUEST: Final = struct.Struct("<II")
_ANSWER: Final = struct.Struct("<i")
_AHEAD: Final = 1 << 20
"""Bytes of requests that wait here to be sent; the pipes and the child hold as many again."""
_STEP: Final = 1 << 20
_PIPE: Final = 1 << 20
_PATIENCE: Final = 60.0
"""Seconds in which an interpreter must say who it is."""

# PEP 552 began with 3.7, and a minor version never changes its magic number once it is released.
_MAGIC: Final = {
    "3.7": 3394, "3.8": 3413, "3.9": 3425, "3.10": 3439, "3.11": 3495, "3.12": 3531, "3.13": 3571,
    "3.14": 3627,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Interpreter:
    """What an interpreter says of itself: `version` in full (`3.11.2`), `magic` as in a `.pyc`."""

    implementation: str
    version: str
    flags: str
    magic: bytes
    tag: str


class Compiler:
    """Compiles by the interpreter that `argv` starts, which must be CPython `version` exactly.

    The child starts with the first source and lives until `close`, or as long as this object and
    this process do. Not for use by several threads at once. What it makes is a function of path,
    source and version alone.
    """

    def __init__(self, argv: Sequence[str], *, version: str) -> None:
        self.version = version
        self._argv = tuple(argv)
        self._open = ExitStack()
        self._child: _Child | None = None

    @property
    def minor(self) -> str:
        """`MAJOR.MINOR`."""
        return ".".join(self.version.split(".")[:2])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child; the next source would start another."""
        self._child = None
        self._open.close()

    def compile(self, path: str, source: bytes) -> bytes | None:
        """Return the `.pyc` of one source, as `compile_many` does."""
        (answer,) = self.compile_many([(path, source)])
        return answer

    def compile_many(self, files: Iterable[tuple[str, bytes]]) -> Iterator[bytes | None]:
        """Yield the `.pyc` of each path (absolute, in the image) and source, in their order.

        It is unchecked and hash-based (PEP 552), and None where the source doesn't compile. Sources
        are asked for about a megabyte ahead; memory is constant. Raises `ImageError`:
        `bytecode.interpreter` where the interpreter isn't what it should be, `bytecode.died` where
        it ended before its work did.
        """
        try:
            child = self._child or self._start()
            yield from child.converse(files)
        except BaseException:
            # What was asked for and not taken would be the next one's answer.
            self.close()
            raise

    def _start(self) -> _Child:
        child = self._open.enter_context(_Opened(self._argv))
        found = child.introduce()
        wrong = find_fault(found, self.version)
        if wrong:
            raise ImageError(
                "bytecode.interpreter",
                f"`{self._argv[-1]}` can't make byte code for Python {self.version}: {wrong}",
                hint="to build without byte code, set `bytecode = false` under `[image]`",
            )
        self._child = child
        return child


def ask_interpreter(argv: Sequence[str]) -> Interpreter | None:
    """Return what the interpreter says that `argv` starts, or None if it is none that compiles."""
    try:
        with _Opened(argv) as child:
            return child.introduce()
    except (ImageError, OSError):
        return None


def find_fault(found: Interpreter, version: str) -> str:
    """Return why an interpreter must not compile for Python `version`; empty if it may."""
    minor = ".".join(version.split(".")[:2])
    if (found.implementation, found.version) != ("cpython", version):
        return f"it is {found.implementation} {found.version}"
    if set("dt") & set(found.flags):
        # They count references in another way, and so write other bytes, or may.
        return f"it is a build for debugging or without a global lock (`{found.flags}`)"
    number = int.from_bytes(found.magic[:2], "little")
    if found.tag != f"cpython-{minor.replace('.', '')}" or number != _MAGIC.get(minor, number):
        return f"its byte code is of the kind `{found.tag}`, {number}"
    return ""


class _Opened:
    """Starts the child, with nothing of our environment that could change what it does."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self._stack = ExitStack()

    def __enter__(self) -> _Child:
        flags = ["-s", "-S", "-B", "-X", "utf8", "-W", "ignore"]
        argv = [*self._argv, *flags, "-c", _BOOT, str(_SCRIPT), str(os.getpid())]
        # Not `-I`: it would ignore the hash seed, too.
        env = {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}
        env["PYTHONHASHSEED"] = "0"
        said = self._stack.enter_context(cast("IO[bytes]", tempfile.TemporaryFile()))
        try:
            opened = open_child(argv, env=env, cwd=Path("/"), stderr=said)
            return _Child(self._stack.enter_context(opened), self._argv[-1], said)
        except OSError as error:
            self._stack.close()
            raise _refused(self._argv[-1], f"it can't be started ({error.strerror})") from None
        except BaseException:
            self._stack.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


def _refused(name: str, why: str) -> ImageError:
    return ImageError(
        "bytecode.interpreter",
        f"`{name}` can't make byte code: {why}",
        hint="to build without byte code, set `bytecode = false` under `[image]`",
    )


class _Child:
    """Both ends of the pipes: sends and receives at once, so that neither side waits for long."""

    def __init__(self, process: subprocess.Popen[bytes], name: str, said: IO[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the child has pipes")
        self._process = process
        self._name = name
        self._said = said
        self._to, self._from = process.stdin.fileno(), process.stdout.fileno()
        for pipe in (self._to, self._from):
            os.set_blocking(pipe, False)
            if hasattr(fcntl, "F_SETPIPE_SZ"):
                with suppress(OSError):  # a user's pipes may be limited
                    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)
        self._poll = select.poll()
        self._poll.register(self._from, select.POLLIN)
        self._unsent = bytearray()
        self._received = bytearray()

    def introduce(self) -> Interpreter:
        """Return what the child says first."""
        while b"\n" not in self._received:
            if not self._poll.poll(_PATIENCE * 1000):
                raise _refused(self._name, "it says nothing")
            if not self._receive():
                raise _refused(self._name, f"it {self._say_end()}")
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received = bytearray(rest)
        fields = line.decode(errors="replace").split(" ")
        if len(fields) != 5 or not re.fullmatch("[0-9a-f]{8}", fields[3]):
            raise _refused(self._name, "it doesn't answer as a Python does")
        implementation, version, flags, magic, tag = fields
        return Interpreter(
            implementation=implementation,
            version=version,
            flags=flags,
            magic=bytes.fromhex(magic),
            tag=tag,
        )

    def converse(self, files: Iterable[tuple[str, bytes]]) -> Iterator[bytes | None]:
        """Send files and yield answers."""
        todo = iter(files)
        waiting: deque[str] = deque()
        more = True
        while True:
            while more and len(self._unsent) < _AHEAD:
                item = next(todo, None)
                if item is None:
                    more = False
                else:
                    self._queue(*item)
                    waiting.append(item[0])
            if not waiting:
                return
            self._exchange(waiting[0])
            for answer in self._take():
                waiting.popleft()
                yield answer

    def _queue(self, path: str, source: bytes) -> None:
        name = path.encode("utf-8", "surrogateescape")
        self._unsent += _REQUEST.pack(len(name), len(source)) + name + source

    def _exchange(self, path: str) -> None:
        """Wait until something can be sent or received, and do it; `path` is to be compiled."""
        if self._unsent:
            self._poll.register(self._to, select.POLLOUT)
        else:
            with suppress(KeyError):
                self._poll.unregister(self._to)
        ready = dict(self._poll.poll())
        if self._to in ready:
            self._send()
        if self._from in ready and not self._receive():
            raise ImageError(
                "bytecode.died",
                f"the Python that makes byte code, `{self._name}`, {self._say_end()} "
                f"at or soon after `{path}`",
                hint="was it killed, or out of memory? run the same command again; "
                "to build without byte code, set `bytecode = false` under `[image]`",
            )

    def _send(self) -> None:
        try:
            with memoryview(self._unsent) as data:
                sent = os.write(self._to, data[:_STEP])
            del self._unsent[:sent]
        except BlockingIOError:
            return
        except BrokenPipeError:
            # That it is gone shows where its answers end.
            self._unsent.clear()

    def _receive(self) -> bool:
        """Take what has come; False where nothing will come any more."""
        try:
            data = os.read(self._from, _STEP)
        except BlockingIOError:
            return True
        self._received += data
        return bool(data)

    def _take(self) -> Iterator[bytes | None]:
        """Yield the answers that are there as a whole."""
        start = 0
        while len(self._received) - start >= _ANSWER.size:
            (size,) = _ANSWER.unpack_from(self._received, start)
            end = start + _ANSWER.size + max(size, 0)
            if len(self._received) < end:
                break
            answer = bytes(self._received[start + _ANSWER.size : end]) if size >= 0 else None
            start = end
            yield answer
        del self._received[:start]

    def _say_end(self) -> str:
        """Say how the child ended, with the last line that it wrote."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        ended = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f"{ended} ({last[:200]})" if last else ended
