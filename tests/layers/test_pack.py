"""Promises of packing: the plan depends on what is locked alone, and little changes move little."""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.identity.recipe import Base, Format, ImageSettings, Recipe
from envbuild.layers.pack import (
    LayerPlan,
    finish_key,
    has_python,
    plan_layers,
    skeleton_key,
)
from envbuild.layers.plan import (
    ALONE,
    ALONE_BYTES,
    BUCKETS,
    CONDA_BUCKETS,
    DEBIAN_BASE,
    DEBIAN_BUCKETS,
    PART_BYTES,
)
from envbuild.lock.debian import BASE_PACKAGES
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage, Wheel

_ENGINE_LIMIT = 125
"""Layers that Docker Engine 20.10 stacks, the base's own among them."""


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


def _conda(
    name: str, size: int = 1000, version: str = "1.0", subdir: str = "noarch", build: str = "0"
) -> CondaPackage:
    return CondaPackage(
        name=name,
        version=version,
        build=build,
        url=f"https://pkgs.example.com/forge/{subdir}/{name}-{version}-{build}.conda",
        sha256=_hash("conda", name, version),
        size=size,
    )


def _debian(name: str, size: int = 1000, version: str = "1") -> DebianPackage:
    return DebianPackage(
        name=name,
        version=version,
        architecture="amd64",
        path=f"pool/{name}_{version}_amd64.deb",
        sha256=_hash("debian", name, version),
        size=size,
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
        bytecode="3.11.2",
    )


def _plan(artifacts: Sequence[Artifact]) -> tuple[LayerPlan, ...]:
    return plan_layers(_recipe(artifacts))


_NAMES = st.text("abcdefghij0-", min_size=1, max_size=8)
_SIZES = st.one_of(st.integers(1, 4 * ALONE_BYTES), st.sampled_from([PART_BYTES, PART_BYTES + 1]))
_SIZED = st.dictionaries(_NAMES, _SIZES, max_size=15)


@st.composite
def _artifacts(draw: st.DrawFn) -> list[Artifact]:
    wheels = [_wheel(name, size) for name, size in draw(_SIZED).items()]
    conda = [_conda(name, size) for name, size in {**draw(_SIZED), "python": 1000}.items()]
    debian = [_debian(name, size) for name, size in {**draw(_SIZED), "libc6": 3 << 20}.items()]
    return [*wheels, *conda, *debian]


_ARTIFACTS = _artifacts()


def _find(plans: Sequence[LayerPlan], artifact: Artifact) -> list[LayerPlan]:
    return [plan for plan in plans if artifact in plan.artifacts]


@given(_ARTIFACTS, st.randoms(use_true_random=False))
def test_order_has_no_say(artifacts: list[Artifact], shuffle: random.Random) -> None:
    plans = _plan(artifacts)
    shuffle.shuffle(artifacts)
    assert _plan(artifacts) == plans


@given(_ARTIFACTS)
def test_every_artifact_is_in_one_layer_or_all_its_parts_and_layers_are_few(
    artifacts: list[Artifact],
) -> None:
    plans = _plan(artifacts)
    found = [artifact for plan in plans if plan.part == 0 for artifact in plan.artifacts]
    assert sorted(found, key=repr) == sorted(artifacts, key=repr)
    for plan in plans:
        same = [p.part for p in plans if p.artifacts == plan.artifacts]
        assert same == list(range(plan.parts))
    most = 1 + DEBIAN_BUCKETS + CONDA_BUCKETS + BUCKETS + ALONE
    assert len(plans) <= most < _ENGINE_LIMIT // 2
    assert all(plan.artifacts for plan in plans)
    assert len({plan.key for plan in plans}) == len(plans)


@given(_ARTIFACTS)
def test_debian_lies_below_conda_and_conda_below_wheels(artifacts: list[Artifact]) -> None:
    kinds = [type(plan.artifacts[0]).__name__ for plan in _plan(artifacts)]
    assert kinds == sorted(kinds, key=["DebianPackage", "CondaPackage", "Wheel"].index)


@settings(deadline=None)
@given(_ARTIFACTS, _NAMES)
def test_one_small_package_more_changes_one_layer(artifacts: list[Artifact], name: str) -> None:
    for new in (_wheel(name, 500), _conda(name, 500), _debian(name, 500)):
        others = [a for a in artifacts if (type(a), a.name) != (type(new), name)]
        before = {plan.key for plan in _plan(others)}
        after = {plan.key for plan in _plan([*others, new])}
        assert len(after - before) == 1
        assert len(before - after) <= 1


@given(_ARTIFACTS)
def test_an_upgrade_of_one_package_changes_one_layer(artifacts: list[Artifact]) -> None:
    for make in (_wheel, _conda, _debian):
        for size in (500, 3 * ALONE_BYTES):
            old, new = make("zz", size, version="1.0"), make("zz", size, version="1.1")
            before = {p.key for p in _plan([*artifacts, old])}
            after = {p.key for p in _plan([*artifacts, new])}
            assert len(before - after) == len(after - before) == 1


@given(_ARTIFACTS, _ARTIFACTS, st.sampled_from([_wheel, _conda, _debian]))
def test_a_big_package_has_the_same_layers_in_every_environment(
    one: list[Artifact], two: list[Artifact], make: Callable[..., Artifact]
) -> None:
    big = make("torch", 2 * PART_BYTES)
    keys = [[p.key for p in _find(_plan([*artifacts, big]), big)] for artifacts in (one, two, [])]
    assert keys[0] == keys[1] == keys[2]
    assert len(keys[0]) == 2


@given(st.sets(_NAMES, max_size=ALONE), st.sampled_from([_wheel, _conda, _debian]))
def test_from_a_fixed_size_on_a_package_is_alone_whatever_its_rank(
    names: set[str], make: Callable[..., Artifact]
) -> None:
    artifacts = [make(name, ALONE_BYTES) for name in names]
    assert sorted(p.artifacts[0].name for p in _plan(artifacts)) == sorted(names)
    below = [make(name, ALONE_BYTES - 1) for name in names]
    assert len(_plan(below)) <= max(BUCKETS, CONDA_BUCKETS, DEBIAN_BUCKETS)


def test_beyond_the_cap_the_smallest_share_buckets() -> None:
    wheels = [_wheel(f"w{n}", ALONE_BYTES + n) for n in range(ALONE + 30)]
    plans = _plan(wheels)
    assert len(plans) <= ALONE + BUCKETS
    assert [plan.artifacts for plan in plans][:ALONE] == [(w,) for w in reversed(wheels[30:])]


def test_the_parts_of_huge_packages_count_for_the_cap() -> None:
    huge = [_wheel(f"huge{n}", 4 * PART_BYTES) for n in range(ALONE)]
    assert len(_plan(huge)) <= ALONE + BUCKETS


@pytest.mark.parametrize(
    ("size", "parts"),
    [(1, 1), (PART_BYTES, 1), (PART_BYTES + 1, 2), (2 * PART_BYTES, 2), (5 * PART_BYTES - 1, 5)],
)
def test_the_number_of_parts_follows_from_the_size(size: int, parts: int) -> None:
    plans = _plan([_wheel("torch", size)])
    assert [(plan.part, plan.parts) for plan in plans] == [(n, parts) for n in range(parts)]
    assert len({plan.key for plan in plans}) == parts


def test_python_of_conda_is_lowest_of_conda() -> None:
    python = _conda("python", 30 << 20)
    plans = _plan([_conda("aaa"), python, _conda("mkl", 200 << 20), _wheel("numpy", 10**8)])
    assert plans[0].artifacts == (python,)


def test_what_every_debian_image_has_is_one_layer() -> None:
    base = [_debian(name, 5 << 20) for name in (*DEBIAN_BASE, "gcc-12-base")]
    others = [_debian("python3.11-minimal", 2 << 20), _debian("libssl3")]
    alone = _plan(base)
    assert len(alone) == 1
    assert _plan([*base, *others, _wheel("a")])[0] == alone[0]
    assert set(BASE_PACKAGES) <= DEBIAN_BASE


def test_local_wheels_are_the_topmost_layer() -> None:
    mine = _wheel("mine", 100 << 20)
    recipe = dataclasses.replace(_recipe([_wheel("a"), _wheel("b", 9 << 20)]), local=(mine,))
    plans = plan_layers(recipe)
    assert plans[-1].artifacts == (mine,)
    assert plans[:-1] == _plan(recipe.artifacts)


def test_where_a_package_comes_from_has_no_say() -> None:
    package = _conda("numpy")
    mirror = "https://mirror.example.com/noarch/numpy-1.0-0.conda"
    elsewhere = dataclasses.replace(package, url=mirror)
    assert [p.key for p in _plan([package])] == [p.key for p in _plan([elsewhere])]


_LIBRARY = _conda("zlib", subdir="linux-64", build="h4ab18f5_1")
_EXTENSION = _conda("numpy", subdir="linux-64", build="py311h64a7726_0")
_PYTHON = _conda("python", subdir="linux-64", build="h955ad1f_0_cpython")


@pytest.mark.parametrize(
    ("artifact", "expected"),
    [
        (_wheel("a"), True),
        (_conda("tqdm"), True),
        (_EXTENSION, True),
        (_PYTHON, True),
        (_LIBRARY, False),
        (_debian("python3.11-minimal"), False),
    ],
    ids=["wheel", "noarch", "extension", "python", "library", "debian"],
)
def test_python_has_its_say_where_its_files_can_be(artifact: Artifact, expected: bool) -> None:
    recipe = _recipe([artifact])
    others = [
        dataclasses.replace(recipe, python_minor="3.12"),
        dataclasses.replace(recipe, bytecode="3.11.9"),
        dataclasses.replace(recipe, bytecode=""),
    ]
    assert has_python(artifact) is expected
    for other in others:
        assert (plan_layers(recipe)[0].key != plan_layers(other)[0].key) is expected


def test_the_prefix_has_its_say_but_not_for_debian() -> None:
    artifacts: list[Artifact] = [_wheel("a"), _LIBRARY, _debian("b")]
    recipe = _recipe(artifacts)
    other = dataclasses.replace(recipe, prefix="/opt/other")
    one, two = plan_layers(recipe), plan_layers(other)
    same = [a.key == b.key for a, b in zip(one, two, strict=True)]
    assert same == [True, False, False]
    assert skeleton_key(recipe) != skeleton_key(other)


@given(_ARTIFACTS)
def test_the_compression_has_its_say_everywhere(artifacts: list[Artifact]) -> None:
    recipe = _recipe(artifacts)
    other = dataclasses.replace(recipe, format=Format(compression="zstd"))
    assert not {p.key for p in plan_layers(recipe)} & {p.key for p in plan_layers(other)}
    assert skeleton_key(recipe) != skeleton_key(other)
    assert finish_key(recipe) != finish_key(other)


def test_what_does_not_reach_a_layer_has_no_say() -> None:
    recipe = _recipe([_wheel("a"), _LIBRARY, _debian("b")])
    others = [
        dataclasses.replace(recipe, platform="linux-aarch64"),
        dataclasses.replace(recipe, base=Base(kind="scratch")),
        dataclasses.replace(recipe, interpreter="/usr/bin/python3.11"),
        dataclasses.replace(recipe, settings=ImageSettings(user="root", labels={"a": "b"})),
        dataclasses.replace(recipe, format=Format(media_types="docker")),
    ]
    for other in others:
        assert plan_layers(other) == plan_layers(recipe)


@given(st.sampled_from([_wheel, _conda, _debian]), _NAMES, st.sampled_from([9, 9 << 20, 9 << 28]))
def test_keys_differ_when_anything_of_an_artifact_differs(
    make: Callable[..., Artifact], name: str, size: int
) -> None:
    artifact = make(name, size)
    changed = [
        dataclasses.replace(artifact, name=name + "x"),
        dataclasses.replace(artifact, version="2"),
        dataclasses.replace(artifact, sha256="f" * 64),
        *(other(name, size) for other in (_wheel, _conda, _debian) if other is not make),
    ]
    keys = [{plan.key for plan in _plan([a])} for a in (artifact, *changed)]
    assert sum(map(len, keys)) == len(set().union(*keys))


def test_a_finishing_layers_key_covers_debians_packages() -> None:
    recipe = _recipe([_wheel("a"), _debian("b")])
    changed = [
        dataclasses.replace(recipe, artifacts=(_debian("b", version="2"),)),
        dataclasses.replace(recipe, base=Base(kind="image")),
        dataclasses.replace(recipe, settings=ImageSettings(user="root", labels={})),
    ]
    assert len({finish_key(r) for r in (recipe, *changed)}) == 4
    same = dataclasses.replace(recipe, artifacts=(_debian("b"),), prefix="/opt/other")
    assert finish_key(same) == finish_key(recipe)


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
