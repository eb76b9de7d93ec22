"""A small Debian archive on loopback: packages built here, indexes, a release signed with own keys.

`debian_archive` is what this machine's apt seems to be configured for while a test runs (by
`APT_CONFIG`), so code that asks apt for its sources finds this archive and trusts its key.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import lzma
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zstandard

from envbuild.errors import LockError
from envbuild.kit.places import Cache
from envbuild.lock.debian import resolve_debian
from envbuild.lock.model import DebianPackage
from envbuild.spec.settings import Settings
from tests.rig.conda_server import FolderServer, serve_folder
from tests.rig.need import missing

__all__ = [
    "DebianRig",
    "Member",
    "SigningKey",
    "debian_archive",
    "debian_key",
    "make_deb",
    "make_key",
    "resolve_real",
]

_DATE = "Thu, 01 Jan 2026 00:00:00 UTC"


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A member of a package's data; `kind` as tarfile has it (`tarfile.SYMTYPE`, ...)."""

    path: str
    data: bytes = b""
    mode: int = 0o644
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    uid: int = 0
    gid: int = 0


def make_deb(
    *,
    name: str,
    version: str = "1.0-1",
    architecture: str = "amd64",
    fields: Mapping[str, str] | None = None,
    members: Sequence[Member] = (),
    compression: str = ".xz",
    control: Mapping[str, bytes] | None = None,
) -> bytes:
    """Return the bytes of a `.deb` (deb(5)); `control` has more control files, by name."""
    head = {"Package": name, "Version": version, "Architecture": architecture}
    head |= {"Maintainer": "Tests <tests@example.com>", **(fields or {}), "Description": "a test"}
    text = "".join(f"{key}: {value}\n" for key, value in head.items())
    files = {"control": text.encode(), **(control or {})}
    control_members = [Member(path=f"./{path}", data=data) for path, data in files.items()]
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": _compress(_tar(control_members), ".xz"),
        f"data.tar{compression}": _compress(_tar(members), compression),
    }
    return b"!<arch>\n" + b"".join(_ar_member(*part) for part in parts.items())


def _tar(members: Sequence[Member]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for member in members:
            info = tarfile.TarInfo(member.path)
            info.type, info.mode, info.linkname = member.kind, member.mode, member.link
            info.uid, info.gid, info.size = member.uid, member.gid, len(member.data)
            tar.addfile(info, io.BytesIO(member.data))
    return out.getvalue()


def _compress(data: bytes, suffix: str) -> bytes:
    if suffix == ".xz":
        return lzma.compress(data)
    if suffix == ".gz":
        return gzip.compress(data, mtime=0)
    return zstandard.compress(data) if suffix == ".zst" else data


def _ar_member(name: str, data: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class SigningKey:
    """A throw-away OpenPGP key; `public` is its keyring as gpgv takes it, `armored` as text."""

    home: Path
    fingerprint: str
    public: Path
    armored: str
    moment: str = ""
    """When it believes it is, for a key that has expired since."""

    def sign(self, text: str) -> bytes:
        """Return `text`, clear-signed."""
        command = ["--local-user", self.fingerprint, "--digest-algo", "SHA256", "--clearsign"]
        return _gpg(self.home, command, moment=self.moment, data=text.encode())


def _gpg(home: Path, command: Sequence[str], *, moment: str = "", data: bytes = b"") -> bytes:
    tool = shutil.which("gpg")
    if tool is None:
        missing("gpg", "run `apt-get install gnupg`")
    faked = ["--faked-system-time", moment] if moment else []
    argv = [tool, "--homedir", str(home), "--batch", "--quiet", "--no-tty", *faked, *command]
    done = subprocess.run(argv, input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make_key(home: Path, name: str, *, moment: str = "", expires: str = "never") -> SigningKey:
    """Make a key in the GnuPG home folder `home`; `moment` (`20200101T000000`) is its birth."""
    make = ["--passphrase", "", "--quick-generate-key", f"{name} <{name}@example.com>"]
    _gpg(home, [*make, "ed25519", "sign", expires], moment=moment)
    listing = _gpg(home, ["--with-colons", "--list-keys", f"{name}@example.com"]).decode()
    fingerprint = next(s.split(":")[9] for s in listing.splitlines() if s.startswith("fpr:"))
    public = home / f"{name}.gpg"
    public.write_bytes(_gpg(home, ["--export", fingerprint]))
    armored = _gpg(home, ["--armor", "--export", fingerprint]).decode()
    return SigningKey(
        home=home, fingerprint=fingerprint, public=public, armored=armored, moment=moment
    )


@pytest.fixture(scope="session")
def gpg_home() -> Iterator[Path]:
    """A GnuPG home folder; in /tmp, because its agent's socket must have a short path."""
    home = Path(tempfile.mkdtemp(prefix="eb-gpg-"))
    try:
        yield home
    finally:
        stop = ["gpgconf", "--homedir", str(home), "--kill", "all"]
        if shutil.which(stop[0]):
            subprocess.run(stop, check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def debian_key(gpg_home: Path) -> SigningKey:
    """The key that signs the tests' archive."""
    return make_key(gpg_home, "archive")


@dataclass(kw_only=True)
class DebianRig:
    """An archive in `folder` (`dists/`, `pool/`), served at `url`, and apt's configuration for it.

    Add packages, then `publish`; both may be done again at any time.
    """

    folder: Path
    url: str
    server: FolderServer
    key: SigningKey
    etc: Path
    packages: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    """Stanzas, by `SUITE/COMPONENT/ARCHITECTURE`."""

    def add(
        self,
        name: str,
        *,
        suite: str = "bookworm",
        component: str = "main",
        version: str = "1.0-1",
        architecture: str = "amd64",
        data: bytes | None = None,
        **fields: str,
    ) -> dict[str, str]:
        """Add a package and return its stanza; `fields` as in `pre_depends="libc6"`."""
        extra = {key.replace("_", "-").title(): value for key, value in fields.items()}
        deb = data or make_deb(
            name=name,
            version=version,
            architecture=architecture,
            fields=extra,
            members=[Member(path=f"./usr/share/{name}/version", data=version.encode())],
        )
        path = f"pool/{component}/{name[0]}/{name}_{version.partition(':')[2] or version}"
        path += f"_{architecture}.deb"
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(deb)
        stanza = {"Package": name, "Version": version, "Architecture": architecture, **extra}
        stanza |= {"Filename": path, "Size": str(len(deb)), "SHA256": _sha256(deb)}
        targets = ("amd64", "arm64") if architecture == "all" else (architecture,)
        for machine in targets:
            self.packages.setdefault(f"{suite}/{component}/{machine}", []).append(stanza)
        return stanza

    def publish(
        self,
        *,
        suite: str = "bookworm",
        key: SigningKey | None = None,
        by_hash: bool = True,
        suffixes: Sequence[str] = (".xz", ".gz"),
        **fields: str,
    ) -> None:
        """Write and sign the indexes of `suite`; `fields` replace those of the release."""
        folder = self.folder / "dists" / suite
        shutil.rmtree(folder, ignore_errors=True)
        listed: list[str] = []
        machines: set[str] = set()
        for place, stanzas in sorted(self.packages.items()):
            inside, _, machine = place.removeprefix(f"{suite}/").rpartition("/")
            if not place.startswith(f"{suite}/"):
                continue
            machines.add(machine)
            plain = "\n".join(_render(stanza) for stanza in stanzas).encode()
            where = f"{inside}/binary-{machine}"
            listed.append(f" {_sha256(plain)} {len(plain)} {where}/Packages")
            for suffix in suffixes:
                packed = _compress(plain, suffix)
                listed.append(f" {_sha256(packed)} {len(packed)} {where}/Packages{suffix}")
                names = [f"{where}/Packages{suffix}"]
                if by_hash:
                    names = [f"{where}/by-hash/SHA256/{_sha256(packed)}"]
                for name in names:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_bytes(packed)
        head = {
            "Origin": "Tests",
            "Suite": f"old{suite}",
            "Codename": suite,
            "Date": _DATE,
            "Acquire-By-Hash": "yes" if by_hash else "no",
            "No-Support-for-Architecture-all": "Packages",
            "Architectures": " ".join(["all", *sorted(machines)]),
            "Components": "main",
        }
        head |= {name.replace("_", "-"): value for name, value in fields.items()}
        text = "".join(f"{name}: {value}\n" for name, value in head.items() if value)
        text += "SHA256:\n" + "\n".join(listed) + "\n"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "InRelease").write_bytes((key or self.key).sign(text))

    def configure(self, text: str, *, name: str = "test.sources") -> None:
        """Make `text` apt's only sources."""
        parts = self.etc / "sources.list.d"
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir(parents=True)
        (parts / name).write_text(text)

    def configure_suites(self, *suites: str, extra: str = "") -> None:
        """Make this archive apt's only source, for `suites`."""
        self.configure(
            f"Types: deb\nURIs: {self.url}\nSuites: {' '.join(suites)}\nComponents: main\n"
            f"Signed-By: {self.key.public}\n{extra}"
        )

    @property
    def downloads(self) -> list[str]:
        """What was asked for so far, without the releases: `METHOD /path STATUS`."""
        return [r for r in self.server.requests if "InRelease" not in r]


def _render(stanza: Mapping[str, str]) -> str:
    return "".join(f"{key}: {value}\n" for key, value in stanza.items())


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def debian_archive(
    tmp_path: Path, debian_key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DebianRig]:
    """An empty archive with its suite `bookworm` configured in apt; add packages and publish."""
    for tool, package in {"apt-config": "apt", "gpgv": "gpgv"}.items():
        if shutil.which(tool) is None:
            missing(tool, f"run `apt-get install {package}`")
    folder, etc = tmp_path / "archive", tmp_path / "etc-apt"
    folder.mkdir()
    etc.mkdir()
    config = tmp_path / "apt.conf"
    config.write_text(f'Dir::Etc "{etc}";\n')
    monkeypatch.setenv("APT_CONFIG", str(config))
    with serve_folder(folder) as server:
        rig = DebianRig(folder=folder, url=server.url, server=server, key=debian_key, etc=etc)
        rig.configure_suites("bookworm")
        yield rig


def resolve_real(
    names: Sequence[str], architecture: str, cache: Cache
) -> tuple[DebianPackage, ...]:
    """Resolve `names` in the real bookworm, from the archive that this machine's apt uses."""
    try:
        return resolve_debian(
            names, suite="bookworm", architecture=architecture, settings=Settings(), cache=cache
        )
    except LockError as error:
        if error.code in {"lock.no-archive", "lock.archive-down"}:
            missing(
                "an archive of Debian bookworm", f"let apt know one that can be reached: {error}"
            )
        raise
