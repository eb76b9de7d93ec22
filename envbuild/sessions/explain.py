"""`nox -s explain`: what an image tag is made of, or why two tags differ."""

from __future__ import annotations

import subprocess
from collections import Counter
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from envbuild.errors import SpecError
from envbuild.identity.digest import format_tag
from envbuild.identity.explain import DIFFERENCE_COLUMNS, explain, render_differences
from envbuild.image.plan import describe_image, plan_platform
from envbuild.lock.files import LOCK_FILE, parse_lock
from envbuild.lock.model import Lock
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import print_table
from envbuild.spec.load import parse_spec
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import PLATFORMS, find_host_platform

__all__ = ["run"]


def run(context: Context) -> None:
    """Show one identity, or the differences between two."""
    parser = make_parser(context, "Show what an image tag is made of, or why two tags differ.")
    parser.add_argument(
        "first", metavar="NAME[@COMMIT]", nargs="?",
        help="environment, as it is or as it was at a git commit (default: the repository's)",
    )  # fmt: skip
    parser.add_argument(
        "second", metavar="NAME[@COMMIT]", nargs="?", help="compare with this one (the newer)"
    )
    parser.add_argument("--platform", help="conda's name of the platform (default: this machine's)")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    first = _read_identity(context, arguments.first, arguments.platform)
    if arguments.second is None:
        context.answer.document = first
        if not arguments.json:
            _show_one(first)
        return
    second = _read_identity(context, arguments.second, arguments.platform)
    tags = [format_tag(identity.pop("digest")) for identity in (first, second)]
    rows = list(render_differences(explain(first, second)))
    found = [dict(zip(DIFFERENCE_COLUMNS, row, strict=True)) for row in rows]
    context.answer.document = {"tags": tags, "differences": found}
    if not arguments.json:
        _show_two(tags, rows)


def _read_identity(context: Context, text: str | None, platform: str | None) -> dict[str, Any]:
    """Return the identity's fields, and under `digest` what they are hashed to."""
    name, _, commit = (text or "").partition("@")
    if commit and name:  # it may be an environment that is no longer there
        spec, lock = _load_commit(context, name, commit)
    elif commit:
        spec, lock = _load_commit(context, context.select_one(None), commit)
    else:
        name = context.select_one(name or None)
        spec = context.load(name)
        lock = context.load_lock(name)
    subdir = _choose_platform(lock, platform)
    if subdir not in PLATFORMS:
        known = ", ".join(f"`{p}`" for p in sorted(lock.platforms))
        raise SpecError(
            "image.platform", f"`{name}` is not locked for `{platform}`: it is for {known}"
        )
    image = plan_platform(
        name, spec, lock, platform=PLATFORMS[subdir], settings=context.settings, root=context.root
    )
    return describe_image(image.recipe) | {"digest": image.digest}


def _choose_platform(lock: Lock, wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    host = find_host_platform()
    return host.subdir if host and host.subdir in lock.platforms else min(lock.platforms)


def _load_commit(context: Context, name: str, commit: str) -> tuple[EnvSpec, Lock]:
    spec_place = f"envs/{name}.toml"
    lock_place = f"lockfiles/{name}/{LOCK_FILE}"
    find = partial(_find_in_commit, context, commit)
    data = _read_commit(context, commit, spec_place)
    spec = parse_spec(data, where=f"{commit}:{spec_place}", find=find)
    lock = parse_lock(_read_commit(context, commit, lock_place), where=f"{commit}:{lock_place}")
    return spec, lock


def _find_in_commit(context: Context, commit: str, place: str) -> bytes | None:
    try:
        return _read_commit(context, commit, place.removeprefix(f"{commit}:"))
    except SpecError:
        return None


def _read_commit(context: Context, commit: str, place: str) -> bytes:
    argv = ["git", "-C", str(context.root), "show", f"{commit}:./{PurePosixPath(place)}"]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ").rstrip(".")
        raise SpecError(
            "explain.commit",
            f"git can't show `{place}` at `{commit}`: {said}",
            hint=f"`git log -- {place}` lists the commits that have it",
        )
    return done.stdout


def _show_one(identity: dict[str, Any]) -> None:
    counts = Counter(artifact[0] for artifact in identity["artifacts"])
    packages = ", ".join(f"{count} {manager}" for manager, count in sorted(counts.items()))
    base = identity["base"]
    rows: list[tuple[str, ...]] = [
        ("tag", format_tag(identity["digest"])),
        ("env digest", identity["digest"]),
        ("platform", identity["platform"]),
        ("base", f"{base['kind']} {base['digest']}".strip()),
        ("packages", packages or "none"),
        ("prefix", identity["prefix"]),
        ("python", f"{identity['python-minor']} {identity['interpreter']}".strip()),
        ("user", identity["user"]),
        ("labels", ", ".join(f"{k}={v}" for k, v in identity["labels"].items()) or "none"),
        ("assembler", f"{identity['assembler']} ({_join(identity['plan'])})"),
    ]
    print_table(("field", "value"), rows)


def _join(plan: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in plan.items())


def _show_two(tags: list[str], rows: list[tuple[str, ...]]) -> None:
    if rows:
        print(f"{tags[0]} -> {tags[1]}")
        print_table(DIFFERENCE_COLUMNS, rows)
    else:
        print(f"both are {tags[0]}: the same image")
