"""The request digest: moves with what a lock is made from, and with nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envbuild.lock.request import SECTIONS, digest_request
from envbuild.spec.model import (
    Conda,
    EnvSpec,
    Image,
    ImageSource,
    Pip,
    PlatformExtra,
    PlatformPip,
    System,
    VirtualPackages,
)
from envbuild.spec.model_running import Resources, Smoke, Train
from tests.rig.locks import make_spec

BASE_SPEC = make_spec()


def _moved(old: EnvSpec, new: EnvSpec) -> set[str]:
    before, after = digest_request(old), digest_request(new)
    return {section for section in SECTIONS if before.get(section) != after.get(section)}


def _pip(*requirements: str) -> Mapping[str, str]:
    return digest_request(make_spec(pip=Pip(dependencies=requirements)))


def _conda(*specs: str) -> Mapping[str, str]:
    return digest_request(make_spec(conda=Conda(dependencies=specs)))


# Every field of a spec is decided on: which section it moves, or that it moves none.

IN: dict[str, tuple[str, Any]] = {
    "platforms": ("platforms", ("linux-64", "linux-aarch64")),
    "python": ("python", "3.12.*"),
    "exclude_newer": ("exclude-newer", "2026-01-31"),
    "conda.channels": ("conda", ("conda-forge", "team")),
    "conda.dependencies": ("conda", ("numpy 2.*", "scipy >=1.14,<3")),
    "conda.virtual_packages.glibc": ("conda", "2.36"),
    "conda.virtual_packages.cuda": ("conda", "12.4"),
    "conda.virtual_packages.linux": ("conda", "6.1"),
    "conda.virtual_packages.osx": ("conda", "13.0"),
    "conda.virtual_packages.archspec": ("conda", "x86_64_v3"),
    "pip.dependencies": ("pip", ("httpx>=0.28", "rich")),
    "pip.index_url": ("pip", "https://pkgs.example.com/simple"),
    "pip.extra_index_urls": ("pip", ()),
    "pip.resolver": ("pip", "uv"),
    "pip.build_from_source": ("pip", ("rich",)),
    "pip.constraints": ("pip", ("urllib3<3",)),
    "pip.overrides": ("pip", ("urllib3<3",)),
    "pip.local": ("pip", ("src/acme",)),
    "system.packages": ("system", ("git",)),
    "system.suite": ("system", "trixie"),
    "platform": (
        "pip",
        {"linux-64": PlatformExtra(pip=PlatformPip(dependencies=("rich",)))},
    ),
    "image.base": ("base", "registry.example.com/base:1"),
    "image.dockerfile": ("base", "docker/Dockerfile"),
}

OUT: dict[str, Any] = {
    "description": "another text",
    "extends": "base",  # what it brings is in the other fields
    "conda.without": ("scipy",),  # what it takes away isn't
    "pip.without": ("rich",),
    "system.without": ("curl",),
    "image.repository": "registry.example.com/team",
    "image.user": "nonroot",
    "image.interpreter": "/opt/conda/bin/python",
    "image.labels": {"team": "speech"},
    "image.source": (ImageSource(path="models", target="/srv/models"),),
    "image.bytecode": False,
    "image.context": "docker",
    "image.build_args": {"VERSION": "1"},
    "image.build_secrets": {"token": "TOKEN"},
    "image.build_target": "runtime",
    "image.user_managed": True,
    "conda.link_scripts": "run",
    "env": {"MESSAGE": "hello"},
    "train": Train(script="train.py", resources=Resources(cpus=2.0)),
    "smoke": Smoke(entry_script="score.py"),
}


def _leaves(kind: type, *, whole: frozenset[str] = frozenset({"train", "smoke"})) -> Iterator[str]:
    """Give the dotted name of every field of a spec, tables that are `whole` as one."""
    hints = get_type_hints(kind)
    for field in fields(kind):
        inner = hints[field.name]
        options = get_args(inner) if get_origin(inner) in (Union, UnionType) else (inner,)
        tables = [option for option in options if isinstance(option, type) and is_dataclass(option)]
        if tables and field.name not in whole:
            yield from (f"{field.name}.{leaf}" for leaf in _leaves(tables[0]))
        else:
            yield field.name


def _put(value: Any, path: str, new: Any) -> Any:
    head, _, rest = path.partition(".")
    inner = _put(getattr(value, head), rest, new) if rest else new
    return replace(value, **{head: inner})


def test_every_field_of_a_spec_is_decided_on() -> None:
    """A new field of the spec: put it in `IN` and into the request, or in `OUT`."""
    assert not set(IN) & set(OUT)
    assert sorted(_leaves(EnvSpec)) == sorted([*IN, *OUT])
    assert {section for section, _ in IN.values()} == set(SECTIONS)


@pytest.mark.parametrize("path", IN)
def test_a_field_of_the_request_moves_its_section_alone(path: str) -> None:
    section, value = IN[path]
    assert _moved(BASE_SPEC, _put(BASE_SPEC, path, value)) == {section}


@pytest.mark.parametrize("path", OUT)
def test_what_only_counts_at_run_time_moves_nothing(path: str) -> None:
    new = _put(BASE_SPEC, path, OUT[path])
    assert new != BASE_SPEC
    assert _moved(BASE_SPEC, new) == set()


def test_no_conda_differs_from_conda_without_packages() -> None:
    assert _moved(make_spec(conda=None), make_spec(conda=Conda())) == {"conda"}


def test_sections_never_share_a_digest() -> None:
    empty = make_spec(
        platforms=(), conda=None, pip=Pip(), system=System(), image=Image(base="scratch"),
        exclude_newer="2026-01-31",
    )  # fmt: skip
    assert len(set(digest_request(empty).values())) == len(SECTIONS)


# Order


@given(st.permutations(["rich", "httpx>=0.27", "numpy", "a[b,c]>=1"]))
def test_the_order_of_packages_does_not_count(order: list[str]) -> None:
    assert _pip(*order) == _pip("rich", "httpx>=0.27", "numpy", "a[b,c]>=1")


@given(st.permutations(["numpy 2.*", "scipy", "blas * mkl"]))
def test_the_order_of_match_specs_does_not_count(order: list[str]) -> None:
    assert _conda(*order) == _conda("numpy 2.*", "scipy", "blas * mkl")


def test_order_and_repetition_of_platforms_and_system_packages_do_not_count() -> None:
    def spec(platforms: tuple[str, ...], packages: tuple[str, ...]) -> EnvSpec:
        return make_spec(platforms=platforms, system=System(packages=packages))

    one = spec(("linux-64", "osx-64"), ("git", "libgomp1"))
    assert not _moved(one, spec(("osx-64", "linux-64", "osx-64"), ("libgomp1", "git", "git")))


def test_the_order_of_channels_and_indexes_counts() -> None:
    one = make_spec(
        conda=Conda(channels=("a", "b")),
        pip=Pip(extra_index_urls=("https://a.example.com", "https://b.example.com")),
    )
    assert _moved(one, replace(one, conda=Conda(channels=("b", "a")))) == {"conda"}
    urls = ("https://b.example.com", "https://a.example.com")
    assert _moved(one, replace(one, pip=Pip(extra_index_urls=urls))) == {"pip"}


# Spelling

SAME_REQUIREMENTS = [
    ["Flask-SQLAlchemy", "flask_sqlalchemy", "FLASK.SQLALCHEMY ", "flask--sqlalchemy"],
    ["a>=1,<2", "A >= 1, < 2", "a<2,>=1", "a (>=1,<2)", "a ( >= 1 , < 2 )", "a<2,>=1,<2"],
    ["a[x,y]>=1", "a[y, X] >=1", "a [x,y,x]>=1", "a[y,x]>= 1"],
    [
        'a; python_version < "3.11" and extra == "b c"',
        "a ;python_version<'3.11' and extra=='b c'",
    ],
    [
        'a>=1 ; (os_name=="nt" or python_version>="3")',
        "a>=1;( os_name == 'nt' or python_version >= '3' )",
    ],
]

SAME_MATCH_SPECS = [
    ["numpy>=2", "NumPy >=2", "numpy >= 2", "numpy  >=2 "],
    ["numpy >=2,<3", "numpy>=2 , <3", "numpy >= 2, < 3"],
    ["numpy=1.2", "numpy =1.2", "numpy = 1.2"],
    ["numpy ==1.2", "numpy==1.2", "numpy == 1.2"],
    ["numpy 1.2|1.3", "numpy 1.2 | 1.3"],
    ["numpy 1.2 py*", "numpy  1.2  py*"],
]


@pytest.mark.parametrize("spellings", SAME_REQUIREMENTS, ids=lambda group: group[0])
def test_the_spelling_of_a_requirement_does_not_count(spellings: list[str]) -> None:
    assert len({_pip(text)["pip"] for text in spellings}) == 1


@pytest.mark.parametrize("spellings", SAME_REQUIREMENTS, ids=lambda group: group[0])
def test_spellings_that_count_as_one_are_one_to_packaging(spellings: list[str]) -> None:
    meanings = {_meaning(text) for text in spellings}
    assert len(meanings) == 1
    assert None not in meanings


@pytest.mark.parametrize("spellings", SAME_MATCH_SPECS, ids=lambda group: group[0])
def test_the_spelling_of_a_match_spec_does_not_count(spellings: list[str]) -> None:
    from rattler import MatchSpec

    assert len({_conda(text)["conda"] for text in spellings}) == 1
    assert len({str(MatchSpec(text)) for text in spellings}) == 1


@pytest.mark.parametrize("python", ["3.11", "==3.11.*", ">=3.11,<3.12", ">= 3.11.0, <3.12"])
def test_the_spelling_of_the_python_version_does_not_count(python: str) -> None:
    assert not _moved(make_spec(python="3.11.*"), make_spec(python=python))


def test_the_suite_that_the_base_names_may_be_named_again() -> None:
    packages = ("git",)
    assert not _moved(
        make_spec(system=System(packages=packages)),
        make_spec(system=System(packages=packages, suite="bookworm")),
    )


def test_a_slash_at_the_end_of_an_address_does_not_count() -> None:
    def spec(slash: str) -> EnvSpec:
        url = f"https://pkgs.example.com/simple{slash}"
        return make_spec(
            conda=Conda(channels=(url,)), pip=Pip(index_url=url, extra_index_urls=(url,))
        )

    assert not _moved(spec(""), spec("/"))


# No two wishes share a digest

DIFFERENT_REQUIREMENTS = [
    "a", "b", "a[b]", "a[c]", "a[b,c]", "ab", "a-b", "a>=1", "a>1", "a>=1,<2", "a<2", "a==1",
    "a===1", "a~=1.0", "a==1.0", "a==1.*", "a!=1", 'a; extra == "b"', 'a; extra == "b "',
    'a; extra == b', 'a; "extra" == b', 'a; extra == "b" or os_name == "c"',
    'a; extra == "b or os_name == c"', "a>=1; os_name == 'x'", "a @ https://pkgs.example.com/a",
    "a @ https://pkgs.example.com/A", "./a", "a.whl", "a-whl/x", "-r a", "a >= 1 b",
    "a>=1 2", "a>=12", "a[b",
]  # fmt: skip


def test_no_two_requirements_share_a_digest() -> None:
    digests = {_pip(text)["pip"] for text in DIFFERENT_REQUIREMENTS}
    assert len(digests) == len(DIFFERENT_REQUIREMENTS)


DIFFERENT_MATCH_SPECS = [
    "a", "b", "a_b", "a-b", "a 1", "a =1", "a ==1", "a >=1", "a >1", "a >=1,<2", "a >=1|<2",
    "a 1 b", "a 1b", "a 1,b", "a * b", "conda-forge::a", "team::a", "a[version='>=1']",
    "a[build='>=1']", "a 1.*", "a 1.* b", "a=1=b",
]  # fmt: skip


def test_no_two_match_specs_share_a_digest() -> None:
    digests = {_conda(text)["conda"] for text in DIFFERENT_MATCH_SPECS}
    assert len(digests) == len(DIFFERENT_MATCH_SPECS)


_MARKS = ["", " ", "a", "A", "b", "1", "1.0", *"-_.,;()[]'", "[b]", " @ ", " or ", " and "]
_CLAUSES = [">=1", "<2", "==1.*", "==", "===", "!=", "~=1.0", "extra", "os_name", "'b'", '"b"']
_TOKENS = st.sampled_from([*_MARKS, *_CLAUSES])
_CHANGES = st.sampled_from(
    [
        lambda text: text.replace(" ", ""),
        lambda text: text.replace("", " "),
        lambda text: text.replace(",", " , "),
        lambda text: text.replace("'", '"'),
        lambda text: text.replace("_", "-"),
        lambda text: ",".join(reversed(text.split(","))),
        str.lower,
        str.strip,
    ]
)


@given(st.lists(_TOKENS, max_size=8), _CHANGES, _CHANGES)
@settings(max_examples=500)
def test_one_digest_means_one_meaning(
    tokens: list[str], first: Callable[[str], str], second: Callable[[str], str]
) -> None:
    """Two requirements of any spelling share a digest only where packaging takes them for one."""
    one = "a" + "".join(tokens)
    two = second(first(one))
    if _pip(one) == _pip(two):
        assert _meaning(one) == _meaning(two)


def _meaning(text: str) -> tuple[object, ...] | None:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        found = Requirement(text)
    except InvalidRequirement:
        return None
    extras = frozenset(map(canonicalize_name, found.extras))
    return canonicalize_name(found.name), extras, found.specifier, found.url, str(found.marker)


_WORDS = st.text("ab1<>=!~,;[]()'\" .*|@/-", max_size=8)


@given(st.lists(_WORDS, max_size=3), st.lists(_WORDS, max_size=3))
def test_lists_are_framed(one: list[str], two: list[str]) -> None:
    """No two lists of system packages share a digest, whatever is joined or split."""
    same = {text.strip() for text in one} == {text.strip() for text in two}

    def digest(packages: list[str]) -> Mapping[str, str]:
        return digest_request(make_spec(system=System(packages=tuple(packages))))

    assert (digest(one) == digest(two)) == same


def test_virtual_packages_are_told_apart() -> None:
    seen = {
        digest_request(
            make_spec(conda=Conda(virtual_packages=VirtualPackages(**{field.name: "2.36"})))
        )["conda"]
        for field in fields(VirtualPackages)
    }
    assert len(seen) == len(fields(VirtualPackages))


def test_the_digests_are_those_of_version_1() -> None:
    """Locks of the world hold these: with another form comes another `LOCK_VERSION`."""
    assert digest_request(BASE_SPEC) == {
        "platforms": "sha256:57fd6deb24eb8e94af9b488dec9c342c78e24811fdc87b62b3c8719c032034eb",
        "python": "sha256:743a7106e30b5d76dfae029164cbde139f49f2afb3446c3b9b97c4aec209ab03",
        "conda": "sha256:d08f8209a7f266d482a8f2e0a52521047319aad3ddc2900514c00a5d155f9194",
        "pip": "sha256:b41dab9540702a6e33bb5f4dac1449be1c7095fea4517af152729da83da59249",
        "system": "sha256:a046b789f0ed4855c69fc88ecf719b850e7cda70f1431bf633421f6310c3b2b3",
        "base": "sha256:5c753643b15e7e172a1b29811cfecd7b012fb5f7c04f60c61e681d8d0f4286ef",
    }
