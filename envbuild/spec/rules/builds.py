"""Rules on bases that somebody else makes: a Dockerfile's, and those that bring all packages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from envbuild.errors import Problem
from envbuild.spec.derive import find_base
from envbuild.spec.formats import show_text
from envbuild.spec.model import EnvSpec
from envbuild.spec.rules.rule import rule

__all__ = ["RULES"]


@rule("image.base", "image.dockerfile")
def base_or_dockerfile(spec: EnvSpec) -> Iterator[Problem]:
    """An image has a `base` or a `dockerfile`, not both."""
    if spec.image.base is not None and spec.image.dockerfile is not None:
        yield Problem(
            key="image.base",
            message=(
                "expected no base beside `dockerfile`, which builds one; leave out one of the two, "
                f"or begin the Dockerfile with `FROM {spec.image.base}`"
            ),
        )


@rule(
    "image.dockerfile",
    "image.context",
    "image.build-args",
    "image.build-secrets",
    "image.build-target",
)
def build_keys_need_a_dockerfile(spec: EnvSpec) -> Iterator[Problem]:
    """`image.context` and the keys `image.build-...` are for an `image.dockerfile`."""
    image = spec.image
    if image.dockerfile is not None:
        return
    keys = {
        "context": image.context,
        "build-args": image.build_args,
        "build-secrets": image.build_secrets,
        "build-target": image.build_target,
    }
    for key, value in keys.items():
        if value:
            yield Problem(
                key=f"image.{key}",
                message=(
                    "expected only beside `image.dockerfile`, such as "
                    '`dockerfile = "docker/Dockerfile"`; leave it out, or add that key'
                ),
            )


@rule("image.user-managed", "conda", "pip.dependencies", "system.packages")
def user_managed_has_no_packages(spec: EnvSpec) -> Iterator[Problem]:
    """With `image.user-managed`, the spec names no packages of conda, pip or Debian."""
    if not spec.image.user_managed:
        return
    named = {
        "conda": spec.conda is not None,
        "pip.dependencies": bool(spec.pip.dependencies),
        "system.packages": bool(spec.system.packages),
    }
    for key in (key for key, there in named.items() if there):
        yield Problem(
            key=key,
            message=(
                "expected no packages beside `user-managed = true`, for the base brings all of "
                "them; leave it out, or leave out `user-managed`"
            ),
        )


@rule("image.user-managed", "image.base", "image.dockerfile", "image.interpreter")
def user_managed_base_has_python(spec: EnvSpec) -> Iterator[Problem]:
    """With `image.user-managed`, the base is not `scratch`, and `image.interpreter` is named."""
    if not spec.image.user_managed:
        return
    if find_base(spec.image).kind == "scratch":
        yield Problem(
            key="image.base",
            message=(
                "`scratch` has no Python, and with `user-managed = true` nothing brings one; "
                f"name an image that has it, such as {show_text(_EXAMPLE)}"
            ),
        )
    if spec.image.interpreter is None:
        yield Problem(
            key="image.interpreter",
            message=(
                "missing; with `user-managed = true`, say where the base has Python, such as "
                '`interpreter = "/usr/local/bin/python3"`'
            ),
        )


_EXAMPLE: Final = "docker.io/library/python:3.11-slim"

RULES: Final = (
    base_or_dockerfile,
    build_keys_need_a_dockerfile,
    user_managed_has_no_packages,
    user_managed_base_has_python,
)
