"""Sends one blob to a registry: in one piece or in chunks, and on from where it broke off.

Protocol: OCI distribution specification 1.1, "Pushing blobs". Registries differ most in how they
take chunks: GitHub's takes 4 MiB at most and says 416, Google's takes none, Amazon's answers 201
with a stale `Range` and wants bytes in the last request. A whole blob in one PUT is what all of
them take, so chunks are for what is long, and a registry that refuses them gets whole blobs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal
from urllib.parse import quote

from envbuild.errors import RegistryError
from envbuild.oci.answer import NO_ANSWER, Answer, Request, Transient
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.store import Store
from envbuild.oci.token import format_scope
from envbuild.oci.wire import Wire

__all__ = ["Mounted", "Session", "Upload", "check_push", "mount_blob", "send_blob"]

Mounted = Literal["mounted"]

_CHUNKS: Final = (64 << 20, 16 << 20, 4 << 20, 1 << 20)
"""Sizes of chunks in bytes: what is longer than the first goes in chunks, the others are tried
where a request is too long for a registry or for a proxy before it."""

_PIECE: Final = 128 << 10
"""Bytes that are handed to the network at once: a slow line has to take them in one time-out."""

_WORTH_ASKING: Final = 1 << 20
"""Of a shorter blob, what a registry may have kept of a broken upload is not asked for."""

_DONE: Final = frozenset({200, 201, 202, 204})
"""201 is the specification's answer; older registries and proxies give the others."""

_RANGE: Final = re.compile(r"(?:bytes[= ])?0-(\d+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Session:
    """An upload that a registry has opened."""

    url: str
    least: int = 0
    """The smallest chunk that the registry takes, in bytes (`OCI-Chunk-Min-Length`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """One blob's way from the store into a repository."""

    repository: str
    blob: Descriptor
    store: Store
    sent: Callable[[int], object]

    @property
    def what(self) -> str:
        return f"take the blob `{self.blob.digest[:19]}` into `{self.repository}`"

    @property
    def scopes(self) -> tuple[str, ...]:
        return (format_scope(self.repository, "pull,push"),)


def check_push(wire: Wire, repository: str) -> None:
    """Open an upload and drop it again, which tells whether a push would be let in.

    Raises `RegistryError` if it would not, or if there is no answer.
    """
    request = Request(
        method="POST",
        url=f"{repository}/blobs/uploads/",
        what=f"take an image into `{repository}`",
        scopes=(format_scope(repository, "pull,push"),),
        headers={"Content-Length": "0"},
        body=b"",
    )
    answer = wire.ask(request)
    session = _read_session(wire, answer) if answer.status in _DONE else None
    if session is None:
        error = wire.explain(answer, request)
        raise error.error if isinstance(error, Transient) else error
    # Registries forget what isn't ended; not all of them take this.
    wire.try_ask(replace(request, method="DELETE", url=session.url, what="drop an upload"))


def mount_blob(
    wire: Wire, repository: str, blob: Descriptor, source: str
) -> Mounted | Session | None:
    """Have a blob taken over from another repository of the registry, without sending it.

    A registry that doesn't may open an upload instead, which can be used, or just refuse (None).
    Raises `RegistryError` only where there is no answer.
    """
    request = Request(
        method="POST",
        url=f"{repository}/blobs/uploads/?mount={blob.digest}&from={quote(source, safe='')}",
        what=f"take the blob `{blob.digest[:19]}` from `{source}` into `{repository}`",
        scopes=(format_scope(repository, "pull,push"), format_scope(source, "pull")),
        headers={"Content-Length": "0"},
        body=b"",
    )
    try:
        answer = wire.ask(request, attempts=2)
    except RegistryError as error:
        # A login may not reach as far as the source: GitLab's doesn't, between projects.
        if error.code in {"registry.unauthorised", "registry.unavailable"}:
            return None
        raise
    if answer.status == 201:
        return "mounted"
    return _read_session(wire, answer) if answer.status in _DONE else None


def send_blob(wire: Wire, upload: Upload, session: Session | None = None) -> None:
    """Bring the blob into the repository, in `session` if there is one already.

    A broken upload goes on from where the registry says it is, or begins anew. Raises
    `RegistryError`, and `ImageError` `store.damaged` or `store.missing` if the store's blob is not
    what its name says.
    """
    sending = _Sending(wire, upload, session)
    attempt, furthest = 0, 0
    try:
        while True:
            try:
                sending.go_on()
                return  # noqa: TRY300 - the end of the loop
            except _Refusal as refusal:
                sending.change_way(refusal)
            except Transient as failure:
                # What gets further each time may fail as often as it likes.
                attempt = 1 if sending.offset > furthest else attempt + 1
                furthest = max(furthest, sending.offset)
                wire.wait(failure, attempt)
                sending.find_place()
    except BaseException:
        sending.tell(0)
        raise


class _Refusal(Exception):  # noqa: N818 - the registry's answer, not an error yet
    """The registry, or a proxy before it, doesn't take the bytes in this way."""

    def __init__(self, error: RegistryError, status: int, size: int) -> None:
        super().__init__(error)
        self.error = error
        self.status = status
        self.size = size


class _Sending:
    """Where an upload is: its session, how many bytes the registry has, the way they are sent."""

    def __init__(self, wire: Wire, upload: Upload, session: Session | None) -> None:
        self._wire = wire
        self._upload = upload
        self._session = session
        self._size = upload.blob.size
        self._ways = _plan_ways(self._size, wire)
        self._told = 0
        self._arrived = False
        self.offset = 0

    def go_on(self) -> None:
        """Send what the registry lacks; raises `Transient` and `_Refusal`."""
        if self._arrived:
            return
        session = self._session
        if session is None:
            session, self.offset = self._open(), 0
        self.tell(self.offset)
        way = self._ways[0]
        chunk = max(way, session.least)
        # The last bytes go with the PUT: Amazon's registry fails if it has none.
        while way < self._size and self._size - self.offset > chunk:
            self._session = session
            session = self._patch(session, self.offset + chunk)
        self._session = session
        self._put(session)

    def change_way(self, refusal: _Refusal) -> None:
        """Choose how to send the blob from its start; raises the refusal if no way is left."""
        way = self._ways[0]
        if refusal.status == 413:
            self._wire.habits.too_long = min(self._wire.habits.too_long, refusal.size)
            self._ways = [w for w in self._ways[1:] if w < refusal.size]
        elif way < self._size:
            self._wire.habits.refused.add(way)
            self._ways = self._ways[1:]
        elif self.offset:
            pass  # the registry doesn't like to go on: the same again from the start
        else:
            raise refusal.error
        if not self._ways:
            raise refusal.error
        self._session, self.offset = None, 0

    def find_place(self) -> None:
        """Ask the registry how much it has after something broke; else begin anew."""
        session, self._session = self._session, None
        if self._size < _WORTH_ASKING:
            return
        if self._told == self._size and self._is_there():
            # Only the answer was lost, or took longer than is waited for.
            self._arrived = True
        elif session is not None:
            self._find_offset(session)

    def _find_offset(self, session: Session) -> None:
        answer = self._wire.try_ask(self._plan("GET", session.url, {}))
        found = _RANGE.fullmatch(answer.headers.get("Range", "")) if answer else None
        if answer is None or answer.status not in _DONE or found is None:
            return
        # An upload without a byte has the range `0-0`, like one with a single byte.
        have = int(found[1]) + 1 if found[1] != "0" else 0
        if have <= self._size:
            self.offset = have
            place = answer.headers.get("Location")
            url = self._wire.resolve(answer.url, place) if place else session.url
            self._session = replace(session, url=url)

    def tell(self, done: int) -> None:
        """Tell how many bytes are done; fewer than before, when they have to be sent again."""
        more, self._told = done - self._told, done
        if more:
            self._upload.sent(more)

    def _open(self) -> Session:
        headers = {"Content-Length": "0"}
        url = f"{self._upload.repository}/blobs/uploads/"
        request = replace(self._plan("POST", url, headers), body=b"")
        answer = self._wire.attempt(request)
        session = _read_session(self._wire, answer) if answer.status in _DONE else None
        if session is None:
            raise self._wire.explain(answer, request)
        return session

    def _patch(self, session: Session, stop: int) -> Session:
        request = self._plan_bytes("PATCH", session.url, stop)
        answer = self._wire.peek(request)
        if answer.status not in _DONE:
            raise self._refuse(answer, request, stop)
        # What a success says in `Range` is not relied upon: the digest is checked in the end.
        place = answer.headers.get("Location")
        url = self._wire.resolve(answer.url, place) if place else session.url
        self.offset = stop
        return replace(session, url=url)

    def _put(self, session: Session) -> None:
        joint = "&" if "?" in session.url else "?"
        url = f"{session.url}{joint}digest={quote(self._upload.blob.digest, safe='')}"
        request = self._plan_bytes("PUT", url, self._size)
        answer = self._wire.peek(request)
        if answer.status not in _DONE:
            raise self._refuse(answer, request, self._size)
        self._check(answer)

    def _plan_bytes(self, method: str, url: str, stop: int) -> Request:
        start = self.offset
        headers = {
            "Content-Length": str(stop - start),
            "Content-Type": "application/octet-stream",
        }
        if method == "PATCH" or start:
            headers["Content-Range"] = f"{start}-{stop - 1}"

        def body() -> Iterator[bytes]:
            self.tell(start)
            for data in self._upload.store.chunks(self._upload.blob.digest, start=start, stop=stop):
                for at in range(0, len(data), _PIECE):
                    piece = data[at : at + _PIECE]
                    yield piece
                    self.tell(self._told + len(piece))

        request = self._plan(method, url, headers)
        return replace(request, body=body if stop > start else b"")

    def _plan(self, method: str, url: str, headers: dict[str, str]) -> Request:
        upload = self._upload
        return Request(
            method=method, url=url, what=upload.what, scopes=upload.scopes, headers=headers
        )

    def _refuse(self, answer: Answer, request: Request, stop: int) -> Exception:
        error = self._wire.explain(answer, request)
        if isinstance(error, Transient) and answer.status == 501:
            error = error.error
        if isinstance(error, Transient) or answer.status in NO_ANSWER:
            return error
        if answer.status == 404:
            # The registry forgot the upload: it was restarted, or another of its processes answers.
            self._session = None
            return Transient(error, attempts=2)
        if "DIGEST_INVALID" in answer.codes:
            # Either our file is damaged, which this says, or the bytes were changed on their way.
            self._upload.store.check_blob(self._upload.blob.digest)
            error = self._wrong_digest("got other bytes than were sent for")
            if not self.offset:
                return error
        return _Refusal(error, answer.status, stop - self.offset)

    def _check(self, last: Answer) -> None:
        """Make sure that what the registry has now is what was sent."""
        said = last.headers.get("Docker-Content-Digest", "")
        if said.startswith("sha256:") and said != self._upload.blob.digest:
            raise self._wrong_digest(f"stored `{said}` for")
        if last.status == 201:
            return
        # "Accepted" is not yet "there".
        request = self._plan_look()
        answer = self._wire.attempt(request)
        if answer.status != 200:
            self._session = None
            error = self._wire.explain(answer, request)
            raise error if isinstance(error, Transient) else Transient(error)

    def _is_there(self) -> bool:
        answer = self._wire.try_ask(self._plan_look())
        return answer is not None and answer.status == 200

    def _plan_look(self) -> Request:
        url = f"{self._upload.repository}/blobs/{self._upload.blob.digest}"
        return self._plan("HEAD", url, {})

    def _wrong_digest(self, did: str) -> RegistryError:
        return RegistryError(
            "registry.wrong-digest",
            f"`{self._wire.host}` {did} `{self._upload.blob.digest}`",
            hint="its storage, or a proxy between, changes them; try again without a proxy",
        )


def _plan_ways(size: int, wire: Wire) -> list[int]:
    """Return the sizes of requests to try in turn; that of the blob means: whole, in one PUT."""
    habits = wire.habits
    first, *others = _CHUNKS
    ways = [first, size, *others] if size > first else [size, *others]
    fit = [way for way in ways if way <= size and way not in habits.refused]
    return [way for way in fit if way < habits.too_long] or fit[-1:]


def _read_session(wire: Wire, answer: Answer) -> Session | None:
    place = answer.headers.get("Location")
    if not place:
        return None
    least = answer.headers.get("OCI-Chunk-Min-Length", "")
    url = wire.resolve(answer.url, place)
    return Session(url=url, least=int(least) if least.isdecimal() else 0)
