"""TLS for every client here: which authorities are trusted, and what went wrong in words."""

from __future__ import annotations

import os
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from envbuild.errors import EnvbuildError

__all__ = ["describe_tls", "load_tls"]

_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where distributions keep the system's bundle, for a Python whose OpenSSL looks elsewhere."""


def load_tls(
    authorities: Sequence[Path] = (), *, client: tuple[Path, Path] | None = None
) -> ssl.SSLContext:
    """Return a verifying client context that trusts `authorities` besides the usual ones.

    `client` is a certificate of our own and its key. Raises `EnvbuildError`
    `tls.bundle` and `tls.client`.
    """
    # OpenSSL itself honours SSL_CERT_FILE and SSL_CERT_DIR here.
    context = ssl.create_default_context()
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        value = os.environ.get(name)
        if value and not Path(value).is_dir():
            _add_bundle(context, Path(value), f"the environment variable `{name}`")
    for authority in authorities:
        _add_bundle(context, authority, "this registry's settings")
    if not context.cert_store_stats()["x509_ca"] and not _has_folder():
        _add_fallback(context)
    if client is not None:
        _add_client(context, *client)
    return context


def describe_tls(error: ssl.SSLError | None) -> str:
    """Return in a few words why a TLS connection failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if error is not None and error.reason:
        return f"the TLS connection failed: {error.reason.replace('_', ' ').lower()}"
    return "the TLS connection failed"


def _add_bundle(context: ssl.SSLContext, path: Path, source: str) -> None:
    try:
        context.load_verify_locations(cafile=path)
    except OSError as error:  # ssl.SSLError is one too
        reason = "does not exist" if isinstance(error, FileNotFoundError) else "can't be read"
        raise EnvbuildError(
            "tls.bundle",
            f"the certificate bundle `{path}` that {source} names {reason}",
            hint="name a file of PEM certificates there, or nothing at all",
        ) from error


def _add_client(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    def refuse() -> str:
        # Without this, OpenSSL would ask for a passphrase on the terminal.
        raise ValueError

    try:
        context.load_cert_chain(certificate, key, password=refuse)
    except (OSError, ValueError) as error:
        raise EnvbuildError(
            "tls.client",
            f"the client certificate `{certificate}` with its key `{key}` can't be used",
            hint="both are PEM files, the key belongs to the certificate and has no passphrase; "
            "mend them or remove them",
        ) from error


def _has_folder() -> bool:
    # OpenSSL reads certificates of a folder one by one, by their hash, when it needs them.
    folder = ssl.get_default_verify_paths().capath
    return any(Path(str(folder)).glob("*.0"))


def _add_fallback(context: ssl.SSLContext) -> None:
    for bundle in _BUNDLES:
        if Path(bundle).is_file():
            context.load_verify_locations(cafile=bundle)
            return
