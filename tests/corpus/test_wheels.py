"""The corpus of wheels on disk: what pip puts there, apart from docs/installed-files.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from envbuild.layers.wheel import read_wheel
from envbuild.lock.model import Wheel
from envbuild.lock.names import normalise_name
from tests.corpus.by_pip import install_with_pip, judge_wheel, remove_tree
from tests.corpus.odd import list_odd_wheels, write_odd_wheel
from tests.corpus.trees import compare_trees, unpack_entries
from tests.corpus.wheels import MINOR, Corpus
from tests.layers.wheels import describe

pytestmark = [pytest.mark.corpus, pytest.mark.network]


def test_the_corpus_is_big_and_odd_enough(corpus: Corpus) -> None:
    assert len(corpus.wheels) >= 150
    assert sum(wheel.size for wheel in corpus.wheels) < 250_000_000
    tags = {wheel.filename.removesuffix(".whl").split("-")[-3:][0] for wheel in corpus.wheels}
    assert {"py3", "py2.py3", "cp311"} <= tags
    assert any("-abi3-" in wheel.filename for wheel in corpus.wheels)


@pytest.mark.parametrize("share", [0, 1])
def test_every_wheel_is_on_disk_as_by_pip(corpus: Corpus, share: int, tmp_path: Path) -> None:
    wheels = corpus.wheels[share::2]
    home, theirs = install_with_pip([corpus.files[w.sha256] for w in wheels], tmp_path)
    groups = [
        read_wheel(corpus.files[w.sha256], w, prefix=str(home), python_minor=MINOR)
        for w in reversed(wheels)
    ]
    ours = unpack_entries(groups, tmp_path / "ours")
    count, found = compare_trees(ours, theirs, judge_wheel)
    print(f"{len(wheels)} wheels, {count} files, differences: {dict(sorted(found.items()))}")
    assert count > 10_000
    assert found["wheel-installer"] == found["wheel-record"] == len(wheels)
    remove_tree(tmp_path)


def test_odd_wheels_are_on_disk_as_by_pip(tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    archives = [write_odd_wheel(odd, wheel) for wheel in list_odd_wheels()]
    home, theirs = install_with_pip(archives, tmp_path)
    groups = [
        read_wheel(path, _lock(path), prefix=str(home), python_minor=MINOR) for path in archives
    ]
    ours = unpack_entries(groups, tmp_path / "ours")
    count, found = compare_trees(ours, theirs, judge_wheel)
    assert count > 100
    assert found["wheel-script-mode"] == 1
    assert found["wheel-record"] == found["wheel-installer"] == len(archives)


def _lock(path: Path) -> Wheel:
    """Return what a lock says of a wheel: its project's name is normalised there."""
    found = describe(path)
    return replace(found, name=normalise_name(found.name))
