"""The wrong specs and what is said of them: `tests/specs/invalid/NAME.toml` and `NAME.txt`.

`python -m tests.spec.golden` remakes the texts after a message was changed on purpose; look at the
difference before it is committed.
"""

from __future__ import annotations

from pathlib import Path

from envbuild.errors import SpecError
from envbuild.spec.load import parse_spec

INVALID = Path(__file__).parents[1] / "specs" / "invalid"
VALID = Path(__file__).parents[1] / "specs" / "valid"


def render_refusal(path: Path) -> str:
    """Return the whole error text of a wrong spec."""
    try:
        parse_spec(path.read_bytes(), where=f"envs/{path.name}")
    except SpecError as error:
        return f"{error}\n"
    raise AssertionError(f"{path.name} is right, so it is no example of a wrong spec")


if __name__ == "__main__":
    for old in INVALID.glob("*.txt"):
        old.unlink()
    for spec in sorted(INVALID.glob("*.toml")):
        spec.with_suffix(".txt").write_text(render_refusal(spec), encoding="utf-8")
