"""`envbuild init`: makes a folder a repository that uses envbuild, in one command."""

from __future__ import annotations

from dataclasses import asdict

from envbuild.sessions.context import Context, make_parser
from envbuild.start.begin import Begun, begin
from envbuild.start.scaffold import FURTHER

__all__ = ["run"]


def run(context: Context) -> None:
    """Write what is missing of noxfile, `.gitignore` and first environment; say what is next."""
    parser = make_parser(
        context,
        "Have this folder use envbuild: a noxfile, an entry in `.gitignore`, and a first "
        "environment where there is none. What is there stays as it is.",
    )
    parser.add_argument(
        "name", nargs="?", metavar="NAME",
        help="name of the first environment (default: training)",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="kind", default="minimal", metavar="KIND",
        help="what it is made from (default: minimal); `envbuild scaffold --list` lists the kinds",
    )  # fmt: skip
    parser.add_argument(
        "--repository", metavar="REGISTRY/PATH", help="where images are to be pushed"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    begun = begin(
        context.root, name=arguments.name, kind=arguments.kind, repository=arguments.repository
    )
    context.answer.document = asdict(begun)
    if not arguments.json:
        _show(begun)


def _show(begun: Begun) -> None:
    for step in begun.steps:
        print(step)
    if not begun.steps and not begun.todo:
        print("this folder uses envbuild already")
    for todo in begun.todo:
        print(f"\nto do: {todo}")
    name = begun.environments[0]
    print(
        "\nnext, run:\n\n"
        f"    nox -s lock -- {name}\n"
        "    nox -s check\n"
        f"    nox -s train -- {name} --target local\n"
        f"    nox -s train -- {name}\n\n"
        "The last one trains in the image, for which Docker Engine has to run; `nox -s doctor` "
        f"says what is missing on this machine.\n\n{FURTHER}"
    )
