"""Makes sure that an environment's image is where it is wanted, and says what that took."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from envbuild.errors import EnvbuildError
from envbuild.image.ensure import Ensured, ensure_environment, ensure_image, find_environment
from envbuild.image.plan import EnvironmentPlan
from envbuild.image.site import Site
from envbuild.oci.descriptor import Descriptor
from envbuild.workspace.plans import find_platform, plan_named
from envbuild.workspace.workspace import Workspace

if TYPE_CHECKING:
    from envbuild.image.push import Pushed

__all__ = ["Built", "build_one", "find_built"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """An image that is there now, and what it took."""

    plan: EnvironmentPlan
    manifest: Descriptor | None
    """None where the registry has it and this machine doesn't need it."""
    outcome: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Time of each step."""


def find_built(workspace: Workspace, name: str, site: Site) -> Built | None:
    """Return the image if it is there; None if there is work to do, or an error to report."""
    try:
        plan = plan_named(workspace, name)
        manifest = find_environment(site, plan)
    except EnvbuildError:
        return None
    return Built(plan=plan, manifest=manifest, outcome="up to date") if manifest else None


def build_one(
    plan: EnvironmentPlan, site: Site, *, push: bool = False, load: bool = False
) -> Built:
    """Make sure that the image is where it is wanted, and say what that took."""
    start = time.monotonic()
    parts: list[str] = []
    if push:
        from envbuild.image.push import ensure_pushed

        pushed = ensure_pushed(site, plan)
        ensured, manifest = pushed.ensured, pushed.manifest
        parts += [*_say_ensured(ensured), _say_pushed(pushed)]
    else:
        ensured = ensure_environment(site, plan)
        manifest = ensured.manifest
        parts += _say_ensured(ensured)
    if load:
        parts.append("loaded" if _load(plan, site) else "engine has it")
    took = time.monotonic() - start
    outcome = ", ".join(parts) or "up to date"
    site.progress.finish(plan.name, f"{outcome} ({took:.1f} s)" if took > 0.1 else outcome)
    seconds = ensured.seconds if ensured else {}
    for step, taken in seconds.items():
        site.say(f"{plan.name}: {step}: {taken:.2f} s")
    return Built(plan=plan, manifest=manifest, outcome=outcome, seconds=seconds)


def _say_ensured(ensured: Ensured | None) -> list[str]:
    if ensured is None or ensured.was_there:
        return []
    listed = f", {ensured.listed} found in the registry" if ensured.listed else ""
    return [f"assembled ({ensured.made} of {ensured.layers} layers made{listed})"]


def _say_pushed(pushed: Pushed) -> str:
    if pushed.there:
        return "registry has it"
    mounted = f", {pushed.mounted} mounted" if pushed.mounted else ""
    return f"pushed {pushed.sent} blobs, {pushed.bytes / 1e6:.1f} MB{mounted}"


def _load(plan: EnvironmentPlan, site: Site) -> bool:
    from envbuild.engine.client import connect_engine
    from envbuild.engine.load import ensure_loaded
    from envbuild.image.blobs import ensure_whole

    image = plan.find(find_platform())
    manifest = ensure_image(site, image).manifest
    ensure_whole(site, manifest, task=plan.name)
    with connect_engine() as engine:
        return ensure_loaded(
            engine, layout=site.store.root, manifest_digest=manifest.digest, name=plan.reference,
            progress=site.progress, task=plan.name,
        ).sent  # fmt: skip
