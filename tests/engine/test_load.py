"""Loading images from an OCI layout: once, only what is missing, whole or not at all."""

from __future__ import annotations

import io
import json
import secrets
import tarfile
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from envbuild.engine.archive import render_tar
from envbuild.engine.client import Engine, connect_engine
from envbuild.engine.layout import plan_archive, read_layout
from envbuild.engine.load import ensure_loaded, find_image
from envbuild.errors import EngineError
from tests.rig.image import PYTHON, LoadedImage, TestLayout

pytestmark = pytest.mark.engine


class _Watcher:
    """A `Progress` that remembers."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.seen: list[tuple[int, int]] = []
        self._fail_after = fail_after

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        self.seen.append((done, total))
        if self._fail_after is not None and done >= self._fail_after:
            raise KeyboardInterrupt

    def finish(self, task: str, outcome: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@pytest.fixture
def layout(tmp_path: Path) -> TestLayout:
    return TestLayout(root=tmp_path / "layout")


@pytest.fixture
def name(engine: Engine) -> Iterator[str]:
    """A name for an image; it is removed afterwards."""
    text = f"envbuild-test/load:{secrets.token_hex(6)}"
    yield text
    if engine.client.images.list(text):
        engine.client.images.remove(text, force=True)


def _unique_layer(layout: TestLayout, size: int = 1000) -> str:
    return layout.add_layer({"data": secrets.token_bytes(size)})


def test_image_is_loaded_once_and_runs_by_its_id(
    engine: Engine, layout: TestLayout, name: str
) -> None:
    manifest = layout.add_image([_unique_layer(layout)])
    first = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    again = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    assert first.sent
    assert not again.sent
    assert again.image_id == first.image_id == read_layout(layout.root, manifest).config
    assert name in engine.client.images.get(first.image_id).tags


def test_progress_tells_bytes_up_to_the_total(
    engine: Engine, layout: TestLayout, name: str
) -> None:
    manifest = layout.add_image([_unique_layer(layout, 9_000_000)])
    watcher = _Watcher()
    ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name, progress=watcher)
    done = [at for at, _ in watcher.seen]
    assert len(done) >= 3
    assert done == sorted(done)
    assert watcher.seen[-1][0] == watcher.seen[-1][1] > 9_000_000


def test_only_layers_above_the_known_ones_are_sent(
    engine: Engine, python_image: LoadedImage, name: str
) -> None:
    layout = python_image.layout
    manifest = layout.add_image([python_image.base, _unique_layer(layout)])
    loaded = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    assert 0 < loaded.bytes_sent < 20_000
    said = engine.client.containers.run(
        loaded.image_id,
        [PYTHON, "-c", "import os; print(os.path.getsize('/data'))"],
        remove=True,
        network_mode="none",
    )
    assert said == b"1000\n"


def test_what_was_wrongly_taken_for_known_is_sent_after_all(
    engine: Engine, layout: TestLayout, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the image that had the layers is removed between the look and the load."""
    manifest = layout.add_image([_unique_layer(layout), _unique_layer(layout)])
    monkeypatch.setattr("envbuild.engine.load._count_known_layers", lambda *_: 1)
    loaded = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    assert engine.client.images.get(loaded.image_id).tags == [name]


def test_image_that_lost_its_name_gets_it_back_without_sending(
    engine: Engine, layout: TestLayout, name: str
) -> None:
    manifest = layout.add_image([_unique_layer(layout)])
    ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=f"{name}-other")
    loaded = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    assert not loaded.sent
    assert set(engine.client.images.get(loaded.image_id).tags) == {name, f"{name}-other"}
    engine.client.images.remove(f"{name}-other")


def test_interrupted_load_leaves_nothing(engine: Engine, layout: TestLayout, name: str) -> None:
    manifest = layout.add_image([_unique_layer(layout, 9_000_000)])
    with pytest.raises(KeyboardInterrupt):
        ensure_loaded(
            engine,
            layout=layout.root,
            manifest_digest=manifest,
            name=name,
            progress=_Watcher(fail_after=1),
        )
    assert find_image(engine, read_layout(layout.root, manifest)) is None
    assert not engine.client.images.list(name)


def test_layer_with_other_content_is_refused(engine: Engine, layout: TestLayout, name: str) -> None:
    layer = _unique_layer(layout)
    manifest = layout.add_image([layer])
    other = layout.root / "blobs" / _unique_layer(layout).replace(":", "/")
    (layout.root / "blobs" / layer.replace(":", "/")).write_bytes(other.read_bytes())
    with pytest.raises(EngineError) as caught:
        ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    assert caught.value.code in {"engine.refused", "engine.load"}
    assert find_image(engine, read_layout(layout.root, manifest)) is None


def test_missing_blob_is_named(engine: Engine, layout: TestLayout, name: str) -> None:
    layer = _unique_layer(layout)
    manifest = layout.add_image([layer])
    path = layout.root / "blobs" / layer.replace(":", "/")
    path.unlink()
    with pytest.raises(EngineError, match=path.name) as caught:
        ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    assert caught.value.code == "engine.no-blob"


@pytest.mark.parametrize("text", [b"{}", b"[]", b"\xff", b'{"config": 3, "layers": []}'])
def test_damaged_manifest_is_an_error_and_no_traceback(layout: TestLayout, text: bytes) -> None:
    with pytest.raises(EngineError) as caught:
        read_layout(layout.root, layout.add(text))
    assert caught.value.code == "engine.bad-image"


def test_config_without_all_layers_is_refused(layout: TestLayout) -> None:
    manifest = layout.add_image([_unique_layer(layout)])
    value = json.loads((layout.root / "blobs" / manifest.replace(":", "/")).read_bytes())
    value["layers"] *= 2
    with pytest.raises(EngineError) as caught:
        read_layout(layout.root, layout.add(json.dumps(value).encode()))
    assert caught.value.code == "engine.bad-image"


def test_archive_is_the_same_every_time_and_reads_as_a_layout(layout: TestLayout) -> None:
    one, two = _unique_layer(layout), _unique_layer(layout)
    image = read_layout(layout.root, layout.add_image([one, two, one]))

    def render() -> bytes:
        members, _ = plan_archive(image, "lab/x:1", count=lambda _: None)
        return b"".join(render_tar(members, uid=0, gid=0))

    raw = render()
    assert raw == render()
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        names = tar.getnames()
        assert len(names) == len(set(names)) == 7
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    (descriptor,) = index["manifests"]
    assert descriptor["digest"] == image.manifest
    assert descriptor["annotations"]["io.containerd.image.name"] == "docker.io/lab/x:1"
    assert manifest[0]["RepoTags"] == ["lab/x:1"]
    assert [name in names for name in manifest[0]["Layers"]] == [True] * 3


@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("x:1", "docker.io/library/x:1"),
        ("lab/x:1", "docker.io/lab/x:1"),
        ("localhost/x:1", "localhost/x:1"),
        ("pkgs.example.com:5000/lab/x:1", "pkgs.example.com:5000/lab/x:1"),
    ],
)
def test_containerd_gets_the_name_with_its_registry(
    layout: TestLayout, name: str, full: str
) -> None:
    image = read_layout(layout.root, layout.add_image([_unique_layer(layout)]))
    members, _ = plan_archive(image, name, count=lambda _: None)
    raw = b"".join(render_tar(members, uid=0, gid=0))
    with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
        index = json.load(tar.extractfile("index.json"))  # type: ignore[arg-type]
    assert index["manifests"][0]["annotations"]["io.containerd.image.name"] == full


def test_two_at_once_load_the_same_image(engine: Engine, layout: TestLayout, name: str) -> None:
    manifest = layout.add_image([_unique_layer(layout, 3_000_000)])

    def load(_: int) -> str:
        with connect_engine() as mine:
            return ensure_loaded(
                mine, layout=layout.root, manifest_digest=manifest, name=name
            ).image_id

    with ThreadPoolExecutor(3) as pool:
        assert len(set(pool.map(load, range(3)))) == 1
    assert engine.client.images.list(name)


def test_memory_does_not_grow_with_the_image(engine: Engine, layout: TestLayout, name: str) -> None:
    manifest = layout.add_image([_unique_layer(layout, 64_000_000)])
    connect_engine().close()  # imports are not the load's memory
    tracemalloc.start()
    try:
        ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16_000_000
