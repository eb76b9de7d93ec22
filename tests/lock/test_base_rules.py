"""An environment that can't run on its base is refused before anything is built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from envbuild.errors import LockError
from envbuild.lock.base_rules import check_base, is_python_known
from envbuild.lock.freshness import check_fresh, find_staleness
from envbuild.lock.model import BaseFacts, BaseImage, PlatformLock
from envbuild.spec.model import Conda, EnvSpec, Image, Pip, VirtualPackages
from tests.rig.locks import BASE, conda, debian, make_lock, make_platform, wheel

PYTHON = "/usr/local/bin/python3.11"
PIP = EnvSpec(
    python="3.11.*",
    pip=Pip(dependencies=("httpx",)),
    image=Image(base=BASE.reference, interpreter=PYTHON),
)
CONDA = EnvSpec(python="3.11.*", conda=Conda(), image=Image(base=BASE.reference))
NUMPY = "numpy-2.1.3-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl"


def _base(**facts: Any) -> BaseImage:
    return replace(BASE, facts=replace(BASE.facts, **facts))


def _part(base: BaseImage | None = BASE, *files: str, **fields: Any) -> PlatformLock:
    wheels = tuple(wheel("some", filename=file) for file in files)
    part = make_platform(base=base, conda=(), debian=(), wheels=wheels)
    return replace(part, **fields)


def _refusal(spec: EnvSpec, part: PlatformLock) -> LockError:
    with pytest.raises(LockError) as caught:
        check_base(spec, part)
    assert caught.value.hint
    return caught.value


def test_what_fits_is_not_refused() -> None:
    check_base(PIP, _part(BASE, NUMPY, "rich-13.9.4-py3-none-any.whl"))
    check_base(CONDA, _part(BASE, conda=(conda("python", "3.11.9"),)))
    check_base(PIP, _part(None, NUMPY))


def test_a_python_that_is_not_there_is_refused_with_those_that_are() -> None:
    spec = replace(PIP, image=replace(PIP.image, interpreter="/usr/bin/python3.11"))
    error = _refusal(spec, _part())
    assert error.code == "base.interpreter"
    assert "`/usr/local/bin/python3.11 (3.11.9)`" in error.message
    assert error.hint == 'write `interpreter = "/usr/local/bin/python3"` under `[image]`'


def test_a_base_without_any_python_is_refused() -> None:
    error = _refusal(PIP, _part(_base(pythons=())))
    assert error.code == "base.interpreter"
    assert "it has no Python at all" in error.message
    assert "[conda]" in str(error.hint)


@pytest.mark.parametrize("version", ["3.12.1", "3.12"])
def test_a_python_of_another_minor_is_refused(version: str) -> None:
    error = _refusal(PIP, _part(_base(pythons=((PYTHON, version),))))
    assert error.code == "base.interpreter"
    assert f"is Python {version}" in error.message
    assert 'python = "3.12.*"' in str(error.hint)


def test_a_shell_is_no_interpreter() -> None:
    spec = replace(PIP, image=replace(PIP.image, interpreter="/bin/sh"))
    error = _refusal(spec, _part(_base(pythons=(("/bin/sh", ""), (PYTHON, "3.11.9")))))
    assert error.code == "base.interpreter"
    assert "is a shell" in error.message
    assert error.hint == f'write `interpreter = "{PYTHON}"` under `[image]`'


def test_a_python_of_unknown_version_is_taken() -> None:
    check_base(PIP, _part(_base(pythons=((PYTHON, ""),))))


def test_debians_python_on_a_registrys_base_is_taken() -> None:
    spec = replace(PIP, image=replace(PIP.image, interpreter="/usr/bin/python3.11"))
    check_base(spec, _part(_base(pythons=()), debian=(debian("python3.11-minimal", "3.11.2-6"),)))


def test_a_wheel_that_needs_a_newer_glibc_is_refused() -> None:
    file = NUMPY.replace("manylinux_2_17_x86_64.manylinux2014_x86_64", "manylinux_2_39_x86_64")
    error = _refusal(PIP, _part(BASE, file))
    assert error.code == "base.glibc"
    assert "has glibc 2.36" in error.message
    assert f"`{file}` needs 2.39" in error.message


@pytest.mark.parametrize(
    ("tags", "glibc", "fits"),
    [
        ("manylinux_2_17_x86_64.manylinux2014_x86_64", "2.17", True),
        ("manylinux_2_17_x86_64.manylinux_2_28_x86_64", "2.17", True),
        ("manylinux2014_x86_64", "2.12", False),
        ("manylinux2010_x86_64", "2.12", True),
        ("manylinux1_x86_64", "2.5", True),
        ("manylinux_2_9_x86_64", "2.10", True),
        ("linux_x86_64", "2.5", True),
        ("manylinux_2_28_x86_64", "", True),
    ],
)
def test_the_least_that_a_wheels_name_asks_for_counts(tags: str, glibc: str, fits: bool) -> None:
    part = _part(_base(libc_version=glibc), f"some-1.0-cp311-cp311-{tags}.whl")
    if fits:
        check_base(PIP, part)
    else:
        assert _refusal(PIP, part).code == "base.glibc"


def test_condas_glibc_is_not_more_than_the_bases() -> None:
    part = _part(_base(libc_version="2.17"), conda=(conda("python", "3.11.9"),))
    error = _refusal(CONDA, part)
    assert error.code == "base.glibc"
    assert "chosen for 2.28, which is the default" in error.message
    assert 'glibc = "2.17"' in str(error.hint)
    told = Conda(virtual_packages=VirtualPackages(glibc="2.17"))
    check_base(replace(CONDA, conda=told), part)


def test_debians_own_glibc_counts_where_the_base_is_assembled() -> None:
    machine = Conda(virtual_packages=VirtualPackages(glibc="2.40"))
    spec = EnvSpec(python="3.11.*", conda=machine, image=Image(base="debian:bookworm"))
    libc = debian("libc6", "2.36-9+deb12u9")
    error = _refusal(spec, _part(None, conda=(conda("python", "3.11.9"),), debian=(libc,)))
    assert error.code == "base.glibc"
    assert "`debian:bookworm` has glibc 2.36" in error.message


def test_compiled_code_is_refused_on_musl_and_pure_python_is_not() -> None:
    musl = _base(libc="musl", libc_version="1.2.4")
    check_base(PIP, _part(musl, "rich-13.9.4-py3-none-any.whl"))
    error = _refusal(PIP, _part(musl, NUMPY))
    assert error.code == "base.musl"
    assert NUMPY in error.message
    assert _refusal(CONDA, _part(musl, conda=(conda("python"),))).code == "base.musl"


def test_only_link_scripts_need_a_shell() -> None:
    bare = _part(_base(shell=False), conda=(conda("python", "3.11.9"),))
    check_base(CONDA, bare)
    check_base(PIP, _part(_base(shell=False)))
    runs = replace(CONDA, conda=Conda(link_scripts="run"))
    assert _refusal(runs, bare).code == "base.no-shell"
    check_base(runs, _part(conda=(conda("python", "3.11.9"),)))


# A changed spec


def test_another_python_of_the_base_needs_no_new_lock_if_it_is_known() -> None:
    lock = make_lock(PIP, platforms={"linux-64": _part(python="3.11.9")})
    moved = replace(PIP, image=replace(PIP.image, interpreter="/usr/local/bin/python3"))
    assert find_staleness(moved, lock) is None
    check_fresh(moved, lock, name="cpu")


def test_a_python_that_nobody_looked_for_makes_the_lock_stale() -> None:
    lock = make_lock(PIP, platforms={"linux-64": _part()})
    moved = replace(PIP, image=replace(PIP.image, interpreter="/opt/python"))
    with pytest.raises(LockError) as caught:
        check_fresh(moved, lock, name="cpu")
    assert caught.value.code == "lock.stale"
    assert "`image.interpreter` changed" in caught.value.message


def test_a_python_of_another_version_makes_the_lock_stale() -> None:
    """Byte code is made for the very version that the lock names."""
    pythons = ((PYTHON, "3.11.9"), ("/usr/bin/python3", "3.11.2"))
    part = _part(_base(pythons=pythons), python="3.11.9")
    assert is_python_known(PIP, part)
    moved = replace(PIP, image=replace(PIP.image, interpreter="/usr/bin/python3"))
    assert not is_python_known(moved, part)


def test_a_fresh_lock_that_does_not_fit_its_base_is_refused() -> None:
    spec = replace(CONDA, conda=Conda(link_scripts="refuse"))
    part = _part(_base(shell=False), conda=(conda("python", "3.11.9"),))
    lock = make_lock(spec, platforms={"linux-64": part})
    check_fresh(spec, lock, name="cpu")
    runs = replace(CONDA, conda=Conda(link_scripts="run"))
    with pytest.raises(LockError) as caught:
        check_fresh(runs, lock, name="cpu")
    assert caught.value.code == "base.no-shell"


def test_unknown_facts_refuse_nothing() -> None:
    empty = replace(BASE, facts=BaseFacts(pythons=((PYTHON, ""),)))
    check_base(PIP, _part(empty, NUMPY))
