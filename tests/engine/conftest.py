"""What the tests of containers share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from envbuild.engine.client import Engine
from envbuild.engine.leftovers import remove_container
from envbuild.engine.plan import ContainerPlan
from tests.rig.image import PYTHON, LoadedImage

PlanPython = Callable[..., ContainerPlan]


@pytest.fixture
def plan_python(engine: Engine, python_image: LoadedImage) -> Iterator[PlanPython]:
    """Plans containers that run a piece of Python; none of them survives the test."""
    names: list[str] = []

    def plan(code: str, **more: object) -> ContainerPlan:
        names.append(f"envbuild-test-{secrets.token_hex(6)}")
        facts: dict[str, object] = {
            "name": names[-1],
            "image": python_image.image_id,
            "command": (PYTHON, "-u", "-c", code),
            "network": "none",
            **more,
        }
        return ContainerPlan(**facts)  # type: ignore[arg-type]

    yield plan
    left = [name for name in names if remove_container(engine, name)]
    assert not left, f"containers were left behind: {left}"
