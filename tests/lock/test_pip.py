"""What a lock of pip's packages holds, whichever resolver made it."""

from __future__ import annotations

import re

import pytest

from envbuild.lock.upgrade import Upgrade
from tests.rig.pip_bench import FOREIGN, MINOR, PYTHON, TAG, Bench, find_glibc, find_host

RESOLVERS = pytest.mark.parametrize("resolver", ["pip-tools", "uv"])


def _fill(bench: Bench) -> None:
    """An application, a library in several versions, an extra, and traps for a resolver."""
    machine = find_host().machine
    bench.index.add("app", "1.0", "Lib_rary>=1", "fast[simd]; python_version >= '3'")
    bench.index.add("lib-rary", "1.0")
    bench.index.add("lib-rary", "1.1")
    bench.index.add("lib-rary", "1.2", yanked=True)
    bench.index.add("lib-rary", "2.0rc1")
    bench.index.add_sdist("lib-rary", "1.9")
    bench.index.add("fast", "3.0", "simd-kit; extra == 'simd'", "never; extra == 'other'",
                    tag=f"{TAG}-{TAG}-manylinux_2_17_{machine}.manylinux2014_{machine}",
                    extras=["simd", "other"])  # fmt: skip
    bench.index.add("fast", "3.0", "simd-kit; extra == 'simd'", extras=["simd", "other"])
    bench.index.add("simd-kit", "0.1", requires_python=">=3")
    bench.index.add("simd-kit", "0.2", requires_python=">=99")
    bench.index.add("never", "1.0")


def test_both_resolvers_give_the_same_lock(pip_bench: Bench) -> None:
    _fill(pip_bench)
    by_pip = pip_bench.resolve("app", resolver="pip-tools")
    by_uv = pip_bench.resolve("app", resolver="uv")
    assert by_pip.text == by_uv.text
    assert by_pip.wheels == by_uv.wheels
    assert set(by_pip.tools) == {"pip", "pip-tools", "uv"}
    assert set(by_uv.tools) == {"uv"}
    assert pip_bench.heard.notes == []


@RESOLVERS
def test_the_newest_versions_that_fit_are_locked(pip_bench: Bench, resolver: str) -> None:
    _fill(pip_bench)
    assert pip_bench.pins("app", resolver=resolver) == {
        "app": "1.0",
        "fast": "3.0",
        "lib-rary": "1.1",
        "simd-kit": "0.1",
    }


@RESOLVERS
def test_a_wheel_is_locked_by_name_hash_and_size(pip_bench: Bench, resolver: str) -> None:
    _fill(pip_bench)
    for wheel in pip_bench.resolve("app", resolver=resolver).wheels:
        file = pip_bench.index.find(wheel.filename)
        assert file is not None
        assert (wheel.sha256, wheel.size) == (file.sha256, len(file.data))


def test_the_most_specific_wheel_is_chosen(pip_bench: Bench) -> None:
    _fill(pip_bench)
    chosen = {wheel.name: wheel.filename for wheel in pip_bench.resolve("app").wheels}
    assert f"-{TAG}-{TAG}-manylinux_2_17_" in chosen["fast"]


@RESOLVERS
def test_the_requirements_file_is_the_documented_one(pip_bench: Bench, resolver: str) -> None:
    _fill(pip_bench)
    solution = pip_bench.resolve("app", "lib-rary<2", resolver=resolver)
    app, fast, library, kit = (wheel.sha256 for wheel in solution.wheels)
    assert solution.text.decode() == (
        f"# Made for {find_host().subdir} by envbuild; to update it, run `nox -s lock -- cpu`.\n"
        f"app==1.0 \\\n    --hash=sha256:{app}\n    # via envs/cpu.toml\n"
        f"fast==3.0 \\\n    --hash=sha256:{fast}\n    # via app\n"
        f"lib-rary==1.1 \\\n    --hash=sha256:{library}\n    # via\n    #   app\n"
        "    #   envs/cpu.toml\n"
        f"simd-kit==0.1 \\\n    --hash=sha256:{kit}\n    # via fast\n"
    )


@RESOLVERS
def test_order_and_a_second_run_change_no_byte(pip_bench: Bench, resolver: str) -> None:
    _fill(pip_bench)
    first = pip_bench.resolve("app", "lib-rary", resolver=resolver)
    second = pip_bench.resolve("lib-rary", "app", resolver=resolver)
    kept = pip_bench.resolve("app", "lib-rary", resolver=resolver, previous=first.text)
    assert first == second == kept


@RESOLVERS
def test_pins_stay_until_an_upgrade(pip_bench: Bench, resolver: str) -> None:
    for name in ("one", "two"):
        pip_bench.index.add(name, "1.0")
    previous = pip_bench.resolve("one", "two", resolver=resolver).text
    for name in ("one", "two"):
        pip_bench.index.add(name, "2.0")
    assert pip_bench.resolve("one", "two", resolver=resolver, previous=previous).text == previous
    one = Upgrade(packages=frozenset({"One"}))
    pins = pip_bench.pins("one", "two", resolver=resolver, previous=previous, upgrade=one)
    assert pins == {"one": "2.0", "two": "1.0"}
    both = Upgrade(everything=True)
    pins = pip_bench.pins("one", "two", resolver=resolver, previous=previous, upgrade=both)
    assert pins == {"one": "2.0", "two": "2.0"}


@RESOLVERS
def test_a_pin_moves_when_the_request_excludes_it(pip_bench: Bench, resolver: str) -> None:
    pip_bench.index.add("one", "1.0")
    pip_bench.index.add("one", "2.0")
    previous = pip_bench.resolve("one<2", resolver=resolver).text
    assert pip_bench.pins("one>1", resolver=resolver, previous=previous) == {"one": "2.0"}


def test_a_locked_wheel_stays_when_a_better_one_appears(pip_bench: Bench) -> None:
    general = pip_bench.index.add("one", "1.0")
    previous = pip_bench.resolve("one").text
    better = pip_bench.index.add("one", "1.0", tag=f"{TAG}-abi3-linux_{find_host().machine}")
    kept = pip_bench.resolve("one", previous=previous)
    assert [w.sha256 for w in kept.wheels] == [general.sha256]
    anew = pip_bench.resolve("one", previous=previous, upgrade=Upgrade(everything=True))
    assert [w.sha256 for w in anew.wheels] == [better.sha256]


def test_a_damaged_previous_file_is_no_obstacle(pip_bench: Bench) -> None:
    pip_bench.index.add("one", "1.0")
    fresh = pip_bench.resolve("one")
    assert pip_bench.resolve("one", previous=b"\xff\xfe not == a lock\n==\n") == fresh


@RESOLVERS
def test_a_pre_release_is_locked_only_if_asked_for(pip_bench: Bench, resolver: str) -> None:
    pip_bench.index.add("one", "1.0")
    pip_bench.index.add("one", "2.0rc1")
    assert pip_bench.pins("one", resolver=resolver) == {"one": "1.0"}
    assert pip_bench.pins("one>=2.0rc1", resolver=resolver) == {"one": "2.0rc1"}


@RESOLVERS
def test_markers_and_wheels_are_those_of_the_target(pip_bench: Bench, resolver: str) -> None:
    here = find_host()
    for platform in (here, FOREIGN):
        tag = f"{TAG}-{TAG}-manylinux_2_17_{platform.machine}"
        pip_bench.index.add("native", "1.0", tag=tag)
        only = f"only-{platform.machine.replace('_', '-')}"
        pip_bench.index.add(only, "1.0", tag=tag)
    needs = [
        f"only-{p.machine.replace('_', '-')}; platform_machine == '{p.machine}'"
        for p in (here, FOREIGN)
    ]
    pip_bench.index.add("app", "1.0", "native", *needs)
    for platform in (here, FOREIGN):
        wheels = pip_bench.resolve("app", platform=platform, resolver=resolver).wheels
        machine = platform.machine
        assert [w.filename for w in wheels] == [
            "app-1.0-py3-none-any.whl",
            f"native-1.0-{TAG}-{TAG}-manylinux_2_17_{machine}.whl",
            f"only_{machine}-1.0-{TAG}-{TAG}-manylinux_2_17_{machine}.whl",
        ]
    assert pip_bench.heard.notes == []


@RESOLVERS
def test_markers_see_the_locked_patch_release(pip_bench: Bench, resolver: str) -> None:
    pip_bench.index.add("app", "1.0", f"late; python_full_version >= '{MINOR}.98'", "always")
    for name in ("late", "always"):
        pip_bench.index.add(name, "1.0")
    here = pip_bench.pins("app", resolver=resolver)
    assert set(here) == {"app", "always"}
    there = pip_bench.pins("app", python=f"{MINOR}.99", resolver=resolver)
    assert set(there) == {"app", "always", "late"}


@RESOLVERS
def test_wheels_for_a_newer_glibc_are_left_alone(pip_bench: Bench, resolver: str) -> None:
    machine, glibc = find_host().machine, find_glibc()
    pip_bench.index.add("native", "1.0", tag=f"{TAG}-{TAG}-manylinux_2_17_{machine}")
    pip_bench.index.add("native", "2.0", tag=f"{TAG}-{TAG}-manylinux_2_{glibc}_{machine}")
    assert pip_bench.pins("native", resolver=resolver) == {"native": "1.0"}
    newer = f"2.{glibc}"
    assert pip_bench.pins("native", glibc=newer, resolver=resolver) == {"native": "2.0"}
    assert pip_bench.heard.notes == []


def test_uv_resolves_for_a_newer_glibc_than_this_machine_has(pip_bench: Bench) -> None:
    pip_bench.index.add("one", "1.0")
    solution = pip_bench.resolve("one", glibc=f"2.{find_glibc() + 1}", resolver="pip-tools")
    assert set(solution.tools) == {"uv"}
    assert "older than the glibc" in pip_bench.heard.notes[0]


def test_uv_resolves_for_a_python_that_is_not_here(pip_bench: Bench) -> None:
    pip_bench.index.add("one", "1.0", "two; python_version >= '3.99'")
    pip_bench.index.add("two", "1.0", tag=f"cp399-cp399-manylinux_2_17_{find_host().machine}")
    solution = pip_bench.resolve("one", python="3.99.1", resolver="pip-tools")
    assert [wheel.name for wheel in solution.wheels] == ["one", "two"]
    assert set(solution.tools) == {"uv"}
    assert "there is no Python 3.99 on this machine" in pip_bench.heard.notes[0]


@pytest.mark.parametrize("subdir", ["osx-64", "osx-arm64", "win-64"])
def test_other_systems_are_locked_too(pip_bench: Bench, subdir: str) -> None:
    from envbuild.spec.platforms import PLATFORMS

    tags = {
        "osx-64": "macosx_10_9_x86_64",
        "osx-arm64": "macosx_12_0_arm64",
        "win-64": "win_amd64",
    }
    for tag in (*tags.values(), "macosx_99_0_arm64", "macosx_99_0_x86_64", "win32"):
        pip_bench.index.add("native", "1.0", tag=f"{TAG}-{TAG}-{tag}")
    pip_bench.index.add("app", "1.0", "native", "colour; sys_platform == 'win32'")
    pip_bench.index.add("colour", "1.0")
    solution = pip_bench.resolve("app", platform=PLATFORMS[subdir], glibc="")
    chosen = {wheel.name: wheel.filename for wheel in solution.wheels}
    assert chosen["native"].endswith(f"-{tags[subdir]}.whl")
    assert ("colour" in chosen) == (subdir == "win-64")


def test_nothing_of_this_machine_is_in_the_lock(pip_bench: Bench) -> None:
    _fill(pip_bench)
    solution = pip_bench.resolve("app", resolver="pip-tools")
    shown = solution.text.decode() + repr(solution.wheels)
    assert "127.0.0.1" not in shown
    assert str(pip_bench.root) not in shown
    assert not re.search(r"\w+://", shown)
    assert PYTHON not in solution.text.decode()
