"""Makes requirements.txt anew from corpus.in: `python -m tests.corpus.remake`.

It asks the index that pip is configured for, by way of envbuild's own resolver.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from envbuild.kit.places import Cache
from envbuild.kit.progress import Silent
from envbuild.lock.pip import resolve_pip
from envbuild.lock.sharing import Sharing
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.model import EnvSpec, Image, Pip
from envbuild.spec.platforms import PLATFORMS

__all__ = ["remake"]

FOLDER = Path(__file__).parent
LIMIT = 250_000_000
"""Bytes that the corpus may have: it is downloaded in CI where no cache has it."""


def remake(work: Path, target: Path) -> None:
    """Resolve corpus.in for Python 3.11 on linux-64 and write requirements.txt into `target`."""
    (work / "work").mkdir()
    lines = (FOLDER / "corpus.in").read_text().splitlines()
    wishes = tuple(line for line in lines if line and not line.startswith("#"))
    spec = EnvSpec(
        platforms=("linux-64",),
        python="3.11.*",
        pip=Pip(dependencies=wishes, resolver="uv"),
        image=Image(base="debian:bookworm"),
    )
    solution = resolve_pip(
        spec,
        platform=PLATFORMS["linux-64"],
        python="3.11",
        glibc="2.36",
        constraints={},
        previous=None,
        upgrade=Upgrade(everything=True),
        work=work / "work",
        cache=Cache(root=work / "cache"),
        progress=Silent(),
        task="corpus",
        root=work,
        sharing=Sharing(),
    )
    size = sum(wheel.size for wheel in solution.wheels)
    print(f"{len(solution.wheels)} wheels, {size:,} bytes")
    for wheel in sorted(solution.wheels, key=lambda wheel: -wheel.size)[:20]:
        print(f"{wheel.size:12,} {wheel.filename}")
    if size > LIMIT:
        raise SystemExit(f"that is more than {LIMIT:,}")
    lines = [f"# {len(solution.wheels)} wheels, made by `python -m tests.corpus.remake`"]
    lines += [
        f"{w.name}=={w.version} --hash=sha256:{w.sha256}  # {w.size} {w.filename}"
        for w in sorted(solution.wheels, key=lambda wheel: wheel.name)
    ]
    (target / "requirements.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        remake(Path(folder), FOLDER)
