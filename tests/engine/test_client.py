"""Finding Docker Engine as docker's own command does, and saying clearly why it can't be had."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
from docker.context import Context

from envbuild.engine.client import Engine, connect_engine, explained
from envbuild.errors import EngineError


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No engine is configured; returns docker's empty configuration folder."""
    config = tmp_path / "docker"
    config.mkdir()
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    return config


@pytest.mark.engine
def test_engine_named_by_docker_host_answers(engine: Engine) -> None:
    with connect_engine() as found:
        assert found.address == os.environ["DOCKER_HOST"]
        assert found.is_local
        assert found.client.ping()
        assert found.pinned == {}


@pytest.mark.engine
@pytest.mark.parametrize("by", ["config", "variable"])
def test_engine_of_the_chosen_docker_context_answers(
    engine: Engine, alone: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    (alone / "config.json").write_text(
        json.dumps({"currentContext": "lab"} if by == "config" else {})
    )
    if by == "variable":
        monkeypatch.setenv("DOCKER_CONTEXT", "lab")
    Context("lab", host=engine.address).save()
    with connect_engine() as found:
        assert found.address == engine.address
        assert found.version == engine.version
        assert found.pinned == {"DOCKER_CONTEXT": "lab"}


def test_context_that_does_not_exist_is_named(alone: Path) -> None:
    (alone / "config.json").write_text(json.dumps({"currentContext": "gone"}))
    with pytest.raises(EngineError, match="`gone`") as caught:
        connect_engine()
    assert caught.value.code == "engine.context"


def test_context_without_config_file_is_found(
    engine: Engine, alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (alone / "config.json").write_text("{}")  # without it, the SDK writes into this folder
    Context("lab", host=engine.address).save()
    (alone / "config.json").unlink()
    monkeypatch.setenv("DOCKER_CONTEXT", "lab")
    with connect_engine() as found:
        assert found.address == engine.address


def test_context_with_half_of_its_certificates_is_an_error(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (alone / "config.json").write_text("{}")
    Context("lab", host="tcp://127.0.0.1:1").save()
    folder = alone / "contexts" / "tls" / hashlib.sha256(b"lab").hexdigest() / "docker"
    folder.mkdir(parents=True)
    (folder / "cert.pem").write_text("x")
    monkeypatch.setenv("DOCKER_CONTEXT", "lab")
    with pytest.raises(EngineError, match="`lab`") as caught:
        connect_engine()
    assert caught.value.code == "engine.context"


def test_damaged_context_is_an_error_and_no_traceback(alone: Path) -> None:
    (alone / "config.json").write_text(json.dumps({"currentContext": "lab"}))
    context = Context("lab", host="unix:///nowhere.sock")
    context.save()
    (meta,) = (alone / "contexts" / "meta").glob("*/meta.json")
    meta.write_text("{")
    with pytest.raises(EngineError) as caught:
        connect_engine()
    assert caught.value.code == "engine.context"


@pytest.mark.parametrize("address", ["unix:///nowhere/docker.sock", "tcp://127.0.0.1:1"])
def test_unreachable_engine_is_named_with_a_way_out(
    alone: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(EngineError) as caught:
        connect_engine()
    assert caught.value.code == "engine.unreachable"
    assert address in caught.value.message
    assert "DOCKER_HOST" in caught.value.message
    assert "--target local" in str(caught.value.hint)


@pytest.mark.parametrize("address", ["gopher://x", "tcp://:::::", "npipe:////./pipe/x"])
def test_nonsense_address_is_an_error_and_no_traceback(
    alone: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    with pytest.raises(EngineError) as caught:
        connect_engine()
    assert caught.value.code == "engine.unreachable"


def test_missing_certificates_are_an_error_and_no_traceback(
    alone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(alone / "nothing"))
    with pytest.raises(EngineError) as caught:
        connect_engine()
    assert caught.value.code == "engine.unreachable"


class _UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def _daemon(path: Path, facts: dict[str, str], *, status: int = 200) -> Iterator[str]:
    """Serve a daemon's `/version` on a socket."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = json.dumps(facts).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: object) -> None:
            pass

    with _UnixServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"unix://{path}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("api", ["1.39", "1.12"])
def test_old_engine_is_refused(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str
) -> None:
    facts = {"ApiVersion": api, "Version": "18.09.0"}
    with _daemon(tmp_path / "old.sock", facts) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(EngineError, match=r"1\.40 or newer") as caught:
            connect_engine()
    assert caught.value.code == "engine.too-old"


def test_engine_that_is_ill_is_not_taken(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _daemon(tmp_path / "ill.sock", {"message": "on fire"}, status=500) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        with pytest.raises(EngineError, match="on fire") as caught:
            connect_engine()
    assert caught.value.code == "engine.unreachable"


def test_socket_that_may_not_be_opened_is_told_apart(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert docker.DockerClient is not None  # imported while this user may still read it
    with _daemon(tmp_path / "x.sock", {"ApiVersion": "1.41"}) as address:
        path = tmp_path / "x.sock"
        path.chmod(0)
        for folder in (tmp_path, *tmp_path.parents):
            if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(0o755)
        monkeypatch.setenv("DOCKER_HOST", address)
        was_root = os.geteuid() == 0
        if was_root:
            os.seteuid(65534)
        try:
            with pytest.raises(EngineError) as caught:
                connect_engine()
        finally:
            if was_root:
                os.seteuid(0)
    assert caught.value.code == "engine.permission"
    assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("unix:///var/run/docker.sock", True),
        ("tcp://127.0.0.1:2375", True),
        ("localhost:2375", True),
        ("tcp://[::1]:2376", True),
        ("tcp://gpu.example.com:2376", False),
        ("ssh://me@gpu.example.com", False),
    ],
)
def test_engine_on_another_machine_is_told_apart(address: str, local: bool) -> None:
    client = docker.DockerClient(base_url="unix:///nowhere.sock", version="1.41")
    with Engine(client=client, address=address, version="", api="1.41", pinned={}) as engine:
        assert engine.is_local is local


@pytest.mark.engine
def test_daemons_own_words_reach_the_user(engine: Engine) -> None:
    with (
        pytest.raises(EngineError, match=r"can't try it: .*no-such-thing") as caught,
        explained("try it", address=engine.address),
    ):
        engine.client.api.inspect_container("no-such-thing")
    assert caught.value.code == "engine.refused"
    assert not caught.value.message.endswith(".")


def test_broken_connection_is_told_apart_from_a_refusal() -> None:
    client = docker.DockerClient(base_url="tcp://127.0.0.1:1", version="1.41")
    try:
        with pytest.raises(EngineError) as caught, explained("try it", address="tcp://nowhere"):
            client.ping()
    finally:
        client.close()
    assert caught.value.code == "engine.lost"
