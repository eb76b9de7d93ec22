"""The scripts by which a shell enters a prefix and leaves it again."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Final

__all__ = ["write_activation"]

_WORD: Final = re.compile("@[A-Z]+@")
_POSIX: Final = """\
# Use it with `. bin/activate` in sh, bash or zsh; `deactivate` undoes it.
deactivate () {
    if [ -n "${_ENVBUILD_PREFIX:-}" ]; then
@LEAVE@        PATH="$_ENVBUILD_OLD_PATH"
        export PATH
        if [ -n "${_ENVBUILD_OLD_PS1:-}" ]; then PS1="$_ENVBUILD_OLD_PS1"; fi
        if [ -n "${_ENVBUILD_OLD_CONDA:-}" ]; then
            CONDA_PREFIX="$_ENVBUILD_OLD_CONDA"
            export CONDA_PREFIX
        else
            unset CONDA_PREFIX
        fi
        unset VIRTUAL_ENV VIRTUAL_ENV_PROMPT
        unset _ENVBUILD_PREFIX _ENVBUILD_OLD_PATH _ENVBUILD_OLD_PS1 _ENVBUILD_OLD_CONDA
        hash -r 2>/dev/null || :
    fi
    if [ "${1:-}" != "again" ]; then unset -f deactivate; fi
}
deactivate again
_ENVBUILD_PREFIX=@PREFIX@
_ENVBUILD_OLD_PATH="$PATH"
_ENVBUILD_OLD_PS1="${PS1:-}"
_ENVBUILD_OLD_CONDA="${CONDA_PREFIX:-}"
VIRTUAL_ENV="$_ENVBUILD_PREFIX"
VIRTUAL_ENV_PROMPT=@NAME@
CONDA_PREFIX="$_ENVBUILD_PREFIX"
PATH="$_ENVBUILD_PREFIX/bin:$PATH"
export VIRTUAL_ENV VIRTUAL_ENV_PROMPT CONDA_PREFIX PATH
unset PYTHONHOME
if [ -n "${PS1:-}" ]; then PS1="($VIRTUAL_ENV_PROMPT) $PS1"; fi
@ENTER@hash -r 2>/dev/null || :
"""

_FISH: Final = """\
# Use it with `source bin/activate.fish`; `deactivate` undoes it.
function deactivate
    if set -q _ENVBUILD_OLD_PATH
        set -gx PATH $_ENVBUILD_OLD_PATH
        set -e _ENVBUILD_OLD_PATH
        set -e VIRTUAL_ENV
        set -e VIRTUAL_ENV_PROMPT
    end
    if test "$argv[1]" != again
        functions -e deactivate
    end
end
deactivate again
set -g _ENVBUILD_OLD_PATH $PATH
set -gx VIRTUAL_ENV @PREFIX@
set -gx VIRTUAL_ENV_PROMPT @NAME@
set -gx PATH $VIRTUAL_ENV/bin $PATH
set -e PYTHONHOME
"""


def write_activation(work: Path, *, prefix: Path, name: str) -> None:
    """Write the scripts into the prefix that lies at `work` and will be at `prefix`.

    They name the prefix itself, not the link to it: a shell stays in the environment that it
    entered when the link moves on. In sh, bash and zsh they run what conda packages bring for it.
    """
    words = {
        "@PREFIX@": shlex.quote(str(prefix)),
        "@NAME@": shlex.quote(name),
        "@ENTER@": _source(work, prefix, "activate.d", indent=0),
        "@LEAVE@": _source(work, prefix, "deactivate.d", indent=8),
    }
    (work / "bin").mkdir(exist_ok=True)
    for file, template in (("activate", _POSIX), ("activate.fish", _FISH)):
        script = _WORD.sub(lambda found: words[found[0]], template)
        (work / "bin" / file).write_text(script, encoding="utf-8")


def _source(work: Path, prefix: Path, folder: str, *, indent: int) -> str:
    scripts = sorted(work.glob(f"etc/conda/{folder}/*.sh"))
    places = (shlex.quote(str(prefix / script.relative_to(work))) for script in scripts)
    return "".join(f"{' ' * indent}. {place}\n" for place in places)
