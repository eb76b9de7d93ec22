"""Rules on where Python and Debian packages come from: base, conda, suite, platforms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envbuild.errors import Problem
from envbuild.spec.derive import (
    find_base,
    find_debian_python,
    find_interpreter,
    find_suite,
    say_base,
)
from envbuild.spec.formats import parse_python, show_text
from envbuild.spec.model import EnvSpec
from envbuild.spec.phrases import join_names
from envbuild.spec.platforms import PLATFORMS
from envbuild.spec.rules.rule import rule

__all__ = ["RULES"]


@rule("platforms", "conda")
def conda_beyond_linux(spec: EnvSpec) -> Iterator[Problem]:
    """Other platforms than Linux take Python from conda, for a base image is always Linux."""
    others = [name for name in spec.platforms if not PLATFORMS[name].has_image]
    if others and spec.conda is None:
        yield Problem(
            key="platforms",
            message=(
                f"expected only platforms of Linux, such as `linux-64`, or a table `[conda]`: "
                f"{join_names(others)} can take Python from nowhere else"
            ),
        )


@rule("image.base", "conda", "image.user-managed")
def scratch_needs_conda(spec: EnvSpec) -> Iterator[Problem]:
    """The base `scratch` is empty, so Python comes from conda."""
    if spec.image.base == "scratch" and spec.conda is None and not spec.image.user_managed:
        yield Problem(
            key="image.base",
            message=(
                "`scratch` has no Python; add a table `[conda]`, which brings one, "
                "or take another base, such as `debian:bookworm`"
            ),
        )


@rule(
    "image.base", "image.dockerfile", "image.interpreter", "image.user-managed", "conda", "python"
)
def one_python(spec: EnvSpec) -> Iterator[Problem]:
    """Without `[conda]`, a registry's or a Dockerfile's image needs `image.interpreter`."""
    if spec.image.user_managed:
        return
    if spec.conda is not None:
        if spec.image.interpreter is not None:
            yield Problem(
                key="image.interpreter",
                message=(
                    "expected no interpreter of the base, for `[conda]` brings Python; "
                    "leave out one of the two"
                ),
            )
    elif find_base(spec.image).kind in {"registry", "dockerfile"} and not find_interpreter(spec):
        yield Problem(
            key="image.interpreter",
            message=(
                f"missing; say where Python is in {show_text(say_base(spec.image))}, such as "
                '`interpreter = "/usr/local/bin/python3"`, or add a table `[conda]`, which '
                "brings one"
            ),
        )


@rule("image.base", "image.dockerfile", "conda", "python")
def debian_python(spec: EnvSpec) -> Iterator[Problem]:
    """Without `[conda]`, `python` is a minor version, for `debian:SUITE` the one that it has."""
    if spec.conda is not None:
        return
    request = parse_python(spec.python)
    suite = find_base(spec.image).suite
    has = find_debian_python(suite) if suite else None
    if has and has != request.minor:
        yield Problem(
            key="python",
            message=(
                f"expected `{has}.*`, which `debian:{suite}` has, not {show_text(spec.python)}; "
                "or add a table `[conda]`, which brings any version"
            ),
        )
    elif request.narrow:
        yield Problem(
            key="python",
            message=(
                f"expected a minor version, such as `{request.minor}.*`, not "
                f"{show_text(spec.python)}, for the base decides the rest; or add a table "
                "`[conda]`, which brings any version"
            ),
        )


@rule("image.base", "image.dockerfile", "system", "image.user-managed")
def packages_have_a_suite(spec: EnvSpec) -> Iterator[Problem]:
    """`system.packages` come from the suite of `image.base`, else from `system.suite`."""
    suite = find_base(spec.image).suite
    if suite and spec.system.suite and suite != spec.system.suite:
        yield Problem(
            key="system.suite",
            message=(
                f"expected `{suite}`, as `image.base` has it, not {show_text(spec.system.suite)}; "
                "leave it out, or change the base"
            ),
        )
    if spec.system.packages and find_suite(spec) is None and not spec.image.user_managed:
        yield Problem(
            key="system.suite",
            message=(
                f"missing; {show_text(say_base(spec.image))} does not say where Debian packages "
                'come from, so add a line such as `suite = "bookworm"`'
            ),
        )


@rule("system.packages", "platforms")
def packages_need_linux(spec: EnvSpec) -> Iterator[Problem]:
    """`system.packages` need a platform of Linux."""
    if spec.system.packages and not any(PLATFORMS[name].debian for name in spec.platforms):
        yield Problem(
            key="system.packages",
            message=(
                "expected no Debian packages where no platform is Linux; leave them out, "
                "or add a platform such as `linux-64`"
            ),
        )


RULES: Final = (
    conda_beyond_linux,
    scratch_needs_conda,
    one_python,
    debian_python,
    packages_have_a_suite,
    packages_need_linux,
)
