"""Adding and removing packages: the spec's layout stays, the lock follows, and both or nothing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import tomli

from tests.rig.conda_channel import CondaChannel
from tests.rig.pip_index import PipIndex
from tests.rig.project import Outcome, Project

SPEC = """\
# What we train with.
platforms = ["linux-64"]  # what we have
python = "3.11.*"
conda = {{ channels = ["{channel}"] }}
image.base = "scratch"

[pip]
index-url = '{index}'
dependencies = [
  'acme<2',  # the new one is slow
  # of the whole team
  'tool',
]
"""


def edit(project: Project, *words: str) -> Outcome:
    done = subprocess.run(
        [sys.executable, "-m", "envbuild", *words], cwd=project.root, text=True,
        env=project.environment, capture_output=True, check=False, timeout=120,
    )  # fmt: skip
    return Outcome(code=done.returncode, stdout=done.stdout, stderr=done.stderr)


def must(project: Project, *words: str) -> str:
    outcome = edit(project, *words)
    assert outcome.code == 0, outcome.text
    return outcome.stdout


def refused(project: Project, code: str, *words: str) -> str:
    """Expect an error and not a byte changed."""
    before = read_all(project)
    outcome = edit(project, *words)
    assert outcome.code == 1, outcome.text
    assert f"[{code}]" in outcome.text, outcome.text
    assert "Traceback" not in outcome.text
    assert read_all(project) == before
    return outcome.text


def read_all(project: Project) -> Mapping[str, bytes]:
    folders = (project.root / "envs", project.root / "lockfiles")
    return {str(p): p.read_bytes() for f in folders for p in f.rglob("*") if p.is_file()}


def spec(project: Project) -> str:
    return (project.root / "envs" / "demo.toml").read_text()


@pytest.fixture(scope="module")
def index() -> Iterator[PipIndex]:
    with PipIndex() as index:
        for version in ("1.0", "2.0"):
            index.add("acme", version, "helper-tool>=1")
            index.add("tool", version)
        index.add("helper_tool", "1.0")
        index.add("extra", "1.0")
        yield index


@pytest.fixture(scope="module")
def locked(
    tmp_path_factory: pytest.TempPathFactory, index: PipIndex, conda_channel: CondaChannel
) -> Project:
    """A repository with one locked environment."""
    folder = tmp_path_factory.mktemp("edit")
    made = Project(root=folder / "repository", cache=folder / "cache")
    made.write("noxfile.py", "import envbuild\n\nenvbuild.register()\n")
    made.write("envs/demo.toml", SPEC.format(index=index.url, channel=conda_channel.url))
    must(made, "lock", "demo")
    return made


@pytest.fixture
def demo(locked: Project, tmp_path: Path, index: PipIndex) -> Project:
    """A copy of it for one test."""
    index.watch = lambda: None
    root = tmp_path / "repository"
    shutil.copytree(locked.root, root)
    return Project(root=root, cache=locked.cache)


def test_added_replaced_and_removed(demo: Project) -> None:
    text = spec(demo)
    before = read_all(demo)
    said = must(demo, "add", "demo", "--pip", "Extra>=1")
    assert "asks pip for `Extra>=1`" in said
    assert "extra (pip)" in said
    assert "tool (pip)" not in said
    assert spec(demo) == text.replace("  'tool',\n", "  'tool',\n  'Extra>=1',\n")
    must(demo, "check", "demo")
    said = must(demo, "add", "demo", "ACME")
    assert "'ACME',  # the new one is slow" in spec(demo)
    assert "1.0" in said or "acme (pip)" not in said  # the pin of the lock is preferred
    must(demo, "add", "demo", "acme<2", "--pip", "extra==1.0")
    assert "'extra==1.0'" in spec(demo)
    must(demo, "remove", "demo", "EXTRA")
    assert read_all(demo) == before
    assert must(demo, "add", "demo", "tool") == "asks pip for `tool`\n"
    assert read_all(demo) == before


def test_only_the_spec(demo: Project) -> None:
    lock = (demo.root / "lockfiles" / "demo" / "envbuild.lock").read_bytes()
    said = must(demo, "add", "demo", "--pip", "extra", "--no-lock")
    assert "was made from another version of `envs/demo.toml`" in said
    assert "to update the lockfile, run `nox -s lock -- demo`" in said
    assert "'extra'" in spec(demo)
    assert (demo.root / "lockfiles" / "demo" / "envbuild.lock").read_bytes() == lock
    assert "[lock.stale]" in edit(demo, "check", "demo").text
    told = json.loads(must(demo, "remove", "demo", "extra", "--no-lock", "--json"))
    assert told == {
        "environment": "demo", "written": True, "moved": [],
        "requirements": [{"text": "extra", "manager": "pip", "platform": None}], "heirs": [],
    }  # fmt: skip
    said = must(demo, "add", "demo", "tool", "--no-lock")
    assert said == "asks pip for `tool`\n"  # the lock has it already


def test_an_option_takes_all_that_follow(demo: Project) -> None:
    demo.write("envs/demo.toml", 'python = "3.11.*"\n')
    edit_only = ("demo", "--no-lock")
    must(
        demo, "add", *edit_only, "tool", "--system", "git", "curl", "--conda", "greet", "numpy 2.*"
    )
    must(demo, "add", *edit_only, "--system", "file", "--system", "less")
    told = tomli.loads(spec(demo))
    assert told["system"]["packages"] == ["git", "curl", "file", "less"]
    assert told["conda"]["dependencies"] == ["greet", "numpy 2.*"]
    assert told["pip"]["dependencies"] == ["tool"]
    must(demo, "remove", *edit_only, "--system", "git", "curl", "file")
    assert tomli.loads(spec(demo))["system"]["packages"] == ["less"]


def test_a_forgotten_name_is_put_before_the_requirements(demo: Project) -> None:
    demo.write("envs/best.toml", 'python = "3.11.*"\n')
    for words, repeated in (
        (("numpy>=2", "tool"), "best 'numpy>=2' tool"),
        (("numpy>=2",), "best 'numpy>=2'"),
        (("numpy",), "best numpy"),
        (("demo",), "demo numpy"),
    ):
        said = refused(demo, "session.arguments", "add", *words)
        assert f"for example `nox -s add -- {repeated}`" in said
    demo.write("pyproject.toml", '[tool.envbuild]\ndefault-environment = "demo"\n')
    said = refused(demo, "session.arguments", "add", "numpy>=2")
    assert "for example `nox -s add -- demo 'numpy>=2'`" in said


def test_a_path_to_a_spec_is_its_name(demo: Project) -> None:
    before = spec(demo)
    for path in ("envs/demo.toml", "./envs/demo.toml", str(demo.root / "envs/demo.toml")):
        must(demo, "check", path)
        must(demo, "add", path, "--pip", "extra", "--no-lock")
        must(demo, "remove", path, "extra", "--no-lock")
    assert spec(demo) == before
    said = refused(demo, "spec.missing", "lock", "other/demo.toml")
    assert "there is no environment `other/demo.toml`" in said
    assert "did you mean `demo`?" in said


def test_what_others_need_stays_and_says_so(demo: Project) -> None:
    must(demo, "add", "demo", "--pip", "helper-tool")
    said = edit(demo, "remove", "demo", "Helper_Tool", "tool")
    assert said.code == 0
    assert "`Helper_Tool` stays in the lock, because it is needed by `acme`" in said.text
    assert "`tool` stays" not in said.text


def test_what_is_left_out_already(demo: Project) -> None:
    demo.write("envs/base.toml", 'python = "3.11.*"\npip.dependencies = ["acme-tools", "b"]\n')
    text = 'extends = "base"\n\n[pip]\nwithout = ["Acme_Tools"]\n'
    demo.write("envs/demo.toml", text)
    said = refused(demo, "spec.not-asked", "remove", "demo", "acme-tools", "--no-lock")
    assert "`without` under `[pip]` of `envs/demo.toml` leaves it out already" in said
    said = refused(demo, "spec.inherited", "remove", "demo", "b", "--no-lock")
    assert 'add `"b"` to `without` under `[pip]` in `envs/demo.toml`' in said
    must(demo, "add", "demo", "acme-tools<3", "--pip", "acme-tools", "--no-lock")
    removed = edit(demo, "remove", "demo", "acme-tools", "--no-lock")
    assert removed.code == 0
    assert "still asks" not in removed.text
    assert tomli.loads(spec(demo))["pip"] == {"without": ["Acme_Tools"]}
    demo.write("envs/child.toml", 'extends = "demo"\n')
    said = refused(demo, "spec.not-asked", "remove", "child", "acme-tools", "--no-lock")
    assert "of `envs/demo.toml` leaves it out already" in said


def test_of_two_for_the_same_package_the_last_counts(demo: Project) -> None:
    said = must(demo, "add", "demo", "--no-lock", "--pip", "extra>=1", "Extra<1", "Extra<1", "tool")
    assert said.count("asks pip for") == 2
    assert "asks pip for `Extra<1`" in said
    assert "extra>=1" not in spec(demo)


def test_what_can_not_be_solved_changes_nothing(demo: Project) -> None:
    said = refused(demo, "lock.unsatisfiable", "add", "demo", "--pip", "extra>=9")
    assert "nothing was changed" in said
    assert "hint: `envs/demo.toml` is as it was: add another name or version (`nox" in said
    assert "nox -s add -- demo ..." in said
    refused(demo, "spec.requirement", "add", "demo", "--pip", "extra >> 9")
    said = refused(demo, "spec.invalid", "add", "demo", "--conda", "tool")
    assert "`envs/demo.toml` would have a problem" in said


def test_programs_hear_of_failures(demo: Project) -> None:
    told = json.loads(edit(demo, "remove", "demo", "tol", "--json").stdout)
    (error,) = told["errors"]
    assert (error["code"], error["environment"], told["done"]) == ("spec.not-asked", "demo", None)


def test_what_can_not_be_removed(demo: Project) -> None:
    said = refused(demo, "spec.not-asked", "remove", "demo", "helper.tool")
    assert "it is locked because it is needed by `acme`" in said
    assert "did you mean `tool`?" in refused(demo, "spec.not-asked", "remove", "demo", "tol")
    refused(demo, "spec.not-asked", "remove", "demo", "--conda", "tool")
    refused(demo, "spec.missing", "remove", "mak", "tool")
    refused(demo, "session.arguments", "remove", "demo")


def test_a_broken_spec_is_not_edited(demo: Project) -> None:
    demo.write("envs/demo.toml", spec(demo) + "unknown = 1\n")
    refused(demo, "spec.invalid", "add", "demo", "--pip", "extra")


def start(project: Project, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "envbuild", *words], cwd=project.root, text=True,
        env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def hold(index: PipIndex) -> tuple[threading.Event, threading.Event]:
    """Have the index wait with its answers; return what says it was asked, and what frees it."""
    asked, free = threading.Event(), threading.Event()

    def watch() -> None:
        asked.set()
        free.wait(60)

    index.watch = watch
    return asked, free


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_it_resolves(
    demo: Project, index: PipIndex, number: signal.Signals
) -> None:
    before = read_all(demo)
    asked, free = hold(index)
    run = start(demo, "add", "demo", "--pip", "extra")
    try:
        assert asked.wait(60)
        os.kill(run.pid, number)
        said, _ = run.communicate(timeout=40)
    finally:
        free.set()
        run.kill()
        run.wait()
    assert run.returncode == 130, said
    assert "Traceback" not in said
    assert read_all(demo) == before


def test_an_edit_by_hand_meanwhile_is_kept(demo: Project, index: PipIndex) -> None:
    asked, free = hold(index)
    run = start(demo, "add", "demo", "--pip", "extra")
    try:
        assert asked.wait(60)
        mine = demo.write("envs/demo.toml", spec(demo) + "# mine\n")
        before = read_all(demo)
        free.set()
        said, _ = run.communicate(timeout=60)
    finally:
        free.set()
        run.kill()
        run.wait()
    assert "[spec.overtaken]" in said
    assert mine.read_text().endswith("# mine\n")
    assert read_all(demo) == before


def test_two_at_once(demo: Project) -> None:
    runs = [start(demo, "add", "demo", "--pip", name) for name in ("extra", "helper-tool")]
    assert [run.communicate(timeout=90)[1] for run in runs] == [None, None]
    assert "'extra'" in spec(demo)
    assert "'helper-tool'" in spec(demo)
    must(demo, "check", "demo")


def test_link_and_mode_of_the_file_stay(demo: Project) -> None:
    file = demo.root / "envs" / "demo.toml"
    real = file.rename(demo.root / "real.toml")
    real.chmod(0o640)
    file.symlink_to(real)
    must(demo, "add", "demo", "--pip", "extra", "--no-lock")
    assert file.is_symlink()
    assert "'extra'" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o640


def test_conda_first_where_there_is_conda(
    project: Project, conda_channel: CondaChannel, tmp_path: Path
) -> None:
    project.write(
        "envs/demo.toml",
        'platforms = ["linux-64"]\npython = "3.11.*"\n[image]\nbase = "scratch"\n'
        f'[conda]\nchannels = ["{conda_channel.url}"]\n',
    )
    said = must(project, "add", "demo", "Greet 1.*")
    assert "asks conda for `Greet 1.*`" in said
    assert "greet (conda)" in said
    refused(project, "spec.invalid", "add", "demo", "--system", "git")
    refused(project, "lock.unsatisfiable", "add", "demo", "no-such-package")
    must(project, "add", "demo", "greet")
    assert 'dependencies = ["greet"]' in spec(project)
    before = spec(project)
    assert "removed" in must(project, "remove", "demo", "GREET")
    assert spec(project) == before.replace('dependencies = ["greet"]\n', "")
    must(project, "check", "demo")


def test_a_namesake_has_to_be_said(project: Project) -> None:
    project.write(
        "envs/demo.toml",
        'python = "3.11.*"\n[conda]\ndependencies = ["graphviz"]\n'
        '[pip]\ndependencies = ["graphviz"]\n',
    )
    said = refused(project, "spec.which-manager", "remove", "demo", "graphviz", "--no-lock")
    assert "nox -s remove -- demo --conda graphviz" in said
    must(project, "remove", "demo", "--pip", "graphviz", "--no-lock")
    assert spec(project).endswith("[pip]\ndependencies = []\n")


def test_what_is_inherited_stays_where_it_is(demo: Project) -> None:
    demo.write("pyproject.toml", '[tool.envbuild.defaults.pip]\ndependencies = ["shared"]\n')
    demo.write("envs/base.toml", 'python = "3.11.*"\n[pip]\ndependencies = ["Acme_Tools<2", "b"]\n')
    demo.write("envs/demo.toml", 'extends = "base"\n')
    edit_only = ("demo", "--no-lock")
    said = refused(demo, "spec.inherited", "remove", *edit_only, "acme.tools")
    assert "is asked for by `envs/base.toml`" in said
    assert "`pyproject.toml`" in refused(demo, "spec.inherited", "remove", *edit_only, "shared")
    must(demo, "add", *edit_only, "acme-tools")
    assert spec(demo) == 'extends = "base"\n\n[pip]\ndependencies = ["acme-tools"]\n'
    removed = edit(demo, "remove", *edit_only, "acme-tools")
    assert removed.code == 0
    assert "`envs/base.toml` still asks for `acme-tools`" in removed.text
    assert spec(demo) == 'extends = "base"\n'
    said = refused(demo, "spec.name", "add", "envbuild-minimal", "acme")
    assert 'extends = "envbuild-minimal"' in said


def test_for_one_platform(demo: Project, index: PipIndex) -> None:
    """Of two platforms, one gets a package, in its own table, and gives it back."""
    both = spec(demo).replace('["linux-64"]', '["linux-64", "linux-aarch64"]')
    demo.write("envs/demo.toml", both)
    must(demo, "lock", "demo")
    before = read_all(demo)
    for_one = ("--platform", "linux-aarch64")
    told = must(demo, "add", "demo", "--pip", "extra>=1", *for_one)
    assert "asks pip for `extra>=1` on `linux-aarch64`" in told
    table = '\n[platform.linux-aarch64.pip]\ndependencies = ["extra>=1"]\n'
    assert spec(demo) == both + table
    folder = demo.root / "lockfiles/demo"
    assert "extra" in (folder / "requirements.linux-aarch64.txt").read_text()
    assert "extra" not in (folder / "requirements.linux-64.txt").read_text()
    must(demo, "check", "demo")
    must(demo, "add", "demo", "EXTRA", *for_one)  # where the package is already
    assert spec(demo) == both + table.replace("extra>=1", "EXTRA")

    refused(demo, "lock.unsatisfiable", "add", "demo", "--pip", "extra>=9", *for_one)
    said = refused(demo, "spec.not-asked", "remove", "demo", "extra")
    assert "nox -s remove -- demo extra --platform linux-aarch64" in said
    said = refused(demo, "spec.not-asked", "remove", "demo", "tool", *for_one)
    assert "it does for all platforms: run `nox -s remove -- demo tool`" in said
    said = refused(demo, "spec.invalid", "add", "demo", "tool", *for_one)
    assert "is asked for before, or for all platforms" in said
    must(demo, "remove", "demo", "extra", *for_one)
    assert read_all(demo) == before

    for session, what in (("add", "extra"), ("remove", "tool")):
        said = refused(demo, "spec.platform", session, "demo", what, "--platform", "osx-64")
        assert "not for the platform `osx-64`, but for `linux-64` and `linux-aarch64`" in said
        assert "add it to `platforms` in `envs/demo.toml`" in said
    said = refused(demo, "spec.platform", "add", "demo", "tool", "--platform", "linux-arch64")
    assert "did you mean `linux-aarch64`?" in said


def test_a_platform_that_is_near_another_one_is_meant(demo: Project) -> None:
    said = refused(demo, "spec.platform", "add", "demo", "tool", "--platform", "linux-aarch64")
    assert "add it to `platforms` in `envs/demo.toml`" in said
    assert "did you mean" not in said


def test_for_several_platforms_at_once(demo: Project) -> None:
    both = spec(demo).replace('["linux-64"]', '["linux-64", "linux-aarch64"]')
    demo.write("envs/demo.toml", both)
    each = ("--platform", "linux-64", "--platform", "linux-aarch64", "--no-lock")
    must(demo, "add", "demo", "--pip", "extra", "--conda", "greet", *each)
    told = tomli.loads(spec(demo))["platform"]
    assert told == {
        name: {"pip": {"dependencies": ["extra"]}, "conda": {"dependencies": ["greet"]}}
        for name in ("linux-64", "linux-aarch64")
    }
    must(demo, "remove", "demo", "extra", "greet", *each)
    assert spec(demo) == both


def test_a_table_that_add_made_goes_again_and_one_of_a_person_stays(demo: Project) -> None:
    text = 'python = "3.11.*"\n\n[image]\nuser = "nonroot"\n'
    edit_only = ("demo", "--no-lock")
    demo.write("envs/demo.toml", text)
    must(demo, "add", *edit_only, "--conda", "greet")
    must(demo, "add", *edit_only, "--pip", "tool", "--conda", "numpy")
    must(demo, "remove", *edit_only, "greet", "tool")
    assert spec(demo) == text + '\n[conda]\ndependencies = ["numpy"]\n'
    must(demo, "remove", *edit_only, "numpy")
    assert spec(demo) == text
    own = demo.write("envs/demo.toml", text + '\n[conda]\ndependencies = ["greet"]\n')
    must(demo, "remove", *edit_only, "greet")
    assert own.read_text() == text + "\n[conda]\ndependencies = []\n"


def test_what_the_machine_remembers_may_be_lost(demo: Project) -> None:
    text = 'python = "3.11.*"\n'
    edit_only = ("demo", "--no-lock")
    for broken in (None, "{", '{"a": 1}', "[1]", '{"spec": 1, "made": [["conda"]]}'):
        demo.write("envs/demo.toml", text)
        must(demo, "add", *edit_only, "--conda", "greet")
        (file,) = (demo.root / ".envbuild").rglob("demo.json")
        file.unlink() if broken is None else file.write_text(broken)
        must(demo, "remove", *edit_only, "greet")
        assert spec(demo) == text + "\n[conda]\ndependencies = []\n"


def test_what_it_remembers_counts_only_for_the_file_as_it_left_it(demo: Project) -> None:
    """As after `git checkout` of an older state, and a `[conda]` of a person's own in it."""
    text = 'python = "3.11.*"\n'
    edit_only = ("demo", "--no-lock")
    demo.write("envs/demo.toml", text)
    must(demo, "add", *edit_only, "--conda", "greet")
    demo.write("envs/demo.toml", text + '\n[conda]\ndependencies = [ "greet" ]\n')
    must(demo, "remove", *edit_only, "--conda", "greet")
    assert "[conda]\n" in spec(demo)
    must(demo, "add", *edit_only, "--conda", "greet")
    must(demo, "remove", *edit_only, "--conda", "greet")
    assert "[conda]\n" in spec(demo)


def test_environments_that_extend_it_are_named(demo: Project, index: PipIndex) -> None:
    """Only those whose own spec doesn't say otherwise are stale after an edit of the parent."""
    demo.write("envs/child.toml", 'extends = "demo"\n')
    demo.write("envs/grandchild.toml", 'extends = "child"\n')
    demo.write("envs/other.toml", 'extends = "demo"\n[pip]\ndependencies = ["extra==1.0"]\n')
    demo.write("envs/wrong.toml", 'extends = "demo"\nunknown = 1\n')
    must(demo, "lock", "child", "grandchild", "other")
    said = must(demo, "add", "demo", "--pip", "extra")
    assert "`child` and `grandchild` extend `demo`; next: `nox -s lock -- child grandchild`" in said
    must(demo, "check", "demo", "other")
    assert "2 of 2" in edit(demo, "check", "child", "grandchild").text
    must(demo, "lock", "child", "grandchild")
    must(demo, "check", "child", "grandchild")
    told = json.loads(must(demo, "remove", "demo", "--pip", "extra", "--json"))
    assert told["heirs"] == ["child", "grandchild"]
    must(demo, "lock", "child", "grandchild")
    assert "next:" not in must(demo, "add", "demo", "--pip", "tool")  # as before: no edit at all

    demo.write("envs/other.toml", 'extends = "demo"\nconda.dependencies = ["extra"]\n')
    outcome = edit(demo, "add", "demo", "--pip", "extra", "--no-lock")
    assert "other: with that change, `envs/other.toml` has a problem" in outcome.text
    assert "nox -s lock -- child grandchild other" in outcome.stdout


def test_by_nox(demo: Project) -> None:
    demo.must("-s", "add", "--", "demo", "--pip", "extra")
    demo.must("-s", "remove", "--", "demo", "extra")
