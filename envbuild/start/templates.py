"""The kinds of environments that a scaffold can be made from, and their files for a name."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envbuild.errors import SpecError
from envbuild.spec.keys import find_nearest
from envbuild.spec.phrases import join_names

__all__ = ["KINDS", "Kind", "find_kind", "render_kind"]

_FOLDER: Final = Path(__file__).with_name("templates")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """One kind: a line for people, and the template of each file below the source folder."""

    summary: str
    sources: Mapping[str, str]


KINDS: Final[Mapping[str, Kind]] = {
    "minimal": Kind(
        summary="packages of a Python index on Debian, and a script that trains",
        sources={"train.py": "line.py"},
    ),
    "train": Kind(
        summary="training with scikit-learn",
        sources={"train.py": "forest.py"},
    ),
    "serve": Kind(
        summary="a model that is trained, served by score.py, and tested by requests",
        sources={"train.py": "line.py", "score.py": "score.py"},
    ),
    "conda": Kind(
        summary="Python and packages of conda-forge",
        sources={"train.py": "line.py"},
    ),
    "dockerfile": Kind(
        summary="packages on a base that a Dockerfile builds (needs Docker Engine to build)",
        sources={"train.py": "line.py", "Dockerfile": "Dockerfile"},
    ),
    "gpu": Kind(
        summary="training with PyTorch on a GPU (several GB to download)",
        sources={"train.py": "net.py"},
    ),
    "envbuild-minimal": Kind(
        summary="extends the smallest environment that comes with envbuild",
        sources={"train.py": "line.py"},
    ),
    "envbuild-scientific": Kind(
        summary="extends the one with arrays, tables, plots and scikit-learn",
        sources={"train.py": "forest.py"},
    ),
    "envbuild-notebook": Kind(
        summary="extends the scientific one with JupyterLab and a kernel",
        sources={"train.py": "forest.py"},
    ),
    "envbuild-serving": Kind(
        summary="extends the one for web services; a model that is trained, served and tested",
        sources={"train.py": "line.py", "score.py": "score.py"},
    ),
    "envbuild-gpu-training": Kind(
        summary="extends the one with PyTorch and CUDA of conda-forge (several GB to download)",
        sources={"train.py": "net.py"},
    ),
}
"""By name; the spec of each is `templates/NAME.toml`. A curated environment's extends that one."""


_OPEN: Final[Mapping[str, tuple[str, ...]]] = {
    "@platform@": ("platforms",),
    "@python@": ("python",),
    "@base@": ("image", "base"),
}
"""Words of lines whose value the repository's defaults may give as well, and their keys."""


def find_kind(name: str) -> Kind:
    """Return the kind of that name. Raises `SpecError` `scaffold.kind`."""
    kind = KINDS.get(name)
    if kind is not None:
        return kind
    nearest = find_nearest(name, KINDS)
    raise SpecError(
        "scaffold.kind",
        f"there is no kind of environment `{name}` (there are: {join_names(list(KINDS))})",
        hint=f"did you mean `{nearest}`?"
        if nearest
        else "to see what each is, run `nox -s scaffold -- --list`",
    )


def render_kind(
    kind: str, *, name: str, defaults: Mapping[str, object] | None = None
) -> dict[str, str]:
    """Return the files of an environment `name`: path below the repository to text, the spec last.

    What the repository's `defaults` say is left to them. Raises `SpecError` `scaffold.kind`.
    """
    source = f"src/{name}"
    files = {f"{source}/{path}": t for path, t in find_kind(kind).sources.items()}
    files[f"envs/{name}.toml"] = f"{kind}.toml"
    words = {
        "@name@": name, "@source@": source, "@platform@": _find_platform(), "@python@": "3.11.*",
        "@base@": "debian:bookworm",
    }  # fmt: skip
    left = [word for word, key in _OPEN.items() if _has(defaults or {}, key)]
    return {path: _fill(template, words, left) for path, template in files.items()}


def _has(table: object, key: Sequence[str]) -> bool:
    for part in key:
        table = table.get(part) if isinstance(table, Mapping) else None
    return table is not None


def _fill(template: str, words: Mapping[str, str], left: Sequence[str]) -> str:
    text = (_FOLDER / template).read_text(encoding="utf-8")
    for word in left:
        text = re.sub(
            f"(?m)^([a-z-]+) = .*{word}.*$",
            r"# \1: what `[tool.envbuild.defaults]` in `pyproject.toml` says",
            text,
        )
    for word, value in words.items():
        text = text.replace(word, value)
    return text


def _find_platform() -> str:
    """Return the platform of the containers that an engine on this machine runs."""
    return "linux-aarch64" if platform.machine() in {"arm64", "aarch64"} else "linux-64"
