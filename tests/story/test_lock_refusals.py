"""What can't be locked: the command says what, where, why and what to do; the old lock stays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pytest

from envbuild.oci.store import Store
from tests.rig.bases import GLIBC, Layer, Link, Program, make_base, push_base
from tests.rig.conda_channel import CondaChannel, open_channel, rewrite_index
from tests.rig.pip_index import PipIndex
from tests.rig.project import Project
from tests.rig.registry import RunningRegistry

RESOLVERS = pytest.mark.parametrize("resolver", ["pip-tools", "uv"])

BOTH: Final = '["linux-64", "linux-aarch64"]'


@dataclass(kw_only=True)
class Bench:
    """The locked environment `demo`, which the tests change for the worse."""

    project: Project
    index: PipIndex

    def write(
        self,
        pip: str = '"acme"',
        *,
        conda: str = '"numpy", "greet"',
        resolver: str = "pip-tools",
        more: str = "",
        python: str = "3.11.*",
        image: str = 'base = "scratch"',
        platforms: str = '["linux-64"]',
    ) -> None:
        """Write the spec; `more` are further lines of `[pip]`."""
        self.project.write(
            "envs/demo.toml",
            f'platforms = {platforms}\npython = "{python}"\n'
            f"[conda]\ndependencies = [{conda}]\n"
            f'[pip]\nresolver = "{resolver}"\nindex-url = "{self.index.url}"\n'
            f"dependencies = [{pip}]\n{more}\n[image]\n{image}\n",
        )

    def refuse(self, code: str, *words: str) -> str:
        """Lock, expect the error with all of `words`, its hint with a command, and no change."""
        before = self.project.snapshot()
        text = self.project.refused(code, "-s", "lock", "--", "demo")
        for word in words:
            assert word in text, text
        assert "demo" in text
        assert "hint: " in text or "expected" in text
        assert self.project.snapshot() == before
        assert not list((self.project.cache / "locking").glob("*.part"))
        return text


@pytest.fixture
def bench(image_project: Project, pip_index: PipIndex) -> Bench:
    return Bench(project=image_project, index=pip_index)


def _fill(index: PipIndex) -> None:
    """Put every package with something wrong onto the index."""
    for version in ("1.0", "2.0"):
        index.add("lib", version)
    index.add("left", "1.0", "lib<2")
    index.add("right", "1.0", "lib>=2")
    index.add("numpy", "1.0")
    index.add("old-numpy", "1.0", "numpy<2")
    index.add("any-numpy", "1.0", "numpy")
    index.add("newer", "1.0", requires_python=">=3.99")
    index.add("uses-newer", "1.0", "newer")
    index.add("narrow", "1.0", tag="cp310-cp310-manylinux2014_x86_64")
    index.add("pointing", "1.0", f"lib @ {index.root}files/lib-1.0-py3-none-any.whl")


RUN: Final = "run `nox -s lock -- demo`"

REQUESTS: Final[dict[str, tuple[str, str, str, str, tuple[str, ...]]]] = {
    # name: conda, pip, more of [pip], code, words
    "two packages fight": (
        '"numpy", "greet"', '"left", "right"', "", "lock.unsatisfiable",
        ("left depend on lib<2", "right depend on lib>=2", "`pip.dependencies`", RUN),
    ),
    "the spec fights a package": (
        '"numpy", "greet"', '"lib<2", "right"', "", "lock.unsatisfiable",
        ("right depend on lib>=2", "you require lib<2", "`pip.dependencies`", RUN),
    ),
    "a constraint fights a package": (
        '"numpy", "greet"', '"right"', 'constraints = ["lib<2"]', "lock.unsatisfiable",
        ("right depend on lib>=2", "lib<2", "`pip.constraints`", RUN),
    ),
    "a wheel fights conda": (
        '"numpy", "greet"', '"old-numpy"', "", "lock.unsatisfiable",
        ("old-numpy depend on numpy<2", "conda brings `numpy` 2.", RUN),
    ),
    "a constraint fights conda": (
        '"numpy", "greet"', '"any-numpy"', 'constraints = ["numpy<2"]', "lock.unsatisfiable",
        ("numpy", "<2", "`pip.constraints`", "conda brings `numpy` 2.", RUN),
    ),
    "Python is too old": (
        '"numpy", "greet"', '"newer"', "", "lock.unsatisfiable",
        ("newer==1.0 depends on Python>=3.99", "(3.11.", "`pip.dependencies` or `python`", RUN),
    ),
    "Python is too old for what is needed": (
        '"numpy", "greet"', '"uses-newer"', "", "lock.unsatisfiable",
        ("newer==1.0 depends on Python>=3.99", "uses-newer depend on newer", "`python`", RUN),
    ),
    "the wheel is for another Python": (
        '"numpy", "greet"', '"narrow"', "", "lock.no-wheel",
        ("`narrow` 1.0", "linux-64, Python 3.11", "`narrow-1.0-cp310-cp310-manylinux2014_x86_64"),
    ),
    "a URL": (
        '"numpy", "greet"', '"lib @ https://pkgs.example.com/lib-1.0-py3-none-any.whl"', "",
        "spec.invalid",
        ("`pip.dependencies[0]` (line 8)", "something else may be there tomorrow", "on an index"),
    ),
    "a package asks by URL": (
        '"numpy", "greet"', '"pointing"', "", "lock.url-dependency",
        ("`pointing==1.0` asks for `lib @ http://127.0.0.1", 'overrides = ["lib"]', RUN),
    ),
    "one package twice": (
        '"numpy", "greet"', '"lib<2", "lib>=2"', "", "spec.invalid",
        ("`pip.dependencies[1]` (line 8)", '`"lib>=2"`', '`"lib<2"`'),
    ),
}  # fmt: skip


@RESOLVERS
@pytest.mark.parametrize("case", REQUESTS)
def test_pip_request_that_can_not_be_met(bench: Bench, resolver: str, case: str) -> None:
    _fill(bench.index)
    conda, pip, more, code, words = REQUESTS[case]
    bench.write(pip, conda=conda, more=more, resolver=resolver)
    bench.refuse(code, *words)


@RESOLVERS
def test_the_way_out_of_a_url_that_the_message_names(bench: Bench, resolver: str) -> None:
    _fill(bench.index)
    bench.write('"pointing"', more='overrides = ["lib"]', resolver=resolver)
    bench.project.must("-s", "lock", "--", "demo")
    pins = (bench.project.root / "lockfiles/demo/requirements.linux-64.txt").read_text()
    assert "lib==2.0" in pins
    assert "127.0.0.1" not in pins


@RESOLVERS
def test_index_that_lies_about_a_file(bench: Bench, resolver: str) -> None:
    """uv looks at no wheel where there is metadata: what it then locks is refused by the build."""
    honest = bench.index.add("liar", "1.0")
    other = bench.index.add("liar", "1.0", "acme")
    served = replace(honest, served=other.data)
    bench.index.files["liar"][honest.filename] = served
    bench.write('"liar"', resolver=resolver)
    bench.project.must("-s", "lock", "--", "demo")
    text = bench.project.refused("lock.hash-mismatch", "-s", "build-env", "--", "demo")
    assert honest.filename in text
    bench.index.files["liar"][honest.filename] = replace(served, metadata=None)
    bench.write('"liar", "acme"', resolver=resolver)
    if resolver == "uv":
        bench.project.must("-s", "lock", "--", "demo", "--upgrade")
        bench.project.refused("lock.hash-mismatch", "-s", "build-env", "--", "demo")
    else:
        bench.refuse(
            "lock.hash-mismatch", honest.filename, honest.sha256, other.sha256, "attack", RUN
        )


@RESOLVERS
def test_index_that_lies_about_metadata(
    bench: Bench, resolver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = bench.index.add("liar", "1.0")
    plain = bench.index.describe
    false = {"core-metadata": {"sha256": "0" * 64}}
    monkeypatch.setattr(bench.index, "describe", lambda file: {**plain(file), **false})
    bench.write('"liar"', resolver=resolver)
    bench.refuse("lock.hash-mismatch", liar.filename, "0" * 64, "package index lists", RUN)


@RESOLVERS
def test_index_that_mixes_files_up(bench: Bench, resolver: str) -> None:
    other = bench.index.add("other", "1.0")
    liar = bench.index.add("liar", "1.0")
    bench.index.files["liar"][liar.filename] = replace(liar, metadata=other.metadata)
    bench.write('"liar"', resolver=resolver)
    bench.refuse("lock.wrong-metadata", "`liar`", "`other`", RUN)


@RESOLVERS
def test_index_that_is_down(bench: Bench, resolver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_RETRIES", "0")
    bench.write('"other"', resolver=resolver)
    bench.index.broken = 503
    bench.refuse("lock.index", bench.index.url, "HTTP 503", "`pip.index-url`")
    bench.index.broken = None
    bench.index.close()
    bench.refuse("lock.index", bench.index.url, "refused the connection", "`pip.index-url`")


REQUESTS_OF_CONDA: Final[dict[str, tuple[str, str, tuple[str, ...]]]] = {
    # name: dependencies, platforms, words
    "two packages fight": (
        '"want-old-words", "want-new-words"', BOTH,
        ("linux-64, linux-aarch64:", "want-old-words 1.0 would require", "greeting-words <1.1",
         "want-new-words 1.0 would require", "greeting-words >=1.2", RUN),
    ),
    "the spec fights a package": (
        '"greeting-words 1.2", "want-old-words"', '["linux-64"]',
        ("`greeting-words 1.2`", "want-old-words 1.0 would require", "greeting-words <1.1", RUN),
    ),
    "one platform lacks a package": (
        '"prefix-binary"', BOTH,
        ("linux-aarch64:\n", "no channel has `prefix-binary`", "[platform.NAME.conda]", RUN),
    ),
    "no channel has it": (
        '"greeet"', '["linux-64"]', ("no channel has `greeet`", "near names: greet", RUN),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REQUESTS_OF_CONDA)
def test_conda_request_that_can_not_be_met(bench: Bench, case: str) -> None:
    conda, platforms, words = REQUESTS_OF_CONDA[case]
    bench.write(conda=conda, platforms=platforms)
    text = bench.refuse("lock.unsatisfiable", *words, "`conda.dependencies`")
    assert ("`linux-64`" in text) == (case != "one platform lacks a package")
    (log,) = re.findall(r"is in `(.*\.log)`", text)
    assert Path(log).is_file()


def test_the_way_out_of_a_package_that_one_platform_lacks(bench: Bench) -> None:
    more = '[platform.linux-64.conda]\ndependencies = ["prefix-binary"]'
    bench.write(platforms=BOTH, more=more)
    bench.project.must("-s", "lock", "--", "demo")


def test_python_that_no_channel_has(bench: Bench) -> None:
    bench.write(python="3.99.*")
    bench.refuse("lock.unsatisfiable", "No candidates were found for python 3.99.*", "`python`")


def _lie(entry: dict[str, object]) -> None:
    if entry["name"] == "greet":
        entry["sha256"] = "0" * 64


def test_channel_that_is_wrong_or_down(
    bench: Bench, conda_channel: CondaChannel, tmp_path: Path
) -> None:
    """A solver reads the index alone, so a false hash is found by whoever fetches: the build."""
    with open_channel(conda_channel.folder, tmp_path / "copy" / "main") as channel:
        mirrors = {k: list(v) for k, v in channel.mirrors.items()}
        bench.project.configure(mirrors=mirrors)
        bench.write(conda='"greet 2.*"')
        channel.server.status = 503
        bench.refuse("lock.channel", channel.url, "503 Service Unavailable", "`mirrors`")
        channel.server.status = None
        rewrite_index(channel, _lie)
        bench.project.must("-s", "lock", "--", "demo")
        text = bench.project.refused("lock.hash-mismatch", "-s", "build-env", "--", "demo")
        assert text.count("greet-2.0-pyhd8ed1ab_0.conda` is not the file that was locked") == 1
        assert "nox -s lock -- demo --upgrade-package greet" in text
        index = channel.folder / "noarch" / "repodata.json"
        index.write_text(json.dumps({"packages": {}})[:-3])
        bench.write(conda='"greet"')
        bench.refuse("lock.channel", "`conda-forge` or `", channel.url, "`mirrors`")
    bench.write(conda='"greet 1.0"')
    bench.refuse("lock.channel", channel.url, "refused", "`mirrors`")


PYTHON: Final = "/usr/local/bin/python3"


def _base(python: str) -> Layer:
    return {
        f"usr/local/bin/python{python}": Program(f"\x7fELF\0{python}.4\0".encode()),
        "usr/local/bin/python3": Link(f"python{python}"),
    }


@pytest.mark.registry
def test_request_that_fights_the_base(
    bench: Bench, registry: RunningRegistry, tmp_path: Path
) -> None:
    image = make_base(Store(tmp_path / "images"), GLIBC, _base("3.9"))
    base = push_base(registry.host, tmp_path / "images", {"amd64": image})
    newer = 'virtual-packages = { glibc = "2.38" }'
    bench.write(conda=f'"needs-glibc"]\n{newer}\nwithout = [', image=f'base = "{base}"')
    bench.refuse("base.glibc", base, "2.36", "2.38")
    bench.project.write(
        "envs/demo.toml",
        f'python = "3.11.*"\n[pip]\nindex-url = "{bench.index.url}"\ndependencies = ["acme"]\n'
        f'[image]\nbase = "{base}"\ninterpreter = "{PYTHON}"\n',
    )
    bench.refuse("base.interpreter", base, "3.9", "3.11")


MERGES: Final[dict[str, tuple[str, Callable[[str], str], tuple[str, ...]]]] = {
    # name: the parent's end, the child, words
    "a list against a text": (
        "[train]\nscript = 'train.py'\narguments = ['--epochs', '3']\n",
        lambda _: 'extends = "base"\n[train]\narguments = "--epochs 3"\n',
        ("`train.arguments`", "expected a list, as `envs/base.toml` has here"),
    ),
    "a table against a text": (
        "[pip]\ndependencies = ['acme']\n",
        lambda _: 'extends = "base"\npip = "acme"\n',
        ("`pip` (line 2)", "expected a table, as `envs/base.toml` has here"),
    ),
    "pip against conda of the parent": (
        "[conda]\ndependencies = ['numpy']\n",
        lambda _: 'extends = "base"\n[pip]\ndependencies = ["numpy<2"]\n',
        ('`"numpy<2"` is also `"numpy"` of `conda.dependencies`', "leave out one of the two"),
    ),
    "nothing to be without": (
        "[conda]\ndependencies = ['numpy']\n",
        lambda _: 'extends = "base"\n[conda]\nwithout = ["scipy"]\n',
        ("`conda.without[0]` (line 3)", "scipy"),
    ),
    "a parent that is wrong itself": (
        "[pip]\ndependencies = ['acme =1']\n",
        lambda _: 'extends = "base"\n',
        ("`pip.dependencies[0]` of `envs/base.toml` (line 3)", "pip compares with two signs"),
    ),
}


@pytest.mark.parametrize("case", MERGES)
def test_conflicting_merge_of_a_parent(bench: Bench, case: str) -> None:
    end, child, words = MERGES[case]
    bench.project.write("envs/base.toml", f'python = "3.11.*"\n{end}')
    bench.project.write("envs/demo.toml", child(end))
    bench.refuse("spec.invalid", "`envs/demo.toml`", *words)
