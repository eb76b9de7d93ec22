"""`nox -s explain`: what an image tag is made of, or why two tags differ."""

from __future__ import annotations

from collections import Counter
from typing import Any

from envbuild.errors import SpecError
from envbuild.identity.digest import format_tag
from envbuild.identity.explain import DIFFERENCE_COLUMNS, explain, render_differences
from envbuild.image.plan import describe_image, plan_platform
from envbuild.lock.model import Lock
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import print_table
from envbuild.spec.curated import RESERVED
from envbuild.spec.platforms import PLATFORMS, find_host_platform
from envbuild.workspace.past import open_past
from envbuild.workspace.trees import tree_builder
from envbuild.workspace.workspace import Workspace

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
    if not (commit and name):  # at a commit it may be one that is no longer there
        name = context.select_one(name or None)
    if not commit:
        return _describe(context, name, platform)
    with open_past(context.root, commit, [name]) as then:
        if name not in then.environments and not name.startswith(RESERVED):
            raise SpecError(
                "explain.commit",
                f"there is no `envs/{name}.toml` at `{commit}`",
                hint=f"`git log -- envs/{name}.toml` lists the commits that have it",
            )
        return _describe(then, name, platform)


def _describe(workspace: Workspace, name: str, platform: str | None) -> dict[str, Any]:
    spec, lock = workspace.load(name), workspace.load_lock(name)
    subdir = _choose_platform(lock, platform)
    if subdir not in PLATFORMS:
        known = ", ".join(f"`{p}`" for p in sorted(lock.platforms))
        raise SpecError(
            "image.platform", f"`{name}` is not locked for `{platform}`: it is for {known}"
        )
    image = plan_platform(
        name, spec, lock, platform=PLATFORMS[subdir], settings=workspace.settings,
        root=workspace.root, trees=tree_builder(workspace, name, spec),
    )  # fmt: skip
    return describe_image(image.recipe) | {"digest": image.digest}


def _choose_platform(lock: Lock, wanted: str | None) -> str:
    if wanted is not None:
        return wanted
    host = find_host_platform()
    return host.subdir if host and host.subdir in lock.platforms else min(lock.platforms)


def _show_one(identity: dict[str, Any]) -> None:
    counts = Counter(artifact[0] for artifact in identity["artifacts"])
    counts.update(artifact[0] for artifact in identity["local"])
    packages = ", ".join(f"{count} {manager}" for manager, count in sorted(counts.items()))
    base = identity["base"]
    rows: list[tuple[str, ...]] = [
        ("tag", format_tag(identity["digest"])),
        ("env digest", identity["digest"]),
        ("platform", identity["platform"]),
        ("base", f"{base['kind']} {base['digest']}".strip()),
        ("packages", packages or "none"),
        *(("source", f"{at} {digest}") for at, digest in identity.get("sources", {}).items()),
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
