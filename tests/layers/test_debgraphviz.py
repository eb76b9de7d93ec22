"""Graphviz' list of plugins is read out of the plugins, as a compiler made them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from envbuild.layers.debgraphviz import make_plugin_lists, render_plugins
from envbuild.layers.debtree import Tree
from tests.layers.elfs import file, link, make_library
from tests.rig.need import missing

SOURCE = """
typedef struct { int id; const char *type; int quality; void *engine; void *features; } installed;
typedef struct { int api; installed *types; } api;
typedef struct { char *name; api *apis; } library;
int engine, features;
installed renderers[] = { {0, "one", 5, &engine, &features}, {1, "two", -1, &engine, 0}, {0} };
static installed devices[] = { {0, "png:one", 1, 0, &features}, {0, "png:none", 1, 0, 0}, {0} };
static api apis[] = { {0, renderers}, {3, devices}, {0, 0} };
library gvplugin_test_LTX_library = { "test", apis };
"""
WANTED = """\
libgvplugin_test.so.6 test {
\trender {
\t\tone 5
\t\ttwo -1
\t}
\tdevice {
\t\tpng:one 1
#FAILS\t\tpng:none 1
\t}
}
"""


def _compile(folder: Path) -> bytes:
    tool = shutil.which("gcc")
    if tool is None:
        missing("gcc", "run `apt-get install gcc libc6-dev`")
    (folder / "a.c").write_text(SOURCE)
    command = [tool, "-shared", "-fPIC", "-s", "-nostdlib", "-o", "a.so", "a.c"]
    subprocess.run(command, cwd=folder, check=True)
    return (folder / "a.so").read_bytes()


def test_tables_are_read_out_of_a_plugin(tmp_path: Path) -> None:
    data = _compile(tmp_path)
    assert render_plugins({"libgvplugin_test.so.6": data}) == WANTED
    where = "usr/lib/x86_64-linux-gnu/graphviz"
    name = f"{where}/libgvplugin_test.so.6"
    tree = Tree([[file(f"{name}.0.0", data), link(name, "libgvplugin_test.so.6.0.0")]])
    (entry,) = make_plugin_lists(tree)
    assert entry.path == f"{where}/config6a"
    assert entry.body is not None
    text = b"".join(entry.body().data).decode()
    assert text.endswith(f"on upgrade.\n\n{WANTED}")


def test_what_is_no_plugin_is_left_out(tmp_path: Path) -> None:
    data = _compile(tmp_path)
    for broken in (b"", b"text", make_library("liba.so.1"), data[:300], data[: len(data) // 2]):
        assert render_plugins({"libgvplugin_test.so.6": broken}) == ""
    assert list(make_plugin_lists(Tree([[file("usr/lib/x86_64-linux-gnu/a", b"")]]))) == []
