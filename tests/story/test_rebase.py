"""A new base goes under an environment whose own layers stay as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import tomli

from envbuild.oci.store import Store
from tests.rig.bases import GLIBC, MUSL, Layer, Program, make_base, push_base
from tests.rig.conda_channel import CondaChannel
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry

pytestmark = pytest.mark.registry

NEWER: Layer = {"usr/bin/tool": Program(b"#!/bin/sh\necho newer\n")}


def _push(registry: RunningRegistry, folder: Path, *layers: Layer) -> str:
    return push_base(registry.host, folder, {"amd64": make_base(Store(folder), *layers)})


@pytest.fixture
def based(image_project: Project, registry: RunningRegistry, tmp_path: Path) -> Project:
    """The environment `demo` on a base in a registry, built."""
    reference = _push(registry, tmp_path / "images", GLIBC)
    spec = image_project.root / "envs/demo.toml"
    spec.write_text(spec.read_text().replace('base = "scratch"', f'base = "{reference}"'))
    image_project.must("-s", "lock", "--", "demo")
    image_project.build("demo")
    return image_project


def _layers(project: Project) -> list[str]:
    """Return the layers' digests of the image that the lock asks for."""
    built = project.build("demo")
    assert built["outcome"] == "up to date"
    manifest = json.loads(Store(project.cache / "store").read(built["manifest"]))
    return [layer["digest"] for layer in manifest["layers"]]


def _lock(project: Project) -> dict[str, Any]:
    text = (project.root / "lockfiles/demo/envbuild.lock").read_text()
    part: dict[str, Any] = tomli.loads(text)["platforms"]["linux-64"]
    return part


def test_a_new_base_costs_no_package_and_no_layer(
    based: Project, registry: RunningRegistry, tmp_path: Path, conda_channel: CondaChannel,
    pip_index: PipIndex,
) -> None:  # fmt: skip
    before, locked = _layers(based), _lock(based)
    shutil.rmtree(based.cache / "packages")
    _push(registry, tmp_path / "images", GLIBC, NEWER)
    asked = len(conda_channel.server.requests), len(pip_index.requests)
    outcome = based.must("-s", "rebase", "--", "demo")
    assert "base image" in outcome.stdout
    after = _layers(based)
    assert after[0] == before[0]
    assert after[2:] == before[1:], "an environment's layer was made anew"
    assert len(before) > 2
    assert (len(conda_channel.server.requests), len(pip_index.requests)) == asked
    assert not list((based.cache / "packages").rglob("*"))
    now = _lock(based)
    assert now["base"]["digest"] != locked["base"]["digest"]
    for key in ("python", "glibc", "conda", "wheels", "debian"):
        assert now[key] == locked[key]


def test_it_is_pushed_where_that_is_asked_for(
    based: Project, registry: RunningRegistry, tmp_path: Path
) -> None:
    based.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/rebased"
    first = based.build("demo", "--push")
    _push(registry, tmp_path / "images", GLIBC, NEWER)
    based.must("-s", "rebase", "--", "demo", "--push")
    second = based.build("demo", "--push")
    assert "registry has it" in second["outcome"]
    assert second["digest"] != first["digest"]


def test_an_unchanged_base_changes_nothing(based: Project) -> None:
    before, built = based.snapshot(), based.build("demo")
    outcome = based.must("-s", "rebase", "--", "demo")
    assert "lock is unchanged" in outcome.text
    assert based.snapshot() == before
    assert based.build("demo")["manifest"] == built["manifest"]


def test_a_lock_moves_its_base_without_a_build(
    based: Project, registry: RunningRegistry, tmp_path: Path
) -> None:
    locked = _lock(based)
    _push(registry, tmp_path / "images", GLIBC, NEWER)
    based.must("-s", "lock", "--", "demo", "--upgrade-base")
    assert _lock(based)["base"]["digest"] != locked["base"]["digest"]
    assert _lock(based)["conda"] == locked["conda"]


def test_a_base_that_does_not_fit_leaves_all_as_it_was(
    based: Project, registry: RunningRegistry, tmp_path: Path
) -> None:
    before = based.snapshot()
    _push(registry, tmp_path / "images", MUSL)
    assert "needs glibc" in based.refused("base.musl", "-s", "rebase", "--", "demo")
    assert based.snapshot() == before


def test_a_stale_lock_is_not_rebased(based: Project) -> None:
    spec = based.root / "envs/demo.toml"
    spec.write_text(spec.read_text().replace('"greet"', '"greet 1.*"'))
    before = based.snapshot()
    based.refused("lock.stale", "-s", "rebase", "--", "demo")
    assert based.snapshot() == before
