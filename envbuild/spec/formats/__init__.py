"""All formats that narrow a text of a spec or of the settings, each with its words and examples."""

from __future__ import annotations

from envbuild.spec.formats.base import Format, Items, Range, hide_secrets, show_text
from envbuild.spec.formats.images import (
    IMAGE_BASE,
    LABEL,
    REGISTRY_HOST,
    REPOSITORY,
    SUITE,
    USER,
    Base,
    parse_base,
)
from envbuild.spec.formats.packages import (
    CONDA_SPEC,
    DEBIAN_PACKAGE,
    REQUIREMENT,
    find_conda_name,
    find_pip_name,
    has_marker,
)
from envbuild.spec.formats.paths import ABSOLUTE_PATH, OUTPUT_PATH, RELATIVE_PATH, URL_PATH
from envbuild.spec.formats.pythons import PYTHON, PythonRequest, parse_python
from envbuild.spec.formats.quantities import (
    DURATION,
    MEMORY,
    VERSION,
    parse_duration,
    parse_memory,
)
from envbuild.spec.formats.urls import ARCHIVE_URL, CHANNEL, INDEX_URL
from envbuild.spec.formats.words import (
    ARCHSPEC,
    ARGUMENT,
    COMMAND_WORD,
    ENVIRONMENT_NAME,
    ENVIRONMENT_VARIABLE,
    EXECUTABLE,
    HEADER,
    HEADER_VALUE,
    LINE,
    PLATFORM,
)

__all__ = [
    "ABSOLUTE_PATH",
    "ARCHIVE_URL",
    "ARCHSPEC",
    "ARGUMENT",
    "CHANNEL",
    "COMMAND_WORD",
    "CONDA_SPEC",
    "DEBIAN_PACKAGE",
    "DURATION",
    "ENVIRONMENT_NAME",
    "ENVIRONMENT_VARIABLE",
    "EXECUTABLE",
    "HEADER",
    "HEADER_VALUE",
    "IMAGE_BASE",
    "INDEX_URL",
    "LABEL",
    "LINE",
    "MEMORY",
    "OUTPUT_PATH",
    "PLATFORM",
    "PYTHON",
    "REGISTRY_HOST",
    "RELATIVE_PATH",
    "REPOSITORY",
    "REQUIREMENT",
    "SUITE",
    "URL_PATH",
    "USER",
    "VERSION",
    "Base",
    "Format",
    "Items",
    "PythonRequest",
    "Range",
    "find_conda_name",
    "find_pip_name",
    "has_marker",
    "hide_secrets",
    "parse_base",
    "parse_duration",
    "parse_memory",
    "parse_python",
    "show_text",
]
