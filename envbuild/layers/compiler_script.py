"""Compiles Python sources that come over a pipe: the interpreter of the image runs this file.

It imports nothing of envbuild, and is written for Python 3.7 and later. It says first, in one line,
which interpreter runs it (`_introduce`). Then it takes files, each as two lengths of four bytes
(little endian), a path and a source, and answers in the same order with a length and a `.pyc`;
-1 where the source doesn't compile. It ends when its stdin does, or its parent.

The bytes must be a function of source, path and the interpreter's version alone. What else would
get into them, and what is done about it:

- marshal marks an object as shared where the interpreter holds more than one reference to it.
  Since Python 3.11 that depends on the source alone; before, names count as shared when any other
  module has them. There, a second reference to everything is held while it is written (`_hold`).
- A string of one character is one object for the whole process, and marshal says whether it is
  interned, which a file compiled before may have done. So all are interned at the start.
- Before Python 3.11, sets are written in the order of their hashes. Those of strings are fixed by
  PYTHONHASHSEED=0; those of None and Ellipsis are addresses, so a file with such a set is skipped.
"""

from __future__ import annotations

import gc
import importlib.util
import marshal
import os
import signal
import struct
import sys
from operator import attrgetter
from types import CodeType
from typing import Any

_HASHED = (1).to_bytes(4, "little")
"""PEP 552's flags: the source's hash follows, and is never compared with the source."""

_REQUEST = struct.Struct("<II")
_ANSWER = struct.Struct("<i")
_STEP = 1 << 20
_ENOUGH = 256 << 10
"""Bytes of answers that are sent off while there still are requests."""

_SECONDS = 2.0
"""How often to look whether the parent is still there."""

_PARTS = attrgetter(
    "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_consts", "co_code",
    "co_filename", "co_name", "co_linetable" if sys.version_info >= (3, 10) else "co_lnotab",
)  # fmt: skip


class _UncertainError(ValueError):
    """The bytes would depend on more than the source."""


def _introduce() -> str:
    """Return what the parent checks: implementation, version, ABI flags, magic number, pyc's tag.

    Fails where a part of the library is missing that decides whether a source compiles: `\\N{...}`
    in a string needs unicodedata, and a coding line a module for that coding.
    """
    importlib.import_module("unicodedata")
    "".encode("euc_jp")
    info = sys.version_info
    level = {"alpha": "a", "beta": "b", "candidate": "rc"}.get(info.releaselevel)
    version = "{}.{}.{}".format(*info) + ("" if level is None else f"{level}{info.serial}")
    magic = importlib.util.MAGIC_NUMBER.hex()
    flags = getattr(sys, "abiflags", "") or "-"
    return f"{sys.implementation.name} {version} {flags} {magic} {sys.implementation.cache_tag}\n"


def _hold(code: CodeType) -> list[Any]:
    """Return a list with every object that marshal would write for `code`, but temporary ones."""
    held: list[Any] = []
    codes = [code]
    while codes:
        parts = _PARTS(codes.pop())
        held += parts
        for names in parts[:4]:
            held += names
        constants = [parts[4]]
        while constants:
            items = constants.pop()
            held += items
            for item in items:
                kind = type(item)
                if kind is CodeType:
                    codes.append(item)
                elif kind is tuple:
                    constants.append(item)
                elif kind is frozenset:
                    _check_set(item)
                    constants.append(item)
    return held


def _check_set(items: Any) -> None:
    if len(items) > 1 and _has_address(items):
        raise _UncertainError


def _has_address(items: Any) -> bool:
    return any(
        item is None or item is ... or (isinstance(item, (tuple, frozenset)) and _has_address(item))
        for item in items
    )


def _compile(path: str, source: bytes) -> bytes | None:
    """Return the whole `.pyc`, or None for a source that doesn't compile."""
    try:
        code = compile(source, path, "exec", dont_inherit=True, optimize=0)
        held = _hold(code) if sys.version_info < (3, 11) else None
        data = marshal.dumps(code)
    except Exception:  # noqa: BLE001 - whatever a bad source makes the compiler raise
        return None
    del held
    digest = importlib.util.source_hash(source)
    return b"".join((importlib.util.MAGIC_NUMBER, _HASHED, digest, data))


def _serve() -> None:
    """Answer requests until there are no more; several at a time, to be woken seldom."""
    waiting = bytearray()
    while True:
        data = os.read(0, _STEP)
        if not data:
            return
        waiting += data
        answers: list[bytes] = []
        size = start = 0
        while len(waiting) - start >= _REQUEST.size:
            path_size, source_size = _REQUEST.unpack_from(waiting, start)
            middle = start + _REQUEST.size + path_size
            end = middle + source_size
            if len(waiting) < end:
                break
            path = waiting[start + _REQUEST.size : middle].decode("utf-8", "surrogateescape")
            made = _compile(path, bytes(waiting[middle:end]))
            answers += (_ANSWER.pack(-1),) if made is None else (_ANSWER.pack(len(made)), made)
            size += 0 if made is None else len(made)
            start = end
            if size >= _ENOUGH:
                _send(answers)
                answers, size = [], 0
        del waiting[:start]
        _send(answers)


def _send(answers: list[bytes]) -> None:
    data = memoryview(b"".join(answers))
    while data:
        data = data[os.write(1, data) :]


def _watch(parent: int) -> None:
    """End with `parent`: its own children may hold our stdin open when it is gone."""

    def look(_number: int, _frame: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, _SECONDS, _SECONDS)


def _main(parent: int) -> None:
    interned = [sys.intern(chr(number)) for number in range(256)] + [sys.intern("")]
    gc.disable()
    _watch(parent)
    os.write(1, _introduce().encode())
    _serve()
    del interned


if __name__ == "__main__":
    try:
        _main(int(sys.argv[2]))
    except BrokenPipeError:
        os._exit(1)
