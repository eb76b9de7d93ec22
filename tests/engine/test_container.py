"""Real containers: what goes in, what comes out, limits, signals, and nothing left behind."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from envbuild.engine.archive import Upload
from envbuild.engine.client import Engine
from envbuild.engine.container import Container, open_container
from envbuild.engine.leftovers import OWNER_LABEL
from envbuild.engine.load import ensure_loaded
from envbuild.engine.owner import find_owner
from envbuild.engine.plan import ContainerPlan, Limits
from envbuild.errors import EngineError, RunError
from tests.engine.conftest import PlanPython
from tests.rig.image import PYTHON, LoadedImage

pytestmark = pytest.mark.engine

SLEEP = "import time; print('up', flush=True); time.sleep(600)"


def _run(engine: Engine, plan: ContainerPlan) -> tuple[int | None, list[bytes]]:
    lines: list[bytes] = []
    with open_container(engine, plan) as container:
        container.start(sink=lines.append)
        code = container.wait(120)
        container.finish_log()
    return code, lines


def _fail(engine: Engine, plan: ContainerPlan) -> str:
    """Run a container that can't be; return the error's code."""
    with pytest.raises(EngineError) as caught:
        _run(engine, plan)
    assert not _is_there(engine, plan.name)
    return caught.value.code


def _is_there(engine: Engine, name: str) -> bool:
    return bool(engine.client.containers.list(all=True, filters={"name": f"^/{name}$"}))


def _wait_for_line(lines: list[bytes], wanted: bytes) -> None:
    deadline = time.monotonic() + 60
    while wanted not in b"".join(lines):
        assert time.monotonic() < deadline, lines
        time.sleep(0.02)


@pytest.mark.parametrize("code", [0, 7])
def test_exit_code_passes_through_and_nothing_is_left(
    engine: Engine, plan_python: PlanPython, code: int
) -> None:
    plan = plan_python(f"raise SystemExit({code})")
    assert _run(engine, plan)[0] == code
    assert not _is_there(engine, plan.name)


def test_every_line_arrives_in_order_in_callback_and_file(
    engine: Engine, plan_python: PlanPython, tmp_path: Path
) -> None:
    code = "for i in range(30000): print(i, 'x' * (i % 90))\nprint('no end', end='')"
    lines: list[bytes] = []
    with open_container(engine, plan_python(code)) as container:
        container.start(log=tmp_path / "log.txt", sink=lines.append)
        assert container.wait(120) == 0
        container.finish_log()
    wanted = b"".join(f"{i} {'x' * (i % 90)}\n".encode() for i in range(30000)) + b"no end"
    assert b"".join(lines) == wanted == (tmp_path / "log.txt").read_bytes()
    assert len(lines) == 30001


def test_lines_come_while_the_container_runs(engine: Engine, plan_python: PlanPython) -> None:
    lines: list[bytes] = []
    with open_container(engine, plan_python(SLEEP)) as container:
        container.start(sink=lines.append)
        _wait_for_line(lines, b"up\n")
        assert container.state().is_running
        assert container.wait(0.2) is None


def test_log_that_cannot_be_kept_ends_the_wait(engine: Engine, plan_python: PlanPython) -> None:
    def fail(line: bytes) -> None:
        raise BrokenPipeError("nobody listens")

    with open_container(engine, plan_python(SLEEP)) as container:
        container.start(sink=fail)
        with pytest.raises(BrokenPipeError):
            container.wait(60)


def test_limits_are_applied(engine: Engine, plan_python: PlanPython) -> None:
    limits = Limits(cpus=0.5, memory_bytes=128 << 20, shm_bytes=32 << 20)
    plan = plan_python(
        "import os; s = os.statvfs('/dev/shm'); print(s.f_blocks * s.f_frsize)", limits=limits
    )
    with open_container(engine, plan) as container:
        facts = engine.client.api.inspect_container(container.id)["HostConfig"]
        lines: list[bytes] = []
        container.start(sink=lines.append)
        container.wait(60)
        container.finish_log()
    assert lines == [b"%d\n" % (32 << 20)]
    assert facts["NanoCpus"] == 500_000_000
    assert facts["Memory"] == facts["MemorySwap"] == 128 << 20


def test_kill_for_memory_is_recognised(engine: Engine, plan_python: PlanPython) -> None:
    plan = plan_python("x = b'1' * (1 << 30)", limits=Limits(memory_bytes=64 << 20))
    with open_container(engine, plan) as container:
        container.start()
        assert container.wait(60) == 137
        assert container.state().out_of_memory


def test_end_by_signal_is_no_kill_for_memory(engine: Engine, plan_python: PlanPython) -> None:
    plan = plan_python("import os; os.kill(os.getpid(), 9)")
    with open_container(engine, plan) as container:
        container.start()
        assert container.wait(60) == 137
        assert not container.state().out_of_memory


def test_impossible_limit_is_refused_in_the_daemons_words(
    engine: Engine, plan_python: PlanPython
) -> None:
    plan = plan_python("", limits=Limits(cpus=100_000))
    with pytest.raises(EngineError, match=r"(?i)cpus") as caught, open_container(engine, plan):
        pass
    assert caught.value.code == "engine.refused"


def test_gpu_without_driver_is_a_clear_error(engine: Engine, plan_python: PlanPython) -> None:
    runtimes = engine.client.info().get("Runtimes") or {}
    if "nvidia" in runtimes:
        pytest.skip("this engine can give GPUs")
    assert _fail(engine, plan_python("", limits=Limits(gpus=1))) == "engine.no-gpu"


def test_unknown_image_and_program_have_their_own_codes(
    engine: Engine, plan_python: PlanPython
) -> None:
    assert _fail(engine, plan_python("", image="sha256:" + "0" * 64)) == "engine.no-image"
    lost = plan_python("", command=("/no/such/program",), init=False)
    assert _fail(engine, lost) == "engine.no-command"


def test_init_process_tells_a_missing_program_by_its_exit_code(
    engine: Engine, plan_python: PlanPython
) -> None:
    code, lines = _run(engine, plan_python("", command=("/no/such/program",)))
    assert code == 127
    assert b"/no/such/program" in b"".join(lines)


def test_image_for_another_processor_is_told(
    engine: Engine, plan_python: PlanPython, python_image: LoadedImage
) -> None:
    layout = python_image.layout
    foreign = layout.add_layer({"bin/foreign": b"\x7fELF\x02\x01\x01" + bytes(57)}, mode=0o755)
    name = f"{python_image.name}-foreign"
    manifest = layout.add_image([foreign], architecture="riscv64")
    loaded = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    try:
        plan = plan_python("", image=loaded.image_id, command=("/bin/foreign",), init=False)
        try:
            code, lines = _run(engine, plan)
            said = f"exit code {code}: {b''.join(lines).decode()}"
        except EngineError as error:
            said = str(error)
        # Engines with runc 1.2 notice it at the start, older ones leave it to the log.
        assert "engine.wrong-platform" in said or "exec format error" in said
        assert "exit code 0" not in said
    finally:
        engine.client.images.remove(name, force=True)


def test_taken_port_is_a_clear_error(engine: Engine, plan_python: PlanPython) -> None:
    with contextlib.closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        plan = plan_python(SLEEP, network="bridge", port=80, host_port=port)
        assert _fail(engine, plan) == "engine.port-taken"


def test_port_is_published_on_loopback_only(engine: Engine, plan_python: PlanPython) -> None:
    serve = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=8000)"
    plan = plan_python(serve, network="bridge", port=8000)
    with open_container(engine, plan) as container:
        assert container.find_port() is None
        container.start()
        port = container.find_port()
        assert port
        facts = engine.client.api.inspect_container(container.id)
        (binding,) = facts["NetworkSettings"]["Ports"]["8000/tcp"]
        assert binding == {"HostIp": "127.0.0.1", "HostPort": str(port)}


@contextlib.contextmanager
def _with_files(
    engine: Engine, plan: ContainerPlan, uploads: list[Upload]
) -> Iterator[tuple[Container, list[bytes]]]:
    lines: list[bytes] = []
    with open_container(engine, plan) as container:
        container.put(uploads)
        container.start(sink=lines.append)
        assert container.wait(60) is not None
        container.finish_log()
        yield container, lines


def _file(path: str, data: bytes, **more: object) -> Upload:
    return Upload(path=path, size=len(data), read=lambda: iter((data,)), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("user", "ids"),
    [
        (None, "0 0"),
        ("nonroot", "1000 1001"),
        ("1000", "1000 1001"),
        ("4321", "4321 0"),
        ("4321:99", "4321 99"),
        ("nonroot:crew", "1000 1002"),
    ],
)
def test_files_belong_to_the_user_that_runs(
    engine: Engine, plan_python: PlanPython, user: str | None, ids: str
) -> None:
    code = """if True:
    import os
    print(os.getuid(), os.getgid(), *os.stat('a.txt')[4:6], open('a.txt').read())
    print(oct(os.stat('/given/run').st_mode & 0o777), os.readlink('link'), os.stat('ro')[4:6])
    os.mkdir('made')
    """
    uploads = [
        Upload(path="/given", mode=0o755),
        _file("/given/a.txt", b"hello"),
        _file("/given/run", b"", mode=0o755),
        Upload(path="/given/link", mode=0o777, link="a.txt"),
        _file("/given/ro", b"", mode=0o444, owned=False),
    ]
    plan = plan_python(code, user=user, workdir="/given")
    with _with_files(engine, plan, uploads) as (container, lines):
        assert lines == [f"{ids} {ids} hello\n".encode(), b"0o755 a.txt (0, 0)\n"]
        assert container.state().exit_code == 0


def test_user_of_the_image_counts_where_the_plan_names_none(
    engine: Engine, plan_python: PlanPython, python_image: LoadedImage
) -> None:
    layout = python_image.layout
    manifest = layout.add_image([python_image.base], user="nonroot")
    name = f"{python_image.name}-nonroot"
    loaded = ensure_loaded(engine, layout=layout.root, manifest_digest=manifest, name=name)
    try:
        code = "import os; print(os.getuid(), *os.stat('/given/a')[4:6])"
        plan = plan_python(code, image=loaded.image_id)
        uploads = [Upload(path="/given", mode=0o755), _file("/given/a", b"")]
        with _with_files(engine, plan, uploads) as (_, lines):
            assert lines == [b"1000 1000 1001\n"]
    finally:
        engine.client.images.remove(name, force=True)


def test_unknown_user_is_named(engine: Engine, plan_python: PlanPython) -> None:
    plan = plan_python("", user="nobody-here")
    with (
        pytest.raises(EngineError, match="nobody-here") as caught,
        open_container(engine, plan) as container,
    ):
        container.put([_file("/a", b"")])
    assert caught.value.code == "engine.no-user"


def test_error_while_files_are_read_is_the_error_that_is_seen(
    engine: Engine, plan_python: PlanPython
) -> None:
    def fail() -> Iterator[bytes]:
        yield b"x"
        raise RunError("run.source-changed", "it changed")

    plan = plan_python("")
    with (
        pytest.raises(RunError, match="it changed"),
        open_container(engine, plan) as container,
    ):
        container.put([Upload(path="/a", size=2, read=fail)])
    assert not _is_there(engine, plan.name)


def test_outputs_are_collected_and_missing_ones_reported(
    engine: Engine, plan_python: PlanPython, tmp_path: Path
) -> None:
    code = """if True:
    import os
    os.makedirs('/w/out/deep')
    open('/w/out/a.bin', 'wb').write(b'1' * 3_000_000)
    open('/w/out/deep/b', 'w').write('b')
    os.chmod('/w/out/deep/b', 0o4777)
    os.link('/w/out/deep/b', '/w/out/twin')
    os.symlink('deep/b', '/w/out/inside')
    os.symlink('/etc/passwd', '/w/out/outside')
    os.mkfifo('/w/out/pipe')
    open('/w/one.txt', 'w').write('one')
    """
    target = tmp_path / "outputs"
    with open_container(engine, plan_python(code)) as container:
        container.start()
        assert container.wait(60) == 0
        folder = container.collect("/w/out", target / "out")
        file = container.collect("/w/one.txt", target / "one.txt")
        missing = container.collect("/w/nothing", target / "nothing")
        again = container.collect("/w/out", target / "out")
    assert (folder.found, file.found, missing.found) == (True, True, False)
    assert (target / "out/a.bin").stat().st_size == 3_000_000
    assert (target / "out/twin").read_text() == "b"
    assert (target / "out/inside").read_text() == "b"
    assert (target / "out/deep/b").stat().st_mode & 0o7777 == 0o755
    assert (target / "one.txt").read_text() == "one"
    assert sorted(note.split("`")[1] for note in folder.notes) == ["out/outside", "out/pipe"]
    assert sorted(p.name for p in target.iterdir()) == ["one.txt", "out"]
    assert not again.found
    assert "already" in again.notes[0]


def test_outputs_of_a_running_container_are_collected(
    engine: Engine, plan_python: PlanPython, tmp_path: Path
) -> None:
    lines: list[bytes] = []
    with open_container(engine, plan_python(f"open('/x', 'w').write('now'); {SLEEP}")) as container:
        container.start(sink=lines.append)
        _wait_for_line(lines, b"up")
        assert container.collect("/x", tmp_path / "x").found
    assert (tmp_path / "x").read_text() == "now"


def test_sigterm_is_passed_on_and_its_exit_code_told(
    engine: Engine, plan_python: PlanPython
) -> None:
    lines: list[bytes] = []
    with open_container(engine, plan_python(SLEEP)) as container:
        container.start(sink=lines.append)
        _wait_for_line(lines, b"up")
        stopped = container.stop(grace=30)
    assert (stopped.exit_code, stopped.killed) == (143, False)


def test_container_that_ignores_sigterm_is_killed(engine: Engine, plan_python: PlanPython) -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEP}"
    lines: list[bytes] = []
    with open_container(engine, plan_python(code)) as container:
        container.start(sink=lines.append)
        _wait_for_line(lines, b"up")
        stopped = container.stop(grace=0.5)
        assert not container.state().is_running
        container.send_signal("SIGTERM")  # to one that has ended: nothing happens
    assert (stopped.exit_code, stopped.killed) == (137, True)


def test_read_only_container_writes_only_where_it_may(
    engine: Engine, plan_python: PlanPython
) -> None:
    code = """if True:
    open('/scratch/x', 'w').write('y')
    try:
        open('/x', 'w')
    except OSError as error:
        print(error.strerror)
    """
    plan = plan_python(code, read_only=True, writable=("/scratch",))
    before = {volume.name for volume in engine.client.volumes.list()}
    with open_container(engine, plan) as container:
        (mount,) = engine.client.api.inspect_container(container.id)["Mounts"]
        lines: list[bytes] = []
        container.start(sink=lines.append)
        assert container.wait(60) == 0
        container.finish_log()
    assert lines == [b"Read-only file system\n"]
    assert mount["Name"] not in before
    assert mount["Name"] not in {volume.name for volume in engine.client.volumes.list()}


def test_running_container_goes_away_with_an_error_in_the_block(
    engine: Engine, plan_python: PlanPython
) -> None:
    plan = plan_python(SLEEP)

    def fail() -> None:
        with open_container(engine, plan) as container:
            container.start()
            assert _is_there(engine, plan.name)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not _is_there(engine, plan.name)


def test_container_that_somebody_else_removed_is_told(
    engine: Engine, plan_python: PlanPython
) -> None:
    plan = plan_python(SLEEP)
    with open_container(engine, plan) as container:
        container.start()
        engine.client.api.remove_container(container.id, force=True)
        with pytest.raises(EngineError, match=plan.name) as caught:
            container.state()
    assert caught.value.code == "engine.container-gone"


def test_entry_point_of_the_image_is_not_used_and_labels_are_set(
    engine: Engine, plan_python: PlanPython
) -> None:
    plan = plan_python("", labels={"envbuild.run": "r1"})
    with open_container(engine, plan) as container:
        config = engine.client.api.inspect_container(container.id)["Config"]
    assert config["Entrypoint"] == [PYTHON]
    assert config["Labels"] == {"envbuild.run": "r1", OWNER_LABEL: find_owner()}
