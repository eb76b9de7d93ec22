"""What a requirements file pins: reads what resolvers print, writes the one form that is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from envbuild.lock.names import normalise_name

__all__ = ["REQUEST_FILE", "Pin", "parse_pins", "render_requirements"]

REQUEST_FILE: Final = "request.in"
"""Name of the file that resolvers read; in the lockfile, `envs/NAME.toml` stands in its place."""

_PIN: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")
_HASH: Final = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VIA: Final = re.compile(r"\s+#(?: via)?\s*(.*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pin:
    """One package at one version; `via` is who needs it, names or `-r FILE` and `-c FILE`.

    `note` says where it comes from if no index has it: pip can't fetch it then, and its line is a
    comment.
    """

    name: str
    version: str
    hashes: tuple[str, ...] = ()
    via: tuple[str, ...] = ()
    note: str = ""


def parse_pins(text: str) -> tuple[Pin, ...]:
    """Return the pins of a requirements file as pip-compile and uv write it, sorted by name.

    Whatever else stands in it (options, URLs, comments) is passed over.
    """
    found: dict[str, tuple[str, list[str], list[str]]] = {}
    hashes: list[str] = []
    via: list[str] = []
    for line in text.splitlines():
        if pin := _PIN.match(line):
            hashes, via = [], []
            found[normalise_name(pin[1])] = (pin[2], hashes, via)
        elif line.startswith("#"):
            hashes, via = [], []  # what follows is about a package that is only told of
        hashes += _HASH.findall(line)
        if (reason := _VIA.match(line)) and reason[1]:
            via.append(reason[1].strip())
    return tuple(
        Pin(name=name, version=version, hashes=tuple(hashes), via=tuple(via))
        for name, (version, hashes, via) in sorted(found.items())
    )


def render_requirements(pins: Iterable[Pin], *, task: str, platform: str) -> bytes:
    """Return `requirements.PLATFORM.txt` of environment `task`.

    UTF-8, sorted, each package with its hashes, and nothing of the machine that resolved.
    """
    lines = [f"# Made for {platform} by envbuild; to update it, run `nox -s lock -- {task}`."]
    for pin in sorted(pins, key=lambda pin: pin.name):
        if pin.note:
            lines.append(f"# {pin.name}=={pin.version} is {pin.note}")
        else:
            lines.append(_render_pin(pin))
        lines += _render_via(pin.via, task)
    return ("\n".join(lines) + "\n").encode()


def _render_pin(pin: Pin) -> str:
    return " \\\n".join([f"{pin.name}=={pin.version}", *map(_render_hash, pin.hashes)])


def _render_hash(value: str) -> str:
    return f"    --hash=sha256:{value}"


def _render_via(via: Iterable[str], task: str) -> list[str]:
    names = sorted({_name_reason(reason, task) for reason in via} - {""})
    if len(names) < 2:
        return [f"    # via {name}" for name in names]
    return ["    # via", *(f"    #   {name}" for name in names)]


def _name_reason(reason: str, task: str) -> str:
    """Return a package's name, or the spec's file for the request; constraints are no reason."""
    if reason.startswith("-r"):
        return f"envs/{task}.toml"
    return "" if reason.startswith("-") else normalise_name(reason.partition("[")[0])
