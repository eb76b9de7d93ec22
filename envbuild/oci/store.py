"""A content store on disk: an OCI image layout that many processes may write to at once.

Format: OCI image specification 1.1, `image-layout.md`. A blob appears under its digest only when
it is whole; `index.json` is replaced as a whole under a lock; reading needs no lock.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from envbuild.errors import ImageError
from envbuild.kit.canonical import CHUNK, digest_bytes, digest_file
from envbuild.kit.disk import disk_errors
from envbuild.kit.files import exclusive, remove_abandoned, write_atomic
from envbuild.oci.descriptor import OCI_INDEX, Descriptor, check_digest

__all__ = ["REF_NAME", "BlobWriter", "Store"]

REF_NAME: Final = "org.opencontainers.image.ref.name"
"""Annotation of an index's entry that gives the manifest its name."""

_LAYOUT: Final = b'{"imageLayoutVersion": "1.0.0"}'


class BlobWriter:
    """Takes a blob's bytes and hashes them as they come; `digest` and `size` are of all so far."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file = file
        self._path = path
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return "sha256:" + self._hash.hexdigest()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append `data` and return its length; raises `EnvbuildError` `disk.full`."""
        with disk_errors(self._path):
            self._file.write(data)
        self._hash.update(data)
        self.size += len(data)
        return len(data)


@dataclass(frozen=True, slots=True)
class Store:
    """The layout at `root`; nothing is written there before the first blob."""

    root: Path

    def path(self, digest: str) -> Path:
        """Return where the blob is or would be; raises `RegistryError` `digest.invalid`."""
        # In one piece: a no-op asks for each blob of each image, and joining paths is slow.
        return Path(f"{self.root}/blobs/sha256/{check_digest(digest).removeprefix('sha256:')}")

    def has(self, digest: str, size: int | None = None) -> bool:
        """Return whether the blob is there (and has `size` bytes); its content is not read."""
        try:
            found = self.path(digest).stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return size is None or found.st_size == size

    @contextlib.contextmanager
    def writer(self, *, expect: str | None = None) -> Iterator[BlobWriter]:
        """Give a writer whose blob is in the store when the block ends without an error.

        With `expect`, a blob of another digest is refused (`store.wrong-digest`). Raises
        `EnvbuildError` `disk.full`, `disk.refused`.
        """
        with disk_errors(self.root):
            self._ensure_layout()
            handle, name = tempfile.mkstemp(prefix=".blob.", suffix=".part", dir=self._blobs)
        part = Path(name)
        file = os.fdopen(handle, "wb", buffering=CHUNK)
        blob = BlobWriter(file, self.root)
        try:
            yield blob
            with disk_errors(self.root):
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                file.close()
            if expect is not None and blob.digest != expect:
                raise _wrong(blob.digest, expect)
            part.replace(self.path(blob.digest))
        except BaseException:
            # What could not be flushed can't be flushed by closing either.
            with contextlib.suppress(OSError):
                file.close()
            part.unlink(missing_ok=True)
            raise

    def add(self, data: bytes) -> tuple[str, int]:
        """Put `data` in the store, unless it is there and whole; return its digest and size."""
        digest = digest_bytes(data)
        try:
            self.read(digest)
        except ImageError:
            with self.writer() as blob:
                blob.write(data)
        return digest, len(data)

    def read(self, digest: str) -> bytes:
        """Return a blob's bytes, proven; raises `ImageError` `store.missing`, `store.damaged`."""
        path = self.path(digest)
        try:
            data = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise _missing(digest, self.root) from None
        if digest_bytes(data) != digest:
            raise _damaged(path)
        return data

    def check_blob(self, digest: str) -> None:
        """Read a blob in chunks and compare its hash; raises as `read` does."""
        path = self.path(digest)
        try:
            found = digest_file(path)
        except FileNotFoundError:
            raise _missing(digest, self.root) from None
        if found != digest:
            raise _damaged(path)

    def chunks(self, digest: str, *, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Yield a blob's bytes from `start` to `stop`, unproven, a megabyte at a time."""
        try:
            file = self.path(digest).open("rb")
        except FileNotFoundError:
            raise _missing(digest, self.root) from None
        with file:
            file.seek(start)
            left = -1 if stop is None else stop - start
            while left and (data := file.read(CHUNK if left < 0 else min(CHUNK, left))):
                left -= len(data) if left > 0 else 0
                yield data

    def name(self, name: str, descriptor: Descriptor) -> None:
        """Give the manifest the name, which any other manifest loses.

        The blobs come first: a name of something that isn't there would be a lie.
        """
        kept = {key: text for key, text in descriptor.annotations.items() if key != REF_NAME}
        entry = {**descriptor.to_json(), "annotations": {**kept, REF_NAME: name}}
        with disk_errors(self.root):
            self._ensure_layout()
            with exclusive(self.root / ".index.lock"):
                index = self._load_index()
                entries = [e for e in index.get("manifests", ()) if _find_name(e) != name]
                merged = {**_EMPTY_INDEX, **index, "manifests": [*entries, entry]}
                write_atomic(self.root / "index.json", json.dumps(merged, indent=1) + "\n")
                self.remove_abandoned()

    def find(self, name: str) -> Descriptor | None:
        """Return the manifest that goes by `name`; None if there is none."""
        for entry in self._load_index().get("manifests", ()):
            if _find_name(entry) == name:
                return Descriptor.from_json(entry)
        return None

    def names(self) -> dict[str, Descriptor]:
        """Return all names with their manifests, in the order in which they were given."""
        entries = self._load_index().get("manifests", ())
        return {name: Descriptor.from_json(e) for e in entries if (name := _find_name(e))}

    def remove_abandoned(self) -> int:
        """Remove unfinished files that are older than a day; return how many there were."""
        return remove_abandoned(self._blobs) + remove_abandoned(self.root)

    @property
    def _blobs(self) -> Path:
        return self.root / "blobs" / "sha256"

    def _ensure_layout(self) -> None:
        self._blobs.mkdir(parents=True, exist_ok=True)
        if (self.root / "index.json").is_file():
            return
        write_atomic(self.root / "oci-layout", _LAYOUT)
        with exclusive(self.root / ".index.lock"):
            if not (self.root / "index.json").is_file():
                write_atomic(self.root / "index.json", json.dumps(_EMPTY_INDEX, indent=1) + "\n")

    def _load_index(self) -> Mapping[str, Any]:
        path = self.root / "index.json"
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return _read_index(path, (found.st_ino, found.st_mtime_ns, found.st_size))


_EMPTY_INDEX: Final[dict[str, Any]] = {
    "schemaVersion": 2,
    "mediaType": OCI_INDEX,
    "manifests": [],
}


@functools.lru_cache(maxsize=8)
def _read_index(path: Path, _signature: tuple[int, int, int]) -> Mapping[str, Any]:
    # Asked for once per environment, and the same each time: hence the cache. The file is only
    # ever replaced, so a new one has another inode.
    try:
        value = json.loads(path.read_bytes())
    except ValueError:
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("manifests"), list):
        raise ImageError(
            "store.index",
            f"`{path}` is not the index of an OCI image layout",
            hint=f"it only holds names of images that can be made again; remove it: `rm {path}`",
        )
    return value


def _find_name(entry: object) -> str:
    annotations = entry.get("annotations") if isinstance(entry, dict) else None
    return str(annotations.get(REF_NAME, "")) if isinstance(annotations, dict) else ""


def _missing(digest: str, root: Path) -> ImageError:
    return ImageError(
        "store.missing",
        f"the store `{root}` has no blob `{digest}`",
        hint="to make what is missing, run `nox -s build-env`",
    )


def _damaged(path: Path) -> ImageError:
    return ImageError(
        "store.damaged",
        f"the blob `{path}` is damaged: its bytes are not those of its name",
        hint=f"to have it made or fetched again, remove it: `rm {path}`",
    )


def _wrong(got: str, wanted: str) -> ImageError:
    return ImageError(
        "store.wrong-digest",
        f"a blob that should be `{wanted}` is `{got}`",
        hint="it was changed on its way; try again, and look at proxies between",
    )
