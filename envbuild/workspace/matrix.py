"""Makes the fewest CI jobs of the environments that are to be built: equal content only once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from envbuild.image.plan import EnvironmentPlan

__all__ = ["RUNNERS", "Job", "make_jobs"]

RUNNERS: Final[Mapping[str, str]] = {
    "linux-64": "ubuntu-24.04",
    "linux-aarch64": "ubuntu-24.04-arm",
}
"""GitHub's machines by platform, in the order in which they are chosen for a whole environment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One job: the environments `names` have the same content, and `environment` is the first.

    `platforms` are those that the image is made for, or the one that the job is for. `smoke` are
    those of `names` that have a service to test.
    """

    environment: str
    names: tuple[str, ...]
    smoke: tuple[str, ...]
    platforms: tuple[str, ...]
    runner: str
    tag: str
    reference: str
    why: str

    def render(self) -> dict[str, str]:
        """Return it as a row of GitHub's matrix, whose values are single texts."""
        return {
            "environment": self.environment,
            "names": " ".join(self.names),
            "smoke": " ".join(self.smoke),
            "platform": " ".join(self.platforms),
            "runner": self.runner,
            "tag": self.tag,
            "reference": self.reference,
            "why": self.why,
        }


def make_jobs(
    plans: Sequence[EnvironmentPlan],
    *,
    reasons: Mapping[str, str],
    runners: Mapping[str, str] = RUNNERS,
    per_platform: bool = False,
) -> tuple[Job, ...]:
    """Return the jobs for those of `plans` that `reasons` says why to build, by name.

    `runners` are the machines by platform; with `per_platform`, each platform is a job of its own.
    """
    groups: dict[str, list[tuple[EnvironmentPlan, tuple[str, ...]]]] = {}
    for plan in plans:
        if plan.name in reasons:
            for digest, platforms in _split(plan, per_platform=per_platform):
                groups.setdefault(digest, []).append((plan, platforms))
    return tuple(
        _make_job([plan for plan, _ in group], group[0][1], reasons, runners)
        for group in groups.values()
    )


def _split(plan: EnvironmentPlan, *, per_platform: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    if per_platform:
        for image in plan.images:
            yield image.digest, (image.recipe.platform,)
    else:
        yield plan.digest, tuple(image.recipe.platform for image in plan.images)


def _make_job(
    plans: Sequence[EnvironmentPlan],
    platforms: tuple[str, ...],
    reasons: Mapping[str, str],
    runners: Mapping[str, str],
) -> Job:
    first = plans[0]
    return Job(
        environment=first.name,
        names=tuple(plan.name for plan in plans),
        smoke=tuple(plan.name for plan in plans if plan.images[0].spec.smoke is not None),
        platforms=platforms,
        runner=_choose_runner(platforms, runners),
        tag=first.reference.rpartition(":")[2],
        reference=first.reference,
        why=reasons[first.name],
    )


def _choose_runner(platforms: Iterable[str], runners: Mapping[str, str]) -> str:
    return next(label for platform, label in runners.items() if platform in platforms)
