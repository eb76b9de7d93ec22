"""Certificates as Debian's tools set them up: links by subject for OpenSSL, a key store for Java.

Sources: `update-ca-certificates(8)` (names of links), OpenSSL's `X509_NAME_hash` (SHA-1 over the
canonical subject, its first four bytes), and Java's JKS format, which `ca-certificates-java` uses.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from envbuild.layers.archive import body_of_bytes
from envbuild.layers.entry import Entry

__all__ = ["hash_subject", "make_key_store", "make_links", "parse_pem"]

_PEM: Final = re.compile(rb"-----BEGIN (?:TRUSTED )?CERTIFICATE-----(.+?)-----END", re.DOTALL)
_CERTS: Final = "etc/ssl/certs"
_TEXTS: Final[Mapping[int, str]] = {
    12: "utf-8", 19: "ascii", 20: "latin-1", 22: "ascii", 26: "ascii", 28: "utf-32-be",
    30: "utf-16-be",
}  # fmt: skip
"""Encodings of the string types that OpenSSL makes UTF-8 of, by ASN.1 tag."""

_SEQUENCE, _SET, _UTF8, _VERSION = 0x30, 0x31, 12, 0xA0
_STORE: Final = 0xFEEDFEED
_SALT: Final = "changeit".encode("utf-16-be") + b"Mighty Aphrodite"


def parse_pem(text: bytes) -> bytes | None:
    """Return the first certificate of a PEM file, as DER; None if it has none."""
    found = _PEM.search(text)
    return base64.b64decode(found[1]) if found else None


def make_links(certificates: Mapping[str, bytes]) -> Iterator[Entry]:
    """Yield `NAME.pem` and `HASH.N` in /etc/ssl/certs; `certificates` maps paths to PEM text."""
    taken: dict[str, int] = {}
    for path, text in sorted(certificates.items()):
        stem = path.rpartition("/")[2].removesuffix(".crt")
        name = re.sub(r"[ ,]", "_", re.sub(r"[()]", "=", stem)) + ".pem"
        yield Entry(path=f"{_CERTS}/{name}", kind="symlink", mode=0o777, link=f"/{path}")
        der = parse_pem(text)
        if der is None:
            continue
        subject = hash_subject(der)
        number = taken.get(subject, 0)
        taken[subject] = number + 1
        yield Entry(path=f"{_CERTS}/{subject}.{number}", kind="symlink", mode=0o777, link=name)


def hash_subject(der: bytes) -> str:
    """Return what `openssl x509 -subject_hash` prints of a certificate."""
    (_, certificate), *_ = _read(der)
    (_, signed), *_ = _read(certificate)
    fields = list(_read(signed))
    # Version (if there), serial number, algorithm, issuer, validity, subject.
    subject = fields[5 if fields[0][0] == _VERSION else 4][1]
    canonical = b"".join(
        _write(_SET, b"".join(sorted(_canonical(pair) for _, pair in _read(group))))
        for _, group in _read(subject)
    )
    return f"{struct.unpack('<I', hashlib.sha1(canonical).digest()[:4])[0]:08x}"  # noqa: S324 - OpenSSL's


def _canonical(pair: bytes) -> bytes:
    (kind, name), (tag, value), *_ = _read(pair)
    if tag in _TEXTS:
        words = re.split(r"[ \t\n\v\f\r]+", value.decode(_TEXTS[tag]).strip(" \t\n\v\f\r"))
        text = re.sub("[A-Z]", lambda match: match[0].lower(), " ".join(words))
        tag, value = _UTF8, text.encode()
    return _write(_SEQUENCE, _write(kind, name) + _write(tag, value))


def _read(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element of DER `data`."""
    place = 0
    while place < len(data):
        tag, size = data[place], data[place + 1]
        place += 2
        if size & 0x80:
            digits = size & 0x7F
            size = int.from_bytes(data[place : place + digits], "big")
            place += digits
        yield tag, data[place : place + size]
        place += size


def _write(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    digits = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(digits))) + digits + content


def make_key_store(certificates: Mapping[str, bytes]) -> Entry:
    """Return Java's store of trusted certificates (JKS, version 2, password `changeit`)."""
    out = bytearray()
    count = 0
    for path, text in sorted(certificates.items()):
        der = parse_pem(text)
        if der is None:
            continue
        stem = path.rpartition("/")[2].removesuffix(".crt")
        alias = "debian:" + re.sub(r"[ ,]", "_", re.sub(r"[()]", "=", stem)).lower() + ".pem"
        out += struct.pack(">I", 2) + _text(alias) + bytes(8) + _text("X.509")
        out += struct.pack(">I", len(der)) + der
        count += 1
    data = struct.pack(">III", _STORE, 2, count) + out
    data += hashlib.sha1(_SALT + data).digest()  # noqa: S324 - the format's own
    return Entry(
        path=f"{_CERTS}/java/cacerts", kind="file", size=len(data), body=body_of_bytes(data)
    )


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">H", len(data)) + data
