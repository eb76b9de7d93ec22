"""`explain`: every difference of two identities in words, and silence exactly where none is."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from envbuild.identity.digest import identity_fields, plan_recipe
from envbuild.identity.explain import (
    DIFFERENCE_COLUMNS,
    Difference,
    explain,
    render_differences,
)
from envbuild.identity.recipe import Base, ImageSettings, Recipe, Source
from envbuild.kit.canonical import digest_json
from envbuild.lock.model import Artifact
from tests.identity.golden import PLAN
from tests.identity.test_digest import recipes
from tests.rig.locks import BASE, conda, debian, make_platform, make_spec, sha, wheel

RECIPE = plan_recipe(make_spec(), make_platform())


def _fields(recipe: Recipe = RECIPE, *, assembler: int = 1, **plan: int | str) -> dict[str, Any]:
    return identity_fields(recipe, assembler=assembler, plan={**PLAN, **plan})


def _rows(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, ...]]:
    return list(render_differences(explain(old, new)))


def _packages(old: list[Artifact], new: list[Artifact]) -> list[tuple[str, ...]]:
    return _rows(
        _fields(replace(RECIPE, artifacts=tuple(old))),
        _fields(replace(RECIPE, artifacts=tuple(new))),
    )


@given(recipes, recipes)
def test_silence_means_one_digest(one: Recipe, other: Recipe) -> None:
    old, new = _fields(one), _fields(other)
    assert (explain(old, new) == ()) == (digest_json(old) == digest_json(new))


@given(recipes)
def test_an_identity_does_not_differ_from_itself_read_from_json(recipe: Recipe) -> None:
    fields = _fields(recipe)
    assert explain(json.loads(json.dumps(fields)), fields) == ()


@pytest.mark.parametrize(
    ("field", "value", "row"),
    [
        ("platform", "linux-aarch64", ("platform", "changed", "linux-64", "linux-aarch64")),
        ("prefix", "/opt/x", ("folder of the environment", "changed", "/opt/env", "/opt/x")),
        ("python_minor", "3.12", ("version of Python", "changed", "3.11", "3.12")),
        (
            "interpreter",
            "/usr/bin/python3.11",
            ("Python outside the environment", "changed", "none", "/usr/bin/python3.11"),
        ),
        (
            "base",
            Base(kind="scratch"),
            ("base", "changed", "Debian packages", "nothing (`scratch`)"),
        ),
        (
            "base",
            Base(kind="image", digest=BASE.digest, reference="r"),
            ("base", "changed", "Debian packages", f"image {BASE.digest}"),
        ),
        (
            "settings",
            ImageSettings(user="nonroot", labels={"team": "vision"}),
            ("user of the image", "changed", "root", "nonroot"),
        ),
        (
            "settings",
            ImageSettings(user="root", labels={"team": "speech"}),
            ("label `team`", "changed", "vision", "speech"),
        ),
        (
            "settings",
            ImageSettings(user="root", labels={"team": "vision", "a": ""}),
            ("label `a`", "added", "", "none"),
        ),
        (
            "settings",
            ImageSettings(user="root", labels={}),
            ("label `team`", "removed", "vision", ""),
        ),
    ],
)
def test_a_field_is_explained_in_words(field: str, value: object, row: tuple[str, ...]) -> None:
    changed = replace(RECIPE, **{field: value})  # type: ignore[arg-type]
    assert _rows(_fields(), _fields(changed)) == [row]
    assert len(row) == len(DIFFERENCE_COLUMNS)


def test_a_source_is_named_by_where_it_is() -> None:
    one = Source(target="/srv/a", digest="sha256:" + "1" * 64)
    other = replace(one, digest="sha256:" + "2" * 64)

    def told(old: tuple[Source, ...], new: tuple[Source, ...]) -> list[tuple[str, ...]]:
        return _rows(*(_fields(replace(RECIPE, sources=sources)) for sources in (old, new)))

    assert told((one,), (other,)) == [("source `/srv/a`", "changed", one.digest, other.digest)]
    assert told((), (one,)) == [("source `/srv/a`", "added", "", one.digest)]
    assert told((one,), ()) == [("source `/srv/a`", "removed", one.digest, "")]
    assert told((one,), (one,)) == []


def test_a_new_envbuild_is_explained() -> None:
    assert _rows(_fields(), _fields(assembler=2)) == [
        ("envbuild's way of making layers", "changed", "1", "2")
    ]
    assert _rows(_fields(), _fields(alone=13)) == [
        ("envbuild's plan of layers, `alone`", "changed", "12", "13")
    ]


def test_another_version_of_the_identity_is_the_only_answer() -> None:
    old = {**_fields(), "envbuild-identity": 0, "artifacts": ["something", "else"]}
    assert explain(old, _fields()) == (
        Difference(
            field="envbuild-identity",
            what="envbuild's list of what counts",
            change="changed",
            before="0",
            after="2",
        ),
    )


def test_packages_are_explained_one_by_one() -> None:
    old: list[Artifact] = [
        conda("numpy", "2.1", "h0"),
        conda("mkl", "1"),
        wheel("rich", "13"),
        debian("git"),
    ]
    new: list[Artifact] = [
        conda("numpy", "2.2", "h5"),
        conda("blas", "1", "h3"),
        wheel("rich", "14"),
        debian("git"),
    ]
    assert _packages(old, new) == [
        ("blas (conda)", "added", "", "1 h3"),
        ("mkl (conda)", "removed", "1 h0_0", ""),
        ("numpy (conda)", "other version", "2.1", "2.2"),
        ("rich (pip)", "other version", "13", "14"),
    ]


def test_another_build_or_content_of_one_version_is_told_apart() -> None:
    old: list[Artifact] = [conda("numpy", "2.1", "h0"), wheel("rich", "13")]
    new: list[Artifact] = [conda("numpy", "2.1", "h1"), wheel("rich", "13", sha256=sha("rebuilt"))]
    assert _packages(old, new) == [
        ("numpy (conda)", "other build", "2.1 h0", "2.1 h1"),
        (
            "rich (pip)",
            "other content",
            f"sha256:{wheel('rich', '13').sha256[:12]}",
            f"sha256:{sha('rebuilt')[:12]}",
        ),
    ]


def test_one_name_from_another_manager_is_another_package() -> None:
    assert _packages([debian("graphviz", "2-1")], [wheel("graphviz", "2")]) == [
        ("graphviz (debian)", "removed", "2-1 amd64", ""),
        ("graphviz (pip)", "added", "", "2"),
    ]


def test_a_name_that_an_image_has_twice_hides_nothing() -> None:
    amd, arm = debian("libc6"), debian("libc6", architecture="arm64", sha256=sha("arm"))
    assert _packages([amd], [amd, arm]) == [("libc6 (debian)", "added", "", "1.0-1 arm64")]
    assert _packages([amd, amd], [amd]) == [("libc6 (debian)", "removed", "1.0-1 amd64", "")]
