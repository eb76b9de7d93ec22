"""Writes dpkg's database of installed packages from what each package brought of it.

Formats: deb-control(5), dpkg's `lib/dpkg/dump.c` and `lib/dpkg/trigdeferred.c`. In `status` every
package is `install ok installed`: its files are all there, and what its scripts would have done is
done (layers/debfinish.py says what is not).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import Final

from envbuild.layers.archive import body_of_bytes
from envbuild.layers.debtree import Tree
from envbuild.layers.entry import Entry

__all__ = ["describe_packages"]

_DPKG: Final = "var/lib/dpkg"
_INFO: Final = re.compile(rf"{_DPKG}/info/(?P<package>[^/]+)\.(?P<kind>control|conffiles|triggers)")
_NATIVE: Final = re.compile(r"^Architecture: (?!all$)(\S+)$", re.MULTILINE)


def describe_packages(
    tree: Tree, groups: Sequence[Sequence[Entry]], *, whole: bool
) -> Iterator[Entry]:
    """Yield the database of a whole system; else a file per package, for scanners alone."""
    found: dict[str, dict[str, bytes]] = {}
    for group in groups:
        for entry in group:
            match = _INFO.fullmatch(entry.path)
            if match and entry.body:
                kinds = found.setdefault(match["package"], {})
                kinds[match["kind"]] = b"".join(entry.body().data)
    if not whole:
        for package, kinds in sorted(found.items()):
            name = package.partition(":")[0]
            yield _file(f"{_DPKG}/status.d/{name}", kinds["control"].rstrip(b"\n") + b"\n")
        return
    stanzas = {name: _describe(tree, kinds) for name, kinds in found.items()}
    yield _file(f"{_DPKG}/status", b"".join(stanzas[name] + b"\n" for name in sorted(stanzas)))
    yield from _describe_triggers(found)
    yield _file(f"{_DPKG}/info/format", b"1\n")
    native = {m[1] for s in stanzas.values() for m in _NATIVE.finditer(s.decode(errors="replace"))}
    yield _file(f"{_DPKG}/arch", "".join(f"{name}\n" for name in sorted(native)).encode())
    for name in ("available", "diversions", "statoverride"):
        yield _file(f"{_DPKG}/{name}", b"")
    for folder in ("alternatives", "parts", "updates"):
        yield Entry(path=f"{_DPKG}/{folder}", kind="directory", mode=0o755)


def _describe(tree: Tree, kinds: dict[str, bytes]) -> bytes:
    """Return a package's stanza: its control file, its state, and its conffiles' checksums."""
    first, _, rest = kinds["control"].strip(b"\n").partition(b"\n")
    stanza = first + b"\nStatus: install ok installed\n" + rest + b"\n"
    lines: list[bytes] = []
    for line in kinds.get("conffiles", b"").decode(errors="surrogateescape").splitlines():
        data = tree.read(line.split()[-1]) if line.strip() else None
        if data is not None and not line.startswith("remove-on-upgrade"):
            digest = hashlib.md5(data).hexdigest()  # noqa: S324 - dpkg's own choice
            lines.append(f" {line.strip()} {digest}\n".encode(errors="surrogateescape"))
    return stanza + (b"Conffiles:\n" + b"".join(lines) if lines else b"")


def _describe_triggers(found: dict[str, dict[str, bytes]]) -> Iterator[Entry]:
    """Yield who waits for what: a file per named trigger, and one for those on paths."""
    named: dict[str, list[str]] = {}
    paths: list[str] = []
    for package, kinds in sorted(found.items()):
        for line in kinds.get("triggers", b"").decode(errors="replace").splitlines():
            verb, _, trigger = line.partition("#")[0].strip().partition(" ")
            if not verb.startswith("interest") or not trigger:
                continue
            who = package + ("/noawait" if verb.endswith("-noawait") else "")
            if trigger.startswith("/"):
                paths.append(f"{trigger} {who}\n")
            else:
                named.setdefault(trigger, []).append(f"{who}\n")
    yield _file(f"{_DPKG}/triggers/File", "".join(paths).encode())
    yield _file(f"{_DPKG}/triggers/Unincorp", b"")
    for trigger, lines in sorted(named.items()):
        yield _file(f"{_DPKG}/triggers/{trigger}", "".join(lines).encode())


def _file(path: str, data: bytes) -> Entry:
    return Entry(path=path, kind="file", size=len(data), body=body_of_bytes(data))
