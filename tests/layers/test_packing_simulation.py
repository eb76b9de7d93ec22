"""The figures that the plan's thresholds were chosen by: `python -m benchmarks packing`."""

from __future__ import annotations

from benchmarks.packing import Candidate, load_environments, plan_here
from envbuild.layers.plan import ALONE, ALONE_BYTES, BUCKETS, PART_BYTES

_ENVIRONMENTS, _WEEKS = load_environments()


def test_there_are_environments_enough() -> None:
    assert len(_ENVIRONMENTS) >= 30
    assert len(_WEEKS) >= 10
    assert all(map(len, [*_ENVIRONMENTS.values(), *_WEEKS]))


def test_the_simulation_groups_as_the_product_does() -> None:
    ours = Candidate(alone_bytes=ALONE_BYTES, alone=ALONE, buckets=BUCKETS)
    compared = 0
    for environment in _ENVIRONMENTS.values():
        if all(wheel.size <= PART_BYTES for wheel in environment):
            assert set(plan_here(environment)) == set(ours.plan(environment))
            compared += 1
    assert compared >= 30


def test_layers_of_all_are_at_most_a_third_of_one_image_each() -> None:
    layers = {layer for e in _ENVIRONMENTS.values() for layer in plan_here(e)}
    stored = sum(wheel.size for layer in layers for wheel in layer)
    assert 3 * stored <= sum(wheel.size for e in _ENVIRONMENTS.values() for wheel in e)


def test_layers_stay_below_what_slows_engines() -> None:
    assert max(len(plan_here(environment)) for environment in _ENVIRONMENTS.values()) <= 60
