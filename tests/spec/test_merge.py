"""Specs that extend others: the rules of merging, and where the problems are said to be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import SpecError
from envbuild.lock.request import digest_request
from envbuild.spec.curated import find_curated
from envbuild.spec.load import load_curated, load_spec, parse_spec
from envbuild.spec.merge import find_conflicts, find_name, merge_tables
from tests.spec.golden import VALID, parse_file

PACKAGES = st.sampled_from(["numpy", "NumPy>=2", "httpx", "httpx; os_name == 'nt'", "acme", "git"])
LISTS = st.lists(PACKAGES, max_size=4, unique=True)
WITHOUT = st.lists(st.sampled_from(["numpy", "httpx", "git"]), max_size=2, unique=True)
TEXTS = st.text(max_size=3)


def tables(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


SPECS = tables(
    description=TEXTS,
    extends=TEXTS,
    python=TEXTS,
    platforms=st.lists(TEXTS, max_size=2),
    conda=tables(dependencies=LISTS, channels=st.lists(TEXTS, max_size=2), without=WITHOUT),
    pip=tables(dependencies=LISTS, constraints=LISTS, resolver=TEXTS, without=WITHOUT),
    system=tables(packages=LISTS, without=WITHOUT),
    image=tables(base=TEXTS, dockerfile=TEXTS, context=TEXTS, user=TEXTS),
    env=st.dictionaries(TEXTS, TEXTS, max_size=2),
    smoke=st.fixed_dictionaries(
        {}, optional={"entry-script": TEXTS, "command": st.lists(TEXTS), "port": st.integers()}
    ),
    platform=st.dictionaries(
        st.sampled_from(["linux-64", "osx-64"]), tables(pip=tables(dependencies=LISTS)), max_size=2
    ),
)


@given(SPECS, SPECS, SPECS)
def test_only_the_order_of_a_chain_counts(one: Any, two: Any, three: Any) -> None:
    left = merge_tables(merge_tables(one, two), three)
    assert left == merge_tables(one, merge_tables(two, three))


@given(SPECS)
def test_extending_with_nothing_changes_nothing(table: Any) -> None:
    own = {key: table[key] for key in table if key not in ("description", "extends")}
    assert merge_tables(table, {}) == own
    assert merge_tables({}, table) == table


@given(SPECS, SPECS)
def test_child_wins(parent: Any, child: Any) -> None:
    merged: Any = merge_tables(parent, child)
    for key in ("python", "platforms", "description"):
        if key in child:
            assert merged[key] == child[key]
    for key in child.get("pip", {}).get("dependencies", []):
        assert key in merged["pip"]["dependencies"]
    assert list(find_conflicts(parent, child)) == []


@given(SPECS, SPECS)
def test_of_a_package_only_the_entries_of_one_file_stay(parent: Any, child: Any) -> None:
    merged: Any = merge_tables(parent, child)
    own = child.get("pip", {}).get("dependencies", [])
    names = {find_name("pip", item) for item in own}
    for item in merged.get("pip", {}).get("dependencies", []):
        assert item in own or find_name("pip", item) not in names


@given(SPECS, SPECS)
def test_what_excludes_each_other_is_not_mixed(parent: Any, child: Any) -> None:
    merged: Any = merge_tables(parent, child)
    for table, keys in (("image", {"base", "dockerfile"}), ("smoke", {"entry-script", "command"})):
        if chosen := keys & child.get(table, {}).keys():
            assert keys & merged[table].keys() == chosen


def test_sources_of_the_child_replace_the_parents() -> None:
    one = [{"path": "a", "target": "/srv/a"}]
    other = [{"path": "b", "target": "/srv/b"}]
    parent = {"image": {"user": "nonroot", "source": one}}
    assert merge_tables(parent, {"image": {"source": other}})["image"] == {
        "user": "nonroot",
        "source": other,
    }
    assert merge_tables(parent, {"image": {"user": "root"}})["image"] == {
        "user": "root",
        "source": one,
    }
    assert merge_tables(parent, {"image": {"source": []}})["image"] == {
        "user": "nonroot",
        "source": [],
    }


def test_example_is_merged_as_the_rules_say() -> None:
    spec = parse_file(VALID / "extends-sibling.toml")
    assert spec.conda is not None
    assert spec.conda.channels == ("conda-forge", "bioconda")
    assert spec.conda.dependencies == ("numpy 2.*",)
    assert spec.pip.dependencies == ("httpx>=0.27", "acme-tools>=2")
    assert spec.system.packages == ("git", "libgomp1")
    assert (spec.image.base, spec.image.dockerfile) == ("debian:bookworm", None)
    assert spec.image.build_args == {}
    assert spec.image.labels == {"team": "vision", "stage": "live"}
    assert spec.train is not None
    assert (spec.train.script, spec.train.arguments) == ("train.py", ())
    assert spec.smoke is not None
    assert spec.smoke.entry_script is None


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs/base.toml").write_text('python = "3.11.*"\n[pip]\ndependencies = ["httpx"]\n')
    (tmp_path / "envs/cpu.toml").write_text('extends = "base"\n')
    return tmp_path


def test_change_of_a_parent_is_a_change_of_the_request(root: Path) -> None:
    before = digest_request(load_spec(root / "envs/cpu.toml"))
    (root / "envs/base.toml").write_text('python = "3.11.*"\n[pip]\ndependencies = ["httpx>=1"]\n')
    after = digest_request(load_spec(root / "envs/cpu.toml"))
    assert [key for key in before if before[key] != after[key]] == ["pip"]


def test_defaults_hold_for_every_environment(root: Path) -> None:
    (root / "pyproject.toml").write_text(
        '[tool.envbuild.defaults]\npython = "3.11.5"\nplatforms = ["linux-aarch64"]\nconda = {}\n'
    )
    (root / "envs/bare.toml").write_text('description = "All of it is in the defaults"\n')
    assert load_spec(root / "envs/bare.toml").python == "3.11.5"
    spec = load_spec(root / "envs/cpu.toml")
    assert (spec.python, spec.platforms) == ("3.11.*", ("linux-aarch64",))
    assert load_curated("envbuild-minimal", root=root).platforms == ("linux-64", "linux-aarch64")


def test_problem_is_told_with_the_file_and_line_that_have_it(root: Path) -> None:
    (root / "pyproject.toml").write_text("[tool.envbuild.defaults.image]\n\nuser = 'a b'\n")
    with pytest.raises(SpecError) as caught:
        load_spec(root / "envs/cpu.toml")
    assert [(p.file, p.key, p.line) for p in caught.value.problems] == [
        ("pyproject.toml", "tool.envbuild.defaults.image.user", 3)
    ]


def test_wrong_syntax_of_a_parent_names_the_parent(root: Path) -> None:
    (root / "envs/base.toml").write_text("python = \n")
    with pytest.raises(SpecError) as caught:
        load_spec(root / "envs/cpu.toml")
    assert caught.value.code == "spec.syntax"
    assert "`envs/base.toml`" in caught.value.message


LINES = [b'extends = "a"', b'extends = "b"', b"extends = 1", b"pip = 3", b"[pip]"]
FILES = st.binary(max_size=30) | st.sampled_from(LINES)


@given(st.dictionaries(st.sampled_from(["base", "a", "b"]), FILES))
def test_any_files_make_a_purposeful_error(files: dict[str, bytes]) -> None:
    """None of them says which Python, so there is always one."""

    def find(place: str) -> bytes | None:
        return files.get(place.removeprefix("envs/").removesuffix(".toml"))

    with pytest.raises(SpecError, match=r"\[spec\."):
        parse_spec(b'extends = "base"', where="envs/x.toml", find=find)


@pytest.mark.parametrize("name", find_curated())
def test_curated_environment_is_a_whole_one(name: str, tmp_path: Path) -> None:
    spec = load_curated(name, root=tmp_path)
    assert spec.description
    assert spec.python
