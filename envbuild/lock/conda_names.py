"""Finds which Python distributions conda packages install, from the packages themselves.

There is no rule that leads from a conda name to a PyPI name, and no mapping service is asked: a
package lists its paths in `info/paths.json`, and a distribution is a `NAME-VERSION.dist-info` (or
`.egg-info`) right below `site-packages`. From a channel that takes one small range request.

As a program, in a child process, this module reads those paths with py-rattler.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import unquote, urlsplit

from envbuild.errors import LockError
from envbuild.kit.files import write_atomic
from envbuild.kit.places import Cache
from envbuild.kit.process import run_tool
from envbuild.kit.urls import expand_references, strip_credentials
from envbuild.lock.conda_client import (
    PrivateChannel,
    child_command,
    leave,
    mirror_environment,
    open_client,
)
from envbuild.lock.model import CondaPackage
from envbuild.lock.names import normalise_name
from envbuild.spec.settings import Settings

__all__ = ["find_python_names", "main"]

# noarch packages have no `lib/pythonX.Y`; Windows has `Lib`. Deeper ones are vendored copies.
_INSTALLED: Final = re.compile(
    r"(?:lib/python\d+\.\d+/|Lib/)?site-packages/(?P<name>[^/]+?)-(?P<version>[^/-]+)"
    r"(?:-py\d+(?:\.\d+)?)?\.(?:dist|egg)-info(?:/|$)"
)
_AT_ONCE: Final = 16
"""Packages that are asked for at the same time."""


def find_python_names(
    packages: Sequence[CondaPackage], *, settings: Settings, cache: Cache, logs: Path
) -> Mapping[str, str]:
    """Return the distributions that `packages` install: normalised PyPI name to version.

    An archive in `cache.packages` is read there; otherwise its channel or mirror is asked. What
    was found is remembered by the package's SHA-256. A version that PEP 440 doesn't know is
    returned as the package has it.

    Raises `LockError` `lock.package-unreadable`, and `EnvbuildError` `credential.unset`.
    """
    known = {package.sha256: _recall(package, cache) for package in packages}
    unknown = {p.sha256: p for p in packages if known[p.sha256] is None}
    if unknown:
        for sha256, found in _ask(list(unknown.values()), settings, cache, logs).items():
            write_atomic(_memory(sha256, cache), json.dumps(found, sort_keys=True))
            known[sha256] = found
    names: dict[str, str] = {}
    for package in packages:
        names |= known[package.sha256] or {}
    return dict(sorted(names.items()))


def _memory(sha256: str, cache: Cache) -> Path:
    return cache.root / "conda-names" / f"{sha256}.json"


def _recall(package: CondaPackage, cache: Cache) -> dict[str, str] | None:
    try:
        found: dict[str, str] = json.loads(_memory(package.sha256, cache).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return found


def _ask(
    packages: Sequence[CondaPackage], settings: Settings, cache: Cache, logs: Path
) -> dict[str, dict[str, str]]:
    """Return each package's distributions by its SHA-256, asked of a child process."""
    questions = []
    for package in packages:
        archive = cache.package(package.sha256, package.filename)
        place = str(archive) if archive.is_file() else package.url
        questions.append({"sha256": package.sha256, "place": place})
        expand_references(package.url)  # the child can't say as well which variable isn't set
    environment = {**os.environ, **mirror_environment(settings.mirrors)}
    with tempfile.TemporaryDirectory(prefix="envbuild-names-") as folder:
        file = Path(folder) / "questions.json"
        file.write_text(json.dumps(questions))
        command = [*child_command("envbuild.lock.conda_names"), str(file)]
        answers = json.loads(run_tool(command, tool="py-rattler", env=environment, logs=logs))
    return {sha256: _find_distributions(answer) for sha256, answer in answers.items()}


def _find_distributions(answer: Mapping[str, Any]) -> dict[str, str]:
    if "error" in answer:
        raise LockError(
            "lock.package-unreadable",
            f"what `{strip_credentials(answer['place'])}` installs can't be read: "
            f"{strip_credentials(answer['error'])}",
            hint="check that this machine reaches the channel; if the channel no longer has the "
            "package, lock again with `--upgrade`",
        )
    found = (_INSTALLED.match(path) for path in answer["paths"])
    return {normalise_name(m["name"]): _normalise_version(m["version"]) for m in found if m}


def _normalise_version(text: str) -> str:
    from packaging.version import InvalidVersion, Version

    try:
        return str(Version(text.replace("_", "-")))
    except InvalidVersion:
        return text


def main() -> NoReturn:
    """Read the questions in the file that the argument names, print the answers as JSON."""
    import asyncio

    questions = json.loads(Path(sys.argv[1]).read_bytes())
    print(json.dumps(asyncio.run(_read_all(questions))))
    leave(0)


async def _read_all(questions: Sequence[Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    import asyncio

    places = {question["place"]: _find_private(question["place"]) for question in questions}
    client = open_client([private for private in places.values() if private])
    gate = asyncio.Semaphore(_AT_ONCE)

    async def answer(place: str) -> dict[str, Any]:
        async with gate:
            try:
                private = places[place]
                shown = f"{private.shown}/{place.rpartition('/')[2]}" if private else place
                return {"paths": await _read_paths(shown, client)}
            except Exception as error:  # noqa: BLE001 - rattler has no common class for them
                reason = str(error).strip().splitlines()
                return {"place": place, "error": reason[-1] if reason else type(error).__name__}

    answers = await asyncio.gather(*(answer(question["place"]) for question in questions))
    return {question["sha256"]: found for question, found in zip(questions, answers, strict=True)}


def _find_private(place: str) -> PrivateChannel | None:
    """Return the folder of a package as a channel, if its URL has references."""
    return PrivateChannel.parse(place.rpartition("/")[0])


async def _read_paths(place: str, client: Any) -> list[str]:
    from rattler.package_streaming import PackageArchive

    if place.startswith("file://"):
        place = unquote(urlsplit(place).path)
    if "://" in place:
        archive = await PackageArchive.from_url(client, place)
    else:
        archive = await PackageArchive.from_path(place)
    # Packages from before 2017 have no paths.json.
    files = await archive.read_files(["info/paths.json", "info/files"])
    described = files["info/paths.json"]
    if described is not None:
        return [entry["_path"] for entry in json.loads(described)["paths"]]
    return (files["info/files"] or b"").decode().splitlines()


if __name__ == "__main__":
    main()
