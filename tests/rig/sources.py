"""Python projects with a build backend of their own, as source distributions, git, and trees."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.rig.need import missing

__all__ = ["commit_all", "make_repository", "make_sdist", "project_files", "run_git", "write_files"]

# A backend that is part of the project (PEP 517, `backend-path`) and does all that a build must
# not be swayed by: it asks for the time, takes files in any order, and packs as it likes. What
# `kit`, its build requirement, says of itself goes into the wheel.
_BACKEND = """\
import os, pathlib, random, time, tomllib, zipfile

def _project():
    return tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]

def _write(out, files, tag="py3-none-any"):
    project = _project()
    stem = f"{project['name'].replace('-', '_')}-{project['version']}"
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {project['version']}"]
    lines += [f"Requires-Dist: {r}" for r in project.get("dependencies", [])]
    for extra, requires in project.get("optional-dependencies", {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {r}; extra == '{extra}'" for r in requires]
    info = f"{stem}.dist-info"
    pure = "true" if tag.endswith("any") else "false"
    files = {
        **files,
        f"{info}/METADATA": "\\n".join(lines).encode() + b"\\n",
        f"{info}/WHEEL": (
            f"Wheel-Version: 1.0\\nGenerator: rig\\nRoot-Is-Purelib: {pure}\\nTag: {tag}\\n"
        ).encode(),
        f"{info}/RECORD": b"",
    }
    names = list(files)
    random.Random(time.time_ns()).shuffle(names)
    name = f"{stem}-{tag}.whl"
    with zipfile.ZipFile(os.path.join(out, name), "w") as archive:
        for path in names:
            entry = zipfile.ZipInfo(path, time.localtime()[:6])
            entry.external_attr = (0o100775 if path.endswith(".sh") else 0o100664) << 16
            entry.compress_type = random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
            archive.writestr(entry, files[path])
    return name

def get_requires_for_build_wheel(config=None):
    extra = pathlib.Path("requires.txt")
    return extra.read_text().split() if extra.exists() else []

get_requires_for_build_editable = get_requires_for_build_wheel

def build_wheel(out, config=None, metadata=None):
    hook = pathlib.Path("hook.py")
    if hook.exists():
        exec(hook.read_text(), {})
    source = pathlib.Path("src")
    files = {str(p.relative_to(source)): p.read_bytes() for p in source.rglob("*") if p.is_file()}
    try:
        import kit
        files["built_with.py"] = f"KIT = {kit.V!r}\\n".encode()
    except ImportError:
        pass
    tag = pathlib.Path("tag.txt")
    return _write(out, files, tag.read_text().strip() if tag.exists() else "py3-none-any")

def build_editable(out, config=None, metadata=None):
    return _write(out, {"_rig.pth": str(pathlib.Path("src").resolve()).encode() + b"\\n"})
"""


def project_files(
    name: str,
    version: str = "1.0",
    *,
    requires: Sequence[str] = (),
    extras: Mapping[str, Sequence[str]] | None = None,
    build: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return a project's files by path; `build` are build requirements, `files` go on top."""

    def show(words: Sequence[str]) -> str:
        return "[" + ", ".join(f'"{word}"' for word in words) + "]"

    text = (
        f'[build-system]\nrequires = {show(build)}\nbuild-backend = "backend"\n'
        f'backend-path = ["."]\n\n[project]\nname = "{name}"\nversion = "{version}"\n'
        f"dependencies = {show(requires)}\n"
    )
    if extras:
        text += "\n[project.optional-dependencies]\n"
        text += "".join(f"{extra} = {show(needs)}\n" for extra, needs in extras.items())
    module = name.replace("-", "_")
    return {
        "pyproject.toml": text,
        "backend.py": _BACKEND,
        f"src/{module}/__init__.py": f"V = {version!r}\n",
        f"src/{module}/tool.sh": "#!/bin/sh\necho tool\n",
        **(files or {}),
    }


def write_files(folder: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


def make_sdist(name: str, version: str, files: Mapping[str, str]) -> bytes:
    """Return a source distribution of these files."""
    stem = f"{name.replace('-', '_')}-{version}"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, text in {
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", **files,
        }.items():  # fmt: skip
            data = text.encode()
            info = tarfile.TarInfo(f"{stem}/{path}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def run_git(folder: Path, *arguments: str) -> str:
    """Run git as a person called Rig; return what it prints."""
    if shutil.which("git") is None:
        missing("git", "install the package `git`")
    said = {"NAME": "Rig", "EMAIL": "rig@example.com", "DATE": "2024-01-01T00:00:00Z"}
    names = {f"GIT_{who}_{k}": v for who in ("AUTHOR", "COMMITTER") for k, v in said.items()}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(folder), "-c", "init.defaultBranch=main", *arguments],
        env=kept | names | {"GIT_CONFIG_GLOBAL": os.devnull}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout.strip()


def commit_all(folder: Path, message: str) -> str:
    """Commit everything in `folder` and return the commit."""
    run_git(folder, "add", "-A")
    run_git(folder, "commit", "-q", "-m", message)
    return run_git(folder, "rev-parse", "HEAD")


def make_repository(folder: Path, files: Mapping[str, str]) -> str:
    """Make a git repository of these files and return its commit."""
    folder.mkdir(parents=True, exist_ok=True)
    run_git(folder, "init", "-q")
    write_files(folder, files)
    return commit_all(folder, "first")
