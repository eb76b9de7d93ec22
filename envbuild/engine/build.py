"""Builds a Dockerfile into a base image: Docker Engine with BuildKit, through docker's command.

The command, and not the SDK: only it speaks BuildKit's session, which carries the context, secrets
and progress. A secret's value goes from this process's environment to the command's, never into an
argument or a file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuild.engine.builder import Builder, find_builder
from envbuild.engine.client import Engine, explained
from envbuild.engine.context import DockerBuild, digest_build
from envbuild.engine.export import ExportedImage, export_image
from envbuild.errors import EngineError, EnvbuildError
from envbuild.kit.process import ToolExitError, stream_tool

__all__ = ["BuiltBase", "build_base"]

_TAG_DIGITS: Final = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class BuiltBase:
    """What a build came to: its digest (`digest_build`), its log, and the image's parts."""

    key: str
    log: Path
    image: ExportedImage


@contextlib.contextmanager
def build_base(
    engine: Engine,
    build: DockerBuild,
    *,
    platform: str,
    work: Path,
    logs: Path,
    on_line: Callable[[str], object] | None = None,
    fresh: bool = False,
) -> Iterator[BuiltBase]:
    """Build for `platform` (`linux/amd64`) and give the result while the block runs.

    All that the build says goes to a file below `logs` and line by line to `on_line`; there is no
    time limit, and Ctrl-C ends the build. `fresh` asks registries anew for what `FROM` names and
    runs every step. The image stays in the engine, named `envbuild-base:DIGITS`, so that the steps
    that didn't change need not run the next time. `work` is a folder for a file of its size.

    Raises `EngineError`: `engine.build` (with the log's path), `engine.build-foreign`,
    `engine.build-moved`, `engine.no-buildkit`, `engine.bad-export`, those of `digest_build`, and
    `EnvbuildError` `credential.unset` for a secret whose variable isn't set.
    """
    builder = find_builder()
    key = digest_build(build, platform=platform)
    name = f"envbuild-base:{key.removeprefix('sha256:')[:_TAG_DIGITS]}"
    tag = f"{name}-{secrets.token_hex(4)}"
    held = _read_secrets(build)
    work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".build.", suffix=".part", dir=work) as folder:
        arguments = _render_arguments(build, Path(folder), platform=platform, tag=tag, fresh=fresh)
        log = _run(engine, builder, arguments, held, logs, on_line, platform)
    try:
        if digest_build(build, platform=platform) != key:
            raise EngineError(
                "engine.build-moved",
                "the Dockerfile or its context changed while it was built",
                hint="start again once nothing writes there; what a program writes while it runs "
                "belongs into `.dockerignore`",
            )
        with export_image(engine, _find_image(engine, tag), work=work) as image:
            yield BuiltBase(key=key, log=log, image=image)
    finally:
        _keep_as(engine, tag, name)


def _read_secrets(build: DockerBuild) -> dict[str, str]:
    """Return the value of each secret's variable."""
    values = {}
    for identifier, variable in sorted(build.secrets.items()):
        value = os.environ.get(variable)
        if not value:
            raise EnvbuildError(
                "credential.unset",
                f"the variable `{variable}`, which holds the build secret `{identifier}`, "
                "is not set",
                hint=f"set it with `export {variable}=...`, then start again",
            )
        values[variable] = value
    return values


def _render_arguments(
    build: DockerBuild, folder: Path, *, platform: str, tag: str, fresh: bool
) -> list[str]:
    file = build.dockerfile
    if isinstance(file, str):
        file = folder / "Dockerfile"
        file.write_text(str(build.dockerfile), encoding="utf-8")
    nothing = folder / "context"
    nothing.mkdir()
    return [
        "--progress=plain",
        f"--platform={platform}",
        f"--tag={tag}",
        f"--file={file.absolute()}",
        *(["--pull", "--no-cache"] if fresh else []),
        *(f"--build-arg={name}={value}" for name, value in sorted(build.args.items())),
        *(f"--secret=id={name},env={variable}" for name, variable in sorted(build.secrets.items())),
        *([f"--target={build.target}"] if build.target else []),
        str((build.context or nothing).absolute()),
    ]


def _run(
    engine: Engine,
    builder: Builder,
    arguments: list[str],
    held: Mapping[str, str],
    logs: Path,
    on_line: Callable[[str], object] | None,
    platform: str,
) -> Path:
    environment = {**os.environ, **engine.pinned, **builder.environment}
    try:
        return stream_tool(
            [*builder.command, *arguments],
            tool="docker build",
            env=environment,
            logs=logs,
            secrets=tuple(held.values()),
            on_line=on_line,
        )
    except ToolExitError as error:
        raise _explain(error, platform) from error


def _explain(error: ToolExitError, platform: str) -> EngineError:
    reason = _find_reason(error.output)
    if "exec format error" in error.output:
        return EngineError(
            "engine.build-foreign",
            f"the Dockerfile runs programs for `{platform}`, which this engine's processor can't "
            f"run; the build's log is `{error.log}`",
            hint="build on a machine of that kind and push from there, or install QEMU's binfmt "
            "handlers on the engine's machine",
        )
    return EngineError(
        "engine.build",
        f"the Dockerfile can't be built{reason}; the whole log is `{error.log}`",
        hint=f"to see all it said, run `cat {error.log}`",
    )


def _find_reason(output: str) -> str:
    """Return BuildKit's own last words, as a part of a sentence."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if "ERROR:" in line or "error:" in line), "")
    said = said or (lines[-1] if lines else "")
    short = said if len(said) <= 300 else f"{said[:300]}..."
    return f": {short.rstrip('.')}" if short else ""


def _find_image(engine: Engine, tag: str) -> str:
    from docker.errors import ImageNotFound

    with explained("find the image that was built", address=engine.address):
        try:
            api: Any = engine.client.api
            return str(api.inspect_image(tag)["Id"])
        except ImageNotFound as error:
            raise EngineError(
                "engine.build",
                f"the build ended well, but Docker Engine at `{engine.address}` has no image of it",
                hint="`docker buildx ls` says which builder is in use; choose one of this engine "
                "with `docker buildx use default`",
            ) from error


def _keep_as(engine: Engine, tag: str, name: str) -> None:
    """Give the image its lasting name; this build's own goes."""
    from docker.errors import DockerException

    repository, _, plain = name.rpartition(":")
    with contextlib.suppress(DockerException, OSError):
        engine.client.api.tag(tag, repository, plain, force=True)
        engine.client.api.remove_image(tag, noprune=True)
