"""Promises of a build's digest: what counts moves it, and nothing else does."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.engine.context import DockerBuild, digest_build, list_context
from envbuild.engine.ignore import Ignore, Walk, parse_ignore
from envbuild.errors import EngineError

NAMES = st.sampled_from(["a", "b", "ab", "a.txt", "b.log", "c d", "é", "node_modules"])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
TREES = st.dictionaries(PATHS, st.binary(max_size=5), max_size=8)
PIECES = st.sampled_from(["a", "b", "*", "**", "?", "*.txt", "node_modules", "[ab]", ".", "c d"])
LINES = st.builds(
    lambda sign, start, pieces, end: sign + start + "/".join(pieces) + end,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(PIECES, min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
)
RULES = st.lists(LINES, max_size=5)  # all of them right


def write_tree(root: Path, tree: dict[str, bytes]) -> dict[str, bytes]:
    """Write what of the tree can be there side by side; return it."""
    written = {}
    for name, data in sorted(tree.items()):
        path = root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError:
            continue  # a folder of that name, or a file in its way
        written[name] = data
    return written


def digest(root: Path, text: str = "FROM scratch\n", **more: object) -> str:
    build = DockerBuild(dockerfile=text, context=root, **more)  # type: ignore[arg-type]
    return digest_build(build, platform="linux/amd64")


@settings(deadline=None, max_examples=60)
@given(TREES, st.sampled_from([0o022, 0o077]))
def test_same_content_has_the_same_digest_wherever_it_lies(
    tree: dict[str, bytes], umask: int
) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as two:
        write_tree(Path(one), tree)
        before = os.umask(umask)
        try:
            # In another order, so that folders list their files in another one.
            write_tree(Path(two), dict(sorted(write_tree(Path(one), tree).items(), reverse=True)))
        finally:
            os.umask(before)
        os.utime(two, (1, 1))
        assert digest(Path(one)) == digest(Path(two))


@settings(deadline=None, max_examples=60)
@given(TREES, TREES)
def test_other_content_has_another_digest(one: dict[str, bytes], two: dict[str, bytes]) -> None:
    with TemporaryDirectory() as left, TemporaryDirectory() as right:
        same = write_tree(Path(left), one) == write_tree(Path(right), two)
        folders = [
            {e.path for e in list_context(DockerBuild(dockerfile="", context=Path(root)))}
            for root in (left, right)
        ]
        assert (digest(Path(left)) == digest(Path(right))) == (same and folders[0] == folders[1])


@settings(deadline=None, max_examples=150)
@given(TREES, RULES)
def test_what_is_ignored_never_moves_the_digest(tree: dict[str, bytes], rules: list[str]) -> None:
    with TemporaryDirectory() as folder:
        root = Path(folder)
        written = write_tree(root, tree)
        (root / ".dockerignore").write_text("\n".join([*rules, ".dockerignore"]))
        before = digest(root)
        sent = {e.path for e in list_context(DockerBuild(dockerfile="", context=root))}
        for name in written:
            (root / name).write_bytes(b"something else")
            assert (digest(root) == before) == (name not in sent)
            (root / name).write_bytes(written[name])
        for name in set(written) - sent:
            (root / name).unlink()
        assert digest(root) == before


@settings(deadline=None)
@given(RULES, PATHS)
def test_an_exception_at_the_end_brings_back_all(rules: list[str], path: str) -> None:
    """`!**` and a walk into every folder: no rule before it can keep anything out."""
    try:
        ignore = parse_ignore("\n".join([*rules, "!**"]), where=".dockerignore")
    except EngineError:
        return
    assert sends(ignore, path)


@settings(deadline=None)
@given(RULES, PATHS)
def test_without_exceptions_an_ignored_folder_takes_all_with_it(
    rules: list[str], path: str
) -> None:
    lines = [rule.removeprefix("!") for rule in rules]
    ignore = parse_ignore("\n".join(lines), where=".dockerignore")
    parts = path.split("/")
    for count in range(1, len(parts)):
        if not sends(ignore, "/".join(parts[:count]), folder=True):
            assert not sends(ignore, path)


def sends(ignore: Ignore, path: str, *, folder: bool = False) -> bool:
    """Walk down to the path as a client does."""
    walk = Walk()
    parts = path.split("/")
    for count in range(1, len(parts)):
        _, below = ignore.enter("/".join(parts[:count]), walk, folder=True)
        if below is None:
            return False
        walk = below
    return ignore.enter(path, walk, folder=folder)[0]


@pytest.mark.parametrize(
    ("rules", "kept", "lost"),
    [
        ("*.log", ["a.txt", "x/b.log"], ["a.log"]),
        ("**/*.log", ["a.txt"], ["a.log", "x/b.log", "x/y/c.log"]),
        ("# no\n #yes", ["# no"], ["#yes"]),
        ("/a/", ["b/a"], ["a", "a/b"]),
        ("a/../b", ["a"], ["b"]),
        ("*\n!a", ["a", "a/b"], ["b"]),
        ("!a\n*", [], ["a", "b"]),
        ("a/**\n!a/b", ["a", "a/b", "a/b/c"], ["a/c"]),
        ("a?c\n[x-z]\n[^a]1", ["ac", "w", "a1"], ["abc", "y", "b1"]),
        ("\\*\na\\?", ["a", "ab"], ["*", "a?"]),
        ("   \n\n.\n/", ["a"], []),
        ("\ufeffa", [], ["a"]),
        ("a.txt\na+\n(b)", ["abtxt", "aa", "b"], ["a.txt", "a+", "(b)"]),
        ("**/cache\n!**/cache/keep", ["x/cache/keep"], ["x/cache/other", "cache"]),
        ("node_modules\n!unrelated", ["x/node_modules"], ["node_modules/a/b"]),
    ],
)
def test_rules_of_dockers_documentation(rules: str, kept: list[str], lost: list[str]) -> None:
    ignore = parse_ignore(rules, where=".dockerignore")
    assert [path for path in kept if not sends(ignore, path)] == []
    assert [path for path in lost if sends(ignore, path)] == []


@pytest.mark.parametrize("line", ["!", "[a", "a[", "[]", "a\\", "[z-a]"])
def test_pattern_that_is_none_is_named_with_its_line(line: str) -> None:
    with pytest.raises(EngineError, match=r"line 2 of `\.dockerignore`") as caught:
        parse_ignore(f"a\n{line}", where=".dockerignore")
    assert caught.value.code == "engine.dockerignore"


def test_executable_links_and_arguments_count(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("x")
    (tmp_path / "link").symlink_to("run")
    seen = [digest(tmp_path)]
    (tmp_path / "run").chmod(0o755)
    seen.append(digest(tmp_path))
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("/run")
    seen += [
        digest(tmp_path),
        digest(tmp_path, "FROM scratch"),
        digest(tmp_path, args={"A": "1"}),
        digest(tmp_path, args={"A": "2"}),
        digest(tmp_path, target="x"),
        digest_build(
            DockerBuild(dockerfile="FROM scratch\n", context=tmp_path), platform="linux/arm64"
        ),
    ]
    assert len(set(seen)) == len(seen)
    (tmp_path / "run").chmod(0o775)
    assert digest(tmp_path) == seen[2]
    assert digest(tmp_path, secrets={"token": "TOKEN"}) == seen[2]


def test_context_with_odd_files_has_a_digest(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path)
    for name in (b"\xff", b"\xc3\xbf", b"new\nline"):
        Path(os.fsdecode(raw + b"/" + name)).write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "broken").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    entries = list_context(DockerBuild(dockerfile="", context=tmp_path))
    assert len({e.path for e in entries}) == 5
    assert digest(tmp_path) == digest(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        digest(tmp_path / "none")
    assert caught.value.code == "engine.no-context"
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(EngineError) as caught:
            digest_build(DockerBuild(dockerfile=path), platform="linux/amd64")
        assert caught.value.code == "engine.no-dockerfile"


def test_rules_that_cant_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").mkdir()
    with pytest.raises(EngineError, match=r"\.dockerignore") as caught:
        digest(tmp_path)
    assert caught.value.code == "engine.unreadable"
