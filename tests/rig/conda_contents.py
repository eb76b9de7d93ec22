"""Which packages the tests' conda channel has: real ones, and small ones with one trait each.

Real: Python, numpy (a wheel's content) and pure Python distributions that the tests' own
environment has installed. The small ones and what they are for:

    greet 1.0 1.1 2.0            noarch Python, an entry point; needs `greeting-words`
    greeting-words 1.0 1.1 1.2   what an upgrade of one package may or may not move with it
    want-old-words, want-new-words   can't be had together
    needs-glibc 1.0 2.0          2.0 constrains `__glibc >=2.34`
    needs-cuda 1.0               depends on `__cuda >=12`
    prefix-text, prefix-binary   hold the build prefix as text, as binary (linux-64 only)
    old-format                   `.tar.bz2`, with the prefix in it
    with-links                   a symbolic link, an executable, a non-ASCII name
    with-script                  a post-link script
    overlap-one, overlap-two     bring the same path with different bytes
    egg-style                    noarch Python with `.egg-info` in place of `.dist-info`
    two-faced                    installs the distribution `Other.Name`, and a vendored one
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.rig.conda_package import PLACEHOLDER, Content, Recipe, write_package
from tests.rig.conda_python import MINOR, make_python, make_python_stub
from tests.rig.need import missing

__all__ = ["FOREIGN", "PLATFORMS", "write_channel"]

FOREIGN = ("linux-aarch64", "osx-arm64")
PLATFORMS = ("linux-64", *FOREIGN)

# The names that conda-forge gives them.
_INSTALLED = {
    "click": "click",
    "markdown-it-py": "markdown-it-py",
    "mdurl": "mdurl",
    "packaging": "packaging",
    "pip": "pip",
    "pygments": "pygments",
    "rich": "rich",
    "setuptools": "setuptools",
    "typing-extensions": "typing_extensions",
    "wheel": "wheel",
}


def write_channel(channel: Path, work: Path) -> None:
    """Write all packages into `channel`'s subdirs (no index yet); `work` is for temporary files."""
    for recipe in _all_recipes(work):
        write_package(recipe, channel)


def _all_recipes(work: Path) -> Iterator[Recipe]:
    yield make_python(work / "python")
    for subdir in FOREIGN:
        yield make_python_stub(subdir)
    yield from _numpy(work / "numpy")
    for distribution, name in _INSTALLED.items():
        yield _installed(distribution, name)
    yield from _greetings()
    yield from _machine_dependent()
    yield from _prefixed()
    yield from _traits()


def _numpy(work: Path) -> Iterator[Recipe]:
    """Yield numpy from this machine's index, and stubs of the same version elsewhere."""
    work.mkdir(parents=True)
    wheel = _download("numpy>=2", work)
    version = wheel.name.split("-")[1]
    site = f"lib/python{MINOR}/site-packages"
    with zipfile.ZipFile(wheel) as archive:
        contents = [
            Content(path=f"{site}/{name}", data=archive.read(name))
            for name in archive.namelist()
            if not name.endswith("/") and "/tests/" not in name
        ]
    scripts = [
        _script("f2py", "numpy.f2py.f2py2e:main"),
        _script("numpy-config", "numpy._configtool:main"),
    ]
    metadata = [c for c in contents if c.path.endswith(".dist-info/METADATA")]
    stub = [Content(path=f"{site}/numpy/__init__.py", data=f'__version__ = "{version}"\n'.encode())]
    tag = MINOR.replace(".", "")
    for subdir in PLATFORMS:
        yield Recipe(
            name="numpy",
            version=version,
            build=f"py{tag}h5e1f00d_0",
            subdir=subdir,
            contents=[*contents, *scripts] if subdir == "linux-64" else [*stub, *metadata],
            depends=[f"python {MINOR}.*"],
        )


def _script(name: str, target: str) -> Content:
    """Return a console script as a build tool installs it for one platform."""
    module, _, function = target.partition(":")
    text = (
        f"#!{PLACEHOLDER}/bin/python{MINOR}\nimport sys\nfrom {module} import {function}\n\n"
        f'if __name__ == "__main__":\n    sys.exit({function}())\n'
    )
    return Content(path=f"bin/{name}", data=text.encode(), mode=0o755, prefix_mode="text")


def _download(requirement: str, target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(target), requirement]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = sorted(target.glob("*.whl"))
    if ended.returncode or not found:
        missing(f"a wheel for `{requirement}`", f"pip must reach an index: {ended.stderr.strip()}")
    return found[0]


def _installed(distribution: str, name: str) -> Recipe:
    """Return a noarch package of a distribution that is installed here, by its RECORD."""
    found = importlib.metadata.distribution(distribution)
    contents = []
    for file in found.files or ():
        inside = PurePosixPath(file)
        left_out = ".." in inside.parts or "__pycache__" in inside.parts or inside.suffix == ".exe"
        if not left_out and inside.name not in {"RECORD", "direct_url.json", "REQUESTED"}:
            path = Path(str(found.locate_file(file)))
            contents.append(Content(path=f"site-packages/{inside}", data=path.read_bytes()))
    scripts = [e for e in found.entry_points if e.group == "console_scripts"]
    return _noarch_python(
        name,
        found.version,
        contents,
        depends=["python >=3.9", *_needs(found)],
        entry_points=sorted(f"{script.name} = {script.value}" for script in scripts),
    )


def _needs(distribution: importlib.metadata.Distribution) -> list[str]:
    needs = []
    for text in distribution.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            name = _INSTALLED[canonicalize_name(requirement.name)]
            needs.append(f"{name} {_conda_version(requirement)}".strip())
    return sorted(needs)


def _conda_version(requirement: Requirement) -> str:
    # `~=` is the same in conda.
    return ",".join(sorted(str(s) for s in requirement.specifier))


def _noarch_python(
    name: str,
    version: str,
    contents: list[Content],
    *,
    depends: list[str] | None = None,
    entry_points: list[str] | None = None,
) -> Recipe:
    return Recipe(
        name=name,
        version=version,
        build="pyhd8ed1ab_0",
        noarch="python",
        contents=contents,
        depends=["python >=3.9"] if depends is None else depends,
        entry_points=entry_points or (),
    )


def _dist_info(name: str, version: str, *, under: str = "site-packages") -> list[Content]:
    """Return the least that makes an installed distribution."""
    folder = f"{under}/{re.sub(r'[-.]', '_', name)}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return [
        Content(path=f"{folder}/METADATA", data=metadata.encode()),
        Content(path=f"{folder}/INSTALLER", data=b"conda\n"),
    ]


def _greetings() -> Iterator[Recipe]:
    code = 'def main():\n    import greeting_words\n\n    print(greeting_words.HELLO, "{}")\n'
    for version in ("1.0", "1.1", "2.0"):
        module = Content(path="site-packages/greet.py", data=code.format(version).encode())
        yield _noarch_python(
            "greet",
            version,
            [module, *_dist_info("greet", version)],
            depends=["python >=3.9", "greeting-words >=1.0"],
            entry_points=["greet = greet:main"],
        )
    for version in ("1.0", "1.1", "1.2"):
        words = f'HELLO = "hello"\nVERSION = "{version}"\n'
        module = Content(path="site-packages/greeting_words.py", data=words.encode())
        yield _noarch_python(
            "greeting-words", version, [module, *_dist_info("greeting-words", version)]
        )
    for name, wish in (("want-old-words", "<1.1"), ("want-new-words", ">=1.2")):
        yield Recipe(name=name, version="1.0", depends=[f"greeting-words {wish}"])


def _machine_dependent() -> Iterator[Recipe]:
    yield Recipe(name="needs-glibc", version="1.0", constrains=["__glibc >=2.17"])
    yield Recipe(name="needs-glibc", version="2.0", constrains=["__glibc >=2.34"])
    yield Recipe(name="needs-cuda", version="1.0", depends=["__cuda >=12"])


def _prefixed() -> Iterator[Recipe]:
    text = f"[paths]\nhome = {PLACEHOLDER}\nlibrary = {PLACEHOLDER}/lib\n".encode()
    yield Recipe(
        name="prefix-text",
        version="1.0",
        contents=[
            Content(path="share/prefix-text/paths.conf", data=text, prefix_mode="text"),
            Content(
                path="bin/prefix-text",
                data=f'#!/bin/sh\nexec cat "{PLACEHOLDER}/share/prefix-text/paths.conf"\n'.encode(),
                mode=0o755,
                prefix_mode="text",
            ),
        ],
    )
    prefix = PLACEHOLDER.encode()
    binary = (
        b"\x7fbin\0" + prefix + b"/lib\0" + b"\x01\x02" + prefix + b"/share:" + prefix + b"\0\xff"
    )
    yield Recipe(
        name="prefix-binary",
        version="1.0",
        subdir="linux-64",
        contents=[Content(path="lib/prefix-binary.bin", data=binary, prefix_mode="binary")],
    )
    yield Recipe(
        name="old-format",
        version="1.0",
        suffix=".tar.bz2",
        contents=[
            Content(path="share/old-format/paths.conf", data=text, prefix_mode="text"),
            Content(path="share/old-format/plain.txt", data=b"old but good\n"),
        ],
    )


def _traits() -> Iterator[Recipe]:
    yield Recipe(
        name="with-links",
        version="1.0",
        contents=[
            Content(path="share/with-links/real.txt", data=b"real\n"),
            Content(path="share/with-links/link.txt", link="real.txt"),
            Content(path="share/with-links/grüße.txt", data="grüße\n".encode()),
            Content(path="bin/with-links", data=b"#!/bin/sh\necho linked\n", mode=0o755),
        ],
    )
    script = b'#!/bin/sh\necho linked > "$PREFIX/share/with-script.txt"\n'
    yield Recipe(
        name="with-script",
        version="1.0",
        contents=[Content(path="bin/.with-script-post-link.sh", data=script, mode=0o755)],
    )
    for name in ("overlap-one", "overlap-two"):
        both = Content(path="share/overlap/who.txt", data=f"{name}\n".encode())
        own = Content(path=f"share/overlap/{name}.txt", data=b"mine\n")
        yield Recipe(name=name, version="1.0", contents=[both, own])
    egg = b"Metadata-Version: 1.2\nName: Egg.Style\nVersion: 1.0\n"
    yield _noarch_python(
        "egg-style",
        "1.0",
        [
            Content(path="site-packages/egg_style.py", data=b"NAME = 'egg'\n"),
            Content(path="site-packages/Egg_Style-1.0-py3.9.egg-info/PKG-INFO", data=egg),
        ],
    )
    facts = json.dumps({"made": "for tests"}).encode()
    yield _noarch_python(
        "two-faced",
        "3.1",
        [
            Content(path="site-packages/other_name/__init__.py", data=b""),
            Content(path="site-packages/other_name/facts.json", data=facts),
            *_dist_info("Other.Name", "3.1.post1"),
            *_dist_info("vendored", "9.9", under="site-packages/other_name/_vendor"),
        ],
    )
