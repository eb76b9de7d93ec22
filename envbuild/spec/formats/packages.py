"""What asks for a package: pip requirements, conda match specs, names of Debian packages."""

from __future__ import annotations

import re
from typing import Final

from envbuild.spec.formats.base import Format
from envbuild.spec.formats.direct import explain_direct, parse_direct, requirement_pattern

__all__ = [
    "CONDA_SPEC",
    "DEBIAN_PACKAGE",
    "LIMIT",
    "REQUIREMENT",
    "find_conda_name",
    "find_pip_name",
    "has_marker",
]

# PEP 508's name, and the common requirements that need no parser: versions without letters that
# mean something, such as `1.0.post1`, are left to `packaging`.
_PIP_NAME: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_PIP_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)*"
_PIP_CLAUSE: Final = (
    rf"(?:(?:[<>]=?|~=(?= ?[0-9]+\.)) ?{_PIP_NUMBER}|(?:==|!=) ?{_PIP_NUMBER}(?:\.\*)?)"
)
_PIP_PLAIN: Final = (
    rf"{_PIP_NAME}(?:\[{_PIP_NAME}(?:, ?{_PIP_NAME})*\])? ?(?:{_PIP_CLAUSE}(?:, ?{_PIP_CLAUSE})*)?"
)
_LISTED: Final = "list the packages here, one by one"


def _explain_option(text: str) -> str:
    option = text.split(maxsplit=1)[0].split("=", maxsplit=1)[0]
    if option in ("-r", "--requirement"):
        return f"requirement files are not supported; {_LISTED}"
    if option in ("-e", "--editable"):
        return "name the folder in `pip.local`; with `--target local` it is editable"
    if option in ("-i", "--index-url", "--extra-index-url"):
        return "write the index in `pip.index-url` or `pip.extra-index-urls`"
    return f"options of pip are not supported; {_LISTED}"


def _explain_requirement(text: str) -> str | None:
    if text.startswith("-"):
        return _explain_option(text)
    if re.fullmatch(_PIP_PLAIN, text):
        return None
    direct = parse_direct(text)
    if direct is not None:
        return _check_marker(direct.marker)
    if wrong := explain_direct(text):
        return wrong
    if re.search(r"(?:^|\s)#", text):
        return "leave out the comment"
    if found := re.fullmatch(rf"({_PIP_NAME})\s*=\s*([0-9][^\s=]*)", text):
        return f"pip compares with two signs: `{found[1]}=={found[2]}`"
    if found := re.fullmatch(rf"({_PIP_NAME})\s+(v?[0-9][\w.*]*)", text):
        return f"write the comparison: `{found[1]}=={found[2]}`"
    if re.fullmatch(rf"{_PIP_NAME}(?:,? {_PIP_NAME})+", text):
        return "each package is a text of its own"
    return _parse_fully(text)


def _parse_fully(text: str) -> str | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(text)
    except InvalidRequirement as error:
        return f"pip would say: {str(error).splitlines()[0]}"
    return None


def _check_marker(marker: str) -> str | None:
    return _parse_fully(f"a; {marker}") if marker else None


REQUIREMENT = Format(
    name="pip requirement",
    expected="a requirement: a package's name, and what its version may be",
    examples=(
        "httpx>=0.27",
        "torch",
        "uvicorn[standard]>=0.30,<1",
        'tomli>=2; python_version < "3.11"',
        "./wheels/acme-1.0-py3-none-any.whl",
        "acme[plots] @ file:./wheels/acme-1.0-py3-none-any.whl",
        "acme @ git+https://${TOKEN}@code.example.com/team/acme.git@v1.0#subdirectory=python",
    ),
    pattern=requirement_pattern(
        rf"(?!.*\.(?:whl|zip|tar\.gz|tar\.bz2|tgz)$){_PIP_NAME}(?![\w:/\\@])(?!\s*@)[^@\u0000-\u001f]*"
    ),
    explain=_explain_requirement,
    exact=False,
)


def _explain_limit(text: str) -> str | None:
    if parse_direct(text) is not None or explain_direct(text):
        return "only versions are limited here; where a package comes from, `dependencies` says"
    if re.match(rf"{_PIP_NAME}\s*\[", text):
        return "leave out the extras: what they need has names of its own"
    return _explain_requirement(text)


LIMIT = Format(
    name="limit on a version",
    expected="a package's name, and what its version may be",
    examples=("numpy<2", "urllib3", 'tomli>=2; python_version < "3.11"'),
    pattern=(
        rf"(?!.*\.(?:whl|zip|tar\.gz|tar\.bz2|tgz)$){_PIP_NAME}(?![\w:/\\@])(?!\s*[@\[])"
        r"[^@\u0000-\u001f]*"
    ),
    explain=_explain_limit,
    exact=False,
)

# A version and a build after the name, loosely: the solver knows the rest. Without an operator a
# version begins with a digit, so that two packages in one text are not taken for one.
_CONDA_NAME: Final = r"_?[A-Za-z0-9][A-Za-z0-9_.-]*"
_CONDA_WORD: Final = r"[A-Za-z0-9_.*+!^$-]+"
_CONDA_OPERATOR: Final = r"(?:[<>]=?|={1,3}|!==?|~=)"
_CONDA_MORE: Final = rf"(?: ?[,|] ?{_CONDA_OPERATOR}? ?{_CONDA_WORD})*"
_CONDA_VERSION: Final = rf"(?: ?{_CONDA_OPERATOR} ?{_CONDA_WORD}| [0-9*]{_CONDA_WORD}| [0-9*])"
_CONDA_BUILD: Final = rf"[ =]{_CONDA_WORD}"
_CONDA_FIELD: Final = r"[a-z_0-9]+ ?= ?(?:'[^']*'|\u0022[^\u0022]*\u0022|[^'\u0022,\[\] ]+)"
_CONDA_BRACKET: Final = rf" ?\[{_CONDA_FIELD}(?:, ?{_CONDA_FIELD})*\]"
_CONDA_CHANNEL: Final = r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+)*::"


def _explain_conda(text: str) -> str | None:
    if text.startswith("__"):
        return "what the machine offers is written in `[conda.virtual-packages]`"
    if re.search(r"\.(?:conda|tar\.bz2)(?:#.*)?$", text):
        return "single archives are not supported; name the package and its channel"
    if "://" in text:
        return "write the channel's URL in `conda.channels`, and here the package's name"
    if text.startswith("-"):
        return "options are not supported; channels are listed in `conda.channels`"
    if text.startswith("pip:"):
        return "packages for pip are listed in `pip.dependencies`"
    if ";" in text:
        return "conda knows no markers"
    if found := re.fullmatch(r"([\w.-]+)\[[A-Za-z, -]+\].*", text):
        return f"extras are pip's; write `{found[1]}`, or move it to `pip.dependencies`"
    if re.fullmatch(r"[\w.-]+(?:,? [A-Za-z][\w.-]*)+", text):
        return "each package is a text of its own"
    if re.match(r"[\w.-]*[*?]", text):
        return "a name has no wildcards; only a version or a build has"
    return None


CONDA_SPEC = Format(
    name="conda match spec",
    expected="a match spec: a package's name, and what its version may be",
    examples=(
        "numpy 2.*",
        "scikit-learn",
        "pandas >=2.1,<3",
        "pytorch=2.4=cpu_*",
        "conda-forge::blas",
        "pytorch[version='>=2.4', build='cuda*']",
    ),
    pattern=(
        rf"(?!.*\.(?:conda|tar\.bz2)$)(?:{_CONDA_CHANNEL})?{_CONDA_NAME}"
        rf"(?:{_CONDA_VERSION}{_CONDA_MORE}(?:{_CONDA_BUILD})?)?(?:{_CONDA_BRACKET})?"
    ),
    explain=_explain_conda,
)


def _explain_debian(text: str) -> str | None:
    if re.search(r"[=<>~ (]", text):
        return "`nox -s lock` chooses and keeps the version; write the name only"
    if ":" in text:
        return "leave out the architecture; it follows from `platforms`"
    if text != text.lower():
        return f"names are in lower case: `{text.lower()}`"
    if text.endswith(".deb"):
        return "archives are not supported; write the name of a package of the suite"
    return None


DEBIAN_PACKAGE = Format(
    name="Debian package",
    expected="the name of a Debian package",
    examples=("libgomp1", "git"),
    pattern=r"(?!.*\.deb$)[a-z0-9][a-z0-9+.-]+",
    explain=_explain_debian,
)


def find_pip_name(requirement: str) -> str:
    """Return the normalised name (PEP 503) of a `REQUIREMENT`."""
    if "/" in requirement and (direct := parse_direct(requirement)):
        return direct.name
    found = re.match(_PIP_NAME, requirement)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""


def find_conda_name(spec: str) -> str:
    """Return the name of a `CONDA_SPEC`, in lower case as channels have it."""
    found = re.match(_CONDA_NAME, spec.partition("[")[0].rpartition("::")[2])
    return found[0].lower() if found else ""


def has_marker(requirement: str) -> bool:
    """Say whether a `REQUIREMENT` holds only on some machines."""
    return ";" in requirement
