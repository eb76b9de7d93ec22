"""`nox -s build-env -- --plan`: what a build would do, in bytes, without doing it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict

from envbuild.image.preview import Preview, preview_environment
from envbuild.kit.progress import Silent
from envbuild.sessions.context import Context
from envbuild.sessions.display import print_table
from envbuild.workspace.plans import plan_named

__all__ = ["preview"]

_WIDTH = 70
_WORDS = {"here": "reused", "registry": "reused, in the registry", "make": "made"}


def preview(
    context: Context, names: Sequence[str], *, push: bool, fresh: bool, as_json: bool
) -> None:
    """Print, for each environment, its layers and what would be fetched, made and pushed."""
    site = context.make_site(Silent(), fresh=fresh)
    found = {}
    for name in names:
        plan = plan_named(context, name)
        found[name] = (plan.reference, preview_environment(site, plan, push=push))
    if as_json:
        rows = [
            {"environment": name, "reference": reference, **asdict(one), "push": one.push}
            for name, (reference, one) in found.items()
        ]
        context.answer.document = rows
        return
    for name, (reference, one) in found.items():
        _print_one(name, reference, one, push=push)


def _print_one(name: str, reference: str, found: Preview, *, push: bool) -> None:
    print(f"{name}: {reference}")
    if found.done:
        print("nothing to do\n")
        return
    rows: list[tuple[str, ...]] = []
    for layer in found.layers:
        size = f"{layer.size / 1e6:.1f} MB"
        sent = f"{layer.push / 1e6:.1f} MB" if layer.push else ""
        title = textwrap.shorten(layer.title, _WIDTH, placeholder=" ...")
        rows.append((layer.platform, _WORDS[layer.action], size, sent, title))
    print_table(("platform", "layer is", "size", "sent", "what"), rows)
    made = [layer for layer in found.layers if layer.action == "make"]
    print(
        f"{len(made)} of {len(found.layers)} layers to make, {found.packages} packages to fetch "
        f"({found.fetch / 1e6:.1f} MB)"
        + (f", {found.push / 1e6:.1f} MB to push" if push else "")
        + "\n"
    )
