"""Runs the link scripts of conda packages in a container, and hands out what they changed.

The rules are conda's (`conda.core.link.run_script`): bash where there is one, in the folder of the
scripts, with `PREFIX`, `PKG_NAME`, `PKG_VERSION`, `PKG_BUILDNUM` and `ROOT_PREFIX`; what a script
leaves in `PREFIX/.messages.txt` is for people, and not installed.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from envbuild.engine.client import Engine, explained
from envbuild.engine.container import Container, open_container
from envbuild.engine.difference import Change, list_changes, write_difference
from envbuild.engine.outputs import read_small_file
from envbuild.engine.plan import ContainerPlan
from envbuild.errors import EngineError

__all__ = ["LinkScript", "check_processor", "run_link_scripts"]

_SHELLS: Final = ("{prefix}/bin/bash", "/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh")
_NOWHERE: Final = (
    "/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys", "/etc/hosts", "/etc/hostname",  # noqa: S108
    "/etc/resolv.conf", "/etc/mtab", "/.dockerenv", "/root/.cache",
)  # fmt: skip
"""What is not the image's: temporary files, and what the engine puts into each container."""
_NAMED: Final = 5
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, kw_only=True, slots=True)
class LinkScript:
    """A package whose script `PREFIX/bin/.NAME-post-link.sh` is to run."""

    name: str
    version: str
    build_number: int


@dataclass(slots=True)
class _Ear:
    """Hears what the scripts say, and remembers which of them runs."""

    mark: str
    on_line: Callable[[str], object] | None
    running: str = ""

    def hear(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip("\r\n")
        if text.startswith(self.mark):
            self.running = text.removeprefix(self.mark).strip()
            text = f"link script of {self.running}"
        if self.on_line is not None:
            self.on_line(text)


def run_link_scripts(
    engine: Engine,
    image_id: str,
    scripts: Sequence[LinkScript],
    target: IO[bytes],
    *,
    prefix: str,
    log: Path,
    on_line: Callable[[str], object] | None = None,
) -> str:
    """Run the scripts in their order in one container and write what they changed into `target`.

    `target` gets a plain tar (`engine.difference`); the container has no network, and `/tmp` and
    the home folder vanish with it. All that the scripts say goes to the file `log`, and by lines to
    `on_line`. Returns what they left for people to read, mostly nothing.

    Raises `EngineError`: `engine.link-script` for a script that fails, `engine.link-outside` for a
    change outside of `prefix`, `engine.no-shell`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    for shell in (text.format(prefix=prefix) for text in _SHELLS):
        try:
            return _run(engine, image_id, scripts, target, shell, prefix, log, on_line)
        except EngineError as error:
            if error.code != "engine.no-command":
                raise
    raise EngineError(
        "engine.no-shell",
        f"the image has no shell, which the link scripts of {_name(scripts)} need",
        hint='add `bash` to `conda.dependencies`, or set `link-scripts = "ignore"`',
    )


def _name(scripts: Sequence[LinkScript]) -> str:
    return ", ".join(f"`{script.name}`" for script in scripts)


def check_processor(engine: Engine, architecture: str, scripts: Sequence[LinkScript]) -> None:
    """Raise `EngineError` `engine.link-foreign` if this engine can't run them.

    `architecture` is OCI's (`arm64`).
    """
    with explained("describe itself", address=engine.address):
        api: Any = engine.client.api
        here = str(api.version().get("Arch"))
    if architecture != here:
        raise EngineError(
            "engine.link-foreign",
            f"the link scripts of {_name(scripts)} can't run here: they are for `{architecture}`, "
            f"and this engine's processor is `{here}`",
            hint="build and push once on a machine of that kind; then this one takes the layer "
            'from the registry. Or set `link-scripts = "ignore"`',
        )


def _run(
    engine: Engine,
    image_id: str,
    scripts: Sequence[LinkScript],
    target: IO[bytes],
    shell: str,
    prefix: str,
    log: Path,
    on_line: Callable[[str], object] | None,
) -> str:
    ear = _Ear(mark=f"envbuild-{secrets.token_hex(8)} ", on_line=on_line)
    plan = ContainerPlan(
        name=f"envbuild-link-{secrets.token_hex(6)}",
        image=image_id,
        command=(shell, "-c", _render_driver(scripts, shell=shell, prefix=prefix, mark=ear.mark)),
        environment=_render_environment(prefix),
        workdir="/",
        user="0:0",
        network="none",
        init=False,  # it would hide that there is no such shell
        writable=("/tmp",),  # noqa: S108 - in the container, and gone with it
    )
    with open_container(engine, plan) as container:
        container.start(log=log, sink=ear.hear)
        code = container.wait()
        container.finish_log()
        if code:
            raise EngineError(
                "engine.link-script",
                f"the link script of `{ear.running}` failed with exit code {code}; what it said is "
                f"in `{log}`",
                hint=f"to see it, run `cat {shlex.quote(str(log))}`; it has no network. To do "
                'without, set `link-scripts = "ignore"` in the `[conda]` table',
            )
        return _collect(engine, container, target, prefix, log)


def _collect(
    engine: Engine, container: Container, target: IO[bytes], prefix: str, log: Path
) -> str:
    messages = f"{prefix}/.messages.txt"
    changes = list_changes(engine, container.id)
    _check_places(changes, prefix, log)
    kept = [c for c in changes if c.path.startswith(f"{prefix}/") and c.path != messages]
    write_difference(engine, container.id, kept, target, work=log.parent)
    said = read_small_file(engine.client, container.id, messages)
    return (said or b"").decode(errors="replace").strip()


def _check_places(changes: Sequence[Change], prefix: str, log: Path) -> None:
    """Refuse changes outside of the prefix: they are no part of any package."""
    outside = [
        change.path
        for change in changes
        if not f"{change.path}/".startswith((f"{prefix}/", *(f"{p}/" for p in _NOWHERE)))
        and not any(f"{place}/".startswith(f"{change.path}/") for place in (*_NOWHERE, prefix))
    ]
    if outside:
        named = ", ".join(f"`{path}`" for path in outside[:_NAMED])
        more = f" and {len(outside) - _NAMED} more" if len(outside) > _NAMED else ""
        raise EngineError(
            "engine.link-outside",
            f"link scripts changed what is outside of `{prefix}`: {named}{more}; what they said is "
            f"in `{log}`",
            hint="a conda package may only touch its environment: tell its maintainers, or set "
            '`link-scripts = "ignore"` in the `[conda]` table',
        )


def _render_environment(prefix: str) -> dict[str, str]:
    return {
        "PATH": f"{prefix}/bin:{_PATH}",
        "PREFIX": prefix,
        "ROOT_PREFIX": prefix,
        "CONDA_PREFIX": prefix,
        "HOME": "/tmp",  # noqa: S108 - in the container
        "TMPDIR": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "SOURCE_DATE_EPOCH": "0",
        # Byte code has times in it, and is made with the package's layer where it is wanted.
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def _render_driver(scripts: Sequence[LinkScript], *, shell: str, prefix: str, mark: str) -> str:
    """Return the shell's program that runs one script after another, each in a process."""
    lines = [f"cd {shlex.quote(f'{prefix}/bin')} || exit 1"]
    for script in scripts:
        table = {
            "PKG_NAME": script.name,
            "PKG_VERSION": script.version,
            "PKG_BUILDNUM": str(script.build_number),
        }
        variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in table.items())
        path = shlex.quote(f"{prefix}/bin/.{script.name}-post-link.sh")
        lines += [
            f"echo {shlex.quote(f'{mark}{script.name} {script.version}')}",
            f"{variables} {shlex.quote(shell)} {path} </dev/null || exit $?",
        ]
    return "\n".join(lines)
