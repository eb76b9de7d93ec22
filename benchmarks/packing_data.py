"""`python -m benchmarks.packing_data`: resolves packing.toml with uv, and rewrites packing.json.

Only this needs a package index; the simulation reads packing.json. Each environment becomes the
list of its wheels with their sizes and hashes, as a lock has them.
"""

from __future__ import annotations

import concurrent.futures
import datetime as dt
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli

from benchmarks.timing import say
from envbuild.lock.wheel_choice import WheelFile, choose_wheel, rank_tags
from envbuild.spec.platforms import PLATFORMS

__all__ = ["DATA", "REQUESTS"]

REQUESTS = Path(__file__).with_name("packing.toml")
DATA = Path(__file__).with_name("packing.json")
_GLIBC = "2.36"
_HASH_DIGITS = 20
"""As much of a hash as tells these files apart."""

Rows = list[tuple[str, str, str, int]]
"""Wheels as (name, version, hash, size in bytes)."""


def main() -> None:
    """Resolve all, or those that are named, keeping what is known of the others."""
    requests = tomli.loads(REQUESTS.read_text())
    jobs = dict(_list_jobs(requests))
    wanted = sys.argv[1:] or list(jobs)
    made = _load_rows() if sys.argv[1:] else {}
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, rows in zip(
            wanted, pool.map(lambda n: _resolve(n, jobs[n]), wanted), strict=True
        ):
            say(f"{name}: {len(rows)} wheels, {sum(row[3] for row in rows) / 1e6:.0f} MB")
            made[name] = rows
    DATA.write_text(_render({name: made[name] for name in jobs if name in made}))


def _list_jobs(requests: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    environments = requests["environments"]
    jobs = [(n, {"date": requests["today"], **e}) for n, e in environments.items()]
    weekly = requests["weekly"]
    last = dt.date.fromisoformat(weekly["until"])
    for number in range(weekly["weeks"]):
        date = last - dt.timedelta(weeks=weekly["weeks"] - 1 - number)
        job = {**environments[weekly["environment"]], "date": date.isoformat()}
        jobs.append((f"week-{number + 1:02}", job))
    return jobs


def _resolve(name: str, job: Mapping[str, Any]) -> Rows:
    minor = job.get("python", "3.11")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "pylock.toml")
        command = [
            str(Path(sys.executable).with_name("uv")), "pip", "compile", "-", "--quiet",
            "--format", "pylock.toml", "--python-version", minor, "--only-binary", ":all:",
            "--python-platform", f"x86_64-manylinux_{_GLIBC.replace('.', '_')}",
            "--exclude-newer", f"{job['date']}T00:00:00Z", "-o", str(path),
        ]  # fmt: skip
        needs = "\n".join(job["needs"])
        ended = subprocess.run(command, input=needs, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise SystemExit(f"{name}: {ended.stderr}")
        packages = tomli.loads(path.read_text())["packages"]
    return sorted(_choose(package, minor) for package in packages)


def _choose(package: Mapping[str, Any], minor: str) -> tuple[str, str, str, int]:
    """Return the wheel that envbuild would lock."""
    files = [
        WheelFile(
            name=package["name"],
            version=package["version"],
            filename=wheel.get("name") or wheel["url"].rsplit("/", 1)[-1],
            url=wheel["url"],
            sha256=wheel["hashes"]["sha256"],
            size=wheel["size"],
        )
        for wheel in package["wheels"]
    ]
    platform = PLATFORMS["linux-64"]
    chosen = choose_wheel(files, rank_tags(platform, minor, _GLIBC, ""))
    if chosen is None:
        raise SystemExit(f"no wheel of {package['name']} {package['version']} fits")
    return chosen.name, chosen.version, chosen.sha256[:_HASH_DIGITS], chosen.size


def _load_rows() -> dict[str, Rows]:
    data = json.loads(DATA.read_text())
    wheels = [tuple(wheel) for wheel in data["wheels"]]
    return {name: [wheels[n] for n in numbers] for name, numbers in data["environments"].items()}


def _render(environments: Mapping[str, Rows]) -> str:
    """Return the wheels, one a line, and each environment as their numbers."""
    wheels = sorted({row for rows in environments.values() for row in rows})
    numbers = {wheel: number for number, wheel in enumerate(wheels)}
    lines = ",\n".join(json.dumps(wheel) for wheel in wheels)
    told = ",\n".join(
        f"{json.dumps(name)}: {json.dumps([numbers[row] for row in rows], separators=(',', ':'))}"
        for name, rows in environments.items()
    )
    return f'{{"wheels": [\n{lines}\n],\n"environments": {{\n{told}\n}}}}\n'


if __name__ == "__main__":
    main()
