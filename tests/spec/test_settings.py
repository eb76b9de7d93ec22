"""Settings of a repository: file, variables, and what is wrong in either."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuild.errors import SpecError
from envbuild.spec.settings import RegistrySettings, Settings, load_settings, parse_settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("ENVBUILD_REPOSITORY", "ENVBUILD_MIRRORS"):
        monkeypatch.delenv(variable, raising=False)


def refuse(root: Path) -> SpecError:
    with pytest.raises(SpecError) as caught:
        load_settings(root)
    return caught.value


@pytest.mark.parametrize(
    "text",
    [None, "", "[project]\nname = 'x'\n", "[tool.other]\na = 'envbuild'\n", "tool = 'envbuild'"],
)
def test_without_a_table_there_are_defaults(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "pyproject.toml").write_text(text)
    assert load_settings(tmp_path) == Settings()


def test_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("""
[tool.envbuild]
repository = "localhost:5000/ml"
default-environment = "cpu"
debian-archives = ["https://mirror.example.com/debian"]
conda = "micromamba"
[tool.envbuild.mirrors]
"https://conda.example.com/" = ["file:///srv/conda", "https://${TOKEN}@mirror.example.com"]
[tool.envbuild.registries."localhost:5000"]
ca = "tests/ca.pem"
plain-http = true
""")
    assert load_settings(tmp_path) == Settings(
        repository="localhost:5000/ml",
        default_environment="cpu",
        debian_archives=("https://mirror.example.com/debian",),
        conda="micromamba",
        mirrors={
            "https://conda.example.com/": (
                "file:///srv/conda",
                "https://${TOKEN}@mirror.example.com",
            )
        },
        registries={
            "localhost:5000": RegistrySettings(ca=str(tmp_path / "tests/ca.pem"), plain_http=True)
        },
    )


def test_every_problem_has_its_whole_key_and_line(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("""\
[tool.envbuild]
repositry = "localhost:5000/ml"
conda = true
[tool.envbuild.registries."localhost:5000"]
plain_http = 1
""")
    error = refuse(tmp_path)
    assert error.code == "settings.invalid"
    assert [(problem.key, problem.line) for problem in error.problems] == [
        ("tool.envbuild.repositry", 2),
        ("tool.envbuild.conda", 3),
        ('tool.envbuild.registries."localhost:5000".plain_http', 5),
    ]
    assert "did you mean `repository`?" in str(error)
    assert "did you mean `plain-http`?" in str(error)


def test_table_of_another_type_is_refused() -> None:
    with pytest.raises(SpecError, match=r"expected a table, `\[tool.envbuild\]`"):
        parse_settings(b"[tool]\nenvbuild = 3\n", where="pyproject.toml")


def test_host_without_quotes_is_explained(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.envbuild.registries.registry.example.com]\nca = "ca.pem"\n'
    )
    assert "stands in quotes" in str(refuse(tmp_path))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[tool.envbuild]\nconda = micromamba\n", "settings.syntax"),
        (b"[tool.envbuild]\nconda = '\xe9'\n", "settings.encoding"),
    ],
)
def test_broken_file_is_refused(tmp_path: Path, data: bytes, code: str) -> None:
    (tmp_path / "pyproject.toml").write_bytes(data)
    assert refuse(tmp_path).code == code


def test_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").mkdir()
    assert refuse(tmp_path).code == "settings.unreadable"


def test_variables_have_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[tool.envbuild]\nrepository = "a.example.com/a"\nconda = "mamba"\n'
    )
    monkeypatch.setenv("ENVBUILD_REPOSITORY", "localhost:5000/ci")
    monkeypatch.setenv("ENVBUILD_MIRRORS", '{"https://conda.example.com": ["file:///srv/c"]}')
    assert load_settings(tmp_path) == Settings(
        repository="localhost:5000/ci",
        conda="mamba",
        mirrors={"https://conda.example.com": ("file:///srv/c",)},
    )


@pytest.mark.parametrize(
    ("variable", "value", "key"),
    [
        ("ENVBUILD_REPOSITORY", "a b", "ENVBUILD_REPOSITORY"),
        ("ENVBUILD_MIRRORS", "{", "ENVBUILD_MIRRORS"),
        ("ENVBUILD_MIRRORS", "[" * 100_000, "ENVBUILD_MIRRORS"),
        ("ENVBUILD_MIRRORS", "[]", "ENVBUILD_MIRRORS"),
        ("ENVBUILD_MIRRORS", '{"x": []}', "ENVBUILD_MIRRORS.x"),
        ("ENVBUILD_MIRRORS", '{"http://x": [null]}', 'ENVBUILD_MIRRORS."http://x"[0]'),
    ],
)
def test_wrong_variable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, key: str
) -> None:
    monkeypatch.setenv(variable, value)
    error = refuse(tmp_path)
    assert error.code == "settings.invalid"
    assert [problem.key for problem in error.problems] == [key]
    assert "expected" in str(error)


def test_secret_of_a_mirror_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVBUILD_MIRRORS", '{"http://x": ["https://robot:hunter2@y.example.com"]}')
    assert "hunter2" not in str(refuse(tmp_path))
