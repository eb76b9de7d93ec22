"""What is asked for by its place: wheels in the repository, git repositories, source trees."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from envbuild.spec.formats.base import Format

__all__ = [
    "DISTRIBUTION",
    "LOCAL_TREE",
    "Direct",
    "Tree",
    "explain_direct",
    "parse_direct",
    "parse_tree",
    "requirement_pattern",
]

_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_EXTRAS: Final = rf"\[ ?{_NAME}(?: ?, ?{_NAME})* ?\]"
_PART: Final = r"(?!\.\.?/)[^/\\*?#@;\s\u0000-\u001f]+"
_WHEEL_FILE: Final = r"[A-Za-z0-9][A-Za-z0-9._]*-[A-Za-z0-9_.!+]+(?:-[A-Za-z0-9_.]+){3,4}\.whl"
_WHEEL: Final = rf"\./(?:{_PART}/)*{_WHEEL_FILE}"
_REFERENCE: Final = r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"
_USER: Final = rf"(?:(?:[A-Za-z0-9._~%-]+:)?{_REFERENCE}@|{_REFERENCE}:{_REFERENCE}@)?"
_REST: Final = rf"(?:[^@#;\s$\u0000-\u001f]|{_REFERENCE})+"
_HOST: Final = rf"(?:[A-Za-z0-9._-]|{_REFERENCE})+(?::[0-9]+)?/"
_GIT: Final = (
    rf"git\+(?:https?://{_USER}{_HOST}{_REST}|ssh://(?:[A-Za-z0-9._-]+@)?{_HOST}{_REST}"
    rf"|file:///{_REST})"
)
_REVISION: Final = r"@[A-Za-z0-9_.][A-Za-z0-9_./+-]*"
_SUBDIRECTORY: Final = rf"#subdirectory={_PART}(?:/{_PART})*"
_MARKER: Final = r" ?;[^\u0000-\u001f]+"


@dataclass(frozen=True, kw_only=True, slots=True)
class Direct:
    """A requirement that says where its package is.

    `path` is a wheel's, relative to the repository (kind `wheel`). `url` is git's without `git+`,
    credentials in it as `${VAR}`; `reference` is the commit, tag or branch (empty: the default
    branch) and `subdirectory` the project's folder in it (kind `git`). `name` is normalised.
    """

    kind: Literal["wheel", "git"]
    name: str
    extras: tuple[str, ...] = ()
    marker: str = ""
    path: str = ""
    url: str = ""
    reference: str = ""
    subdirectory: str = ""


def requirement_pattern(plain: str) -> str:
    """Return the pattern of all requirements, where `plain` is that of those for an index."""
    named = rf"{_NAME} ?(?:{_EXTRAS})? ?@ ?(?:file:)?"
    git = rf"{_NAME} ?(?:{_EXTRAS})? ?@ ?{_GIT}(?:{_REVISION})?(?:{_SUBDIRECTORY})?"
    return rf"(?:{plain}|(?:{named})?{_WHEEL}(?:{_MARKER})?|{git}(?:{_MARKER})?)"


def parse_direct(text: str) -> Direct | None:
    """Return what a requirement says of its place; None where an index is to have the package."""
    head = rf"(?P<name>{_NAME}) ?(?P<extras>{_EXTRAS})? ?@ ?"
    tail = rf"(?P<marker>{_MARKER})?"
    wheel = rf"(?:{head}(?:file:)?)?\./(?P<path>(?:{_PART}/)*(?P<file>{_WHEEL_FILE})){tail}"
    if found := re.fullmatch(wheel, text.strip()):
        return Direct(
            kind="wheel",
            name=_normalise(found["name"] or found["file"].partition("-")[0]),
            extras=_split(found["extras"]),
            marker=_strip(found["marker"]),
            path=found["path"],
        )
    git = (
        rf"{head}git\+(?P<url>{_GIT[5:]})"
        rf"(?P<reference>{_REVISION})?(?P<sub>{_SUBDIRECTORY})?{tail}"
    )
    if found := re.fullmatch(git, text.strip()):
        return Direct(
            kind="git",
            name=_normalise(found["name"]),
            extras=_split(found["extras"]),
            marker=_strip(found["marker"]),
            url=found["url"],
            reference=(found["reference"] or "")[1:],
            subdirectory=(found["sub"] or "").partition("=")[2],
        )
    return None


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _split(extras: str | None) -> tuple[str, ...]:
    names = (extras or "").strip("[]").split(",")
    return tuple(sorted({_normalise(name.strip()) for name in names} - {""}))


def _strip(marker: str | None) -> str:
    return (marker or "").strip().removeprefix(";").strip()


def explain_direct(text: str) -> str | None:
    """Return what is wrong with a text that is meant to say where its package is; None if not."""
    wanted = text.partition(";")[0].strip()
    if re.search(r"\b(?:hg|svn|bzr)\+", wanted):
        return "of repositories only git's are supported: `name @ git+https://...`"
    if "git+" in wanted:
        return _explain_git(wanted)
    if re.search(r"\w://", wanted):
        return (
            "URLs of files are not supported, for something else may be there tomorrow; publish "
            "the package on an index and name that in `pip.extra-index-urls`"
        )
    if wanted.endswith(".whl"):
        return "a wheel of the repository is written relative to its root: `./wheels/...whl`"
    if re.fullmatch(
        r"(?:.*@\s*)?(?:file:)?[./~].*|.*\.(?:zip|tar\.gz|tar\.bz2|tgz)(?:#.*)?", wanted
    ):
        return (
            "a source tree of the repository is named in `pip.local`; an archive's package belongs "
            "on an index"
        )
    return "what follows `@` is a wheel, `./wheels/...whl`, or `git+https://...`" if (
        "@" in wanted
    ) else None  # fmt: skip


def _explain_git(text: str) -> str:
    if not re.match(rf"{_NAME}\s*(?:{_EXTRAS})?\s*@", text):
        return "write the package's name before the URL: `name @ git+https://...`"
    if re.search(r"://[^/]*@", text) and not re.search(r"ssh://", text):
        return (
            "a password or token must not stand in a file; set it as a variable, such as `TOKEN`, "
            "and write `${TOKEN}` in its place"
        )
    return "write it as `name @ git+https://host/path@COMMIT`"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    """A source tree of the repository: its folder (`.` is the root), and wanted extras."""

    path: str
    extras: tuple[str, ...] = ()


_STEP: Final = r"(?!\.\.?(?:/|$| ?\[))[^/\\*?#@;\[\]\s\u0000-\u001f]+"
_FOLDER: Final = rf"(?!~)(?![A-Za-z]:)(?:\.|(?:\./)?{_STEP}(?:/{_STEP})*)/?"


def parse_tree(text: str) -> Tree:
    """Return what a `LOCAL_TREE` says; `ValueError` for another text."""
    found = re.fullmatch(rf"(?P<path>{_FOLDER}) ?(?P<extras>{_EXTRAS})?", text.strip())
    if found is None:
        raise ValueError(f"no source tree: {text!r}")
    path = found["path"].removeprefix("./").rstrip("/") or "."
    return Tree(path=path, extras=_split(found["extras"]))


def _explain_tree(text: str) -> str | None:
    if text.startswith(("-e", "--editable")):
        return "write the folder alone; with `--target local` it is editable anyway"
    if text.startswith(("/", "~")) or ".." in text.split("/"):
        return "another machine has no such path; write one below the repository's root"
    if text.endswith(".whl"):
        return "a wheel is named in `pip.dependencies`"
    return None


LOCAL_TREE = Format(
    name="source tree",
    expected="a folder of the repository with a Python project in it",
    examples=("src/acme", ".", "libraries/tool[plots]"),
    pattern=rf"(?!.*\.whl$)(?!.*\.\.(?:/|$)){_FOLDER} ?(?:{_EXTRAS})?",
    explain=_explain_tree,
)

DISTRIBUTION = Format(
    name="package name",
    expected="a package's name as its index has it",
    examples=("acme-tools",),
    pattern=_NAME,
)
