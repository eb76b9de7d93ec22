"""Planted secrets: they open every door of a full run, and are in nothing that it leaves."""

from __future__ import annotations

import base64
import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from envbuild.engine.client import Engine
from tests.rig.conda_channel import CondaChannel, open_channel
from tests.rig.debian_archive import DebianRig
from tests.rig.git_server import GitServer, serve_repository
from tests.rig.image import PYTHON, LoadedImage
from tests.rig.pip_index import PipIndex
from tests.rig.planted import Planted, watched_commands
from tests.rig.project import Project
from tests.rig.registry import LockedRegistry
from tests.rig.sources import make_repository, project_files

SPEC = """\
platforms = ["linux-64"]
python = "3.11.*"

[conda]
channels = ["{channel}"]
dependencies = ["greet"]

[pip]
index-url = "{index}"
dependencies = ["acme", "cloned @ git+http://robot:${{GIT_KEY}}@{git}@main"]
build-from-source = ["cloned"]

[system]
suite = "bookworm"
packages = ["tool"]

[image]
base = "scratch"

[train]
script = "train.py"
outputs = []
"""


@dataclass(kw_only=True)
class Company:
    """A repository whose every source wants a login, and all that its sessions said."""

    project: Project
    planted: Planted
    index: PipIndex
    channel: CondaChannel
    git: GitServer
    registry: LockedRegistry
    keys: Path
    said: list[str] = field(default_factory=list)
    commands: set[bytes] = field(default_factory=set)

    def run(self, *arguments: str, code: str | None = None) -> str:
        """Run a session as planned: well, or with this error."""
        with watched_commands() as commands:
            outcome = self.project.nox("-s", *arguments)
        self.commands |= commands
        self.said.append(outcome.text)
        if code is None:
            assert outcome.code == 0, self._hide(outcome.text)
        else:
            assert f"[{code}]" in outcome.text, self._hide(outcome.text)
            assert "Traceback" not in outcome.text
        return outcome.text

    def _hide(self, text: str) -> str:
        return text if not self.planted.search_text(text.encode(), "") else "a secret is in it"

    def search(self, *folders: Path) -> list[str]:
        """Return every place where a secret is, but for the files that hold logins."""
        logins = frozenset(path for path in self.keys.rglob("*") if path.is_file())
        found = [f for folder in folders for f in self.planted.search_folder(folder, skip=logins)]
        for number, text in enumerate(self.said):
            found += self.planted.search_text(text.encode(), f"output {number}")
        for command in self.commands:
            found += self.planted.search_text(command, f"the command {command[:60]!r}")
        return found


@pytest.fixture
def company(
    project: Project,
    conda_channel: CondaChannel,
    pip_index: PipIndex,
    registry_auth: LockedRegistry,
    debian_archive: DebianRig,
    tmp_path: Path,
) -> Iterator[Company]:
    planted = Planted()
    keys = tmp_path / "keys"
    pip_index.login = ("robot", planted.plant("INDEX_KEY"))
    channel_login = ("robot", planted.plant("CHANNEL_KEY"))
    git_login = ("robot", planted.plant("GIT_KEY"))
    debian_archive.add("tool")
    debian_archive.publish()
    debian_archive.server.credentials = ("robot", planted.plant("APT"))
    _write_apt_login(debian_archive, keys / "apt", planted.values["APT"])
    pip_index.add("acme", "1.0")
    pip_index.add("kit", "1.0")
    make_repository(tmp_path / "git" / "cloned", project_files("cloned", build=["kit"]))
    planted.values["REGISTRY"] = registry_auth.password
    with contextlib.ExitStack() as stack:
        channel = stack.enter_context(
            open_channel(conda_channel.folder, tmp_path / "web" / "team", credentials=channel_login)
        )
        git = stack.enter_context(serve_repository(tmp_path / "git" / "cloned", git_login))
        project.variables |= {
            **{k: v for k, v in planted.values.items() if k.endswith("_KEY")},
            "DOCKER_CONFIG": str(registry_auth.write_login(keys / "docker")),
            "HOME": str(tmp_path / "home"),
            "TMPDIR": str(tmp_path / "temporary"),
        }
        (tmp_path / "home").mkdir()
        (tmp_path / "temporary").mkdir()
        project.write("registry.pem", registry_auth.ca.read_text())
        project.configure(
            repository=f"{registry_auth.host}/private",
            registries={registry_auth.host: {"ca": "registry.pem"}},
        )
        project.write("train.py", "import acme, cloned, greet\nprint('trained')\n")
        project.write(
            "envs/cpu.toml",
            SPEC.format(
                channel=channel.url.replace("://", "://robot:${CHANNEL_KEY}@"),
                index=pip_index.url_with("robot:${INDEX_KEY}"),
                git=git.place,
            ),
        )
        yield Company(
            project=project, planted=planted, index=pip_index, channel=channel, git=git,
            registry=registry_auth, keys=keys,
        )  # fmt: skip


def _write_apt_login(archive: DebianRig, folder: Path, password: str) -> None:
    folder.mkdir(parents=True)
    (folder / "team.conf").write_text(f"machine {archive.url} login robot password {password}\n")
    with Path(os.environ["APT_CONFIG"]).open("a") as config:
        config.write(f'Dir::Etc::netrcparts "{folder}";\n')


@pytest.mark.registry
def test_no_secret_is_left_or_shown(company: Company, tmp_path: Path) -> None:
    company.run("lock", "--", "cpu")
    company.run("check", "--", "cpu")
    company.run("build-env", "--", "cpu", "--push", "--json", "--verbose")
    company.run("show", "--", "cpu", "--json")
    company.run("explain", "--", "cpu")
    company.run("build-env", "--", "cpu", "--dockerfile")
    company.run("build-env", "--", "cpu", "--plan")
    assert "trained" in company.run("train", "--", "cpu", "--target", "local")
    _check_doors(company)
    storage = company.registry.ca.parent / "storage"
    assert company.search(tmp_path, storage) == []


def _check_doors(company: Company) -> None:
    """Every source was really asked with its secret."""
    assert company.git.header in company.git.seen
    assert any(company.index.logins)
    assert any(line.endswith(" 200") for line in company.channel.server.requests)
    # What isn't passed over is found: the registry's password stands there in base64.
    assert company.planted.search_folder(company.keys) != []


WRONG: dict[str, tuple[str, Callable[[Company], None]]] = {
    "INDEX_KEY": ("lock.index", lambda c: setattr(c.index, "login", ("robot", "another"))),
    "CHANNEL_KEY": (
        "lock.channel",
        lambda c: setattr(c.channel.server, "credentials", ("robot", "another")),
    ),
    "GIT_KEY": ("pip.git", lambda c: setattr(c.git, "login", ("robot", "another"))),
}


@pytest.mark.registry
def test_no_refusal_shows_what_was_refused(company: Company, tmp_path: Path) -> None:
    doors = (company.index.login, company.channel.server.credentials, company.git.login)
    for name, (code, change) in WRONG.items():
        change(company)
        text = company.run("lock", "--", "cpu", code=code)
        assert f"`{name}`" in text, text
        company.index.login, company.channel.server.credentials = doors[:2]
        company.git.login = doors[2]
        value = company.project.variables.pop(name)
        assert f"`{name}`" in company.run("lock", "--", "cpu", code="credential.unset")
        company.project.variables[name] = value
    company.run("lock", "--", "cpu")
    # Another story may have pushed the same layers, and a build would want no package then.
    settings = company.project.root / "pyproject.toml"
    settings.write_text(f"{settings.read_text()}layer-index = false\n")
    company.index.login = ("robot", "another")
    company.run("build-env", "--", "cpu", code="lock.index")
    company.index.login = doors[0]
    wrong = company.planted.plant("WRONG")
    auth = base64.b64encode(f"ada:{wrong}".encode()).decode()
    logins = {"auths": {company.registry.host: {"auth": auth}}}
    (company.keys / "docker/config.json").write_text(json.dumps(logins))
    company.run("build-env", "--", "cpu", "--push", code="registry.unauthorised")
    assert company.search(tmp_path) == []


BOXED = """\
platforms = ["linux-64"]
python = "3.11.*"

[pip]
index-url = "{index}"
dependencies = ["acme"]

[image]
dockerfile = "Dockerfile"
build-secrets = {{ token = "STEP_KEY" }}
interpreter = "{python}"

[env]
SERVICE_TOKEN = "Bearer ${{ENV_KEY}}"

[train]
script = "train.py"
outputs = []

[smoke]
command = ["python", "serve.py"]
port = 8000
ready-timeout = "60s"

[[smoke.request]]
path = "/"
expect = {{ status = 200 }}
"""

TRAIN = """\
import os
import acme
assert os.environ["SERVICE_TOKEN"].startswith("Bearer plant-")
print("trained")
"""

SERVE = """\
import http.server, os, signal, sys
assert os.environ["SERVICE_TOKEN"].startswith("Bearer plant-")
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("0.0.0.0", 8000), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.mark.engine
@pytest.mark.registry
def test_no_secret_gets_into_an_engine(
    company: Company, engine: Engine, python_image: LoadedImage, tmp_path: Path
) -> None:
    key = company.project.variables["STEP_KEY"] = company.planted.plant("STEP_KEY")
    company.project.variables["ENV_KEY"] = company.planted.plant("ENV_KEY")
    step = json.dumps([PYTHON, "-c", "print(len(open('/run/secrets/token').read()))"])
    project = company.project
    project.write(
        "Dockerfile",
        f"FROM {python_image.name}\nRUN --mount=type=secret,id=token,mode=0444 {step}\n",
    )
    project.write("serve.py", SERVE)
    project.write("train.py", TRAIN)
    index = company.index.url_with("robot:${INDEX_KEY}")
    before = {image.id for image in engine.client.images.list()}
    project.write("envs/cpu.toml", BOXED.format(index=index, python=PYTHON))
    company.run("lock", "--", "cpu")
    said = company.run("build-env", "--", "cpu", "--push", "--load", "--json", "--verbose")
    assert str(len(key)) in said
    company.run("show", "--", "cpu", "--json")
    assert "trained" in company.run("train", "--", "cpu")
    company.run("smoke", "--", "cpu")
    company.run("smoke", "--", "cpu", "--json")
    value = company.project.variables.pop("ENV_KEY")
    for session in ("train", "smoke"):
        assert "`ENV_KEY`" in company.run(session, "--", "cpu", code="run.variable")
    company.project.variables["ENV_KEY"] = value
    for image in engine.client.images.list(all=True):
        facts = json.dumps([image.attrs, image.history()]).encode()
        assert company.planted.search_text(facts, f"the engine's image {image.id}") == []
    for image in engine.client.images.list():
        if image.id not in before:
            image.remove(force=True)
    storage = company.registry.ca.parent / "storage"
    assert company.search(tmp_path, storage) == []
