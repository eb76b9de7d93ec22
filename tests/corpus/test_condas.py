"""The corpus as conda packages on disk: what py-rattler puts there."""

from __future__ import annotations

import json
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.layers.conda import read_conda
from envbuild.layers.overlaps import describe_contents, order_contents
from tests.corpus.by_conda import PREFIX, install_with_rattler, judge_conda, read_records
from tests.corpus.by_pip import remove_tree
from tests.corpus.convert import convert_wheel
from tests.corpus.trees import compare_trees, unpack_entries
from tests.corpus.wheels import MINOR, Corpus
from tests.layers.condas import OLD, Member, describe_conda, write_conda
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
    groups = {}
    for path in archives:
        package = describe_conda(path)
        entries = read_conda(path, package, prefix=PREFIX, python_minor=MINOR)
        groups[describe_contents(package, entries)] = entries
    ordered = [groups[contents] for contents in order_contents(groups)]
    ours = unpack_entries(ordered, tmp_path / "ours") / PREFIX[1:]
    count, found = compare_trees(ours, theirs, judge_conda)
    print(f"{len(archives)} packages, {count} files, differences: {dict(sorted(found.items()))}")
    assert count > 5_000
    assert found["conda-record"] == len(archives)
    records = read_records(ours / "conda-meta")
    assert len(records) == len(archives)
    assert all(int(record[3]) == int(record[4]) > 0 for record in records)
    remove_tree(tmp_path)


_LONG = "-" + "x" * 130
_ODD = (
    Member(path="bin/short", data=f"#!{OLD}/bin/perl -w\n{OLD}".encode(), mode=0o755,
           prefix_mode="text"),
    Member(path="bin/long", data=f"#!{OLD}/bin/perl {_LONG}\n#!{OLD} again\n".encode(),
           mode=0o755, prefix_mode="text"),
    Member(path="bin/spaced", data=f"#! {OLD}/bin/perl  {_LONG} two\n".encode(), mode=0o755,
           prefix_mode="text"),
    Member(path="bin/limit", data=f"#!{OLD}/{'y' * 116}\n{OLD}".encode(), prefix_mode="text"),
    Member(path="bin/over", data=f"#!{OLD}/{'y' * 117}\n{OLD}".encode(), prefix_mode="text"),
    Member(path="bin/returns", data=f"#!{OLD}/{'y' * 117}\r\n{OLD}\r\n".encode(),
           prefix_mode="text"),
    Member(path="bin/endless", data=f"#!{OLD}/bin/sh {_LONG}".encode(), prefix_mode="text"),
    Member(path="bin/elsewhere", data=f"#!/usr/bin/{'z' * 140}\n{OLD}".encode(),
           prefix_mode="text"),
    Member(path="bin/relative", data=f"#!perl {_LONG}\n{OLD}".encode(), prefix_mode="text"),
    Member(path="bin/binary", data=f"#!{OLD}/bin/sh {_LONG}\n\0{OLD}\0".encode(),
           prefix_mode="binary"),
    Member(path="bin/unended", data=b"#!", prefix_mode="text"),
    Member(path="bin/nothing", data=b"", prefix_mode="text"),
    Member(path="Menu/demo.json", data=f'{{"menu_name": "{OLD}"}}'.encode(), prefix_mode="text"),
    Member(path="share/same", link="../Menu", kind=tarfile.SYMTYPE),
    Member(path="share/lost", link="../../nowhere", kind=tarfile.SYMTYPE),
    Member(path=f"lib/python{MINOR}/site-packages/a/__pycache__/b.cpython-311.pyc",
           data=b"\xa7\r\r\n" + bytes(12)),
    Member(path=f"lib/python{MINOR}/site-packages/a/b.py", data=b""),
)  # fmt: skip


def _link(folder: Path, archives: list[Path]) -> tuple[int, Counter[str]]:
    """Compare what py-rattler and envbuild make of packages in `folder`."""
    theirs = install_with_rattler(archives, folder)
    groups = [
        read_conda(path, describe_conda(path), prefix=PREFIX, python_minor=MINOR)
        for path in archives
    ]
    ours = unpack_entries(groups, folder / "ours") / PREFIX[1:]
    return compare_trees(ours, theirs, judge_conda)


@pytest.mark.parametrize("suffix", [".conda", ".tar.bz2"])
def test_odd_conda_packages_are_on_disk_as_by_rattler(tmp_path: Path, suffix: str) -> None:
    count, found = _link(tmp_path, [write_conda(tmp_path, _ODD, suffix=suffix)])
    assert count == len(_ODD) + 3
    assert set(found) == {"conda-record", "conda-prefix"}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_wide_text_is_replaced_as_by_rattler(tmp_path: Path, encoding: str) -> None:
    text = f"\ufeff path = {OLD}/bin\n".encode(encoding)
    strings = text + bytes(4) + f"{OLD}/lib:{OLD}".encode(encoding) + bytes(8) + b"end"
    members = [
        Member(path="etc/wide.txt", data=text, prefix_mode="text"),
        Member(path="lib/wide.bin", data=strings, prefix_mode="binary"),
    ]
    _, found = _link(tmp_path, [write_conda(tmp_path, members)])
    assert set(found) == {"conda-record", "conda-prefix"}


_ENTRY = {"noarch": {"type": "python", "entry_points": ["demo-x = demo.cli:main", "y=demo:A.b"]}}


@pytest.mark.parametrize(
    ("noarch", "link"),
    [
        ("generic", {}),
        ("generic", {"noarch": {"type": "generic"}, "package_metadata_version": 1}),
        ("python", _ENTRY | {"package_metadata_version": 1}),
        ("python", {"noarch": {"type": "python"}, "package_metadata_version": 1}),
        ("python", _ENTRY | {"package_metadata_version": 1, "preferred_env": None}),
    ],
)
def test_kinds_of_noarch_are_on_disk_as_by_rattler(
    conda_channel: CondaChannel, tmp_path: Path, noarch: str, link: dict[str, object]
) -> None:
    members = [
        Member(path="site-packages/demo/__init__.py", data=b"1"),
        Member(path="site-packages/demo/__pycache__/a.cpython-38.pyc", data=bytes(16)),
        Member(path="site-packages/demo/same.py", link="__init__.py", kind=tarfile.SYMTYPE),
        Member(path="python-scripts/old", data=f"#!{OLD}/bin/python\n".encode(), mode=0o755,
               prefix_mode="text"),
        Member(path="share/x", data=b"2"),
        Member(path="share/twin", link="share/x", kind=tarfile.LNKTYPE),
    ]  # fmt: skip
    archive = write_conda(
        tmp_path,
        members,
        index={"noarch": noarch, "subdir": "noarch"},
        info={"link.json": json.dumps(link).encode() if link else b""},
    )
    (python,) = (conda_channel.folder / "linux-64").glob("python-3*")
    count, found = _link(tmp_path, [archive, python])
    assert count > 800
    assert found["conda-command"] == (2 if "entry_points" in json.dumps(link) else 0)
