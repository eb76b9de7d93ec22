"""Promises of engines that are reached over a network, and of those that know no zstd."""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from envbuild.engine.build import build_base
from envbuild.engine.builder import find_builder
from envbuild.engine.client import Engine, connect_engine
from envbuild.engine.context import DockerBuild
from envbuild.engine.layout import plan_archive, read_layout
from envbuild.engine.load import ensure_loaded
from envbuild.errors import EngineError
from envbuild.layers.seal import Seal, render_seal
from tests.engine.test_build import MACHINE
from tests.rig.image import PYTHON, LoadedImage, TestLayout
from tests.rig.need import missing

pytestmark = pytest.mark.engine


class Wire:
    """A TCP port that leads to the engine, and counts the bytes that go there."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine.address
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self.sent = 0
        self._links: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = self._reach()
            self._links += [near, far]
            for source, target in ((near, far), (far, near)):
                thread = threading.Thread(target=self._copy, args=(source, target, source is near))
                thread.start()
                self._threads.append(thread)

    def _reach(self) -> socket.socket:
        kind, _, place = self._engine.partition("://")
        if kind == "unix":
            link = socket.socket(socket.AF_UNIX)
            link.connect(place)
            return link
        host, _, port = place.rpartition(":")
        return socket.create_connection((host, int(port)))

    def _copy(self, source: socket.socket, target: socket.socket, count: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
                if count:
                    self.sent += len(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._threads[0].join()
        for link in self._links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()
        for link in self._links:
            link.close()


@pytest.fixture
def wire(engine: Engine) -> Iterator[Wire]:
    found = Wire(engine)
    yield found
    found.close()


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    text = f"envbuild-test/remote:{secrets.token_hex(6)}"
    yield text
    if engine.client.images.list(text):
        engine.client.images.remove(text, force=True)


def _load(layout: TestLayout, manifest: str, name: str) -> str:
    with connect_engine() as engine:
        assert engine.address.startswith("tcp://")
        return ensure_loaded(
            engine, layout=layout.root, manifest_digest=manifest, name=name
        ).image_id


def test_remote_engine_gets_only_what_it_lacks(
    wire: Wire, python_image: LoadedImage, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", wire.address)
    layout = python_image.layout
    layers = [
        layout.add_layer({f"data{n}": secrets.token_bytes(size)})
        for n, size in enumerate((1_000_000, 300_000))
    ]
    spent = []
    for count in (1, 2, 2):
        before = wire.sent
        manifest = layout.add_image([python_image.base, *layers[:count]])
        _load(layout, manifest, name)
        spent.append(wire.sent - before)
    head = 60_000  # requests, and names of layers
    assert 1_000_000 <= spent[0] < 1_000_000 + head
    assert 300_000 <= spent[1] < 300_000 + head
    assert spent[2] < head


@pytest.fixture
def buildkit(engine: Engine) -> Engine:
    try:
        find_builder()
    except EngineError as error:
        missing("a docker client with BuildKit", str(error))
    return engine


@pytest.mark.parametrize("by", ["host", "context"])
def test_dockerfile_is_built_by_the_engine_that_docker_would_use(
    buildkit: Engine,
    wire: Wire,
    python_image: LoadedImage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    by: str,
) -> None:
    if by == "host":
        monkeypatch.setenv("DOCKER_HOST", wire.address)
    else:
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        monkeypatch.delenv("DOCKER_HOST")
        program = find_builder().command[0]
        subprocess.run(
            [program, "context", "create", "far", "--docker", f"host={wire.address}"],
            check=True, capture_output=True,
        )  # fmt: skip
        monkeypatch.setenv("DOCKER_CONTEXT", "far")
    (tmp_path / "context").mkdir()
    (tmp_path / "context" / "data").write_bytes(secrets.token_bytes(500_000))
    build = DockerBuild(
        dockerfile=f"FROM {python_image.name}\nCOPY data /data\n", context=tmp_path / "context"
    )
    with connect_engine() as engine:
        assert engine.address == wire.address
        before = wire.sent
        with build_base(
            engine, build, platform=MACHINE, work=tmp_path / "work", logs=tmp_path / "logs"
        ) as built:
            assert len(built.image.layers) == 2
            tag = f"envbuild-base:{built.key.removeprefix('sha256:')[:20]}"
        assert wire.sent - before > 500_000
        engine.client.images.remove(tag, noprune=True)


def _add_zstd_image(layout: TestLayout, image: LoadedImage) -> tuple[str, int]:
    """Add an image whose upper layer is zstd as envbuild writes it; return its plain size, too."""
    plain_digest = layout.add_layer({"data": b"zstd " * 200_000})
    plain = (layout.root / "blobs" / plain_digest.replace(":", "/")).read_bytes()
    frames = [
        zstandard.ZstdCompressor(level=3).compress(plain[place : place + 300_000])
        for place in range(0, len(plain), 300_000)
    ]
    seal = Seal(key=plain_digest, diff_id=plain_digest, plain_size=len(plain))
    packed = b"".join(frames) + render_seal(seal, "zstd")
    digest = layout.add(packed)
    manifest = layout.add_image([image.base, plain_digest])
    text = (layout.root / "blobs" / manifest.replace(":", "/")).read_text()
    value = json.loads(text)
    value["layers"][1] = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+zstd",
        "digest": digest,
        "size": len(packed),
    }
    return layout.add(json.dumps(value).encode()), len(plain)


def test_zstd_layers_load_into_any_engine(
    engine: Engine, python_image: LoadedImage, name: str
) -> None:
    layout = python_image.layout
    manifest, _ = _add_zstd_image(layout, python_image)
    loaded = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    assert loaded.image_id in {manifest, read_layout(layout.root, manifest).config}
    said = engine.client.containers.run(
        loaded.image_id,
        [PYTHON, "-c", "print(open('/data').read(4))"],
        remove=True,
        network_mode="none",
    )
    assert said == b"zstd\n"
    again = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    assert not again.sent


@pytest.mark.parametrize(
    ("version", "plain"),
    [("20.10.24+dfsg1", True), ("23.0.1", False), ("26.1.5+dfsg1", False), ("dev", True)],
)
def test_zstd_is_unpacked_only_for_engines_that_dont_know_it(
    engine: Engine,
    python_image: LoadedImage,
    version: str,
    plain: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layout = python_image.layout
    manifest, size = _add_zstd_image(layout, python_image)
    sizes: list[int] = []

    def load(_: Engine, body: Iterator[bytes]) -> Iterator[dict[str, object]]:
        sizes.append(sum(map(len, body)))
        yield {"error": "enough is known"}

    monkeypatch.setattr("envbuild.engine.load._post_archive", load)
    monkeypatch.setattr("envbuild.engine.load._count_known_layers", lambda *_: 1)
    with pytest.raises(EngineError, match="enough is known"):
        ensure_loaded(
            replace(engine, version=version),
            layout=layout.root,
            manifest_digest=_forget(layout, manifest),
            name="envbuild-test/none:1",
        )
    assert (sizes[0] > size) == plain


def _forget(layout: TestLayout, manifest: str) -> str:
    """Return a manifest with a configuration that no engine has."""
    value = json.loads((layout.root / "blobs" / manifest.replace(":", "/")).read_bytes())
    digest = value["config"]["digest"]
    config = json.loads((layout.root / "blobs" / digest.replace(":", "/")).read_bytes())
    config["config"]["Labels"] = {"unique": secrets.token_hex(8)}
    raw = json.dumps(config).encode()
    value["config"] |= {"digest": layout.add(raw), "size": len(raw)}
    assert value["config"]["digest"] == f"sha256:{hashlib.sha256(raw).hexdigest()}"
    return layout.add(json.dumps(value).encode())


def test_archive_tells_the_size_of_what_it_sends(python_image: LoadedImage) -> None:
    layout = python_image.layout
    manifest, size = _add_zstd_image(layout, python_image)
    counted: list[int] = []
    image = read_layout(layout.root, manifest)
    members, total = plan_archive(image, "x:1", skip=1, unpack_zstd=True, count=counted.append)
    for member in members:
        assert member.read is not None
        assert sum(map(len, member.read())) == member.size
    assert sum(counted) == total > size
