"""The table after a lock: what was added, removed and moved, each change once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from envbuild.lock.changes import CHANGE_COLUMNS, Change, diff_locks, render_changes
from envbuild.lock.model import Artifact, Lock, PlatformLock
from tests.rig.locks import BASE, conda, debian, locks, make_lock, make_platform, sha, wheel

EMPTY = make_platform(conda=(), wheels=(), debian=())


def _lock(*artifacts: Artifact, platform: str = "linux-64") -> PlatformLock:
    kinds = {"CondaPackage": "conda", "Wheel": "wheels", "DebianPackage": "debian"}
    lock = replace(EMPTY, platform=platform)
    for artifact in artifacts:
        field = kinds[type(artifact).__name__]
        more: dict[str, Any] = {field: (*getattr(lock, field), artifact)}
        lock = replace(lock, **more)
    return lock


def _diff(old: PlatformLock | None, new: PlatformLock) -> list[tuple[str, ...]]:
    def whole(part: PlatformLock) -> Lock:
        return make_lock(platforms={part.platform: part})

    changes = diff_locks(whole(old) if old else None, whole(new))
    return [(c.manager, c.name, c.kind, c.old, c.new) for c in changes]


@given(locks)
def test_a_lock_has_no_changes_against_itself(lock: Lock) -> None:
    assert diff_locks(lock, lock) == ()


@given(locks, locks)
def test_no_change_means_the_same_archives(old: Lock, new: Lock) -> None:
    changes = diff_locks(old, new)
    for name in {*old.platforms, *new.platforms}:
        if not any(name in change.platforms for change in changes):
            before, after = old.platforms.get(name), new.platforms.get(name)
            hashes = [
                sorted({a.sha256 for a in lock.artifacts} if lock else ())
                for lock in (before, after)
            ]
            assert hashes[0] == hashes[1]


def test_a_first_lock_adds_everything() -> None:
    assert _diff(None, _lock(debian("git"), conda("numpy", "2.1"), wheel("rich", "13.9"))) == [
        ("conda", "numpy", "added", "", "2.1"),
        ("pip", "rich", "added", "", "13.9"),
        ("debian", "git", "added", "", "1.0-1"),
    ]


def test_what_is_gone_is_removed() -> None:
    assert _diff(_lock(wheel("rich"), wheel("httpx")), _lock(wheel("rich"))) == [
        ("pip", "httpx", "removed", "1.0", "")
    ]


@pytest.mark.parametrize(
    ("make", "old", "new", "kind"),
    [
        (wheel, "1.9", "1.10", "upgraded"),
        (wheel, "2.0", "2.0rc1", "downgraded"),
        (wheel, "1.0", "1.0.0", "rebuilt"),
        (conda, "2.1.3", "2.2.0", "upgraded"),
        (conda, "2024a", "2025b", "upgraded"),
        (conda, "1.1.1w", "3.0.0", "changed"),
        (debian, "2.36-9+deb12u9", "2.36-9+deb12u10", "upgraded"),
        (debian, "1:1.0-1", "2.0-1", "downgraded"),
        (debian, "1.0~rc1-1", "1.0-1", "upgraded"),
    ],
)
def test_versions_are_ordered_as_their_manager_does(
    make: Callable[[str, str], Artifact], old: str, new: str, kind: str
) -> None:
    ((_, name, found, before, after),) = _diff(_lock(make("a", old)), _lock(make("a", new)))
    assert (name, found, before, after) == ("a", kind, old, new)


def test_another_archive_of_the_same_version_is_rebuilt() -> None:
    old = _lock(conda("numpy", "2.1", "h0_0"), wheel("rich"), debian("git"))
    new = _lock(
        conda("numpy", "2.1", "h0_1"),
        wheel("rich", sha256=sha("x")),
        debian("git", sha256=sha("y")),
    )
    assert _diff(old, new) == [
        ("conda", "numpy", "rebuilt", "2.1 h0_0", "2.1 h0_1"),
        ("pip", "rich", "rebuilt", "1.0", "1.0"),
        ("debian", "git", "rebuilt", "1.0-1", "1.0-1"),
    ]


def test_a_mirror_of_the_same_archive_is_no_change() -> None:
    package = conda("numpy")
    moved = replace(package, url="https://mirror.example.com/numpy-1.0-h0_0.conda")
    assert _diff(_lock(package), _lock(moved)) == []


def test_a_name_that_a_lock_has_twice_hides_nothing() -> None:
    one, two = wheel("rich", "1.0"), wheel("rich", "2.0")
    assert _diff(_lock(one, two), _lock(two)) == [("pip", "rich", "removed", "1.0", "")]
    assert _diff(_lock(two), _lock(one, two)) == [("pip", "rich", "added", "", "1.0")]


def test_one_name_from_two_managers_is_two_packages() -> None:
    assert _diff(_lock(conda("graphviz")), _lock(wheel("graphviz"))) == [
        ("conda", "graphviz", "removed", "1.0", ""),
        ("pip", "graphviz", "added", "", "1.0"),
    ]


def test_a_base_image_that_moved_is_shown() -> None:
    other = replace(BASE, digest="sha256:" + "c" * 64)
    reference = "registry.example.com/base:1@sha256:"
    assert _diff(replace(EMPTY, base=BASE), replace(EMPTY, base=other)) == [
        ("base", "base image", "changed", f"{reference}{'b' * 12}", f"{reference}{'c' * 12}")
    ]
    assert [row[2] for row in _diff(EMPTY, replace(EMPTY, base=BASE))] == ["added"]
    assert [row[2] for row in _diff(replace(EMPTY, base=BASE), EMPTY)] == ["removed"]


def test_the_same_change_on_several_platforms_is_one() -> None:
    names = ("linux-64", "linux-aarch64", "osx-64")
    old = make_lock(platforms={name: _lock(wheel("rich"), platform=name) for name in names})
    platforms = {name: _lock(wheel("rich", "2.0"), platform=name) for name in names}
    platforms["osx-64"] = _lock(wheel("rich", "3.0"), platform="osx-64")
    changes = diff_locks(old, make_lock(platforms=platforms))
    assert [(c.platforms, c.old, c.new) for c in changes] == [
        (("linux-64", "linux-aarch64"), "1.0", "2.0"),
        (("osx-64",), "1.0", "3.0"),
    ]


def test_a_platform_that_came_or_went_is_in_the_table() -> None:
    old = make_lock(platforms={"linux-64": _lock(wheel("rich"))})
    new = make_lock(platforms={"osx-64": _lock(wheel("rich"), platform="osx-64")})
    assert [(c.platforms, c.kind) for c in diff_locks(old, new)] == [
        (("linux-64",), "removed"),
        (("osx-64",), "added"),
    ]


def test_a_row_says_it_all() -> None:
    change = Change(
        platforms=("linux-64", "osx-64"),
        manager="pip",
        name="rich",
        kind="upgraded",
        old="13.9",
        new="14.0",
    )
    (row,) = render_changes([change])
    assert row == ("rich (pip)", "upgraded", "13.9", "14.0", "linux-64, osx-64")
    assert len(row) == len(CHANGE_COLUMNS)
