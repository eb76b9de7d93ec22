"""From spec and lock to the recipe: all that assembly sees, and nothing that must not count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import pytest

from envbuild.errors import LockError, SpecError
from envbuild.identity.digest import digest_recipe, plan_recipe
from envbuild.identity.recipe import Recipe
from envbuild.lock.files import parse_lock, render_lock
from envbuild.lock.model import Lock, PlatformLock
from envbuild.spec.model import EnvSpec, Image, Pip, PlatformExtra, PlatformPip
from envbuild.spec.model_running import Smoke, Train
from tests.identity.golden import PLAN
from tests.rig.locks import BASE, debian, make_lock, make_platform, make_spec

RECIPE = plan_recipe(make_spec(), make_platform())


def _digest(recipe: Recipe, *, assembler: int = 1, plan: Mapping[str, int | str] = PLAN) -> str:
    return digest_recipe(recipe, assembler=assembler, plan=plan)


def test_a_recipe_has_no_trace_of_order_and_spelling() -> None:
    lock = make_platform()
    other = replace(
        lock,
        conda=lock.conda[::-1],
        debian=lock.debian[::-1],
        wheels=tuple(replace(w, name=w.name.upper()) for w in lock.wheels[::-1]),
    )
    assert plan_recipe(make_spec(), other) == plan_recipe(make_spec(), lock)


def test_locks_of_other_names_tools_and_files_have_one_digest() -> None:
    """The raw lockfiles differ; what they lock is the same."""
    one = make_lock()
    other = replace(
        one,
        tools={"uv": "0.9"},
        files={"requirements.linux-64.txt": "sha256:" + "9" * 64},
        request=dict.fromkeys(one.request, "sha256:" + "9" * 64),
        platforms={**one.platforms, "osx-64": make_platform("osx-64", wheels=())},
    )
    texts = [
        render_lock(one, name="cpu"),
        render_lock(other, name="gpu"),
        "# a comment\n" + render_lock(one, name="cpu").replace("\n", "\n# another\n", 1),
    ]
    assert len(set(texts)) == 3
    digests = set()
    for text in texts:
        lock = parse_lock(text.encode(), where="lockfiles/x/envbuild.lock")
        digests.add(_digest(plan_recipe(make_spec(), lock.platforms["linux-64"])))
    assert len(digests) == 1


_SPEC_IN: dict[str, EnvSpec] = {
    "image.user": make_spec(image=replace(make_spec().image, user="nonroot")),
    "image.labels": make_spec(image=replace(make_spec().image, labels={})),
    "image.bytecode": make_spec(image=replace(make_spec().image, bytecode=False)),
    "image.base": make_spec(image=replace(make_spec().image, base="scratch")),
}
_SPEC_OUT: dict[str, EnvSpec] = {
    "description": make_spec(description="x"),
    "platform": make_spec(
        platform={"linux-64": PlatformExtra(pip=PlatformPip(dependencies=("rich",)))}
    ),
    "exclude_newer": make_spec(exclude_newer="2026-01-01"),
    "extends": make_spec(extends="base"),
    "platforms": make_spec(platforms=("linux-64", "osx-64")),
    "python": make_spec(python=">=3.11.2,<3.12"),
    "conda": make_spec(conda=None),
    "pip": make_spec(pip=Pip(dependencies=("numpy",), resolver="uv")),
    "system": make_spec(system=replace(make_spec().system, packages=())),
    "image.repository": make_spec(image=replace(make_spec().image, repository="r.io/a")),
    "env": make_spec(env={"A": "b"}),
    "train": make_spec(train=Train(script="train.py")),
    "smoke": make_spec(smoke=Smoke(entry_script="score.py")),
}


_SPEC_ELSEWHERE = {
    "image.interpreter",  # counts where the base brings Python: a test below
    # What a Dockerfile is built from is digested into the recipe's base (tests/engine).
    "image.dockerfile",
    "image.context",
    "image.build_args",
    "image.build_secrets",
    "image.build_target",
    "image.source",  # what it names is digested into the recipe's sources (tests/image)
    "image.user_managed",  # counts, but no lock has packages for such an image
}


def test_every_field_of_a_spec_is_decided_on() -> None:
    """Of a spec, only what is baked into the configuration counts beside the lock."""
    names = {f.name for f in fields(EnvSpec)} - {"image"} | {
        f"image.{f.name}" for f in fields(Image)
    }
    assert names == {*_SPEC_IN, *_SPEC_OUT, *_SPEC_ELSEWHERE}


@pytest.mark.parametrize("name", _SPEC_IN)
def test_what_is_baked_in_counts(name: str) -> None:
    assert _digest(plan_recipe(_SPEC_IN[name], make_platform())) != _digest(RECIPE)


@pytest.mark.parametrize("name", _SPEC_OUT)
def test_with_the_same_lock_the_rest_of_a_spec_does_not_count(name: str) -> None:
    assert _SPEC_OUT[name] != make_spec()
    assert plan_recipe(_SPEC_OUT[name], make_platform()) == RECIPE


_LOCK_IN = {"platform", "python", "base", "conda", "wheels", "debian"}
_LOCK_OUT = {
    "glibc",  # chose the wheels, and is in no image
    "sources",  # what wheels were built from: the wheels count
    "build",  # what they were built with
    "trees",  # the repository's source trees: their wheels count, as the recipe's `local`
}


def test_every_field_of_a_lock_is_decided_on() -> None:
    assert {field.name for field in fields(PlatformLock)} == _LOCK_IN | _LOCK_OUT
    assert {field.name for field in fields(Lock)} == {"request", "platforms", "files", "tools"}
    other = replace(make_platform(), glibc="2.17")
    assert plan_recipe(make_spec(), other) == RECIPE


def _interpreter(base: str, lock: PlatformLock, named: str | None = None) -> str:
    spec = make_spec(image=Image(base=base, interpreter=named))
    return plan_recipe(spec, lock).interpreter


def test_the_interpreter_is_who_brings_python() -> None:
    with_conda = make_platform()
    bare = make_platform(conda=(), python="3.11.2")
    minimal = replace(bare, debian=(debian("python3.11-minimal"),))
    image = replace(bare, base=BASE)
    assert _interpreter("debian:bookworm", with_conda) == ""
    assert _interpreter("debian:bookworm", minimal) == "/usr/bin/python3.11"
    assert _interpreter("registry.example.com/base:1", image, "/opt/py/bin/python") == (
        "/opt/py/bin/python"
    )
    assert _interpreter("scratch", replace(bare, wheels=())) == ""


def test_byte_code_is_that_of_the_python_that_the_lock_brings() -> None:
    def compiler(lock: PlatformLock, **image: Any) -> str:
        return plan_recipe(make_spec(image=Image(**image)), lock).bytecode

    of_conda = make_platform()
    of_debian = make_platform(conda=(), python="3.11.2", debian=(debian("python3.11-minimal"),))
    of_base = make_platform(conda=(), debian=(), python="3.11.7", base=BASE)
    base = {"base": "registry.example.com/base:1", "interpreter": "/usr/bin/python3.11"}
    assert compiler(of_conda) == "3.11.9"
    assert compiler(of_debian) == "3.11.2"
    assert compiler(of_conda, bytecode=False) == ""
    assert compiler(of_base, **base) == ""  # nothing says that the building machine has it
    assert compiler(of_base, **base, bytecode=True) == "3.11.7"
    assert compiler(replace(of_base, python="3.11"), **base, bytecode=True) == ""


def test_user_managed_counts() -> None:
    lock = make_platform(conda=(), wheels=(), debian=(), base=BASE)
    image = Image(base="registry.example.com/base:1", interpreter="/usr/bin/python3")
    one = plan_recipe(make_spec(image=image), lock)
    other = plan_recipe(make_spec(image=replace(image, user_managed=True)), lock)
    assert _digest(one) != _digest(other)


def test_wheels_without_a_python_are_refused() -> None:
    lock = make_platform(conda=(), debian=(debian("python3.12"),), base=BASE)
    with pytest.raises(SpecError) as caught:
        _interpreter("registry.example.com/base:1", lock)
    assert caught.value.code == "identity.no-python"
    assert "Python 3.11" in caught.value.message


def test_two_pythons_are_refused() -> None:
    with pytest.raises(SpecError) as caught:
        _interpreter("debian:bookworm", make_platform(), "/usr/bin/python3")
    assert caught.value.code == "identity.two-pythons"


@pytest.mark.parametrize(
    ("text", "kind"),
    [("scratch", "scratch"), ("debian:bookworm", "debian"), ("registry.example.com/b:1", "image")],
)
def test_the_kind_of_base_follows_from_the_spec(text: str, kind: str) -> None:
    lock = make_platform(base=BASE if kind == "image" else None)
    recipe = plan_recipe(make_spec(image=Image(base=text)), lock)
    assert recipe.base.kind == kind
    assert recipe.base.digest == (BASE.digest if kind == "image" else "")
    assert recipe.prefix == "/opt/env"


def test_a_base_image_without_its_digest_is_refused() -> None:
    with pytest.raises(LockError) as caught:
        plan_recipe(make_spec(image=Image(base="registry.example.com/b:1")), make_platform())
    assert caught.value.code == "lock.stale"
