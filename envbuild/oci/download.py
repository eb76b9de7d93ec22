"""Looks for blobs in a registry and downloads them: on from where it broke off, and proven.

Protocol: OCI distribution specification 1.1, "Pulling blobs"; ranges: RFC 9110, section 14.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from envbuild.errors import RegistryError
from envbuild.kit.canonical import digest_bytes
from envbuild.oci.absence import NO_HEAD, ask_absence, explain_digest, refuse
from envbuild.oci.answer import Request
from envbuild.oci.descriptor import Descriptor, check_digest
from envbuild.oci.store import Store
from envbuild.oci.token import format_scope
from envbuild.oci.wire import Wire

__all__ = ["fetch_blob", "has_blob", "read_blob", "read_blob_end"]


def has_blob(wire: Wire, repository: str, digest: str, *, actions: str) -> bool:
    """Return whether the repository has the blob."""
    request = _plan("HEAD", repository, digest, actions)
    answer = ask_absence(wire, request)
    if answer is None or answer.status in NO_HEAD:
        # Sending what is there already does no harm.
        return False
    if answer.status != 200:
        raise refuse(wire, answer, request)
    return True


def read_blob(wire: Wire, repository: str, digest: str, *, most: int) -> bytes:
    """Return a blob of up to `most` bytes, proven."""
    request = _plan("GET", repository, digest)

    def read() -> bytes:
        data = bytearray()
        with wire.stream(request) as chunks:
            for chunk in chunks:
                data += chunk
                if len(data) > most:
                    raise _too_long(wire, request, most)
        return bytes(data)

    data = wire.persist(read)
    if digest_bytes(data) != digest:
        raise explain_digest(wire, request, got=digest_bytes(data), wanted=digest)
    return data


def read_blob_end(wire: Wire, repository: str, blob: Descriptor, count: int) -> bytes | None:
    """Return a blob's last `count` bytes, unproven; None if they can't be had.

    The blob isn't there, or not in that size, or it is long and the registry gives no parts.
    """
    first = max(blob.size - count, 0)
    request = _plan("GET", repository, blob.digest)
    ranged = {**request.headers, "Range": f"bytes={first}-{blob.size - 1}"}
    try:
        answer = ask_absence(wire, replace(request, headers=ranged))
    except RegistryError as error:
        if error.code == "registry.bad-answer":  # all of the blob, and too long to be kept
            return None
        raise
    if answer is None or answer.status == 416:
        return None
    if answer.status == 200:  # a server that has never heard of ranges
        return answer.body[first:] if len(answer.body) == blob.size else None
    if answer.status != 206:
        raise refuse(wire, answer, request)
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    return answer.body if total in {str(blob.size), "*"} else None


def fetch_blob(
    wire: Wire, repository: str, blob: Descriptor, store: Store, *, got: Callable[[int], object]
) -> None:
    """Download a blob into the store, proven; nothing is done if it is there."""
    if store.has(blob.digest, blob.size):
        return
    request = _plan("GET", repository, blob.digest)
    with store.writer() as writer:

        def fetch() -> None:
            if writer.size and writer.size == blob.size:
                return  # only the end of the connection was lost
            with wire.stream(request, start=writer.size) as chunks:
                for chunk in chunks:
                    writer.write(chunk)
                    got(len(chunk))
                    if writer.size > blob.size:
                        break

        try:
            wire.persist(fetch, done=lambda: writer.size)
            if writer.digest != blob.digest:
                raise explain_digest(wire, request, got=writer.digest, wanted=blob.digest)
        except BaseException:
            got(-writer.size)
            raise


def _plan(method: str, repository: str, digest: str, actions: str = "pull") -> Request:
    doing = "look up" if method == "HEAD" else "read"
    return Request(
        method=method,
        url=f"{repository}/blobs/{check_digest(digest)}",
        what=f"{doing} the blob `{digest[:19]}` of `{repository}`",
        scopes=(format_scope(repository, actions),),
        # Bytes that are compressed on the way are not those that the digest is about.
        headers={"Accept-Encoding": "identity"},
    )


def _too_long(wire: Wire, request: Request, most: int) -> RegistryError:
    return RegistryError(
        "registry.bad-answer",
        f"`{wire.host}` sent more than {most} bytes when asked to {request.what}",
        hint="no image's configuration is that long; check what the name refers to",
    )
