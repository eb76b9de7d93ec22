"""Users and groups that packages ask for: sysusers.d(5), and fixed calls of adduser and its kin.

Only what is declared, or stands in a script in fixed words, is made. Numbers are given from 100
on, by name, as adduser(8) gives them to system users; none is known before.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from envbuild.layers.debscript import is_fixed
from envbuild.layers.debtree import Tree
from envbuild.layers.skeleton import Account

__all__ = ["Wish", "find_declared", "find_scripted", "plan_users"]

_FIRST: Final = 100
_NOGROUP: Final = 65534
_FOLDER: Final = "usr/lib/sysusers.d"
_VALUES: Final = frozenset(
    {"--home", "--gecos", "--comment", "--shell", "--uid", "--gid", "--ingroup", "--firstuid",
     "--lastuid", "--home-dir", "--groups", "--conf", "-d", "-c", "-s", "-g", "-u", "-G", "-K"}
)  # fmt: skip
"""Options that have a value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """A group, and a user of the same name if `home` is set; `grouped`: in a group of its own."""

    name: str
    number: int | None = None
    home: str = ""
    login: str = "/usr/sbin/nologin"
    gecos: str = ""
    grouped: bool = True


def find_declared(tree: Tree) -> Iterator[Wish]:
    """Yield what the files in /usr/lib/sysusers.d declare."""
    for name in tree.names(_FOLDER):
        text = (tree.read(f"{_FOLDER}/{name}") or b"").decode(errors="replace")
        for line in text.splitlines():
            words = _split(line) if name.endswith(".conf") else []
            if len(words) >= 2 and words[0].rstrip("!") in {"u", "g"} and "%" not in words[1]:
                yield _declare([*words, "-", "-", "-", "-"])


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:
        return []  # systemd-sysusers passes over such a line, too


def _declare(words: Sequence[str]) -> Wish:
    kind, name, number, gecos, home, login = words[:6]
    known = int(number) if number.isdecimal() else None
    if kind == "g":
        return Wish(name=name, number=known)
    return Wish(
        name=name, number=known, home="/" if home == "-" else home,
        login="/usr/sbin/nologin" if login == "-" else login, gecos="" if gecos == "-" else gecos,
    )  # fmt: skip


def find_scripted(commands: Iterable[Sequence[str]]) -> Iterator[Wish]:
    """Yield the system users and groups that `commands` (words) would make."""
    for words in commands:
        tool = words[0].rpartition("/")[2]
        if tool not in {"adduser", "addgroup", "useradd", "groupadd"} or not is_fixed(words):
            continue
        options, names = _parse(words[1:])
        if not ({"--system", "-r"} & options.keys()) or len(names) != 1:
            continue  # an existing user put into an existing group, or a person's account
        if tool in {"addgroup", "groupadd"}:
            yield Wish(name=names[0])
        else:
            yield _script(tool, names[0], options)


def _parse(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    options: dict[str, str] = {}
    names: list[str] = []
    rest = iter(words)
    for word in rest:
        key, equals, value = word.partition("=")
        if not word.startswith("-"):
            names.append(word)
        elif key in _VALUES:
            options[key] = value if equals else next(rest, "")
        else:
            options[key] = value
    return options, names


def _script(tool: str, name: str, options: Mapping[str, str]) -> Wish:
    def get(*names: str) -> str:
        return next((options[n] for n in names if n in options), "")

    return Wish(
        name=name,
        home=get("--home", "--home-dir", "-d") or "/nonexistent",
        login=get("--shell", "-s") or "/usr/sbin/nologin",
        gecos=get("--gecos", "--comment", "-c"),
        grouped=tool == "useradd" or "--group" in options,
    )


def plan_users(
    wishes: Iterable[Wish], *, users: Iterable[int], groups: Mapping[str, int], known: Iterable[str]
) -> tuple[tuple[Account, ...], dict[str, int]]:
    """Return accounts and groups beyond those that are there (`users`, `groups`, names `known`)."""
    taken = {*users, *groups.values()}
    wanted = {wish.name: wish for wish in sorted(wishes, key=lambda w: (bool(w.home), w.name))}
    names, accounts, made = set(known), [], dict[str, int]()
    for name, wish in sorted(wanted.items()):
        if name in names or (not wish.home and name in groups):
            continue
        number = wish.number if wish.number is not None else _next(taken)
        taken.add(number)
        if wish.grouped and name not in groups:
            made[name] = number
        if wish.home:
            gid = (made | dict(groups)).get(name, _NOGROUP) if wish.grouped else _NOGROUP
            accounts.append(
                Account(
                    name=name,
                    uid=number,
                    gid=gid,
                    home=wish.home,
                    login=wish.login,
                    gecos=wish.gecos,
                )
            )
    return tuple(accounts), made


def _next(taken: set[int]) -> int:
    number = _FIRST
    while number in taken:
        number += 1
    return number
