"""What the tests of this room share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from envbuild.doctor.finding import Check, Finding, Visit
from envbuild.kit.places import Cache
from envbuild.kit.retry import Patience
from envbuild.workspace.workspace import Workspace
from tests.oci.conftest import no_logins
from tests.rig.disk import small_disk

__all__ = ["Patient", "no_logins", "patient", "small_disk"]

QUICK = Patience(attempts=1, connect=2.0, read=0.5)


@dataclass(frozen=True, kw_only=True)
class Patient:
    """A repository to be looked at, anew each time."""

    root: Path

    def write(self, path: str, text: str) -> None:
        """Write a file of the repository; `cpu` alone is an environment's name."""
        file = self.root / (path if "." in path else f"envs/{path}.toml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def visit(self) -> Visit:
        return Visit(workspace=Workspace(root=self.root), patience=QUICK)

    def see(self, check: Check) -> list[Finding]:
        """Return what a check finds; a hint wherever something isn't well."""
        found = list(check(self.visit()))
        assert all(f.hint for f in found if f.state != "ok")
        return found

    def ills(self, check: Check) -> list[Finding]:
        """Return what a check finds that isn't well."""
        return [f for f in self.see(check) if f.state != "ok"]

    def ill(self, check: Check) -> Finding:
        """Return the only thing that isn't well."""
        (found,) = self.ills(check)
        return found


@pytest.fixture
def patient(
    tmp_path: Path, cache: Cache, monkeypatch: pytest.MonkeyPatch, no_logins: Callable[[], Path]
) -> Patient:
    """An empty repository, and nothing of whoever runs the tests."""
    root = tmp_path / "patient"
    root.mkdir()
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("ENVBUILD_REPOSITORY", raising=False)
    return Patient(root=root)
