"""Fixtures that every test may use."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from envbuild.kit.places import Cache

pytest_plugins = [
    "tests.rig.conda_channel",
    "tests.rig.debian_archive",
    "tests.rig.engine",
    "tests.rig.image",
    "tests.rig.pip_index",
    "tests.rig.pip_bench",
    "tests.rig.project",
    "tests.rig.registry",
]

# A shell that runs the tests in its background has Ctrl-C ignored, and every child inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says how busy the machine is, and nothing about envbuild.
settings.register_profile("envbuild", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("envbuild")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """An empty cache of the test's own, also for child processes."""
    root = tmp_path / "cache"
    monkeypatch.setenv("ENVBUILD_CACHE", str(root))
    return Cache(root=root)
