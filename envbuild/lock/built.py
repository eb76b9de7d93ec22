"""Builds a source once, and remembers which wheel it became and with which build requirements."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from envbuild.kit.canonical import digest_json
from envbuild.kit.disk import disk_errors
from envbuild.kit.files import atomic_writer, exclusive, write_atomic
from envbuild.kit.places import Cache
from envbuild.lock.build_room import Hook, build_project
from envbuild.lock.build_wheel import Contents, read_contents
from envbuild.lock.model import Wheel
from envbuild.lock.provenance import Shop

__all__ = ["Built", "Order", "build_once", "keep_file"]

_FORM: Final = 1
"""Raised with every change of what a build is given or of a wheel's canonical form."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A source to build: `identity` is all that tells it from others (text by text).

    `prepare` puts its files below an empty folder and returns the project's own. `asks` are the
    hooks whose build requirements are locked together.
    """

    package: str
    identity: tuple[str, ...]
    prepare: Callable[[Path], Path]
    hook: Hook = "build_wheel"
    asks: tuple[Hook, ...] = ("build_wheel",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """A wheel in canonical form, its file in the cache, and the wheels it was built with."""

    contents: Contents
    path: Path
    requires: tuple[Wheel, ...]


def build_once(
    order: Order, shop: Shop, *, requires: Sequence[Wheel] | None = None, anew: bool = False
) -> Built:
    """Return what `order` was built into before on this machine, else build it.

    `requires` None resolves the build requirements, or stays with those of the last time; `anew`
    forgets that one. Raises what `build_project` does.
    """
    key = _make_key(order, shop, requires)
    memory = shop.cache.root / "built" / f"{key}.json"

    def say() -> None:
        shop.progress.update(shop.task, f"waiting for another build of {order.package}")

    with disk_errors(shop.cache.root), exclusive(memory.with_suffix(".lock"), waiting=say):
        found = None if anew else _recall(memory, shop.cache)
        if found is not None:
            return found
        with _work(order) as work:
            (work / "source").mkdir()
            project = order.prepare(work / "source")
            wheel, used = build_project(
                project, package=order.package, shop=shop, work=work, requires=requires,
                hook=order.hook, asks=order.asks,
            )  # fmt: skip
            contents = read_contents(wheel)
            path = keep_file(wheel, contents.wheel, shop.cache)
        built = Built(contents=contents, path=path, requires=used)
        rows = {"wheel": asdict(contents.wheel), "requires": [asdict(wheel) for wheel in used]}
        write_atomic(memory, json.dumps(rows))
        if requires is None:
            again = memory.with_name(f"{_make_key(order, shop, used)}.json")
            write_atomic(again, json.dumps(rows))
        return built


def _make_key(order: Order, shop: Shop, requires: Sequence[Wheel] | None) -> str:
    return digest_json(
        {
            "envbuild-built": _FORM,
            "package": order.package,
            "identity": list(order.identity),
            "hook": order.hook,
            "python": shop.minor,
            "requires": None if requires is None else sorted(wheel.sha256 for wheel in requires),
        }
    ).removeprefix("sha256:")


def _recall(memory: Path, cache: Cache) -> Built | None:
    try:
        rows = json.loads(memory.read_bytes())
        wheel = Wheel(**rows["wheel"])
        requires = tuple(Wheel(**row) for row in rows["requires"])
        path = cache.package(wheel.sha256, wheel.filename)
        if path.stat().st_size != wheel.size:
            return None
        contents = read_contents(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # The file is hashed here, so one that was damaged since is built again.
    return Built(contents=contents, path=path, requires=requires) if (
        contents.wheel == wheel
    ) else None  # fmt: skip


@contextlib.contextmanager
def _work(order: Order) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"envbuild-{order.package}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep_file(found: Path, wheel: Wheel, cache: Cache) -> Path:
    """Copy a verified file to its place in the cache and return that."""
    place = cache.package(wheel.sha256, wheel.filename)
    with found.open("rb") as source, atomic_writer(place) as target:
        shutil.copyfileobj(source, target)
    return place
