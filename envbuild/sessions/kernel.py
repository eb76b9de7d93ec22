"""`nox -s kernel`: an environment as a Jupyter kernel, in its image or as a prefix."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict

from envbuild.errors import SpecError
from envbuild.image.plan import ImagePlan
from envbuild.kit.progress import Progress
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import print_table, show_progress
from envbuild.sessions.local_env import make_local
from envbuild.workspace.kernels import (
    Kernel,
    check_ipykernel,
    container_command,
    find_folder,
    list_kernels,
    prefix_command,
    remove_kernel,
    write_kernel,
)
from envbuild.workspace.plans import find_host, find_platform, plan_one

__all__ = ["run"]


def run(context: Context) -> None:
    """Install, list or remove the kernel of an environment."""
    arguments = _parse(context)
    if arguments.list:
        _list(context, as_json=arguments.json)
        return
    name = context.select_one(arguments.name)
    if arguments.remove:
        _remove(context, name, arguments)
        return
    host = find_host() if arguments.target == "local" else find_platform()
    image = plan_one(context, name, host)
    check_ipykernel(image)
    with show_progress() as progress:
        prepare = _prepare_local if arguments.target == "local" else _prepare_docker
        what, command = prepare(context, image, arguments, progress)
    kernel = Kernel(
        name=_name(arguments, name), environment=name, root=str(context.root.resolve()),
        display_name=arguments.display_name or f"{name} ({arguments.target})",
        target=arguments.target, what=what,
    )  # fmt: skip
    file = write_kernel(kernel, command=command, folder=find_folder())
    context.answer.document = {**asdict(kernel), "file": str(file)}
    if not arguments.json:
        print(f"{name}: kernel {kernel.name} is `{kernel.display_name}` in notebooks: {file}")


def _parse(context: Context) -> Namespace:
    parser = make_parser(
        context, "Install an environment as a Jupyter kernel, which needs `ipykernel` in it."
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME", help="environment (default: the repository's)"
    )
    parser.add_argument(
        "--target", choices=("docker", "local"), default="docker",
        help="run in the image, with the repository at /work, or in `nox -s local-env`'s folder",
    )  # fmt: skip
    parser.add_argument(
        "--name", dest="kernel", metavar="KERNEL",
        help="the kernel's own name (default: envbuild-NAME, with -local for that target)",
    )  # fmt: skip
    parser.add_argument("--display-name", metavar="TEXT", help="what notebooks show")
    parser.add_argument(
        "--gpus", type=int, default=0, metavar="N", help="GPUs of a kernel in the image"
    )
    parser.add_argument("--remove", action="store_true", help="remove the kernel")
    parser.add_argument("--list", action="store_true", help="list this repository's kernels")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    if arguments.gpus < 0 or (arguments.gpus and arguments.target == "local"):
        raise SpecError(
            "session.arguments",
            f"`nox -s kernel`: `--gpus {arguments.gpus}` can't be: it takes a number of GPUs for "
            "the target `docker`",
        )
    return arguments


def _remove(context: Context, environment: str, arguments: Namespace) -> None:
    name = _name(arguments, environment)
    remove_kernel(find_folder(), name, context.root)
    context.answer.document = {"environment": environment, "removed": name}
    if not arguments.json:
        print(f"{environment}: removed kernel {name}")


def _name(arguments: Namespace, environment: str) -> str:
    suffix = "-local" if arguments.target == "local" else ""
    return str(arguments.kernel or f"envbuild-{environment}{suffix}")


def _prepare_docker(
    context: Context, image: ImagePlan, arguments: Namespace, progress: Progress
) -> tuple[str, tuple[str, ...]]:
    from envbuild.sessions.engine import open_image

    with open_image(context, image, progress) as ready:
        command = container_command(
            image, root=context.root, image_id=ready.image_id, python=ready.python,
            gpus=arguments.gpus,
        )  # fmt: skip
        progress.finish(image.name, f"in {image.reference}")
        return ready.image_id, command


def _prepare_local(
    context: Context, image: ImagePlan, _arguments: Namespace, progress: Progress
) -> tuple[str, tuple[str, ...]]:
    env, _ = make_local(context, image, None, progress)
    return str(env.link), prefix_command(image, link=env.link)


def _list(context: Context, *, as_json: bool) -> None:
    kernels = list_kernels(find_folder(), context.root)
    context.answer.document = [asdict(kernel) for kernel in kernels]
    if as_json:
        return
    if not kernels:
        print("this repository has no kernels")
    else:
        rows: list[tuple[str, ...]] = [
            (k.name, k.display_name, k.environment, k.target, k.what) for k in kernels
        ]
        print_table(("kernel", "shown as", "environment", "target", "runs in"), rows)
