"""Promises of bases that a Dockerfile builds: once for each content, whole, and they run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from envbuild.engine.builder import find_builder
from envbuild.engine.client import Engine
from envbuild.engine.load import ensure_loaded
from envbuild.errors import EngineError
from envbuild.identity.recipe import Base
from envbuild.image.config import BaseParts
from envbuild.image.dockerfile import ensure_dockerfile_base, plan_dockerfile_base
from envbuild.image.site import Site
from envbuild.kit.places import Cache
from envbuild.kit.progress import Silent
from envbuild.spec.model import Image
from envbuild.spec.settings import Settings
from tests.rig.image import PYTHON, LoadedImage
from tests.rig.need import missing

pytestmark = pytest.mark.engine

HERE = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}[os.uname().machine]


class Yard:
    """A repository with a Dockerfile, and a cache of its own."""

    def __init__(self, root: Path, engine: Engine, base: str) -> None:
        self.root = root / "repository"
        self.engine = engine
        self.site = Site(cache=Cache(root=root / "cache"), settings=Settings(), progress=Silent())
        (self.root / "docker").mkdir(parents=True)
        (self.root / "docker" / "word").write_text("hello")
        run = json.dumps([PYTHON, "-c", "open('/made', 'w').write(open('/word').read() + '!')"])
        (self.root / "docker" / "Dockerfile").write_text(
            f"FROM {base}\nCOPY word /word\nRUN {run}\nENV SAID=yes\n"
        )
        self.image = Image(dockerfile="docker/Dockerfile", interpreter=PYTHON)
        self.keys: set[str] = set()

    def plan(self) -> Base:
        base = plan_dockerfile_base(self.image, root=self.root, platform=HERE)
        self.keys.add(base.digest)
        return base

    def ensure(self) -> tuple[BaseParts, bool]:
        return ensure_dockerfile_base(
            self.site, self.image, self.plan(), root=self.root, platform=HERE, task="x"
        )


@pytest.fixture
def yard(engine: Engine, python_image: LoadedImage, tmp_path: Path) -> object:
    try:
        find_builder()
    except EngineError as error:
        missing("a docker client with BuildKit", str(error))
    made = Yard(tmp_path, engine, python_image.name)
    yield made
    for key in made.keys:
        name = f"envbuild-base:{key.removeprefix('sha256:')[:20]}"
        if engine.client.images.list(name):
            engine.client.images.remove(name, noprune=True)


def test_same_content_is_built_once(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    first, built = yard.ensure()
    assert built
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
        assert yard.ensure() == (first, False)
        (yard.root / "docker" / "word").write_text("bye")
        with pytest.raises(EngineError) as caught:
            yard.ensure()
        assert caught.value.code == "engine.unreachable"
    second, built = yard.ensure()
    assert built
    assert second.layers[0] == first.layers[0]
    assert second.layers[-1] != first.layers[-1]


def test_base_runs_with_what_was_built(yard: Yard, python_image: LoadedImage) -> None:
    parts, _ = yard.ensure()
    store = yard.site.store
    diff_ids = parts.config["rootfs"]["diff_ids"]
    assert len(parts.layers) == len(diff_ids) == 3
    assert diff_ids[0] == python_image.base
    for blob in parts.layers:
        store.check_blob(blob.digest)
    config = {"architecture": _architecture(), "os": "linux", **parts.config}
    config_digest, config_size = store.add(json.dumps(config).encode())
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": {
            "mediaType": f"{kind}.config.v1+json",
            "digest": config_digest,
            "size": config_size,
        },
        "layers": [blob.to_json() for blob in parts.layers],
    }
    digest, _ = store.add(json.dumps(manifest).encode())
    name = f"envbuild-test/dockerfile:{os.getpid()}"
    loaded = ensure_loaded(yard.engine, layout=store.root, manifest_digest=digest, name=name)
    try:
        code = "import os; print(open('/made').read(), os.environ['SAID'])"
        said = yard.engine.client.containers.run(
            loaded.image_id, [PYTHON, "-c", code], remove=True, network_mode="none"
        )
        assert said == b"hello! yes\n"
    finally:
        yard.engine.client.images.remove(name, force=True)


def test_lost_layers_are_built_again(yard: Yard) -> None:
    parts, _ = yard.ensure()
    yard.site.store.path(parts.layers[-1].digest).unlink()
    assert yard.ensure() == (parts, True)


def test_failed_build_leaves_no_base(yard: Yard) -> None:
    file = yard.root / "docker" / "Dockerfile"
    text = file.read_text()
    file.write_text(text + f'RUN ["{PYTHON}", "-c", "raise SystemExit(3)"]\n')
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            yard.ensure()
        assert caught.value.code == "engine.build"
    assert not list((yard.site.cache.root / "bases").glob("*.json"))


def test_text_is_a_dockerfile_without_context(yard: Yard, python_image: LoadedImage) -> None:
    text = f"FROM {python_image.name}\nLABEL a=b\n"
    yard.image = Image(dockerfile=text, interpreter=PYTHON)
    before = yard.plan()
    (yard.root / "docker" / "word").write_text("other")
    assert yard.plan() == before
    parts, _ = yard.ensure()
    assert parts.config["config"]["Labels"] == {"a": "b"}


def _architecture() -> str:
    return {"linux-64": "amd64", "linux-aarch64": "arm64"}[HERE]
