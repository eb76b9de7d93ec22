"""The search for planted secrets finds them in every guise, so that to find none means it."""

from __future__ import annotations

import base64
import gzip
import zipfile
from pathlib import Path
from urllib.parse import quote

import pytest
import zstandard

from tests.rig.planted import Planted


@pytest.mark.parametrize("before", ["", "a", "ab", "robot:"])
def test_every_spelling_is_found(before: str) -> None:
    planted = Planted()
    value = planted.plant("KEY")
    whole = f"{before}{value}"
    for text in (whole, quote(whole), base64.b64encode(whole.encode()).decode()):
        assert planted.search_text(f"x {text} y".encode(), "here") == ["KEY in here"]
    assert planted.search_text(b"nothing", "here") == []


def test_what_is_packed_is_found(tmp_path: Path) -> None:
    planted = Planted()
    data = planted.plant("KEY").encode()
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"x") + gzip.compress(data))
    (tmp_path / "b.zst").write_bytes(zstandard.compress(b"x") + zstandard.compress(data))
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inside.gz", gzip.compress(data))
    assert len(set(planted.search_folder(tmp_path))) == 3
