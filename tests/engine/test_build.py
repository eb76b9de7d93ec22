"""Promises of building a Dockerfile by the real engine."""

from __future__ import annotations

import io
import json
import os
import secrets
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.engine.build import build_base
from envbuild.engine.builder import find_builder
from envbuild.engine.client import Engine
from envbuild.engine.context import DockerBuild, digest_build, list_context
from envbuild.errors import EngineError, EnvbuildError
from tests.rig.image import PYTHON, LoadedImage
from tests.rig.need import missing
from tests.rig.processes import list_commands

pytestmark = pytest.mark.engine

MACHINE = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}[os.uname().machine]


@pytest.fixture(scope="session")
def buildkit(engine: Engine) -> Engine:
    """An engine, and a client that can build with BuildKit."""
    try:
        find_builder()
    except EngineError as error:
        missing("a docker client with BuildKit", str(error))
    return engine


class Bench:
    """Builds in a test's own folders."""

    def __init__(self, engine: Engine, image: LoadedImage, folder: Path) -> None:
        self.engine = engine
        self.image = image
        self.folder = folder
        self.lines: list[str] = []
        self.names: set[str] = set()

    def text(self, code: str) -> str:
        """A Dockerfile that runs a piece of Python."""
        return f"FROM {self.image.name}\n{code}\n"

    def run(self, code: str) -> str:
        return f"RUN {json.dumps([PYTHON, '-c', code])}"

    def build(
        self, build: DockerBuild, *, platform: str = MACHINE, fresh: bool = False
    ) -> dict[str, bytes | str]:
        """Build; return the files of the layers above the base, links as texts."""
        found: dict[str, bytes | str] = {}
        with build_base(
            self.engine, build, platform=platform, work=self.folder / "work",
            logs=self.folder / "logs", on_line=self.lines.append, fresh=fresh,
        ) as base:  # fmt: skip
            assert base.key == digest_build(build, platform=platform)
            name = f"envbuild-base:{base.key.removeprefix('sha256:')[:20]}"
            self.names.add(name)
            assert len(base.image.layers) == len(base.image.config["rootfs"]["diff_ids"])
            for layer in base.image.layers[1:]:
                raw = io.BytesIO(b"".join(layer.pieces()))
                with tarfile.open(fileobj=raw) as tar:
                    for member in tar:
                        if member.isreg():
                            found[member.name] = tar.extractfile(member).read()  # type: ignore[union-attr]
                        elif member.issym():
                            found[member.name] = member.linkname
        assert self.engine.client.images.get(name).id == base.image.image_id
        return found


@pytest.fixture
def bench(buildkit: Engine, python_image: LoadedImage, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(buildkit, python_image, tmp_path)
    yield made
    assert list((tmp_path / "work").glob("*")) + list((tmp_path / "work").glob(".*")) == []
    for name in made.names:
        buildkit.client.images.remove(name, noprune=True)


def test_text_without_context_is_built(bench: Bench) -> None:
    found = bench.build(
        DockerBuild(
            dockerfile=bench.text(
                "ARG WORD\n" + bench.run("import os; open('/said', 'w').write(os.environ['WORD'])")
            ),
            args={"WORD": "a b=c"},
        )
    )
    assert found == {"said": b"a b=c"}
    assert any("FROM" in line for line in bench.lines)


def _write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.startswith("-> "):
            path.symlink_to(text[3:])
        else:
            path.write_text(text)
    return root


TREE = {
    "a.log": "1", "keep.log": "2", "Dockerfile.other": "x", "link": "-> src/main.py",
    "away": "-> /etc/passwd", "src/main.py": "3", "src/a.log": "4", "src/deep/a.log": "5",
    "src/deep/keep.txt": "6", "node_modules/x/y.js": "7", "src/node_modules/z.js": "8",
    "docs/one.md": "9", "docs/two.md": "10", "docs/api/three.md": "11", "b c/[x].txt": "12",
    "data/1/part": "13", "data/2/part": "14",
}  # fmt: skip

IGNORES = [
    "",
    "# all\n*\n!src\n!docs/*.md\n",
    "**/node_modules\n**/*.log\n!keep.log\n",
    "/docs/\nsrc/deep/../a.log\n  data/?/part  \n",
    "docs\n!docs/api\n",
    "Dockerfile\n.dockerignore\n[ab]*\n",
    "!keep.log\n*.log\nb\\ c\n",
    "data/**\n!data/2/**\nsrc/**/a.log\n",
    "**\n!docs/one.md\n!link\n",
]


@pytest.mark.parametrize("ignored", IGNORES, ids=[str(n) for n in range(len(IGNORES))])
def test_context_is_what_the_engine_gets(bench: Bench, ignored: str) -> None:
    root = _write(bench.folder / "context", TREE)
    (root / "Dockerfile").write_text(f"FROM {bench.image.name}\nCOPY . /got/\n")
    if ignored:
        (root / ".dockerignore").write_text(ignored)
    build = DockerBuild(dockerfile=root / "Dockerfile", context=root)
    wanted = {e.path for e in list_context(build) if e.kind != "folder"}
    found = {name.removeprefix("got/") for name in bench.build(build)}
    assert found == wanted


def test_path_counts_where_clients_disagree_about_it(bench: Bench) -> None:
    """Newer clients take the last line for no hit, as its folder was ignored before; 20.10 not."""
    root = _write(bench.folder / "context", TREE)
    (root / ".dockerignore").write_text("*\n!src/deep/keep.txt\nsrc/deep\n")
    build = DockerBuild(dockerfile=bench.text("COPY . /got/"), context=root)
    wanted = {e.path for e in list_context(build) if e.kind != "folder"}
    assert wanted == {"src/deep/keep.txt"}
    assert {name.removeprefix("got/") for name in bench.build(build)} <= wanted


def test_rules_beside_the_dockerfile_come_first(bench: Bench) -> None:
    root = _write(bench.folder / "context", {**TREE, ".dockerignore": "*\n"})
    file = bench.folder / "docker" / "Web.Dockerfile"
    _write(file.parent, {"Web.Dockerfile.dockerignore": "*\n!docs/one.md\n"})
    file.write_text(f"FROM {bench.image.name}\nCOPY . /got/\n")
    build = DockerBuild(dockerfile=file, context=root)
    assert bench.build(build) == {"got/docs/one.md": b"9"}
    assert {e.path for e in list_context(build) if e.kind == "file"} == {"docs/one.md"}


def test_target_is_the_stage_that_is_built(bench: Bench) -> None:
    one, two = (bench.run(f"open('/{name}', 'w')") for name in ("one", "two"))
    text = f"FROM {bench.image.name} AS one\n{one}\nFROM one AS two\n{two}\n"
    assert set(bench.build(DockerBuild(dockerfile=text, target="one"))) == {"one"}
    assert set(bench.build(DockerBuild(dockerfile=text))) == {"one", "two"}


def test_secret_reaches_the_step_and_nothing_else(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = f"hunter2-{secrets.token_hex(8)}"
    monkeypatch.setenv("MY_TOKEN", value)
    code = (
        "s = open('/run/secrets/token').read(); print('it is', s); "
        "open('/length', 'w').write(str(len(s)))"
    )
    run = bench.run(code).removeprefix("RUN ")
    text = bench.text(f"RUN --mount=type=secret,id=token {run}")
    build = DockerBuild(dockerfile=text, secrets={"token": "MY_TOKEN"})
    assert bench.build(build) == {"length": str(len(value)).encode()}
    (log,) = (bench.folder / "logs").iterdir()
    assert "it is ***" in log.read_text()
    assert not any(value in line for line in [*bench.lines, log.read_text()])
    monkeypatch.setenv("MY_TOKEN", "another")
    assert digest_build(build, platform=MACHINE) == digest_build(
        DockerBuild(dockerfile=text), platform=MACHINE
    )


def test_secret_without_its_variable_is_named(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_TOKEN", raising=False)
    with pytest.raises(EnvbuildError, match=r"`MY_TOKEN`.*`token`") as caught:
        bench.build(DockerBuild(dockerfile=bench.text(""), secrets={"token": "MY_TOKEN"}))
    assert caught.value.code == "credential.unset"


def test_failed_build_keeps_its_whole_log(bench: Bench) -> None:
    code = "import sys; print('about to fail'); sys.exit(3)"
    with pytest.raises(EngineError, match="exit code: 3") as caught:
        bench.build(DockerBuild(dockerfile=bench.text(bench.run(code))))
    assert caught.value.code == "engine.build"
    (log,) = (bench.folder / "logs").iterdir()
    assert str(log) in caught.value.message
    assert "about to fail" in log.read_text()


def test_dockerfile_that_is_none_is_refused_in_buildkits_words(bench: Bench) -> None:
    with pytest.raises(EngineError, match="unknown instruction: FORM") as caught:
        bench.build(DockerBuild(dockerfile="FORM nothing\n"))
    assert caught.value.code == "engine.build"


def test_foreign_programs_are_refused_with_what_to_do(bench: Bench) -> None:
    other = {"linux/amd64": "linux/arm64", "linux/arm64": "linux/amd64"}[MACHINE]
    root = _write(bench.folder / "context", {"program": "not for any processor"})
    (root / "program").chmod(0o755)
    text = 'FROM scratch\nCOPY program /\nRUN ["/program"]\n'
    with pytest.raises(EngineError) as caught:
        bench.build(DockerBuild(dockerfile=text, context=root), platform=other)
    assert caught.value.code == "engine.build-foreign"
    assert other in caught.value.message


def test_context_that_changes_under_the_build_is_noticed(bench: Bench) -> None:
    root = _write(bench.folder / "context", {"file": "1"})
    build = DockerBuild(dockerfile=bench.text("COPY file /"), context=root)
    bench.lines = _Trigger(lambda: (root / "file").write_text("2"))
    with pytest.raises(EngineError) as caught:
        bench.build(build)
    assert caught.value.code == "engine.build-moved"


class _Trigger(list[str]):
    def __init__(self, act: object) -> None:
        super().__init__()
        self._act = act

    def append(self, line: str) -> None:
        self._act()  # type: ignore[operator]


def test_fresh_build_runs_every_step_again(bench: Bench) -> None:
    text = bench.text(bench.run("import os; open('/id', 'wb').write(os.urandom(8))"))
    build = DockerBuild(dockerfile=text)
    first = bench.build(build)
    assert bench.build(build) == first
    # `--pull` would ask a registry for the tests' own image, so only the steps are looked at.
    with pytest.raises(EngineError):
        bench.build(build, fresh=True)


def test_without_buildkit_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "docker"
    fake.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && { echo "Docker version 28.2.2, build 1"; exit 0; }\n'
        "exit 1\n"
    )
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    monkeypatch.setattr("envbuild.engine.builder._USUAL", ())
    with pytest.raises(EngineError, match=r"docker` is version 28.2 without the plugin") as caught:
        find_builder()
    assert caught.value.code == "engine.no-buildkit"
    assert "docker-buildx" in str(caught.value.hint)
    fake.unlink()
    with pytest.raises(EngineError, match="there is no `docker` command"):
        find_builder()


_CHILD = """
import sys
from pathlib import Path
from envbuild.engine.build import build_base
from envbuild.engine.client import connect_engine
from envbuild.engine.context import DockerBuild
with connect_engine() as engine:
    folder = Path(sys.argv[1])
    with build_base(engine, DockerBuild(dockerfile=sys.argv[2]), platform=sys.argv[3],
                    work=folder / "work", logs=folder / "logs",
                    on_line=lambda line: print(line, flush=True)):
        pass
"""


def test_ctrl_c_ends_the_build(bench: Bench) -> None:
    mark = f"sleeping-{secrets.token_hex(6)}"
    code = f"import time; print('{mark}', flush=True); time.sleep(300)"
    process = subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(bench.folder), bench.text(bench.run(code)), MACHINE],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    guard = threading.Timer(60, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if mark in line and "print" not in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(20) != 0
    finally:
        guard.cancel()
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert "KeyboardInterrupt" in rest
    deadline = time.monotonic() + 20
    while _find_processes(mark) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert _find_processes(mark) == []


def _find_processes(mark: str) -> list[str]:
    """Return the processes whose command line has the mark: the step runs on this machine."""
    return [str(pid) for pid, command in list_commands() if mark.encode() in command]
