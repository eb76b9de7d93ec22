"""Promises of building a Dockerfile by the real engine."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.engine.build import build_base
from envbuild.engine.builder import find_builder
from envbuild.engine.client import Engine, connect_engine
from envbuild.engine.context import DockerBuild, digest_build, list_context
from envbuild.errors import EngineError, EnvbuildError
from tests.rig.image import PYTHON, LoadedImage
from tests.rig.need import missing

pytestmark = pytest.mark.engine

MACHINE = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[os.uname().machine]


@pytest.fixture(scope="session")
def buildkit(engine: Engine) -> Engine:
    """An engine, and a client that can build with BuildKit."""
    try:
        find_builder()
    except EngineError as error:
        missing("a docker client with BuildKit", str(error))
    return engine


class Bench:
    """Builds in a test's own folders."""

    def __init__(self, engine: Engine, image: LoadedImage, folder: Path) -> None:
        self.engine = engine
        self.image = image
        self.folder = folder
        self.lines: list[str] = []

    def text(self, code: str) -> str:
        """A Dockerfile that runs a piece of Python."""
        return f"FROM {self.image.name}\n{code}\n"

    def run(self, code: str) -> str:
        return f"RUN {json.dumps([PYTHON, '-c', code])}"

    def build(
        self, build: DockerBuild, *, platform: str = MACHINE, fresh: bool = False
    ) -> dict[str, bytes | str]:
        """Build; return the files of the layers above the base, links as texts."""
        found: dict[str, bytes | str] = {}
        with build_base(
            self.engine, build, platform=platform, work=self.folder / "work",
            logs=self.folder / "logs", on_line=self.lines.append, fresh=fresh,
        ) as base:  # fmt: skip
            assert base.key == digest_build(build, platform=platform)
            assert len(base.image.layers) == len(base.image.config["rootfs"]["diff_ids"])
            for layer in base.image.layers[1:]:
                raw = io.BytesIO(b"".join(layer.pieces()))
                with tarfile.open(fileobj=raw) as tar:
                    for member in tar:
                        if member.isreg():
                            found[member.name] = tar.extractfile(member).read()  # type: ignore[union-attr]
                        elif member.issym():
                            found[member.name] = member.linkname
        return found


@pytest.fixture
def bench(buildkit: Engine, python_image: LoadedImage, tmp_path: Path) -> Iterator[Bench]:
    yield Bench(buildkit, python_image, tmp_path)
    assert list((tmp_path / "work").glob("*")) + list((tmp_path / "work").glob(".*")) == []
    for image in buildkit.client.images.list("envbuild-base"):
        for tag in image.tags:
            buildkit.client.images.remove(tag, noprune=True)


def test_text_without_context_is_built(bench: Bench) -> None:
    found = bench.build(
        DockerBuild(
            dockerfile=bench.text(
                'ARG WORD\n' + bench.run("import os; open('/said', 'w').write(os.environ['WORD'])")
            ),
            args={"WORD": "a b=c"},
        )
    )
    assert found == {"said": b"a b=c"}
    assert any("FROM" in line for line in bench.lines)
