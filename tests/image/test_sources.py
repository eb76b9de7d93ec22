"""Files of the repository for an image: what is taken, what is refused, and what comes of it."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from envbuild.errors import ImageError
from envbuild.identity.recipe import Base, ImageSettings, Recipe, Source
from envbuild.image.assemble import plan_jobs
from envbuild.image.prefix import plan_prefix
from envbuild.image.prove import read_plain
from envbuild.image.sources import plan_sources
from envbuild.image.work import LayerJob, Workbench
from envbuild.kit.places import Cache
from envbuild.layers.pack import source_key
from envbuild.oci.store import Store
from envbuild.spec.model import Image, ImageSource
from tests.rig.locks import wheel
from tests.rig.nobody import as_nobody, open_folder

__all__ = ["open_folder"]

RECIPE = Recipe(
    platform="linux-64", base=Base(kind="scratch"), artifacts=(), prefix="/opt/env",
    python_minor="3.11", interpreter="", settings=ImageSettings(user="nonroot", labels={}),
)  # fmt: skip


def _image(path: str = "models", target: str = "/srv/models") -> Image:
    return Image(source=(ImageSource(path=path, target=target),))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A git repository with a folder `models`."""
    root = tmp_path / "repository"
    _write(root, {"models/a.bin": "a", "models/deep/run.sh": "#!/bin/sh", ".gitignore": "*.tmp"})
    (root / "models/deep/run.sh").chmod(0o700)
    (root / "models/a.bin").chmod(0o600)
    (root / "models/last").symlink_to("a.bin")
    subprocess.run(["git", "init", "-q", root], check=True)
    return root


def _write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


@pytest.mark.parametrize(
    ("link", "end"),
    [("deep/up", "../../models/a.bin"), ("deep/off", "../skipped.tmp")],
    ids=["by way of outside", "to what git ignores"],
)
def test_a_link_that_would_dangle_in_the_image_is_refused(root: Path, link: str, end: str) -> None:
    _write(root, {"models/skipped.tmp": "x"})
    (root / "models" / link).symlink_to(end)
    with pytest.raises(ImageError, match=f"`{link}` of the source `models` links to") as caught:
        plan_sources(_image(), root=root)
    assert caught.value.code == "source.file"


def test_a_file_does_not_take_the_place_of_a_folder_of_the_system(root: Path) -> None:
    with pytest.raises(ImageError, match="is a folder of every system") as caught:
        plan_sources(_image("models/a.bin", "/usr/share"), root=root)
    assert caught.value.hint == 'write `target = "/usr/share/a.bin"`'
    assert plan_sources(_image("models", "/usr/share"), root=root)


def _digest(root: Path, image: Image | None = None) -> str:
    (source,) = plan_sources(image or _image(), root=root)
    return source.digest


def _pack(
    cache: Cache, root: Path, image: Image, recipe: Recipe = RECIPE
) -> dict[str, tarfile.TarInfo]:
    """Make the layer; return its members by path."""
    ((source, tree),) = plan_sources(image, root=root).items()
    job = LayerJob(
        key=source_key(recipe, source), title="x", kind="source", recipe=recipe, source=source,
        tree=tree,
    )  # fmt: skip
    with Workbench(cache) as bench:
        layer = bench.make(job)
    plain = b"".join(read_plain(Store(cache.store), layer.blob))
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        return {member.name: member for member in tar}


def test_a_layer_has_the_files_and_nothing_of_this_machine(root: Path, cache: Cache) -> None:
    _write(root, {"models/b.tmp": "git ignores it"})
    found = _pack(cache, root, _image())
    facts = {path: (m.type, m.mode, m.size, m.linkname) for path, m in found.items()}
    assert facts == {
        "srv": (tarfile.DIRTYPE, 0o755, 0, ""),
        "srv/models": (tarfile.DIRTYPE, 0o755, 0, ""),
        "srv/models/a.bin": (tarfile.REGTYPE, 0o644, 1, ""),
        "srv/models/deep": (tarfile.DIRTYPE, 0o755, 0, ""),
        "srv/models/deep/run.sh": (tarfile.REGTYPE, 0o755, 9, ""),
        "srv/models/last": (tarfile.SYMTYPE, 0o777, 0, "a.bin"),
    }
    assert {(m.uid, m.gid, m.mtime) for m in found.values()} == {(0, 0, 0)}


def test_a_single_file_is_at_the_target_itself(root: Path, cache: Cache) -> None:
    image = _image("models/a.bin", "/srv/x.bin")
    assert list(_pack(cache, root, image)) == ["srv", "srv/x.bin"]
    _write(root, {"models/b.tmp": "git ignores it"})
    assert _refused(root, "models/b.tmp").code == "source.empty"


def test_a_folder_of_the_image_stays_whose_it_is(root: Path, cache: Cache) -> None:
    found = _pack(cache, root, _image(target="/workspace/models"))
    assert (found["workspace"].uid, found["workspace/models"].uid) == (65532, 0)
    found = _pack(cache, root, _image(target="/home/nonroot/models"))
    assert [found[p].uid for p in ("home", "home/nonroot", "home/nonroot/models")] == [0, 65532, 0]
    _write(root, {"homes/nonroot/x": ""})
    assert _pack(cache, root, _image("homes", "/home"))["home/nonroot"].uid == 65532
    other = replace(RECIPE, settings=ImageSettings(user="root", labels={}))
    source = Source(target="/workspace/models", digest="sha256:" + "0" * 64)
    assert source_key(other, source) != source_key(RECIPE, source)
    source = replace(source, target="/srv/models")
    assert source_key(other, source) == source_key(RECIPE, source)
    assert source_key(RECIPE, replace(source, target="/srv/m")) != source_key(RECIPE, source)


def _relink(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


def test_what_has_no_platform_and_no_package_has_no_key_of_one() -> None:
    source = Source(target="/srv/models", digest="sha256:" + "0" * 64)
    other = replace(
        RECIPE, platform="linux-aarch64", artifacts=(wheel("acme"),), python_minor="3.12"
    )
    with_it = replace(other, sources=(source,))
    assert source_key(other, source) == source_key(RECIPE, source)
    assert [job.key for job in plan_jobs(with_it)][-1] == source_key(RECIPE, source)
    assert [job.key for job in plan_jobs(with_it)][:-1] == [job.key for job in plan_jobs(other)]


def test_a_folder_on_this_machine_has_none_of_them_and_is_not_made_again() -> None:
    source = Source(target="/srv/models", digest="sha256:" + "0" * 64)
    assert plan_prefix(replace(RECIPE, sources=(source,))) == plan_prefix(RECIPE)


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda folder: (folder / "a.bin").write_text("b"),
    "name": lambda folder: (folder / "a.bin").rename(folder / "b.bin"),
    "mode": lambda folder: (folder / "a.bin").chmod(0o755),
    "more": lambda folder: (folder / "new").write_text(""),
    "link": lambda folder: _relink(folder / "last", "deep"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_counts_changes_the_digest(root: Path, change: str) -> None:
    before = _digest(root)
    CHANGES[change](root / "models")
    assert _digest(root) != before


def test_what_does_not_count_does_not(root: Path) -> None:
    before = _digest(root)
    os.utime(root / "models/a.bin", (1, 1))
    (root / "models/a.bin").chmod(0o640)
    _write(root, {"models/x.tmp": "ignored"})
    assert _digest(root) == before
    (root / "current").symlink_to("models")
    assert _digest(root, _image("current")) == before


def _refused(root: Path, path: str = "models") -> ImageError:
    with pytest.raises(ImageError) as caught:
        plan_sources(_image(path), root=root)
    assert f"`{path}`" in caught.value.message
    assert caught.value.hint
    return caught.value


def test_paths_that_are_nothing_are_refused(root: Path, tmp_path: Path) -> None:
    assert _refused(root, "model").code == "source.missing"
    (tmp_path / "elsewhere").mkdir()
    (root / "far").symlink_to(tmp_path / "elsewhere")
    assert _refused(root, "far").code == "source.outside"
    (root / "gone").symlink_to("nothing")
    assert _refused(root, "gone").code == "source.missing"
    _write(root, {"empty/x.tmp": ""})
    assert _refused(root, "empty").code == "source.empty"


def test_files_that_no_image_can_have_are_refused(root: Path) -> None:
    bad = root / "models/bad"
    bad.symlink_to("../.gitignore")
    assert "outside of the source folder" in _refused(root).message
    bad.unlink()
    bad.symlink_to("bad")
    assert "in a circle" in _refused(root).message
    bad.unlink()
    bad.with_name(".wh.a.bin").write_text("")
    error = _refused(root)
    assert (error.code, "`.wh.a.bin`" in error.message) == ("source.file", True)


def test_a_repository_that_git_refuses_to_read_is_an_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _refused(root).code == "source.git"


def test_the_folder_of_git_itself_is_refused(root: Path) -> None:
    error = _refused(root, ".git")
    assert error.code == "source.git"
    assert "snapshot" not in error.message
    assert "name another `path`" in (error.hint or "")


def test_a_pipe_is_left_out_in_a_repository_and_refused_outside_of_one(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = _digest(root)
    os.mkfifo(root / "models/pipe")
    assert _digest(root) == before
    bare = tmp_path_factory.mktemp("bare")
    _write(bare, {"models/a.bin": "a"})
    os.mkfifo(bare / "models/pipe")
    error = _refused(bare)
    assert (error.code, "`pipe`" in error.message) == ("source.file", True)


def test_what_may_not_be_read_is_an_error(open_folder: Path) -> None:
    _write(open_folder, {"models/a": "a"})
    (open_folder / "models/a").chmod(0)
    error = as_nobody(lambda: plan_sources(_image(), root=open_folder))
    assert isinstance(error, ImageError)
    assert error.code == "source.unreadable"


@pytest.mark.parametrize(
    ("text", "code"),
    [("b", "source.changed"), ("", "source.changed"), ("aa", "source.changed"),
     (None, "source.unreadable")],
)  # fmt: skip
def test_a_file_that_changes_meanwhile_is_an_error(
    root: Path, cache: Cache, text: str | None, code: str
) -> None:
    ((source, tree),) = plan_sources(_image(), root=root).items()
    job = LayerJob(
        key=source_key(RECIPE, source), title="x", kind="source", recipe=RECIPE, source=source,
        tree=tree,
    )  # fmt: skip
    file = root / "models/a.bin"
    file.unlink() if text is None else file.write_text(text)
    with Workbench(cache) as bench, pytest.raises(ImageError) as caught:
        bench.make(job)
    assert caught.value.code == code
    assert str(file) in caught.value.message
    blobs = cache.store / "blobs/sha256"
    assert not blobs.exists() or not list(blobs.iterdir())
