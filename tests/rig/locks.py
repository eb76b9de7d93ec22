"""Specs and locks for tests: one plain example of each, and hypothesis strategies for any."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from envbuild.kit.canonical import digest_bytes
from envbuild.lock.model import (
    BaseFacts,
    BaseImage,
    CondaPackage,
    DebianPackage,
    LocalTree,
    Lock,
    PlatformLock,
    Source,
    Wheel,
)
from envbuild.lock.request import SECTIONS, digest_request
from envbuild.spec.model import Conda, EnvSpec, Image, Pip, System
from envbuild.spec.platforms import PLATFORMS

__all__ = [
    "BASE",
    "FILES",
    "artifacts",
    "bases",
    "conda",
    "conda_packages",
    "debian",
    "debian_packages",
    "folder_of",
    "locks",
    "make_lock",
    "make_platform",
    "make_spec",
    "platform_locks",
    "sha",
    "sources",
    "trees",
    "wheel",
    "wheels",
]

BASE = BaseImage(
    reference="registry.example.com/base:1",
    digest="sha256:" + "b" * 64,
    facts=BaseFacts(
        system="debian 12",
        libc="glibc",
        libc_version="2.36",
        shell=True,
        pythons=(("/usr/local/bin/python3", "3.11.9"), ("/usr/local/bin/python3.11", "3.11.9")),
    ),
)

FILES = {
    "conda-lock.yml": b"version: 1\npackage: []\n",
    "requirements.linux-64.txt": b"httpx==0.27.0 \\\n    --hash=sha256:00\n",
}


def sha(text: str) -> str:
    """Return a SHA-256 that stands for the archive called `text`."""
    return hashlib.sha256(text.encode()).hexdigest()


def conda(name: str, version: str = "1.0", build: str = "h0_0", **fields: Any) -> CondaPackage:
    """Return a conda package whose hash follows from name, version and build."""
    file = f"{name}-{version}-{build}.conda"
    url = f"https://pkgs.example.com/forge/linux-64/{file}"
    package = CondaPackage(
        name=name, version=version, build=build, url=url, sha256=sha(file), size=3000
    )
    return replace(package, **fields)


def wheel(name: str, version: str = "1.0", **fields: Any) -> Wheel:
    """Return a wheel whose hash follows from name and version."""
    file = f"{name}-{version}-py3-none-any.whl"
    return replace(
        Wheel(name=name, version=version, filename=file, sha256=sha(file), size=1000), **fields
    )


def debian(name: str, version: str = "1.0-1", **fields: Any) -> DebianPackage:
    """Return a Debian package whose hash follows from name and version."""
    file = f"{name}_{version}_amd64.deb"
    package = DebianPackage(
        name=name,
        version=version,
        architecture="amd64",
        path=f"pool/main/{name[0]}/{name}/{file}",
        sha256=sha(file),
        size=2000,
    )
    return replace(package, **fields)


def make_spec(**fields: Any) -> EnvSpec:
    """Return a spec with something in each section that a lock is made from."""
    spec = EnvSpec(
        python="3.11.*",
        conda=Conda(dependencies=("numpy 2.*", "scipy >=1.14,<2")),
        pip=Pip(
            dependencies=("httpx>=0.27", "rich"),
            extra_index_urls=("https://${TOKEN}@pkgs.example.com/simple",),
        ),
        system=System(packages=("libgomp1", "git")),
        image=Image(base="debian:bookworm", labels={"team": "vision"}),
    )
    return replace(spec, **fields)


def make_platform(platform: str = "linux-64", **fields: Any) -> PlatformLock:
    """Return one platform's lock with packages of every manager."""
    lock = PlatformLock(
        platform=platform,
        python="3.11.9",
        glibc="2.36",
        conda=(conda("numpy", "2.1.3"), conda("python", "3.11.9"), conda("scipy", "1.14.1")),
        wheels=(wheel("httpx", "0.27.0"), wheel("rich", "13.9.4")),
        debian=(debian("git"), debian("libgomp1", "12.2.0-14")),
    )
    return replace(lock, **fields)


def make_lock(spec: EnvSpec | None = None, **fields: Any) -> Lock:
    """Return a lock that is fresh for `spec` (default: `make_spec()`), with `FILES` beside it."""
    spec = spec or make_spec()
    lock = Lock(
        request=digest_request(spec),
        platforms={platform: make_platform(platform) for platform in spec.platforms},
        files={file: digest_bytes(data) for file, data in FILES.items()},
        tools={"conda-lock": "4.0.3", "pip-tools": "7.5.0"},
    )
    return replace(lock, **fields)


_texts = st.text(max_size=10)
_hashes = st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}")
_digests = _hashes.map(lambda text: f"sha256:{text}")
_sizes = st.integers(0, 2**40)
_names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=10
).filter(lambda text: text not in {".", ".."})

conda_packages = st.builds(
    CondaPackage,
    name=_texts,
    version=_texts,
    build=_texts,
    url=st.tuples(_texts, _names).map("/".join),
    sha256=_hashes,
    size=st.integers(1, 2**40),
)
wheels = st.builds(Wheel, name=_texts, version=_texts, filename=_names, sha256=_hashes, size=_sizes)
debian_packages = st.builds(
    DebianPackage,
    name=_texts,
    version=_texts,
    architecture=_texts,
    path=st.lists(_names, min_size=1, max_size=3).map("/".join),
    sha256=_hashes,
    size=_sizes,
)
_paths = st.lists(_names, min_size=1, max_size=3).map("/".join)
sources = st.builds(
    Source,
    wheel=_hashes,
    kind=st.sampled_from(["file", "git", "sdist"]),
    place=_paths,
    pin=_texts,
    reference=_texts,
    subdirectory=st.just("") | _paths,
    requires=_texts,
)
trees = st.builds(
    LocalTree, name=_texts, path=_paths, needs=_digests, config=_digests, requires=_texts
)
artifacts = st.one_of(conda_packages, wheels, debian_packages)
_facts = st.builds(
    BaseFacts,
    system=_texts,
    libc=_texts,
    libc_version=_texts,
    shell=st.booleans(),
    pythons=st.dictionaries(_texts, _texts, max_size=3).map(lambda d: tuple(sorted(d.items()))),
)
bases = st.none() | st.builds(BaseImage, reference=_texts, digest=_digests, facts=_facts)


def _several(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(strategy, max_size=3).map(tuple)


def platform_locks(platform: str) -> st.SearchStrategy[PlatformLock]:
    """Give any lock of one platform: any text where a text may stand."""
    return st.builds(
        PlatformLock,
        platform=st.just(platform),
        python=_texts,
        glibc=_texts,
        base=bases,
        conda=_several(conda_packages),
        wheels=_several(wheels),
        debian=_several(debian_packages),
        sources=_several(sources),
        trees=_several(trees),
        build=_several(wheels),
    )


_siblings = st.sampled_from(
    ["conda-lock.yml", *(f"requirements.{platform}.txt" for platform in PLATFORMS)]
)
locks = st.builds(
    Lock,
    request=st.dictionaries(st.sampled_from(SECTIONS), _digests),
    platforms=st.lists(
        st.sampled_from(sorted(PLATFORMS)), min_size=1, max_size=2, unique=True
    ).flatmap(lambda names: st.fixed_dictionaries({name: platform_locks(name) for name in names})),
    files=st.dictionaries(_siblings, _digests),
    tools=st.dictionaries(_texts, _texts, max_size=3),
)


def folder_of(root: Path, name: str = "cpu") -> Path:
    """Return `lockfiles/NAME` below `root`; it need not exist."""
    return root / "lockfiles" / name
