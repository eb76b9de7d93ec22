"""Stands between conda-lock and a user's own conda, so that no login is on that one's command line.

conda-lock hands over channels by URL. One with references goes on to conda, mamba or micromamba
by a name, which `custom_channels` of a configuration file leads to a variable of the environment.
What comes back has the URLs as the spec writes them.

It runs in child processes only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import quote, unquote

from envbuild.kit.urls import expand_references
from envbuild.lock.conda_client import leave, restore_variables

__all__ = ["OWN_VARIABLE", "main"]

OWN_VARIABLE: Final = "ENVBUILD_CONDA_OWN"
"""Environment variable with the path of the user's conda."""

_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Named:
    """A channel as the spec writes it, the name it goes by, and where that name leads."""

    written: str
    name: str
    location: str = field(repr=False)

    @property
    def pattern(self) -> str:
        """What conda may call it in its answers: with the login or without."""
        head, _, rest = self.location.partition("://")
        host, _, path = rest.rpartition("@")[2].partition("/")
        plain = re.sub(r"(?:^|/)t/[^/]+", "", path).strip("/")
        below = f"/{re.escape(plain)}" if plain else ""
        return (
            rf"{head}://(?:[^/@\s\"]*@)?{re.escape(host)}(?:/t/[^/\s\"]+)?{below}"
            rf"/{re.escape(self.name)}(?![^/\s\"'`])"
        )


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Call the user's conda with `argv`, and end the process as it ended."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    restore_variables()
    named: dict[str, _Named] = {}
    for number, argument in enumerate(arguments):
        if arguments[number - 1] == "--channel" and "${" in argument:
            if argument not in named:
                named[argument] = _name(argument, [*arguments, *(n.name for n in named.values())])
            arguments[number] = named[argument].name
    with tempfile.TemporaryDirectory(prefix="envbuild-conda-") as folder:
        ended = subprocess.run(
            [os.environ[OWN_VARIABLE], *arguments],
            env=_make_environment(list(named.values()), Path(folder)),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    sys.stdout.write(_restore(ended.stdout, list(named.values())))
    sys.stderr.write(_restore(ended.stderr, list(named.values())))
    leave(ended.returncode)


def _name(written: str, taken: Sequence[str]) -> _Named:
    """Return the shortest end of the channel's path that is no other channel's name."""
    head, _, rest = written.partition("://")
    host, *path = rest.rstrip("/").split("/")
    ends = ("/".join(path[-count:]) for count in range(1, len(path) + 1))
    name = next((end for end in ends if end not in taken), "")
    if not name or "${" in name:
        _refuse("a channel with a login needs a name at the end of its URL, behind its token")
    above = path[: -name.count("/") - 1]
    return _Named(written=written.rstrip("/"), name=name, location=_expand(head, host, above))


def _refuse(said: str) -> NoReturn:
    """End as conda does with an error."""
    print(json.dumps({"error": said, "message": said, "exception_name": "InvalidChannelError"}))
    leave(1)


def _expand(head: str, host: str, path: Sequence[str]) -> str:
    """Return the URL with its references filled in; a login is quoted as RFC 3986 wants."""
    user_info, at, place = host.rpartition("@")
    words = (quote(unquote(expand_references(word)), safe="") for word in user_info.split(":", 1))
    parts = [expand_references(part) for part in (place, *path)]
    return f"{head}://{':'.join(words)}{at}{'/'.join(parts)}"


def _make_environment(named: Sequence[_Named], folder: Path) -> dict[str, str]:
    """Return conda's environment; `CONDARC` adds the names to the user's own such file."""
    if not named:
        return dict(os.environ)
    import yaml

    theirs = os.environ.get("CONDARC")
    settings: dict[str, Any] = {}
    if theirs and Path(theirs).is_file():
        settings = yaml.safe_load(Path(theirs).read_bytes()) or {}
    variables = {f"ENVBUILD_CHANNEL_{number}": n.location for number, n in enumerate(named)}
    names = {n.name: f"${{{variable}}}" for n, variable in zip(named, variables, strict=True)}
    settings["custom_channels"] = {**(settings.get("custom_channels") or {}), **names}
    file = folder / "condarc.yml"  # conda reads no file of another ending
    file.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return {**os.environ, **variables, "CONDARC": str(file)}


def _restore(text: str, named: Sequence[_Named]) -> str:
    """Return conda's answer with the channels as they are written, and no login."""
    for channel in sorted(named, key=lambda n: len(n.name), reverse=True):
        text = re.sub(channel.pattern, channel.written.replace("\\", r"\\"), text)
    values = {os.environ[v] for n in named for v in _REFERENCE.findall(n.written)}
    for form in sorted({f for v in values for f in (v, quote(unquote(v), safe=""))}, key=len)[::-1]:
        text = text.replace(form, "***")
    return text


if __name__ == "__main__":
    main()
