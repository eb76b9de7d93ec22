"""What peers' tags collide on, and what moves them for nothing, as regressions for ours.

Each test names the peer and what its released code does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from envbuild.identity.digest import digest_recipe, plan_recipe
from envbuild.identity.recipe import Base, ImageSettings, Recipe
from envbuild.lock.model import Artifact
from tests.identity.golden import PLAN
from tests.rig.locks import BASE, conda, debian, make_platform, make_spec, sha, wheel

RECIPE = plan_recipe(make_spec(), make_platform())


def _digest(recipe: Recipe, *, assembler: int = 1, plan: Mapping[str, int | str] = PLAN) -> str:
    return digest_recipe(recipe, assembler=assembler, plan=plan)


def _of(*parts: Artifact, **fields_: Any) -> str:
    return _digest(replace(RECIPE, artifacts=parts, **fields_))


def test_flyte_2_one_name_from_two_managers() -> None:
    """`with_apt_packages("graphviz")` and `with_pip_packages("graphviz")` give one tag there."""
    one = sha("graphviz")
    digests = {
        _of(conda("graphviz", build="", sha256=one)),
        _of(wheel("graphviz", sha256=one)),
        _of(debian("graphviz", "1.0", architecture="", sha256=one)),
    }
    assert len(digests) == 3


def test_flyte_2_package_names_that_join_to_one_text() -> None:
    one = sha("x")

    def named(*names: str) -> str:
        return _of(*(wheel(name, sha256=one) for name in names))

    assert len({named("a", "bc"), named("ab", "c"), named("abc"), named("a", "b", "c")}) == 4


def test_flyte_2_two_steps_or_one_joined() -> None:
    """`with_commands(["a", "b"])` is `with_commands(["ab"])` there; here: labels and versions."""

    def labelled(**labels: str) -> str:
        return _of(settings=ImageSettings(user="root", labels=labels))

    assert len({labelled(a="b", c="d"), labelled(a="bcd"), labelled(ab="cd"), labelled(a="b")}) == 4
    assert _of(wheel("a", "1", sha256=sha("x"))) != _of(wheel("a1", "", sha256=sha("x")))
    assert _of(conda("a", "1", "2", sha256=sha("x"))) != _of(conda("a", "12", "", sha256=sha("x")))


def test_flyte_2_one_text_in_another_field() -> None:
    """`with_workdir("/x")` is `with_commands(["/x"])` there."""
    digests = {
        _of(prefix="/x", interpreter="", platform=""),
        _of(prefix="", interpreter="/x", platform=""),
        _of(prefix="", interpreter="", platform="/x"),
        _of(prefix="", interpreter="", platform="", settings=ImageSettings(user="/x", labels={})),
        _of(
            prefix="", interpreter="", platform="",
            settings=ImageSettings(user="", labels={"/x": ""}),
        ),
    }  # fmt: skip
    assert len(digests) == 5


def test_flyte_1_the_builder_counts() -> None:
    """There, images of two builders share a tag, and so do those of two versions of one."""
    assert _digest(RECIPE, assembler=1) != _digest(RECIPE, assembler=2)


def test_flyte_1_python_is_never_that_of_the_caller() -> None:
    """There, no Python version means the caller's, and it is not in the tag."""
    recipes = [plan_recipe(make_spec(), make_platform(python=v)) for v in ("3.9.1", "3.10")]
    assert [recipe.python_minor for recipe in recipes] == ["3.9", "3.10"]
    assert _digest(recipes[0]) != _digest(recipes[1])


def test_flyte_1_where_the_base_comes_from_does_not_count_but_what_it_is_does() -> None:
    """There, the registry is in the tag, and a base's tag is never resolved to a digest."""
    base = Base(kind="image", digest=BASE.digest, reference=BASE.reference)
    mirrored = replace(base, reference=f"mirror.example.com/{BASE.reference}")
    moved = replace(base, digest="sha256:" + "c" * 64)
    assert _of(base=base) == _of(base=mirrored)
    assert _of(base=base) != _of(base=moved)


def test_flyte_1_equal_content_at_two_paths() -> None:
    """There, copies of equal files to two places share a tag; here: an archive's two roles."""
    same = sha("same bytes")
    assert _of(wheel("a", sha256=same)) != _of(wheel("b", sha256=same))
    assert _of(prefix="/opt/a/bc") != _of(prefix="/opt/ab/c")


def test_azure_f11_files_joined_without_names_or_ends() -> None:
    """There, contexts of files `ab`, `c` and `a`, `bc` have one hash, cut to 32 digits."""
    hashes = sha("ab"), sha("c")
    joined = "".join(hashes)
    assert _of(wheel("a", sha256=hashes[0]), wheel("b", sha256=hashes[1])) != _of(
        wheel("a", sha256=joined[:63]), wheel("b", sha256=joined[63:])
    )
    assert _of(wheel("a", sha256=hashes[0]), wheel("b", sha256=hashes[1])) != _of(
        wheel("a", sha256=hashes[1]), wheel("b", sha256=hashes[0])
    )


def test_wave_two_repositories_share_the_tag() -> None:
    specs = [make_spec(image=replace(make_spec().image, repository=r)) for r in (None, "r.io/a")]
    assert len({_digest(plan_recipe(spec, make_platform())) for spec in specs}) == 1
