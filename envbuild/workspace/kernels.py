"""Jupyter kernelspecs of environments: written, listed and removed, as files that Jupyter reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuild.errors import RunError
from envbuild.image.plan import ImagePlan
from envbuild.kit.files import write_atomic
from envbuild.lock.names import normalise_name

__all__ = [
    "Kernel",
    "check_ipykernel",
    "container_command",
    "find_folder",
    "list_kernels",
    "prefix_command",
    "remove_kernel",
    "write_kernel",
]

_NAME: Final = re.compile(r"[A-Za-z0-9._-]+")
_CONNECTION: Final = "{connection_file}"
"""What a Jupyter client replaces by the connection file's path."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Kernel:
    """One kernelspec. `target` is `docker` or `local`, `what` the image ID or the prefix."""

    name: str
    display_name: str
    environment: str
    root: str
    target: str
    what: str


def find_folder() -> Path:
    """Return the user's folder of kernelspecs, where every Jupyter client looks."""
    if named := os.environ.get("JUPYTER_DATA_DIR"):
        return Path(named) / "kernels"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Jupyter" / "kernels"
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "jupyter" / "kernels"


def check_ipykernel(image: ImagePlan) -> None:
    """Raise `RunError` `kernel.no-ipykernel` if the environment can't be a Jupyter kernel."""
    packages = (*image.recipe.artifacts, *image.recipe.local)
    if image.recipe.managed and not any(normalise_name(p.name) == "ipykernel" for p in packages):
        raise RunError(
            "kernel.no-ipykernel",
            f"`{image.name}` has no `ipykernel`, without which it can't be a Jupyter kernel",
            hint=f"to add it, run `nox -s add -- {image.name} --pip ipykernel`",
        )


def container_command(
    image: ImagePlan, *, root: Path, image_id: str, python: str, gpus: int = 0
) -> tuple[str, ...]:
    """Return what starts a kernel in the image `image_id`."""
    return (
        *(*_run("kernel"), "--image", image_id, "--python", python),
        *("--root", str(root.resolve()), "--environment", image.name, *_variables(image)),
        *(("--gpus", str(gpus)) if gpus else ()),
        _CONNECTION,
    )


def prefix_command(image: ImagePlan, *, link: Path) -> tuple[str, ...]:
    """Return what starts a kernel in the environment at `link`, as it is at each start."""
    return (
        *(*_run("prefix_kernel"), "--prefix", str(link), "--environment", image.name),
        *(*_variables(image), _CONNECTION),
    )


def _run(module: str) -> tuple[str, ...]:
    # A client starts it in the notebook's folder, whose files must not be taken for modules: -P.
    return sys.executable, "-P", "-m", f"envbuild.run.{module}"


def _variables(image: ImagePlan) -> tuple[str, ...]:
    """Return the variables as the spec has them; `${VAR}` gets its value at each start, from us.

    Not in the kernelspec's own `env`: clients differ in what they make of a `$` there, and would
    put a reference in place of the variable of the same name that it refers to. An argument stays
    as it is but for `{NAME}`, and in JSON a brace has another spelling.
    """
    return tuple(
        word
        for name, value in image.spec.env.items()
        for word in ("--env", f"{name}={json.dumps(value)}".replace("{", "\\u007b"))
    )


def write_kernel(kernel: Kernel, *, command: tuple[str, ...], folder: Path) -> Path:
    """Write the kernelspec below `folder`, whole or not at all; return its file.

    Raises `RunError`: `kernel.bad-name`, `kernel.occupied` for a name that another repository's
    environment or another program has.
    """
    _check_name(kernel.name)
    place = folder / kernel.name.lower()
    there = _read(place)
    if place.exists() and (there is None or there.root != kernel.root):
        raise RunError(
            "kernel.occupied",
            f"there is another kernel `{kernel.name}` already: `{place}`",
            hint=f"give this one a name: `nox -s kernel -- {kernel.environment} --name NAME`",
        )
    spec = {
        "argv": list(command),
        "display_name": kernel.display_name,
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {
            "debugger": True,
            "envbuild": {
                "environment": kernel.environment, "root": kernel.root, "target": kernel.target,
                "what": kernel.what,
            },
        },
    }  # fmt: skip
    write_atomic(place / "kernel.json", json.dumps(spec, indent=1) + "\n")
    return place / "kernel.json"


def list_kernels(folder: Path, root: Path) -> tuple[Kernel, ...]:
    """Return the kernels of the repository `root`, by name."""
    if not folder.is_dir():
        return ()
    found = (_read(place) for place in sorted(folder.iterdir()))
    return tuple(kernel for kernel in found if kernel and kernel.root == str(root.resolve()))


def remove_kernel(folder: Path, name: str, root: Path) -> None:
    """Remove a kernel of the repository `root`; raises `RunError` `kernel.missing` for no such."""
    _check_name(name)
    known = {kernel.name.lower() for kernel in list_kernels(folder, root)}
    if name.lower() not in known:
        raise RunError(
            "kernel.missing",
            f"this repository has no kernel `{name}`",
            hint="to see those it has, run `nox -s kernel -- --list`",
        )
    shutil.rmtree(folder / name.lower())


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name in {".", ".."}:
        raise RunError(
            "kernel.bad-name",
            f"`{name}` can't be the name of a kernel: it takes letters, digits, `.`, `_` and `-`",
        )


def _read(place: Path) -> Kernel | None:
    """Return the kernel of envbuild's in a folder of kernelspecs; None for all others."""
    try:
        data: dict[str, Any] = json.loads((place / "kernel.json").read_bytes())
        return Kernel(
            name=place.name, display_name=data["display_name"], **data["metadata"]["envbuild"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
