"""Work on this machine: the folder of an environment against a venv, and pre-commit's hook."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.timing import Sample, pair, print_rows, run, say
from benchmarks.workspace import REQUIREMENTS, Workspace, open_workspace

__all__ = ["measure", "measure_hook"]

_ENVIRONMENTS = 50
_VERSIONS = ("tqdm==4.66.5", "tqdm==4.67.0", "tqdm==4.66.4", "tqdm==4.67.1")
_HOOKS = """\
repos:
  - repo: local
    hooks:
      - {id: check, name: check, entry: COMMAND check --files, language: system}
      - {id: nothing, name: nothing, entry: "true", language: system}
"""


def measure(rounds: int) -> None:
    """Print the rows of `local-env`; the wheels are downloaded on both sides."""
    with open_workspace() as space:
        say("locking and downloading")
        for number, version in enumerate(_VERSIONS[:2]):
            _lock(space, version)
            if not number:
                space.write_context("bench")
        folder = space.root / "venv"

        def make(_: int) -> Sample:
            for name in ("envs", "local"):
                shutil.rmtree(space.cache / name, ignore_errors=True)
            return space.nox("-s", "local-env", "--", "bench")

        def install(_: int) -> Sample:
            shutil.rmtree(folder, ignore_errors=True)
            made = _run(space, sys.executable, "-m", "venv", str(folder))
            return made.and_then(_install(space, folder))

        left, right = pair(make, install, rounds=rounds)
        print_rows(
            "environment as a folder (`venv`, then `pip install` of the lock)", left, right, ""
        )

        def update(number: int) -> Sample:
            _lock(space, _VERSIONS[number % len(_VERSIONS)])
            return space.nox("-s", "local-env", "--", "bench")

        left, right = pair(update, lambda _: _install(space, folder), rounds=rounds)
        print_rows("the same after one package changed (`pip install` of that)", left, right, "")
        left, right = pair(
            lambda _: space.nox("-s", "local-env", "--", "bench"),
            lambda _: _install(space, folder),
            rounds=rounds,
        )
        print_rows("the same with nothing to do (`pip install`)", left, right, "")


def _lock(space: Workspace, version: str) -> None:
    space.write_environment("bench", [*REQUIREMENTS, version])
    space.lock("bench")
    space.write_context("bench")


def _install(space: Workspace, folder: Path) -> Sample:
    context = space.root / "context" / "bench"
    return _run(
        space, str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--no-index",
        "--no-deps", "--no-compile", "--disable-pip-version-check", "--require-hashes",
        "--find-links", str(context / "wheels"), "--requirement", str(context / "requirements.txt"),
    )  # fmt: skip


def measure_hook(rounds: int) -> None:
    """Print the row of pre-commit's check, of a commit that touches all specs and locks."""
    with open_workspace() as space:
        say("locking one environment")
        space.write_environment("bench-00", ["tqdm"])
        space.nox("-s", "lock")
        for number in range(1, _ENVIRONMENTS):
            name = f"bench-{number:02}"
            shutil.copy(space.root / "envs/bench-00.toml", space.root / f"envs/{name}.toml")
            shutil.copytree(space.root / "lockfiles/bench-00", space.root / f"lockfiles/{name}")
        command = str(Path(sys.executable).with_name("envbuild"))
        file = space.root / ".pre-commit-config.yaml"
        file.write_text(_HOOKS.replace("COMMAND", command))
        (space.root / ".gitignore").write_text("/cache/\n*.log\n")
        for arguments in (("init", "--quiet"), ("add", ".")):
            subprocess.run(["git", *arguments], cwd=space.root, check=True)
        left, right = pair(
            lambda _: _run_hook(space, "check"),
            lambda _: _run_hook(space, "nothing"),
            rounds=max(rounds, 7),
        )
        title = f"pre-commit's check of {_ENVIRONMENTS} environments (a hook that runs `true`)"
        print_rows(title, left, right, "")


def _run_hook(space: Workspace, hook: str) -> Sample:
    program = str(Path(sys.executable).with_name("pre-commit"))
    return _run(space, program, "run", hook, "--all-files")


def _run(space: Workspace, *argv: str) -> Sample:
    environment = space.environment | {"PIP_CONFIG_FILE": os.devnull}
    return run(list(argv), cwd=space.root, env=environment, log=space.root / "peer.log")
