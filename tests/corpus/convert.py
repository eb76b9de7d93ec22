"""Converts wheels into conda packages, as a recipe that runs pip would make them.

Pure wheels become `noarch: python`, with their commands as entry points; the others become
packages of linux-64 with a Python minor version in their paths, their commands as scripts that
hold the build prefix, and their libraries with a string at the end that holds it, too.
"""

from __future__ import annotations

import configparser
import re
import zipfile
from collections.abc import Iterable, Iterator
from email.parser import BytesHeaderParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from envbuild.lock.model import Wheel
from tests.corpus.wheels import MINOR, Corpus
from tests.rig.conda_package import PLACEHOLDER, Content, Recipe, write_package

__all__ = ["convert_wheel", "find_closure", "find_needs"]

_SITE = f"lib/python{MINOR}/site-packages"
_INSTALLED_ONLY = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}


def convert_wheel(archive: Path, wheel: Wheel, channel: Path) -> Path:
    """Write the conda package of `wheel` into its subdir of `channel` and return its path."""
    pure = wheel.filename.endswith("-none-any.whl")
    with zipfile.ZipFile(archive) as opened:
        points = list(_list_points(opened))
        contents = [c for info in opened.infolist() if (c := _convert(opened, info, pure))]
        needs = find_needs(opened)
    if not pure:
        contents += [_make_script(point) for point in points]
    tag = MINOR.replace(".", "")
    return write_package(
        Recipe(
            name=canonicalize_name(wheel.name),
            version=wheel.version,
            build="pyhd8ed1ab_0" if pure else f"py{tag}h0a1b2c3_0",
            subdir="noarch" if pure else "linux-64",
            noarch="python" if pure else None,
            contents=list({c.path: c for c in contents}.values()),
            entry_points=points if pure else (),
            depends=["python", *needs],
            # Both formats; the older one is slow to make, so small packages get it.
            suffix=".tar.bz2" if archive.stat().st_size < 30_000 else ".conda",
        ),
        channel,
    )


def find_needs(opened: zipfile.ZipFile) -> list[str]:
    """Return the projects that an open wheel needs here, without extras."""
    (name,) = [n for n in opened.namelist() if re.fullmatch(r"[^/]*\.dist-info/METADATA", n)]
    papers = BytesHeaderParser().parsebytes(opened.read(name))
    wishes = [Requirement(text) for text in papers.get_all("Requires-Dist") or ()]
    here = {"python_version": MINOR, "extra": ""}
    wanted = [w for w in wishes if not w.marker or w.marker.evaluate(here)]
    return sorted({canonicalize_name(wish.name) for wish in wanted})


def find_closure(corpus: Corpus, names: Iterable[str]) -> list[Wheel]:
    """Return the wheels of projects and those of all that they need."""
    known = {wheel.name: wheel for wheel in corpus.wheels}
    found: dict[str, Wheel] = {}
    todo = list(names)
    while todo:
        wheel = known[todo.pop()]
        if wheel.name not in found:
            found[wheel.name] = wheel
            with zipfile.ZipFile(corpus.files[wheel.sha256]) as opened:
                todo += find_needs(opened)
    return list(found.values())


def _list_points(opened: zipfile.ZipFile) -> Iterator[str]:
    for name in opened.namelist():
        if not re.fullmatch(r"[^/]*\.dist-info/entry_points\.txt", name):
            continue
        table = configparser.RawConfigParser(delimiters=("=",))
        table.optionxform = str  # type: ignore[method-assign, assignment]
        table.read_string(opened.read(name).decode())
        if table.has_section("console_scripts"):
            for command, target in table.items("console_scripts"):
                yield f"{command} = {target.split('[')[0].strip()}"


def _convert(opened: zipfile.ZipFile, info: zipfile.ZipInfo, pure: bool) -> Content | None:
    if info.is_dir():
        return None
    folder, _, rest = info.filename.partition("/")
    if folder.endswith(".dist-info") and rest in _INSTALLED_ONLY:
        return None
    data = opened.read(info)
    mode = 0o775 if (info.external_attr >> 16) & 0o111 else 0o664
    site = "site-packages" if pure else _SITE
    if not folder.endswith(".data"):
        if not pure and info.filename.endswith(".so"):
            data += b"\0" + PLACEHOLDER.encode() + b"/lib:" + PLACEHOLDER.encode() + b"\0\0end"
            return Content(path=f"{site}/{info.filename}", data=data, mode=mode,
                           prefix_mode="binary")  # fmt: skip
        return Content(path=f"{site}/{info.filename}", data=data, mode=mode)
    scheme, _, rest = rest.partition("/")
    places = {
        "purelib": site, "platlib": site, "data": ".",
        "scripts": "python-scripts" if pure else "bin",
        "headers": f"include/python{MINOR}/{folder.split('-')[0]}",
    }  # fmt: skip
    path = f"{places[scheme]}/{rest}".removeprefix("./")
    if scheme == "scripts" and data.startswith(b"#!python"):
        data = f"#!{PLACEHOLDER}/bin/".encode() + data[2:]
        return Content(path=path, data=data, mode=0o775, prefix_mode="text")
    return Content(path=path, data=data, mode=0o775 if scheme == "scripts" else mode)


def _make_script(point: str) -> Content:
    name, _, target = point.partition("=")
    module, _, call = target.strip().partition(":")
    text = (
        f"#!{PLACEHOLDER}/bin/python\nimport sys\nfrom {module} import {call.split('.')[0]}\n"
        f"if __name__ == '__main__':\n    sys.exit({call}())\n"
    )
    path = f"bin/{name.strip()}"
    return Content(path=path, data=text.encode(), mode=0o775, prefix_mode="text")
