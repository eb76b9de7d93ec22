"""Tells "it is not there" from "could not tell", in the words of every registry.

Error codes: OCI distribution specification 1.1, "Error Codes".
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from envbuild.errors import RegistryError
from envbuild.oci.answer import NO_ANSWER, Answer, Request, Transient
from envbuild.oci.wire import Wire

__all__ = ["NO_HEAD", "ask_absence", "explain_digest", "refuse"]

_VERSION: Final = "Docker-Distribution-Api-Version"

_ABSENT: Final = frozenset({"MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN", "NOT_FOUND"})
"""Codes of a real "not found"; the last one is Harbor's."""

NO_HEAD: Final = frozenset({400, 405, 501})
"""What registries say that don't know HEAD here."""


def ask_absence(wire: Wire, request: Request) -> Answer | None:
    """Return the answer, or None if the registry says that there is no such thing."""

    def ask() -> Answer | None:
        answer = wire.peek(request)
        if request.method == "HEAD" and answer.status in NO_HEAD:
            return answer
        if answer.status == 404 or (answer.status >= 500 and _is_absent(wire, answer, request)):
            if _VERSION not in answer.headers and not answer.codes & _ABSENT:
                wire.check_registry()
            return None
        if answer.status in NO_ANSWER or answer.status >= 500:
            raise wire.explain(answer, request)
        return answer

    return wire.persist(ask)


def refuse(wire: Wire, answer: Answer, request: Request) -> RegistryError:
    """Return the error for an answer that is of no use, and will not be better a moment later."""
    error = wire.explain(answer, request)
    return error.error if isinstance(error, Transient) else error


def explain_digest(wire: Wire, request: Request, *, got: str, wanted: str) -> RegistryError:
    """Return the error for other bytes than those of the digest that was asked for."""
    return RegistryError(
        "registry.wrong-digest",
        f"`{wire.host}` gave `{got}` for `{wanted}` when asked to {request.what}",
        hint="its storage or a proxy between is broken; do not use this image",
    )


def _is_absent(wire: Wire, answer: Answer, request: Request) -> bool:
    """Return whether a 5xx means "not found": Harbor answered 500 for unknown projects.

    A HEAD has no body that could say so, hence a GET.
    """
    if request.method == "HEAD" and "/manifests/" in request.url:
        answer = wire.peek(replace(request, method="GET"))
    return bool(answer.codes & _ABSENT)
