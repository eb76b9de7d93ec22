"""A container registry over the OCI distribution API: manifests and blobs, found, read and pushed.

Protocol: OCI distribution specification 1.1. Every question has three answers: yes, no, and a
`RegistryError`. What real registries do otherwise is said where it is dealt with.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from envbuild.errors import RegistryError
from envbuild.kit.canonical import digest_bytes
from envbuild.kit.crew import run_crew
from envbuild.oci.absence import NO_HEAD, ask_absence, explain_digest, refuse
from envbuild.oci.answer import Answer, Request, Transient, find_next
from envbuild.oci.auth import list_configs
from envbuild.oci.descriptor import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    check_digest,
)
from envbuild.oci.download import fetch_blob, has_blob, read_blob, read_blob_end
from envbuild.oci.store import Store
from envbuild.oci.token import format_scope
from envbuild.oci.upload import Mounted, Session, Upload, check_push, mount_blob, send_blob
from envbuild.oci.wire import RegistryOptions, Wire

__all__ = ["Registry", "RegistryOptions", "open_registry"]

_ACCEPT: Final = f"{OCI_INDEX}, {OCI_MANIFEST}, {DOCKER_INDEX}, {DOCKER_MANIFEST}"
_DIGEST: Final = "Docker-Content-Digest"
_AT_ONCE: Final = 8
"""Manifests that are read at once."""


def open_registry(host: str, *, options: RegistryOptions | None = None) -> Registry:
    """Return the registry `host` (as in a reference, with its port); nothing is sent yet.

    The same one is returned for the same host and options, so that its connections, its scheme
    and its logins are found out once in a process.
    """
    # What is looked up in the environment is part of the question, and a forked child must not
    # write into its parent's connections.
    names = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HOME", "XDG_CONFIG_HOME")
    around = (os.getpid(), *list_configs(), *(os.environ.get(name, "") for name in names))
    return _open(host, options or RegistryOptions(), around)


@functools.lru_cache(maxsize=64)
def _open(host: str, options: RegistryOptions, _around: tuple[object, ...]) -> Registry:
    return Registry(Wire(host, options))


class Registry:
    """One registry; safe in many threads. Repositories are named without the host."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    @property
    def host(self) -> str:
        """The host as references have it."""
        return self._wire.host

    def find_manifest(self, repository: str, reference: str) -> Descriptor | None:
        """Return the descriptor of a tag's or digest's manifest; None only if it is not there.

        Raises `RegistryError` whenever the registry could not tell.
        """
        request = self._plan_manifest("HEAD", repository, reference)
        answer = ask_absence(self._wire, request)
        if answer is None:
            return None
        if answer.status in NO_HEAD:
            found = self.read_manifest_if_any(repository, reference)
            return found[0] if found else None
        if answer.status != 200:
            raise refuse(self._wire, answer, request)
        described = _describe(answer)
        if described is None:
            found = self.read_manifest_if_any(repository, reference)
            return found[0] if found else None
        self._check_wanted(reference, described.digest, request)
        return described

    def read_manifest(self, repository: str, reference: str) -> tuple[Descriptor, bytes]:
        """Return a manifest or an index, its bytes proven against digest and header.

        Raises `RegistryError` `registry.not-found` if it is not there.
        """
        found = self.read_manifest_if_any(repository, reference)
        if found is None:
            raise RegistryError(
                "registry.not-found",
                f"`{self.host}` has no `{_join(repository, reference)}`",
                hint="check the image's name and tag",
            )
        return found

    def read_manifest_if_any(
        self, repository: str, reference: str
    ) -> tuple[Descriptor, bytes] | None:
        """Do as `read_manifest` does, but return None if there is no such manifest."""
        request = self._plan_manifest("GET", repository, reference)
        answer = ask_absence(self._wire, request)
        if answer is None:
            return None
        if answer.status != 200:
            raise refuse(self._wire, answer, request)
        digest = digest_bytes(answer.body)
        said = answer.headers.get(_DIGEST, digest)
        if said.startswith("sha256:"):
            self._check_wanted(said, digest, request)
        self._check_wanted(reference, digest, request)
        media_type = self._find_type(answer, request)
        return Descriptor(media_type=media_type, digest=digest, size=len(answer.body)), answer.body

    def push_manifest(self, repository: str, reference: str, media_type: str, data: bytes) -> str:
        """Put a manifest under a tag or its digest; return its digest.

        Everything it names must be there. Raises `RegistryError` `registry.wrong-digest` if the
        registry stored something else.
        """
        digest = digest_bytes(data)
        request = Request(
            method="PUT",
            url=f"{repository}/manifests/{reference}",
            what=f"store the manifest `{_join(repository, reference)}`",
            scopes=(format_scope(repository, "pull,push"),),
            headers={"Content-Type": media_type},
            body=data,
        )
        answer = self._wire.persist(lambda: self._put_manifest(request))
        said = answer.headers.get(_DIGEST, digest)
        if said != digest:
            raise explain_digest(self._wire, request, got=said, wanted=digest)
        return digest

    def read_manifests(
        self, repository: str, references: Sequence[str]
    ) -> list[tuple[Descriptor, bytes] | None]:
        """Do as `read_manifest_if_any` does for many at once, in their order."""

        def read(reference: str, check: Callable[[], None]) -> tuple[Descriptor, bytes] | None:
            check()
            return self.read_manifest_if_any(repository, reference)

        return run_crew(read, references, threads=_AT_ONCE)

    def delete_manifest(self, repository: str, digest: str) -> bool:
        """Delete a manifest with all its tags; return whether there was one.

        Many registries don't allow it: `RegistryError` `registry.bad-answer`.
        """
        request = Request(
            method="DELETE",
            url=f"{repository}/manifests/{check_digest(digest)}",
            what=f"delete `{_join(repository, digest)}`",
            # Some token services have an action of their own for it, some say `*`.
            scopes=(format_scope(repository, "pull,push,delete"),),
        )
        answer = ask_absence(self._wire, request)
        if answer is not None and answer.status not in {200, 202, 204}:
            raise refuse(self._wire, answer, request)
        return answer is not None

    def list_tags(self, repository: str) -> tuple[str, ...]:
        """Return all tags of a repository, sorted; none if there is no such repository."""
        tags: set[str] = set()
        url = f"{repository}/tags/list?n=1000"
        while url:
            request = Request(
                method="GET",
                url=url,
                what=f"list the tags of `{repository}`",
                scopes=(format_scope(repository, "pull"),),
                most=64 << 20,
            )
            answer = ask_absence(self._wire, request)
            if answer is None:
                break
            if answer.status != 200:
                raise refuse(self._wire, answer, request)
            found = self._read_tags(answer, request)
            # A registry that doesn't know pages may give the same one again and again.
            url = find_next(answer, self._wire.resolve) if found - tags else ""
            tags |= found
        return tuple(sorted(tags))

    def has_blob(self, repository: str, digest: str, *, actions: str = "pull") -> bool:
        """Return whether the repository has the blob; raises `RegistryError` if it can't tell.

        `actions` is what a token is asked for, so that a push needs no second one.
        """
        return has_blob(self._wire, repository, digest, actions=actions)

    def read_blob(self, repository: str, digest: str, *, most: int = 16 << 20) -> bytes:
        """Return a small blob (an image's configuration) of up to `most` bytes, proven."""
        return read_blob(self._wire, repository, digest, most=most)

    def read_blob_end(self, repository: str, blob: Descriptor, count: int) -> bytes | None:
        """Return a blob's last `count` bytes, unproven; None if they can't be had.

        The blob isn't there, or not in that size, or it is long and the registry gives no parts.
        """
        return read_blob_end(self._wire, repository, blob, count)

    def fetch_blob(
        self,
        repository: str,
        blob: Descriptor,
        store: Store,
        *,
        got: Callable[[int], object] = int,
    ) -> None:
        """Download a blob into the store, proven; nothing is done if it is there.

        A broken download goes on where it broke. `got` is told the number of bytes of each piece,
        and a negative number in the end if all was in vain. What it raises ends the download.
        """
        fetch_blob(self._wire, repository, blob, store, got=got)

    def push_blob(
        self,
        repository: str,
        blob: Descriptor,
        store: Store,
        *,
        session: Session | None = None,
        sent: Callable[[int], object] = int,
    ) -> None:
        """Send a blob from the store, in the upload that `mount_blob` opened if there is one.

        Whether it is there is not asked: see `has_blob`. `sent` is told as `got` in `fetch_blob`.
        """
        upload = Upload(repository=repository, blob=blob, store=store, sent=sent)
        send_blob(self._wire, upload, session)

    def check_push(self, repository: str) -> None:
        """Raise `RegistryError` unless a push into the repository would be let in."""
        self._wire.check_registry()
        check_push(self._wire, repository)

    def mount_blob(
        self, repository: str, blob: Descriptor, source: str
    ) -> Mounted | Session | None:
        """Have the repository take a blob over from another one, `source`, without sending it.

        Returns `"mounted"`, or else the upload that the registry opened instead, if it did.
        """
        return mount_blob(self._wire, repository, blob, source)

    def _plan_manifest(self, method: str, repository: str, reference: str) -> Request:
        return Request(
            method=method,
            url=f"{repository}/manifests/{reference}",
            what=f"look up `{_join(repository, reference)}`",
            scopes=(format_scope(repository, "pull"),),
            headers={"Accept": _ACCEPT},
        )

    def _put_manifest(self, request: Request) -> Answer:
        answer = self._wire.attempt(request)
        if answer.status in {200, 201, 202, 204}:
            return answer
        error = refuse(self._wire, answer, request)
        # Just after an upload, a registry on eventually consistent storage may not know it yet.
        if answer.codes & {"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN"}:
            raise Transient(error)
        raise error

    def _read_tags(self, answer: Answer, request: Request) -> set[str]:
        try:
            tags = json.loads(answer.body).get("tags")
        except (ValueError, AttributeError):
            tags = False
        # Without tags, some registries say null.
        if tags is not None and not isinstance(tags, list):
            raise RegistryError(
                "registry.bad-answer",
                f"`{self.host}` gave no list of tags when asked to {request.what}",
                hint="check what answers there; it may be a proxy or a login page",
            )
        return {str(tag) for tag in tags or ()}

    def _find_type(self, answer: Answer, request: Request) -> str:
        """Return the type that the manifest says it has; the header's is only a proxy's guess."""
        try:
            value: Any = json.loads(answer.body)
        except ValueError:
            value = None
        if isinstance(value, dict):
            said = value.get("mediaType") or _content_type(answer)
            if said in INDEX_TYPES | MANIFEST_TYPES:
                return str(said)
            if "manifests" in value:
                return OCI_INDEX
            if "layers" in value and "config" in value:
                return OCI_MANIFEST
        raise RegistryError(
            "manifest.unknown",
            f"`{self.host}` gave no manifest of a known format when asked to {request.what}",
            hint="push the image anew with a client of this decade: schema 1 is not supported",
        )

    def _check_wanted(self, reference: str, digest: str, request: Request) -> None:
        if reference.startswith("sha256:") and reference != digest:
            raise explain_digest(self._wire, request, got=digest, wanted=reference)


def _join(repository: str, reference: str) -> str:
    return f"{repository}{'@' if reference.startswith('sha256:') else ':'}{reference}"


def _content_type(answer: Answer) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip()


def _describe(answer: Answer) -> Descriptor | None:
    """Return what a HEAD tells; None if it doesn't tell enough."""
    media_type, digest = _content_type(answer), answer.headers.get(_DIGEST, "")
    size = answer.headers.get("Content-Length", "")
    if media_type not in INDEX_TYPES | MANIFEST_TYPES or not size.isdecimal() or size == "0":
        return None
    try:
        return Descriptor(media_type=media_type, digest=check_digest(digest), size=int(size))
    except RegistryError:
        return None
