"""Makes a conda package of the Python that runs the tests: real, and at home in any folder.

It is copied from the interpreter that the tests' virtual environment was made with: one built from
source, a standalone one or Debian's. Its shared libraries come with it (all but glibc's), and
`patchelf` makes each file look for them relative to itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.rig.conda_package import PLACEHOLDER, Content, Recipe
from tests.rig.need import missing

__all__ = ["MINOR", "make_python", "make_python_stub"]

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
VERSION = ".".join(map(str, sys.version_info[:3]))

_LEFT_OUT = re.compile(
    r"(?:^|/)(?:__pycache__|site-packages|dist-packages|tests?|idlelib|tkinter|turtledemo|lib2to3"
    r"|_bundled|config-[^/]*|EXTERNALLY-MANAGED|sitecustomize\.py|(?:_tkinter|nis)\.[^/]*so)(?:/|$)"
    r"|\.(?:pyc|a)$"
)
_GLIBC = re.compile(r"(?:ld-linux.*|lib(?:c|m|dl|rt|pthread|util|resolv|crypt)|linux-vdso)\.so.*")
_PROBE = """
import json, os, sys, sysconfig
print(json.dumps({
    "binary": os.path.realpath(sys.executable), "prefix": sys.base_prefix,
    "stdlib": sysconfig.get_path("stdlib"), "include": sysconfig.get_path("include"),
}))
"""
# Debian's Python looks for `dist-packages`; conda's packages install into `site-packages`.
_SITE = f"""import os
import site
import sys

folder = os.path.join(sys.prefix, "lib", "python{MINOR}", "site-packages")
if folder not in sys.path:
    site.addsitedir(folder)
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """Where the interpreter that is copied has its parts."""

    binary: Path
    prefix: str
    stdlib: Path
    include: Path


def make_python(work: Path) -> Recipe:
    """Return the recipe of this interpreter's package for linux-64; `work` keeps changed files."""
    source = _probe()
    contents = list(_copy_texts(source))
    contents += _copy_binaries(source, work)
    for alias in ("python", "python3"):
        contents.append(Content(path=f"bin/{alias}", link=f"python{MINOR}"))
    contents.append(Content(path=f"lib/python{MINOR}/sitecustomize.py", data=_SITE.encode()))
    return _recipe("linux-64", contents)


def make_python_stub(subdir: str) -> Recipe:
    """Return the recipe of a package that is Python in name only, for a foreign platform."""
    binary = Content(path=f"bin/python{MINOR}", data=b"not really Python\n", mode=0o755)
    module = Content(path=f"lib/python{MINOR}/os.py", data=b'"""Nothing."""\n')
    links = [Content(path=f"bin/{a}", link=f"python{MINOR}") for a in ("python", "python3")]
    return _recipe(subdir, [binary, module, *links])


def _recipe(subdir: str, contents: list[Content]) -> Recipe:
    # This machine's libraries need this machine's glibc. The tests lock for an older one, and run
    # on Debian releases that have one at least as new.
    depends = ["__glibc >=2.17"] if subdir.startswith("linux") else []
    return Recipe(
        name="python",
        version=VERSION,
        build="h1a2b3c4_0_cpython",
        subdir=subdir,
        contents=contents,
        depends=depends,
        extra={"python_site_packages_path": f"lib/python{MINOR}/site-packages"},
    )


def _probe() -> _Source:
    # A virtual environment's Python knows the one it was made with.
    base = getattr(sys, "_base_executable", sys.executable)
    found = json.loads(subprocess.check_output([base, "-I", "-c", _PROBE], text=True))
    return _Source(
        binary=Path(found["binary"]),
        prefix=found["prefix"],
        stdlib=Path(found["stdlib"]),
        include=Path(found["include"]),
    )


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for root, folders, files in os.walk(folder):
        inside = os.path.relpath(root, folder)
        base = "" if inside == "." else f"{inside}/"
        folders[:] = sorted(f for f in folders if not _LEFT_OUT.search(f"{base}{f}"))
        for file in sorted(files):
            path = Path(root) / file
            if not _LEFT_OUT.search(f"{base}{file}") and path.is_file():
                yield f"{base}{file}", path


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _copy_texts(source: _Source) -> Iterator[Content]:
    """Yield everything that is not machine code, with the old prefix as a placeholder."""
    # Replacing a short prefix such as /usr would hit paths that have nothing to do with it.
    old = source.prefix.encode() if source.prefix.count("/") > 2 else None
    for folder, home in ((source.stdlib, f"lib/python{MINOR}"), (source.include, _INCLUDE)):
        for inside, path in _walk(folder):
            if _is_elf(path):
                continue
            data = path.read_bytes()
            prefixed = old is not None and old in data and b"\0" not in data
            if prefixed and old is not None:
                data = data.replace(old, PLACEHOLDER.encode())
            yield Content(
                path=f"{home}/{inside}",
                data=data,
                mode=0o755 if os.access(path, os.X_OK) else 0o644,
                prefix_mode="text" if prefixed else None,
            )


_INCLUDE = f"include/python{MINOR}"


def _copy_binaries(source: _Source, work: Path) -> list[Content]:
    """Copy the interpreter, its extension modules and their libraries, made relocatable."""
    home = f"lib/python{MINOR}"
    placed = {f"bin/python{MINOR}": source.binary}
    for inside, path in _walk(source.stdlib):
        if _is_elf(path):
            placed[f"{home}/{inside}"] = path
    for path in _find_libraries(list(placed.values())):
        placed[f"lib/{path.name}"] = path
    copies = []
    for inside, path in placed.items():
        copy = work / inside
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path.resolve(), copy)
        copy.chmod(0o755)
        copies.append(copy)
    if shutil.which("strip"):
        subprocess.run(["strip", "--strip-debug", *copies], check=True, capture_output=True)
    _set_run_paths(work)
    return [Content(path=inside, source=work / inside, mode=0o755) for inside in placed]


def _find_libraries(binaries: list[Path]) -> list[Path]:
    """Return the shared libraries that `binaries` load, by the names they ask for."""
    output = subprocess.run(
        ["ldd", *binaries], check=True, capture_output=True, text=True, env={"PATH": os.defpath}
    ).stdout
    found = {m[1]: Path(m[2]) for m in re.finditer(r"^\s+(\S+) => (/\S+) ", output, re.MULTILINE)}
    # ldd resolves a whole tree: what a library needs itself is listed too.
    return [path for name, path in sorted(found.items()) if not _GLIBC.fullmatch(name)]


def _set_run_paths(root: Path) -> None:
    patchelf = Path(sysconfig.get_path("scripts")) / "patchelf"
    tool = str(patchelf) if patchelf.is_file() else shutil.which("patchelf")
    if tool is None:
        missing("patchelf", "install the `dev` dependency group")
    by_folder: dict[Path, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.is_file():
            by_folder.setdefault(path.parent, []).append(path)
    for folder, files in by_folder.items():
        up = os.path.relpath(root / "lib", folder)
        run_path = "$ORIGIN" if up == "." else f"$ORIGIN/{up}"
        subprocess.run([tool, "--set-rpath", run_path, *files], check=True, capture_output=True)
