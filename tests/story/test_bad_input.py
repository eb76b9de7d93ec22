"""A user's mistakes: a clear error with a stable code, no traceback, nothing changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuild.sessions.table import SESSIONS
from tests.rig.conda_channel import CondaChannel
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry

SPEC = 'platforms = ["linux-64"]\npython = "3.11.*"\n[conda]\ndependencies = ["greet 1.0"]\n'
SCRATCH = '[image]\nbase = "scratch"\n'


@pytest.fixture
def locked(project: Project, conda_channel: CondaChannel) -> Project:
    """A repository with one small locked environment."""
    project.configure(mirrors={k: list(v) for k, v in conda_channel.mirrors.items()})
    project.write("envs/cpu.toml", SPEC + SCRATCH)
    project.must("-s", "lock", "--", "cpu")
    return project


def test_unknown_environment_names_the_nearest(locked: Project) -> None:
    assert "did you mean `cpu`?" in locked.refused("spec.missing", "-s", "lock", "--", "cpuu")


def test_empty_repository_takes_the_smallest_environment_and_says_so(project: Project) -> None:
    said = project.refused("lock.missing", "-s", "build-env")
    assert "there is none in `envs/`; taking `envbuild-minimal`" in said
    assert "run `envbuild init`" in said
    assert "nox -s lock -- envbuild-minimal" in said


def test_wrong_arguments_name_the_help(locked: Project) -> None:
    text = locked.refused("session.arguments", "-s", "lock", "--", "--upgrad")
    assert "nox -s lock -- --help" in text


@pytest.mark.parametrize("session", sorted(SESSIONS))
def test_every_session_has_help(locked: Project, session: str) -> None:
    assert f"nox -s {session} --" in locked.must("-s", session, "--", "--help").stdout


def test_one_broken_spec_does_not_break_the_list_or_the_others(locked: Project) -> None:
    locked.write("envs/broken.toml", "python = 3.11\n[conda]\ndependancies = []\n")
    assert "build-env" in locked.must("--list").stdout
    locked.must("-s", "check", "build-env", "--", "cpu")
    text = locked.refused("spec.invalid", "-s", "lock", "--", "broken")
    assert "did you mean `dependencies`?" in text
    assert "`python`" in text


def test_stale_lock_is_refused_with_the_section_that_moved(locked: Project) -> None:
    locked.write("envs/cpu.toml", SPEC.replace("1.0", "2.*") + SCRATCH)
    for session in ("check", "build-env"):
        text = locked.refused("lock.stale", "-s", session, "--", "cpu")
        assert "`conda`" in text
        assert "nox -s lock -- cpu" in text


def test_missing_lock_names_the_command(locked: Project) -> None:
    locked.write("envs/new.toml", SPEC + SCRATCH)
    assert "nox -s lock -- new" in locked.refused("lock.missing", "-s", "build-env", "--", "new")


@pytest.mark.parametrize("file", ["envbuild.lock", "conda-lock.yml"])
def test_edited_lock_is_refused_and_made_anew_by_lock(locked: Project, file: str) -> None:
    path = locked.root / "lockfiles/cpu" / file
    path.write_text(path.read_text().replace("greet-1.0", "greet-1.9"))
    locked.refused("lock.edited", "-s", "build-env", "--", "cpu")
    locked.must("-s", "lock", "check", "--", "cpu")


def test_lock_of_another_format_is_refused(locked: Project) -> None:
    path = locked.root / "lockfiles/cpu/envbuild.lock"
    path.write_text(path.read_text().replace("version = 2\n", "version = 99\n"))
    locked.refused("lock.version", "-s", "check", "--", "cpu")


def test_unsatisfiable_request_shows_the_reason_and_keeps_the_old_lock(locked: Project) -> None:
    before = locked.snapshot()
    locked.write("envs/cpu.toml", SPEC.replace("greet 1.0", "greet 9.*") + SCRATCH)
    text = locked.refused("lock.unsatisfiable", "-s", "lock", "--", "cpu")
    assert "greet 9.*" in text
    assert locked.snapshot() == before


def test_one_failure_does_not_stop_the_others(locked: Project) -> None:
    locked.write("envs/bad.toml", SPEC.replace("greet 1.0", "greet 9.*") + SCRATCH)
    locked.write("envs/good.toml", SPEC + SCRATCH)
    text = locked.refused("lock.unsatisfiable", "-s", "lock")
    assert "good: locked" in text


def test_upgrading_a_package_moves_it_wherever_it_is_and_nowhere_else(locked: Project) -> None:
    locked.write("envs/other.toml", SPEC.replace("greet 1.0", "needs-glibc") + SCRATCH)
    locked.must("-s", "lock")
    other = (locked.root / "lockfiles/other/envbuild.lock").read_bytes()
    locked.must("-s", "lock", "--", "--upgrade-package", "greet")
    assert (locked.root / "lockfiles/other/envbuild.lock").read_bytes() == other
    text = locked.refused("lock.unknown-package", "-s", "lock", "--", "--upgrade-package", "gret")
    assert "did you mean `greet`?" in text
    for names in ([], ["other"]):  # no name is near that only shares some letters
        text = locked.refused(
            "lock.unknown-package", "-s", "lock", "--", *names, "--upgrade-package", "gradete"
        )
        assert "did you mean" not in text


def test_package_with_another_hash_is_refused(project: Project, pip_index: PipIndex,
                                              conda_channel: CondaChannel) -> None:  # fmt: skip
    project.configure(mirrors={k: list(v) for k, v in conda_channel.mirrors.items()})
    other = pip_index.add("acme", "1.0", files={"acme.py": b"print('someone else')\n"}).data
    pip_index.add("acme", "1.0", served=other)
    project.write(
        "envs/pip.toml",
        SPEC + f'[pip]\ndependencies = ["acme"]\nindex-url = "{pip_index.url}"\n' + SCRATCH,
    )
    project.must("-s", "lock", "--", "pip")
    project.refused("lock.hash-mismatch", "-s", "build-env", "--", "pip")
    assert not list(project.cache.glob("packages/*/acme*")), "a wrong file got into the cache"


def test_spec_that_is_no_text_names_the_place(locked: Project) -> None:
    (locked.root / "envs/latin.toml").write_bytes(b'description = "caf\xe9"\n')
    locked.refused("spec.encoding", "-s", "check", "--", "latin")


def test_foreign_platform_is_built_but_not_run(locked: Project) -> None:
    table = '[train]\nscript = "train.py"\n'
    spec = SPEC.replace("linux-64", "linux-aarch64") + SCRATCH + table
    locked.write("envs/arm.toml", spec)
    locked.must("-s", "lock", "--", "arm")
    assert list(locked.build("arm")["platforms"]) == ["linux-aarch64"]
    assert "linux-64" in locked.refused("image.platform", "-s", "train", "--", "arm")


def test_train_without_a_table_says_what_to_add(locked: Project) -> None:
    assert "[train]" in locked.refused("train.none", "-s", "train", "--", "cpu")


def test_push_without_a_registry_says_where_to_set_one(locked: Project) -> None:
    text = locked.refused("registry.not-set", "-s", "build-env", "--", "cpu", "--push")
    assert "ENVBUILD_REPOSITORY" in text


def test_base_image_that_is_not_there(locked: Project, registry: RunningRegistry) -> None:
    locked.write("envs/base.toml", SPEC + f'[image]\nbase = "{registry.host}/no/such:1"\n')
    text = locked.refused("registry.not-found", "-s", "lock", "--", "base")
    assert "no/such" in text


def test_disk_that_is_full_leaves_no_half_image(locked: Project, small_disk: Path) -> None:
    """A cache with room for 64 KiB: the build says so, and leaves nothing that counts."""
    tight = Project(root=locked.root, cache=small_disk)
    outcome = tight.nox("-s", "build-env", "--", "cpu")
    assert outcome.code == 1, outcome.text
    assert "Traceback" not in outcome.text, outcome.text
    assert "[disk.full]" in outcome.text or "[layer.no-space]" in outcome.text, outcome.text
    locked.build("cpu")


def test_value_of_a_scripts_option_is_not_taken_for_an_environment(locked: Project) -> None:
    text = locked.refused("session.arguments", "-s", "train", "--", "--epochs", "3")
    assert "`nox -s train -- -- --epochs 3`" in text
    assert "did you mean `cpu`?" in locked.refused(
        "spec.missing", "-s", "train", "--", "cpuu", "--epochs", "3"
    )


def test_default_environment_that_is_not_there_names_the_setting(locked: Project) -> None:
    settings = locked.root / "pyproject.toml"
    text = settings.read_text()
    settings.write_text(
        text.replace("[tool.envbuild]\n", '[tool.envbuild]\ndefault-environment = "gpu"\n', 1)
    )
    assert "`default-environment`" in locked.refused("spec.missing", "-s", "train")
