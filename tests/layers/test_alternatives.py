"""Alternatives are those that update-alternatives makes when it really runs the same scripts."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from envbuild.layers.alternatives import find_alternatives, plan_alternatives
from envbuild.layers.deb import MERGED
from envbuild.layers.debtree import Tree
from envbuild.layers.entry import Entry
from tests.layers.elfs import file, link
from tests.rig.need import missing

AWK = """\
#!/bin/sh
set -e
update-alternatives --quiet --install /usr/bin/awk awk /usr/bin/{name} {priority} \\
  --slave /usr/share/man/man1/awk.1.gz awk.1.gz /usr/share/man/man1/{name}.1.gz \\
  --slave /usr/bin/nawk nawk /usr/bin/{name}
"""
CC = """\
#! /bin/sh
update-alternatives \\
    --install /usr/bin/cc cc /usr/bin/gcc 20 \\
    #--slave /usr/share/man/man1/cc.1.gz cc.1.gz /usr/share/man/man1/gcc.1.gz

exit 0
"""
LESS = """\
case "$1" in
  configure)
    update-alternatives --quiet --install /usr/bin/pager pager \\
      /usr/bin/less 77 --slave /usr/share/man/man1/pager.1.gz \\
      pager.1.gz /usr/share/man/man1/less.1.gz
  ;;
esac
"""
NETCAT = """\
if [ "$1" = "configure" ]; then
    update-alternatives \\
        --install /bin/nc nc /bin/nc.openbsd 50 \\
        --slave /bin/netcat netcat /bin/nc.openbsd
fi
"""
JAVA = """\
basedir=/usr/lib/jvm/java-17
mandir=$basedir/man
jre_tools='java keytool'
case "$1" in
configure)
    for i in $jre_tools; do
        unset slave1 slave2 || true
        if [ -e $ROOT$mandir/man1/$i.1.gz ]; then
            slave1="--slave \\
                /usr/share/man/man1/$i.1.gz \\
                $i.1.gz \\
                $mandir/man1/$i.1.gz"
        fi
        if false && [ -e $mandir/ja ]; then
            slave2="--slave /usr/share/man/ja/$i ${i}_ja $mandir/ja/$i"
        fi
        update-alternatives \\
            --install \\
            /usr/bin/$i \\
            $i \\
            $basedir/bin/$i \\
            1711 \\
            $slave1 $slave2
    done
    update-alternatives --install /usr/bin/jexec jexec $basedir/lib/jexec 5
    ;;
esac
"""
BLAS = """\
update-alternatives --install /usr/lib/x/libblas.so.3 \\
                    libblas.so.3-x /usr/lib/x/{name}/libblas.so.3 {priority}
"""
GONE = "update-alternatives --install /usr/bin/pico pico /bin/nano 10 || true\n"

CASES: dict[str, tuple[list[str], list[str]]] = {
    "one": ([AWK.format(name="mawk", priority=5)], ["usr/bin/mawk"]),
    "two, the higher first": (
        [AWK.format(name="gawk", priority=10), AWK.format(name="mawk", priority=5)],
        ["usr/bin/mawk", "usr/bin/gawk", "usr/share/man/man1/gawk.1.gz"],
    ),
    "two, the lower first": (
        [AWK.format(name="mawk", priority=-5), AWK.format(name="original-awk", priority=0)],
        ["usr/bin/mawk", "usr/bin/original-awk"],
    ),
    "a comment after a joined line": ([CC], ["usr/bin/gcc"]),
    "in a case": ([LESS], ["usr/bin/less", "usr/share/man/man1/less.1.gz"]),
    "in folders that moved": ([NETCAT], ["usr/bin/nc.openbsd"]),
    "in a loop": (
        [JAVA],
        [
            *(f"usr/lib/jvm/java-17/bin/{name}" for name in ("java", "keytool")),
            "usr/lib/jvm/java-17/lib/jexec",
            *(f"usr/lib/jvm/java-17/man/man1/{name}.1.gz" for name in ("java", "keytool")),
        ],
    ),
    "libraries": (
        [BLAS.format(name="blas", priority=10), BLAS.format(name="openblas", priority=100)],
        ["usr/lib/x/blas/libblas.so.3", "usr/lib/x/openblas/libblas.so.3"],
    ),
    "a file that isn't there": ([GONE], []),
    "a file in the link's place": ([CC], ["usr/bin/gcc", "usr/bin/cc"]),
}


def _run_real(root: Path, scripts: Sequence[str]) -> None:
    tool = shutil.which("update-alternatives")
    if tool is None:
        missing("update-alternatives", "run these tests on Debian")
    folder = root.parent / "tools"
    folder.mkdir()
    wrapper = folder / "update-alternatives"
    wrapper.write_text(f'#!/bin/sh\nexec {tool} --root {root} --log /dev/null "$@"\n')
    wrapper.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "ROOT": str(root)}
    for script in scripts:
        subprocess.run(
            ["/bin/sh", "-c", script, "postinst", "configure"],
            check=True, capture_output=True, env=environment, cwd=root,
        )  # fmt: skip


def _prepare(root: Path, files: Sequence[str]) -> None:
    for folder in ("etc/alternatives", "var/lib/dpkg/alternatives", "usr/share/man/man1"):
        (root / folder).mkdir(parents=True)
    for old, new in {old: new for old, new in MERGED.items() if "/" not in old}.items():
        (root / new).mkdir(parents=True, exist_ok=True)
        (root / old).symlink_to(new)
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def _read(root: Path, files: Sequence[str]) -> dict[str, str]:
    found = {}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_symlink() and name not in MERGED:
            found[name] = str(path.readlink())
        elif path.is_file() and name not in {*files, "dev/null"}:  # the tool's log
            found[name] = path.read_text()
    return found


def _plan(scripts: Sequence[str], entries: Sequence[Entry]) -> dict[str, str]:
    found = [alternative for script in scripts for alternative in find_alternatives(script)]
    made = plan_alternatives(Tree([entries]), found)
    assert [e.path for e in made] == sorted({e.path for e in made})
    return {e.path: b"".join(e.body().data).decode() if e.body else e.link for e in made}


@pytest.mark.parametrize("case", CASES)
def test_the_real_tool_makes_the_same(tmp_path: Path, case: str) -> None:
    scripts, files = CASES[case]
    root = tmp_path / "root"
    _prepare(root, files)
    _run_real(root, scripts)
    made = _plan(scripts, [file(name, b"x") for name in files])
    real = _read(root, files)
    assert made == real
    assert bool(made) == bool(files)


def test_what_is_not_fixed_is_left_alone() -> None:
    scripts = [
        "update-alternatives --install /usr/bin/a a $(find /usr/bin -name b) 5",
        "update-alternatives --install /usr/bin/a a /usr/bin/$unknown 5",
        "update-alternatives --install /usr/bin/a a /usr/bin/b `echo 5`",
        "update-alternatives --install /usr/bin/a a /usr/bin/b",
        "update-alternatives --remove a /usr/bin/b",
        "echo update-alternatives --install /usr/bin/a a /usr/bin/b 5",
        "cat <<EOF\nupdate-alternatives --install /usr/bin/a a /usr/bin/b 5\nEOF",
        "echo 'not closed",
    ]
    assert [find_alternatives(script) for script in scripts] == [()] * len(scripts)


def test_a_link_of_a_package_gives_way(tmp_path: Path) -> None:
    entries = [file("usr/bin/mawk", b"x"), link("usr/bin/awk", "busybox")]
    made = _plan([AWK.format(name="mawk", priority=5)], entries)
    assert made["usr/bin/awk"] == "/etc/alternatives/awk"
    assert made["etc/alternatives/awk"] == "/usr/bin/mawk"
    assert "usr/share/man/man1/awk.1.gz" not in made
