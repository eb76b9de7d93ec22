"""A repository of the benchmark's own, with its own cache, registry and peer."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.timing import Sample, run, say

__all__ = ["REQUIREMENTS", "Workspace", "open_workspace", "serve_registry"]

REQUIREMENTS = (
    "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "matplotlib", "pillow", "seaborn",
    "requests", "httpx", "flask", "fastapi", "uvicorn", "rich", "pyyaml", "sqlalchemy", "pytest",
    "cloudpickle", "fsspec", "orjson", "msgpack", "psutil",
)  # fmt: skip
"""With what they need, about 58 wheels; `tqdm` is added, because it is the one that changes."""

_SPEC = """\
platforms = {platforms}
python = "3.11.*"
[pip]
dependencies = {dependencies}
resolver = "uv"
[image]
base = "debian:bookworm"
bytecode = {bytecode}
labels = {{ variant = "{label}" }}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workspace:
    """Paths and commands of one benchmark."""

    root: Path
    registry: str

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def environment(self) -> dict[str, str]:
        # An installed envbuild has its own byte code, whatever the shell here says.
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        variables = {"ENVBUILD_CACHE": str(self.cache), "UV": "/nonexistent"}
        if self.registry:
            variables["ENVBUILD_REPOSITORY"] = self.registry
        return inherited | variables

    def at(self, registry: str) -> Workspace:
        """Return the same repository with another place to push to."""
        return replace(self, registry=registry)

    def write_environment(
        self,
        name: str,
        dependencies: list[str],
        *,
        bytecode: bool = False,
        platforms: tuple[str, ...] = ("linux-64",),
        label: str = "",
    ) -> None:
        """Write a spec; byte code is off unless the peer makes it, too."""
        folder = self.root / "envs"
        folder.mkdir(exist_ok=True)
        text = _SPEC.format(
            dependencies=json.dumps(dependencies),
            bytecode=json.dumps(bytecode),
            platforms=json.dumps(platforms),
            label=label,
        )
        (folder / f"{name}.toml").write_text(text)

    def lock(self, name: str) -> None:
        """Lock an environment, and fetch its packages by building it once."""
        self.nox("-s", "lock", "--", name)
        self.nox("-s", "build-env", "--", name)

    def nox(self, *arguments: str) -> Sample:
        """Run `nox ARGUMENTS` in this repository."""
        nox = str(Path(sys.executable).with_name("nox"))
        return run(
            [nox, *arguments], cwd=self.root, env=self.environment, log=self.root / "nox.log"
        )

    def envbuild(self, *arguments: str) -> Sample:
        """Run `envbuild ARGUMENTS` in this repository: the same without Nox."""
        command = str(Path(sys.executable).with_name("envbuild"))
        return run(
            [command, *arguments], cwd=self.root, env=self.environment,
            log=self.root / "envbuild.log",
        )  # fmt: skip

    def docker(self, *arguments: str) -> Sample:
        """Run the Docker client with BuildKit."""
        return run(
            [_find_docker(), *arguments], cwd=self.root,
            env=self.environment | {"DOCKER_BUILDKIT": "1"}, log=self.root / "docker.log",
        )  # fmt: skip

    def forget_images(self) -> None:
        """Forget all that was made; downloaded packages and the unpacked Python stay."""
        for name in ("layers", "store", "bytecode", "origins"):
            shutil.rmtree(self.cache / name, ignore_errors=True)

    def forget_everything(self) -> None:
        """Empty the cache: another machine."""
        shutil.rmtree(self.cache, ignore_errors=True)

    def count_packages(self) -> int:
        """Return how many packages the cache has downloaded."""
        return sum(1 for path in self.cache.glob("packages/*/*") if path.is_file())

    def write_context(self, name: str, *, bytecode: bool = False) -> Path:
        """Write a Docker build context that installs the environment's lock with pip."""
        context = self.root / "context" / name
        wheels = context / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        lock = self.root / "lockfiles" / name
        text = (lock / "requirements.linux-64.txt").read_text()
        (context / "requirements.txt").write_text(text)
        for wheel in sorted((self.cache / "packages").glob("*/*.whl")):
            if wheel.parent.name in (lock / "envbuild.lock").read_text():
                target = wheels / wheel.name
                if not target.exists():
                    os.link(wheel, target)
        if not (context / "pip.whl").exists():
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "pip"]
            subprocess.run([*command, "-d", str(context)], check=True, stderr=subprocess.DEVNULL)
            next(context.glob("pip-*.whl")).rename(context / "pip.whl")
        text = _DOCKERFILE.format(compile="--compile" if bytecode else "--no-compile")
        (context / "Dockerfile").write_text(text)
        return context


_DOCKERFILE = """\
ARG BASE
FROM $BASE
USER 0
RUN --mount=type=bind,source=.,target=/context \\
    python3.11 /context/pip.whl/pip install --quiet --disable-pip-version-check \\
    --root-user-action ignore --no-cache-dir --no-index --no-deps {compile} --require-hashes \\
    --find-links /context/wheels --prefix /opt/env -r /context/requirements.txt
"""
"""As quick as a Dockerfile gets: wheels are mounted, not copied; nothing is downloaded; byte code
is made where it is on our side."""


def _find_docker() -> str:
    """Return a client with BuildKit built in or its buildx plugin there."""
    for client in ("/usr/bin/docker", shutil.which("docker") or ""):
        if client and Path(client).exists():
            return client
    raise SystemExit("this benchmark needs Docker's client: apt-get install docker.io")


@contextlib.contextmanager
def open_workspace(registry: str = "") -> Iterator[Workspace]:
    """Give a repository in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="envbuild-bench-") as folder:
        root = Path(folder)
        (root / "noxfile.py").write_text("import envbuild\n\nenvbuild.register()\n")
        (root / "pyproject.toml").write_text("[tool.envbuild]\n")
        yield Workspace(root=root, registry=registry)


@contextlib.contextmanager
def serve_registry() -> Iterator[tuple[str, Path]]:
    """Run Debian's docker-registry on a free loopback port; gives its host and its storage."""
    program = shutil.which("docker-registry")
    if program is None:
        raise SystemExit("this benchmark needs a registry: apt-get install docker-registry")
    with tempfile.TemporaryDirectory(prefix="envbuild-registry-") as folder:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            host = f"127.0.0.1:{probe.getsockname()[1]}"
        storage = Path(folder) / "data"
        config = Path(folder) / "config.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\n"
            f"storage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp: {{addr: '{host}'}}\n"
        )
        child = subprocess.Popen(
            [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            _wait_for(f"http://{host}/v2/")
            say(f"registry on {host}")
            yield host, storage
        finally:
            child.terminate()
            child.wait()


def _wait_for(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), urllib.request.urlopen(url):
            return
        time.sleep(0.05)
    raise SystemExit(f"{url} does not answer")
