"""One resolution of pip's packages: what is asked, for which machine, and the files of it."""

from __future__ import annotations

import base64
import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from envbuild.kit.progress import Progress
from envbuild.lock.names import normalise_name
from envbuild.lock.pip_indexes import Indexes
from envbuild.lock.pip_pins import REQUEST_FILE, Pin
from envbuild.lock.upgrade import Upgrade
from envbuild.spec.formats import find_pip_name
from envbuild.spec.platforms import Platform

__all__ = ["PipJob", "is_marked", "mark", "unmark", "write_job", "write_stub"]

_MARK: Final = "envbuild"


@dataclass(frozen=True, kw_only=True, slots=True)
class PipJob:
    """What to resolve and where to work.

    `python` is a full version or `MAJOR.MINOR`; `glibc` is empty off Linux, `macos` matters only
    there. `constraints` are the distributions that conda brings. `kept` are pins to stay with
    where the request allows. `limits` and `overrides` are the spec's. `before` is the moment (RFC
    3339) from which on nothing is seen that an index got, empty for no such end. `fixed` are
    marked versions of what doesn't come from an index, whose stub wheels say what it needs;
    `allowed` are names that may be built from source. `work` belongs to this job alone.
    """

    task: str
    requirements: tuple[str, ...]
    platform: Platform
    python: str
    glibc: str
    macos: str
    constraints: Mapping[str, str]
    kept: tuple[Pin, ...]
    upgrade: Upgrade
    indexes: Indexes
    work: Path
    logs: Path
    progress: Progress
    limits: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    before: str = ""
    fixed: Mapping[str, str] = field(default_factory=dict)
    allowed: frozenset[str] = frozenset()

    @property
    def parts(self) -> Mapping[str, object]:
        """All that an answer depends on, by field: where and for whom is left out."""
        own = {"task", "work", "logs", "progress"}
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in own}

    @property
    def minor(self) -> str:
        """`MAJOR.MINOR` of the target's Python."""
        return ".".join(self.python.split(".")[:2])

    @property
    def brought(self) -> frozenset[str]:
        """Normalised names of what conda brings."""
        return frozenset(map(normalise_name, self.constraints))

    @property
    def requested(self) -> tuple[str, ...]:
        """Normalised names of what is asked for directly."""
        return tuple(map(find_pip_name, self.requirements))

    @property
    def request(self) -> Path:
        return self.work / REQUEST_FILE

    @property
    def conda(self) -> Path:
        """The constraints: those that stand for conda's packages, and the spec's own."""
        return self.work / "conda.txt"

    @property
    def replaced(self) -> Path:
        """The spec's overrides."""
        return self.work / "overrides.txt"

    @property
    def stubs(self) -> Path:
        """The folder of wheels that stand for conda's packages."""
        return self.work / "conda"


def write_job(job: PipJob) -> None:
    """Write the request, and what conda brings as constraints and stub wheels.

    A constraint alone is not enough. An index may have no wheel of the version that conda has
    (or nothing of that name), and what its wheel needs is not what conda's package needs: that
    would come in a second time, or for nothing. So a package of conda is a wheel here, of a
    version that no index has (PEP 440's local version, which every requirement that means the
    public one accepts), and needs nothing: conda has brought that as well.
    """
    job.work.mkdir(parents=True, exist_ok=True)
    job.stubs.mkdir(exist_ok=True)
    job.request.write_text("".join(f"{r}\n" for r in sorted(job.requirements)), encoding="utf-8")
    lines = []
    for name, version in sorted(job.constraints.items()):
        marked = mark(version)
        write_stub(job.stubs, normalise_name(name), marked)
        lines.append(f"{normalise_name(name)}=={marked}\n")
    lines += [f"{name}=={marked}\n" for name, marked in sorted(job.fixed.items())]
    lines += [f"{limit}\n" for limit in sorted(job.limits)]
    job.conda.write_text("".join(lines), encoding="utf-8")
    if job.overrides:
        job.replaced.write_text("".join(f"{o}\n" for o in sorted(job.overrides)), encoding="utf-8")


def mark(version: str) -> str:
    """Return the version of a stub that stands for `version`: no index has it."""
    return f"{version}{'.' if '+' in version else '+'}{_MARK}"


def is_marked(version: str) -> bool:
    return re.search(rf"[+.]{_MARK}$", version) is not None


def unmark(text: str) -> str:
    """Return a resolver's text with the versions of stubs as what they stand for has them."""
    return re.sub(rf"(?<=[0-9A-Za-z])[+.]{_MARK}\b", "", text)


def write_stub(folder: Path, name: str, version: str, *, metadata: bytes = b"") -> None:
    """Write a wheel without contents, after the binary distribution format's specification.

    It needs what `metadata` says, the METADATA of the package that it stands for; else nothing.
    """
    stem = f"{name.replace('-', '_')}-{version}"
    said = metadata.decode("utf-8", "replace") or f"Metadata-Version: 2.1\nName: {name}\nVersion:\n"
    head, _, _ = said.replace("\r\n", "\n").partition("\n\n")
    head = re.sub(
        r"^Version:.*$", lambda _: f"Version: {version}", head, count=1, flags=re.MULTILINE
    )
    members = {
        f"{stem}.dist-info/METADATA": head.rstrip("\n") + "\n",
        f"{stem}.dist-info/WHEEL": (
            f"Wheel-Version: 1.0\nGenerator: {_MARK}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
    }
    record = "".join(
        f"{path},{_hash(text)},{len(text.encode())}\n" for path, text in members.items()
    )
    members[f"{stem}.dist-info/RECORD"] = f"{record}{stem}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, text in members.items():
            archive.writestr(path, text)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
