"""Names the build of a Dockerfile by all that goes into it; pure but for reading the files.

What a build downloads, and what its base image's tag means today, can't be known beforehand: two
builds of one digest may differ. The digest says that nothing of the repository has changed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import Final

from envbuild.engine.ignore import Ignore, Walk, parse_ignore
from envbuild.errors import EngineError
from envbuild.kit.canonical import digest_bytes, digest_file, digest_json

__all__ = ["BUILD_VERSION", "ContextEntry", "DockerBuild", "digest_build", "list_context"]

BUILD_VERSION: Final = 1
"""Version of what the digest is made from; raised with any change of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DockerBuild:
    """A build: the Dockerfile as a file or as a text, and what it may use.

    `context` is the folder that `COPY` takes from, None for none. `secrets` maps a secret's ID to
    the variable of this process that holds it. `args` are the build arguments.
    """

    dockerfile: Path | str
    context: Path | None = None
    args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextEntry:
    """One path of a context, relative and with `/`: what it is, and what of it counts.

    `content` is a file's digest or a link's target; a folder has none.
    """

    path: str
    kind: str
    executable: bool = False
    content: str = ""


def digest_build(build: DockerBuild, *, platform: str) -> str:
    """Return the digest of all that `build` is made from on `platform` (`linux/amd64`).

    Of files, their paths, their contents and whether they are executable; not their times, owners
    and other modes, in which two checkouts differ. Of secrets nothing at all. Raises `EngineError`
    `engine.no-dockerfile`, `engine.no-context`, `engine.dockerignore`, `engine.unreadable`.
    """
    return digest_json(
        {
            "envbuild-build": BUILD_VERSION,
            "dockerfile": digest_bytes(_read_dockerfile(build)),
            "context": [
                [entry.path, entry.kind, entry.executable, entry.content]
                for entry in list_context(build)
            ],
            "args": dict(build.args),
            "target": build.target,
            "platform": platform,
        }
    )


def _read_dockerfile(build: DockerBuild) -> bytes:
    if isinstance(build.dockerfile, str):
        return build.dockerfile.encode()
    try:
        return build.dockerfile.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise EngineError(
            "engine.no-dockerfile",
            f"there is no Dockerfile `{build.dockerfile}`",
            hint="`image.dockerfile` is a file's path, relative to the folder with `noxfile.py`",
        ) from None
    except OSError as error:
        raise _unreadable(build.dockerfile, error) from error


def list_context(build: DockerBuild) -> tuple[ContextEntry, ...]:
    """Return what of the context is sent to the engine, sorted by path.

    Links are links, wherever they lead; sockets, pipes and devices are left out. Raises as
    `digest_build` does.
    """
    if build.context is None:
        return ()
    if not build.context.is_dir():
        raise EngineError(
            "engine.no-context",
            f"the build's context `{build.context}` is no folder",
            hint="`image.context` is a folder's path, relative to the folder with `noxfile.py`",
        )
    ignore = _load_ignore(build, build.context)
    try:
        found = list(_walk(build.context, "", ignore, Walk()))
    except OSError as error:
        raise _unreadable(Path(str(error.filename or build.context)), error) from error
    return tuple(sorted(found, key=lambda entry: entry.path))


def _load_ignore(build: DockerBuild, context: Path) -> Ignore:
    """Return the rules beside the Dockerfile, else those of the context."""
    places = [context / ".dockerignore"]
    if isinstance(build.dockerfile, Path):
        places.insert(0, build.dockerfile.with_name(build.dockerfile.name + ".dockerignore"))
    for place in places:
        try:
            text = place.read_text(encoding="utf-8", errors="surrogateescape")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(place, error) from error
        return parse_ignore(text, where=str(place))
    return Ignore()


def _walk(root: Path, stem: str, ignore: Ignore, walk: Walk) -> Iterator[ContextEntry]:
    with os.scandir(root / stem) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        path = f"{stem}/{entry.name}" if stem else entry.name
        mode = entry.stat(follow_symlinks=False).st_mode
        folder = S_ISDIR(mode)
        sent, below = ignore.enter(path, walk, folder=folder)
        if sent and (described := _describe(root, path, mode)):
            yield described
        if folder and below is not None:
            yield from _walk(root, path, ignore, below)


def _describe(root: Path, path: str, mode: int) -> ContextEntry | None:
    name = _text(path)
    if S_ISDIR(mode):
        return ContextEntry(path=name, kind="folder")
    if S_ISLNK(mode):
        return ContextEntry(path=name, kind="link", content=_text(str((root / path).readlink())))
    if S_ISREG(mode):
        content = digest_file(root / path)
        return ContextEntry(path=name, kind="file", executable=bool(mode & 0o111), content=content)
    return None


def _text(path: str) -> str:
    """Return a path as a text that JSON has, each with another one, whatever its bytes are."""
    raw = os.fsencode(path)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "\0" + raw.decode("latin-1")


def _unreadable(path: Path, error: OSError) -> EngineError:
    return EngineError(
        "engine.unreadable",
        f"`{path}`, which belongs to the Dockerfile's build, can't be read: {error.strerror}",
        hint="correct its mode, or leave it out with a line in `.dockerignore`",
    )
