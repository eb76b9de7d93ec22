"""A small stand-in for `conda` that conda-lock calls, in front of py-rattler's solver.

It knows the commands of conda that conda-lock 4 uses to lock (`conda_lock/conda_solver.py` and
`invoke_conda.py` there), prints the JSON that it reads, and changes nothing anywhere. Channels are
strictly ordered: a package comes from the first one that has it. The platform is `CONDA_SUBDIR`.

It runs in child processes only: `python -m envbuild.lock.conda_front create --dry-run ...`.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from envbuild.kit.urls import strip_credentials
from envbuild.lock.conda_client import (
    BEFORE_VARIABLE,
    PINS_VARIABLE,
    SIZES_VARIABLE,
    PrivateChannel,
    leave,
    open_client,
    repodata_cache,
    restore_variables,
)

if TYPE_CHECKING:
    from rattler import Gateway, GenericVirtualPackage, RepoDataRecord, Subdir
    from rattler.networking import Client

__all__ = ["main"]

CHANNEL_FAILED: Final = "CondaHTTPError"
UNSATISFIABLE: Final = "UnsatisfiableError"
"""conda's own names for what went wrong, in the `exception_name` of its JSON."""


class _FrontError(Exception):
    """What goes to conda-lock as conda's JSON for an error."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


@dataclass(frozen=True, kw_only=True, slots=True)
class _Request:
    """What to solve: `pins` maps a package's name to the SHA-256 that is preferred for it.

    `channels` are as rattler takes them, `private` those that have another name outside.
    """

    platform: str
    channels: tuple[str, ...]
    private: tuple[PrivateChannel, ...]
    specs: tuple[str, ...]
    virtual: tuple[Mapping[str, Any], ...]
    pins: Mapping[str, str]

    @property
    def subdirs(self) -> list[Subdir]:
        from rattler import Subdir

        return [Subdir(self.platform), Subdir("noarch")]


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Answer one call of conda-lock and end the process."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        from importlib.metadata import version

        print(f"conda-front {version('py-rattler')}")
        leave(0)
    restore_variables()
    try:
        answer = _answer(_parse(arguments))
    except _FrontError as error:
        message = strip_credentials(str(error))
        print(json.dumps({"error": message, "message": message, "exception_name": error.name}))
        leave(1)
    print(json.dumps(answer))
    leave(0)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="conda-front", allow_abbrev=False)
    parser.add_argument("command", choices=("create", "install", "update", "list", "info"))
    parser.add_argument("--prefix", "-p", type=Path)
    parser.add_argument("--channel", "-c", action="append", default=[])
    for flag in ("--dry-run", "--json", "--override-channels", "--no-pip"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("specs", nargs="*")
    known = parser.parse_intermixed_args(arguments)
    if known.command in {"create", "install", "update"} and not (known.dry_run and known.json):
        parser.error("this front only solves: give `--dry-run --json`")
    return known


def _answer(arguments: argparse.Namespace) -> object:
    if arguments.command == "info":
        return {"pkgs_dirs": [os.environ.get("CONDA_PKGS_DIRS", "")]}
    if arguments.command == "list":
        return _list(arguments.prefix)
    platform = os.environ["CONDA_SUBDIR"]
    channels, virtual = _split_channels(arguments.channel, platform)
    if arguments.command == "create":
        specs, pins = arguments.specs, _load_pins(platform)
    else:
        specs, pins = _update(arguments.prefix, arguments.specs)
    known = [PrivateChannel.parse(channel) for channel in channels]
    request = _Request(
        platform=platform,
        channels=tuple(k.shown if k else c for c, k in zip(channels, known, strict=True)),
        private=tuple(k for k in known if k),
        specs=tuple(specs),
        virtual=tuple(virtual),
        pins=pins,
    )
    packages = asyncio.run(_solve(request))
    _tell_sizes(packages)
    return {"success": True, "actions": {"FETCH": packages, "LINK": packages}}


def _read_installed(prefix: Path) -> list[dict[str, Any]]:
    files = sorted((prefix / "conda-meta").glob("*.json"))
    return [json.loads(file.read_bytes()) for file in files]


def _list(prefix: Path) -> list[dict[str, Any]]:
    """Return what `conda list --json` says of the environment that conda-lock made up."""
    return [
        {
            "name": entry["name"],
            "version": entry["version"],
            "build_string": entry["build"],
            "build_number": entry["build_number"],
            "channel": entry["channel"],
            "dist_name": entry["fn"].removesuffix(".tar.bz2").removesuffix(".conda"),
            "platform": entry["subdir"],
        }
        for entry in _read_installed(prefix)
    ]


def _update(prefix: Path, specs: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the specs and pins of an update: `specs` move, the rest stays where it can."""
    from rattler import MatchSpec

    moving = {str(MatchSpec(spec).name.normalized) for spec in specs}
    rest = [entry for entry in _read_installed(prefix) if entry["name"] not in moving]
    pins = {entry["name"]: entry["sha256"] for entry in rest if entry.get("sha256")}
    return [*specs, *(entry["name"] for entry in rest)], pins


def _load_pins(platform: str) -> dict[str, str]:
    named = os.environ.get(PINS_VARIABLE)
    pins: dict[str, dict[str, str]] = json.loads(Path(named).read_bytes()) if named else {}
    return pins.get(platform, {})


def _tell_sizes(packages: Sequence[Mapping[str, Any]]) -> None:
    """Leave the sizes that the channels know for whoever asked conda-lock."""
    named = os.environ.get(SIZES_VARIABLE)
    if named:
        sizes = {package["sha256"]: package["size"] for package in packages if package["size"]}
        with Path(named).open("a", encoding="utf-8") as file:
            file.write(json.dumps(sizes) + "\n")


def _split_channels(
    channels: Sequence[str], platform: str
) -> tuple[list[str], list[Mapping[str, Any]]]:
    """Tell the real channels from the one, always last, that conda-lock made of virtual packages.

    As a channel it would satisfy `depends` on virtual packages, but not enforce `constrains`.
    """
    if not channels or not channels[-1].startswith("file://"):
        return list(channels), []
    folder = Path(channels[-1].removeprefix("file://"))  # conda-lock quotes nothing in it
    found: list[Mapping[str, Any]] = []
    for subdir in (platform, "noarch"):
        file = folder / subdir / "repodata.json"
        if not file.is_file():
            continue
        for entry in json.loads(file.read_bytes()).get("packages", {}).values():
            if entry.get("package_type") != "virtual_system":
                return list(channels), []
            found.append(entry)
    return (list(channels[:-1]), found) if found else (list(channels), [])


async def _solve(request: _Request) -> list[dict[str, Any]]:
    from rattler import Gateway, MatchSpec, solve
    from rattler.exceptions import (
        GatewayError,
        InvalidChannelError,
        InvalidMatchSpecError,
        SolverError,
    )

    client = open_client(request.private)
    gateway = Gateway(cache_dir=repodata_cache(), client=client)
    try:
        records = await solve(
            request.channels,
            # Not from the texts: rattler reads those strictly, and refuses conda's `name 1.0`.
            [MatchSpec(spec) for spec in request.specs],
            gateway=gateway,
            platforms=request.subdirs,
            virtual_packages=[_virtual_package(entry) for entry in request.virtual],
            locked_packages=await _find_pinned(request, gateway),
            exclude_newer=_find_last(),
        )
        return [await _describe(record, client, request.private) for record in records]
    except SolverError as error:
        raise _FrontError(UNSATISFIABLE, await _explain(request, gateway, error)) from error
    except GatewayError as error:
        raise _FrontError(CHANNEL_FAILED, str(error)) from error
    except (InvalidMatchSpecError, InvalidChannelError) as error:
        raise _FrontError(type(error).__name__, str(error)) from error


def _find_last() -> dt.datetime | None:
    """Return the last moment that is seen; rattler's own times have milliseconds."""
    before = os.environ.get(BEFORE_VARIABLE)
    return dt.datetime.fromisoformat(before) - dt.timedelta(milliseconds=1) if before else None


def _virtual_package(entry: Mapping[str, Any]) -> GenericVirtualPackage:
    from rattler import BuildString, GenericVirtualPackage, PackageName, Version

    return GenericVirtualPackage(
        PackageName(entry["name"]), Version(entry["version"]), BuildString(entry["build"])
    )


async def _find_pinned(request: _Request, gateway: Gateway) -> list[RepoDataRecord]:
    """Return the pinned packages as the channels describe them; what they dropped is no pin."""
    if not request.pins:
        return []
    answers = await gateway.query(
        request.channels, request.subdirs, sorted(request.pins), recursive=False
    )
    return [
        record
        for records in answers
        for record in records
        if record.sha256 and record.sha256.hex() == request.pins.get(record.name.normalized)
    ]


async def _explain(request: _Request, gateway: Gateway, error: Exception) -> str:
    """Return the solver's explanation, and near names for those that no channel has."""
    from rattler import MatchSpec
    from rattler.exceptions import GatewayError

    lines = [str(error).removeprefix("Cannot solve the request because of: ").strip()]
    try:
        known = {n.normalized for n in await gateway.names(request.channels, request.subdirs)}
    except GatewayError:
        return lines[0]  # what the solver said stands without it
    for spec in request.specs:
        name = str(MatchSpec(spec).name.normalized)
        if name in known or name.startswith("__"):
            # The solver says who else asks for it, and not always that the request does.
            if spec != name and f" {name} " in lines[0] and spec not in lines[0]:
                lines.append(f"the request itself asks for `{spec}`")
            continue
        near = get_close_matches(name, sorted(known), n=3)
        also = f"; near names: {', '.join(near)}" if near else ""
        lines.append(f"no channel has `{name}` for this platform{also}")
    return "\n".join(lines)


async def _describe(
    record: RepoDataRecord, client: Client, private: Sequence[PrivateChannel]
) -> dict[str, Any]:
    """Return the package as conda's FETCH and LINK actions have it."""
    if record.sha256:
        sha256, size = record.sha256.hex(), record.size or 0
    else:
        sha256, size = await _hash_archive(record, client)
    described = {
        "name": record.name.normalized,
        "version": str(record.version),
        "build": str(record.build),
        "build_string": str(record.build),
        "build_number": record.build_number,
        "subdir": record.subdir,
        "channel": _restore(record.channel, private),
        "url": _restore(record.url, private),
        "fn": record.file_name,
        "dist_name": record.file_name.removesuffix(".tar.bz2").removesuffix(".conda"),
        "depends": list(record.depends),
        "constrains": list(record.constrains),
        "sha256": sha256,
        "size": size,
    }
    if record.md5:  # conda-lock takes a missing one for empty, and refuses null
        described["md5"] = record.md5.hex()
    return described


def _restore(url: str | None, private: Sequence[PrivateChannel]) -> str | None:
    for channel in private:
        url = channel.restore(url) if url else url
    return url


async def _hash_archive(record: RepoDataRecord, client: Client) -> tuple[str, int]:
    """Return SHA-256 and size of an archive whose channel only has an MD5, which is checked."""
    import hashlib

    from rattler.package_streaming import download_to_writer

    class Writer:
        def __init__(self) -> None:
            self.hashes = [hashlib.sha256(), hashlib.md5(usedforsecurity=False)]
            self.size = 0

        def write(self, data: bytes) -> int:
            for each in self.hashes:
                each.update(data)
            self.size += len(data)
            return len(data)

    writer = Writer()
    await download_to_writer(client, record.url, writer)
    sha256, md5 = (each.hexdigest() for each in writer.hashes)
    if record.md5 and record.md5.hex() != md5:
        raise _FrontError(
            CHANNEL_FAILED, f"`{record.url}` is not the archive that the channel's index names"
        )
    return sha256, writer.size


if __name__ == "__main__":
    main()
