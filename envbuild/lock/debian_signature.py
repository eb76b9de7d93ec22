"""Proves that an archive's `InRelease` was signed by a key that may sign for it, with `gpgv`.

Only the text that gpgv itself writes out is used afterwards, so nothing outside the signed part
can slip in. The meaning of gpgv's status lines: GnuPG's doc/DETAILS.
"""

from __future__ import annotations

import base64
import binascii
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from envbuild.errors import LockError, ToolError
from envbuild.lock.apt_sources import AptConfig, ArchiveSource

__all__ = ["check_signature"]

DEBIAN_KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Where Debian's package debian-archive-keyring puts the keys of the archive."""

_BEGIN: Final = b"-----BEGIN PGP SIGNED MESSAGE-----"
_END: Final = b"-----END PGP SIGNATURE-----"
_REASONS: Final = {
    "BADSIG": "the text isn't what was signed",
    "EXPSIG": "the signature has expired",
    "EXPKEYSIG": "the key that signed it has expired",
    "REVKEYSIG": "the key that signed it was revoked",
}


def check_signature(data: bytes, source: ArchiveSource, config: AptConfig, *, url: str) -> str:
    """Return the signed text of `data`, an `InRelease` file; `url` is what messages call it.

    Raises `LockError` `lock.no-keyring` (no key is at hand) or `lock.archive-signature`, and
    `ToolError` `tool.missing` without gpgv.
    """
    tool = shutil.which("gpgv")
    if tool is None:
        raise ToolError(
            "tool.missing",
            "`gpgv`, which checks the signatures of Debian archives, is not on this machine",
            hint="to install it, run `apt-get install gpgv`",
        )
    keys = _collect_keys(source, config)
    if data.count(_BEGIN) != 1 or not data.startswith(_BEGIN) or not data.rstrip().endswith(_END):
        raise _refuse(url, "it is not one clear-signed text")
    with tempfile.TemporaryDirectory(prefix="envbuild-gpgv-") as folder:
        return _run(tool, data, keys, source, Path(folder), url)


def _run(tool: str, data: bytes, keys: bytes, source: ArchiveSource, folder: Path, url: str) -> str:
    ring, text, signed = folder / "keys.gpg", folder / "Release", folder / "InRelease"
    ring.write_bytes(keys)
    signed.write_bytes(data)
    argv = [tool, "--homedir", str(folder), "--keyring", str(ring), "--weak-digest", "SHA1"]
    argv += ["--status-fd", "1", "--output", str(text), str(signed)]
    done = subprocess.run(argv, capture_output=True, check=False)
    status = [
        line.split()[1:]
        for line in done.stdout.decode(errors="replace").splitlines()
        if line.startswith("[GNUPG:] ") and len(line.split()) > 1
    ]
    _check_status(status, source.fingerprints, url)
    return text.read_text(encoding="utf-8")


def _check_status(status: Sequence[Sequence[str]], fingerprints: frozenset[str], url: str) -> None:
    # A file may carry signatures of keys that we lack or that have expired; one good one by a key
    # that may sign will do, as for apt.
    if any(line[0] == "BADSIG" for line in status):
        raise _refuse(url, _REASONS["BADSIG"])
    signers = _find_signers(status)
    if not signers:
        raise _refuse(url, _explain(status))
    if fingerprints and fingerprints.isdisjoint(signers):
        raise _refuse(url, f"`{signers[0]}` signed it, which the source does not name")


def _find_signers(status: Sequence[Sequence[str]]) -> list[str]:
    """Return the fingerprints, each with its primary key's, of all good signatures."""
    signers: list[str] = []
    verdict = ""
    for word, *rest in status:
        if word in {"GOODSIG", "ERRSIG", *_REASONS}:
            verdict = word
        elif word == "VALIDSIG" and verdict == "GOODSIG":  # it follows EXPKEYSIG as well
            signers += [rest[0], rest[-1]]
    return signers


def _explain(status: Sequence[Sequence[str]]) -> str:
    for line in status:
        if line[0] in _REASONS:
            return _REASONS[line[0]]
    unknown = sorted({line[1] for line in status if line[0] == "NO_PUBKEY"})
    if unknown:
        return "no keyring here has its key " + ", ".join(f"`{key}`" for key in unknown)
    return "gpgv finds no good signature in it"


def _refuse(url: str, reason: str) -> LockError:
    return LockError(
        "lock.archive-signature",
        f"the signature of `{url}` can't be trusted: {reason}",
        hint="to get the archive's newest keys, run `apt-get install debian-archive-keyring`, or "
        "name another archive as `debian-archives` in `[tool.envbuild]`",
    )


def _collect_keys(source: ArchiveSource, config: AptConfig) -> bytes:
    if source.inline_key:
        return _dearmor(source.inline_key)
    files = source.keyrings or _find_default_keyrings(config)
    keys = b"".join(_read_keyring(file) for file in files)
    if not keys:
        named = ", ".join(f"`{file}`" for file in files) or f"`{DEBIAN_KEYRING}`"
        raise LockError(
            "lock.no-keyring",
            f"there are no keys to check the archive of `{source.suite}` with: {named}",
            hint="to install Debian's, run `apt-get install debian-archive-keyring`",
        )
    return keys


def _find_default_keyrings(config: AptConfig) -> tuple[Path, ...]:
    parts = sorted(config.trusted_parts.iterdir()) if config.trusted_parts.is_dir() else []
    files = (DEBIAN_KEYRING, config.trusted, *(p for p in parts if p.suffix in {".gpg", ".asc"}))
    return tuple(file for file in files if file.is_file())


def _read_keyring(file: Path) -> bytes:
    """Return a keyring as gpgv takes it; keyrings are OpenPGP packets, so they may be joined."""
    try:
        data = file.read_bytes()
    except OSError:
        return b""
    if data[8:12] == b"KBXf":  # GnuPG's own keybox, which apt doesn't take either
        return b""
    return _dearmor(data.decode("ascii")) if data.startswith(b"-----BEGIN PGP") else data


def _dearmor(text: str) -> bytes:
    """Return the packets of ASCII armor, RFC 4880 section 6.2; several blocks are joined."""
    blocks = text.split("-----BEGIN PGP PUBLIC KEY BLOCK-----")[1:]
    return b"".join(_dearmor_block(block.partition("-----END PGP")[0]) for block in blocks)


def _dearmor_block(block: str) -> bytes:
    lines = [line.strip() for line in block.strip("\n").splitlines()]
    # Headers such as `Comment: ...` end at an empty line; `=` starts the checksum.
    if any(":" in line for line in lines):
        lines = lines[lines.index("") + 1 :] if "" in lines else []
    body = "".join(line for line in lines if line and not line.startswith("="))
    try:
        return base64.b64decode(body)
    except binascii.Error:
        return b""
