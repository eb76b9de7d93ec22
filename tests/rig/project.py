"""A repository of a test's own, and Nox run in it as a user runs it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envbuild.kit.places import Cache

__all__ = ["Outcome", "Project", "project"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a call of Nox ended: its exit code and what it printed on both streams."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return f"{self.stdout}\n{self.stderr}"


@dataclass(kw_only=True)
class Project:
    """A repository with a noxfile; `variables` go into Nox's environment."""

    root: Path
    cache: Path
    variables: dict[str, str] = field(default_factory=dict)

    def write(self, path: str, text: str) -> Path:
        """Write a file below the repository's root."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def configure(self, **settings: object) -> None:
        """Write `[tool.envbuild]`; values are TOML by way of JSON, tables are inline."""
        lines = [f"{key.replace('_', '-')} = {_toml(value)}" for key, value in settings.items()]
        self.write("pyproject.toml", "[tool.envbuild]\n" + "\n".join(lines) + "\n")

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "nox", *arguments]

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k not in {"CI", "ENVBUILD_REPOSITORY"}}
        return kept | {"ENVBUILD_CACHE": str(self.cache), "NO_COLOR": "1"} | self.variables

    def nox(self, *arguments: str, timeout: float = 300) -> Outcome:
        """Run Nox to its end."""
        done = subprocess.run(
            self.command(*arguments), cwd=self.root, env=self.environment, text=True,
            capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        return Outcome(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    def must(self, *arguments: str, timeout: float = 300) -> Outcome:
        """Run Nox and expect success."""
        outcome = self.nox(*arguments, timeout=timeout)
        assert outcome.code == 0, outcome.text
        return outcome

    def refused(self, code: str, *arguments: str) -> str:
        """Run Nox, expect a purposeful error of this code and no traceback; return the text."""
        outcome = self.nox(*arguments)
        assert outcome.code == 1, outcome.text
        assert f"[{code}]" in outcome.text, outcome.text
        assert "Traceback" not in outcome.text, outcome.text
        return outcome.text

    def build(self, name: str, *options: str) -> dict[str, str]:
        """Build an environment and return its line of `--json`."""
        found = self.must("-s", "build-env", "--", name, "--json", *options).stdout
        (built,) = json.loads(found[found.index("[") :])
        return dict(built)

    def copy(self, folder: Path, **variables: str) -> Project:
        """Return a copy of the repository in `folder`, with an empty cache: another machine."""
        root = folder / "somewhere" / "else"
        shutil.copytree(self.root, root, ignore=shutil.ignore_patterns(".envbuild"))
        return Project(root=root, cache=folder / "other-cache", variables=variables)

    def snapshot(self) -> Mapping[str, tuple[int, bytes]]:
        """Return time and content of every file under `lockfiles/`."""
        files = (p for p in (self.root / "lockfiles").rglob("*") if p.is_file())
        return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in files}


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + " }"
    return json.dumps(value)


@pytest.fixture
def project(tmp_path: Path, cache: Cache) -> Project:
    """An empty repository that uses envbuild."""
    root = tmp_path / "repository"
    root.mkdir()
    made = Project(root=root, cache=cache.root)
    made.write("noxfile.py", "import envbuild\n\nenvbuild.register()\n")
    made.configure()
    return made
