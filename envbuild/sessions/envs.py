"""`nox -s envs`: the environments there are, and the state of their locks; reads, and no more."""

from __future__ import annotations

from typing import Any

from envbuild.errors import EnvbuildError, LockError, SpecError
from envbuild.lock.freshness import check_fresh
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import print_table
from envbuild.spec.curated import find_curated
from envbuild.spec.model import EnvSpec

__all__ = ["run"]

_COLUMNS = ("environment", "python", "platforms", "lock", "packages", "description")


def run(context: Context) -> None:
    """List the repository's environments and those that come with envbuild."""
    parser = make_parser(context, "List the environments: of `envs/`, and that come with envbuild.")
    parser.add_argument(
        "--curated", action="store_true",
        help="only those that come with envbuild, and the packages that each asks for",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the list as JSON")
    arguments = parser.parse_args(context.arguments)
    own = () if arguments.curated else context.environments
    found = [_describe(context, name) for name in (*own, *find_curated())]
    context.answer.document = found
    if arguments.json:
        return
    print_table(_COLUMNS, [_show(one) for one in found])
    for one in found if arguments.curated else ():
        print(f"\n{one['environment']}: {', '.join(one['requests']) or 'Python alone'}")
    for one in found:
        if one["error"]:
            print(f"\n{one['environment']}: {one['error']}")


def _describe(context: Context, name: str) -> dict[str, Any]:
    """Return what is known of an environment; `error` says why its spec can't be read."""
    about: dict[str, Any] = {"environment": name, "curated": name in find_curated()}
    try:
        spec = context.load(name)
    except SpecError as error:
        return about | dict.fromkeys(
            ("description", "python", "platforms", "requests", "packages"), None
        ) | {"lock": error.code, "error": error.message}  # fmt: skip
    lock, packages = _find_lock(context, name, spec)
    return about | {
        "description": spec.description, "python": spec.python, "platforms": list(spec.platforms),
        "requests": _list_requests(spec), "lock": lock, "packages": packages, "error": None,
    }  # fmt: skip


def _find_lock(context: Context, name: str, spec: EnvSpec) -> tuple[str, int | None]:
    """Return the state of the lock, as `check` has it, and how many packages it has."""
    try:
        lock = context.load_lock(name)
    except LockError as error:
        return error.code, None
    count = len({(type(a), a.name) for part in lock.platforms.values() for a in part.artifacts})
    try:
        check_fresh(spec, lock, name=name, root=context.root)
    except EnvbuildError as error:
        return error.code, count
    return "fresh", count


def _list_requests(spec: EnvSpec) -> list[str]:
    conda = spec.conda.dependencies if spec.conda else ()
    return [*conda, *spec.pip.dependencies, *spec.pip.local, *spec.system.packages]


def _show(one: dict[str, Any]) -> tuple[str, ...]:
    words = {"fresh": "up to date", "lock.missing": "none", "lock.stale": "stale"}
    return (
        one["environment"],
        one["python"] or "",
        ", ".join(one["platforms"] or ()),
        words.get(one["lock"], one["lock"]),
        "" if one["packages"] is None else str(one["packages"]),
        one["description"] or "",
    )
