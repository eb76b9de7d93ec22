"""Says why packages could not be resolved or fetched: the index, the request, or the tool."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from envbuild.errors import EnvbuildError, LockError
from envbuild.kit.http import describe_failure, open_pool
from envbuild.kit.login import describe_login
from envbuild.kit.process import ToolExitError
from envbuild.kit.retry import Patience
from envbuild.kit.urls import split_credentials, strip_credentials
from envbuild.lock.names import normalise_name
from envbuild.lock.pip_faults import explain_fault
from envbuild.lock.pip_indexes import Indexes
from envbuild.lock.pip_job import PipJob, unmark
from envbuild.lock.pip_times import explain_timeless, say_later
from envbuild.lock.pip_uv import find_all_files, find_python
from envbuild.spec.phrases import join_names

__all__ = [
    "explain_disk",
    "explain_no_wheel",
    "explain_resolution",
    "find_broken_index",
    "find_silent_host",
]

_QUICK: Final = Patience(connect=5.0, read=15.0)
_NO_SPACE: Final = re.compile(r"No space left on device|os error 28|Disk quota exceeded")
_NO_WHEEL: Final = re.compile(
    r"([A-Za-z0-9][A-Za-z0-9._-]*)(==[^\s,]+)?(?:[<>!=,][^\s]*)? ha(?:s|ve) no (?:usable )?wheels"
)
_UNREACHED: Final = re.compile(
    r"Failed to fetch: `?\w+://(?:[^/\s@]*@)?([^/\s`]+)|connection broken by .*?host='([^']+)'"
)
_OF_PYTHON: Final = re.compile(r"(?<![\w.-])Python[<>=!~]")
_SHOWN_FILES: Final = 6
_CHECK_URL: Final = (
    "check its URL (`pip.index-url` and `pip.extra-index-urls`, or `pip config list`), and that "
    "this machine reaches it"
)


def explain_resolution(error: ToolExitError, job: PipJob) -> EnvbuildError | None:
    """Return the purposeful error for a failure of uv, or None if it says nothing of the kind."""
    if error.returncode < 0:  # ended from outside, by Ctrl-C among others
        return None
    if found := explain_disk(error.output, job.work):
        return found
    if found := find_broken_index(job.indexes, job.requested):
        return found
    if found := find_silent_host(error.output):
        return found
    if found := explain_fault(error.output, job.task):
        return found
    said = _clean(error.output, job)
    if not said:
        return None
    blamed = set(_NO_WHEEL.findall(said))
    if len({name for name, _ in blamed}) == 1:
        # Several versions are blamed: the newest is the one to speak of.
        name, exact = blamed.pop() if len(blamed) == 1 else (blamed.pop()[0], "")
        return explain_no_wheel(f"{name}{exact}", job, said=said)
    if found := explain_timeless(error.output):
        return found
    return LockError(
        "lock.unsatisfiable",
        f"no versions of Python packages are what `{job.task}` asks for on {job.platform.subdir}: "
        f"{said}{say_later(error.output)}",
        hint=_advise(said, job),
    )


def explain_no_wheel(requirement: str, job: PipJob, *, said: str = "") -> LockError:
    """Return the error for a package, `NAME` or `NAME==VERSION`, without a wheel for the target."""
    name, _, version = requirement.partition("==")
    files = find_all_files(job, requirement)
    if files and not version:
        version = files[0].removesuffix(".tar.gz").split("-")[1]
    target = f"{job.platform.subdir} and Python {job.minor}"
    if job.glibc:
        target = f"{job.platform.subdir}, Python {job.minor} and glibc {job.glibc}"
    direct = normalise_name(name) in job.requested
    if version and not files and (python := find_python(job, requirement)):
        return LockError(
            "lock.no-wheel",
            f"`{name}` {version} needs Python {python}, and `{job.task}` has {job.minor}"
            f"{'' if direct or not said else f': {said}'}",
            hint=f"ask for a version that runs there, or for another `python` in "
            f"`envs/{job.task}.toml`, then run `nox -s lock -- {job.task}`",
        )
    return LockError(
        "lock.no-wheel",
        f"`{name}`{f' {version}' if version else ''} has no wheel for {target}{_list(files)}"
        f"{'' if direct or not said else f': {said}'}",
        hint="ask for a version that has one, or take the package from conda: "
        f"name it in `conda.dependencies` of `envs/{job.task}.toml`{_advise_build(name, files)}",
    )


def _advise_build(name: str, files: tuple[str, ...]) -> str:
    if all(file.endswith(".whl") for file in files):
        return ""
    return f"; or add it to `build-from-source` under `[pip]`, which runs the code of `{name}`"


def _list(files: tuple[str, ...]) -> str:
    if not files:
        return ""
    shown = ", ".join(f"`{file}`" for file in files[:_SHOWN_FILES])
    more = f" and {len(files) - _SHOWN_FILES} more" if len(files) > _SHOWN_FILES else ""
    return f"; the index has {shown}{more}"


def _clean(output: str, job: PipJob) -> str:
    """Return uv's own explanation in one piece; empty if it didn't get as far as one."""
    if "No solution found" not in output:
        return ""
    lines = []
    for line in output.split("No solution found", 1)[1].splitlines()[1:]:
        text = re.sub(r"^[^\w`]*(?:cause: )?", "", line).strip()
        # uv's other hints are about its own options, which are ours to choose.
        if text.startswith("hint:") and "Wheels are available" not in text:
            continue
        lines.append(text.removeprefix("hint: "))
    said = " ".join(line for line in lines if line).rstrip(".")
    return unmark(strip_credentials(said.replace(f"{job.work}/", "")))


def _advise(said: str, job: PipJob) -> str:
    brought = [
        f"`{name}` {version}"
        for name, version in sorted(job.constraints.items())
        if re.search(rf"(?<![\w.-]){re.escape(normalise_name(name))}(?![\w.-])", said)
    ]
    there = f" (conda brings {', '.join(brought)})" if brought else ""
    keys = {
        "pip.dependencies": True,
        "pip.constraints": job.limits,
        "pip.overrides": job.overrides,
        "python": _OF_PYTHON.search(said),
    }
    named = join_names([key for key, there in keys.items() if there], last="or")
    later = ""
    if job.before:
        later = ", or take a later day for `exclude-newer` (`--exclude-newer` where that was given)"
    return (
        f"change {named} in `envs/{job.task}.toml`{there}{later}, then run "
        f"`nox -s lock -- {job.task}`"
    )


def explain_disk(output: str, folder: Path) -> EnvbuildError | None:
    """Return the error for a child that found no space left below `folder`."""
    if not _NO_SPACE.search(output):
        return None
    return EnvbuildError(
        "disk.full",
        f"there is no space left to write below `{folder}`",
        hint="free some space, or name another folder: what is locked is worked out below "
        "`TMPDIR`, what is downloaded is kept below `ENVBUILD_CACHE`",
    )


def find_broken_index(indexes: Indexes, names: Iterable[str]) -> LockError | None:
    """Return the error for the first index that doesn't answer as one; None if all do.

    pip and uv take an index that refuses for one that lacks the package, so this asks each of
    them itself, for the page of one of `names`.
    """
    if indexes.no_index or "proxy" in indexes.settings:
        return None
    name = normalise_name(next(iter(names), "pip"))
    for url in indexes.urls:
        reason, hint = _ask(indexes, url, name)
        if reason:
            place = strip_credentials(url)
            return LockError("lock.index", f"the package index `{place}` {reason}", hint=hint)
    return None


def find_silent_host(output: str) -> LockError | None:
    """Return the error for an index that pip or uv say they couldn't reach.

    It may be the tools' own default, which has no URL in any configuration.
    """
    found = _UNREACHED.search(output)
    if found is None:
        return None
    causes = [line.strip() for line in output.splitlines() if line.strip().startswith("cause: ")]
    why = f": {causes[-1].removeprefix('cause: ').rstrip('.').lower()}" if causes else ""
    return LockError(
        "lock.index",
        f"the package index on `{found[1] or found[2]}` can't be reached{why}",
        hint="check the connection, or name another index in `pip.index-url`",
    )


def _ask(indexes: Indexes, url: str, name: str) -> tuple[str, str]:
    """Return what is wrong with the index at `url` (empty if nothing is), and what to do."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        there = Path(url2pathname(parts.path)).is_dir()
        return ("" if there else "is a folder that isn't there"), _CHECK_URL
    if {parts.hostname, parts.netloc.rpartition("@")[2]} & set(indexes.trusted):
        return "", ""  # its certificate may be one that no one else accepts
    from urllib3.exceptions import HTTPError

    plain, headers = split_credentials(url)
    ca = indexes.settings.get("cert")
    with open_pool(ca=Path(ca) if ca else None, patience=_QUICK) as pool:
        try:
            page = f"{plain.rstrip('/')}/{name}/"
            status = pool.request("GET", page, headers=headers, preload_content=False).status
        except HTTPError as error:
            return f"can't be reached: {describe_failure(error)}", _CHECK_URL
    if _is_refusal(status, indexes):
        login = describe_login(indexes.written.get(url, url))
        return f"refuses access (HTTP {status}) {login.words}", f"to mend it, {login.advice}"
    return (f"is out of order (HTTP {status})" if status >= 500 else ""), _CHECK_URL


def _is_refusal(status: int, indexes: Indexes) -> bool:
    if indexes.settings.get("keyring-provider") in {"import", "subprocess"}:
        return False  # pip and uv had a login that this question went without
    return status in {401, 407} or (status == 403 and len(indexes.urls) == 1)
