"""Say which user and group IDs an image's user means, by the image's own files."""

from __future__ import annotations

from collections.abc import Callable

from envbuild.errors import EngineError

__all__ = ["find_ids"]

ReadFile = Callable[[str], bytes | None]


def find_ids(user: str, read: ReadFile) -> tuple[int, int]:
    """Return (uid, gid) of `USER[:GROUP]`, names or numbers, as Docker Engine resolves them.

    `read` gives a file of the image or None. An empty user is root; a number that
    `/etc/passwd` doesn't list has group 0. Raises `EngineError("engine.no-user")` for a name
    that isn't there.
    """
    name, _, group = user.partition(":")
    if name in {"", "0", "root"} and not group:
        return 0, 0
    uid, gid = _find_user(name or "0", read)
    return uid, _find_group(group, read) if group else gid


def _find_user(name: str, read: ReadFile) -> tuple[int, int]:
    for row in _rows(read("/etc/passwd"), fields=4):
        if name in (row[0], row[2]):
            return int(row[2]), int(row[3])
    if name.isdigit():
        return int(name), 0
    raise _missing("user", name, "/etc/passwd")


def _find_group(name: str, read: ReadFile) -> int:
    if name.isdigit():
        return int(name)
    for row in _rows(read("/etc/group"), fields=3):
        if row[0] == name:
            return int(row[2])
    raise _missing("group", name, "/etc/group")


def _rows(data: bytes | None, *, fields: int) -> list[list[str]]:
    """Return the rows of a passwd(5) or group(5) file that have at least `fields` fields."""
    rows = [line.split(":") for line in (data or b"").decode(errors="replace").splitlines()]
    return [row for row in rows if len(row) >= fields and all(n.isdigit() for n in row[2:fields])]


def _missing(kind: str, name: str, file: str) -> EngineError:
    return EngineError(
        "engine.no-user",
        f"the image has no {kind} `{name}` in `{file}`",
        hint='name it by number in the spec: `image.user = "1000:1000"`',
    )
