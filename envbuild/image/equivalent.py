"""Writes the Dockerfile that comes nearest to an image, for who needs one.

It installs the same locked versions, the wheels by their hashes. It can't give the same bytes: its
steps run programs, at a time, on a machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from envbuild.identity.recipe import Recipe
from envbuild.image.config import render_environment
from envbuild.image.plan import ImagePlan
from envbuild.lock.model import CondaPackage, DebianPackage, Wheel
from envbuild.spec.derive import find_suite
from envbuild.spec.platforms import PLATFORMS

__all__ = ["render_dockerfile"]

_MICROMAMBA = "docker.io/mambaorg/micromamba:2"


def render_dockerfile(plan: ImagePlan) -> str:
    """Return a Dockerfile whose context is the repository's root, for one platform."""
    return "\n".join([*_render(plan), ""])


def _render(plan: ImagePlan) -> Iterator[str]:
    recipe, name = plan.recipe, plan.name
    platform = PLATFORMS[recipe.platform]
    yield f"# {name} on {recipe.platform}: the same packages as {plan.own_reference}"
    yield "# made by `nox -s build-env -- NAME --dockerfile`; not the same bytes"
    yield f"# docker build --platform {platform.oci} -f THIS_FILE ."
    yield f"FROM {_find_from(plan)}"
    yield from _install_debian(plan)
    if recipe.managed:
        yield from _install_conda(recipe, name)
        yield from _install_wheels(recipe, name)
    for source in sorted(plan.spec.image.source, key=lambda source: source.target):
        path = source.path.replace("[", "[[]")  # else it would begin a pattern
        yield f"COPY {json.dumps([_escape(path), _escape(source.target)])}"
    yield from _configure(recipe)


def _find_from(plan: ImagePlan) -> str:
    base = plan.recipe.base
    if base.kind == "image":
        return f"{base.reference.partition('@')[0]}@{base.digest}"
    if base.kind == "debian":
        return f"docker.io/library/debian:{find_suite(plan.spec)}-slim"
    if base.kind == "dockerfile":
        text = plan.spec.image.dockerfile or ""
        return "BASE  # what your own Dockerfile builds" if "\n" in text else f"BASE  # {text}"
    return "scratch"


def _install_debian(plan: ImagePlan) -> Iterator[str]:
    packages = [a for a in plan.recipe.artifacts if isinstance(a, DebianPackage)]
    if not packages:
        return
    texts = [f"{package.name}={package.version}" for package in packages]
    if plan.recipe.interpreter and plan.recipe.base.kind == "debian":
        texts.append(f"python{plan.recipe.python_minor}-venv")  # to make the environment with
    names = " \\\n      ".join(texts)
    yield "RUN apt-get update \\"
    yield " && apt-get install -y --no-install-recommends --allow-downgrades \\"
    yield f"      {names} \\"
    yield " && rm -rf /var/lib/apt/lists/*"


def _install_conda(recipe: Recipe, name: str) -> Iterator[str]:
    if any(isinstance(artifact, CondaPackage) for artifact in recipe.artifacts):
        yield f"COPY --from={_MICROMAMBA} /bin/micromamba /bin/micromamba"
        yield f"COPY lockfiles/{name}/conda-lock.yml /tmp/conda-lock.yml"
        yield f"RUN micromamba create -y -p {recipe.prefix} -f /tmp/conda-lock.yml"
    elif recipe.interpreter:
        yield f"RUN {recipe.interpreter} -m venv {recipe.prefix}"


def _install_wheels(recipe: Recipe, name: str) -> Iterator[str]:
    if any(isinstance(artifact, Wheel) for artifact in recipe.artifacts):
        file = f"requirements.{recipe.platform}.txt"
        yield f"COPY lockfiles/{name}/{file} /tmp/{file}"
        yield (
            f"RUN {recipe.prefix}/bin/python -m pip install --no-cache-dir --no-deps "
            f"--require-hashes -r /tmp/{file}"
        )
    for wheel in recipe.local:
        yield f"# the repository's own `{wheel.name}`: COPY its source and `pip install --no-deps`"


def _configure(recipe: Recipe) -> Iterator[str]:
    for text in render_environment(recipe, ()):
        key, _, value = text.partition("=")
        yield f"ENV {key}={_quote(value)}"
    for key, value in sorted(recipe.settings.labels.items()):
        yield f"LABEL {_quote(key)}={_quote(value)}"
    yield "WORKDIR /workspace"
    user = recipe.settings.user
    yield f"USER {'65532:65532' if user == 'nonroot' else user}"
    yield 'CMD ["python"]'


def _escape(path: str) -> str:
    """Return the path for `COPY`, to which `$` would name a variable."""
    return path.replace("$", "\\$")


def _quote(text: str) -> str:
    """Return the text in quotes of a Dockerfile, in which `$` would name a variable."""
    for special in ("\\", '"', "$"):
        text = text.replace(special, f"\\{special}")
    return f'"{text}"'
