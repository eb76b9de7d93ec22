"""The corpus as conda packages on disk: what py-rattler puts there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.layers.conda import read_conda
from tests.corpus.by_conda import PREFIX, install_with_rattler, judge_conda, read_records
from tests.corpus.by_pip import remove_tree
from tests.corpus.convert import convert_wheel
from tests.corpus.trees import compare_trees, unpack_entries
from tests.corpus.wheels import MINOR, Corpus
from tests.layers.condas import describe_conda
from tests.rig.conda_channel import CondaChannel

pytestmark = [pytest.mark.corpus, pytest.mark.network]

_PURE = 60
_COMPILED = 30


@pytest.fixture(scope="module")
def converted(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Path]]:
    """Conda packages of many wheels: all but the biggest, so that it is soon done."""
    folder = tmp_path_factory.mktemp("converted")
    small = [wheel for wheel in corpus.wheels if wheel.size < 2_500_000]
    odd = {"jmespath", "jsonpointer", "jsonpatch", "pybind11-global", "widgetsnbextension",
           "greenlet", "ninja", "ipykernel", "setuptools", "zope-event", "pytest-cov"}  # fmt: skip
    pure = [w for w in small if w.filename.endswith("-none-any.whl")]
    pure.sort(key=lambda w: (w.name not in odd and not w.name.startswith("opencensus"), w.sha256))
    compiled = [w for w in small if w not in pure]
    compiled.sort(key=lambda w: (w.name not in odd, w.sha256))
    chosen = [*pure[:_PURE], *compiled[:_COMPILED]]
    yield [convert_wheel(corpus.files[w.sha256], w, folder) for w in chosen]
    remove_tree(folder)


def test_every_conda_package_is_on_disk_as_by_rattler(
    converted: list[Path], conda_channel: CondaChannel, tmp_path: Path
) -> None:
    (python,) = (conda_channel.folder / "linux-64").glob("python-3*")
    archives = [*converted, python]
    assert sum(1 for path in converted if path.parent.name == "noarch") >= _PURE
    assert sum(1 for path in converted if path.parent.name == "linux-64") >= _COMPILED
    assert sum(1 for path in converted if path.suffix == ".bz2") >= 10
    theirs = install_with_rattler(archives, tmp_path)
    groups = [
        read_conda(path, describe_conda(path), prefix=PREFIX, python_minor=MINOR)
        for path in archives
    ]
    ours = unpack_entries(groups, tmp_path / "ours") / PREFIX[1:]
    count, found = compare_trees(ours, theirs, judge_conda)
    print(f"{len(archives)} packages, {count} files, differences: {dict(sorted(found.items()))}")
    assert count > 5_000
    assert found["conda-record"] == len(archives)
    records = read_records(ours / "conda-meta")
    assert len(records) == len(archives)
    assert all(int(record[3]) == int(record[4]) > 0 for record in records)
    remove_tree(tmp_path)
