"""What a lock moves: the least that was asked for, and the world of an earlier day."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from envbuild.kit.places import Cache
from envbuild.lock.files import load_lock
from tests.rig.conda_channel import CondaChannel, open_channel, rewrite_index
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project


def _pins(project: Project) -> dict[str, str]:
    """Return name and version of each conda package and wheel that is locked, but Python's."""
    part = load_lock(
        project.root / "lockfiles/demo", name="demo", cache=Cache(root=project.cache)
    ).platforms["linux-64"]
    found = {package.name: package.version for package in part.conda}
    found |= {wheel.name: wheel.version for wheel in part.wheels}
    return {name: version for name, version in found.items() if name != "python"}


def _write(
    project: Project, index: PipIndex, conda: str, pip: str, resolver: str = "pip-tools"
) -> None:
    project.write(
        "envs/demo.toml",
        'platforms = ["linux-64"]\npython = "3.11.*"\n'
        f"[conda]\ndependencies = [{conda}]\n"
        f'[pip]\nresolver = "{resolver}"\nindex-url = "{index.url}"\ndependencies = [{pip}]\n'
        '[image]\nbase = "scratch"\n',
    )


def _lock(project: Project, *options: str) -> dict[str, str]:
    project.must("-s", "lock", "--", "demo", *options)
    return _pins(project)


@pytest.fixture
def old(image_project: Project, pip_index: PipIndex) -> dict[str, str]:
    """The environment locked to versions that are no longer the newest; return its pins."""
    _write(image_project, pip_index, '"greet 1.0", "greeting-words 1.0"', '"acme"')
    image_project.must("-s", "lock", "--", "demo")
    pip_index.add("acme", "1.1", "helper")
    pip_index.add("helper", "1.0")
    pip_index.add("other", "1.0", "acme")
    _write(image_project, pip_index, '"greet"', '"acme"')
    return _pins(image_project)


def test_a_package_more_or_less_moves_no_other(
    image_project: Project, pip_index: PipIndex, old: dict[str, str]
) -> None:
    assert old == {"greet": "1.0", "greeting-words": "1.0", "acme": "1.0"}
    assert _lock(image_project) == old, "a wider request moved what still fits"
    _write(image_project, pip_index, '"greet", "mdurl"', '"acme"')
    with_conda = _lock(image_project)
    assert with_conda == {**old, "mdurl": with_conda["mdurl"]}
    _write(image_project, pip_index, '"greet", "mdurl"', '"acme", "other"')
    assert _lock(image_project) == {**with_conda, "other": "1.0"}
    _write(image_project, pip_index, '"greet"', '"acme"')
    assert _lock(image_project) == old
    _write(image_project, pip_index, '"greeting-words"', '"other"')
    assert _lock(image_project) == {"greeting-words": "1.0", "acme": "1.0", "other": "1.0"}


def test_upgrading_one_package_moves_what_must_follow(
    image_project: Project, pip_index: PipIndex, old: dict[str, str]
) -> None:
    newer = _lock(image_project, "--upgrade-package", "greet")
    assert newer == {**old, "greet": "2.0"}
    newest = _lock(image_project, "--upgrade-package", "acme")
    assert newest == {**newer, "acme": "1.1", "helper": "1.0"}
    assert _lock(image_project, "--upgrade") == {**newest, "greeting-words": "1.2"}


DAY = "2026-01-31"
EARLIER = 1_735_689_600_000
"""Milliseconds; 2025-01-01."""
LATER = 1_772_323_200_000
"""2026-03-01."""


def _date(entry: dict[str, Any]) -> None:
    entry.pop("indexed_timestamp", None)
    entry["timestamp"] = LATER if entry["version"] in {"1.2", "2.0"} else EARLIER
    if entry["name"] == "python":
        entry["timestamp"] = EARLIER


@pytest.mark.parametrize("resolver", ["pip-tools", "uv"])
def test_an_earlier_day_for_once(
    image_project: Project, pip_index: PipIndex, conda_channel: CondaChannel, tmp_path: Path,
    resolver: str,
) -> None:  # fmt: skip
    pip_index.add("lib", "1.0", uploaded="2026-01-15T12:00:00Z")
    pip_index.add("lib", "2.0", uploaded="2026-02-15T12:00:00Z")
    past = {"greet": "1.1", "greeting-words": "1.1", "lib": "1.0"}
    today = {"greet": "2.0", "greeting-words": "1.2", "lib": "2.0"}
    with open_channel(conda_channel.folder, tmp_path / "copy" / "main") as channel:
        rewrite_index(channel, _date)
        image_project.configure(mirrors={k: list(v) for k, v in channel.mirrors.items()})
        _write(image_project, pip_index, '"greet"', '"lib"', resolver)
        assert _lock(image_project, "--upgrade") == today
        assert _lock(image_project, "--exclude-newer", DAY) == past, "later pins stayed"
        before = image_project.snapshot()
        image_project.must("-s", "check", "--", "demo")
        assert _lock(image_project) == past
        assert image_project.snapshot() == before
        _write(image_project, pip_index, '"greet 2.*"', '"lib"', resolver)
        text = image_project.refused(
            "lock.unsatisfiable", "-s", "lock", "--", "demo", "--exclude-newer", DAY
        )
        assert "greet 2.*" in text
        assert "2026-01-31" in text
        assert "take a later day for `exclude-newer`" in text
        _write(image_project, pip_index, '"greet"', '"lib>=2"', resolver)
        text = image_project.refused(
            "lock.unsatisfiable", "-s", "lock", "--", "demo", "--exclude-newer", DAY
        )
        assert "`lib` 2.0 was published later" in text
        assert "take a later day for `exclude-newer`" in text
        assert image_project.snapshot() == before
        _write(image_project, pip_index, '"greet"', '"lib"', resolver)
        assert _lock(image_project, "--upgrade") == today


@pytest.mark.parametrize("day", ["tomorrow", "2026-02-30", "31.1.2026", "2026-01-31T12:00", ""])
def test_a_day_that_is_none(image_project: Project, day: str) -> None:
    before = image_project.snapshot()
    text = image_project.refused(
        "session.arguments", "-s", "lock", "--", "demo", "--exclude-newer", day
    )
    assert "--exclude-newer: expected a day, or a time with its time zone" in text
    assert f'`"{day}"`' in text
    assert image_project.snapshot() == before
