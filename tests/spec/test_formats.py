"""The formats: what is right, what is wrong, and what is said of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import InvalidRequirement, Requirement

from envbuild.spec import formats
from envbuild.spec.formats import (
    CHANNEL,
    CONDA_SPEC,
    DURATION,
    IMAGE_BASE,
    INDEX_URL,
    MEMORY,
    OUTPUT_PATH,
    PYTHON,
    RELATIVE_PATH,
    REPOSITORY,
    REQUIREMENT,
    URL_PATH,
    Format,
    find_conda_name,
    find_pip_name,
    hide_secrets,
    parse_base,
    parse_duration,
    parse_memory,
    parse_python,
)
from tests.spec.strategies import TEXTS

ALL = {n: f for n in formats.__all__ if isinstance(f := getattr(formats, n), Format)}

RIGHT = {
    "CHANNEL": ["nvidia", "defaults", "http://localhost:8000/c", "file:///srv/c", "a.b/label/x-y"],
    "CONDA_SPEC": [
        "numpy", "NumPy", "r-base", "_openmp_mutex", "ruamel.yaml >=0.17,<0.19", "python_abi=3.11",
        "numpy=2", "numpy==2.0.1", "numpy 2.0.1 py311*_0", "numpy=2.0=py311_0", "numpy >=2", "x 1",
        "numpy >= 2.0, < 3", "numpy >=1.26|<1.20", "numpy ~=2.0", "numpy !=2.0.1", "numpy *",
        "numpy * *mkl*", "mkl-service 2!1.0", "conda-forge/linux-64::numpy 2.*", "numpy[md5=ab12]",
        'numpy[version=">=2,<3"]', "numpy>2[build='py*']", "tzdata 2024a", "libx11 1.8+dfsg",
    ],
    "IMAGE_BASE": [
        "debian:sid", "ubuntu", "ubuntu:24.04", "nvidia/cuda:12.4.1-runtime-ubuntu22.04",
        "localhost/a", "localhost:5000/a/b:c", "debian-custom:1", "my/debian:12",
        "docker.io/library/debian:bookworm-slim", "a.example.com/b@sha256:" + "0" * 64,
    ],
    "REPOSITORY": ["localhost:5000", "localhost/a", "registry:5000/a", "10.0.0.1:5000/a/b_c-d"],
    "PYTHON": ["=3.11", "==3.11.7", ">=3.11.0,<3.12", ">= 3.11, < 3.12", "=3.11.*", "3.9.18"],
    "RELATIVE_PATH": ["./a", "a/", "a//b", "a b/ü.py", "..a/b..", "a/.../b", ".hidden", "a~"],
    "OUTPUT_PATH": ["./a", "a/", ".a", "..."],
    "REQUIREMENT": [
        "a", "A.b-c_d", "a==1.*", "a >= 1 , < 2", "a~=1.2", "a[b,c]>=1", "a===1.0-odd", "a==1.0rc1",
        "a>=1.0.post1", 'a; sys_platform == "linux"', "a (>=1,<2)",
    ],
    "URL_PATH": ["/", "/a%20b?c=d&e", "/(a)/~b;c"],
    "INDEX_URL": ["https://${USER}:${TOKEN}@h/s", "http://[::1]:8080/s", "https://${HOST}/s/"],
    "MEMORY": ["1k", "1t", "1024m"],
    "DURATION": ["1s", "365d"],
    "USER": ["0", "65532:65532"],
    "LINE": ["", "ünï\tcode"],
    "DEBIAN_PACKAGE": ["g++", "libstdc++6", "0ad", "python3.11-minimal"],
    "LABEL": ["a", "envbuild", "com.example/a_b-c"],
    "HEADER": ["Accept", "X-1"],
}  # fmt: skip

WRONG = {
    "CHANNEL": ["", " ", "a b", "a//b", "/srv/c", "https://u:p@h/c", "https://h/t/abc/c"],
    "CONDA_SPEC": [
        "", " numpy", "numpy ", "numpy scipy", "numpy,scipy", "numpy >=", "-c x", "a::b::c",
        "numpy\n", "numpy;x", "numpy[]", "numpy[version]", "http://h/x.conda", "x.tar.bz2", "*",
    ],
    "IMAGE_BASE": [
        "", "debian", "debian:", "debian:12", "debian:bookworm-slim", "Debian:bookworm", "a b",
        "a:", "a@sha256:12", "docker://a", "https://h/a", "a/", "/a", "A/b",
        "debian@sha256:" + "0" * 64,
    ],
    "REPOSITORY": ["", "a", "a/b", "localhost:5000/a:b", "h.example.com/A", "https://h/a", "h.de/"],
    "PYTHON": ["", "3", "3.*", "2.7", "4.0", ">=3.11", "<3.12", "3.11.7.1", "3.11,3.12", "py311",
               "==3.11", "~=3.11", ">=3.11,<3.13", ">=3.12,<3.12", "3.11\n", "!=3.10", "3.12.0rc1"],
    "RELATIVE_PATH": ["", "/a", "~/a", "..", "a/..", "a/../b", "a\\b", "C:/a", "a\nb", "*.py",
                      "a?"],
    "OUTPUT_PATH": ["", ".", "./", "././", "../a", "/a"],
    "REQUIREMENT": [
        "", "-r a.txt", "--pre", "a @ https://h/a.whl", "https://h/a.whl", "./a", "a/b", "a.whl",
        "a=1", "a 1", "a b", "a>=", "a;", "a; x", "a\\b", "git+ssh://h/a", "~/a", "C:\\a",
        "a>=1 # b", "file:///a.whl", "a==1 --hash=sha256:00", "a>=1;\n",
    ],
    "URL_PATH": ["", "a", "http://h/a", "/a#b", "/a b", "/ü", "/a\n"],
    "INDEX_URL": [
        "", "h/s", "ftp://h/s", "https://", "https://u:p@h/s", "https://token@h/s", "https://$T@h/s",
        "https://:p@h/s", "https://${A}:p@h/s", "https://h/s?token=a", "https://h/s#a",
        "https://h/a b", "https://${1}@h/s", "https://u:p@w@h/s",
    ],
    "MEMORY": ["", "4", "4 g", "4G", "4gb", "0g", "-1g", "1.5g", "g", "4g\n"],
    "DURATION": ["", "90", "1.5h", "0s", "1w", "1h30m", "s", "90 s", "90s\n"],
    "USER": ["", "me", "1000:", ":1000", "-1", "1000:users", "10000000000"],
    "LINE": ["a\nb", "a\rb", "a\n"],
    "DEBIAN_PACKAGE": ["", "a", "Git", "git=1", "git:amd64", "a_b", "x.deb", "git\n"],
    "LABEL": ["", "envbuild.x", "a b", "a=b"],
    "HEADER": ["", "a b", "a:b", "ä"],
    "VERSION": ["", ".", "1.", "v1", "1.0a"],
    "ENVIRONMENT_VARIABLE": ["", "1A", "A-B", "A=B", "Ä", "A\n"],
    "ENVIRONMENT_NAME": ["", "-a", "a-", "a--b", "A", "a_b", "a.b", "ä"],
    "ABSOLUTE_PATH": ["", "a", "/", "/a/../b", "/a//b", "/a\n"],
    "SUITE": ["", "12", "Bookworm", "bookworm-slim"],
    "REGISTRY_HOST": ["", "registry", "https://h.example.com", "h.example.com/a"],
    "PLATFORM": ["", "linux", "linux-64 "],
}  # fmt: skip


def cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(name, text) for name, texts in table.items() for text in texts]


@pytest.mark.parametrize(
    ("name", "text"), cases({n: [*f.examples, *RIGHT.get(n, ())] for n, f in ALL.items()})
)
def test_right_text_is_taken(name: str, text: str) -> None:
    assert ALL[name].check(text) is None


@pytest.mark.parametrize(("name", "text"), cases(WRONG))
def test_wrong_text_is_refused_with_an_expectation_and_an_example(name: str, text: str) -> None:
    message = ALL[name].check(text)
    assert message is not None
    assert message.startswith(f"expected {ALL[name].expected}, such as `{ALL[name].example}`, not ")
    assert not message.endswith(".")
    assert "\n" not in message


@given(st.sampled_from(sorted(ALL)), TEXTS)
def test_any_text_gets_an_answer(name: str, text: str) -> None:
    message = ALL[name].check(text)
    assert message is None or message.startswith("expected ")


@given(st.text("ab1.=<>!~,;[]*- \"'@:/#()", max_size=14))
def test_a_requirement_that_is_taken_is_one(text: str) -> None:
    """The quick way to accept must never accept what pip's own parser refuses."""
    if REQUIREMENT.check(text) is None:
        try:
            wanted = Requirement(text)
        except InvalidRequirement:  # pragma: no cover
            pytest.fail(f"{text!r} was taken")
        assert wanted.url is None
        assert find_pip_name(text) == find_pip_name(wanted.name)


@pytest.mark.parametrize(
    "hostile",
    ["a" * 5000, "/" * 5000, "a/" * 5000, "${" * 5000, "https://h" + "/t/" * 3000, "a-" * 5000,
     "3." * 5000, "[" * 5000, "a " * 5000, "a," * 5000, "a=" * 5000, "../" * 3000,
     "a[" + "b=c," * 2000],
)  # fmt: skip
@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", sorted(ALL))
def test_long_text_gets_an_answer_too(name: str, hostile: str) -> None:
    message = ALL[name].check(hostile)
    assert message is None or len(message) < 1000
    message = ALL[name].check(hostile + "\n")
    assert message is None or len(message) < 1000


@pytest.mark.parametrize(
    ("wanted", "text", "advice"),
    [
        (MEMORY, "4 GiB", "write `4g`"),
        (DURATION, "3 Minutes", "write `3m`"),
        (PYTHON, ">=3.9", "can't be left open"),
        (PYTHON, "==3.11", "write `3.11.*`"),
        (REQUIREMENT, "-r requirements.txt", "requirement files are not supported"),
        (REQUIREMENT, "-e .", "`pip.local`"),
        (REQUIREMENT, "numpy=1.26", "`numpy==1.26`"),
        (CONDA_SPEC, "uvicorn[standard]", "`pip.dependencies`"),
        (CHANNEL, "nodefaults", "leave it out"),
        (IMAGE_BASE, "debian:12", "`docker.io/library/debian:12`"),
        (REPOSITORY, "me/envs", "`docker.io/me/envs`"),
        (RELATIVE_PATH, "a\\b", "`a/b`"),
        (OUTPUT_PATH, ".", "whole source"),
        (URL_PATH, "score", "write `/score`"),
        (INDEX_URL, "https://u:p@h/s", "`${TOKEN}`"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_frequent_mistake_gets_advice(wanted: Format, text: str, advice: str) -> None:
    assert advice in (wanted.check(text) or "")


@pytest.mark.parametrize(
    "text",
    [
        "https://robot:hunter2@pkgs.example.com/simple",
        "https://hunter2@pkgs.example.com/simple",
        "https://robot:hun/hunter2@pkgs.example.com/simple",
        "https://robot:p@hunter2@pkgs.example.com/simple",
        "https://pkgs.example.com/t/hunter2/team",
        "https://pkgs.example.com/simple?api_key=hunter2&x=1",
        "https://pkgs.example.com/simple?access-token=hunter2",
        "--index-url=https://robot:hunter2@pkgs.example.com/simple",
        "acme @ git+https://robot:hunter2@git.example.com/acme",
    ],
)
def test_secret_is_never_shown(text: str) -> None:
    assert "hunter2" not in hide_secrets(text)
    for wanted in (INDEX_URL, CHANNEL, REQUIREMENT, CONDA_SPEC, IMAGE_BASE, REPOSITORY):
        message = wanted.check(text)
        assert message is not None
        assert "hunter2" not in message


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("15m", 900.0), ("2h", 7200.0), ("30d", 2592000.0)]
)
def test_duration_has_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("1k", 1024), ("512m", 536870912), ("4g", 4294967296), ("1t", 1 << 40)]
)
def test_memory_has_bytes(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    ("text", "minor", "conda", "narrow"),
    [
        ("3.11", "3.11", "3.11.*", False),
        ("3.11.*", "3.11", "3.11.*", False),
        ("=3.11", "3.11", "3.11.*", False),
        ("==3.11.*", "3.11", "3.11.*", False),
        (">=3.11,<3.12", "3.11", "3.11.*", False),
        (">= 3.11.0, < 3.12", "3.11", "3.11.*", False),
        ("3.11.7", "3.11", "3.11.7", True),
        ("==3.11.7", "3.11", "3.11.7", True),
        (">=3.11.4,<3.12", "3.11", ">=3.11.4,<3.12", True),
        ("~=3.11.4", "3.11", ">=3.11.4,<3.12", True),
        ("3.9.18", "3.9", "3.9.18", True),
    ],
)
def test_python_has_one_minor_version(text: str, minor: str, conda: str, narrow: bool) -> None:
    request = parse_python(text)
    assert (request.minor, request.conda, request.narrow) == (minor, conda, narrow)


def test_base_is_taken_apart() -> None:
    assert parse_base("scratch").kind == "scratch"
    assert parse_base("debian:trixie").suite == "trixie"
    assert parse_base("docker.io/library/debian:12").reference == "docker.io/library/debian:12"


@pytest.mark.parametrize("parse", [parse_duration, parse_memory, parse_python, parse_base])
def test_parsing_another_text_is_a_bug_that_shows(parse: object) -> None:
    assert callable(parse)
    with pytest.raises(ValueError, match="expected"):
        parse("no such thing")


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("numpy 2.*", "numpy"),
        ("NumPy", "numpy"),
        ("conda-forge/linux-64::ruamel.yaml>=0.17", "ruamel.yaml"),
        ("_openmp_mutex=*=*gnu", "_openmp_mutex"),
        ("pytorch[version='>=2', channel='a::b']", "pytorch"),
    ],
)
def test_conda_spec_has_a_name(spec: str, name: str) -> None:
    assert find_conda_name(spec) == name
