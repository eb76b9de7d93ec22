"""What a base image offers to an environment: system, C library, shell, Pythons.

Only what is certain is said; where two sources disagree, or none knows, the fact stays empty.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

from envbuild.lock.base_tree import BaseTree
from envbuild.lock.model import BaseFacts

__all__ = ["find_facts"]

_INTERPRETER: Final = re.compile(r"(?:python|pypy|graalpy)\d?(?:\.\d+)?")
_MINOR: Final = re.compile(r"\d\.\d+")
_LIBC: Final = re.compile(r"libc\.so\.6|libc-2\.\d+\.so")
_MUSL: Final = re.compile(r"ld-musl-[\w-]+\.so\.1")
_SYSTEM: Final = re.compile(r"/(?:usr/)?lib(?:64)?/(?:[\w-]+-linux-gnu[\w]*/)?[^/]+")
"""Where a distribution has its own C library; others may lie elsewhere, for programs of theirs."""
_DATABASES: Final = ("/var/lib/dpkg/status", "/lib/apk/db/installed", "/usr/lib/apk/db/installed")


def find_facts(tree: BaseTree, config: Mapping[str, Any], *, interpreter: str | None) -> BaseFacts:
    """Return the facts of the image with that file system and configuration.

    `pythons` has every Python that goes by such a name, and `interpreter` if it is a program.
    """
    leaves = list(tree.leaves())
    packages = _read_databases(tree)
    libc, libc_version = _find_libc([path for path, _ in leaves], tree, packages)
    return BaseFacts(
        system=_find_system(tree),
        libc=libc,
        libc_version=libc_version,
        shell=_is_program(tree, "/bin/sh"),
        pythons=tuple(sorted(_find_pythons(tree, config, packages, interpreter).items())),
    )


def _is_program(tree: BaseTree, path: str) -> bool:
    found = tree.find(path)
    return found is not None and found[1].program


def _find_system(tree: BaseTree) -> str:
    """Return such as `debian 12`, by `os-release(5)`; "" where the image doesn't say."""
    found = tree.find("/etc/os-release") or tree.find("/usr/lib/os-release")
    said: dict[str, str] = {}
    for line in found[1].says.splitlines() if found else ():
        key, _, value = line.partition("=")
        try:
            said[key.strip()] = " ".join(shlex.split(value))
        except ValueError:
            continue
    return " ".join(word for key in ("ID", "VERSION_ID") if (word := said.get(key, "")))


def _read_databases(tree: BaseTree) -> dict[str, str]:
    """Return the versions of installed packages that tell something, by name."""
    texts = [found[1].says for path in _DATABASES if (found := tree.find(path))]
    # Images without a package manager may have a file for each package.
    texts += [leaf.says for path, leaf in tree.leaves() if "/dpkg/status.d/" in path]
    pairs = (line.partition("=") for text in texts for line in text.splitlines())
    return {name: version for name, _, version in pairs}


def _find_libc(paths: list[str], tree: BaseTree, packages: Mapping[str, str]) -> tuple[str, str]:
    """Return `glibc` or `musl`, or "", and its version if it is certain."""
    places = [path for path in paths if _LIBC.fullmatch(path.rpartition("/")[2])]
    if places:
        own = [path for path in places if _SYSTEM.fullmatch(path)] or places
        files = [found for path in own if (found := tree.find(path))]
        versions = {version for _, leaf in files for version in leaf.says.split()}
        versions = versions or {f"{v[1]}" for path, _ in files if (v := _VERSION.search(path))}
        if not versions and "libc6" in packages:
            versions = {".".join(_numbers(packages["libc6"])[:2])}
        return "glibc", versions.pop() if len(versions) == 1 else ""
    if any(_MUSL.fullmatch(path.rpartition("/")[2]) for path in paths):
        return "musl", packages.get("musl", "").partition("-")[0]
    return "", ""


_VERSION: Final = re.compile(r"/libc-(2\.\d+)\.so$")


def _numbers(version: str) -> list[str]:
    """Return the numbers of a Debian version's upstream part; deb-version(7)."""
    upstream = (version.partition(":")[2] or version).partition("-")[0]
    return re.findall(r"\d+", upstream)


def _find_pythons(
    tree: BaseTree, config: Mapping[str, Any], packages: Mapping[str, str], wanted: str | None
) -> dict[str, str]:
    """Return the full version of each Python by path: "" or `MAJOR.MINOR` if no more is known."""
    paths = [p for p, _ in tree.leaves() if _INTERPRETER.fullmatch(p.rpartition("/")[2])]
    libraries = _find_libraries(tree)
    found = {}
    for path in [*paths, *([wanted] if wanted else [])]:
        end = tree.find(path)
        if end is not None and end[1].program:
            found[path] = _find_version(end[0], end[1].says, config, packages, libraries)
    return found


def _find_libraries(tree: BaseTree) -> dict[str, set[str]]:
    """Return the versions that the image's `libpython`s are of, by minor version."""
    versions: dict[str, set[str]] = {}
    for path, leaf in tree.leaves():
        if path.rpartition("/")[2].startswith("libpython"):
            for version in leaf.says.split():
                versions.setdefault(_minor(version), set()).add(version)
    return versions


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _find_version(
    path: str,
    says: str,
    config: Mapping[str, Any],
    packages: Mapping[str, str],
    libraries: Mapping[str, set[str]],
) -> str:
    """Return the version of the interpreter at `path`, which no link leads on from.

    In order of certainty: what the program holds, what the only library for it holds, what dpkg
    or the image's own `PYTHON_VERSION` (docker.io's Python images) say of that very path.
    """
    name = path.rpartition("/")[2]
    if not name.startswith("python"):
        return ""  # PyPy's versions are not those of the language
    named = _MINOR.search(name)
    minor = named[0] if named else next(iter(libraries)) if len(libraries) == 1 else ""
    if not minor:
        return ""
    held = {version for version in says.split() if _minor(version) == minor}
    for versions in (held, libraries.get(minor, set()), set(_hear(path, minor, config, packages))):
        if versions:
            return versions.pop() if len(versions) == 1 else minor
    return minor


def _hear(
    path: str, minor: str, config: Mapping[str, Any], packages: Mapping[str, str]
) -> Iterator[str]:
    if path == f"/usr/bin/python{minor}" and f"python{minor}-minimal" in packages:
        numbers = _numbers(packages[f"python{minor}-minimal"])
        yield ".".join(numbers[:3])
    for item in (config.get("config") or {}).get("Env") or ():
        name, _, version = str(item).partition("=")
        own = path.startswith("/usr/local/bin/") and version.startswith(f"{minor}.")
        if name == "PYTHON_VERSION" and own:
            yield version
