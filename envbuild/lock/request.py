"""Digests what a spec asks its lock for, section by section: the answer to "is the lock fresh?".

Only what resolution looks at is in it, and only where it means something: the order of packages
and platforms, the case of names and white space don't count; the order of channels and indexes
does. Whatever this module can't read for certain counts as it is written, so that doubt costs a
new lock and never keeps a stale one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final

from envbuild.kit.canonical import digest_json
from envbuild.lock.names import normalise_name
from envbuild.spec.derive import find_base
from envbuild.spec.formats.images import DEFAULT_BASE
from envbuild.spec.formats.moments import parse_moment
from envbuild.spec.formats.pythons import parse_python
from envbuild.spec.model import Conda, EnvSpec, Image, Pip, PlatformExtra, System, VirtualPackages

__all__ = ["REQUEST_VERSION", "SECTIONS", "digest_request"]

REQUEST_VERSION: Final = 1
"""Raise it, and `LOCK_VERSION` with it, when the form below changes: then users hear of another
format of the lock, and not of changes to a spec that nobody changed."""

SECTIONS: Final = ("platforms", "python", "exclude-newer", "conda", "pip", "system", "base")
"""The sections of a request, in the order in which a message names them; a spec
without `exclude-newer` has no such section."""


def digest_request(spec: EnvSpec) -> Mapping[str, str]:
    """Return each section's digest, in the order of `SECTIONS`.

    `spec` has passed its checks; `ValueError` for one whose `python` or `image.base` could not.
    """
    newer = spec.exclude_newer
    values: dict[str, object] = {
        "platforms": sorted(set(spec.platforms)),
        "python": parse_python(spec.python).conda,
        **({"exclude-newer": parse_moment(newer).isoformat()} if newer else {}),
        "conda": _conda(spec.conda, _single(spec, lambda p: p.conda.dependencies, _match_spec)),
        "pip": _pip(spec.pip, _single(spec, lambda p: p.pip.dependencies, _requirement)),
        "system": _system(
            spec.system, spec.image, _single(spec, lambda p: p.system.packages, str.strip)
        ),
        "base": _base(spec.image),
    }
    return {
        section: digest_json(
            {"envbuild-request": REQUEST_VERSION, "section": section, "value": values[section]}
        )
        for section in SECTIONS
        if section in values
    }


_Single = Mapping[str, object]


def _single(
    spec: EnvSpec,
    find: Callable[[PlatformExtra], tuple[str, ...]],
    normalise: Callable[[str], str],
) -> _Single:
    """Return what single platforms get, as a part of a section; nothing where none does."""
    found = {name: _unordered(find(extra), normalise) for name, extra in spec.platform.items()}
    wanted = {name: texts for name, texts in found.items() if texts}
    return {"platform": wanted} if wanted else {}


def _conda(conda: Conda | None, single: _Single) -> object:
    """Return the section's value; None (Python comes from elsewhere) differs from an empty one."""
    if conda is None:
        return None
    return {
        "channels": [_address(channel) for channel in conda.channels],
        "dependencies": _unordered(conda.dependencies, _match_spec),
        "virtual-packages": _virtual_packages(conda.virtual_packages),
        **single,
    }


def _virtual_packages(machine: VirtualPackages) -> object:
    return {
        "glibc": machine.glibc,
        "cuda": machine.cuda,
        "linux": machine.linux,
        "osx": machine.osx,
        "archspec": machine.archspec,
    }


def _pip(pip: Pip, single: _Single) -> object:
    """Return the section's value; what came later counts only where a spec has it."""
    later = {
        "build-from-source": _unordered(pip.build_from_source, normalise_name),
        "local": _unordered(pip.local, str.strip),
        "constraints": _unordered(pip.constraints, _requirement),
        "overrides": _unordered(pip.overrides, _requirement),
    }
    return {
        "dependencies": _unordered(pip.dependencies, _requirement),
        "index-url": None if pip.index_url is None else _address(pip.index_url),
        "extra-index-urls": [_address(url) for url in pip.extra_index_urls],
        "resolver": pip.resolver,
        **{key: value for key, value in later.items() if value},
        **single,
    }


def _system(system: System, image: Image, single: _Single) -> object:
    """Return the section's value; to name the suite that the base names anyway is no change."""
    named = system.suite != find_base(image).suite
    return {
        "packages": _unordered(system.packages, str.strip),
        "suite": system.suite if named else None,
        **single,
    }


def _base(image: Image) -> object:
    """Return the base alone: interpreter, user and labels go into the image, not into the lock.

    What a Dockerfile says is the image's affair, too; no text of `image.base` is a list.
    """
    kind = find_base(image).kind
    return ["dockerfile"] if kind == "dockerfile" else image.base or DEFAULT_BASE


def _unordered(texts: tuple[str, ...], normalise: Callable[[str], str]) -> list[str]:
    return sorted({normalise(text) for text in texts})


def _address(text: str) -> str:
    return text.strip().rstrip("/")


def _clauses(text: str) -> list[str]:
    """Split `>=1, <2` at its commas: a conjunction, whose order means nothing."""
    return sorted({"".join(clause.split()) for clause in text.split(",")} - {""})


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False)


def _frame(*parts: object) -> str:
    """Join parts so that no two lists of parts give the same text."""
    return _ENCODER.encode(parts)


# PEP 508: a name, extras, version specifiers with or without parentheses, an environment marker.
_HEAD: Final = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*"
    r"(?:\[(?P<extras>[A-Za-z0-9._,\s-]*)\])?"
)
_CLAUSE: Final = re.compile(r"\s*(?:[<>=!]=|===|~=|[<>])\s*[A-Za-z0-9.*+!_-]+\s*")
_MARKER_TOKEN: Final = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|(\w+)|([<>=!~]+)|([()]))""")


@lru_cache(maxsize=4096)
def _requirement(text: str) -> str:
    """Return the one spelling of a requirement; what is not plain PEP 508 as it is."""
    text = text.strip()
    head = _HEAD.match(text)
    if head is None:
        return _frame("text", text)
    specifiers, _, marker = text[head.end() :].partition(";")
    specifiers = specifiers.strip()
    if specifiers.startswith("(") and specifiers.endswith(")"):
        specifiers = specifiers[1:-1]
    if specifiers and not all(map(_CLAUSE.fullmatch, specifiers.split(","))):
        return _frame("text", text)
    extras = {normalise_name(extra.strip()) for extra in (head["extras"] or "").split(",")}
    return _frame(
        "name",
        normalise_name(head["name"]),
        sorted(extras - {""}),
        _clauses(specifiers),
        _marker(marker),
    )


def _marker(text: str) -> list[list[str]] | str:
    """Split a marker into its tokens, strings told apart from words; else the text as it is."""
    tokens: list[list[str]] = []
    place, text = 0, text.strip()
    while place < len(text):
        found = _MARKER_TOKEN.match(text, place)
        if found is None:
            return text
        double, single, *others = found.groups()
        quoted = double if double is not None else single
        plain = ["plain", "".join(other or "" for other in others)]
        tokens.append(plain if quoted is None else ["string", quoted])
        place = found.end()
    return tokens


# conda's match spec without brackets and without a channel: `name`, `name>=1,<2`, `name 1.* build`.
_MATCH_SPEC: Final = re.compile(
    r"(?P<name>[A-Za-z0-9_][A-Za-z0-9._-]*)(?P<rest>[\s<>=!~][^\[\]:]*)?"
)
_GLUE: Final = re.compile(r"\s*([,|])\s*|(?<=[<>=!~])\s+")


@lru_cache(maxsize=4096)
def _match_spec(text: str) -> str:
    """Return the one spelling of a match spec; what has brackets or a channel as it is."""
    found = _MATCH_SPEC.fullmatch(text.strip())
    if found is None:
        return _frame("text", text.strip())
    words = _GLUE.sub(r"\1", (found["rest"] or "").strip()).split()
    return _frame("name", found["name"].lower(), words)
