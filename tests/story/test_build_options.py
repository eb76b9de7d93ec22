"""Promises of `build-env`'s options and of `show`: said before, shown after, kept when it fails."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry


def _json(project: Project, *arguments: str) -> list[dict[str, object]]:
    text = project.must(*arguments).stdout
    found: list[dict[str, object]] = json.loads(text[text.index("[\n") :])
    return found


def test_a_plan_says_what_a_build_then_does(image_project: Project) -> None:
    (plan,) = _json(image_project, "-s", "build-env", "--", "demo", "--plan", "--json")
    layers = plan["layers"]
    assert isinstance(layers, list)
    assert {layer["action"] for layer in layers} == {"make"}
    assert not (image_project.cache / "store").exists()
    assert not list(image_project.cache.glob("layers/*"))
    done = image_project.must("-s", "build-env", "--", "demo", "--verbose")
    assert f"({len(layers)} of" in done.stderr
    assert done.stderr.count(": made ") == len(layers)
    assert "making layers: " in done.stderr
    fetched = [path for path in image_project.cache.glob("packages/*/*") if path.is_file()]
    assert plan["packages"] == len(fetched)
    assert plan["fetch"] == sum(path.stat().st_size for path in fetched)
    again = image_project.must("-s", "build-env", "--", "demo", "--plan")
    assert "nothing to do" in again.stdout


def test_no_cache_makes_every_layer_and_the_same_image(image_project: Project) -> None:
    first = image_project.build("demo")
    again = image_project.build("demo", "--no-cache")
    assert again["manifest"] == first["manifest"]
    assert again["outcome"] == first["outcome"]  # as many layers made as the first time


def test_no_cache_makes_what_two_platforms_share_once(image_project: Project) -> None:
    spec = image_project.root / "envs/demo.toml"
    spec.write_text(spec.read_text().replace('"linux-64"', '"linux-64", "linux-aarch64"'))
    image_project.must("-s", "lock", "--", "demo")
    first = image_project.build("demo")["outcome"]
    done = image_project.must("-s", "build-env", "--", "demo", "--no-cache", "--verbose")
    assert f"demo: {first}" in done.stderr, (first, done.stderr)
    made = [line for line in done.stderr.splitlines() if ": made " in line]
    assert len([line for line in made if "acme" in line]) == 1, made


@pytest.mark.registry
def test_show_tells_the_same_here_and_from_the_registry(
    image_project: Project, registry: RunningRegistry, tmp_path: Path
) -> None:
    image_project.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/show/{tmp_path.name}".lower()
    built = image_project.build("demo", "--push")
    other = image_project.copy(tmp_path, **image_project.variables)
    reports = []
    for project in (image_project, other):
        text = project.must("-s", "show", "--", "demo", "--json").stdout
        report = json.loads(text[text.index("{\n") :])
        assert report["reference"] == built["reference"]
        (platform,) = report["platforms"]
        assert platform["digest"] == built["digest"]
        assert platform["config"]["config"]["Labels"]["envbuild.digest"] == built["digest"]
        names = {c["name"] for layer in platform["layers"] for c in layer["contents"]}
        assert {"python", "numpy", "greet", "acme"} <= names
        assert all(layer["plain_size"] >= layer["size"] / 2 for layer in platform["layers"])
        reports.append((platform.pop("found"), platform))
    assert [found for found, _ in reports] == ["here", "registry"]
    assert reports[0][1] == reports[1][1]
    table = other.must("-s", "show", "--", "demo", "--packages").stdout
    assert "acme 1.0" in table
    assert "in the registry" in table


def test_what_is_not_built_cannot_be_shown(image_project: Project) -> None:
    image_project.refused("image.not-built", "-s", "show", "--", "demo")


@pytest.mark.registry
def test_the_layer_index_is_made_anew_from_the_images(
    image_project: Project, registry: RunningRegistry, tmp_path: Path
) -> None:
    image_project.variables["ENVBUILD_REPOSITORY"] = f"{registry.host}/anew/{tmp_path.name}".lower()
    settings = image_project.root / "pyproject.toml"
    before = settings.read_text()
    settings.write_text(before + "layer-index = false\n")
    image_project.build("demo", "--push")
    settings.write_text(before)
    lonely = image_project.copy(tmp_path / "one", **image_project.variables)
    assert "found in the registry" not in lonely.build("demo")["outcome"]
    said = image_project.must("-s", "layer-index", "--", "demo").stdout
    assert "layers of 1 images" in said
    helped = image_project.copy(tmp_path / "two", **image_project.variables)
    assert "(0 of" in helped.build("demo")["outcome"]


def test_a_dockerfile_names_every_package(image_project: Project) -> None:
    text = image_project.must("-s", "build-env", "--", "demo", "--dockerfile").stdout
    assert text.startswith("# demo on linux-64")
    assert "FROM scratch" in text
    assert "lockfiles/demo/conda-lock.yml" in text
    assert "--require-hashes -r /tmp/requirements.linux-64.txt" in text


def test_a_failed_build_can_be_looked_into(image_project: Project, pip_index: PipIndex) -> None:
    """A wheel whose content is not what its RECORD says: the rest is there to be looked at."""
    file = pip_index.add("broken", "1.0", files={"broken.py": b"x = 1\n"})
    pip_index.files["broken"][file.filename] = replace(file, data=_spoil(file.data))
    spec = image_project.root / "envs/demo.toml"
    spec.write_text(spec.read_text().replace('["acme"]', '["acme", "broken"]'))
    image_project.must("-s", "lock", "--", "demo")
    text = image_project.refused(
        "layer.bad-content", "-s", "build-env", "--", "demo", "--keep-failed"
    )
    folder = image_project.root / ".envbuild/failed/demo/linux-64"
    assert str(folder) in text
    assert (folder / "opt/env/bin/python3.11").exists()
    assert not list(folder.rglob("broken.py"))


def _spoil(wheel: bytes) -> bytes:
    """Return the wheel with another content for one file, and RECORD as it was."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members["broken.py"] = b"x = 2\n"
    spoilt = io.BytesIO()
    with zipfile.ZipFile(spoilt, "w", zipfile.ZIP_DEFLATED) as new:
        for name, data in members.items():
            new.writestr(name, data)
    return spoilt.getvalue()
