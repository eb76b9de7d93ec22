"""What is locked is the closure of what was asked for, and nothing that only scripts need."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.errors import LockError
from envbuild.lock.debian import ESSENTIAL, plan_debian
from envbuild.lock.debian_index import PackageIndex

WHERE = "bookworm (amd64)"


def _stanza(name: str, version: str = "1.0", **fields: str) -> str:
    digest = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    lines = {"Package": name, "Version": version, "Architecture": "amd64", "SHA256": digest.upper()}
    lines |= {"Filename": f"pool/{name}_{version}_amd64.deb", "Size": "1000"}
    lines |= {key.replace("_", "-"): value for key, value in fields.items()}
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


class _World:
    """Writes `Packages` files and asks for closures."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def index(self, *files: list[str]) -> PackageIndex:
        paths = [self.folder / f"Packages.{number}" for number in range(len(files))]
        for path, stanzas in zip(paths, files, strict=True):
            path.write_text("\n".join(stanzas))
        return PackageIndex(paths)

    def plan(self, names: str, *stanzas: str) -> str:
        found = plan_debian(self.index(list(stanzas)), names.split(), where=WHERE)
        return " ".join(package.name for package in found)

    def refuse(self, names: str, *stanzas: str) -> LockError:
        with pytest.raises(LockError) as caught:
            self.plan(names, *stanzas)
        return caught.value


@pytest.fixture
def world(tmp_path: Path) -> _World:
    return _World(tmp_path)


def test_the_closure_goes_over_depends_and_pre_depends_only(world: _World) -> None:
    assert (
        world.plan(
            "a",
            _stanza("a", Depends="b", Pre_Depends="c", Recommends="r", Suggests="s"),
            _stanza("b", Depends="d (>= 1)"),
            *map(_stanza, "cdrs"),
        )
        == "a b c d"
    )


def test_a_circle_of_dependencies_ends(world: _World) -> None:
    assert world.plan("a", _stanza("a", Depends="b"), _stanza("b", Depends="a")) == "a b"


def test_what_is_locked_is_what_the_index_says(world: _World) -> None:
    (package,) = plan_debian(world.index([_stanza("a", "2:1.0-1")]), ["a"], where=WHERE)
    assert (package.name, package.version, package.architecture) == ("a", "2:1.0-1", "amd64")
    assert package.sha256 == hashlib.sha256(b"a 2:1.0-1").hexdigest()
    assert (package.path, package.size) == ("pool/a_2:1.0-1_amd64.deb", 1000)


def test_the_first_alternative_that_can_be_had_is_taken(world: _World) -> None:
    others = [_stanza("b", "1.0"), _stanza("c"), _stanza("d")]
    assert world.plan("a", _stanza("a", Depends="x | b (>= 2) | c | d"), *others) == "a c"


def test_an_alternative_that_was_asked_for_is_preferred(world: _World) -> None:
    stanzas = [_stanza("z", Depends="b | c"), _stanza("b"), _stanza("c")]
    assert world.plan("z", *stanzas) == "b z"
    assert world.plan("c z", *stanzas) == "c z"


def test_a_virtual_package_is_met_by_its_provider(world: _World) -> None:
    assert world.plan("a", _stanza("a", Depends="v"), _stanza("b", Provides="w, v")) == "a b"


def test_the_provider_of_better_priority_is_taken(world: _World) -> None:
    one, two = _stanza("m", Provides="v", Priority="optional"), _stanza("n", Provides="v")
    assert world.plan("a", _stanza("a", Depends="v"), one, two) == "a m"
    two = _stanza("n", Provides="v", Priority="required")
    assert world.plan("a", _stanza("a", Depends="v"), one, two) == "a n"


def test_a_provider_that_was_asked_for_is_preferred(world: _World) -> None:
    one, two = _stanza("m", Provides="v"), _stanza("n", Provides="v")
    assert world.plan("a n", _stanza("a", Depends="v"), one, two) == "a n"


def test_a_version_wish_is_met_by_versioned_providers_only(world: _World) -> None:
    bare, low, high = (
        _stanza("b", Provides="v"),
        _stanza("c", Provides="v (= 1.0)"),
        _stanza("d", Provides="v (= 2.0)"),
    )
    assert world.plan("a", _stanza("a", Depends="v (>= 1.5)"), bare, low, high) == "a d"
    error = world.refuse("a", _stanza("a", Depends="v (>= 1.5)"), bare, low)
    assert error.code == "lock.debian-unsatisfiable"


def test_the_highest_version_of_all_archives_wins(world: _World) -> None:
    index = world.index(
        [_stanza("a", "1.0-1"), _stanza("b", "1.0-1+deb12u9")],
        [_stanza("a", "1.0-1+deb12u1"), _stanza("b", "1.0-1")],
    )
    found = plan_debian(index, ["a", "b"], where=WHERE)
    assert [package.version for package in found] == ["1.0-1+deb12u1", "1.0-1+deb12u9"]


def test_an_outdated_provider_does_not_provide(world: _World) -> None:
    index = world.index([_stanza("a", Depends="v"), _stanza("b", "1", Provides="v")],
                        [_stanza("b", "2")])  # fmt: skip
    with pytest.raises(LockError, match="needs `v`"):
        plan_debian(index, ["a"], where=WHERE)


def test_qualifiers_of_this_architecture_are_met_and_others_not(world: _World) -> None:
    stanza = _stanza("a", Depends="b:any, c:amd64, d:native")
    assert world.plan("a", stanza, *map(_stanza, "bcd")) == "a b c d"
    error = world.refuse("a", _stanza("a", Depends="b:i386"), _stanza("b"))
    assert error.code == "lock.debian-unsatisfiable"


def test_what_only_scripts_need_is_left_out(world: _World) -> None:
    stanzas = [
        _stanza("a", Depends="debconf (>= 0.5) | debconf-2.0, dpkg (>= 1.15) | install-info, b"),
        _stanza("b", Depends="openssl"),
        _stanza("ca-certificates", Depends="openssl (>= 1.1.1), debconf"),
        *map(_stanza, ("debconf", "dpkg", "openssl")),
    ]
    assert world.plan("a", *stanzas) == "a b openssl"
    assert world.plan("ca-certificates", *stanzas) == "ca-certificates"
    assert world.plan("a dpkg", *stanzas) == "a b dpkg openssl"


def test_packages_that_conflict_are_refused(world: _World) -> None:
    error = world.refuse("a b", _stanza("a", Conflicts="b (<< 2)"), _stanza("b"))
    assert error.code == "lock.debian-conflict"
    assert "`a` can't be installed together with `b`" in error.message
    assert world.plan("a b", _stanza("a", Breaks="b (<< 1)"), _stanza("b")) == "a b"


def test_a_package_may_conflict_with_what_it_provides_itself(world: _World) -> None:
    assert world.plan("a", _stanza("a", Provides="v", Conflicts="v")) == "a"
    error = world.refuse(
        "a b", _stanza("a", Provides="v", Conflicts="v"), _stanza("b", Provides="v")
    )
    assert error.code == "lock.debian-conflict"


def test_unknown_packages_are_named_all_at_once_with_near_names(world: _World) -> None:
    error = world.refuse("libgomp2 nothing-like-it", _stanza("libgomp1"), _stanza("libgmp10"))
    assert error.code == "lock.debian-unknown"
    assert "`libgomp2`, `nothing-like-it` are no packages" in error.message
    assert "for `libgomp2`, did you mean `libgomp1`" in (error.hint or "")


def test_an_unknown_python_is_told_which_ones_there_are(world: _World) -> None:
    stanzas = map(_stanza, ("python3.9", "python3.11", "python3.11-venv", "python3"))
    error = world.refuse("python3.12", *stanzas)
    assert error.code == "lock.debian-unknown"
    assert "has `python3.9`, `python3.11` only" in (error.hint or "")


def test_a_virtual_name_is_taken_only_if_it_means_one_package(world: _World) -> None:
    one, two = _stanza("m", Provides="v"), _stanza("n", Provides="v")
    assert world.plan("v", one) == "m"
    error = world.refuse("v", one, two)
    assert error.code == "lock.debian-ambiguous"
    assert "`m`, `n`" in (error.hint or "")


def test_what_can_not_be_had_is_explained(world: _World) -> None:
    error = world.refuse("a", _stanza("a", Depends="b (>= 2) | x"), _stanza("b", "1.5"))
    assert error.code == "lock.debian-unsatisfiable"
    assert "`a` 1.0 needs `b (>= 2) | x`" in error.message
    assert "has `b` 1.5" in error.message


def test_an_empty_index_is_no_accident(world: _World) -> None:
    assert list(world.index([]).names()) == []


NAMES = "abcdef"


@st.composite
def _worlds(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Stanzas of random packages, and names to ask for."""
    stanzas = []
    for name in NAMES:
        groups = draw(
            st.lists(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3), max_size=3)
        )
        provides = draw(st.lists(st.sampled_from("uv"), max_size=1))
        fields = {"Depends": ", ".join(" | ".join(group) for group in groups)}
        fields |= {"Provides": ", ".join(provides)} if provides else {}
        stanzas.append(_stanza(name, **fields))
    return stanzas, draw(st.lists(st.sampled_from(NAMES), min_size=1))


@given(world=_worlds(), data=st.data())
def test_the_closure_is_closed_and_does_not_depend_on_order(
    world: tuple[list[str], list[str]],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    stanzas, names = world
    index = _World(tmp_path_factory.mktemp("w")).index(stanzas)
    found = plan_debian(index, names, where=WHERE)
    chosen = [package.name for package in found]
    assert chosen == sorted(chosen)
    assert set(names) <= set(chosen)
    for name in chosen:
        candidate = index.find(name)
        assert candidate is not None
        assert all({r.name for r in group} & set(chosen) for group in candidate.needs)
    mixed = _World(tmp_path_factory.mktemp("w")).index(data.draw(st.permutations(stanzas)))
    assert plan_debian(mixed, data.draw(st.permutations(names)), where=WHERE) == found


def test_where_apt_is_wanted_the_system_is_whole(world: _World) -> None:
    # apt takes for granted what is essential, and packages that it installs run their scripts.
    stanzas = [
        _stanza("a", Depends="debconf"),
        _stanza("apt", Depends="adduser"),
        *map(_stanza, ("adduser", "debconf", "dpkg", "perl-base", "extra")),
    ]
    assert world.plan("a", *stanzas) == "a"
    assert world.plan("a apt", *stanzas) == "a adduser apt debconf dpkg perl-base"
    assert {"dpkg", "perl-base"} <= set(ESSENTIAL)
