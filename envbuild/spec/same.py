"""Says whether one requirement of pip takes the place of another of the same name."""

from __future__ import annotations

from envbuild.spec.formats import parse_direct

__all__ = ["is_replaced"]


def is_replaced(old: str, new: str) -> bool:
    """Return whether `new` stands for what `old` asks; both are of one package.

    Requirements with markers, and wheels for several platforms, may stand side by side: there a
    new one takes the place of that for the same machines.
    """
    tags = _find_tags(old), _find_tags(new)
    if all(tags):
        return tags[0] == tags[1] and _find_marker(old) == _find_marker(new)
    markers = _find_marker(old), _find_marker(new)
    return not all(markers) or markers[0] == markers[1]


def _find_marker(requirement: str) -> str:
    return "".join(requirement.partition(";")[2].split()).replace("'", '"')


def _find_tags(requirement: str) -> str:
    """Return the part of a wheel's file name that says for which machines it is."""
    direct = parse_direct(requirement)
    if direct is None or direct.kind != "wheel":
        return ""
    return "-".join(direct.path.removesuffix(".whl").rsplit("-", 3)[1:])
