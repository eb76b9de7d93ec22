"""Edits of a spec's text change what they say they change, and nothing else."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from dataclasses import replace
from difflib import ndiff
from pathlib import Path
from typing import Any

import pytest
import tomli
import tomlkit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envbuild.errors import SpecError
from envbuild.spec.edit import (
    MANAGERS,
    Manager,
    add_requirement,
    find_name,
    find_requirements,
    list_key,
    remove_requirement,
)
from envbuild.spec.keys import KeyPath
from envbuild.spec.load import parse_spec
from envbuild.spec.model import (
    Conda,
    EnvSpec,
    PlatformConda,
    PlatformExtra,
    PlatformPip,
    PlatformSystem,
)
from envbuild.spec.shapes import find_record
from envbuild.spec.toml_edit import find_missing
from envbuild.spec.toml_list import add_item, remove_item, replace_item
from tests.spec.golden import VALID
from tests.spec.strategies import right_tables

WHERE = "envs/x.toml"
ENVIRONMENTS = Path(__file__).parents[2] / "envs"
PLACED = {"conda": "polars >=2", "pip": "polars>=2", "system": "libpolars2"}


def add(text: str, requirement: str, manager: Manager = "pip", platform: str | None = None) -> str:
    return add_requirement(
        text.encode(), requirement, manager, platform=platform, where=WHERE
    ).decode()


def remove(
    text: str,
    name: str,
    manager: Manager = "pip",
    platform: str | None = None,
    made: Collection[KeyPath] = (),
) -> str:
    return remove_requirement(
        text.encode(), name, manager, platform=platform, made=made, where=WHERE
    ).decode()


def find_made(before: str, manager: Manager = "pip", platform: str | None = None) -> set[KeyPath]:
    """Return the tables and the list that an addition makes."""
    table = tomli.loads(before.removeprefix("\ufeff"))
    return find_missing(table, list_key(manager, platform))


# Each is the text, what is added to pip, and the text then.
ADDED = {
    "one-line": ('[pip]\ndependencies = ["a"]  # c\n', '[pip]\ndependencies = ["a", "new"]  # c\n'),
    "last-comma": ('[pip]\ndependencies = [ "a", ]\n', '[pip]\ndependencies = [ "a", "new", ]\n'),
    "quotes": ("pip.dependencies = ['a']\n", "pip.dependencies = ['a', 'new']\n"),
    "empty": ("[pip]\ndependencies = []\n", '[pip]\ndependencies = ["new"]\n'),
    "empty-lines": (
        "[pip]\ndependencies = [\n    # nothing yet\n]\n",
        '[pip]\ndependencies = [\n    # nothing yet\n    "new",\n]\n',
    ),
    "lines": (
        '[pip]\ndependencies = [\n\t"a",  # one\n\t# two\n\t"b"  # three\n]  # four\n',
        '[pip]\ndependencies = [\n\t"a",  # one\n\t# two\n\t"b",  # three\n\t"new"\n]  # four\n',
    ),
    "comma-first": (
        '[pip]\ndependencies = [\n    "a"\n  , "b" # c\n  ]\n',
        '[pip]\ndependencies = [\n    "a"\n  , "b" # c\n  , "new"\n  ]\n',
    ),
    "inline": ('pip = {dependencies = ["a"]} # c\n', 'pip = {dependencies = ["a", "new"]} # c\n'),
    "no-table": ('python = "3.11.*"', 'python = "3.11.*"\n\n[pip]\ndependencies = ["new"]\n'),
    "no-list": (
        '[pip]\nindex-url = "u"  # c\n\n# of the image\n[image]\n',
        '[pip]\nindex-url = "u"  # c\ndependencies = ["new"]\n\n# of the image\n[image]\n',
    ),
    "inline-no-list": (
        'pip = {index-url = "u"} # c\n',
        'pip = {index-url = "u", dependencies = ["new"]} # c\n',
    ),
    "apart": (
        '[pip.x]\ny = 1\n[image]\n[pip]\ndependencies = ["a"]\n',
        '[pip.x]\ny = 1\n[image]\n[pip]\ndependencies = ["a", "new"]\n',
    ),
    "crlf": (
        '# c\r\n[pip]\r\ndependencies = [\r\n  "a", # b\r\n]\r\n',
        '# c\r\n[pip]\r\ndependencies = [\r\n  "a", # b\r\n  "new",\r\n]\r\n',
    ),
    "some-crlf": (
        '# c\n[pip]\r\ndependencies = ["a"]\r\n',
        '# c\n[pip]\r\ndependencies = ["a", "new"]\r\n',
    ),
    "mark": ("\ufeff[pip]\ndependencies = []\n", '\ufeff[pip]\ndependencies = ["new"]\n'),
    "in-place": (
        '[pip]\ndependencies = [\n  "NEW<2",  # why\n  "b",\n]\n',
        '[pip]\ndependencies = [\n  "new",  # why\n  "b",\n]\n',
    ),
    "several": (
        '[pip]\ndependencies = ["New<2; os_name == \'nt\'", "b", "new; os_name != \'nt\'"]\n',
        '[pip]\ndependencies = ["new", "b"]\n',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ADDED)
def test_added_where_a_person_would_have(case: str) -> None:
    before, after = ADDED[case]
    assert add(before, "new") == after
    assert add(after, "new") == after


REMOVED = {
    "line-and-its-comment": (
        '[pip]\ndependencies = [\n  "a",  # one\n  # two\n  "new",  # gone\n  "b",\n]\n',
        '[pip]\ndependencies = [\n  "a",  # one\n  # two\n  "b",\n]\n',
    ),
    "last-line": (
        '[pip]\ndependencies = [\n  "a",  # one\n  "new"\n]\n',
        '[pip]\ndependencies = [\n  "a"  # one\n]\n',
    ),
    "only": ('[pip]\ndependencies = [ "new", ] # c\n', "[pip]\ndependencies = [] # c\n"),
    "first": ('[pip]\ndependencies = ["new", "b"]\n', '[pip]\ndependencies = ["b"]\n'),
    "last": ('[pip]\ndependencies = ["a", "new"]\n', '[pip]\ndependencies = ["a"]\n'),
    "comma-first": (
        '[pip]\ndependencies = [\n    "a"\n  , "new" # c\n  , "b"\n  ]\n',
        '[pip]\ndependencies = [\n    "a"\n  , "b"\n  ]\n',
    ),
    "absent": ('pip = { dependencies = ["a"] }\n', 'pip = { dependencies = ["a"] }\n'),
    "no-table": ("[image]\n", "[image]\n"),
}


# Each is the text, what is added to pip for `linux-64`, and the text then.
ADDED_FOR_ONE = {
    "no-table": (
        'python = "3.11.*"\n\n[image]\nbase = "scratch" # c\n',
        ('python = "3.11.*"\n\n[image]\nbase = "scratch" # c\n\n'
        '[platform.linux-64.pip]\ndependencies = ["new"]\n'),
    ),
    "beside-another": (
        '[platform.linux-64.conda] # c\ndependencies = ["a"]\n[image]\n',
        ('[platform.linux-64.conda] # c\ndependencies = ["a"]\n[image]\n\n'
        '[platform.linux-64.pip]\ndependencies = ["new"]\n'),
    ),
    "lines": (
        '[platform.linux-64.pip]\ndependencies = [\n  "a", # b\n]\n[platform.osx-64.pip]\n',
        ('[platform.linux-64.pip]\ndependencies = [\n  "a", # b\n  "new",\n]\n'
        "[platform.osx-64.pip]\n"),
    ),
    "dotted": (
        "[platform.linux-64]\npip.dependencies = ['a'] # c\n\n# d\n[image]\n",
        "[platform.linux-64]\npip.dependencies = ['a', 'new'] # c\n\n# d\n[image]\n",
    ),
    "dotted-another": (
        '[platform]\nlinux-64.conda.dependencies = ["a"]\n',
        ('[platform]\nlinux-64.conda.dependencies = ["a"]\n\n'
        '[platform.linux-64.pip]\ndependencies = ["new"]\n'),
    ),
    "inline": (
        'platform = {linux-64 = {conda = {dependencies = ["a"]}}} # c\n',
        ('platform = {linux-64 = {conda = {dependencies = ["a"]}, '
        'pip = {dependencies = ["new"]}}} # c\n'),
    ),
    "inline-another": (
        '[platform]\nosx-64 = { pip = { dependencies = ["a"] } }\n',
        ('[platform]\nosx-64 = { pip = { dependencies = ["a"] } }\n\n'
        '[platform.linux-64.pip]\ndependencies = ["new"]\n'),
    ),
    "apart": (
        ('[platform.linux-64.system]\npackages = ["a"]\n[image]\n'
        '[platform.linux-64.pip]\ndependencies = ["a"]\n'),
        ('[platform.linux-64.system]\npackages = ["a"]\n[image]\n'
        '[platform.linux-64.pip]\ndependencies = ["a", "new"]\n'),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ADDED_FOR_ONE)
def test_added_for_one_platform_and_taken_away_again(case: str) -> None:
    before, after = ADDED_FOR_ONE[case]
    assert add(before, "new", platform="linux-64") == after
    made = find_made(before, platform="linux-64")
    assert remove(after, "new", platform="linux-64", made=made) == before
    assert remove(after, "new", platform="osx-arm64", made=made) == after


@pytest.mark.parametrize("case", sorted(ADDED.keys() - {"in-place", "several"}))
def test_what_was_made_is_taken_away_again(case: str) -> None:
    before, after = ADDED[case]
    made = find_made(before)
    expected = before if before.endswith("\n") else before + "\n"
    assert remove(after, "new", made=made) == expected
    if made:
        assert tomli.loads(remove(after, "new").removeprefix("\ufeff"))["pip"]["dependencies"] == []


@pytest.mark.parametrize(
    "text",
    [
        '[pip] # mine\ndependencies = ["new"]\n',
        '[pip]\ndependencies = ["new"] # mine\n',
        '[pip]\n# mine\ndependencies = ["new"]\n',
        '[pip]\ndependencies = ["new"]\n# mine\n',
        '[pip]\ndependencies = [\n  # mine\n  "new",\n]\n',
    ],
)
def test_what_somebody_wrote_a_comment_to_stays(text: str) -> None:
    left = remove(text, "new", made={("pip",), ("pip", "dependencies")})
    assert "mine" in left
    assert tomli.loads(left) == {"pip": {"dependencies": []}}


def test_only_what_was_made_goes() -> None:
    text = '[pip]\ndependencies = ["new"]\nindex-url = "u"\n'
    every = {("pip",), ("pip", "dependencies")}
    assert remove(text, "new", made=every) == '[pip]\nindex-url = "u"\n'
    own = '[pip]\ndependencies = ["new"]\n\n[image]\n'
    assert remove(own, "new", made={("pip", "dependencies")}) == "[pip]\n\n[image]\n"
    assert remove(own, "new", made=every) == "\n[image]\n"
    assert remove(own, "new", made={("pip",)}) == own.replace('"new"', "")
    assert remove('[pip]\ndependencies = ["new", "b"]\n', "new", made=every).count("b") == 1
    dotted = 'pip.index-url = "u"\npip.dependencies = ["new"]\n'
    assert remove(dotted, "new", made=every) == 'pip.index-url = "u"\n'


@pytest.mark.parametrize("case", REMOVED)
def test_removed_with_its_comment(case: str) -> None:
    before, after = REMOVED[case]
    assert remove(before, "New") == after


@pytest.mark.parametrize(
    ("manager", "text", "name"),
    [
        ("pip", "Scikit_Learn>=1", "scikit-learn"),
        ("pip", "scikit-learn[all]", "SCIKIT.LEARN"),
        ("pip", "acme @ git+https://example.com/a.git@main", "Acme"),
        ("pip", "./wheels/acme_tools-1.0-py3-none-any.whl", "acme-tools"),
        ("conda", "conda-forge::Scikit-Learn >=1", "scikit_learn"),
        ("conda", "pytorch[version='>=2']", "PyTorch"),
        ("system", "libgomp1", "LibGomp1"),
    ],
)
def test_removed_by_any_spelling(manager: Manager, text: str, name: str) -> None:
    assert find_requirements(["other", text], manager, name) == [1]


def test_condas_own_spelling_goes_first() -> None:
    assert find_requirements(["a-b", "a_b"], "conda", "a_b") == [1]
    assert find_requirements(["a-b"], "conda", "a_b") == [0]


def test_other_machines_requirements_stay() -> None:
    text = "[pip]\ndependencies = [\"a<2; os_name == 'nt'\"]\n"
    both = add(text, "a; os_name != 'nt'")
    assert tomli.loads(both)["pip"]["dependencies"] == [
        "a<2; os_name == 'nt'",
        "a; os_name != 'nt'",
    ]
    again = tomli.loads(add(both, 'a<3; os_name=="nt"'))["pip"]["dependencies"]
    assert again == ['a<3; os_name=="nt"', "a; os_name != 'nt'"]
    wheels = '[pip]\ndependencies = ["./w/a-1-cp311-cp311-linux_x86_64.whl"]\n'
    arm = add(wheels, "./w/a-1-cp311-cp311-linux_aarch64.whl")
    newer = add(arm, "./w/a-2-cp311-cp311-linux_x86_64.whl")
    assert tomli.loads(newer)["pip"]["dependencies"] == [
        "./w/a-2-cp311-cp311-linux_x86_64.whl", "./w/a-1-cp311-cp311-linux_aarch64.whl"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("manager", "requirement"), [("pip", "numpy >> 2"), ("conda", "numpy; x"), ("system", "git=1")]
)
def test_what_is_no_requirement_is_refused(manager: Manager, requirement: str) -> None:
    with pytest.raises(SpecError) as caught:
        add("", requirement, manager)
    assert caught.value.code == "spec.requirement"


@pytest.mark.parametrize("text", ["pip = 3\n", "[pip]\ndependencies = [3]\n", "[[pip]]\n"])
def test_what_has_no_list_of_texts_is_left_alone(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        add(text, "new")
    assert caught.value.code == "spec.layout"


BLANKS = st.sampled_from(["", " ", "\n", "  \n    ", ' # zz, "x" ]\n  ', "\n# zz\n\t", "\r\n"])
STRINGS = st.sampled_from(['"a"', "'b'", '"a # b"', '"\\"]"', '"""c\nd"""', "'''e'''", '"é,"'])


@st.composite
def lists(draw: st.DrawFn) -> str:
    """Any valid text of a list of strings."""
    items = draw(st.lists(STRINGS, max_size=4))
    text = "["
    for n, item in enumerate(items):
        text += draw(BLANKS) + item + draw(BLANKS)
        text += "," if n + 1 < len(items) or draw(st.booleans()) else ""
    return text + draw(BLANKS) + "]"


def load(text: str) -> list[str]:
    return list(tomli.loads(f"x = {text}")["x"])


def comments(text: str) -> int:
    return text.count("zz")


@given(
    text=lists(), index=st.integers(0, 3), value=st.sampled_from(["new", "it's", 'say "x"', "\x7f"])
)
@settings(max_examples=300, deadline=None)
def test_any_layout_of_a_list(text: str, index: int, value: str) -> None:
    before = load(text)
    added = add_item(text, value)
    assert load(added) == [*before, value]
    assert comments(added) == comments(text)
    if index >= len(before):
        return
    other = replace_item(text, index, value)
    assert load(other) == [*before[:index], value, *before[index + 1 :]]
    assert comments(other) == comments(text)
    gone = remove_item(text, index)
    assert load(gone) == [*before[:index], *before[index + 1 :]]
    assert comments(gone) >= comments(text) - 2  # at most its own line's
    assert load(remove_item(added, len(before))) == before


@given(
    table=right_tables(find_record(EnvSpec)),
    manager=st.sampled_from(MANAGERS),
    platform=st.sampled_from([None, "linux-64", "osx-arm64"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_spec(
    table: dict[str, Any], manager: Manager, platform: str | None, newline: str
) -> None:
    text = "# first\n" + tomlkit.dumps(table).replace("\r", "") + "# last\n"
    text = text.replace("\n", newline)
    before = tomli.loads(text)
    requirement = PLACED[manager]
    after = add(text, requirement, manager, platform)
    wanted = deepcopy(before)
    *owners, key = (str(part) for part in list_key(manager, platform))
    owner = wanted
    for part in owners:
        owner = owner.setdefault(part, {})
    texts = owner.setdefault(key, [])
    new = not find_requirements(texts, manager, requirement)
    if new:
        texts.append(requirement)
        assert tomli.loads(after) == wanted
    assert after.startswith("# first")
    assert "# last" in after
    assert ("\r\n" in after) == (newline == "\r\n")
    if not new:
        return
    check_spec(text, after, manager, platform)
    name = "libpolars2" if manager == "system" else "Polars"
    texts.pop()
    assert tomli.loads(remove(after, name, manager, platform)) == wanted
    back = remove(after, name, manager, platform, find_made(text, manager, platform))
    assert tomli.loads(back) == before
    # The header of a table that there was only by its own tables has been written, and stays.
    assert back in (text, text.replace(f"[{manager}.", f"[{manager}]{newline * 2}[{manager}.", 1))


def check_spec(before: str, after: str, manager: Manager, platform: str | None = None) -> None:
    """Read both as specs, if they are any, and compare what they say."""
    try:
        old, new = (parse_spec(text.encode(), where=WHERE) for text in (before, after))
    except SpecError:
        return
    requirement = PLACED[manager]
    if platform is not None:
        extra = old.platform.get(platform, PlatformExtra())
        more: dict[Manager, dict[str, Any]] = {
            "conda": {
                "conda": PlatformConda(dependencies=(*extra.conda.dependencies, requirement))
            },
            "pip": {"pip": PlatformPip(dependencies=(*extra.pip.dependencies, requirement))},
            "system": {"system": PlatformSystem(packages=(*extra.system.packages, requirement))},
        }
        changed = {**old.platform, platform: replace(extra, **more[manager])}
        assert new == replace(old, platform=changed)
        return
    conda = old.conda or Conda()
    expected: dict[Manager, dict[str, Any]] = {
        "conda": {"conda": replace(conda, dependencies=(*conda.dependencies, requirement))},
        "pip": {"pip": replace(old.pip, dependencies=(*old.pip.dependencies, requirement))},
        "system": {"system": replace(old.system, packages=(*old.system.packages, requirement))},
    }
    assert new == replace(old, **expected[manager])


WRITTEN = [*sorted(VALID.glob("*.toml")), *sorted(ENVIRONMENTS.glob("*.toml"))]


@pytest.mark.parametrize("platform", [None, "linux-64"])
@pytest.mark.parametrize("manager", MANAGERS)
@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_every_spec_that_somebody_wrote(path: Path, manager: Manager, platform: str | None) -> None:
    before = path.read_bytes().decode()
    after = add(before, PLACED[manager], manager, platform)
    if after == before:
        return
    check_spec(before, after, manager, platform)
    changed = [line for line in ndiff(before.splitlines(), after.splitlines()) if line[0] == "-"]
    assert len(changed) <= 1  # the line that now has a comma, or one string more
    name = find_name(manager, PLACED[manager])
    assert remove(after, name, manager, platform, find_made(before, manager, platform)) == before
