"""Judge a service's answers: strict JSON, values with tolerance, times."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from envbuild.run.http import Answer, Message
from envbuild.spec.model_running import Expect, Request

__all__ = ["NotJsonError", "find_difference", "find_problem", "parse_strict", "plan_message"]

_FAILED_HEADER = "x-ms-run-function-failed"


class NotJsonError(ValueError):
    """A body isn't JSON as RFC 8259 has it; the text says why."""


def plan_message(request: Request) -> Message:
    """Return the HTTP request that a `[[smoke.request]]` describes."""
    headers = dict(request.headers)
    body: bytes | None = None
    if request.body is not None:
        body = request.body.encode()
    elif request.json is not None:
        body = json.dumps(request.json, ensure_ascii=False).encode()
        if "content-type" not in {name.lower() for name in headers}:
            headers["Content-Type"] = "application/json"
    method = request.method or ("GET" if body is None else "POST")
    return Message(path=request.path, method=method, headers=headers, body=body)


def find_problem(expect: Expect, answer: Answer, *, in_time: bool = True) -> str | None:
    """Return what is wrong with an answer, or None.

    A body that says it is JSON must be strict JSON whether or not a value is expected. With
    `in_time` False, the time isn't judged.
    """
    if answer.status != expect.status:
        return f"status {answer.status} instead of {expect.status}: {_excerpt(answer.body)}"
    if expect.status < 400 and answer.headers.get(_FAILED_HEADER, "").lower() == "true":
        return "run() failed, says the header x-ms-run-function-failed"
    return (
        _find_json_problem(expect, answer)
        or _find_text_problem(expect, answer)
        or (_find_time_problem(expect, answer) if in_time else None)
    )


def _find_json_problem(expect: Expect, answer: Answer) -> str | None:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    says_json = kind == "application/json" or kind.endswith("+json")
    if expect.json is None and not (says_json and answer.body):
        return None
    try:
        value = parse_strict(answer.body)
    except NotJsonError as error:
        return f"the body is no strict JSON: {error}: {_excerpt(answer.body)}"
    return None if expect.json is None else find_difference(expect.json, value, expect.tolerance)


def _find_text_problem(expect: Expect, answer: Answer) -> str | None:
    if expect.contains is None or expect.contains in answer.body.decode(errors="replace"):
        return None
    return f"the body doesn't contain `{expect.contains}`: {_excerpt(answer.body)}"


def _find_time_problem(expect: Expect, answer: Answer) -> str | None:
    if expect.max_ms is None or answer.ms <= expect.max_ms:
        return None
    return f"it took {answer.ms:.0f} ms, allowed are {expect.max_ms} ms"


def _excerpt(body: bytes) -> str:
    text = " ".join(body[:200].decode(errors="replace").split())
    return f"`{text}{'...' if len(body) > 200 else ''}`" if text else "(empty body)"


def parse_strict(body: bytes) -> Any:
    """Return the value of a JSON text in UTF-8: no NaN or Infinity, no key twice, no BOM.

    Raises `NotJsonError`.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJsonError("it isn't UTF-8") from error
    try:
        return json.loads(text, parse_constant=_refuse, object_pairs_hook=_refuse_twins)
    except NotJsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise NotJsonError(str(error) or "it is nested too deeply") from error


def _refuse(constant: str) -> NoReturn:
    raise NotJsonError(f"`{constant}` is no JSON value")


def _refuse_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise NotJsonError(f"the key `{twin}` is there twice")
    return value


def find_difference(wanted: object, got: object, tolerance: float, at: str = "$") -> str | None:
    """Return where and how a JSON value differs from the wanted one, or None.

    Numbers may differ by `tolerance`, whole or not; `true` is no number.
    """
    if _is_number(wanted) and _is_number(got):
        near = _is_near(wanted, got, tolerance)
        return None if near else f"`{at}` is {got}, not {wanted}{_say(tolerance)}"
    if isinstance(wanted, Mapping) and isinstance(got, Mapping):
        return _find_key_difference(wanted, got, tolerance, at)
    if isinstance(wanted, list | tuple) and isinstance(got, list):
        if len(wanted) != len(got):
            return f"`{at}` has {len(got)} items, not {len(wanted)}"
        pairs = enumerate(zip(wanted, got, strict=True))
        found = (find_difference(w, g, tolerance, f"{at}[{i}]") for i, (w, g) in pairs)
        return next((text for text in found if text), None)
    same = type(wanted) is type(got) and wanted == got
    return None if same else f"`{at}` is {_show(got)}, not {_show(wanted)}"


def _find_key_difference(
    wanted: Mapping[str, object], got: Mapping[str, object], tolerance: float, at: str
) -> str | None:
    for name in wanted:
        if name not in got:
            return f"`{at}.{name}` is missing"
    for name in got:
        if name not in wanted:
            return f"`{at}.{name}` is not expected"
    found = (find_difference(wanted[n], got[n], tolerance, f"{at}.{n}") for n in wanted)
    return next((text for text in found if text), None)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_near(wanted: Any, got: Any, tolerance: float) -> bool:
    try:
        return bool(abs(got - wanted) <= tolerance)
    except OverflowError:  # an integer that is larger than every float
        return False


def _say(tolerance: float) -> str:
    return f" (within {tolerance:g})" if tolerance else ""


def _show(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
