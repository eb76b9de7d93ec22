"""`nox -s layer-index`: makes the registry's layer index anew from the images that are there."""

from __future__ import annotations

from dataclasses import asdict

from envbuild.errors import RegistryError, SpecError
from envbuild.sessions.context import Context, make_parser
from envbuild.sessions.display import show_progress

__all__ = ["run"]


def run(context: Context) -> None:
    """Read the images of the named environments (default: all) and list their layers."""
    from envbuild.image.layer_index import open_index
    from envbuild.image.reindex import rebuild_index

    parser = make_parser(
        context,
        "List the layers of all images in the registry, so that other machines find them. Each "
        "push does that; this is for an index that was lost or tampered with.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="environment in `envs/`")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(context.arguments)
    names = context.select(arguments.names)
    places: dict[str, list[str]] = {}
    for name in names:
        repository = context.load(name).image.repository or context.settings.repository
        if repository is not None:
            places.setdefault(repository, []).append(name)
    if not places:
        raise RegistryError(
            "registry.not-set",
            "there is no registry to look for images in",
            hint='set `repository = "registry.example.com/team"` under `[tool.envbuild]` in '
            "`pyproject.toml`, or the variable ENVBUILD_REPOSITORY",
        )
    with show_progress() as progress:
        site = context.make_site(progress)
        rows: list[dict[str, object]] = []
        context.answer.document = rows
        for repository, own in places.items():
            index = open_index(site, repository)
            if index is None:
                raise SpecError(
                    "image.index-off",
                    "this repository's settings say that there is no layer index",
                    hint="leave out `layer-index = false` under `[tool.envbuild]`",
                )
            done = rebuild_index(index, own)
            rows.append({"index": index.name, **asdict(done)})
            if arguments.json:
                continue
            print(f"{index.name}: {done.listed} layers of {done.images} images")
            if done.refused:
                print(f"{done.refused} layers are not what their images say, and are not listed")
