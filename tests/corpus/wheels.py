"""The corpus: the wheels of requirements.txt, downloaded by hash and kept from run to run."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from envbuild.errors import EnvbuildError
from envbuild.kit.files import exclusive
from envbuild.kit.places import Cache
from envbuild.kit.progress import Silent
from envbuild.lock.model import Wheel
from envbuild.lock.wheels import fetch_wheels
from envbuild.spec.model import EnvSpec, Image, Pip
from envbuild.spec.platforms import PLATFORMS
from tests.rig.need import missing

__all__ = ["MINOR", "Corpus", "corpus", "find_cache_folder", "list_wheels"]

MINOR = "3.11"
_LINE = re.compile(r"([^\s=]+)==(\S+) --hash=sha256:([0-9a-f]{64})  # (\d+) (\S+)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """The wheels as a lock has them, their files by SHA-256, and the cache that holds these."""

    wheels: tuple[Wheel, ...]
    files: dict[str, Path]
    cache: Cache

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(self.files[wheel.sha256] for wheel in self.wheels)


def find_cache_folder() -> Path:
    """Return where tests keep downloads from run to run; ENVBUILD_TEST_CACHE moves it."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ENVBUILD_TEST_CACHE") or Path(home) / "envbuild-tests")


def list_wheels() -> tuple[Wheel, ...]:
    """Return the wheels of requirements.txt, sorted by name."""
    text = Path(__file__).with_name("requirements.txt").read_text()
    return tuple(
        Wheel(name=m[1], version=m[2], sha256=m[3], size=int(m[4]), filename=m[5])
        for m in _LINE.finditer(text)
    )


@pytest.fixture(scope="session")
def corpus() -> Corpus:
    """The corpus on this machine; what is not there yet is downloaded once for all workers."""
    if f"{sys.version_info[0]}.{sys.version_info[1]}" != MINOR or os.uname().machine != "x86_64":
        missing("the corpus of wheels", f"it is for Python {MINOR} on linux-64")
    cache = Cache(root=find_cache_folder())
    wheels = list_wheels()
    spec = EnvSpec(
        platforms=("linux-64",), python=f"{MINOR}.*",
        pip=Pip(dependencies=tuple(f"{w.name}=={w.version}" for w in wheels)),
        image=Image(base="debian:bookworm"),
    )  # fmt: skip
    with exclusive(cache.root / "corpus.lock"):
        try:
            files = fetch_wheels(
                wheels, spec=spec, platform=PLATFORMS["linux-64"], python_minor=MINOR, cache=cache,
                progress=Silent(), task="corpus",
            )  # fmt: skip
        except EnvbuildError as error:
            missing("the corpus of wheels", f"pip must reach an index: {error.message}")
    return Corpus(wheels=wheels, files=dict(files), cache=cache)
