"""What a package's maintainer script would have made, made from the package's own files.

Only what programs miss without it, and only where one package suffices to know it. What depends on
several packages (the loader's cache, alternatives, dpkg's database) is in layers/debfinish.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from envbuild.layers.archive import body_of_bytes
from envbuild.layers.debcerts import make_links
from envbuild.layers.entry import Entry

__all__ = ["make_extras"]

_Read = Callable[[str], "bytes | None"]

_FOLDERS: Final[Mapping[str, Mapping[str, int]]] = {
    "base-files": {
        **dict.fromkeys(("etc/opt", "media", "mnt", "opt", "srv", "var/mail", "var/opt"), 0o755),
        **{
            f"usr/local/{name}": 0o755
            for name in ("bin", "etc", "games", "include", "lib", "sbin", "share", "src")
        },
        "run/lock": 0o1777,
    },
    "ca-certificates": {"usr/local/share/ca-certificates": 0o755},
}
_LINKS: Final[Mapping[str, Mapping[str, str]]] = {
    "base-files": {
        "etc/dpkg/origins/default": "debian",
        "var/lock": "/run/lock",
        "var/run": "/run",
        "var/spool/mail": "../mail",
    },
    # Where the OpenSSL of Debian looks, and that of most programs which were built elsewhere.
    "ca-certificates": {
        "etc/ssl/cert.pem": "certs/ca-certificates.crt",
        "usr/lib/ssl/cert.pem": "/etc/ssl/certs/ca-certificates.crt",
    },
    "dash": {"usr/bin/sh": "dash"},
    # The answers that its questions have if nobody is asked.
    "fontconfig-config": {
        f"etc/fonts/conf.d/{name}": f"/usr/share/fontconfig/conf.avail/{name}"
        for name in ("10-hinting-slight.conf", "70-no-bitmaps.conf")
    },
    "tzdata": {"etc/localtime": "/usr/share/zoneinfo/Etc/UTC"},
}
_COPIES: Final[Mapping[str, Mapping[str, str]]] = {
    "base-files": {
        "etc/motd": "usr/share/base-files/motd",
        "etc/profile": "usr/share/base-files/profile",
        "root/.bashrc": "usr/share/base-files/dot.bashrc",
        "root/.profile": "usr/share/base-files/dot.profile",
    },
    "readline-common": {"etc/inputrc": "usr/share/readline/inputrc"},
}
_TEXTS: Final[Mapping[str, Mapping[str, str]]] = {
    "base-files": {"etc/environment": ""},
    # An engine puts its own in their place in a container.
    "netbase": {
        "etc/hosts": "127.0.0.1\tlocalhost\n"
        "::1\t\tlocalhost ip6-localhost ip6-loopback\n"
        "ff02::1\t\tip6-allnodes\n"
        "ff02::2\t\tip6-allrouters\n",
        "etc/networks": "default\t\t0.0.0.0\nloopback\t127.0.0.0\nlink-local\t169.254.0.0\n",
    },
    "openjdk": {
        "etc/.java/.systemPrefs/.system.lock": "",
        "etc/.java/.systemPrefs/.systemRootModFile": "",
    },
    "passwd": {"etc/subgid": "", "etc/subuid": ""},
    "tzdata": {"etc/timezone": "Etc/UTC\n"},
}

_PAM: Final[Mapping[str, tuple[str, str]]] = {
    "account": (
        "account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so \n",
        "",
    ),
    "auth": ("auth\t[success=1 default=ignore]\tpam_unix.so nullok\n", ""),
    "password": ("password\t[success=1 default=ignore]\tpam_unix.so obscure yescrypt\n", ""),
    "session": ("session\t[default=1]\t\t\tpam_permit.so\n", "session\trequired\tpam_unix.so \n"),
    "session-noninteractive": (
        "session\t[default=1]\t\t\tpam_permit.so\n",
        "session\trequired\tpam_unix.so \n",
    ),
}
"""What pam-auth-update(8) makes of its only profile of the base, `unix`: first lines and last."""

_SLOT: Final = re.compile(r"^\$\w+_(primary|additional)\n", re.MULTILINE)
_JAVA: Final = re.compile(r"openjdk-\d+-jre-headless")
_CERTIFICATE: Final = re.compile(r"usr/share/ca-certificates/(.+\.crt)")


def make_extras(name: str, files: Sequence[str], read: _Read) -> Iterator[Entry]:
    """Yield the entries that the script of package `name` would have added.

    `files` are the paths of the package's files, sorted; `read` gives the content of one, or None
    if the package lacks it.
    """
    for path, mode in _FOLDERS.get(name, {}).items():
        yield Entry(path=path, kind="directory", mode=mode)
    for path, target in _LINKS.get(name, {}).items():
        if name == "fontconfig-config" and target.lstrip("/") not in files:
            continue  # another version of it has other answers
        yield Entry(path=path, kind="symlink", mode=0o777, link=target)
    for path, source in _COPIES.get(name, {}).items():
        data = read(source)
        if data is not None:
            yield _file(path, data)
    family = "openjdk" if _JAVA.fullmatch(name) else name
    for path, text in _TEXTS.get(family, {}).items():
        yield _file(path, text.encode())
    if name == "libpam-runtime":
        yield from _make_pam(read)
    if name == "ca-certificates":
        yield from _make_bundle(files, read)


def _make_pam(read: _Read) -> Iterator[Entry]:
    """Yield the common files of PAM, which `su` and its like include, from their templates."""
    for service, (first, last) in _PAM.items():
        template = read(f"usr/share/pam/common-{service}")
        if template is not None:
            parts = _SLOT.split(template.decode())
            # Texts between the slots, and the slots' kinds in turn.
            parts[1::2] = [first if kind == "primary" else last for kind in parts[1::2]]
            text = "".join(parts)
            yield _file(f"etc/pam.d/common-{service}", text.encode())


def _make_bundle(files: Sequence[str], read: _Read) -> Iterator[Entry]:
    """Yield what update-ca-certificates(8) makes of the package's certificates: all are trusted."""
    found = [match for path in files if (match := _CERTIFICATE.fullmatch(path))]
    texts = {match[0]: read(match[0]) or b"" for match in found}
    parts = [text.rstrip(b"\n") + b"\n" for text in texts.values()]
    yield from make_links(texts)
    yield _file("etc/ssl/certs/ca-certificates.crt", b"".join(parts))
    names = "".join(f"{match[1]}\n" for match in found)
    yield _file("etc/ca-certificates.conf", names.encode(errors="surrogateescape"))


def _file(path: str, data: bytes) -> Entry:
    return Entry(path=path, kind="file", size=len(data), body=body_of_bytes(data))
