"""What a base offers is read from a real registry once, as a stream, and kept for everybody."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from envbuild.errors import LockError, RegistryError
from envbuild.kit.places import Cache
from envbuild.lock.files import load_lock, write_lock
from envbuild.lock.make import make_lock
from envbuild.lock.make_job import Made
from envbuild.lock.sharing import Sharing
from envbuild.lock.upgrade import Upgrade
from envbuild.oci.descriptor import OCI_MANIFEST
from envbuild.oci.store import Store
from envbuild.spec.model import EnvSpec, Image
from envbuild.spec.settings import Settings
from tests.rig.bases import GLIBC, MUSL, Layer, Link, Program, make_base, make_tar, pack, push_base
from tests.rig.conda_solver import Notes
from tests.rig.registry import FaultyRegistry, RunningRegistry
from tests.rig.scripted import Handler

pytestmark = pytest.mark.registry

PYTHON = "/usr/local/bin/python3"
UPPER: Layer = {
    "usr/local/bin/python3.11": Program(b"\x7fELF\x003.11.7\x00"),
    "usr/local/bin/python3": Link("python3.11"),
}
NEWER: Layer = {**UPPER, "usr/local/bin/python3.11": Program(b"\x7fELF\x003.11.9\x00")}


def _spec(reference: str, interpreter: str = PYTHON, **fields: Any) -> EnvSpec:
    image = Image(base=reference, interpreter=interpreter)
    return EnvSpec(python="3.11.*", image=image, **fields)


def _lock(
    spec: EnvSpec,
    cache: Cache,
    tmp_path: Path,
    *,
    old: Made | None = None,
    upgrade: Upgrade | None = None,
    notes: Notes | None = None,
) -> Made:
    return make_lock(
        "cpu", spec, old=old, upgrade=upgrade or Upgrade(), settings=Settings(), cache=cache,
        progress=notes or Notes(), root=tmp_path, sharing=Sharing(),
    )  # fmt: skip


def _push(registry: RunningRegistry, folder: Path, *layers: Layer, **options: Any) -> str:
    image = make_base(Store(folder), *layers, **options)
    return push_base(registry.host, folder, {"amd64": image}, tag=options.get("tag", "1"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_the_lock_has_what_the_base_offers(
    registry: RunningRegistry, cache: Cache, folder: Path, tmp_path: Path, compression: str
) -> None:
    reference = _push(registry, folder, GLIBC, UPPER, compression=compression)
    made = _lock(_spec(reference), cache, tmp_path)
    part = made.lock.platforms["linux-64"]
    assert part.base is not None
    facts = part.base.facts
    assert (facts.system, facts.libc, facts.libc_version) == ("debian 12", "glibc", "2.36")
    assert facts.shell
    assert facts.pythons == tuple((f"/usr/local/bin/python3{m}", "3.11.7") for m in ("", ".11"))
    assert (part.python, part.glibc) == ("3.11.7", "2.36")
    written = tmp_path / "lockfiles" / "cpu"
    write_lock(written, made.lock, name="cpu", files=made.files)
    assert load_lock(written, name="cpu", cache=cache) == made.lock
    assert load_lock(written, name="cpu", cache=cache) == made.lock  # from memory


def test_each_platform_has_its_own_base(
    registry: RunningRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    store = Store(folder)
    images = {
        "amd64": make_base(store, GLIBC, UPPER),
        "arm64": make_base(store, GLIBC, NEWER, architecture="arm64"),
    }
    spec = _spec(push_base(registry.host, folder, images))
    made = _lock(replace(spec, platforms=("linux-64", "linux-aarch64")), cache, tmp_path)
    pythons = {name: part.python for name, part in made.lock.platforms.items()}
    assert pythons == {"linux-64": "3.11.7", "linux-aarch64": "3.11.9"}


def test_a_base_for_another_architecture_is_refused(
    registry: RunningRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    spec = _spec(_push(registry, folder, GLIBC, UPPER))
    with pytest.raises(RegistryError) as caught:
        _lock(replace(spec, platforms=("linux-aarch64",)), cache, tmp_path)
    assert caught.value.code == "registry.platform-missing"


def test_many_environments_on_one_base_read_it_once(
    registry: RunningRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    reference = _push(registry, folder, GLIBC, UPPER)
    notes = [Notes() for _ in range(4)]
    made: list[Made] = []
    threads = [
        threading.Thread(
            target=lambda n=note: made.append(_lock(_spec(reference), cache, tmp_path, notes=n))
        )
        for note in notes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one.lock.platforms["linux-64"].base for one in made}) == 1
    assert len(made) == 4
    assert sum(any("reading what" in doing for doing in note.doings) for note in notes) == 1


def test_nothing_of_the_base_is_kept_on_disk_but_the_facts(
    registry: RunningRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    _lock(_spec(_push(registry, folder, GLIBC, UPPER)), cache, tmp_path)
    kept = [p for p in cache.root.rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert [p.parent.name for p in kept] == ["bases"]


def test_a_damaged_memory_is_read_anew(
    registry: RunningRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    spec = _spec(_push(registry, folder, GLIBC, UPPER))
    made = _lock(spec, cache, tmp_path)
    (kept,) = (cache.root / "bases").glob("*.json.gz")
    for data in (b"", b"nonsense", kept.read_bytes()[:50]):
        kept.write_bytes(data)
        assert _lock(spec, cache, tmp_path).lock == made.lock


def test_a_new_interpreter_needs_no_second_look_at_the_registry(
    registry: RunningRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    upper: Layer = {**UPPER, "opt/odd": Link("../usr/local/bin/python3.11")}
    reference = _push(registry, folder, GLIBC, upper)
    first = _lock(_spec(reference), cache, tmp_path)
    notes = Notes()
    second = _lock(_spec(reference, "/opt/odd"), cache, tmp_path, old=first, notes=notes)
    part = second.lock.platforms["linux-64"]
    assert part.base is not None
    assert part.base.facts.find_python("/opt/odd") == "3.11.7"
    assert not notes.doings


def test_an_environment_that_can_not_run_there_is_refused(
    registry: RunningRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    reference = _push(registry, folder, MUSL)
    with pytest.raises(LockError) as caught:
        _lock(_spec(reference), cache, tmp_path)
    assert caught.value.code == "base.interpreter"


def test_the_base_alone_moves(
    registry: RunningRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    reference = _push(registry, folder, GLIBC, UPPER)
    first = _lock(_spec(reference), cache, tmp_path)
    _push(registry, folder, GLIBC, NEWER)
    assert _lock(_spec(reference), cache, tmp_path, old=first).lock == first.lock
    second = _lock(_spec(reference), cache, tmp_path, old=first, upgrade=Upgrade(base=True))
    old, new = first.lock.platforms["linux-64"], second.lock.platforms["linux-64"]
    assert old.base is not None
    assert new.base is not None
    assert new.base.digest != old.base.digest
    assert (old.python, new.python) == ("3.11.7", "3.11.9")


def test_a_new_base_with_another_python_is_refused(
    registry: RunningRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    reference = _push(registry, folder, GLIBC, UPPER)
    first = _lock(_spec(reference), cache, tmp_path)
    _push(registry, folder, GLIBC, {"usr/local/bin/python3.12": Program(b"\x003.12.1\x00")})
    with pytest.raises(LockError) as caught:
        _lock(_spec(reference), cache, tmp_path, old=first, upgrade=Upgrade(base=True))
    assert caught.value.code == "base.interpreter"
    assert "`/usr/local/bin/python3.12 (3.12.1)`" in caught.value.message


def test_a_download_that_breaks_off_begins_anew(
    faulty_registry: FaultyRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    """What half a layer said is forgotten: a file in it would hide itself the second time."""
    padding = {f"opt/{n}": Program(bytes(range(256)) * 40) for n in range(20)}
    upper: Layer = {**UPPER, "usr/local/bin/.wh.python3.11": b"", **padding}
    reference, digests = _serve(faulty_registry, folder, GLIBC, UPPER, upper)
    whole = Store(folder).read(digests[-1])

    def half(handler: Handler) -> None:
        handler.reply(200, whole[: len(whole) // 2], {"Content-Length": str(len(whole))})
        handler.close_connection = True

    faulty_registry.script("GET", digests[-1], half)
    made = _lock(_spec(reference), cache, tmp_path)
    assert faulty_registry.count("GET", digests[-1]) == 2
    assert made.lock.platforms["linux-64"].python == "3.11.7"


def test_other_bytes_than_the_manifest_says_are_refused(
    faulty_registry: FaultyRegistry, cache: Cache, folder: Path, tmp_path: Path
) -> None:
    reference, digests = _serve(faulty_registry, folder, GLIBC, UPPER)
    good = faulty_registry.blobs["team/base", digests[-1]]
    evil = Store(folder).add(pack(make_tar(NEWER), "gzip"))[0]
    faulty_registry.blobs["team/base", digests[-1]] = Store(folder).read(evil)
    with pytest.raises(RegistryError) as caught:
        _lock(_spec(reference), cache, tmp_path)
    assert caught.value.code == "registry.wrong-digest"
    faulty_registry.blobs["team/base", digests[-1]] = good
    assert _lock(_spec(reference), cache, tmp_path).lock.platforms["linux-64"].python == "3.11.7"


def _serve(registry: FaultyRegistry, folder: Path, *layers: Layer) -> tuple[str, list[str]]:
    """Have the image in a registry that can be scripted; return reference and layers' digests."""
    store = Store(folder)
    data = store.read(make_base(store, *layers).digest)
    registry.put("team/base", "1", OCI_MANIFEST, data)
    manifest: Mapping[str, Any] = json.loads(data)
    digests = [str(entry["digest"]) for entry in manifest["layers"]]
    for digest in (str(manifest["config"]["digest"]), *digests):
        registry.put_blob("team/base", store.read(digest))
    return f"{registry.host}/team/base:1", digests
