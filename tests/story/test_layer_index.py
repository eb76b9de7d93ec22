"""Promises about layers that another machine made: found, and proven before they are used."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from envbuild.engine.client import Engine
from envbuild.kit.canonical import digest_bytes
from envbuild.oci.descriptor import OCI_MANIFEST
from envbuild.oci.registry import Registry, open_registry
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry

pytestmark = pytest.mark.registry


@pytest.fixture
def pushed(image_project: Project, registry: RunningRegistry) -> Project:
    """A repository whose image was pushed from this machine."""
    image_project.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/{uuid.uuid4()}"
    image_project.build("demo", "--push")
    return image_project


def _elsewhere(project: Project, folder: Path) -> Project:
    return project.copy(folder, **project.variables)


def _label(project: Project) -> None:
    """Make the environment another one of the same packages."""
    spec = project.root / "envs/demo.toml"
    spec.write_text(spec.read_text() + 'labels = { team = "other" }\n')


def _packages(project: Project) -> list[Path]:
    return [path for path in (project.cache / "packages").rglob("*") if path.is_file()]


def test_an_empty_cache_builds_and_pushes_without_one_package(
    pushed: Project, tmp_path: Path
) -> None:
    other = _elsewhere(pushed, tmp_path)
    _label(other)
    outcome = other.build("demo", "--push")["outcome"]
    assert "0 of" in outcome, outcome
    assert "mounted" in outcome, outcome
    assert "pushed 1 blobs" in outcome, outcome  # the configuration
    assert _packages(other) == []
    layers = [p for p in (other.cache / "store/blobs").rglob("*") if p.stat().st_size > 50_000]
    assert layers == []


def test_the_image_is_the_one_that_was_made_here(pushed: Project, tmp_path: Path) -> None:
    other = _elsewhere(pushed, tmp_path)
    assert other.build("demo")["manifest"] == pushed.build("demo")["manifest"]
    assert other.build("demo")["outcome"] == "up to date"


@pytest.mark.engine
def test_bytes_come_when_they_are_needed(pushed: Project, tmp_path: Path, engine: Engine) -> None:
    other = _elsewhere(pushed, tmp_path)
    built = other.build("demo", "--load")
    assert "loaded" in built["outcome"]
    assert engine.client.images.get(built["reference"]).attrs["RootFS"]["Layers"]
    assert _packages(other) == []


def _find_index(project: Project) -> tuple[Registry, str]:
    host, _, path = project.variables["ENVBUILD_REPOSITORY"].partition("/")
    return open_registry(host), f"{path}/envbuild-layers"


def _list_entries(project: Project) -> dict[str, Any]:
    registry, index = _find_index(project)
    tags = registry.list_tags(index)
    return {tag: json.loads(registry.read_manifest(index, tag)[1]) for tag in tags}


def _rewrite(project: Project, change: Callable[[dict[str, Any]], object]) -> None:
    """Change every entry of the index."""
    registry, index = _find_index(project)
    for tag, manifest in _list_entries(project).items():
        change(manifest)
        registry.push_manifest(index, tag, OCI_MANIFEST, json.dumps(manifest).encode())


def _swap_facts(**wrong: object) -> Callable[[dict[str, Any]], None]:
    def change(manifest: dict[str, Any]) -> None:
        annotations = manifest["layers"][0]["annotations"]
        facts = json.loads(annotations["envbuild.layer.facts"])
        annotations["envbuild.layer.facts"] = json.dumps({**facts, **wrong})

    return change


@pytest.mark.parametrize(
    "change",
    [
        _swap_facts(diff_id="sha256:" + "0" * 64),
        _swap_facts(plain_size=1),
        _swap_facts(size=10),
        _swap_facts(digest="sha256:" + "0" * 64),
        _swap_facts(contents="junk"),
        lambda manifest: manifest["layers"][0].pop("annotations"),
        lambda manifest: manifest["layers"].clear(),
    ],
    ids=["diff-id", "plain-size", "size", "digest", "contents", "unmarked", "empty"],
)
def test_a_damaged_entry_is_not_used(
    pushed: Project,
    tmp_path: Path,
    change: Callable[[dict[str, Any]], object],
) -> None:
    _rewrite(pushed, change)
    other = _elsewhere(pushed, tmp_path)
    built = other.nox("-s", "build-env", "--", "demo", "--json")
    assert built.code == 0, built.text
    assert "is not used" in built.stderr
    assert built.stdout.count('"manifest"') == 1
    assert pushed.build("demo")["manifest"] in built.stdout  # made anew, and the same


def test_entries_of_other_layers_are_not_used(pushed: Project, tmp_path: Path) -> None:
    """Each entry says what another one should: whole, well-formed, and about the wrong layer."""
    registry, index = _find_index(pushed)
    entries = _list_entries(pushed)
    others = [*list(entries.values())[1:], entries[min(entries)]]
    for (tag, own), other in zip(entries.items(), others, strict=True):
        key = own["layers"][0]["annotations"]["envbuild.layer.key"]
        lie = other["layers"][0]["annotations"] | {"envbuild.layer.key": key}
        layer = other["layers"][0] | {"annotations": lie}
        data = json.dumps({**other, "layers": [layer]}).encode()
        registry.push_manifest(index, tag, OCI_MANIFEST, data)
    machine = _elsewhere(pushed, tmp_path)
    built = machine.nox("-s", "build-env", "--", "demo", "--json")
    assert built.code == 0, built.text
    assert "is not that layer" in built.stderr
    assert pushed.build("demo")["manifest"] in built.stdout


def test_with_a_secret_only_signed_entries_count(
    pushed: Project, registry: RunningRegistry, tmp_path: Path
) -> None:
    other = _elsewhere(pushed, tmp_path / "one")
    other.variables["ENVBUILD_LAYER_KEY"] = "one secret"
    built = other.nox("-s", "build-env", "--", "demo", "--json")
    assert "is not signed" in built.stderr, built.text
    signed = _elsewhere(pushed, tmp_path / "two")
    signed.variables |= {
        "ENVBUILD_LAYER_KEY": "one secret",
        "ENVBUILD_REPOSITORY": f"{registry.host}/{uuid.uuid4()}",
    }
    signed.build("demo", "--push")
    third = _elsewhere(signed, tmp_path / "three")
    assert "0 of" in third.build("demo")["outcome"]
    third = _elsewhere(signed, tmp_path / "four")
    third.variables["ENVBUILD_LAYER_KEY"] = "another secret"
    assert "0 of" not in third.build("demo")["outcome"]


def test_verified_layers_are_read_in_full(pushed: Project, tmp_path: Path) -> None:
    other = _elsewhere(pushed, tmp_path)
    project = other.root / "pyproject.toml"
    project.write_text(project.read_text() + "verify-layers = true\n")
    assert "0 of" in other.build("demo")["outcome"]
    store = other.cache / "store/blobs/sha256"
    for path in store.iterdir():
        assert digest_bytes(path.read_bytes()) == f"sha256:{path.name}"
    assert sum(path.stat().st_size > 50_000 for path in store.iterdir()) > 0


def _lose(project: Project, registry: RunningRegistry) -> None:
    """Have the registry lose all that the project pushed there, behind everybody's back."""
    path = project.variables["ENVBUILD_REPOSITORY"].partition("/")[2]
    (found,) = registry.root.rglob(path)
    shutil.rmtree(found)


def _plan(project: Project) -> dict[str, Any]:
    text = project.must("-s", "build-env", "--", "demo", "--plan", "--push", "--json").stdout
    (plan,) = json.loads(text[text.index("[\n") :])
    found: dict[str, Any] = plan
    return found


def test_what_a_registry_lost_is_sent_and_listed_again(
    pushed: Project, registry: RunningRegistry, tmp_path: Path
) -> None:
    _lose(pushed, registry)
    planned = _plan(pushed)["push"]
    assert planned > 0
    assert "pushed" in pushed.build("demo", "--push")["outcome"]
    assert "0 of" in _elsewhere(pushed, tmp_path).build("demo")["outcome"]


def test_layers_that_only_a_registry_had_are_made_anew_when_it_lost_them(
    pushed: Project, registry: RunningRegistry, tmp_path: Path
) -> None:
    other = _elsewhere(pushed, tmp_path)
    first = other.build("demo")
    assert "0 of" in first["outcome"]
    _lose(pushed, registry)
    assert {layer["action"] for layer in _plan(other)["layers"]} == {"make"}
    again = other.build("demo", "--push")
    assert again["manifest"] == first["manifest"]
    assert _list_entries(other)


def test_without_the_cache_an_image_that_is_pushed_is_made_and_compared(pushed: Project) -> None:
    text = pushed.must("-s", "build-env", "--", "demo", "--push", "--no-cache", "--plan").stdout
    assert "nothing to do" not in text
    outcome = pushed.build("demo", "--push", "--no-cache")["outcome"]
    assert "layers made" in outcome
    assert "pushed 0 blobs" in outcome


def test_an_index_that_cannot_be_asked_is_no_reason_not_to_build(image_project: Project) -> None:
    image_project.variables["ENVBUILD_REPOSITORY"] = "127.0.0.1:9/down"
    built = image_project.must("-s", "build-env", "--", "demo")
    assert "are not looked for" in built.stderr
