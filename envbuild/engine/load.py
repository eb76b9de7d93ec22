"""Have an engine hold an image of the store: nothing is sent if it does, and else what it lacks."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuild.engine.archive import render_tar
from envbuild.engine.client import Engine, explained
from envbuild.engine.layout import LayoutImage, plan_archive, read_layout
from envbuild.errors import EngineError
from envbuild.kit.progress import Progress, Silent

__all__ = ["Loaded", "ensure_loaded", "find_image"]

_STEP: Final = 4 << 20
_MOST_IMAGES: Final = 200
_KNOWS_ZSTD: Final = 23


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """An image that the engine has: the ID to run it by, and the bytes that had to be sent."""

    image_id: str
    bytes_sent: int

    @property
    def sent(self) -> bool:
        """True if the engine lacked it."""
        return self.bytes_sent > 0


def ensure_loaded(
    engine: Engine,
    *,
    layout: Path,
    manifest_digest: str,
    name: str,
    progress: Progress | None = None,
    task: str = "",
) -> Loaded:
    """Load an image of the OCI layout at `layout` into the engine unless it has it.

    `name` (`REPOSITORY:TAG`) is the image's afterwards. The ID to run it by is the config's
    digest in an engine with graph drivers and the manifest's in one with the containerd store;
    either is a digest of the content, so an image that is found is the right one. Layers whose
    whole chain the engine already has are left out of what is sent.

    Raises `EngineError`: `engine.load` (the engine took the archive and doesn't have the image),
    `engine.refused`, `engine.lost`, `engine.no-blob`, `engine.bad-image`.
    """
    image = read_layout(layout, manifest_digest)
    found, sent = find_image(engine, image), 0
    if found is None:
        sent = _send(engine, image, name, progress or Silent(), task)
        found = find_image(engine, image)
    if found is None:
        raise EngineError(
            "engine.load",
            f"Docker Engine took the image `{name}` but doesn't have `{image.config}` now",
            hint="see the engine's own log; `docker info` says which storage it uses",
        )
    _ensure_name(engine, found, name)
    return Loaded(image_id=str(found["Id"]), bytes_sent=sent)


def find_image(engine: Engine, image: LayoutImage) -> dict[str, Any] | None:
    """Return what the engine says of the image, by either of its IDs; None if it lacks it."""
    from docker.errors import ImageNotFound, NotFound

    ids = (image.config, image.manifest)
    for digest in ids:
        with (
            explained("look for the image", address=engine.address),
            contextlib.suppress(ImageNotFound, NotFound),
        ):
            api: Any = engine.client.api
            found: dict[str, Any] = api.inspect_image(digest)
            if found["Id"] in ids:
                return found
    return None


def _ensure_name(engine: Engine, found: dict[str, Any], name: str) -> None:
    """Tag the image, so that the engine's own clean-up doesn't take it for a leftover."""
    if name in (found.get("RepoTags") or []):
        return
    repository, _, tag = name.rpartition(":")
    with explained(f"name the image `{name}`", address=engine.address):
        engine.client.api.tag(found["Id"], repository, tag, force=True)


def _send(engine: Engine, image: LayoutImage, name: str, progress: Progress, task: str) -> int:
    """Send what the engine lacks, all of it if that is too little; return the bytes sent."""
    skip = _count_known_layers(engine, image)
    if skip:
        try:
            return _load(engine, image, name, skip, progress, task)
        except EngineError as error:
            if error.code not in {"engine.refused", "engine.lost"}:
                raise
    return _load(engine, image, name, 0, progress, task)


def _load(
    engine: Engine, image: LayoutImage, name: str, skip: int, progress: Progress, task: str
) -> int:
    meter = _Meter(progress, task)
    members, meter.total = plan_archive(
        image, name, skip=skip, unpack_zstd=not _takes_zstd(engine), count=meter.count
    )
    with explained(f"load the image `{name}`", address=engine.address):
        for answer in _post_archive(engine, render_tar(members, uid=0, gid=0)):
            if problem := answer.get("error"):
                said = " ".join(str(problem).split()).rstrip(".")
                raise EngineError(
                    "engine.refused", f"Docker Engine can't load the image `{name}`: {said}"
                )
    return meter.total


def _takes_zstd(engine: Engine) -> bool:
    """Say whether the engine reads layers of zstd: Docker Engine does from version 23 on."""
    major = engine.version.partition(".")[0]
    return major.isdigit() and int(major) >= _KNOWS_ZSTD


def _post_archive(engine: Engine, body: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Send `POST /images/load` and yield the engine's messages.

    The SDK's own `load_image` leaves its connection open, so only its session is used.
    """
    from docker.errors import create_api_error_from_http_exception
    from requests.exceptions import HTTPError

    api = engine.client.api
    url = f"{api.base_url}/v{api.api_version}/images/load"
    with api.post(url, data=body, stream=True, timeout=api.timeout) as response:
        try:
            response.raise_for_status()
        except HTTPError as error:
            create_api_error_from_http_exception(error)
        for line in response.iter_lines():
            if line.strip():
                yield json.loads(line)


class _Meter:
    """Tells the progress of an upload, a few times a second at most."""

    def __init__(self, progress: Progress, task: str) -> None:
        self._tell: Callable[[int, int], None] = lambda done, total: progress.update(
            task, "loading into the engine", done, total
        )
        self._done = 0
        self._told = 0
        self.total = 0

    def count(self, size: int) -> None:
        self._done += size
        if self._done - self._told >= _STEP or self._done >= self.total:
            self._told = self._done
            self._tell(self._done, self.total)


def _count_known_layers(engine: Engine, image: LayoutImage) -> int:
    """Return how many of the lowest layers the engine has as part of other images.

    Only engines with graph drivers find a layer by its chain (they ask for the chain ID before
    they open the layer's file); the containerd store wants every blob of the archive.
    """
    with explained("describe itself", address=engine.address):
        api = engine.client.api
        if any("containerd" in str(value) for _, value in api.info().get("DriverStatus") or []):
            return 0
        known = 0
        for entry in api.images()[:_MOST_IMAGES]:
            known = max(known, _count_shared(_layers_of(api, entry["Id"]), image.diff_ids))
    return known


def _layers_of(api: Any, image_id: str) -> list[str]:
    from docker.errors import NotFound

    try:
        return api.inspect_image(image_id)["RootFS"].get("Layers") or []
    except NotFound:
        return []


def _count_shared(one: list[str], other: tuple[str, ...]) -> int:
    count = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        count += 1
    return count
