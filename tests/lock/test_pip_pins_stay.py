"""Pins stay where nothing forces them, whichever of several indexes has a file that fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.rig.pip_bench import FOREIGN, Bench, find_host
from tests.rig.pip_index import PipIndex

RESOLVERS = pytest.mark.parametrize("resolver", ["uv", "pip-tools"])
PLACES = pytest.mark.parametrize("foreign", [False, True], ids=["host", "foreign"])


@pytest.fixture
def more() -> Iterator[PipIndex]:
    """A second index, which is looked at before the first."""
    with PipIndex() as index:
        yield index


def _fill(bench: Bench, more: PipIndex, *, foreign: bool) -> None:
    """Three versions for both machines; the extra index has the newest for the other one only."""
    other = find_host() if foreign else FOREIGN
    for version in ("1.0", "2.0", "3.0"):
        for platform in (find_host(), FOREIGN):
            bench.index.add("native", version, tag=f"py3-none-manylinux_2_17_{platform.machine}")
    more.add("native", "3.0", tag=f"py3-none-manylinux_2_17_{other.machine}")
    bench.index.add("old-fashioned", "1.0", "native<3")
    bench.index.add("forward", "2.0", "native>=4")
    bench.index.add("tool", "1.0")
    bench.index.add("app", "1.0", "native")


@RESOLVERS
@PLACES
def test_a_pin_stays_where_an_extra_index_has_its_version_for_another_machine(
    pip_bench: Bench, more: PipIndex, resolver: str, foreign: bool
) -> None:
    _fill(pip_bench, more, foreign=foreign)
    where: dict[str, Any] = {
        "resolver": resolver,
        "platform": FOREIGN if foreign else None,
        "extra": (more.url,),
    }
    first = pip_bench.resolve("app", **where)
    assert b"native==3.0" in first.text
    more.add("native", "4.0", tag="py3-none-any")
    pins = pip_bench.pins("app", "tool", previous=first.text, **where)
    assert pins == {"app": "1.0", "native": "3.0", "tool": "1.0"}
    pins = pip_bench.pins("app", "old-fashioned", previous=first.text, **where)
    assert pins == {"app": "1.0", "native": "2.0", "old-fashioned": "1.0"}
    pins = pip_bench.pins("app", "forward>=2", previous=first.text, **where)
    assert pins == {"app": "1.0", "forward": "2.0", "native": "4.0"}
    assert pip_bench.pins("native==3", "tool", previous=first.text, **where)["native"] == "3.0"


@RESOLVERS
@PLACES
def test_an_earlier_day_moves_pins_no_further_than_a_lock_of_that_day(
    pip_bench: Bench, more: PipIndex, resolver: str, foreign: bool
) -> None:
    for month, version in enumerate(("1.0", "2.0", "3.0"), start=1):
        pip_bench.index.add("lib", version, uploaded=f"2026-0{month}-15T12:00:00Z")
        more.add("lib", version)
    where: dict[str, Any] = {
        "resolver": resolver,
        "platform": FOREIGN if foreign else None,
        "extra": (more.url,),
    }
    today = pip_bench.resolve("lib", **where)
    assert b"lib==3.0" in today.text
    for before, version in (("2026-03-31", "3.0"), ("2026-02-28", "2.0")):
        fresh = pip_bench.pins("lib", before=before, **where)
        assert fresh == {"lib": version}
        assert pip_bench.pins("lib", before=before, previous=today.text, **where) == fresh
    exact = pip_bench.pins("lib==3.0", before="2026-03-31", previous=today.text, **where)
    assert exact == {"lib": "3.0"}
