"""Real packages from the index that this machine's pip is configured for."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

from envbuild.kit.canonical import digest_file
from envbuild.kit.places import Cache
from envbuild.lock.wheels import fetch_wheels
from envbuild.spec.model import EnvSpec, Pip
from envbuild.spec.platforms import PLATFORMS
from tests.rig.need import missing
from tests.rig.pip_bench import FOREIGN, MINOR, Bench, find_host
from tests.rig.pip_index import PipIndex

pytestmark = pytest.mark.network
REQUEST = ("scikit-learn", "httpx>=0.27")


@functools.lru_cache
def _is_there() -> bool:
    command = [sys.executable, "-m", "pip", "index", "versions", "--no-input", "httpx"]
    return not subprocess.run(command, capture_output=True, check=False).returncode


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A bench whose index is never asked; the caches are the machine's own."""
    if not _is_there():
        missing("a Python package index", "configure one: `pip config set global.index-url URL`")
    index = PipIndex()
    index.close()
    return Bench(index=index, root=tmp_path / "bench")


def test_both_resolvers_lock_the_same_real_packages(bench: Bench) -> None:
    by_pip = bench.resolve(*REQUEST, resolver="pip-tools", index_url=None, glibc="2.28")
    by_uv = bench.resolve(*REQUEST, resolver="uv", index_url=None, glibc="2.28")
    assert bench.heard.notes == []
    assert set(by_pip.tools) == {"pip", "pip-tools", "uv"}
    assert by_pip.text == by_uv.text
    assert by_pip.wheels == by_uv.wheels
    assert {"scikit-learn", "scipy", "numpy", "joblib", "httpx", "h11"} <= {
        wheel.name for wheel in by_pip.wheels
    }
    assert all(wheel.size > 0 for wheel in by_pip.wheels)


def test_a_foreign_platform_gets_its_own_wheels(bench: Bench, cache: Cache) -> None:
    solution = bench.resolve(
        *REQUEST, f"attrs; platform_machine == '{FOREIGN.machine}'",
        f"six; platform_machine == '{find_host().machine}'",
        platform=FOREIGN, index_url=None, glibc="2.28", resolver="pip-tools",
    )  # fmt: skip
    wheels = {wheel.name: wheel for wheel in solution.wheels}
    assert "attrs" in wheels
    assert "six" not in wheels
    for name in ("numpy", "scipy", "scikit-learn"):
        assert wheels[name].filename.endswith(f"_{FOREIGN.machine}.whl")
    small = [wheels["attrs"], wheels["httpx"]]
    found = fetch_wheels(
        small, spec=EnvSpec(python=f"{MINOR}.*", pip=Pip()), platform=FOREIGN,
        python_minor=MINOR, cache=cache, progress=bench.heard, task="cpu",
    )  # fmt: skip
    for wheel in small:
        assert digest_file(found[wheel.sha256]) == f"sha256:{wheel.sha256}"
        assert found[wheel.sha256].stat().st_size == wheel.size


@pytest.mark.parametrize("subdir", ["osx-arm64", "win-64"])
def test_other_systems_get_real_wheels(bench: Bench, subdir: str) -> None:
    solution = bench.resolve("numpy", platform=PLATFORMS[subdir], index_url=None, glibc="")
    (wheel,) = solution.wheels
    ending = {"osx-arm64": "_arm64.whl", "win-64": "win_amd64.whl"}[subdir]
    assert wheel.filename.endswith(ending)
