"""Runs the shell steps of CI workflows in order, as GitHub and GitLab run them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.rig.project import Outcome, Project

__all__ = ["Runner", "list_scripts"]

_EXPRESSION = re.compile(r"\$\{\{ (.+?) \}\}")


def list_scripts(file: Path) -> list[str]:
    """Return every shell script of a workflow."""
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            for key, part in value.items():
                if key == "run" and isinstance(part, str):
                    found.append(part)
                elif key in {"script", "before_script"}:
                    found.append("\n".join(part))
                else:
                    walk(part)
        elif isinstance(value, list):
            for part in value:
                walk(part)

    walk(yaml.safe_load(file.read_text()))
    return found


@dataclass(kw_only=True)
class Runner:
    """A machine of a CI system, whose checkout is the repository of `project`.

    `expressions` are the values of GitHub's; one that is not among them fails the test.
    """

    project: Project
    folder: Path
    variables: dict[str, str] = field(default_factory=dict)
    expressions: Mapping[str, str] = field(default_factory=dict)

    def run_github(
        self, file: Path, job: str, row: Mapping[str, str] | None = None
    ) -> tuple[list[str], dict[str, str]]:
        """Run a job up to its first failure; return the names of its good steps, its outputs."""
        workflow = yaml.safe_load(file.read_text())
        expressions = dict(self.expressions)
        expressions |= {f"matrix.{key}": value for key, value in (row or {}).items()}
        shared = {**workflow.get("env", {}), **workflow["jobs"][job].get("env", {})}
        outputs: dict[str, str] = {}
        done: list[str] = []
        for step in workflow["jobs"][job]["steps"]:
            if "run" not in step or not self._is_met(step.get("if"), expressions):
                continue
            place = self.folder / "outputs"
            place.write_text("")
            env = {**shared, **step.get("env", {})}
            variables = {k: _fill(str(v), expressions) for k, v in env.items()}
            variables |= {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(place)}
            ended = self._bash(_fill(step["run"], expressions), variables)
            if ended.code:
                self.last = ended
                break
            done.append(step["name"])
            new = dict(line.split("=", 1) for line in place.read_text().splitlines())
            outputs |= new
            expressions |= {f"steps.{step.get('id')}.outputs.{k}": v for k, v in new.items()}
        return done, outputs

    def run_gitlab(self, job: Mapping[str, Any], shared: Mapping[str, str]) -> Outcome:
        """Run the scripts of a GitLab job, one line after the other in one shell."""
        lines: Sequence[str] = [*job.get("before_script", ()), *job["script"]]
        env = {k: str(v) for k, v in {**shared, **job.get("variables", {})}.items()}
        variables = {"GITLAB_CI": "true"}
        for name, text in env.items():
            found = re.fullmatch(r"\$(\w+)", text)
            variables[name] = self.variables.get(found[1], "") if found else text
        return self._bash("\n".join(lines), variables)

    def _is_met(self, condition: str | None, expressions: Mapping[str, str]) -> bool:
        if condition is None:
            return True
        found = re.fullmatch(r"([\w.-]+) == '(\w+)'", condition)
        assert found is not None, condition
        return expressions[found[1]] == found[2]

    def _bash(self, script: str, variables: Mapping[str, str]) -> Outcome:
        base = self.project.environment
        path = f"{Path(sys.executable).parent}:{base['PATH']}"
        env = {**base, **variables, **self.variables, "PATH": path, "CI": "true"}
        env |= {"HOME": str(self.folder), "RUNNER_TEMP": str(self.folder)}
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=self.project.root, env=env, text=True,
            capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=500,
        )  # fmt: skip
        return Outcome(code=done.returncode, stdout=done.stdout, stderr=done.stderr)

    last: Outcome = field(default_factory=lambda: Outcome(code=0, stdout="", stderr=""))
    """How the step that failed ended."""


def _fill(text: str, expressions: Mapping[str, str]) -> str:
    return _EXPRESSION.sub(lambda found: expressions[found[1]], text)
