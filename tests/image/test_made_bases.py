"""Promises of whole images on bases that others make, and of link scripts in them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from envbuild.engine.builder import find_builder
from envbuild.engine.client import Engine
from envbuild.engine.load import ensure_loaded
from envbuild.errors import EngineError
from envbuild.identity.digest import plan_recipe
from envbuild.image.assemble import Assembled, LayerSource, assemble_image
from envbuild.image.config import BASE_LABEL, BaseParts
from envbuild.image.ensure import ensure_image
from envbuild.image.link_scripts import TITLE
from envbuild.image.plan import ImagePlan, digest_image, plan_platform
from envbuild.image.site import Site
from envbuild.kit.canonical import digest_file
from envbuild.kit.places import Cache
from envbuild.kit.progress import Silent
from envbuild.lock.model import Artifact, CondaPackage, Lock, PlatformLock
from envbuild.oci.descriptor import Descriptor
from envbuild.spec.model import Conda, EnvSpec, Image
from envbuild.spec.platforms import PLATFORMS
from envbuild.spec.settings import Settings
from tests.image.test_link_scripts import SAYS, make_base, make_recipe
from tests.rig.conda_package import Recipe, write_package
from tests.rig.image import PYTHON, LoadedImage
from tests.rig.need import missing

pytestmark = pytest.mark.engine

HERE = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}[os.uname().machine]


class Yard:
    """A repository and a cache; runs what was assembled, and takes it away again."""

    def __init__(self, root: Path, engine: Engine) -> None:
        self.root = root / "repository"
        self.root.mkdir()
        self.engine = engine
        self.site = Site(cache=Cache(root=root / "cache"), settings=Settings(), progress=Silent())
        self.names: list[str] = []

    def plan(self, spec: EnvSpec) -> ImagePlan:
        part = PlatformLock(platform=HERE, python="3.11", glibc="")
        lock = Lock(request={}, platforms={HERE: part}, files={}, tools={})
        plan = plan_platform(
            "x", spec, lock, platform=PLATFORMS[HERE], settings=Settings(), root=self.root
        )
        if plan.recipe.base.kind == "dockerfile":
            self.names.append(f"envbuild-base:{plan.recipe.base.digest[7:27]}")
        return plan

    def load(self, manifest: Descriptor) -> str:
        self.names.append(f"envbuild-test/made:{secrets.token_hex(6)}")
        return ensure_loaded(
            self.engine,
            layout=self.site.store.root,
            manifest_digest=manifest.digest,
            name=self.names[-1],
        ).image_id

    def run(self, image: str, *command: str) -> str:
        said: bytes = self.engine.client.containers.run(
            image, list(command), remove=True, network_mode="none"
        )
        return said.decode()


@pytest.fixture
def yard(engine: Engine, tmp_path: Path) -> Iterator[Yard]:
    made = Yard(tmp_path, engine)
    yield made
    for name in made.names:
        if engine.client.images.list(name):
            engine.client.images.remove(name, force=True)


@pytest.fixture
def dockerfile(yard: Yard, python_image: LoadedImage) -> Yard:
    try:
        find_builder()
    except EngineError as error:
        missing("a docker client with BuildKit", str(error))
    (yard.root / "hello").write_text("hello")
    (yard.root / "Dockerfile").write_text(
        f"FROM {python_image.name}\nCOPY hello /hello\nENV SAID=yes PATH=/usr/local/bin\n"
    )
    return yard


_LOOK = "import os, sys; print(sys.prefix, os.environ['SAID'], open('/hello').read(), os.getcwd())"


def test_environment_stands_on_what_a_dockerfile_builds(dockerfile: Yard) -> None:
    spec = EnvSpec(python="3.11.*", image=Image(dockerfile="Dockerfile", interpreter=PYTHON))
    plan = dockerfile.plan(spec)
    done = ensure_image(dockerfile.site, plan)
    image = dockerfile.load(done.manifest)
    facts = dockerfile.engine.client.images.get(image)
    assert facts.labels[BASE_LABEL] == "dockerfile"
    assert dockerfile.run(image, "python", "-c", _LOOK) == "/opt/env yes hello /workspace\n"
    look = "import pwd; print(pwd.getpwnam('nonroot').pw_uid)"
    assert dockerfile.run(image, "python", "-c", look) == "1000\n", "the base's own users"
    assert ensure_image(dockerfile.site, plan).was_there
    (dockerfile.root / "hello").write_text("bye")
    assert dockerfile.plan(spec).digest != plan.digest


def test_nothing_is_added_to_a_base_that_brings_all(dockerfile: Yard) -> None:
    image_table = Image(dockerfile="Dockerfile", interpreter=PYTHON, user_managed=True)
    plan = dockerfile.plan(EnvSpec(python="3.11.*", image=image_table))
    image = dockerfile.load(ensure_image(dockerfile.site, plan).manifest)
    said = dockerfile.run(image, "python3", "-c", _LOOK)
    assert said == "/usr/local yes hello /workspace\n"
    look = "import os; print(os.path.exists('/opt/env'), os.environ['PATH'])"
    assert dockerfile.run(image, "python3", "-c", look) == "False /usr/local/bin\n"


def _pack(recipes: Sequence[Recipe], folder: Path) -> dict[CondaPackage, Path]:
    found = {}
    for recipe in recipes:
        path = write_package(recipe, folder)
        package = CondaPackage(
            name=recipe.name, version=recipe.version, build=recipe.build,
            url=f"https://pkgs.example.com/noarch/{path.name}", size=path.stat().st_size,
            sha256=digest_file(path).removeprefix("sha256:"),
        )  # fmt: skip
        found[package] = path
    return found


def _assemble(yard: Yard, packages: Mapping[CondaPackage, Path], policy: str) -> Assembled:
    spec = EnvSpec(
        python="3.11.*",
        conda=Conda(link_scripts=policy),  # type: ignore[arg-type]
        image=Image(base="scratch"),
    )
    part = PlatformLock(platform=HERE, python="3.11", glibc="", conda=tuple(packages))
    recipe = plan_recipe(spec, part)
    files = {package.sha256: path for package, path in packages.items()}

    def fetch(artifacts: tuple[Artifact, ...]) -> Mapping[str, Path]:
        return {artifact.sha256: files[artifact.sha256] for artifact in artifacts}

    none: Callable[[], tuple[str, ...]] = tuple
    return assemble_image(
        recipe, digest_image(recipe), base=_with_shell(yard),
        source=LayerSource(fetch=fetch, find_compiler=none), site=yard.site, task="x",
    )  # fmt: skip


def _with_shell(yard: Yard) -> BaseParts:
    from envbuild.image.plain import add_plain_layer

    layer = add_plain_layer(yard.site.store, [make_base(shell=True)])
    return BaseParts(config={"rootfs": {"diff_ids": [layer.diff_id]}}, layers=(layer.blob,))


def test_link_scripts_do_what_the_spec_says(yard: Yard, tmp_path: Path) -> None:
    recipes = [make_recipe("aaa", SAYS, depends=["zzz"]), make_recipe("zzz", SAYS)]
    packages = _pack(recipes, tmp_path / "channel")
    with pytest.raises(Exception, match="link-script"):
        _assemble(yard, packages, "refuse")
    ignored = _assemble(yard, packages, "ignore")
    assert TITLE not in [layer.title for layer in ignored.layers]
    with pytest.raises(Exception, match="link-script"):
        _assemble(yard, packages, "refuse")  # also when another policy has made the layers
    done = _assemble(yard, packages, "run")
    assert [layer.title for layer in done.layers][-1] == TITLE
    image = yard.load(done.manifest)
    said = yard.run(image, "/bin/cat", "/opt/env/order")
    assert [line.split()[0] for line in said.splitlines()] == ["zzz", "aaa"]
    assert yard.engine.client.images.get(image).history()[0]["CreatedBy"] == f"envbuild {TITLE}"
    again = _assemble(yard, packages, "run")
    assert again == replace(done, made=0, seconds=again.seconds)
