"""Promises of `kit.places`: the cache is where the user says, else where caches are."""

from __future__ import annotations

from pathlib import Path

import pytest

from envbuild.kit.places import Repository, find_cache


def test_the_users_own_place_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("ENVBUILD_CACHE", str(tmp_path / "own"))
    assert find_cache().root == tmp_path / "own"
    monkeypatch.setenv("ENVBUILD_CACHE", "~/own")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_cache().root == tmp_path / "own"


def test_else_it_is_among_the_users_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVBUILD_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert find_cache().root == tmp_path / "xdg" / "envbuild"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_cache().root == tmp_path / ".cache" / "envbuild"


def test_a_relative_place_does_not_move_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ENVBUILD_CACHE", "cache")
    found = find_cache()
    monkeypatch.chdir("/")
    assert found.root == tmp_path / "cache"


def test_a_repositorys_files_are_below_it(tmp_path: Path) -> None:
    repository = Repository(root=tmp_path)
    assert repository.spec_file("cpu") == tmp_path / "envs" / "cpu.toml"
    assert repository.lock_folder("cpu") == tmp_path / "lockfiles" / "cpu"
