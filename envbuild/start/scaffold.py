"""Writes a new environment: a commented spec, its scripts, and the schema that editors read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from envbuild.errors import SpecError
from envbuild.kit.files import write_atomic
from envbuild.kit.signals import held_back
from envbuild.spec.chain import find_defaults
from envbuild.spec.curated import RESERVED
from envbuild.spec.load import check_name, finder, parse_spec
from envbuild.spec.phrases import join_names
from envbuild.spec.schema import SCHEMA_FILE
from envbuild.start.templates import render_kind

__all__ = ["FURTHER", "SCHEMA_PLACE", "scaffold", "write_schema"]

SCHEMA_PLACE: Final = "envs/envbuild.schema.json"
"""Where a repository has the schema: beside the specs, committed, so that it is there for all."""

FURTHER: Final = """\
to check locks before each commit: the hooks of envbuild's `docs/ci.md`, for pre-commit
to build and test in CI: the workflows of envbuild's `examples/ci`, for GitHub Actions and GitLab"""
"""What a repository may want once it has an environment, a line each."""


def scaffold(root: Path, name: str, *, kind: str, force: bool = False) -> tuple[str, ...]:
    """Write the environment `name` of a kind; return the files, below `root`, that are new.

    All of them are written, or none. Raises `SpecError`: `spec.name`, `scaffold.kind`,
    `scaffold.exists` without `force`, and `spec.syntax` for defaults that can't be read.
    """
    _check_name(name)
    files = _render(root, name, kind)
    there = [path for path in files if (root / path).is_symlink() or (root / path).exists()]
    if there and not force:
        raise SpecError(
            "scaffold.exists",
            f"{join_names(there)} {'exist' if len(there) > 1 else 'exists'} already",
            hint="choose another name; or, to write over what is there, "
            f"run `nox -s scaffold -- {name} --from {kind} --force`",
        )
    with held_back(), _all_or_none(root, files):
        written = [path for path, text in files.items() if write_atomic(root / path, text)]
        written += write_schema(root)
    return tuple(written)


def _render(root: Path, name: str, kind: str) -> dict[str, str]:
    """Return the files, the spec without what the repository's defaults say, where that is right.

    Their Python may be another one than that of the kind's base, which then stays with its own.
    """
    find = finder(root)
    spec = f"envs/{name}.toml"
    for source in find_defaults(find):
        safe = {key: value for key, value in source.table.items() if key == "platforms"}
        for defaults in (source.table, safe):
            files = render_kind(kind, name=name, defaults=defaults)
            with contextlib.suppress(SpecError):
                parse_spec(files[spec].encode(), where=spec, find=find)
                return files
    return render_kind(kind, name=name)


def write_schema(root: Path) -> tuple[str, ...]:
    """Put this version's schema beside the specs; return its path if that changed anything."""
    changed = write_atomic(root / SCHEMA_PLACE, SCHEMA_FILE.read_bytes())
    return (SCHEMA_PLACE,) if changed else ()


def _check_name(name: str) -> None:
    """Do as `check_name` does, but with a hint for a file that isn't there yet."""
    try:
        check_name(name)
    except SpecError as error:
        bare = name.removesuffix(".toml").rpartition("/")[2].lower()
        words = re.findall("[a-z0-9]+", bare.removeprefix(RESERVED))
        better = "-".join(["my", *words] if bare.startswith(RESERVED) else words) or "training"
        raise SpecError(
            "spec.name", error.message, hint=f"run `nox -s scaffold -- {better}`"
        ) from None


@contextlib.contextmanager
def _all_or_none(root: Path, paths: Mapping[str, str]) -> Iterator[None]:
    """Put the files, and the folders round them, back to what they were if the block fails."""
    before = {path: _read(root / path) for path in (*paths, SCHEMA_PLACE)}
    folders = {folder for path in before for folder in (root / path).parents}
    new = sorted((f for f in folders if not f.exists()), key=lambda f: -len(f.parts))
    try:
        yield
    except BaseException:
        for path, data in before.items():
            with contextlib.suppress(OSError):
                if data is None:
                    (root / path).unlink()
                else:
                    write_atomic(root / path, data)
        for folder in new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
