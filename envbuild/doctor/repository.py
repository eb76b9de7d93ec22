"""The repository: sessions registered, specs right, locks fresh, hooks installed?"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from envbuild.doctor.finding import Finding, Visit, describe
from envbuild.errors import EnvbuildError
from envbuild.spec.schema import SCHEMA_FILE
from envbuild.start.begin import is_ignored
from envbuild.start.noxfile import registers
from envbuild.start.scaffold import SCHEMA_PLACE

__all__ = ["check_repository"]


def check_repository(visit: Visit) -> Iterator[Finding]:
    """Look at what is written in the repository."""
    root = visit.workspace.root
    yield _check_noxfile(root)
    yield from _check_settings(visit)
    yield from _check_environments(visit)
    yield _check_ignored(root)
    yield from _check_schema(root)
    yield from _check_hook(root)


def _check_noxfile(root: Path) -> Finding:
    path = root / "noxfile.py"
    if registers(path):
        return Finding(subject="noxfile.py", message="registers envbuild's sessions")
    if path.exists():
        return Finding(
            subject="noxfile.py", state="warning", message="doesn't call `envbuild.register()`",
            hint="add `import envbuild` and `envbuild.register()` to it",
        )  # fmt: skip
    return Finding(
        subject="noxfile.py", state="warning", message="is not there",
        hint="to write one, run `envbuild init`",
    )  # fmt: skip


def _check_settings(visit: Visit) -> Iterator[Finding]:
    try:
        settings = visit.workspace.settings
    except EnvbuildError as error:
        yield describe("pyproject.toml", error)
        return
    default = settings.default_environment
    if default is not None and default not in visit.workspace.environments:
        yield Finding(
            subject="pyproject.toml", state="problem",
            message=f"`default-environment` is `{default}`, and there is no `envs/{default}.toml`",
            hint=f"run `nox -s scaffold -- {default}`, or name another one",
        )  # fmt: skip


def _check_environments(visit: Visit) -> Iterator[Finding]:
    names = visit.workspace.environments
    if not names:
        yield Finding(
            subject="envs", state="warning", message="there is no environment",
            hint="to write one, run `nox -s scaffold -- NAME`",
        )  # fmt: skip
    for name in names:
        try:
            visit.workspace.load_fresh(name)
        except EnvbuildError as error:
            yield describe(f"`{name}`", error)
        else:
            yield Finding(subject=f"`{name}`", message="the spec is right, the lock up to date")
        yield from _check_files(visit, name)
    yield from _check_orphans(visit)


def _check_files(visit: Visit, name: str) -> Iterator[Finding]:
    """Look for what the spec runs, which a lock knows nothing of."""
    try:
        spec = visit.workspace.load(name)
    except EnvbuildError:
        return
    wanted = []
    if spec.train:
        wanted.append(("train.script", Path(spec.train.source, spec.train.script)))
    if spec.smoke and spec.smoke.entry_script:
        wanted.append(("smoke.entry-script", Path(spec.smoke.source, spec.smoke.entry_script)))
    for key, path in wanted:
        if not (visit.workspace.root / path).is_file():
            yield Finding(
                subject=f"`{name}`", state="problem",
                message=f"`{key}` leads to `{path}`, and there is no such file",
                hint=f"write it, or correct the spec, `envs/{name}.toml`",
            )  # fmt: skip


def _check_orphans(visit: Visit) -> Iterator[Finding]:
    """Look for locks whose spec is gone."""
    workspace = visit.workspace
    folder = workspace.repository.lock_folder("")
    known = {*workspace.used, *workspace.environments}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and path.name not in known:
            yield Finding(
                subject=f"lockfiles/{path.name}", state="warning",
                message="is the lock of an environment that is not there",
                hint=f"to remove it, run `git rm -r lockfiles/{path.name}`",
            )  # fmt: skip


def _check_ignored(root: Path) -> Finding:
    if is_ignored(root):
        return Finding(subject=".envbuild", message="is ignored by git")
    return Finding(
        subject=".envbuild", state="warning", message="is not ignored by git, and runs go there",
        hint="run `echo .envbuild/ >> .gitignore`",
    )  # fmt: skip


def _check_schema(root: Path) -> Iterator[Finding]:
    path = root / SCHEMA_PLACE
    if not path.is_file():
        return
    if path.read_bytes() == SCHEMA_FILE.read_bytes():
        yield Finding(subject=SCHEMA_PLACE, message="is that of this version")
    else:
        yield Finding(
            subject=SCHEMA_PLACE, state="warning", message="is that of another version of envbuild",
            hint="to renew it, run `envbuild init`",
        )  # fmt: skip


def _check_hook(root: Path) -> Iterator[Finding]:
    """See whether the hooks run that the repository configures for pre-commit."""
    config = root / ".pre-commit-config.yaml"
    if not config.is_file() or "envbuild" not in config.read_text(errors="replace"):
        return
    command = ["git", "-C", str(root), "rev-parse", "--git-path", "hooks/pre-commit"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return
    if done.returncode == 0 and (root / done.stdout.strip()).is_file():
        yield Finding(subject="pre-commit", message="its hook is installed")
    else:
        yield Finding(
            subject="pre-commit", state="warning",
            message="is configured with envbuild's hooks, and doesn't run before commits",
            hint="run `pre-commit install`",
        )  # fmt: skip
