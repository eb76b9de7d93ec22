"""The env digest: one for each content, none for two, and nothing else in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from envbuild.errors import SpecError
from envbuild.identity.digest import (
    digest_index,
    digest_recipe,
    format_reference,
    format_tag,
    identity_fields,
    plan_recipe,
)
from envbuild.identity.recipe import Base, Format, ImageSettings, Recipe, Source
from envbuild.lock.model import Artifact, CondaPackage, DebianPackage, Wheel
from tests.identity.golden import FOLDER, PLAN, RECIPES, dump_recipe, read_recipe
from tests.rig.locks import BASE, artifacts, conda, debian, make_platform, make_spec, sha, wheel

RECIPE = plan_recipe(make_spec(), make_platform())


def _digest(recipe: Recipe, *, assembler: int = 1, plan: Mapping[str, int | str] = PLAN) -> str:
    return digest_recipe(recipe, assembler=assembler, plan=plan)


def _of(*parts: Artifact, **fields_: Any) -> str:
    return _digest(replace(RECIPE, artifacts=parts, **fields_))


# Golden vectors


@pytest.mark.parametrize("name", RECIPES)
def test_golden_vectors_hold(name: str) -> None:
    vector = json.loads((FOLDER / f"{name}.json").read_bytes())
    recipe = read_recipe(vector["recipe"])
    known = {"assembler": vector["assembler"], "plan": vector["plan"]}
    assert recipe == RECIPES[name]
    assert identity_fields(recipe, **known) == vector["fields"]
    assert digest_recipe(recipe, **known) == vector["digest"]
    assert format_tag(vector["digest"]) == vector["tag"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_digest_can_be_computed_from_the_published_fields(name: str) -> None:
    """Anybody can check a tag: SHA-256 of the fields as compact JSON with sorted keys."""
    vector = json.loads((FOLDER / f"{name}.json").read_bytes())
    text = json.dumps(vector["fields"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert vector["digest"] == "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_there_are_no_other_vectors() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == set(RECIPES)
    assert read_recipe(dump_recipe(RECIPE)) == RECIPE


# Every field is decided on: in the identity, or out of it

Change = Callable[[Any], Any]

SOURCE = Source(target="/srv/a", digest="sha256:" + "d" * 64, size=1)

IN: dict[type, dict[str, Change]] = {
    Recipe: {
        "platform": lambda _: "linux-aarch64",
        "prefix": lambda _: "/opt/other",
        "python_minor": lambda _: "3.12",
        "interpreter": lambda _: "/usr/bin/python3.11",
        # Tables and lists; what is in them is decided on below.
        "base": lambda _: Base(kind="scratch"),
        "artifacts": lambda value: value[1:],
        "settings": lambda value: replace(value, user="nonroot"),
        "local": lambda _: (wheel("acme"),),
        "sources": lambda _: (SOURCE,),
        "format": lambda value: replace(value, compression="zstd"),
        "bytecode": lambda _: "3.11.10",
        "link_scripts": lambda _: "run",
        "managed": lambda _: False,
    },
    Format: {"compression": lambda _: "zstd", "media_types": lambda _: "docker"},
    Source: {"target": lambda _: "/srv/b", "digest": lambda _: "sha256:" + "e" * 64},
    Base: {"kind": lambda _: "scratch", "digest": lambda _: "sha256:" + "c" * 64},
    ImageSettings: {"user": lambda _: "nonroot", "labels": lambda _: {"team": "speech"}},
    CondaPackage: {
        "name": lambda _: "scipy",
        "version": lambda _: "9.9",
        "build": lambda _: "h1_1",
        "sha256": lambda _: sha("other"),
        "size": lambda _: 7,
    },
    Wheel: {
        "name": lambda _: "httpx",
        "version": lambda _: "9.9",
        "sha256": lambda _: sha("other"),
        "size": lambda _: 7,
    },
    DebianPackage: {
        "name": lambda _: "git",
        "version": lambda _: "9.9",
        "architecture": lambda _: "all",
        "sha256": lambda _: sha("other"),
        "size": lambda _: 7,
    },
}

OUT: dict[type, dict[str, Change]] = {
    Source: {"size": lambda _: 2},  # it follows from the digest
    Base: {"reference": lambda _: "mirror.example.com/base:2"},
    CondaPackage: {"url": lambda _: "https://mirror.example.com/x.conda"},
    Wheel: {"filename": lambda _: "other.whl"},
    DebianPackage: {"path": lambda _: "pool/other.deb"},
}


def _example(kind: type) -> tuple[Any, Callable[[Any], Recipe]]:
    """Return an example of `kind`, and how a recipe is made with another in its place."""
    if kind is Recipe:
        return RECIPE, lambda value: value
    if kind is Base:
        base = Base(kind="image", digest=BASE.digest, reference=BASE.reference)
        return base, lambda value: replace(RECIPE, base=value)
    if kind is ImageSettings:
        return RECIPE.settings, lambda value: replace(RECIPE, settings=value)
    if kind is Source:
        return SOURCE, lambda value: replace(RECIPE, sources=(value,))
    if kind is Format:
        return RECIPE.format, lambda value: replace(RECIPE, format=value)
    makers: dict[type, Any] = {CondaPackage: conda, Wheel: wheel, DebianPackage: debian}
    return makers[kind]("numpy"), lambda value: replace(RECIPE, artifacts=(value,))


def test_every_field_is_decided_on() -> None:
    """A new field of any of these: put it in `IN` and into the identity, or in `OUT`."""
    for kind, inside in IN.items():
        outside = OUT.get(kind, {})
        assert not set(inside) & set(outside)
        assert sorted(field.name for field in fields(kind)) == sorted([*inside, *outside])
    assert {type(value) for value in (RECIPE.base, RECIPE.settings, *RECIPE.artifacts)} <= set(IN)


def _change(kind: type, field: str, change: Change) -> tuple[Recipe, Recipe]:
    value, place = _example(kind)
    changed = replace(value, **{field: change(getattr(value, field))})
    assert changed != value
    return place(value), place(changed)


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, table in IN.items() for field in table]
)
def test_what_is_inside_changes_the_digest(kind: type, field: str) -> None:
    one, other = _change(kind, field, IN[kind][field])
    assert _digest(one) != _digest(other)


@pytest.mark.parametrize(
    ("kind", "field"), [(kind, field) for kind, table in OUT.items() for field in table]
)
def test_what_is_not_inside_leaves_the_digest(kind: type, field: str) -> None:
    one, other = _change(kind, field, OUT[kind][field])
    assert _digest(one) == _digest(other)


def test_the_assembler_and_its_plan_are_inside() -> None:
    digests = {
        _digest(RECIPE),
        _digest(RECIPE, assembler=2),
        _digest(RECIPE, plan={**PLAN, "alone": 13}),
        _digest(RECIPE, plan={**PLAN, "more": 1}),
        _digest(RECIPE, plan={**PLAN, "alone": "12"}),
        _digest(RECIPE, plan={}),
    }
    assert len(digests) == 6


# No two contents share a digest

_PLAIN = ("platform", "prefix", "python_minor", "interpreter", "bytecode")
_texts = st.text(max_size=6)
recipes = st.builds(
    Recipe,
    platform=_texts,
    base=st.builds(
        Base,
        kind=st.sampled_from(["debian", "image", "scratch"]),
        digest=_texts,
        reference=st.just(""),
    ),
    artifacts=st.lists(artifacts, max_size=3).map(tuple),
    prefix=_texts,
    python_minor=_texts,
    interpreter=_texts,
    bytecode=_texts,
    settings=st.builds(
        ImageSettings, user=_texts, labels=st.dictionaries(_texts, _texts, max_size=2)
    ),
)


def _content(recipe: Recipe) -> tuple[Any, ...]:
    """Return what is inside of a recipe in a form of the test's own: nested, framed by Python."""

    def row(artifact: Artifact) -> tuple[str, ...]:
        inside = [name for name in IN[type(artifact)] if name != "name"]
        return (
            type(artifact).__name__,
            artifact.name,
            *(str(getattr(artifact, name)) for name in inside),
        )

    return (
        *(getattr(recipe, name) for name in _PLAIN),
        (recipe.base.kind, recipe.base.digest),
        (recipe.settings.user, tuple(sorted(recipe.settings.labels.items()))),
        tuple(sorted(row(artifact) for artifact in recipe.artifacts)),
    )


@given(recipes, recipes)
def test_digests_are_equal_exactly_where_contents_are(one: Recipe, other: Recipe) -> None:
    assert (_digest(one) == _digest(other)) == (_content(one) == _content(other))


@given(recipes, st.data())
def test_text_moved_from_one_field_to_another_changes_the_digest(
    recipe: Recipe, data: st.DataObject
) -> None:
    """Flyte v2 and Azure ML join fields without a separator: ("a", "bc") is ("ab", "c")."""
    one, other = data.draw(st.permutations(_PLAIN))[:2]
    text = getattr(recipe, one)
    assume(text)
    moved = replace(recipe, **{one: text[:-1], other: text[-1] + getattr(recipe, other)})
    assert _digest(moved) != _digest(recipe)


@given(recipes, st.randoms(use_true_random=False))
def test_order_does_not_count(recipe: Recipe, random: Any) -> None:
    mixed = list(recipe.artifacts)
    random.shuffle(mixed)
    labels = dict(reversed(list(recipe.settings.labels.items())))
    other = replace(
        recipe, artifacts=tuple(mixed), settings=replace(recipe.settings, labels=labels)
    )
    plan = dict(reversed(PLAN.items()))
    assert _digest(other, plan=plan) == _digest(recipe)


def test_an_index_is_named_by_its_platforms_and_their_digests() -> None:
    one, other = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    digests = {
        digest_index({"linux-64": one}),
        digest_index({"linux-64": other}),
        digest_index({"linux-aarch64": one}),
        digest_index({"linux-64": one, "linux-aarch64": other}),
        digest_index({"linux-64": other, "linux-aarch64": one}),
        one,
    }
    assert len(digests) == 6
    both = {"linux-64": one, "linux-aarch64": other}
    assert digest_index(dict(reversed(both.items()))) == digest_index(both)


# Tags and references


@given(recipes)
def test_a_tag_is_the_beginning_of_the_digest(recipe: Recipe) -> None:
    digest = _digest(recipe)
    tag = format_tag(digest)
    assert digest.startswith(f"sha256:{tag}")
    assert len(tag) == 20


@pytest.mark.parametrize(
    "text", ["", "sha256:", "a" * 64, "sha256:" + "A" * 64, "sha512:" + "a" * 64]
)
def test_no_tag_is_made_of_what_is_no_digest(text: str) -> None:
    with pytest.raises(ValueError, match="not a digest"):
        format_tag(text)


def test_a_reference_is_repository_name_and_tag() -> None:
    digest = "sha256:" + "0123456789abcdef" * 4
    assert format_reference("registry.example.com/ml", "cpu", digest) == (
        "registry.example.com/ml/cpu:0123456789abcdef0123"
    )


def test_a_name_that_registries_refuse_is_refused() -> None:
    digest = _digest(RECIPE)
    repository = "r.io/" + "a" * 200
    longest = "b" * (255 - len(repository) - 1)
    assert format_reference(repository, longest, digest).rpartition(":")[0].endswith(longest)
    with pytest.raises(SpecError) as caught:
        format_reference(repository, longest + "b", digest)
    assert caught.value.code == "identity.long-name"
    assert "256" in caught.value.message
