"""The wrong specs and what is said of them: `tests/specs/invalid/NAME.toml` and `NAME.txt`.

`python -m tests.spec.golden` remakes the texts after a message was changed on purpose; look at the
difference before it is committed.
"""

from __future__ import annotations

from pathlib import Path

from envbuild.errors import SpecError
from envbuild.spec.load import parse_spec
from envbuild.spec.model import EnvSpec

INVALID = Path(__file__).parents[1] / "specs" / "invalid"
VALID = Path(__file__).parents[1] / "specs" / "valid"
PARENTS = Path(__file__).parents[1] / "specs" / "parents"
"""What the specs extend; for those named `defaults-...`, the `pyproject.toml` too."""


def parse_file(path: Path) -> EnvSpec:
    """Return a spec as it would be in `envs/`, beside what is in `PARENTS`."""

    def find(place: str) -> bytes | None:
        if place == "pyproject.toml" and not path.stem.startswith("defaults-"):
            return None
        other = path if place == f"envs/{path.name}" else PARENTS / place.removeprefix("envs/")
        return other.read_bytes() if other.exists() else None

    return parse_spec(path.read_bytes(), where=f"envs/{path.name}", find=find)


def render_refusal(path: Path) -> str:
    """Return the whole error text of a wrong spec."""
    try:
        parse_file(path)
    except SpecError as error:
        return f"{error}\n"
    raise AssertionError(f"{path.name} is right, so it is no example of a wrong spec")


if __name__ == "__main__":
    for old in INVALID.glob("*.txt"):
        old.unlink()
    for spec in sorted(INVALID.glob("*.toml")):
        spec.with_suffix(".txt").write_text(render_refusal(spec), encoding="utf-8")
