"""`nox -s scaffold`: writes a new environment to write on from."""

from __future__ import annotations

from envbuild.errors import SpecError
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import print_table
from envbuild.start.scaffold import FURTHER, scaffold
from envbuild.start.templates import KINDS

__all__ = ["run"]


def run(context: Context) -> None:
    """Write `envs/NAME.toml` and its scripts, or list the kinds there are."""
    parser = make_parser(
        context,
        "Write a commented spec, `envs/NAME.toml`, and an example script in `src/NAME`.",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="name of the new environment")
    parser.add_argument(
        "--from", dest="kind", default="minimal", metavar="KIND",
        help="what it is made from (default: minimal)",
    )  # fmt: skip
    parser.add_argument("--list", action="store_true", help="list the kinds")
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    if arguments.list:
        context.answer.document = {name: kind.summary for name, kind in KINDS.items()}
        if not arguments.json:
            print_table(
                ("kind", "what it is"), [(name, kind.summary) for name, kind in KINDS.items()]
            )
        return
    if arguments.name is None:
        raise SpecError(
            "session.arguments",
            "`nox -s scaffold` needs a name for the environment",
            hint="run `nox -s scaffold -- NAME`, or `nox -s scaffold -- --list`",
        )
    name = arguments.name
    written = scaffold(context.root, name, kind=arguments.kind, force=arguments.force)
    context.answer.document = {"environment": name, "written": written}
    if arguments.json:
        return
    for path in written:
        print(f"wrote `{path}`")
    print(f"next: `nox -s lock -- {name}`, and `nox -s train -- {name}`")
    print(FURTHER)
