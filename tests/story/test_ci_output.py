"""What CI systems and programs read: one JSON document, errors too; logs that fold; annotations."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from envbuild.sessions.annotate import render_annotations
from envbuild.sessions.fold import Folded, wrap_github, wrap_gitlab
from tests.rig.project import Project

BAD = 'python = "3.11.*"\n\n[conda]\ndependencies = ["numpy ==="]\nunknown = 1\n'


def call(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "envbuild", *words],
        cwd=project.root, env=project.environment, text=True, capture_output=True, check=False,
    )  # fmt: skip


def failed(project: Project, *words: str) -> dict[str, Any]:
    """Run a session that fails; return the document that is all of its standard output."""
    done = call(project, *words)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert set(document) == {"errors", "done"}
    return document


def test_each_failure_is_listed_and_what_succeeded_is_there(image_project: Project) -> None:
    image_project.write("envs/bad.toml", BAD)
    image_project.write("envs/new.toml", 'python = "3.11.*"\n')
    document = failed(image_project, "build-env", "--json")
    by_name = {error["environment"]: error for error in document["errors"]}
    assert {name: e["code"] for name, e in by_name.items()} == {
        "bad": "spec.invalid", "new": "lock.missing",
    }  # fmt: skip
    assert {(p["file"], p["line"]) for p in by_name["bad"]["problems"]} == {
        ("envs/bad.toml", 4), ("envs/bad.toml", 5),
    }  # fmt: skip
    assert by_name["new"]["hint"].endswith("`nox -s lock -- new`")
    assert [built["environment"] for built in document["done"]] == ["demo"]
    checked = failed(image_project, "check", "--json")
    assert checked["errors"] == document["errors"]
    assert checked["done"] == {"bad": "spec.invalid", "demo": "fresh", "new": "lock.missing"}


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("show", "demo"), "lock.missing"),
        (("explain", "demo"), "lock.missing"),
        (("train", "demo"), "lock.missing"),
        (("smoke", "demo"), "lock.missing"),
        (("lock", "deom"), "spec.missing"),
        (("rebase", "demo"), "lock.missing"),
        (("layer-index",), "registry.not-set"),
        (("check", "--nonsense"), "session.arguments"),
    ],
)
def test_every_session_lists_its_error(project: Project, words: tuple[str, ...], code: str) -> None:
    project.write("envs/demo.toml", 'python = "3.11.*"\n')
    document = failed(project, *words, "--json")
    assert [error["code"] for error in document["errors"]] == [code]


def test_documents_of_success_are_alone_on_standard_output(image_project: Project) -> None:
    image_project.variables["GITHUB_ACTIONS"] = "true"
    for session in ("lock", "check", "build-env", "show", "explain"):
        done = call(image_project, session, "demo", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout), session


def test_under_nox_standard_output_is_the_document_too(image_project: Project) -> None:
    done = image_project.nox("-s", "check", "--", "--json", "nonesuch")
    assert done.code == 1
    assert json.loads(done.stdout)["errors"][0]["code"] == "spec.missing"


def test_a_script_that_fails_keeps_its_code_and_its_record(image_project: Project) -> None:
    spec = image_project.root / "envs/demo.toml"
    spec.write_text(spec.read_text() + '[train]\nscript = "train.py"\nsource = "src"\n')
    image_project.write("src/train.py", "import sys\nprint('a line of the log')\nsys.exit(7)\n")
    done = call(image_project, "train", "demo", "--target", "local", "--json")
    assert done.returncode == 7, done.stderr
    document = json.loads(done.stdout)
    assert document["errors"] == []
    assert (document["done"]["status"], document["done"]["exit_code"]) == ("failed", 7)
    assert "a line of the log" in done.stderr


def test_github_groups_what_was_done_and_points_at_lines(image_project: Project) -> None:
    image_project.variables["GITHUB_ACTIONS"] = "true"
    image_project.write("envs/bad.toml", BAD)
    done = call(image_project, "build-env")
    lines = done.stderr.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("::group::demo: assembled"))
    inside = lines[begin + 1 : lines.index("::endgroup::")]
    assert any(line.endswith("planning") for line in inside)
    assert not any(line.startswith("::") for line in inside)
    found = [line for line in lines if line.startswith("::error ")]
    assert [line.partition(",title=")[0] for line in found] == [
        "::error file=envs/bad.toml,line=4", "::error file=envs/bad.toml,line=5",
    ]  # fmt: skip
    assert "\x1b" not in done.stdout + done.stderr


def test_gitlab_gets_sections_that_are_collapsed(image_project: Project) -> None:
    image_project.variables["GITLAB_CI"] = "true"
    said = call(image_project, "build-env").stderr
    assert "[collapsed=true]\n\x1b[0Kdemo: assembled" in said  # `\r`, which Python reads as `\n`
    assert said.count("section_start") == said.count("section_end") == 1
    assert "::" not in said


def test_elsewhere_lines_are_plain(image_project: Project) -> None:
    done = call(image_project, "build-env")
    assert "demo: assembled" in done.stderr
    assert not any(sign in done.stdout + done.stderr for sign in ("\x1b", "::group", "section_"))


@pytest.mark.parametrize("wrap", [wrap_github, wrap_gitlab])
def test_tasks_that_run_side_by_side_are_not_torn_apart(wrap: Any) -> None:
    said: list[str] = []
    progress = Folded(wrap, said.append)
    for step in ("one", "two", "two"):
        progress.update("a", step)
        progress.update("b", step)
    progress.finish("b", "done")
    progress.close()
    assert [line.split()[-1] for line in said if " s  " in line] == ["one", "two"] * 2
    assert "b: done" in said[0]
    assert "a: not finished" in said[4]
    assert len(said) == 8


def test_an_annotation_can_not_be_broken_out_of() -> None:
    error = {
        "environment": None, "code": "x.y", "message": "100%\n::set-output", "hint": None,
        "problems": [{"file": "envs/a,b:c.toml", "line": 3, "key": "k", "message": "x\r\ny"}],
    }  # fmt: skip
    top = Path("/checkout")
    (line,) = render_annotations([error], root=top / "sub", top=top)
    assert line == "::error file=sub/envs/a%2Cb%3Ac.toml,line=3,title=x.y::k: x%0D%0Ay"
    (line,) = render_annotations([error | {"problems": []}], root=top, top=top)
    assert line == "::error title=x.y::100%25%0A::set-output"
