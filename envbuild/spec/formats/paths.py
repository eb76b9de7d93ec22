"""Paths in the repository, in the image, and of URLs."""

from __future__ import annotations

import re

from envbuild.spec.formats.base import Format

__all__ = [
    "ABSOLUTE_PATH",
    "OUTPUT_PATH",
    "RELATIVE_PATH",
    "TARGET_PATH",
    "URL_PATH",
    "explain_relative",
]

# What a part of a path must not hold: patterns, backslashes, and the control characters.
_PART = r"[^/\\*?\u0000-\u001f\u007f]"
_RELATIVE = rf"(?!~)(?![A-Za-z]:)(?!(?:.*/)?\.\.(?:/|$)){_PART}+(?:/{_PART}*)*"


def explain_relative(text: str) -> str | None:
    """Return why `text` is no `RELATIVE_PATH`, if that can be told."""
    if not text:
        return "it is empty; `.` is the folder itself"
    if "\\" in text:
        return f"write `/` between the parts: `{text.replace(chr(92), '/')}`"
    if text.startswith(("/", "~")) or re.match(r"[A-Za-z]:", text):
        return "another machine has no such path, so write it relative to its folder"
    if ".." in text.split("/"):
        return "`..` would lead out of the folder"
    if re.search(r"[*?]", text):
        return "patterns are not supported; name the file or its folder"
    return None


RELATIVE_PATH = Format(
    name="relative path",
    expected="a path relative to its folder, without `..`",
    examples=("src/train.py", "."),
    pattern=_RELATIVE,
    explain=explain_relative,
)


def _explain_output(text: str) -> str | None:
    if not text:
        return "it is empty"
    if re.fullmatch(r"\.?(?:/\.?)*", text):
        return "that is the whole source; let the script write into a folder of its own"
    return explain_relative(text)


OUTPUT_PATH = Format(
    name="output path",
    expected="a folder or file below `source`, without `..`",
    examples=("outputs", "logs/metrics.json"),
    pattern=rf"(?!\.?(?:/\.?)*$){_RELATIVE}",
    explain=_explain_output,
)

ABSOLUTE_PATH = Format(
    name="absolute path",
    expected="a path in the image that begins with `/`",
    examples=("/opt/conda/bin/python",),
    pattern=rf"(?!(?:.*/)?\.\.(?:/|$))(?:/{_PART}+)+",
)


def _explain_target(text: str) -> str | None:
    if not text:
        return "it is empty"
    if not text.startswith("/"):
        return f"write `/{text}`" if re.fullmatch(r"[\w.-]+(?:/[\w.-]+)*", text) else None
    if not text.strip("/"):
        return "that is the whole image; name a folder of it"
    if text.endswith("/"):
        return f"write `{text.rstrip('/')}`"
    if re.search(r"[*?]", text):
        return "patterns are not supported"
    if "/.wh." in text:
        return "a name that begins with `.wh.` says in a layer that something is gone"
    return None


TARGET_PATH = Format(
    name="target path",
    expected="a path in the image that begins with `/`, without `.` and `..`",
    examples=("/srv/models",),
    pattern=rf"(?:/(?!\.\.?(?:/|$)|\.wh\.){_PART}+)+",
    explain=_explain_target,
)


def _explain_url_path(text: str) -> str | None:
    if re.match(r"https?://", text):
        return "leave out the scheme, host and port; envbuild knows where the service runs"
    if not text.startswith("/"):
        return f"write `/{text}`" if re.fullmatch(r"[!-~]+", text) else None
    if "#" in text:
        return "the part from `#` on is never sent to a server"
    return "other characters are written percent-encoded, such as `%20` for a space"


URL_PATH = Format(
    name="URL path",
    expected="a URL's path that begins with `/`, with its query if it has one",
    examples=("/score", "/score?verbose=1"),
    pattern=r"/[!\u0022$-~]*",
    explain=_explain_url_path,
)
