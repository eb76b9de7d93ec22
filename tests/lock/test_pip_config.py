"""pip's configuration as envbuild reads it is what pip itself goes by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from envbuild.errors import ToolError
from envbuild.lock import pip_config
from envbuild.lock.pip_config import list_settings

FILES = {
    "xdg-1/pip/pip.conf": "[global]\nindex_url = https://one.example/simple\ntimeout = 1\n",
    "xdg-2/pip/pip.conf": "[global]\n--timeout = 2\n[install]\nno-deps = yes\n",
    "home/.pip/pip.conf": "[global]\ntimeout = 3\ncert = /ü\n[download]\nretries: 7\n",
    "config/pip/pip.conf": (
        "[GLOBAL]\nx = 1\n[global]\nEXTRA-index-url =\n  a\n  b # c\nproxy = %(x)s\ntimeout = 0\n"
    ),
    "named.conf": "[global]\ntimeout = 9\n; no\n[freeze]\ntimeout = 10\n",
}
PLACES = {"HOME": "home", "XDG_CONFIG_HOME": "config", "XDG_CONFIG_DIRS": "xdg-1{sep}{root}/xdg-2"}


# `pip config list` prints a key once for each file that has it, by the files' names.
ASK = """\
import json
from pip._internal.configuration import Configuration
pip = Configuration(isolated=False)
pip.load()
print(json.dumps({key: value for _, found in pip.items() for key, value in found.items()}))
"""


def _ask_pip() -> Mapping[str, str]:
    command = [sys.executable, "-c", ASK]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    answer: dict[str, str] = json.loads(text)
    return answer


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"PIP_CONFIG_FILE": "{root}/named.conf", "PIP_INDEX_URL": "", "PIP_NO_DEPS": "1"},
        {"PIP_CONFIG_FILE": "{root}/missing.conf", "PIP_VERSION": "1", "PIP_EXTRA__X": "y"},
        {"PIP_CONFIG_FILE": os.devnull, "PIP_TIMEOUT": "4"},
        {"XDG_CONFIG_HOME": "", "XDG_CONFIG_DIRS": ""},
    ],
)
def test_it_is_what_pip_says(
    variables: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for path, text in FILES.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    for name, path in PLACES.items():
        monkeypatch.setenv(name, f"{tmp_path}/{path}".format(sep=os.pathsep, root=tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(root=tmp_path))
    monkeypatch.setattr(pip_config, "_ask_pip", lambda logs: {})
    assert dict(list_settings(tmp_path)) == dict(_ask_pip())


def test_pip_says_what_is_wrong_with_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad.conf").write_text("index-url = https://one.example\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "bad.conf"))
    with pytest.raises(ToolError) as caught:
        list_settings(tmp_path / "logs")
    assert caught.value.code == "tool.failed"
