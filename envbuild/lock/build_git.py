"""Gets sources from git repositories: which commit a name stands for, and that commit's files.

Credentials are references in the spec. They reach git as a header in its environment, so no
command line, no file of the checkout and no lock ever holds them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from envbuild.errors import LockError
from envbuild.kit.login import describe_login
from envbuild.kit.process import ToolExitError, run_tool
from envbuild.kit.urls import basic_authorization, expand_references
from envbuild.spec.formats import Direct

__all__ = ["check_out", "find_commit", "plain_url"]

_REFUSAL: Final = re.compile(
    r"could not read (?:Username|Password)|Authentication failed|returned error: 40[13]"
)
_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def plain_url(direct: Direct) -> str:
    """Return the repository's URL without credentials; the user of ssh is none, and stays."""
    if direct.url.startswith("ssh://"):
        return direct.url
    head, mark, rest = direct.url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{head}{mark}{authority.rpartition('@')[2]}{slash}{path}"


def find_commit(direct: Direct, *, logs: Path) -> str:
    """Return the full commit that `direct.reference` stands for now (empty: the default branch).

    Raises `LockError`: `pip.git` if the repository can't be read, `pip.git-reference` if it has
    no such name; `ToolError` without git.
    """
    wanted = direct.reference
    if _COMMIT.fullmatch(wanted):
        return wanted
    listed = _run(direct, ["ls-remote", "--quiet", "--", _address(direct)], logs=logs)
    commits = {name: commit for commit, name in (r.split("\t") for r in listed.splitlines())}
    # As git itself looks a name up (gitrevisions(7)); `^{}` is what an annotated tag points to.
    tries = (
        (f"refs/tags/{wanted}^{{}}", f"refs/tags/{wanted}", f"refs/heads/{wanted}", wanted)
        if wanted
        else ("HEAD",)
    )
    found = next((commits[name] for name in tries if name in commits), None)
    if found is None:
        short = re.fullmatch(r"[0-9a-f]{7,63}", wanted) is not None
        raise LockError(
            "pip.git-reference",
            f"the repository of `{direct.name}`, `{plain_url(direct)}`, has no branch or tag "
            f"`{wanted or 'HEAD'}`",
            hint="write a commit with all of its digits" if short else "correct what follows `@`",
        )
    return found


def check_out(direct: Direct, commit: str, folder: Path, *, logs: Path) -> None:
    """Put the files of `commit`, with submodules, into the new `folder`; history included.

    Versions are often made from tags, so the history must be there (contents of old files not).
    Raises `LockError` `pip.git`.
    """
    clone = ["clone", "--quiet", "--no-checkout", "--filter=blob:none"]
    _run(direct, [*clone, "--", _address(direct), str(folder)], logs=logs)
    inside = ["-C", str(folder)]
    try:
        run = [*inside, "checkout", "--quiet", "--detach", commit]
        _run(direct, run, logs=logs)
    except LockError:
        # Commits that no branch holds any more are there on request, on most servers.
        _run(direct, [*inside, "fetch", "--quiet", "origin", commit], logs=logs)
        _run(direct, [*inside, "checkout", "--quiet", "--detach", commit], logs=logs)
    if (folder / ".gitmodules").is_file():
        update = ["submodule", "--quiet", "update", "--init", "--recursive"]
        _run(direct, [*inside, *update], logs=logs)


def _address(direct: Direct) -> str:
    return expand_references(plain_url(direct))


def _run(direct: Direct, arguments: Sequence[str], *, logs: Path) -> str:
    environment, secrets = _make_environment(direct)
    try:
        return run_tool(
            ["git", *arguments], tool="git", env=environment, logs=logs, secrets=secrets
        )
    except ToolExitError as error:
        if error.returncode < 0:  # ended from outside, by Ctrl-C among others
            raise
        said = [line for line in error.output.splitlines() if line.startswith("fatal:")]
        why = said[-1].removeprefix("fatal:").strip().rstrip(".") if said else "git failed"
        hint = "check its URL and the commit"
        if _REFUSAL.search(error.output) and direct.url.startswith("http"):
            login = describe_login(direct.url)
            why, hint = f"it refuses access {login.words}", f"to mend it, {login.advice}"
        raise LockError(
            "pip.git",
            f"the repository of `{direct.name}`, `{plain_url(direct)}`, can't be read: {why} "
            f"(`{error.log}`)",
            hint=hint,
        ) from error


def _make_environment(direct: Direct) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return git's environment and the secrets in it."""
    # A hook that runs us sets GIT_DIR and the like, which would be about another repository.
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _GIT_KEPT
    }  # fmt: skip
    settings = [("core.autocrlf", "false"), ("advice.detachedHead", "false")]
    head, _, rest = direct.url.partition("://")
    user_info, at, host = rest.partition("/")[0].rpartition("@")
    secrets: tuple[str, ...] = ()
    if at and head != "ssh":
        user, _, password = user_info.partition(":")
        words = [unquote(expand_references(word)) for word in (user, password)]
        secrets = tuple(word for word in words if word)
        header = basic_authorization(words[0], words[1])["Authorization"]
        key = f"http.{head}://{expand_references(host)}/.extraHeader"
        settings.append((key, f"Authorization: {header}"))
    environment = kept | {"GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    environment.setdefault("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    environment["GIT_CONFIG_COUNT"] = str(len(settings))
    for number, (key, value) in enumerate(settings):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    return environment, secrets


_GIT_KEPT: Final = frozenset({
    "GIT_ASKPASS", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_NOSYSTEM", "GIT_SSH", "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
})  # fmt: skip
