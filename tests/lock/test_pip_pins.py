"""The requirements file: what is written can be read again, and pip takes it."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from envbuild.kit.places import Cache
from envbuild.lock.pip_pins import Pin, parse_pins, render_requirements
from tests.rig.pip_bench import Bench

NAMES = st.lists(st.text("abz09", min_size=1, max_size=4), min_size=1, max_size=3).map("-".join)
NUMBERS = st.lists(st.integers(0, 99), min_size=1, max_size=4)
ENDINGS = st.sampled_from(["", "rc1", ".post2", ".dev3", "+cpu.1"])
VERSIONS = st.builds(lambda parts, end: ".".join(map(str, parts)) + end, NUMBERS, ENDINGS)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
PINS = st.lists(
    st.builds(
        Pin,
        name=NAMES,
        version=VERSIONS,
        hashes=st.lists(HASHES, max_size=3, unique=True).map(tuple),
        via=st.lists(NAMES, max_size=3, unique=True).map(lambda names: tuple(sorted(names))),
    ),
    unique_by=lambda pin: pin.name,
    max_size=6,
)


@given(pins=PINS)
def test_what_is_written_is_read_again(pins: list[Pin]) -> None:
    text = render_requirements(pins, task="cpu", platform="linux-64")
    assert parse_pins(text.decode()) == tuple(sorted(pins, key=lambda pin: pin.name))


@given(pins=PINS)
def test_the_order_of_pins_does_not_count(pins: list[Pin]) -> None:
    first = render_requirements(pins, task="cpu", platform="linux-64")
    assert render_requirements(reversed(pins), task="cpu", platform="linux-64") == first


@given(text=st.text())
def test_no_text_is_too_odd_to_read(text: str) -> None:
    for pin in parse_pins(text):
        assert pin.name
        assert pin.version


def test_reasons_are_packages_and_the_spec() -> None:
    text = "one==1.0\n    # via\n    #   -c pins.txt\n    #   -r request.in\n    #   Big_App[x]\n"
    (pin,) = parse_pins(text)
    shown = render_requirements([pin], task="cpu", platform="linux-64").decode()
    assert shown.endswith("one==1.0\n    # via\n    #   big-app\n    #   envs/cpu.toml\n")


def test_pip_installs_the_file_as_it_is(pip_bench: Bench, cache: Cache) -> None:
    pip_bench.index.add("app", "1.0", "one[more]")
    pip_bench.index.add("one", "1.0", "two; extra == 'more'", extras=["more"])
    pip_bench.index.add("two", "1.0+local")
    file = cache.root / "requirements.txt"
    file.parent.mkdir(parents=True)
    file.write_bytes(pip_bench.resolve("app").text)
    target = cache.root / "target"
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps",
        "--isolated", "--index-url", pip_bench.index.url, "--target", str(target), "-r", str(file),
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    assert {path.name for path in target.glob("*.py")} == {"app.py", "one.py", "two.py"}
