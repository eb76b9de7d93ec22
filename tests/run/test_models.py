"""Models of a service: what is digested is what is sent, also where it is made of links."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from envbuild.errors import RunError
from envbuild.run.models import MODEL_DIR, digest_model, plan_model_uploads


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder as model caches have it: links to files and folders elsewhere."""
    folder = tmp_path / "model"
    (folder / "empty").mkdir(parents=True)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs/weights").write_text("one")
    (folder / "config.json").write_text("{}")
    (folder / "weights").symlink_to("../blobs/weights")
    (folder / "all").symlink_to("../blobs")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).write_text("odd")
    return folder


def test_links_are_followed_and_parents_come_first(model: Path) -> None:
    uploads = list(plan_model_uploads({"m": model}))
    names = [upload.path.removeprefix(f"{MODEL_DIR}/") for upload in uploads]
    odd = os.fsdecode(b"m/\xff")
    inside = ["m/all", "m/all/weights", "m/config.json", "m/empty", "m/weights"]
    assert names == [MODEL_DIR, "m", *inside, odd]
    sent = {
        name: b"".join(upload.read())
        for name, upload in zip(names, uploads, strict=True)
        if upload.read is not None
    }
    assert sent["m/all/weights"] == sent["m/weights"] == b"one"
    assert not any(upload.owned for upload in uploads)


CHANGES: dict[str, Callable[[Path], object]] = {
    "file": lambda model: (model / "config.json").write_text("[]"),
    "name": lambda model: (model / "config.json").rename(model / "config.jsom"),
    "behind a link to a file or folder": lambda model: (model / "../blobs/weights").write_text(
        "two"
    ),
    "new file behind a link": lambda model: (model / "../blobs/more").write_text(""),
    "folder": lambda model: (model / "empty").rmdir(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_that_is_sent_changes_the_digest(model: Path, change: str) -> None:
    before = digest_model(model)
    assert digest_model(model) == before
    CHANGES[change](model)
    assert digest_model(model) != before


@pytest.mark.parametrize("target", ["nowhere", "../model", "loop"])
def test_link_that_leads_nowhere_is_named(model: Path, target: str) -> None:
    (model / "loop").symlink_to(target)
    for read in (lambda: list(plan_model_uploads({"m": model})), lambda: digest_model(model)):
        with pytest.raises(RunError) as caught:
            read()
        assert caught.value.code == "run.unreadable"
        assert "model/loop`" in caught.value.message
