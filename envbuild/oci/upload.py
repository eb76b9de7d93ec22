"""Sends one blob to a registry: taken over from another repository, in one piece, or in chunks.

Protocol: OCI distribution specification 1.1, "Pushing blobs". A lost connection begins anew: what a
registry keeps of half an upload differs too much between registries to be relied upon.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote

from envbuild.errors import RegistryError
from envbuild.oci.answer import Answer, Request, Transient
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.store import Store
from envbuild.oci.token import format_scope
from envbuild.oci.wire import Wire

__all__ = ["Sent", "Upload", "send_blob"]

Sent = Literal["mounted", "sent"]

_CHUNKS: Final = (64 << 20, 16 << 20, 4 << 20, 1 << 20)
"""Sizes of chunks, in bytes, that are tried where a whole blob is too much for one request."""

_DONE: Final = frozenset({200, 201, 202, 204})
"""201 is the specification's answer; older registries and proxies give the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One blob's way from the store into a repository."""

    repository: str
    blob: Descriptor
    store: Store
    mount_from: str | None
    sent: Callable[[int], object]

    @property
    def what(self) -> str:
        return f"take the blob `{self.blob.digest[:19]}` into `{self.repository}`"

    @property
    def scopes(self) -> tuple[str, ...]:
        scopes = [format_scope(self.repository, "pull,push")]
        if self.mount_from:
            scopes.append(format_scope(self.mount_from, "pull"))
        return tuple(scopes)


class _TooLarge(Exception):  # noqa: N818 - the registry's answer, not an error yet
    """The registry, or a proxy before it, takes no request of this size."""

    def __init__(self, error: RegistryError) -> None:
        super().__init__(error)
        self.error = error


def send_blob(wire: Wire, upload: Upload) -> Sent:
    """Bring the blob into the repository; return whether its bytes had to be sent.

    Raises `RegistryError`, and `ImageError` `store.damaged` or `store.missing` if the store's blob
    is not what its name says.
    """
    chunk = 0
    while True:
        try:
            return wire.persist(functools.partial(_send, wire, upload, chunk))
        except _TooLarge as refusal:
            smaller = [size for size in _CHUNKS if not chunk or size < chunk]
            if not smaller:
                raise refusal.error from None
            chunk = smaller[0]


def _send(wire: Wire, upload: Upload, chunk: int) -> Sent:
    """Send the blob once, in one piece or in chunks of `chunk` bytes."""
    opened = _open(wire, upload)
    if opened.status == 201:
        return "mounted"
    done = _Counter(upload.sent)
    try:
        if chunk:
            last = _send_chunks(wire, upload, opened, max(chunk, _least(opened)), done)
        else:
            last = _send_whole(wire, upload, opened, done)
        _check(wire, upload, last)
    except BaseException:
        done.take_back()
        raise
    return "sent"


def _open(wire: Wire, upload: Upload) -> Answer:
    """Begin an upload, or have the blob mounted (201)."""
    query = ""
    if upload.mount_from:
        query = f"?mount={upload.blob.digest}&from={quote(upload.mount_from, safe='')}"
    request = Request(
        method="POST",
        url=f"{upload.repository}/blobs/uploads/{query}",
        what=upload.what,
        scopes=upload.scopes,
        headers={"Content-Length": "0"},
        body=b"",
    )
    answer = wire.attempt(request)
    if answer.status == 201 and upload.mount_from:
        return answer
    if answer.status not in _DONE or not answer.headers.get("Location"):
        raise wire.explain(answer, request)
    return answer


def _least(opened: Answer) -> int:
    """Return the smallest chunk that the registry takes, if it says so."""
    said = opened.headers.get("OCI-Chunk-Min-Length", "")
    return int(said) if said.isdecimal() else 0


def _send_whole(wire: Wire, upload: Upload, opened: Answer, done: _Counter) -> Answer:
    def body() -> Iterator[bytes]:
        done.take_back()
        for piece in upload.store.chunks(upload.blob.digest):
            yield piece
            done.add(len(piece))

    return _put(wire, upload, opened, body, upload.blob.size)


def _send_chunks(wire: Wire, upload: Upload, opened: Answer, chunk: int, done: _Counter) -> Answer:
    answer = opened
    for start in range(0, upload.blob.size, chunk):
        stop = min(start + chunk, upload.blob.size)

        def body(start: int = start, stop: int = stop) -> Iterator[bytes]:
            done.set(start)
            for piece in upload.store.chunks(upload.blob.digest, start=start, stop=stop):
                yield piece
                done.add(len(piece))

        request = Request(
            method="PATCH",
            url=_location(wire, answer),
            what=upload.what,
            scopes=upload.scopes,
            headers={
                "Content-Length": str(stop - start),
                "Content-Range": f"{start}-{stop - 1}",
                "Content-Type": "application/octet-stream",
            },
            body=body,
        )
        answer = _ask(wire, request)
    return _put(wire, upload, answer, lambda: iter(()), 0)


def _put(
    wire: Wire, upload: Upload, before: Answer, body: Callable[[], Iterator[bytes]], size: int
) -> Answer:
    """Send the rest and say what all of it should be."""
    place = _location(wire, before)
    joint = "&" if "?" in place else "?"
    request = Request(
        method="PUT",
        url=f"{place}{joint}digest={quote(upload.blob.digest, safe='')}",
        what=upload.what,
        scopes=upload.scopes,
        headers={"Content-Length": str(size), "Content-Type": "application/octet-stream"},
        body=body if size else b"",
    )
    return _ask(wire, request, upload)


def _ask(wire: Wire, request: Request, upload: Upload | None = None) -> Answer:
    answer = wire.attempt(request)
    if answer.status in _DONE and (answer.headers.get("Location") or request.method == "PUT"):
        return answer
    error = wire.explain(answer, request)
    if answer.status == 413 and isinstance(error, RegistryError):
        raise _TooLarge(error)
    if answer.status == 404:
        # The registry forgot the upload: another of its processes answered, or it was restarted.
        raise error if isinstance(error, Transient) else Transient(error, attempts=2)
    if upload is not None and "DIGEST_INVALID" in answer.codes:
        # Either our file is damaged, which this says, or the bytes were changed on their way.
        upload.store.check_blob(upload.blob.digest)
        raise RegistryError(
            "registry.wrong-digest",
            f"`{wire.host}` got other bytes than were sent for `{upload.blob.digest}`",
            hint="a proxy between changes them; try again without it",
        )
    raise error


def _check(wire: Wire, upload: Upload, last: Answer) -> None:
    """Make sure that what the registry has now is what was sent."""
    said = last.headers.get("Docker-Content-Digest", "")
    if said.startswith("sha256:") and said != upload.blob.digest:
        raise RegistryError(
            "registry.wrong-digest",
            f"`{wire.host}` stored `{said}` for `{upload.blob.digest}`",
            hint="its storage or a proxy between is broken",
        )
    if last.status == 201:
        return
    # "Accepted" is not yet "there".
    request = Request(
        method="HEAD",
        url=f"{upload.repository}/blobs/{upload.blob.digest}",
        what=upload.what,
        scopes=upload.scopes,
    )
    answer = wire.attempt(request)
    if answer.status != 200:
        error = wire.explain(answer, request)
        raise error if isinstance(error, Transient) else Transient(error)


def _location(wire: Wire, answer: Answer) -> str:
    return wire.resolve(answer.url, answer.headers["Location"])


class _Counter:
    """Tells of bytes that were sent, and takes them back when they have to be sent again."""

    def __init__(self, tell: Callable[[int], object]) -> None:
        self._tell = tell
        self._done = 0

    def add(self, size: int) -> None:
        self._done += size
        self._tell(size)

    def set(self, done: int) -> None:
        if done != self._done:
            self.add(done - self._done)

    def take_back(self) -> None:
        self.set(0)
