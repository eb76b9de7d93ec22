"""A small image with a real Python, written by hand as an OCI layout from this machine's files.

It stands in for what the `image` room assembles, so that the rooms that run images can be tested
without it. `served_image` has azureml-inference-server-http in a layer on top, `kernel_image`
ipykernel.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from envbuild.engine.client import Engine
from envbuild.engine.load import ensure_loaded
from envbuild.kit.files import exclusive
from tests.rig.engine import EngineRun
from tests.rig.need import missing

__all__ = ["PYTHON", "LoadedImage", "TestLayout", "kernel_image", "python_image", "served_image"]

PYTHON = "/usr/local/bin/python3"
"""The interpreter in the image."""

_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnonroot:x:1000:1001:someone:/home/nonroot:/bin/sh\n"
_GROUP = b"root:x:0:\nnonroot:x:1001:\ncrew:x:1002:nonroot\n"
_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3",
             "ensurepip", "tkinter", "turtledemo"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TestLayout:
    """An OCI layout under construction: blobs by digest."""

    __test__ = False
    root: Path

    def add(self, data: bytes) -> str:
        """Store bytes; return their digest."""
        digest = hashlib.sha256(data).hexdigest()
        path = self.root / "blobs" / "sha256" / digest
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_bytes(data)
        part.replace(path)
        return f"sha256:{digest}"

    def add_image(
        self,
        layers: Sequence[str],
        *,
        labels: Mapping[str, str] | None = None,
        user: str = "",
        architecture: str | None = None,
    ) -> str:
        """Store config and manifest of uncompressed layers; return the manifest's digest."""
        config = {
            "architecture": architecture or _architecture(),
            "os": "linux",
            "config": {
                "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
                "Labels": dict(labels or {}),
                "User": user,
            },
            "rootfs": {"type": "layers", "diff_ids": list(layers)},
        }
        raw = json.dumps(config).encode()
        kind = "application/vnd.oci.image"
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": self._describe(f"{kind}.config.v1+json", self.add(raw)),
            "layers": [self._describe(f"{kind}.layer.v1.tar", digest) for digest in layers],
        }
        return self.add(json.dumps(manifest).encode())

    def add_layer(self, files: Mapping[str, bytes], *, mode: int = 0o644) -> str:
        """Store a layer of plain files by their path in the image."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in sorted(files.items()):
                _add_file(tar, name, data, mode=mode)
        return self.add(buffer.getvalue())

    def _describe(self, kind: str, digest: str) -> dict[str, object]:
        size = (self.root / "blobs" / digest.replace(":", "/")).stat().st_size
        return {"mediaType": kind, "digest": digest, "size": size}


@dataclass(frozen=True, kw_only=True)
class LoadedImage:
    """An image that the engine has."""

    layout: TestLayout
    base: str
    """Digest of the layer with Python."""
    manifest: str
    image_id: str
    name: str


@pytest.fixture(scope="session")
def test_layout(engine_run: EngineRun) -> TestLayout:
    """The layout that all workers of this run write to."""
    return TestLayout(root=engine_run.folder / "layout")


@pytest.fixture(scope="session")
def python_image(
    engine: Engine, engine_run: EngineRun, test_layout: TestLayout
) -> Iterator[LoadedImage]:
    """An image with Python and its standard library, loaded into the engine."""
    base = _remember(engine_run, "python-layer", lambda: test_layout.add(_make_python_layer()))
    yield from _loaded(engine, engine_run, test_layout, base, [base], "python")


@pytest.fixture(scope="session")
def served_image(
    engine: Engine, engine_run: EngineRun, test_layout: TestLayout, python_image: LoadedImage
) -> Iterator[LoadedImage]:
    """The same with azureml-inference-server-http and what it needs (from a package index)."""
    requirement = "azureml-inference-server-http==1.5.1"
    yield from _with_packages(engine, engine_run, test_layout, python_image, requirement, "served")


@pytest.fixture(scope="session")
def kernel_image(
    engine: Engine, engine_run: EngineRun, test_layout: TestLayout, python_image: LoadedImage
) -> Iterator[LoadedImage]:
    """The same with ipykernel and what it needs (from a package index)."""
    requirement = "ipykernel>=6.29,<8"
    yield from _with_packages(engine, engine_run, test_layout, python_image, requirement, "kernel")


def _with_packages(
    engine: Engine,
    run: EngineRun,
    layout: TestLayout,
    image: LoadedImage,
    requirement: str,
    kind: str,
) -> Iterator[LoadedImage]:
    top = _remember(
        run, f"{kind}-layer", lambda: layout.add(_make_packages_layer(run.folder, requirement))
    )
    yield from _loaded(engine, run, layout, image.base, [image.base, top], kind)


def _loaded(
    engine: Engine, run: EngineRun, layout: TestLayout, base: str, layers: list[str], kind: str
) -> Iterator[LoadedImage]:
    """Load an image under a name of this process, and take the name away at the end."""
    manifest = layout.add_image(layers)
    name = f"envbuild-test/{kind}:{run.mark}-{os.getpid()}"
    loaded = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    yield LoadedImage(
        layout=layout, base=base, manifest=manifest, image_id=loaded.image_id, name=name
    )
    engine.client.images.remove(name, force=True)


def _remember(run: EngineRun, name: str, make: object) -> str:
    """Make something once for all workers; return its digest."""
    note = run.folder / name
    with exclusive(run.folder / f"{name}.lock"):
        if not note.exists():
            note.write_text(make())  # type: ignore[operator]
        return note.read_text()


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def _make_python_layer() -> bytes:
    """Return a tar of this interpreter, its standard library and the libraries both need."""
    minor = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    stdlib = Path(sysconfig.get_path("stdlib"))
    binary = Path(sys.base_prefix, "bin", minor)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in (("tmp", 0o1777), ("root", 0o755), ("home/nonroot", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        _add_file(tar, "etc/passwd", _PASSWD)
        _add_file(tar, "etc/group", _GROUP)
        _add_file(tar, "usr/local/bin/python3", binary.read_bytes(), mode=0o755)
        sources = [p for p in sorted(stdlib.rglob("*")) if p.is_file() and _is_wanted(p, stdlib)]
        for path in sources:
            name = f"usr/local/lib/{minor}/{path.relative_to(stdlib)}"
            mode = 0o755 if path.suffix == ".so" else 0o644
            _add_file(tar, name, path.read_bytes(), mode=mode, mtime=int(path.stat().st_mtime))
        for library in _find_libraries([binary, *(p for p in sources if p.suffix == ".so")]):
            _add_file(tar, library.lstrip("/"), Path(library).read_bytes(), mode=0o755)
    return buffer.getvalue()


def _is_wanted(path: Path, stdlib: Path) -> bool:
    parts = path.relative_to(stdlib).parts
    if ".opt-" in path.name or parts[0].startswith("config-"):
        return False
    return not _LEFT_OUT.intersection(parts)


def _find_libraries(programs: Sequence[Path]) -> list[str]:
    told = subprocess.run(
        ["ldd", *map(str, programs)], check=False, capture_output=True, text=True
    ).stdout
    return sorted(set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, re.MULTILINE)))


def _make_packages_layer(folder: Path, requirement: str) -> bytes:
    """Return a tar of a package and its dependencies, by pip from the user's index."""
    target = folder / f"site-{requirement}"
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--compile", "--only-binary=:all:",
         "--target", str(target), requirement],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        missing(requirement, f"pip can't install it:\n{done.stderr[-2000:]}")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(p for p in target.rglob("*") if p.is_file()):
            name = f"usr/local/lib/python{minor}/site-packages/{path.relative_to(target)}"
            _add_file(tar, name, path.read_bytes(), mtime=int(path.stat().st_mtime))
        for library in _find_libraries(sorted(target.rglob("*.so"))):
            _add_file(tar, library.lstrip("/"), Path(library).read_bytes(), mode=0o755)
    return buffer.getvalue()


def _add_file(
    tar: tarfile.TarFile, name: str, data: bytes, *, mode: int = 0o644, mtime: int = 0
) -> None:
    """Add a file; with the time of its source, byte code stays valid and containers start fast."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), mode, mtime
    tar.addfile(info, io.BytesIO(data))
