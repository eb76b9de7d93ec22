"""What conda brings binds pip's packages, and is never locked twice."""

from __future__ import annotations

import pytest

from envbuild.errors import LockError
from tests.rig.pip_bench import TAG, Bench, find_host

RESOLVERS = pytest.mark.parametrize("resolver", ["pip-tools", "uv"])


def _fill(bench: Bench) -> None:
    machine = find_host().machine
    for version in ("2.2.6", "2.3.0"):
        bench.index.add("numpy", version, "only-wheels-of-numpy-need-this",
                        tag=f"{TAG}-{TAG}-manylinux_2_17_{machine}")  # fmt: skip
    bench.index.add("only-wheels-of-numpy-need-this", "1.0")
    bench.index.add("app", "1.0", "numpy>=2,<=2.2.6", "helper")
    bench.index.add("helper", "1.0", "NumPy!=2.3.*")


@RESOLVERS
def test_condas_packages_bind_and_are_left_out(pip_bench: Bench, resolver: str) -> None:
    _fill(pip_bench)
    brought = {"numpy": "2.2.6"}
    solution = pip_bench.resolve("app", resolver=resolver, constraints=brought)
    assert [wheel.name for wheel in solution.wheels] == ["app", "helper"]
    assert b"numpy" not in solution.text


@RESOLVERS
def test_an_index_need_not_have_what_conda_brings(pip_bench: Bench, resolver: str) -> None:
    pip_bench.index.add("app", "1.0", "Gdal.Core>=3", "cuda_thing==1.*")
    pip_bench.index.add_sdist("gdal-core", "3.1")
    brought = {"GDAL_core": "3.0.9", "cuda-thing": "1.2+cu118"}
    assert pip_bench.pins("app", resolver=resolver, constraints=brought) == {"app": "1.0"}


@RESOLVERS
def test_a_direct_request_for_condas_package_locks_nothing(pip_bench: Bench, resolver: str) -> None:
    _fill(pip_bench)
    solution = pip_bench.resolve("numpy", resolver=resolver, constraints={"numpy": "2.2.6"})
    assert solution.wheels == ()
    assert solution.text.decode().count("\n") == 1


@RESOLVERS
def test_a_conflict_with_conda_names_condas_version(pip_bench: Bench, resolver: str) -> None:
    _fill(pip_bench)
    with pytest.raises(LockError) as failure:
        pip_bench.resolve("numpy>=2.3", resolver=resolver, constraints={"numpy": "2.2.6"})
    assert failure.value.code == "lock.unsatisfiable"
    assert "numpy==2.2.6" in failure.value.message
    assert "conda brings `numpy` 2.2.6" in str(failure.value.hint)
    assert "+envbuild" not in str(failure.value)


@RESOLVERS
def test_a_package_that_moved_to_conda_leaves_the_lock(pip_bench: Bench, resolver: str) -> None:
    _fill(pip_bench)
    previous = pip_bench.resolve("app", resolver=resolver).text
    assert b"numpy==2.2.6" in previous
    brought = {"numpy": "2.2.6", "helper": "1.0"}
    solution = pip_bench.resolve("app", resolver=resolver, constraints=brought, previous=previous)
    assert [wheel.name for wheel in solution.wheels] == ["app"]


def test_an_extra_of_condas_package_is_pointed_out(pip_bench: Bench) -> None:
    _fill(pip_bench)
    pip_bench.resolve("numpy[all]", "app", constraints={"numpy": "2.2.6"})
    assert "numpy[all]" in pip_bench.heard.notes[0]
