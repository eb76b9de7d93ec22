"""Packages that bring the same path: the installers' winner is ours, however layers are stacked.

Every package brings a path in common with every other, so that who wins tells the whole order.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import pytest

from envbuild.layers.conda import read_conda
from envbuild.layers.entry import Entry
from envbuild.layers.order import find_clashes, plan_entries
from envbuild.layers.overlaps import (
    Contents,
    check_clashes,
    describe_contents,
    find_overruled,
    order_contents,
    pick_entries,
    summarise_clashes,
)
from envbuild.layers.wheel import read_wheel
from envbuild.lock.model import Artifact
from tests.corpus.by_conda import PREFIX, install_with_rattler
from tests.corpus.by_pip import install_with_pip, judge_wheel
from tests.corpus.convert import find_closure
from tests.corpus.odd import OddWheel, write_odd_wheel
from tests.corpus.trees import compare_trees, unpack_entries
from tests.corpus.wheels import MINOR, Corpus
from tests.layers.condas import describe_conda
from tests.layers.wheels import describe
from tests.rig.conda_package import Content, Recipe, write_package

pytestmark = pytest.mark.corpus

Graph = Mapping[str, Sequence[str]]

_GRAPHS: Sequence[Graph] = (
    {"a": [], "b": [], "c": [], "d": []},
    {"a": ["z"], "b": [], "c": ["y"], "z": [], "y": []},
    {"a": ["z", "x"], "b": ["z"], "c": ["y", "b"], "x": ["y"], "y": [], "z": []},
    {"m": ["b", "k"], "b": [], "k": ["a"], "a": [], "z": ["k"]},
)


def _make_graph(seed: int) -> Graph:
    """Return who needs whom among ten packages, nobody itself."""
    chance = random.Random(seed)
    names = [f"{letter}{seed}" for letter in "abcdefghij"]
    chance.shuffle(names)
    return {
        name: sorted(chance.sample(names[:number], min(number, chance.randrange(3))))
        for number, name in enumerate(names)
    }


GRAPHS = (*_GRAPHS, *(_make_graph(seed) for seed in range(4)))


def _share(name: str, graph: Graph) -> dict[str, bytes]:
    """Return the files of a package: one in common with each other one, and one for all."""
    shared = {"-".join(sorted((name, other))): name.encode() for other in graph if other != name}
    return {**shared, "all/__init__.py": name.encode()}


def _settle(artifacts: Mapping[str, tuple[Artifact, tuple[Entry, ...]]]) -> list[Entry]:
    """Return the entries on disk of layers that are stacked by name, with the one that settles."""
    described = {name: describe_contents(*parts) for name, parts in sorted(artifacts.items())}
    stack: list[Contents] = list(described.values())
    overruled = find_overruled(stack)
    names = {one.label: name for name, one in described.items()}
    top = [pick_entries(artifacts[names[o]][1], paths) for o, paths in overruled.items()]
    return list(plan_entries([*(artifacts[name][1] for name in described), *top]))


@pytest.mark.parametrize("graph", GRAPHS)
def test_pips_winner_counts(graph: Graph, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    archives = {
        name: write_odd_wheel(
            folder, OddWheel(name=name, files=_share(name, graph), requires=graph[name])
        )
        for name in graph
    }
    home, theirs = install_with_pip(list(archives.values()), tmp_path, with_needs=True)
    artifacts: dict[str, tuple[Artifact, tuple[Entry, ...]]] = {}
    for name, path in archives.items():
        wheel = describe(path)
        entries = read_wheel(path, wheel, prefix=str(home), python_minor=MINOR)
        artifacts[name] = (wheel, entries)
    ours = unpack_entries([_settle(artifacts)], tmp_path / "ours")
    site = Path(str(home)[1:], f"lib/python{MINOR}/site-packages")
    _compare_shared(graph, ours / site, theirs / site)


@pytest.mark.parametrize("graph", GRAPHS)
def test_rattlers_winner_counts(graph: Graph, tmp_path: Path) -> None:
    archives = {}
    for name in graph:
        contents = [Content(path=path, data=data) for path, data in _share(name, graph).items()]
        recipe = Recipe(
            name=name, version="1.0", subdir="linux-64", noarch=None, contents=contents,
            depends=[f"{need} >=1" for need in graph[name]],
        )  # fmt: skip
        archives[name] = write_package(recipe, tmp_path)
    theirs = install_with_rattler(list(archives.values()), tmp_path)
    artifacts: dict[str, tuple[Artifact, tuple[Entry, ...]]] = {}
    for name, path in archives.items():
        package = describe_conda(path)
        entries = read_conda(path, package, prefix=PREFIX, python_minor=MINOR)
        artifacts[name] = (package, entries)
    ours = unpack_entries([_settle(artifacts)], tmp_path / "ours")
    _compare_shared(graph, ours / PREFIX[1:], theirs)


def _compare_shared(graph: Graph, ours: Path, theirs: Path) -> None:
    paths = ["-".join(sorted(pair)) for pair in combinations(graph, 2)] + ["all/__init__.py"]
    winners = {path: (theirs / path).read_text() for path in paths}
    assert {path: (ours / path).read_text() for path in paths} == winners
    assert len(set(winners.values())) > 1


@pytest.mark.network
def test_the_corpus_own_overlaps_are_found_and_settled_as_by_pip(
    corpus: Corpus, tmp_path: Path
) -> None:
    """Of the corpus, opencensus and its parts bring the same `__init__.py`, and not alike."""
    wheels = find_closure(corpus, ["opencensus-ext-azure"])
    archives = [corpus.files[wheel.sha256] for wheel in wheels]
    home, theirs = install_with_pip(archives, tmp_path, with_needs=True)
    artifacts: dict[str, tuple[Artifact, tuple[Entry, ...]]] = {}
    for wheel, path in zip(wheels, archives, strict=True):
        entries = read_wheel(path, wheel, prefix=str(home), python_minor=MINOR)
        artifacts[wheel.name] = (wheel, entries)
    ours = unpack_entries([_settle(artifacts)], tmp_path / "ours")
    count, _ = compare_trees(ours, theirs, judge_wheel)
    assert count > 1000
    described = order_contents(describe_contents(*parts) for parts in artifacts.values())
    clashes = find_clashes({one.label: one.traces for one in described})
    check_clashes(clashes)
    (line,) = summarise_clashes(clashes)
    assert "site-packages/opencensus/__init__.py`: brought by" in line
    assert line.endswith("`opencensus-ext-azure (wheel)`'s counts")
