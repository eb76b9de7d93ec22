"""Reads what conda-lock printed when it failed, and says it again without the noise.

conda-lock wraps the JSON of conda's own errors into its stderr, with a command line before it and
a traceback behind. Written against conda-lock 4 (`conda_lock/conda_solver.py`).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from envbuild.errors import LockError
from envbuild.kit.login import describe_login
from envbuild.kit.urls import strip_credentials
from envbuild.spec.phrases import join_names

__all__ = ["CondaFailure", "parse_failure", "say_channel", "say_match_spec", "say_unsatisfiable"]

_CREATE: Final = re.compile(
    r"^Could not lock the environment for platform (\S+)\n(.*?)^    Command: \[",
    re.MULTILINE | re.DOTALL,
)
_UPDATE: Final = re.compile(
    r"^RuntimeError: Could not lock the environment for platform (\S+): (.*)",
    re.MULTILINE | re.DOTALL,
)
_NO_SPEC: Final = re.compile(
    r"^RuntimeError: (Failed to turn `.*` into a MatchSpec)$", re.MULTILINE
)
# conda's names, libmamba's, and those of envbuild's own front (`conda_front.py`).
_CHANNEL: Final = frozenset({
    "ChannelError", "CondaHTTPError", "CondaSSLError", "InvalidChannelError", "OfflineError",
    "ProxyError", "UnavailableInvalidChannel",
})  # fmt: skip
_MATCH_SPEC: Final = frozenset({"InvalidMatchSpec", "InvalidMatchSpecError", "InvalidVersionSpec"})
_UNSATISFIABLE: Final = frozenset({
    "LibMambaUnsatisfiableError", "PackagesNotFoundError", "PackagesNotFoundInChannelsError",
    "ResolvePackageNotFound", "SpecsConfigurationConflictError", "UnsatisfiableError",
})  # fmt: skip
_URL: Final = re.compile(r"(?:https?|file)://[^\s'\"`)>,]+")
_INDEX: Final = re.compile(r"/[a-z0-9-]+/(?:repodata|current_repodata)[^/]*$|/$")


@dataclass(frozen=True, kw_only=True, slots=True)
class CondaFailure:
    """Why one platform could not be solved: `kind` is one of the three below."""

    platform: str
    kind: str
    """`channel`, `match-spec` or `unsatisfiable`."""
    explanation: str


def parse_failure(output: str) -> CondaFailure | None:
    """Return what conda-lock's `output` says went wrong; None if it is nothing that is known."""
    found = _CREATE.search(output)
    if found:
        answer = _find_json(output[found.start() :])
        name, message = _read_answer(answer, found[2])
    else:
        found = _UPDATE.search(output)
        if not found:
            return _parse_no_spec(output)
        # Here conda-lock keeps the message alone.
        message = found[2]
        name = "CondaHTTPError" if _URL.search(message) else "UnsatisfiableError"
    kind = _find_kind(name)
    if kind is None:
        return None
    return CondaFailure(
        platform=found[1], kind=kind, explanation=strip_credentials(message.strip())
    )


def _parse_no_spec(output: str) -> CondaFailure | None:
    found = _NO_SPEC.search(output)
    return CondaFailure(platform="", kind="match-spec", explanation=found[1]) if found else None


def _find_json(text: str) -> dict[str, Any]:
    """Return the JSON object that conda printed, as conda-lock repeats it."""
    start = text.find("{", text.find("    STDOUT:"))
    try:
        answer = json.JSONDecoder().raw_decode(text, start)[0]
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _read_answer(answer: dict[str, Any], said: str) -> tuple[str, str]:
    problems = answer.get("solver_problems")  # micromamba's
    if isinstance(problems, list):
        return "UnsatisfiableError", "\n".join(map(str, problems))
    return str(answer.get("exception_name", "")), str(answer.get("message", said))


def _find_kind(name: str) -> str | None:
    for kind, names in (
        ("channel", _CHANNEL),
        ("match-spec", _MATCH_SPEC),
        ("unsatisfiable", _UNSATISFIABLE),
    ):
        if name in names:
            return kind
    return None


def say_unsatisfiable(failures: Sequence[CondaFailure], *, task: str, log: Path) -> LockError:
    """Return the error for a request that has no solution, with each platform's explanation."""
    platforms: dict[str, list[str]] = {}
    for failure in failures:
        platforms.setdefault(_drop_repeats(failure.explanation), []).append(failure.platform)
    parts = [
        f"{', '.join(names)}:\n{_indent(explanation)}" for explanation, names in platforms.items()
    ]
    names = ", ".join(f"`{failure.platform}`" for failure in failures)
    return LockError(
        "lock.unsatisfiable",
        "\n\n".join(
            [
                f"the conda packages that `{task}` asks for can't be had together:",
                *parts,
                f"that is what the solver says for {names}, and its whole output is in `{log}`",
            ]
        ),
        hint=_advise_request(task, "\n".join(platforms)),
    )


def _advise_request(task: str, said: str) -> str:
    keys = "`conda.dependencies`, `python` or `[conda.virtual-packages]`"
    ways = [f"change {keys} in `envs/{task}.toml`", "add a channel"]
    if "for this platform" in said:
        ways.append("ask for a package only where it is, under `[platform.NAME.conda]`")
    if "after the cutoff date" in said:
        ways.append("take a later day for `exclude-newer` (`--exclude-newer` where that was given)")
    return f"{', or '.join(ways)}; then run `nox -s lock -- {task}`"


def _drop_repeats(text: str) -> str:
    """Return the solver's tree without a branch that says what the one before it said.

    rattler repeats branches now and then, and then two platforms' trees seem to differ.
    """
    lines: list[str] = []
    for line in text.splitlines():
        if lines and re.sub("[├└]", "", line) == re.sub("[├└]", "", lines[-1]):
            lines.pop()
        lines.append(line)
    return "\n".join(lines)


def _indent(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


def say_channel(failure: CondaFailure, *, log: Path, written: Sequence[str] = ()) -> LockError:
    """Return the error for a channel that can't be read; `written` are the URLs that may be it."""
    text = failure.explanation
    url = _URL.search(text)
    channel = _INDEX.sub("", url[0]) if url else ""
    status = re.search(r"\b([45]\d\d) ([A-Z][A-Za-z ]+)", text)
    lines = [line.removeprefix("Caused by: ").strip() for line in text.splitlines() if line.strip()]
    reason = f"it answers {status[1]} {status[2].strip()}" if status else lines[-1].rstrip(".")
    hint = _advise(status[1] if status else "")
    if status and status[1] in {"401", "403"}:
        sent, hint = _explain_login(channel, written)
        reason += sent
    return LockError(
        "lock.channel",
        f"{_name_channel(channel, written)} can't be read: {reason}; the solver's output is in "
        f"`{log}`",
        hint=hint,
    )


def _name_channel(channel: str, written: Sequence[str]) -> str:
    """Return what to call a channel; the solver doesn't always say which of them it is."""
    if channel:
        return f"the conda channel at `{channel}`"
    names = join_names([strip_credentials(url) for url in written], last="or")
    return f"a conda channel, {names}," if names else "a conda channel"


def _explain_login(channel: str, written: Sequence[str]) -> tuple[str, str]:
    """Return what the request was logged in with, as an ending, and how to mend it."""
    alike = (url for url in written if _is_below(channel, strip_credentials(url)))
    url = next(alike, channel)
    login = describe_login(url)
    hint = f"to mend it, {login.advice}"
    if "${" in url or not channel:
        return (f" {login.words}" if channel else ""), hint
    # What that file has is rattler's to know.
    sent = "" if os.environ.get("RATTLER_AUTH_FILE") else f" {login.words}"
    return sent, f"{hint}; or write it into the file that `RATTLER_AUTH_FILE` names"


def _is_below(url: str, stem: str) -> bool:
    return f"{url.rstrip('/')}/".startswith(f"{stem.rstrip('/')}/")


def _advise(status: str) -> str:
    if status == "404":
        return "check the names and URLs in `conda.channels`"
    return (
        "check that this machine reaches the channel, or name a copy of it in `mirrors` of "
        "`[tool.envbuild]`"
    )


def say_match_spec(failure: CondaFailure, *, task: str) -> LockError:
    """Return the error for a match spec that the solver can't read."""
    return LockError(
        "lock.match-spec",
        f"a match spec of `{task}` can't be read: {failure.explanation.rstrip('.')}",
        hint=f"correct `conda.dependencies` in `envs/{task}.toml`",
    )
