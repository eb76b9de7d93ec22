"""Rules on the repository's files in the image: each has a place of its own, and a safe one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from envbuild.errors import Problem
from envbuild.spec.derive import PREFIX
from envbuild.spec.formats import show_text
from envbuild.spec.model import EnvSpec
from envbuild.spec.rules.rule import rule

__all__ = ["RULES"]

_RESERVED: Final[Mapping[str, str]] = {
    PREFIX: "where the environment is",
    **{
        f"/{name}": what
        for names, what in (
            (("dev", "proc", "run", "sys"), "which a container gets when it starts"),
            (("tmp", "var/tmp"), "which belongs to whatever runs"),
            (
                (
                    "usr/bin",
                    "usr/include",
                    "usr/lib",
                    "usr/lib32",
                    "usr/lib64",
                    "usr/libexec",
                    "usr/sbin",
                    "var/lib/dpkg",
                ),
                "which is for the system's packages",
            ),
            (
                (
                    "etc/group",
                    "etc/gshadow",
                    "etc/ld.so.cache",
                    "etc/passwd",
                    "etc/shadow",
                    "etc/ssl/certs",
                ),
                "which envbuild writes",
            ),
            (
                ("bin", "lib", "lib32", "lib64", "libx32", "sbin", "var/lock", "var/run"),
                "which is a link in most images",
            ),
        )
        for name in names
    },
}
"""Places that no file of the repository may be at, below or above, and what they are."""


@rule("image.source")
def sources_leave_reserved_places(spec: EnvSpec) -> Iterator[Problem]:
    """An `image.source` is apart from `/opt/env`, `/proc`, `/tmp`, `/usr/lib`, `/etc/group`, ..."""
    for n, source in enumerate(spec.image.source):
        for place, what in _RESERVED.items():
            if _is_within(source.target, place):
                found = f"{show_text(source.target)} is in `{place}`, {what}"
            elif _is_within(place, source.target):
                found = f"{show_text(source.target)} holds `{place}`, {what}"
            else:
                continue
            yield Problem(
                key=f"image.source[{n}].target",
                message=f"expected a place of its own, such as `/srv/models`; {found}",
            )
            break


@rule("image.source")
def sources_are_apart(spec: EnvSpec) -> Iterator[Problem]:
    """No `target` of an `image.source` is that of another one, or within it."""
    targets = [source.target for source in spec.image.source]
    for n, target in enumerate(targets):
        for other in targets[:n]:
            if _is_within(target, other) or _is_within(other, target):
                shown = show_text(target)
                found = (
                    f"{shown} comes twice"
                    if target == other
                    else (
                        f"{shown} is in {show_text(other)}"
                        if _is_within(target, other)
                        else f"{shown} holds {show_text(other)}"
                    )
                )
                yield Problem(
                    key=f"image.source[{n}].target",
                    message=f"expected a place apart from those of the other entries, and {found}",
                )
                break


def _is_within(path: str, folder: str) -> bool:
    """Return whether `path` is `folder` or below it."""
    return f"{path}/".startswith(f"{folder}/")


RULES: Final = (sources_leave_reserved_places, sources_are_apart)
