"""The part of an image that no package brings: users, links of a merged /usr, the environment's
frame, the folder to work in. A pure function of the recipe.

It reads of the recipe: platform, base.kind, prefix, python_minor, interpreter, settings.user.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from envbuild.identity.recipe import Recipe
from envbuild.layers.archive import body_of_bytes
from envbuild.layers.entry import Entry
from envbuild.spec.platforms import PLATFORMS

__all__ = [
    "WORKSPACE",
    "Account",
    "find_account",
    "list_accounts",
    "list_groups",
    "make_users",
    "read_skeleton",
]

WORKSPACE: Final = "/workspace"
"""Where commands start; it belongs to the image's user."""

_MERGED: Final = {"amd64": ("bin", "lib", "lib64", "sbin"), "arm64": ("bin", "lib", "sbin")}
"""Links of Debian's merged /usr by dpkg's architecture: `lib64` is where amd64's loader is."""

_NSSWITCH: Final = """\
passwd:         files
group:          files
shadow:         files
hosts:          files dns
networks:       files
protocols:      files
services:       files
rpc:            files
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A user and the group of the same name."""

    name: str
    uid: int
    gid: int
    home: str
    login: str = "/usr/sbin/nologin"
    gecos: str = ""

    def __str__(self) -> str:
        return f"{self.name}:x:{self.uid}:{self.gid}:{self.gecos}:{self.home}:{self.login}\n"


# The numbers are those of Debian's package base-passwd; `nonroot` is as in distroless images.
_ROOT: Final = Account(name="root", uid=0, gid=0, home="/root", login="/bin/sh", gecos="root")
_NONROOT: Final = Account(
    name="nonroot", uid=65532, gid=65532, home="/home/nonroot", login="/bin/sh"
)
_ACCOUNTS: Final = (
    _ROOT,
    Account(name="daemon", uid=1, gid=1, home="/usr/sbin"),
    Account(name="bin", uid=2, gid=2, home="/bin"),
    Account(name="sys", uid=3, gid=3, home="/dev"),
    Account(name="sync", uid=4, gid=65534, home="/bin", login="/bin/sync"),
    Account(name="games", uid=5, gid=60, home="/usr/games"),
    Account(name="man", uid=6, gid=12, home="/var/cache/man"),
    Account(name="lp", uid=7, gid=7, home="/var/spool/lpd"),
    Account(name="mail", uid=8, gid=8, home="/var/mail"),
    Account(name="news", uid=9, gid=9, home="/var/spool/news"),
    Account(name="uucp", uid=10, gid=10, home="/var/spool/uucp"),
    Account(name="proxy", uid=13, gid=13, home="/bin"),
    Account(name="www-data", uid=33, gid=33, home="/var/www"),
    Account(name="backup", uid=34, gid=34, home="/var/backups"),
    Account(name="list", uid=38, gid=38, home="/var/list", gecos="Mailing List Manager"),
    Account(name="irc", uid=39, gid=39, home="/run/ircd", gecos="ircd"),
    Account(name="_apt", uid=42, gid=65534, home="/nonexistent"),
    _NONROOT,
    Account(name="nobody", uid=65534, gid=65534, home="/nonexistent", gecos="nobody"),
)
_GROUPS: Final[Mapping[str, int]] = {
    "root": 0, "daemon": 1, "bin": 2, "sys": 3, "adm": 4, "tty": 5, "disk": 6, "lp": 7, "mail": 8,
    "news": 9, "uucp": 10, "man": 12, "proxy": 13, "kmem": 15, "dialout": 20, "fax": 21,
    "voice": 22, "cdrom": 24, "floppy": 25, "tape": 26, "sudo": 27, "audio": 29, "dip": 30,
    "www-data": 33, "backup": 34, "operator": 37, "list": 38, "irc": 39, "src": 40, "shadow": 42,
    "utmp": 43, "video": 44, "sasl": 45, "plugdev": 46, "staff": 50, "games": 60, "users": 100,
    "nonroot": 65532, "nogroup": 65534,
}  # fmt: skip


def find_account(user: str) -> Account:
    """Return the account of an image's user: `root`, `nonroot`, `UID` or `UID:GID`.

    A number that is nobody's becomes the user `user`: Python's getpass and pathlib, and what is
    built on them, fail for a user without a name and a home.
    """
    if user in {_ROOT.name, _NONROOT.name}:
        return _ROOT if user == _ROOT.name else _NONROOT
    uid, _, group = user.partition(":")
    gid = int(group or uid)
    known = next((a for a in _ACCOUNTS if a.uid == int(uid)), None)
    if known is not None:
        return known
    return Account(name="user", uid=int(uid), gid=gid, home="/home/user", login="/bin/sh")


def read_skeleton(recipe: Recipe) -> tuple[Entry, ...]:
    """Return the skeleton's entries, sorted by path.

    With base `debian` those of a whole system, with `scratch` users and /tmp, on a base that is an
    image neither; with all of them /workspace, and a virtual environment where the recipe has an
    interpreter to point it to, and the base doesn't bring the whole environment.
    """
    entries = [*_make_workspace(recipe)]
    if recipe.base.kind in {"debian", "scratch"}:
        entries += _make_users(recipe)
    if recipe.base.kind == "debian":
        entries += _make_system(recipe)
    if recipe.interpreter and recipe.managed:
        entries += _make_environment(recipe)
    return tuple(sorted(entries, key=lambda entry: entry.path))


def _make_workspace(recipe: Recipe) -> Iterator[Entry]:
    owner = find_account(recipe.settings.user).uid
    yield _folder(WORKSPACE, owner=owner)


def _make_users(recipe: Recipe) -> Iterator[Entry]:
    yield from make_users(recipe.settings.user)
    yield _folder("/tmp", mode=0o1777)  # noqa: S108 - the image's, not this machine's
    for account in list_accounts(recipe.settings.user):
        if account.home.startswith("/home/"):
            yield _folder(account.home, owner=account.uid)


def list_accounts(user: str) -> tuple[Account, ...]:
    """Return the accounts of every image, that of its `user` among them, by number."""
    own = find_account(user)
    accounts = _ACCOUNTS if own in _ACCOUNTS else (*_ACCOUNTS, own)
    return tuple(sorted(accounts, key=lambda account: account.uid))


def list_groups(user: str) -> dict[str, int]:
    """Return the groups of every image, that of its `user` among them."""
    own = find_account(user)
    return dict(_GROUPS) | ({} if own.gid in _GROUPS.values() else {own.name: own.gid})


def make_users(
    user: str, *, accounts: Sequence[Account] = (), groups: Mapping[str, int] | None = None
) -> Iterator[Entry]:
    """Yield passwd(5), group(5) and their shadows, with `accounts` and `groups` besides.

    Nobody has a password that could be right, as in Debian's images.
    """
    listed = sorted((*list_accounts(user), *accounts), key=lambda account: account.uid)
    rows = sorted((list_groups(user) | dict(groups or {})).items(), key=lambda item: item[1])
    yield _file("/etc/passwd", "".join(map(str, listed)))
    yield _file("/etc/group", "".join(f"{name}:x:{gid}:\n" for name, gid in rows))
    yield _file("/etc/shadow", "".join(f"{a.name}:*::0:99999:7:::\n" for a in listed), mode=0o640)
    yield _file("/etc/gshadow", "".join(f"{name}:*::\n" for name, _ in rows), mode=0o640)


def _make_system(recipe: Recipe) -> Iterator[Entry]:
    for name in _MERGED[PLATFORMS[recipe.platform].debian]:
        yield _link(f"/{name}", f"usr/{name}")
    yield _file("/etc/nsswitch.conf", _NSSWITCH)
    yield _file("/etc/machine-id", "")
    yield _folder("/root", mode=0o700)
    for path in ("/dev", "/proc", "/run", "/sys", "/var/cache", "/var/lib", "/var/log"):
        yield _folder(path)
    yield _folder("/var/tmp", mode=0o1777)  # noqa: S108 - the image's, not this machine's


def _make_environment(recipe: Recipe) -> Iterator[Entry]:
    """Yield what `python -m venv --without-pip` makes, without the scripts that change a shell."""
    prefix, minor = recipe.prefix, recipe.python_minor
    settings = {
        "home": posixpath.dirname(recipe.interpreter),
        "include-system-site-packages": "false",
        "version": minor,
    }
    lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
    yield _file(f"{prefix}/pyvenv.cfg", lines)
    yield _link(f"{prefix}/bin/python", recipe.interpreter)
    yield _link(f"{prefix}/bin/python3", "python")
    yield _link(f"{prefix}/bin/python{minor}", "python")
    yield _folder(f"{prefix}/lib/python{minor}/site-packages")
    yield _link(f"{prefix}/lib64", "lib")


def _folder(path: str, *, mode: int = 0o755, owner: int = 0) -> Entry:
    return Entry(path=path.lstrip("/"), kind="directory", mode=mode, owner=owner)


def _link(path: str, target: str) -> Entry:
    return Entry(path=path.lstrip("/"), kind="symlink", mode=0o777, link=target)


def _file(path: str, text: str, *, mode: int = 0o644) -> Entry:
    data = text.encode()
    return Entry(
        path=path.lstrip("/"), kind="file", mode=mode, size=len(data), body=body_of_bytes(data)
    )
