"""`nox -s show`: what is in an environment's image, layer by layer, package by package."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from envbuild.errors import ImageError
from envbuild.image.describe import ImageReport, describe_platform, find_manifest
from envbuild.image.plan import EnvironmentPlan, ImagePlan, describe_image
from envbuild.kit.progress import Silent
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import print_table
from envbuild.version import __version__
from envbuild.workspace.plans import plan_named

__all__ = ["run"]

_LISTED = 8
"""Biggest packages that are shown of a layer without `--packages`."""


def run(context: Context) -> None:
    """Show the image of one environment on all of its platforms."""
    parser = make_parser(
        context, "Show what is in an environment's image, on this machine or in the registry."
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="environment in `envs/`")
    parser.add_argument("--platform", help="conda's name of one platform (default: all)")
    parser.add_argument("--packages", action="store_true", help="list every package")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    name = context.select_one(arguments.name)
    plan = plan_named(context, name)
    images = [i for i in plan.images if arguments.platform in {None, i.recipe.platform}]
    if not images:
        known = ", ".join(f"`{image.recipe.platform}`" for image in plan.images)
        raise ImageError(
            "image.platform",
            f"`{name}` has no image for `{arguments.platform}`: its platforms are {known}",
        )
    site = context.make_site(Silent())
    reports = [(image, describe_platform(site, plan, image)) for image in images]
    tools = dict(context.load_lock(name).tools)
    manifest = find_manifest(site, plan)
    if arguments.json:
        context.answer.document = _as_json(plan, manifest, reports, tools)
        return
    if len(plan.images) > 1:
        print(f"{plan.reference}\nindex of {len(plan.images)} platforms: {manifest}\n")
    for image, report in reports:
        _show(plan, image, report, tools, packages=arguments.packages)


def _as_json(
    plan: EnvironmentPlan,
    manifest: str,
    reports: Sequence[tuple[ImagePlan, ImageReport]],
    tools: dict[str, str],
) -> dict[str, Any]:
    return {
        "environment": plan.name,
        "reference": plan.reference,
        "digest": plan.digest,
        "manifest": manifest,
        "lock": f"lockfiles/{plan.name}/envbuild.lock",
        "resolved-with": tools,
        "assembled-with": f"envbuild {__version__}",
        "platforms": [
            {**asdict(report), "digest": image.digest, "identity": describe_image(image.recipe)}
            for image, report in reports
        ],
    }


def _show(
    plan: EnvironmentPlan,
    image: ImagePlan,
    report: ImageReport,
    tools: dict[str, str],
    *,
    packages: bool,
) -> None:
    recipe, config = image.recipe, report.config.get("config") or {}
    moved = sum(layer.size for layer in report.layers)
    plain = sum(layer.plain_size for layer in report.layers)
    rows: list[tuple[str, ...]] = [
        ("image", plan.reference),
        ("found", "on this machine" if report.found == "here" else "in the registry"),
        ("platform", report.platform),
        ("manifest", report.manifest),
        ("image ID", report.config_digest),
        ("env digest", image.digest),
        ("base", _say_base(recipe.base.kind, recipe.base.reference, recipe.base.digest)),
        ("prefix", recipe.prefix),
        *(("source", f"{source.path} at {source.target}") for source in image.spec.image.source),
        ("Python", _say_python(image)),
        ("byte code", f"of Python {recipe.bytecode}" if recipe.bytecode else "none"),
        ("size", f"{_say_bytes(moved)} to move, {_say_bytes(plain)} unpacked above the base"),
        ("user", str(config.get("User") or "root")),
        ("folder", str(config.get("WorkingDir") or "/")),
        ("command", shlex.join([*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())])),
        *(("variable", text) for text in config.get("Env") or ()),
        *(("label", f"{key}={text}") for key, text in (config.get("Labels") or {}).items()),
        ("lock", f"lockfiles/{plan.name}/envbuild.lock"),
        ("resolved with", ", ".join(f"{tool} {text}" for tool, text in tools.items()) or "nothing"),
        ("assembled with", f"envbuild {__version__}, {recipe.format.compression}"),
    ]
    print_table(("field", "value"), rows)
    print()
    print_table(("layer", "to move", "unpacked", "what"), list(_list_layers(report, packages)))


def _list_layers(report: ImageReport, packages: bool) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for layer in report.layers:
        plain = _say_bytes(layer.plain_size) if layer.key else ""
        title = layer.title if layer.key else f"base: {layer.title}"[:100]
        rows.append((layer.digest[7:19], _say_bytes(layer.size), plain, title))
        if len(layer.contents) < 2 and not packages:
            continue
        biggest = sorted(layer.contents, key=lambda c: (-c.size, c.name))
        for content in biggest if packages else biggest[:_LISTED]:
            named = f"  {content.name} {content.version} ({content.files} files)"
            rows.append(("", "", _say_bytes(content.size), named))
    return rows


def _say_base(kind: str, reference: str, digest: str) -> str:
    if kind == "image":
        return f"{reference} ({digest})"
    if kind == "dockerfile":
        return f"built from a Dockerfile ({digest}); not reproducible"
    return {"debian": "assembled from Debian packages", "scratch": "nothing"}[kind]


def _say_python(image: ImagePlan) -> str:
    recipe = image.recipe
    if recipe.interpreter:
        return f"{recipe.python_minor}, {recipe.interpreter}"
    return f"{recipe.python_minor}, conda's" if recipe.python_minor else "none"


def _say_bytes(size: int) -> str:
    if size >= 1_000_000:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.1f} kB"
