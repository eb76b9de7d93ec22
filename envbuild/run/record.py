"""Records of runs: one folder each with `record.json`, the log, and the outputs.

`.envbuild/runs/ID/` holds `record.json` (written as a whole at each change of state), `log.txt`
and `outputs/`. An ID is the UTC time of creation and a random part, so IDs sort by age and two
machines never make the same one.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, get_args

from envbuild.engine.owner import find_owner, is_gone
from envbuild.errors import RunError
from envbuild.kit.files import write_atomic

__all__ = [
    "RunFolder",
    "RunRecord",
    "Status",
    "create_record",
    "create_run",
    "find_latest",
    "find_time",
    "list_runs",
    "load_record",
    "main",
    "mark_interrupted",
    "plan_loss",
    "render_json",
]

FORMAT: Final = 1
Status = Literal[
    "planned", "running", "completed", "failed", "timed-out", "out-of-memory", "interrupted"
]
_STATUSES: Final[frozenset[str]] = frozenset(get_args(Status))
_OPEN: Final = frozenset({"planned", "running"})


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """What a run was and how it went; times are UTC in ISO 8601, sizes bytes, limits as asked.

    `image_id` is what the engine ran, `image` its reference; both are empty where no container
    was used. `variables` are names only: their values may be secrets. `reason` says in words
    why a run that isn't completed ended.
    """

    id: str
    environment: str
    status: Status
    created: str
    target: str
    owner: str
    command: tuple[str, ...]
    arguments: tuple[str, ...] = ()
    env_digest: str = ""
    manifest_digest: str = ""
    image_id: str = ""
    image: str = ""
    snapshot: str = ""
    inputs: str = ""
    git: Mapping[str, Any] | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    max_seconds: float | None = None
    started: str | None = None
    finished: str | None = None
    exit_code: int | None = None
    outputs_found: tuple[str, ...] = ()
    outputs_missing: tuple[str, ...] = ()
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        """True while the run is planned or running."""
        return self.status in _OPEN


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFolder:
    """The folder of one run."""

    root: Path

    @property
    def record_file(self) -> Path:
        return self.root / "record.json"

    @property
    def log_file(self) -> Path:
        return self.root / "log.txt"

    @property
    def outputs(self) -> Path:
        return self.root / "outputs"

    @property
    def work(self) -> Path:
        """Where a run without a container works; gone when it ends."""
        return self.root / "work"

    def find_place(self, output: str) -> Path:
        """Return where a declared output is kept: `outputs/OUTPUT`, never `outputs/outputs/...`."""
        path = PurePosixPath(output)
        parts = path.parts[1:] if path.parts[0] == "outputs" else path.parts
        return self.outputs.joinpath(*parts)

    def write(self, record: RunRecord) -> None:
        """Write the record as a whole."""
        write_atomic(
            self.record_file, render_json({"format": FORMAT, **dataclasses.asdict(record)})
        )


def render_json(value: Mapping[str, Any]) -> bytes:
    """Return JSON for people and programs, whatever the file names in it are.

    A byte of a name that is no UTF-8 (a lone surrogate in Python) becomes JSON's own escape.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def find_time() -> str:
    """Return the time now: `2030-01-31T09:30:00.123Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def create_run(runs: Path) -> tuple[str, RunFolder]:
    """Make the folder of a new run below `runs`; return its ID and it."""
    now = datetime.now(UTC)
    stamp = f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"
    while True:
        name = f"{stamp}-{secrets.token_hex(4)}"
        folder = RunFolder(root=runs / name)
        try:
            folder.root.mkdir(parents=True)
        except FileExistsError:
            continue
        return name, folder


def load_record(runs: Path, run_id: str) -> RunRecord:
    """Return the record of a run; `run_id` may be the beginning of an ID if only one fits.

    A record that says `running` although its process is gone reads as `interrupted`. Raises
    `RunError`: `run.unknown`, `run.record-damaged`.
    """
    names = [path.parent.name for path in runs.glob("*/record.json")]
    fitting = [n for n in names if n == run_id] or [n for n in names if n.startswith(run_id)]
    if len(fitting) != 1 or not run_id:
        what = f"{len(fitting)} runs begin" if fitting and run_id else "no run begins"
        raise RunError(
            "run.unknown",
            f"{what} with `{run_id}` in `{runs}`",
            hint="give the whole ID: the folders there are named by it",
        )
    return _read(RunFolder(root=runs / fitting[0]))


def list_runs(runs: Path) -> tuple[RunRecord, ...]:
    """Return all records below `runs`, oldest first; damaged ones are left out."""
    found = []
    for path in sorted(runs.glob("*/record.json")):
        try:
            found.append(_read(RunFolder(root=path.parent)))
        except RunError:
            continue
    return tuple(found)


def find_latest(
    runs: Path, environment: str, *, status: Status | None = "completed"
) -> RunRecord | None:
    """Return the latest run of an environment with this status (None: any), or None."""
    for record in reversed(list_runs(runs)):
        if record.environment == environment and status in {None, record.status}:
            return record
    return None


def _read(folder: RunFolder) -> RunRecord:
    try:
        record = _parse(json.loads(folder.record_file.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(
            "run.record-damaged",
            f"`{folder.record_file}` is no run record that this envbuild can read",
            hint=f"delete the folder `{folder.root}` if the run doesn't matter any more",
        ) from error
    if record.is_open and is_gone(record.owner):
        return dataclasses.replace(
            record, status="interrupted", reason="the process that led the run is gone"
        )
    return record


def _parse(value: dict[str, Any]) -> RunRecord:
    if value.pop("format") != FORMAT or value["status"] not in _STATUSES:
        raise ValueError("another format")
    known = {field.name for field in dataclasses.fields(RunRecord)}
    facts: dict[str, Any] = {}
    for key in known & value.keys():
        item = value[key]
        facts[key] = tuple(item) if isinstance(item, list) else item
    return RunRecord(**facts)


def mark_interrupted(folder: RunFolder) -> None:
    """Close the record of a run whose process died, unless it is closed already."""
    shutil.rmtree(folder.work, ignore_errors=True)
    record = _parse(json.loads(folder.record_file.read_bytes()))
    if record.is_open:
        reason = "the process that led the run was killed"
        folder.write(
            dataclasses.replace(record, status="interrupted", finished=find_time(), reason=reason)
        )


def plan_loss(folder: RunFolder) -> tuple[str, ...]:
    """Return the command that a guard runs to close the record in our place."""
    return (sys.executable, "-m", "envbuild.run.record", str(folder.root.resolve()))


def main(arguments: list[str]) -> int:
    """Mark the run in the folder `arguments[0]` as interrupted."""
    mark_interrupted(RunFolder(root=Path(arguments[0])))
    return 0


def create_record(run_id: str, **facts: Any) -> RunRecord:
    """Return the record of a run that is planned now, by this process."""
    return RunRecord(id=run_id, status="planned", created=find_time(), owner=find_owner(), **facts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
