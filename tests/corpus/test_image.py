"""The whole corpus in one real image: `pip check` passes, and every top-level module imports."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from envbuild.engine.client import Engine
from envbuild.engine.load import ensure_loaded
from envbuild.kit.places import Cache
from envbuild.layers.wheel import read_wheel
from tests.corpus.by_pip import install_with_pip, remove_tree
from tests.corpus.convert import find_closure
from tests.corpus.modules import list_modules
from tests.corpus.trees import list_documented
from tests.corpus.wheels import MINOR, Corpus
from tests.rig.project import Project

pytestmark = [
    pytest.mark.corpus, pytest.mark.network, pytest.mark.engine, pytest.mark.timeout(1200),
]  # fmt: skip

_SPEC = """\
platforms = ["linux-64"]
python = "3.11.*"
[pip]
resolver = "uv"
dependencies = {wishes}
[system]
packages = ["libgomp1"]
[image]
base = "debian:bookworm"
"""

_CANNOT = ("git", "google.cloud._storage", "google.cloud._storage_v2", "sphinxcontrib.jsmath")
"""Modules that can't be imported here by whatever installed them; the documentation says why."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """The image in the engine, and how to run something in it."""

    engine: Engine
    image: str
    folder: Path

    def run(self, *command: str) -> str:
        """Run a command to its end; `folder` is at /corpus. Fails with what it printed."""
        return str(
            self.engine.client.containers.run(
                self.image, list(command), remove=True, network_disabled=True,
                volumes={str(self.folder): {"bind": "/corpus", "mode": "rw"}},
                working_dir="/tmp", environment={"HOME": "/tmp"},
                labels={"envbuild-test": "corpus"},
            ).decode()
        )  # fmt: skip

    def import_all(self, python: str, modules: set[str]) -> dict[str, str]:
        """Return what is said by those modules that can't be imported."""
        (self.folder / "modules.json").write_text(json.dumps(sorted(modules)))
        said = self.run(python, "/corpus/import_all.py", "/corpus/modules.json")
        found = json.loads(said.splitlines()[-1])
        print(f"{len(modules)} modules in {found['seconds']} s: {found['failed']}")
        return dict(found["failed"])


@pytest.fixture
def built(
    corpus: Corpus, project: Project, cache: Cache, engine: Engine, tmp_path: Path
) -> Iterator[Built]:
    """The image of the corpus, locked and assembled as a user does it."""
    for name in ("packages", "indexes"):  # downloads are kept from run to run
        (corpus.cache.root / name).mkdir(parents=True, exist_ok=True)
        cache.root.mkdir(parents=True, exist_ok=True)
        (cache.root / name).symlink_to(corpus.cache.root / name)
    wishes = json.dumps([f"{wheel.name}=={wheel.version}" for wheel in corpus.wheels])
    project.write("envs/corpus.toml", _SPEC.format(wishes=wishes))
    project.must("-s", "lock", "--", "corpus", timeout=600)
    done = project.build("corpus")
    name = f"envbuild-test/corpus:{os.getpid()}"
    ensure_loaded(engine, layout=cache.store, manifest_digest=done["manifest"], name=name)
    folder = tmp_path / "corpus"
    folder.mkdir()
    script = Path(__file__).with_name("import_all.py")
    (folder / script.name).write_bytes(script.read_bytes())
    yield Built(engine=engine, image=name, folder=folder)
    engine.client.images.remove(name, force=True)


def test_the_corpus_works_in_an_image(built: Built, corpus: Corpus, tmp_path: Path) -> None:
    assert "No broken requirements found" in built.run("python", "-m", "pip", "check")
    owners = _list_all_modules(corpus)
    assert len(owners) > len(corpus.wheels)
    failed = built.import_all("python", set(owners))
    python = _make_yardstick(corpus, {owners[name] for name in failed}, built, tmp_path)
    assert failed == built.import_all(python, set(failed))
    assert set(failed) == set(_CANNOT)
    assert set(_CANNOT) == list_documented("unimportable")


def _list_all_modules(corpus: Corpus) -> dict[str, str]:
    """Return which project brings which module."""
    owners: dict[str, str] = {}
    site = f"opt/env/lib/python{MINOR}/site-packages/"
    for wheel in corpus.wheels:
        path = corpus.files[wheel.sha256]
        entries = read_wheel(path, wheel, prefix="/opt/env", python_minor=MINOR)
        inside = [e.path.removeprefix(site) for e in entries if e.path.startswith(site)]
        owners |= dict.fromkeys(list_modules(inside), wheel.name)
    return owners


def _make_yardstick(corpus: Corpus, names: set[str], built: Built, folder: Path) -> str:
    """Let pip install projects and their needs where the container sees it; return its Python."""
    wheels = find_closure(corpus, names)
    home, theirs = install_with_pip([corpus.files[w.sha256] for w in wheels], folder)
    (theirs / str(home)[1:]).rename(built.folder / "venv")
    remove_tree(theirs)
    (built.folder / "venv/pyvenv.cfg").write_text("home = /usr/bin\n")
    python = built.folder / "venv/bin/python"
    python.parent.mkdir(exist_ok=True)
    python.symlink_to(f"/usr/bin/python{MINOR}")
    return "/corpus/venv/bin/python"
