"""Promises of `oci.store`: whole blobs only, names that hold, many writers, damage noticed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import EnvbuildError, ImageError, RegistryError
from envbuild.oci.descriptor import OCI_MANIFEST, Descriptor
from envbuild.oci.store import REF_NAME, Store
from tests.oci.images import add_image


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def describe(data: bytes) -> Descriptor:
    return Descriptor(media_type=OCI_MANIFEST, digest=digest_of(data), size=len(data))


def test_nothing_is_written_before_the_first_blob(store: Store) -> None:
    assert not store.has(digest_of(b""))
    assert store.find("x") is None
    assert store.names() == {}
    assert store.remove_abandoned() == 0
    assert not store.root.exists()


def test_the_folder_is_an_oci_layout(store: Store) -> None:
    digest, size = store.add(b"data")
    assert (digest, size) == (digest_of(b"data"), 4)
    assert json.loads((store.root / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((store.root / "index.json").read_bytes())["manifests"] == []
    assert (store.root / "blobs" / "sha256" / digest[7:]).read_bytes() == b"data"


@given(pieces=st.lists(st.binary(max_size=5000), max_size=8))
def test_a_blob_is_named_by_all_its_bytes(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes]
) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "written")
    with store.writer() as blob:
        for piece in pieces:
            assert blob.write(piece) == len(piece)
    whole = b"".join(pieces)
    assert (blob.digest, blob.size) == (digest_of(whole), len(whole))
    assert store.has(blob.digest, len(whole))
    assert not store.has(blob.digest, len(whole) + 1)
    assert store.read(blob.digest) == whole
    assert b"".join(store.chunks(blob.digest)) == whole


@given(start=st.integers(0, 3000), length=st.integers(0, 3000))
def test_a_part_of_a_blob_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, start: int, length: int
) -> None:
    store = Store(tmp_path_factory.getbasetemp() / "parts")
    data = bytes(range(256)) * 10
    digest, _ = store.add(data)
    found = b"".join(store.chunks(digest, start=start, stop=start + length))
    assert found == data[start : start + length]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_nothing(store: Store, error: type[BaseException]) -> None:
    store.add(b"before")

    def write() -> None:
        with store.writer() as blob:
            blob.write(b"half")
            raise error

    with pytest.raises(error):
        write()
    names = [path.name for path in (store.root / "blobs" / "sha256").iterdir()]
    assert names == [digest_of(b"before")[7:]]


def test_other_bytes_than_expected_do_not_get_in(store: Store) -> None:
    with pytest.raises(ImageError) as caught, store.writer(expect=digest_of(b"right")) as blob:
        blob.write(b"wrong")
    assert caught.value.code == "store.wrong-digest"
    assert list((store.root / "blobs" / "sha256").iterdir()) == []


def test_a_damaged_blob_is_noticed_and_mended(store: Store) -> None:
    digest, _ = store.add(b"whole")
    store.path(digest).write_bytes(b"holed")
    for use in (store.read, store.check_blob):
        with pytest.raises(ImageError, match=r"damaged") as caught:
            use(digest)
        assert caught.value.code == "store.damaged"
        assert f"rm {store.path(digest)}" in str(caught.value.hint)
    with store.writer() as blob:
        blob.write(b"whole")
    store.check_blob(digest)


def test_a_blob_that_lost_its_end_is_written_again(store: Store) -> None:
    digest, _ = store.add(b"whole")
    store.path(digest).write_bytes(b"")
    store.add(b"whole")
    assert store.read(digest) == b"whole"


def test_a_missing_blob_is_an_error_in_words(store: Store) -> None:
    for use in (store.read, store.check_blob, lambda d: list(store.chunks(d))):
        with pytest.raises(ImageError) as caught:
            use(digest_of(b"none"))
        assert caught.value.code == "store.missing"


@pytest.mark.parametrize("digest", ["sha256:../../x", "x", "md5:" + "0" * 32])
def test_what_is_no_digest_leads_nowhere(store: Store, digest: str) -> None:
    with pytest.raises(RegistryError):
        store.path(digest)


def test_a_name_is_given_and_moved(store: Store) -> None:
    first, second = describe(b"first"), describe(b"second")
    store.add(b"first")
    store.add(b"second")
    store.name("h.example.com/a:1", first)
    store.name("h.example.com/b:1", first)
    store.name("h.example.com/a:1", second)
    found = store.find("h.example.com/a:1")
    assert found is not None
    assert (found.digest, found.annotations[REF_NAME]) == (second.digest, "h.example.com/a:1")
    assert {name: d.digest for name, d in store.names().items()} == {
        "h.example.com/b:1": first.digest,
        "h.example.com/a:1": second.digest,
    }


def test_naming_the_same_again_changes_no_byte(store: Store) -> None:
    store.name("a", describe(b"x"))
    before = (store.root / "index.json").stat()
    store.name("a", describe(b"x"))
    assert (store.root / "index.json").stat().st_ino == before.st_ino


def test_what_other_tools_wrote_into_the_index_stays(store: Store) -> None:
    store.add(b"x")
    unnamed = {**describe(b"unnamed").to_json(), "annotations": {"org.example": "kept"}}
    index = {"schemaVersion": 2, "annotations": {"k": "v"}, "manifests": [unnamed]}
    (store.root / "index.json").write_text(json.dumps(index))
    assert store.names() == {}
    store.name("a", describe(b"x"))
    written = json.loads((store.root / "index.json").read_bytes())
    assert written["manifests"][0] == unnamed
    assert written["annotations"] == {"k": "v"}
    assert list(store.names()) == ["a"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"manifests": 1}'])
def test_a_broken_index_is_named(store: Store, content: str) -> None:
    store.add(b"x")
    (store.root / "index.json").write_text(content)
    with pytest.raises(ImageError, match=r"index\.json") as caught:
        store.find("a")
    assert caught.value.code == "store.index"


def test_old_unfinished_files_are_removed_and_young_ones_left(store: Store) -> None:
    store.add(b"x")
    folder = store.root / "blobs" / "sha256"
    for name, age in {".blob.old.part": 90_000, ".blob.young.part": 60}.items():
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    store.name("a", describe(b"x"))
    assert sorted(p.name for p in folder.glob(".*")) == [".blob.young.part"]


def test_threads_may_write_the_same_blob(store: Store) -> None:
    data = os.urandom(100_000)

    def write() -> None:
        with store.writer() as blob:
            for start in range(0, len(data), 1000):
                blob.write(data[start : start + 1000])

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(digest_of(data)) == data
    assert [p.name for p in (store.root / "blobs" / "sha256").iterdir()] == [digest_of(data)[7:]]


NAMING = """
import sys
from pathlib import Path
from envbuild.oci.descriptor import OCI_MANIFEST, Descriptor
from envbuild.oci.store import Store
store = Store(Path(sys.argv[1]))
for number in range(25):
    digest, size = store.add(f"{sys.argv[2]} {number}".encode())
    manifest = Descriptor(media_type=OCI_MANIFEST, digest=digest, size=size)
    store.name(f"h.example.com/{sys.argv[2]}:{number}", manifest)
    store.name("h.example.com/common:1", manifest)
    assert store.find(f"h.example.com/{sys.argv[2]}:{number}").digest == digest
"""


def test_processes_that_name_at_once_lose_no_name(store: Store) -> None:
    command = [sys.executable, "-c", NAMING, str(store.root)]
    children = [subprocess.Popen([*command, name]) for name in ("a", "b", "c")]
    assert [child.wait(120) for child in children] == [0, 0, 0]
    names = store.names()
    assert len(names) == 3 * 25 + 1
    for name, manifest in names.items():
        if not name.startswith("h.example.com/common"):
            repository, _, number = name.removeprefix("h.example.com/").partition(":")
            assert store.read(manifest.digest) == f"{repository} {number}".encode()


WRITING = """
import sys
from pathlib import Path
from envbuild.oci.store import Store
store = Store(Path(sys.argv[1]))
with store.writer() as blob:
    blob.write(b"x" * 3_000_000)
    print("half", flush=True)
    sys.stdin.read()
"""


def test_a_killed_writer_leaves_a_valid_store(store: Store) -> None:
    kept = add_image(store, b"kept")
    store.name("h.example.com/kept:1", kept)
    before = sorted(p.name for p in (store.root / "blobs" / "sha256").iterdir())
    with subprocess.Popen(
        [sys.executable, "-c", WRITING, str(store.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"half\n"
        child.send_signal(signal.SIGKILL)
    left = sorted(p.name for p in (store.root / "blobs" / "sha256").iterdir())
    parts = [name for name in left if name not in before]
    assert len(parts) == 1
    assert parts[0].startswith(".blob.")
    assert not store.has(digest_of(b"x" * 3_000_000))
    found = store.find("h.example.com/kept:1")
    assert found is not None
    assert found.digest == kept.digest
    for name in before:
        store.check_blob(f"sha256:{name}")
    with store.writer() as blob:
        blob.write(b"x" * 3_000_000)
    store.check_blob(blob.digest)


def test_a_file_in_the_stores_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvbuildError, match=r"/file") as caught:
        Store(tmp_path / "file").add(b"x")
    assert caught.value.code == "disk.refused"


@pytest.mark.parametrize("piece", [100, 1_000_000])
def test_a_full_disk_is_named_and_left_clean(small_disk: Path, piece: int) -> None:
    store = Store(small_disk / "store")

    def write() -> None:
        with store.writer() as blob:
            for _ in range(0, 1_000_000, piece):
                blob.write(os.urandom(piece))

    with pytest.raises(EnvbuildError, match=r"small/store") as caught:
        write()
    assert caught.value.code == "disk.full"
    assert list((store.root / "blobs" / "sha256").iterdir()) == []
    digest, _ = store.add(b"there is room for this")
    assert store.read(digest) == b"there is room for this"
