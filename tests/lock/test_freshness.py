"""A stale lock is refused with what moved; a fresh one passes whatever doesn't count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from envbuild.errors import LockError
from envbuild.lock.freshness import check_fresh, find_staleness
from envbuild.lock.model import Lock
from envbuild.lock.request import SECTIONS
from envbuild.spec.model import Conda, EnvSpec, Image, Pip, System
from envbuild.spec.model_running import Train
from tests.rig.locks import make_lock, make_spec

SPEC = make_spec()
CHANGES = {
    "platforms": make_spec(platforms=("linux-64", "linux-aarch64")),
    "python": make_spec(python="3.12.*"),
    "exclude-newer": make_spec(exclude_newer="2026-01-31"),
    "conda": make_spec(conda=None),
    "pip": make_spec(pip=Pip(dependencies=("rich",))),
    "system": make_spec(system=System()),
    "base": make_spec(image=Image(base="debian:trixie")),
}


def _refusal(spec: EnvSpec, lock: Lock) -> LockError:
    with pytest.raises(LockError) as caught:
        check_fresh(spec, lock, name="cpu")
    return caught.value


def test_a_lock_made_from_the_spec_is_fresh() -> None:
    assert find_staleness(SPEC, make_lock()) is None
    check_fresh(SPEC, make_lock(), name="cpu")


def test_what_only_counts_at_run_time_leaves_the_lock_fresh() -> None:
    spec = make_spec(description="x", env={"A": "b"}, train=Train(script="train.py"))
    assert find_staleness(spec, make_lock()) is None


@pytest.mark.parametrize("section", SECTIONS)
def test_a_stale_lock_names_the_section_that_moved(section: str) -> None:
    found = find_staleness(CHANGES[section], make_lock())
    assert found is not None
    assert found.sections == (section,)


def test_a_stale_lock_is_refused_in_words_and_with_the_command() -> None:
    spec = make_spec(python="3.12.*", conda=Conda())
    error = _refusal(spec, make_lock())
    assert error.code == "lock.stale"
    assert error.message == (
        "`lockfiles/cpu` was made from another version of `envs/cpu.toml` "
        "(`python` and `conda` changed)"
    )
    assert error.hint == "to update the lockfile, run `nox -s lock -- cpu`"


def test_a_section_is_called_what_the_spec_calls_it() -> None:
    error = _refusal(CHANGES["base"], make_lock())
    assert "(`image.base` changed)" in error.message


def test_many_sections_are_listed() -> None:
    spec = EnvSpec(python="3.12.*", platforms=("osx-64",))
    error = _refusal(spec, make_lock())
    assert "(`platforms`, `python`, `conda`, `pip` and `system` changed)" in error.message


def test_a_lock_without_a_section_is_stale() -> None:
    lock = make_lock()
    request = {name: digest for name, digest in lock.request.items() if name != "pip"}
    found = find_staleness(SPEC, replace(lock, request=request))
    assert found is not None
    assert found.sections == ("pip",)


def test_a_lock_that_lacks_a_platform_is_stale() -> None:
    spec = CHANGES["platforms"]
    whole = make_lock(spec)
    lock = replace(whole, platforms={"linux-64": whole.platforms["linux-64"]})
    found = find_staleness(spec, lock)
    assert found is not None
    assert (found.sections, found.missing) == ((), ("linux-aarch64",))
    error = _refusal(spec, lock)
    assert error.code == "lock.stale"
    assert error.message == "`lockfiles/cpu` has no part for `linux-aarch64`"
