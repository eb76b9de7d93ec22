"""Promises of packing: the plan depends on what is locked alone, and little changes move little."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.identity.recipe import Base, ImageSettings, Recipe
from envbuild.layers.pack import LayerPlan, plan_layers, skeleton_key
from envbuild.layers.plan import ALONE, ALONE_BYTES, BUCKETS, CONDA_BUCKETS, DEBIAN_BUCKETS
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage, Wheel


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _wheel(name: str, size: int = 1000, version: str = "1.0") -> Wheel:
    return Wheel(
        name=name,
        version=version,
        filename=f"{name}-{version}-py3-none-any.whl",
        sha256=_hash("wheel", name, version),
        size=size,
    )


def _conda(name: str, version: str = "1.0") -> CondaPackage:
    url = f"https://pkgs.example.com/forge/noarch/{name}-{version}-0.conda"
    return CondaPackage(
        name=name,
        version=version,
        build="0",
        url=url,
        sha256=_hash("conda", name, version),
        size=1000,
    )


def _debian(name: str) -> DebianPackage:
    return DebianPackage(
        name=name,
        version="1",
        architecture="amd64",
        path=f"pool/{name}_1_amd64.deb",
        sha256=_hash("debian", name),
        size=1000,
    )


def _recipe(artifacts: Sequence[Artifact]) -> Recipe:
    return Recipe(
        platform="linux-64",
        base=Base(kind="debian"),
        artifacts=tuple(artifacts),
        prefix="/opt/env",
        python_minor="3.11",
        interpreter="",
        settings=ImageSettings(user="nonroot", labels={}),
    )


def _plan(artifacts: Sequence[Artifact]) -> tuple[LayerPlan, ...]:
    return plan_layers(_recipe(artifacts))


_NAMES = st.text("abcdefghij0-", min_size=1, max_size=8)
_SIZES = st.integers(1, 4 * ALONE_BYTES)
_WHEELS = st.dictionaries(_NAMES, _SIZES, max_size=40).map(
    lambda sizes: [_wheel(name, size) for name, size in sizes.items()]
)
_OTHERS = st.tuples(
    st.sets(_NAMES, max_size=30).map(lambda names: [_conda(n) for n in (*names, "python")]),
    st.sets(_NAMES, max_size=30).map(lambda names: [_debian(n) for n in names]),
).map(lambda pair: [*pair[0], *pair[1]])
_ARTIFACTS: st.SearchStrategy[list[Artifact]] = st.tuples(_WHEELS, _OTHERS).map(
    lambda pair: [*pair[0], *pair[1]]
)


@given(_ARTIFACTS, st.randoms())
def test_order_has_no_say(artifacts: list[Artifact], random: object) -> None:
    plans = _plan(artifacts)
    random.shuffle(artifacts)  # type: ignore[attr-defined]
    assert _plan(artifacts) == plans


@given(_ARTIFACTS)
def test_every_artifact_is_in_one_layer_and_layers_are_few(artifacts: list[Artifact]) -> None:
    plans = _plan(artifacts)
    found = [artifact for plan in plans for artifact in plan.artifacts]
    assert sorted(found, key=repr) == sorted(artifacts, key=repr)
    assert len(plans) <= DEBIAN_BUCKETS + 1 + CONDA_BUCKETS + ALONE + BUCKETS < 120
    assert all(plan.artifacts for plan in plans)
    assert len({plan.key for plan in plans}) == len(plans)


@given(_ARTIFACTS)
def test_debian_lies_below_conda_and_conda_below_wheels(artifacts: list[Artifact]) -> None:
    kinds = [type(plan.artifacts[0]).__name__ for plan in _plan(artifacts)]
    assert kinds == sorted(kinds, key=["DebianPackage", "CondaPackage", "Wheel"].index)


@settings(deadline=None)
@given(_ARTIFACTS, _NAMES)
def test_one_small_package_more_changes_one_layer(artifacts: list[Artifact], name: str) -> None:
    for new in (_wheel(name, 500), _conda(name), _debian(name)):
        others = [a for a in artifacts if (type(a), a.name) != (type(new), name)]
        before = {plan.key for plan in _plan(others)}
        after = {plan.key for plan in _plan([*others, new])}
        assert len(after - before) == 1
        assert len(before - after) <= 1


@given(_ARTIFACTS)
def test_an_upgrade_of_a_small_wheel_changes_one_layer(artifacts: list[Artifact]) -> None:
    before = {p.key for p in _plan([*artifacts, _wheel("zz", version="1.0")])}
    after = {p.key for p in _plan([*artifacts, _wheel("zz", version="1.1")])}
    assert len(before - after) == len(after - before) == 1


@given(_ARTIFACTS, _ARTIFACTS)
def test_a_big_wheel_has_the_same_layer_in_every_environment(
    one: list[Artifact], two: list[Artifact]
) -> None:
    big = _wheel("torch", 100 * ALONE_BYTES)
    keys = [
        {p.key for p in _plan([*artifacts, big]) if p.artifacts == (big,)}
        for artifacts in (one, two)
    ]
    assert keys[0] == keys[1]
    assert len(keys[0]) == 1


def test_the_biggest_wheels_are_alone_with_the_biggest_lowest() -> None:
    wheels = [_wheel(f"w{n}", ALONE_BYTES + n) for n in range(ALONE + 3)]
    alone = [plan.artifacts for plan in _plan(wheels)][:ALONE]
    assert alone == [(wheel,) for wheel in reversed(wheels[3:])]


def test_python_of_conda_is_alone_and_lowest() -> None:
    plans = _plan([_conda("aaa"), _conda("python"), _wheel("python"), _wheel("numpy", 10**8)])
    assert plans[0].artifacts == (_conda("python"),)


def test_where_a_package_comes_from_has_no_say() -> None:
    package = _conda("numpy")
    elsewhere = dataclasses.replace(package, url="https://mirror.example.com/numpy-1.0-0.conda")
    assert [p.key for p in _plan([package])] == [p.key for p in _plan([elsewhere])]


def test_prefix_and_python_have_their_say() -> None:
    recipe = _recipe([_wheel("a"), _conda("b")])
    others = [
        dataclasses.replace(recipe, prefix="/opt/other"),
        dataclasses.replace(recipe, python_minor="3.12"),
    ]
    for other in others:
        assert not {p.key for p in plan_layers(recipe)} & {p.key for p in plan_layers(other)}
        assert skeleton_key(recipe) != skeleton_key(other)


def test_a_skeletons_key_covers_what_it_is_made_from() -> None:
    recipe = _recipe([])
    changed = [
        dataclasses.replace(recipe, platform="linux-aarch64"),
        dataclasses.replace(recipe, base=Base(kind="scratch")),
        dataclasses.replace(recipe, interpreter="/usr/bin/python3.11"),
        dataclasses.replace(recipe, settings=ImageSettings(user="root", labels={})),
    ]
    assert len({skeleton_key(r) for r in (recipe, *changed)}) == 5
    same = dataclasses.replace(
        recipe,
        artifacts=(_wheel("a"),),
        settings=ImageSettings(user="nonroot", labels={"a": "b"}),
    )
    assert skeleton_key(same) == skeleton_key(recipe)
