"""Rules on `[platform.NAME]`: what is added for one platform fits what holds for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from envbuild.errors import Problem
from envbuild.spec.derive import find_suite
from envbuild.spec.formats import find_conda_name, find_pip_name, show_text
from envbuild.spec.model import EnvSpec
from envbuild.spec.platforms import PLATFORMS
from envbuild.spec.rules.rule import rule

__all__ = ["RULES"]


@rule("platform", "platforms", "conda", "system", "image")
def platform_fits(spec: EnvSpec) -> Iterator[Problem]:
    """`[platform.NAME]` is of one of `platforms`, and adds to what the spec has: `conda` to a
    table `[conda]`, `system` to Linux with a Debian suite."""
    for name, extra in spec.platform.items():
        if name not in spec.platforms:
            known = ", ".join(f"`{p}`" for p in spec.platforms)
            yield _say(name, "", f"expected one of `platforms`: {known}; leave this table out")
        if extra.conda.dependencies and spec.conda is None:
            yield _say(name, ".conda", "expected the table `[conda]` too; without it there is none")
        lonely = find_suite(spec) is None or not PLATFORMS[name].debian
        if extra.system.packages and lonely:
            yield _say(name, ".system", "expected a platform of Linux, such as `linux-64`, and a "
                       "base or `system.suite` that says where its packages come from")  # fmt: skip
        if spec.image.user_managed and (extra.pip.dependencies or extra.system.packages):
            yield _say(name, "", "expected no packages beside `user-managed = true`, for the base "
                       "brings all; leave this table out, or leave out `user-managed`")  # fmt: skip


def _say(name: str, below: str, message: str) -> Problem:
    return Problem(key=f"platform.{name}{below}", message=message)


@rule("platform", "conda", "pip", "system")
def platform_once(spec: EnvSpec) -> Iterator[Problem]:
    """A package of `[platform.NAME]` is not asked for by the lists for all platforms, too."""
    for name, extra in spec.platform.items():
        conda = [*map(find_conda_name, spec.conda.dependencies if spec.conda else ()), "python"]
        pip = [*map(find_pip_name, spec.pip.dependencies), "python"]
        both = {*conda, *pip}
        lists: tuple[tuple[str, tuple[str, ...], Callable[[str], str], set[str]], ...] = (
            ("conda.dependencies", extra.conda.dependencies, find_conda_name, both),
            (
                "pip.dependencies",
                extra.pip.dependencies,
                find_pip_name,
                both | {find_conda_name(text) for text in extra.conda.dependencies},
            ),
            ("system.packages", extra.system.packages, str.strip, set(spec.system.packages)),
        )
        for key, texts, find, taken in lists:
            for n, text in enumerate(texts):
                if find(text) in taken or find(text) in map(find, texts[:n]):
                    yield Problem(
                        key=f"platform.{name}.{key}[{n}]",
                        message=f"expected each package once, and that of {show_text(text)} is "
                        "asked for before, or for all platforms; leave out one of the two",
                    )


RULES: Final = (platform_fits, platform_once)
