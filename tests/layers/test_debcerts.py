"""Links by subject are OpenSSL's, and Java reads the store of certificates."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from envbuild.layers.debcerts import hash_subject, make_key_store, make_links, parse_pem
from tests.rig.need import missing

SUBJECTS = [
    "/CN=Plain",
    "/C=DE/O=Two  Spaces And CASE/CN= Leading",
    "/C=TR/O=T\u00dcRK\u0130YE \u00c7a\u011fr\u0131/CN=K\u00f6k",
    "/C=US/O=One/OU=A+CN=B",
    "/DC=example/emailAddress=A@Example.com/serialNumber=X1",
    "/CN=" + "long" * 16,
]


def _make(folder: Path, subject: str) -> bytes:
    tool = shutil.which("openssl")
    if tool is None:
        missing("openssl", "run `apt-get install openssl`")
    out = folder / "made.crt"
    config = folder / "openssl.cnf"
    config.write_text("[req]\ndistinguished_name = dn\nstring_mask = default\n[dn]\n")
    subprocess.run(
        [tool, "req", "-x509", "-newkey", "ed25519", "-nodes", "-utf8", "-multivalue-rdn",
         "-config", str(config), "-keyout", "/dev/null", "-subj", subject, "-out", str(out)],
        check=True, capture_output=True,
    )  # fmt: skip
    return out.read_bytes()


@pytest.mark.parametrize("subject", SUBJECTS)
def test_a_subject_s_hash_is_openssl_s(tmp_path: Path, subject: str) -> None:
    pem = _make(tmp_path, subject)
    wanted = subprocess.run(
        ["openssl", "x509", "-noout", "-subject_hash"],
        input=pem, check=True, capture_output=True,
    )  # fmt: skip
    der = parse_pem(pem)
    assert der is not None
    assert hash_subject(der) == wanted.stdout.decode().strip()


def test_links_are_those_of_rehash(tmp_path: Path) -> None:
    one, two = _make(tmp_path, "/CN=Same"), _make(tmp_path, "/CN=SAME")
    links = {
        entry.path.rpartition("/")[2]: entry.link
        for entry in make_links({"usr/share/ca-certificates/m/A, (b).crt": one, "x/B.crt": two})
    }
    der = parse_pem(one)
    assert der is not None
    digest = hash_subject(der)
    assert links == {
        "A__=b=.pem": "/usr/share/ca-certificates/m/A, (b).crt",
        "B.pem": "/x/B.crt",
        f"{digest}.0": "A__=b=.pem",
        f"{digest}.1": "B.pem",
    }


def test_what_is_no_certificate_has_no_hash() -> None:
    assert parse_pem(b"no certificate") is None
    assert [entry.path for entry in make_links({"a/A.crt": b"none"})] == ["etc/ssl/certs/A.pem"]


def test_java_reads_its_store(tmp_path: Path) -> None:
    certificates = {f"c/Some {n}.crt": _make(tmp_path, f"/CN={n}") for n in ("One", "Two")}
    entry = make_key_store({**certificates, "c/broken.crt": b""})
    assert entry.path == "etc/ssl/certs/java/cacerts"
    assert entry.body is not None
    data = b"".join(entry.body().data)
    signed = "changeit".encode("utf-16-be") + b"Mighty Aphrodite" + data[:-20]
    assert data[-20:] == hashlib.sha1(signed).digest()
    tool = shutil.which("keytool")
    if tool is None:
        missing("keytool", "run `apt-get install openjdk-17-jre-headless`")
    store = tmp_path / "cacerts"
    store.write_bytes(data)
    listed = subprocess.run(
        [tool, "-J-Xmx64m", "-list", "-rfc", "-keystore", str(store), "-storepass", "changeit"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "Alias name: debian:some_one.pem" in listed
    assert "Alias name: debian:some_two.pem" in listed
    assert listed.count("BEGIN CERTIFICATE") == 2
