"""The promise of sameness: one index digest, whoever builds, and every tool agrees on it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envbuild.image.prove import read_plain
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.store import Store
from tests.rig.conda_channel import CondaChannel
from tests.rig.need import missing
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry

SPEC = """\
platforms = ["linux-64", "linux-aarch64"]
python = "3.11.*"
[conda]
dependencies = ["numpy", "greet"]
[pip]
dependencies = ["acme"]
index-url = "{index}"
[image]
base = "scratch"
"""

NOBODY = 65534
_AS_NOBODY = (
    "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    # the Python that runs the tests may lie in a folder that only its owner may enter
    "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search",
)  # fmt: skip


@pytest.fixture
def two_platforms(project: Project, conda_channel: CondaChannel, pip_index: PipIndex) -> Project:
    """A repository with one environment that is locked for two architectures."""
    project.configure(mirrors={k: list(v) for k, v in conda_channel.mirrors.items()})
    pip_index.add("acme", "1.0", files={"acme/__init__.py": b"WHO = 'acme'\n"})
    project.write("envs/demo.toml", SPEC.format(index=pip_index.url))
    project.must("-s", "lock", "--", "demo")
    return project


@pytest.fixture
def other_disk() -> Iterator[Path]:
    """A folder on another file system, that of memory."""
    place = Path("/dev/shm")
    if not place.is_dir():
        missing("/dev/shm", "mount a file system in memory there")
    folder = place / f"envbuild-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_one_index_digest_whoever_builds(two_platforms: Project, other_disk: Path) -> None:
    """Another user, umask, time zone, locale, folder, file system, hash seed: the same index."""
    if os.geteuid() != 0:
        missing("root", "it is needed to build as another user")
    first = two_platforms.build("demo")
    other = two_platforms.copy(
        other_disk, TZ="Asia/Kathmandu", PYTHONHASHSEED="7", LC_ALL="C.UTF-8", LANG="de_DE.UTF-8",
        HOME=str(other_disk / "home"), PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    for path in [other_disk, *other_disk.rglob("*")]:
        os.chown(path, NOBODY, NOBODY)
    done = subprocess.run(
        [*_AS_NOBODY, *other.command("-s", "build-env", "--", "demo", "--json")],
        cwd=other.root, env=other.environment, umask=0o077,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (second,) = json.loads(done.stdout[done.stdout.index("[") :])
    assert second["manifest"] == first["manifest"]
    assert second["digest"] == first["digest"]
    assert set(second["platforms"]) == {"linux-64", "linux-aarch64"}
    assert not list(other.cache.rglob("*.part"))


def test_an_index_names_one_image_per_architecture(two_platforms: Project) -> None:
    built = two_platforms.build("demo")
    store = Store(two_platforms.cache / "store")
    index = json.loads(store.read(built["manifest"]))
    seen: dict[str, Any] = {}
    for child in index["manifests"]:
        manifest = json.loads(store.read(child["digest"]))
        config = json.loads(store.read(manifest["config"]["digest"]))
        assert config["architecture"] == child["platform"]["architecture"]
        seen[config["architecture"]] = manifest
    assert set(seen) == {"amd64", "arm64"}
    shared = {x["digest"] for x in seen["amd64"]["layers"]} & {
        x["digest"] for x in seen["arm64"]["layers"]
    }
    assert shared  # what has no architecture is there once
    python = [_find_machine(store, x) for x in seen["arm64"]["layers"]]
    assert 62 not in {machine for machines in python for machine in machines}  # no x86-64 ELF


def _find_machine(store: Store, layer: dict[str, Any]) -> set[int]:
    """Return the machine of each ELF file in a layer, as its header has it."""
    blob = Descriptor.from_json({**layer, "annotations": {}})
    plain = b"".join(read_plain(store, blob))
    machines = set()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            head = file.read(20) if file else b""
            if head.startswith(b"\x7fELF"):
                machines.add(int.from_bytes(head[18:20], "little"))
    return machines


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing(name, f"apt-get install {name}")
    return str(found)


def _run(*argv: str, **variables: str) -> str:
    done = subprocess.run(
        argv, capture_output=True, text=True, env={**os.environ, **variables}, check=False
    )
    assert done.returncode == 0, f"{argv}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _tree(root: Path) -> dict[str, tuple[str, int, bytes]]:
    """Return each path below `root` with its type, mode and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", 0, os.fsencode(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", path.stat().st_mode & 0o7777, b"")
        else:
            found[name] = ("file", path.stat().st_mode & 0o7777, path.read_bytes())
    return found


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_skopeo_and_umoci_agree_on_what_is_in_the_image(
    image_project: Project, tmp_path: Path, compression: str
) -> None:
    skopeo, umoci = _tool("skopeo"), _tool("umoci")
    if os.geteuid() != 0:
        missing("root", "it is needed to unpack an image with its owners")
    settings = image_project.root / "pyproject.toml"
    settings.write_text(settings.read_text() + f'compression = "{compression}"\n')
    built = image_project.build("demo")
    store = image_project.cache / "store"
    source = f"oci:{store}:{built['reference']}"
    said = json.loads(_run(skopeo, "inspect", source))
    assert said["Digest"] == built["manifest"]
    assert said["Labels"]["envbuild.digest"] == built["digest"]
    layout = tmp_path / "copied"
    _run(skopeo, "copy", source, f"oci:{layout}:copied")
    copied = json.loads((layout / "index.json").read_bytes())["manifests"][0]["digest"]
    assert copied == built["manifest"]  # copied without a change, all digests and diff IDs checked
    if compression == "gzip":
        _run(umoci, "unpack", "--image", f"{layout}:copied", str(tmp_path / "umoci"))
        assert _tree(tmp_path / "umoci/rootfs") == _tree(_unpack(store, built, tmp_path / "ours"))


def _unpack(store: Path, built: dict[str, str], folder: Path) -> Path:
    """Unpack the layers with Python's own reader, each above those below it."""
    folder.mkdir()
    reader = Store(store)
    for layer in json.loads(reader.read(built["manifest"]))["layers"]:
        blob = Descriptor.from_json({**layer, "annotations": {}})
        plain = folder.parent / "layer.tar"
        plain.write_bytes(b"".join(read_plain(reader, blob)))
        with tarfile.open(plain) as tar:
            tar.extractall(folder, filter="fully_trusted")
    return folder


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for podman."""
    with tempfile.TemporaryDirectory(prefix="envbuild-") as folder:
        yield Path(folder)


@pytest.mark.registry
@pytest.mark.network
def test_podman_runs_the_image_as_docker_does(
    project: Project, pip_index: PipIndex, registry: RunningRegistry, short_folder: Path
) -> None:
    podman = _tool("podman")
    if os.geteuid() != 0 or shutil.which("runc") is None:
        missing("root or runc", "podman is run as root, with runc")
    pip_index.add("acme", "1.0", files={"acme/__init__.py": b"WHO = 'acme'\n"})
    project.write(
        "envs/demo.toml",
        'platforms = ["linux-64"]\npython = "3.11.*"\n[pip]\ndependencies = ["acme"]\n'
        f'index-url = "{pip_index.url}"\n[image]\nbase = "debian:bookworm"\n',
    )
    project.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/podman"
    project.must("-s", "lock", "--", "demo")
    built = project.build("demo", "--push")
    config = short_folder / "containers.conf"
    config.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
    flags = [
        f"--root={short_folder}/root", f"--runroot={short_folder}/run", "--storage-driver=vfs",
        "--runtime=runc", "--cgroup-manager=cgroupfs", "--events-backend=file",
    ]  # fmt: skip
    own = {"CONTAINERS_CONF": str(config)}
    _run(podman, *flags, "pull", "--tls-verify=false", built["reference"], **own)
    printed = _run(
        podman, *flags, "run", "--rm", "--network=none", built["reference"],
        "python", "-c", "import acme, sys; print(acme.WHO, sys.prefix)", **own,
    )  # fmt: skip
    assert printed.strip() == "acme /opt/env"
    image_id = _run(podman, *flags, "images", "--no-trunc", "--quiet", **own).split()[0]
    manifest = json.loads(Store(project.cache / "store").read(_digest_of(built, project)))
    assert image_id == manifest["config"]["digest"]


def _digest_of(built: dict[str, str], project: Project) -> str:
    return built["manifest"] or project.build("demo")["manifest"]
