"""Makes what depends on all Debian packages of an image together: a layer of its own above theirs.

- `/etc/ld.so.cache` and the links to libraries that ldconfig would make (layers/ldcache.py);
- alternatives, with update-alternatives' own records (layers/alternatives.py);
- dpkg's database: `/var/lib/dpkg/status` and what dpkg keeps beside it (layers/debstatus.py), so
  that `dpkg -l`, `dpkg -L` and, where apt is among the packages, `apt-get install` work, and
  scanners see the packages as in an image that dpkg made. On a base from a registry, whose own
  `status` must stay as it is, each package has a file in `status.d` instead; scanners read both,
  and would count a package twice that is in both;
- `/etc/shells`, users and groups that packages declare (layers/debusers.py), Java's key store, and
  Graphviz' list of plugins, without which it knows no format (layers/debgraphviz.py).

What dpkg and maintainer scripts would do besides, and is not done, because programs do without
(found by comparing the trees with those that mmdebstrap makes of the same packages):

- manual pages, info, translations and documentation but for copyright files are left out, as in
  Debian's slim images; dpkg's lists still name them;
- caches that only save time: of fonts (fontconfig reads the fonts), byte code of packages with
  Python modules, ldconfig's own `aux-cache`, `mime.cache` and icon caches of desktop programs,
  compiled schemas of GSettings, gio's list of modules, gdk-pixbuf's list of further loaders;
- set-group-ID bits for groups other than root's (`ssh-agent`, `chage`, `wall`, `unix_chkpwd`,
  /var/mail, /var/local), for a layer's files belong to root, and file capabilities (`ping`);
- locales other than C.UTF-8 (the package `locales` brings only their sources);
- diversions (dpkg-divert): dash's of /bin/sh is not recorded; of two packages that bring one file,
  the later by name counts;
- services, init scripts and timers, empty logs, debconf's database and pam-auth-update's, apt's
  list of what came by itself and its sources, byte-for-byte comments in generated configuration
  (`ca-certificates.conf`), backups of passwd and group, `/etc/hostname`, `/etc/resolv.conf`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from envbuild.layers.alternatives import find_alternatives, plan_alternatives
from envbuild.layers.archive import body_of_bytes
from envbuild.layers.deb import MERGED
from envbuild.layers.debcerts import make_key_store
from envbuild.layers.debgraphviz import make_plugin_lists
from envbuild.layers.debscript import read_commands
from envbuild.layers.debstatus import describe_packages
from envbuild.layers.debtree import Tree
from envbuild.layers.debusers import Wish, find_declared, find_scripted, plan_users
from envbuild.layers.entry import Entry
from envbuild.layers.ldcache import plan_cache, render_cache
from envbuild.layers.skeleton import list_accounts, list_groups, make_users

__all__ = ["read_finish"]

_ASSEMBLED: Final = frozenset({"debian", "scratch"})
_INFO: Final = "var/lib/dpkg/info"
_SCRIPT: Final = re.compile(rf"{_INFO}/(?P<name>[^/]+)\.postinst")
_CERTIFICATES: Final = re.compile(r"usr/share/ca-certificates/.+\.crt")


def read_finish(
    groups: Sequence[Sequence[Entry]], *, base: str = "debian", user: str | None = None
) -> tuple[Entry, ...]:
    """Return the entries above those of all Debian packages (`groups`), sorted by path.

    A pure function of the packages, the kind of `base`, and the image's `user` (None: users are
    not looked at). On a base that is not assembled, the loader's cache, shells and users are left
    as the base has them, for nobody can see them here; on `scratch`, the packages get the links
    of a merged /usr.
    """
    whole = base in _ASSEMBLED
    tree = Tree(groups)
    entries = [*_make_alternatives(tree, groups)]
    tree.add(entries)
    if whole:
        rows, links = plan_cache(tree)
        entries += [*links, _file("etc/ld.so.cache", render_cache(rows))]
        entries += [*_make_shells(tree), *make_plugin_lists(tree)]
        entries += _make_users(tree, groups, user) if user is not None else ()
    if base == "scratch":
        entries += _make_merged(tree)
    if tree.resolve("usr/share/ca-certificates-java") is not None:
        entries.append(_make_key_store(tree, groups))
    entries += describe_packages(tree, groups, whole=whole)
    return tuple(sorted({e.path: e for e in entries}.values(), key=lambda entry: entry.path))


def _make_merged(tree: Tree) -> Iterator[Entry]:
    for old, new in MERGED.items():
        if "/" not in old and tree.names(new):
            yield Entry(path=old, kind="symlink", mode=0o777, link=new)


def _find_scripts(groups: Sequence[Sequence[Entry]]) -> Iterator[str]:
    """Yield the text of each package's postinst that is a script, in the order of their names."""
    found = {e.path: e for group in groups for e in group if _SCRIPT.fullmatch(e.path)}
    for _, entry in sorted(found.items()):
        data = b"".join(entry.body().data) if entry.body else b""
        if data.startswith(b"#!"):
            yield data.decode(errors="surrogateescape")


def _make_alternatives(tree: Tree, groups: Sequence[Sequence[Entry]]) -> tuple[Entry, ...]:
    found = (a for script in _find_scripts(groups) for a in find_alternatives(script))
    return plan_alternatives(tree, found)


def _make_shells(tree: Tree) -> Iterator[Entry]:
    """Yield /etc/shells as update-shells(8) writes it: each shell by both of its paths."""
    lines = (tree.read("usr/share/debianutils/shells") or b"").decode().splitlines()
    for name in tree.names("usr/share/debianutils/shells.d"):
        lines += (tree.read(f"usr/share/debianutils/shells.d/{name}") or b"").decode().splitlines()
    shells = [line for line in lines if line.startswith("/") and tree.resolve(line) is not None]
    both = dict.fromkeys([*shells, *(f"/usr{s}" for s in shells if s.startswith("/bin/"))])
    head = "# /etc/shells: valid login shells\n"
    yield _file("etc/shells", (head + "".join(f"{shell}\n" for shell in both)).encode())


def _make_users(tree: Tree, groups: Sequence[Sequence[Entry]], user: str) -> Iterator[Entry]:
    wishes: list[Wish] = [*find_declared(tree)]
    for script in _find_scripts(groups):
        wishes += find_scripted(read_commands(script))
    accounts = list_accounts(user)
    made = plan_users(
        wishes, users=[a.uid for a in accounts], groups=list_groups(user),
        known=[a.name for a in accounts],
    )  # fmt: skip
    if any(made):
        yield from make_users(user, accounts=made[0], groups=made[1])


def _make_key_store(tree: Tree, groups: Sequence[Sequence[Entry]]) -> Entry:
    paths = {e.path for group in groups for e in group if _CERTIFICATES.fullmatch(e.path)}
    return make_key_store({path: tree.read(path) or b"" for path in paths})


def _file(path: str, data: bytes) -> Entry:
    return Entry(path=path, kind="file", size=len(data), body=body_of_bytes(data))
