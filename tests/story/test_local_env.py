"""An environment as a folder to work in: from the lock, provable, renewed as a whole."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from envbuild.image.activation import write_activation
from tests.rig.need import missing
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.sources import project_files, write_files

LINK = ".envbuild/envs/demo"


def _make(project: Project, *options: str) -> dict[str, Any]:
    text = project.must("-s", "local-env", "--", "demo", "--json", *options).stdout
    found: dict[str, Any] = json.loads(text[text.index("{") :])
    return found


def _differences(project: Project) -> dict[str, dict[str, Any]]:
    outcome = project.nox("-s", "local-env", "--", "demo", "--check", "--json")
    assert outcome.code == 1, outcome.text
    assert "[prefix.changed]" in outcome.text
    document = json.loads(outcome.stdout[outcome.stdout.index("{") :])
    assert [error["code"] for error in document["errors"]] == ["prefix.changed"]
    return {d["package"]: d for d in document["done"]["differences"]}


def _python(project: Project, code: str) -> str:
    command = [f"{project.root}/{LINK}/bin/python", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _publish_update(project: Project, index: PipIndex, *, bulk: int = 0) -> None:
    files = {f"acme/bulk{n}.txt": bytes(9000) for n in range(bulk)}
    files |= {"acme/__init__.py": b"WHO = 'new'\n", "acme/deep.py": b"N=2\n"}
    index.add("acme", "2.0", files=files)
    project.must("-s", "lock", "--", "demo", "--upgrade-package", "acme")


def test_it_holds_what_the_lock_says_and_making_it_again_does_nothing(
    image_project: Project,
) -> None:
    made = _make(image_project)
    assert made["outcome"] == "made"
    said = _python(image_project, "import numpy, greet, acme; print(acme.WHO)")
    assert said == "acme"
    checked = image_project.must("-s", "local-env", "--", "demo", "--check")
    assert "all as locked" in checked.text
    assert _make(image_project) == made | {"outcome": "up to date"}
    # An edit that keeps size and time escapes a glance, and not the proof.
    file = Path(made["prefix"]) / "lib/python3.11/site-packages/acme/__init__.py"
    before = file.stat()
    file.write_bytes(b"WHO = 'evil'\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert set(_differences(image_project)) == {"acme"}


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh", "fish"])
def test_shells_enter_and_leave_it(tmp_path: Path, shell: str) -> None:
    if not shutil.which(shell):
        missing(shell, f"install it with `apt-get install {shell}`")
    prefix = tmp_path / "it's here"
    for folder, code in (
        ("activate.d", "export GREETING=hello"),
        ("deactivate.d", "unset GREETING"),
    ):
        write_files(prefix / "etc/conda" / folder, {"greet.sh": f"{code}\n"})
    write_activation(prefix, prefix=prefix, name="demo")
    (prefix / "bin/python").symlink_to(sys.executable)
    script = {
        "fish": f'set old "$PATH"; source "{prefix}/bin/activate.fish"; command -v python; '
        'echo $VIRTUAL_ENV; deactivate; test "$old" = "$PATH"; and echo "same$VIRTUAL_ENV"',
    }.get(
        shell,
        f'set -eu; old="$PATH"; . "{prefix}/bin/activate"; test "$GREETING" = hello; '
        f'. "{prefix}/bin/activate"; command -v python; echo "$VIRTUAL_ENV"; deactivate; '
        'test "$old" = "$PATH"; echo "same${VIRTUAL_ENV:-}${GREETING:-}"',
    )
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [f"{prefix}/bin/python", str(prefix), "same"], done.stderr


def test_what_was_changed_by_hand_is_named_and_made_anew(
    image_project: Project, pip_index: PipIndex
) -> None:
    made = _make(image_project)
    pip_index.add("stranger", "3.1")
    pip_index.add("acme", "2.0", files={"acme/__init__.py": b"WHO = 'new'\n"})
    uv = str(Path(sys.executable).parent / "uv")
    command = [uv, "pip", "install", "--python", f"{LINK}/bin/python", "--no-cache"]
    subprocess.run(
        [*command, "--index-url", pip_index.url, "--break-system-packages", "stranger", "acme==2"],
        cwd=image_project.root, check=True, env=image_project.environment,
    )  # fmt: skip
    site = Path(made["prefix"]) / "lib/python3.11/site-packages"
    next(site.glob("numpy/**/*.py")).write_text("# edited\n")
    (Path(made["prefix"]) / "notes.txt").write_text("mine")
    found = _differences(image_project)
    assert (found["stranger"]["locked"], found["stranger"]["found"]) == ("", "3.1")
    assert (found["acme"]["locked"], found["acme"]["found"]) == ("1.0", "2.0")
    assert found["numpy"]["locked"] == found["numpy"]["found"]
    assert found[""]["files"] == ["notes.txt"]
    assert set(found) == {"stranger", "acme", "numpy", ""}
    assert _make(image_project)["outcome"] == "repaired"
    image_project.must("-s", "local-env", "--", "demo", "--check")
    # The generation before is kept for what runs in it, and none before that.
    (image_project.root / LINK / "notes.txt").write_text("mine")
    last = Path(_make(image_project)["prefix"])
    assert sorted(p.name for p in last.parent.iterdir()) == ["2", "3", "lock"]


def test_an_update_leaves_a_running_python_alone(
    image_project: Project, pip_index: PipIndex
) -> None:
    pip_index.add(
        "acme", "1.5", files={"acme/__init__.py": b"WHO = 'old'\n", "acme/deep.py": b"N=1\n"}
    )
    image_project.must("-s", "lock", "--", "demo", "--upgrade-package", "acme")
    _make(image_project)
    code = "import acme; print('up', flush=True); input(); from acme import deep; print(deep.N)"
    with subprocess.Popen(
        [f"{image_project.root}/{LINK}/bin/python", "-c", code],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stdout.readline() == "up\n"
        _publish_update(image_project, pip_index)
        image_project.refused("prefix.outdated", "-s", "local-env", "--", "demo", "--check")
        assert _make(image_project)["outcome"] == "updated"
        assert _python(image_project, "from acme import deep; print(deep.N)") == "2"
        assert running.communicate("\n", timeout=30)[0] == "1\n"


def test_an_update_that_fails_or_is_interrupted_changes_nothing(
    image_project: Project, pip_index: PipIndex
) -> None:
    made = _make(image_project)
    _publish_update(image_project, pip_index, bulk=3000)
    _make(image_project, "--path", "elsewhere")  # so that all packages are on this machine
    process = subprocess.Popen(
        image_project.command("-s", "local-env", "--", "demo"), cwd=image_project.root,
        env=image_project.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    home = Path(made["prefix"]).parent
    deadline = time.monotonic() + 60
    while not list(home.glob(".*.part")) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[0]
    assert process.returncode != 0
    (wheel,) = (image_project.cache / "packages").glob("*/acme-2.0*.whl")
    wheel.write_bytes(bytes(wheel.stat().st_size))
    failed = image_project.nox("-s", "local-env", "--", "demo")
    assert failed.code == 1
    assert "Traceback" not in failed.text
    assert sorted(p.name for p in home.iterdir()) == ["1", "lock"]
    assert _python(image_project, "import acme; print(acme.WHO)") == "acme"
    assert str((image_project.root / LINK).resolve()) == made["prefix"]


def test_source_trees_are_editable(image_project: Project) -> None:
    spec = image_project.root / "envs/demo.toml"
    write_files(image_project.root / "src/tree", project_files("tree", build=[]))
    spec.write_text(spec.read_text().replace("[pip]", '[pip]\nlocal = ["src/tree"]'))
    image_project.must("-s", "lock", "--", "demo")
    _make(image_project)
    image_project.write("src/tree/src/tree/__init__.py", "V = 'edited'\n")
    assert _python(image_project, "import tree; print(tree.V)") == "edited"
    assert _make(image_project)["outcome"] == "up to date"


def test_a_place_that_is_taken_and_a_foreign_platform_are_refused(image_project: Project) -> None:
    other = image_project.root / "elsewhere"
    other.mkdir()
    image_project.refused("prefix.occupied", "-s", "local-env", "--", "demo", "--path", str(other))
    other.rmdir()
    assert _make(image_project, "--path", "elsewhere")["path"] == str(other)
    assert (other / "bin/python").exists()
    image_project.refused("prefix.missing", "-s", "local-env", "--", "demo", "--check")
    spec = image_project.root / "envs/demo.toml"
    spec.write_text(spec.read_text().replace("linux-64", "linux-aarch64"))
    image_project.must("-s", "lock", "--", "demo")
    assert "`linux-64`" in image_project.refused("image.platform", "-s", "local-env", "--", "demo")
