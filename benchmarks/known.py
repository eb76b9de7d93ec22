"""An empty cache, all packages known to the registry, against a cold build and push here."""

from __future__ import annotations

import shutil

from benchmarks.timing import Sample, pair, print_rows, say
from benchmarks.workspace import REQUIREMENTS, open_workspace, serve_registry

__all__ = ["measure"]


def measure(rounds: int) -> None:
    """Print the row, and how many packages the machine with the empty cache downloaded.

    The other side is as quick as it can be: its packages are downloaded already, and its byte
    code is made in every round, for nobody else has made it.
    """
    with serve_registry() as (host, _), open_workspace(f"{host}/known") as space:
        say("locking, downloading, and pushing once, so that the registry knows all layers")
        names = [f"bench-{number}" for number in range(rounds)]
        for name in ["first", *names]:
            space.write_environment(name, [*REQUIREMENTS, "tqdm"], bytecode=True, label=name)
            space.nox("-s", "lock", "--", name)
        space.nox("-s", "build-env", "--", "first", "--push")
        kept = space.root / "kept"
        shutil.copytree(space.cache, kept)
        fetched: list[int] = []

        def known(number: int) -> Sample:
            space.forget_everything()
            sample = space.nox("-s", "build-env", "--", names[number], "--push")
            fetched.append(space.count_packages())
            return sample

        def cold(number: int) -> Sample:
            space.forget_everything()
            shutil.copytree(kept, space.cache)
            space.forget_images()
            with serve_registry() as (other, _):
                return space.at(f"{other}/cold").nox(
                    "-s", "build-env", "--", names[number], "--push"
                )

        left, right = pair(known, cold, rounds=rounds)
        title = "empty cache, all layers in the registry, build and push (cold build and push here)"
        print_rows(title, left, right, "at most 1/10")
        print(f"| packages downloaded for it | {max(fetched)} | | | 0 | {rounds} | |")
