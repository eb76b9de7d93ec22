"""All checks side by side, and the session round them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator

import pytest

from envbuild.doctor.checks import CHECKS
from envbuild.doctor.examine import examine
from envbuild.doctor.finding import Finding, Visit
from envbuild.errors import SpecError
from tests.doctor.conftest import Patient
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import LockedRegistry


def test_one_that_hangs_or_fails_keeps_no_other_from_being_heard(patient: Patient) -> None:
    never = threading.Event()

    def well(_visit: Visit) -> Iterator[Finding]:
        yield Finding(subject="x", message="fine")

    def hangs(_visit: Visit) -> Iterator[Finding]:
        yield Finding(subject="x", message="so far")
        never.wait()

    def refuses(_visit: Visit) -> Iterator[Finding]:
        yield Finding(subject="x", message="so far")
        raise SpecError("spec.none", "no", hint="do")

    def fails(_visit: Visit) -> Iterator[Finding]:
        yield Finding(subject="x", message="so far")
        raise PermissionError(13, "Permission denied", "/x")

    started = time.monotonic()
    checks = {"hangs": hangs, "refuses": refuses, "fails": fails, "well": well}
    found = examine(patient.visit(), checks, longest=0.5)
    assert time.monotonic() - started < 5
    never.set()
    assert list(found) == list(checks)
    assert [f.state for f in found["well"]] == ["ok"]
    assert [f.message for f in found["refuses"]] == ["so far", "no"]
    assert [f.message for f in found["fails"]] == ["so far", "`/x`: permission denied"]
    assert [f.state for f in found["hangs"]] == ["ok", "problem"]


def test_a_bug_stays_a_bug(patient: Patient) -> None:
    def bug(_visit: Visit) -> Iterator[Finding]:
        yield Finding(subject="x", message="so far")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        examine(patient.visit(), {"bug": bug})


def test_session_fails_for_problems_alone(project: Project, pip_index: PipIndex) -> None:
    project.variables["DOCKER_HOST"] = "unix:///nonexistent.sock"
    spec = f'python = "3.11.*"\n[pip]\nindex-url = "{pip_index.url}"\n[image]\nbase = "{{}}"\n'
    project.write("envs/cpu.toml", spec.format("debian:bookworm"))
    parts = ("indexes", "engine", "tools")
    outcome = project.must("-s", "doctor", "--", *parts)
    assert "no problems, 1 warning" in outcome.stdout
    pip_index.broken = 500
    text = project.refused("doctor.problems", "-s", "doctor", "--", *parts)
    assert "1 problem, 1 warning found" in text
    assert "answered 500" in text
    assert "there is no check" in project.refused("session.arguments", "-s", "doctor", "--", "x")


@pytest.mark.registry
def test_all_of_it_as_json_and_without_a_secret(
    project: Project, pip_index: PipIndex, registry_auth: LockedRegistry
) -> None:
    """One look at everything, in a repository whose credentials are all planted."""
    registry_auth.write_login(project.root / "logins")
    pip_index.login = ("ada", "pw-of-the-index")
    project.variables |= {
        "DOCKER_HOST": "unix:///nonexistent.sock",
        "DOCKER_CONFIG": str(project.root / "logins"),
        "ENVBUILD_REPOSITORY": f"{registry_auth.host}/team",
        "PW": "pw-of-the-index",
    }
    url = pip_index.url_with("ada:${PW}")
    project.write("envs/cpu.toml", f'python = "3.11.*"\n[pip]\nindex-url = "{url}"\n')
    outcome = project.nox("-s", "doctor", "--", "--json")
    assert outcome.code == 1, "there is no lock"
    found = json.loads(outcome.stdout)["done"]
    assert {f["check"] for f in found} >= set(CHECKS) - {"channels"}
    assert {"${PW}"} <= {f["subject"] for f in found if f["state"] == "ok"}
    for secret in (registry_auth.password, "pw-of-the-index"):
        assert secret not in outcome.text
