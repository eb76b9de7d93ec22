"""`nox -s train`: runs an environment's training script in its image, and records the run."""

from __future__ import annotations

import dataclasses
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TextIO

from envbuild.errors import SpecError
from envbuild.image.plan import ImagePlan
from envbuild.kit.progress import Progress
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress
from envbuild.sessions.engine import open_image
from envbuild.spec.curated import find_curated, say_file
from envbuild.workspace.plans import find_host, find_platform, plan_one
from envbuild.workspace.trees import make_editable

if TYPE_CHECKING:
    from envbuild.run.plan import TrainPlan
    from envbuild.run.record import RunRecord

__all__ = ["run"]


def run(context: Context) -> None:
    """Train, show the log as it comes, and leave with the script's exit code."""
    arguments, extra = _parse(context)
    name = context.select_one(arguments.name)
    host = find_host() if arguments.target == "local" else find_platform()
    image = plan_one(context, name, host)
    if image.spec.train is None:
        raise SpecError(
            "train.none",
            f"`{say_file(name)}` has no `[train]` table, so there is nothing to run",
            hint=f"to have one with a script, run `nox -s scaffold -- training --from {name}`"
            if name in find_curated()
            else 'add one, with at least `script = "train.py"`',
        )
    plan = _plan(context, image, extra)
    if arguments.reuse and (done := _find_done(context, plan, arguments.target)) is not None:
        context.answer.document = dataclasses.asdict(done)
        if not arguments.json:
            print(f"{name}: run {done.id} did exactly this and completed: nothing to do")
        return
    with show_progress() as progress:
        if arguments.target == "local":
            record = _train_local(context, image, plan, progress)
        else:
            record = _train_docker(context, image, plan, progress)
    context.answer.document = dataclasses.asdict(record)
    _report(context, record, sys.stderr if arguments.json else sys.stdout)


def _parse(context: Context) -> tuple[Namespace, list[str]]:
    """Split what is ours from what is the script's; after a second `--` all is the script's."""
    parser = make_parser(
        context,
        "Run an environment's training script in its image. Options that are not listed here, "
        "and everything after a second `--`, go to the script.",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="environment (default: the repository's)"
    )
    parser.add_argument(
        "--target", choices=("docker", "local"), default="docker",
        help="run in a container, or in the same locks unpacked on this machine",
    )  # fmt: skip
    parser.add_argument(
        "--reuse", action="store_true",
        help="do nothing if the same script, arguments and image completed before, whatever the "
        "variables of this shell that `[env]` refers to",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true",
        help="print the run's record as JSON; the log goes to standard error",
    )  # fmt: skip
    ours = list(context.arguments)
    rest: list[str] = []
    if "--" in ours:
        cut = ours.index("--")
        ours, rest = ours[:cut], ours[cut + 1 :]
    arguments, unknown = parser.parse_known_args(ours)
    if unknown and arguments.name not in (None, *context.environments):
        _check_value(ours, arguments.name, unknown)
    if (arguments.name or "").endswith(".py"):
        _refuse_script(arguments.name)
    extra = [*unknown, *rest]
    for text in extra:
        if not _is_text(text):
            raise SpecError("session.arguments", f"the script's argument {text!r} is no UTF-8 text")
    return arguments, extra


def _check_value(ours: list[str], name: str, unknown: list[str]) -> None:
    """Refuse to take the value of the script's option (`--epochs 3`) for an environment."""
    before = ours[max(0, ours.index(name) - 1)]
    if before in unknown and before.startswith("-"):
        raise SpecError(
            "session.arguments",
            f"`nox -s train` takes `{name}` of `{before} {name}` for the name of an environment",
            hint="name the environment first, or give what is the script's after a second `--`: "
            f"`nox -s train -- -- {before} {name}`",
        )


def _refuse_script(name: str) -> NoReturn:
    raise SpecError(
        "session.arguments",
        f"`nox -s train` takes the name of an environment first, and `{name}` is a script",
        hint="the script that trains is `script` under `[train]` of the environment's spec; its "
        "arguments may stand after a second `--`",
    )


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a byte of the command line that Python could not decode
        return False
    return True


def _plan(context: Context, image: ImagePlan, extra: list[str]) -> TrainPlan:
    from envbuild.run.plan import plan_train

    assert image.spec.train is not None  # noqa: S101 - `run` has checked; this tells mypy
    return plan_train(
        image.spec.train,
        environment=image.name,
        root=context.root,
        arguments=extra,
        variables=image.spec.env,
        env_digest=image.digest,
        image=image.reference,
    )


def _find_done(context: Context, plan: TrainPlan, target: str) -> RunRecord | None:
    """Return the latest completed run if it did just this, there, and still has its outputs."""
    from envbuild.run.record import RunFolder, find_latest

    runs = context.repository.runs
    latest = find_latest(runs, plan.environment)
    if latest is None or (latest.inputs, latest.target) != (plan.inputs, target):
        return None
    folder = RunFolder(root=runs / latest.id)
    whole = all(folder.find_place(output).exists() for output in latest.outputs_found)
    return latest if whole else None


def _train_docker(
    context: Context, image: ImagePlan, plan: TrainPlan, progress: Progress
) -> RunRecord:
    from envbuild.run.train import train

    with open_image(context, image, progress) as ready:
        progress.finish(image.name, f"training in {image.reference}")
        return train(
            dataclasses.replace(plan, manifest_digest=ready.manifest),
            engine=ready.engine,
            image_id=ready.image_id,
            python=ready.python,
            runs=context.repository.runs,
            sink=_find_sink(context),
        )


def _train_local(
    context: Context, image: ImagePlan, plan: TrainPlan, progress: Progress
) -> RunRecord:
    from envbuild.image.prefix import ensure_prefix
    from envbuild.run.local import train_local
    from envbuild.workspace.local import make_fetch

    image = make_editable(context, image, progress)
    prefix = ensure_prefix(
        image.recipe,
        folder=context.cache.prefixes,
        fetch=make_fetch(context, image, progress),
        progress=progress,
        task=image.name,
    )
    progress.finish(image.name, f"training in {prefix}")
    return train_local(plan, prefix=prefix, runs=context.repository.runs, sink=_find_sink(context))


def _find_sink(context: Context) -> Callable[[bytes], None]:
    """Return what shows a line of the log as it comes, where nobody reads JSON."""
    stream = (sys.stderr if context.answer.wanted else sys.stdout).buffer

    def write(line: bytes) -> None:
        stream.write(line)
        stream.flush()

    return write


def _report(context: Context, record: RunRecord, to: TextIO) -> None:
    folder = (context.repository.runs / record.id).relative_to(context.root)
    print(f"{record.environment}: run {record.id} {record.status}", file=to, flush=True)
    for note in record.notes:
        print(f"note: {note}", file=to)
    for output in record.outputs_found:
        print(f"output: {_place(folder, output)}", file=to)
    for output in record.outputs_missing:
        print(f"missing: the script did not write `{output}`", file=to)
    if record.status != "completed":
        print(f"{record.reason}\nits log is {folder / 'log.txt'}", file=sys.stderr, flush=True)
        raise SystemExit(record.exit_code or 1)


def _place(folder: Path, output: str) -> Path:
    from envbuild.run.record import RunFolder

    return RunFolder(root=folder).find_place(output)
