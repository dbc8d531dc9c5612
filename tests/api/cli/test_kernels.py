"""Compiled kernels have a place to be kept, whoever runs the program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.cli import context


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(context, "KERNELS_FOLDER", tmp_path)
    monkeypatch.setenv(context.KERNELS, "")
    return tmp_path / f"lagrum-kernels-{os.getuid()}"


def test_a_read_only_program_keeps_them_in_a_folder_of_its_user(read_only: Path) -> None:
    context.keep_kernels()
    assert os.environ[context.KERNELS] == str(read_only)
    assert read_only.stat().st_mode & 0o777 == 0o700
    context.keep_kernels()


def test_a_program_of_another_user_keeps_them_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path == tmp_path)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv(context.KERNELS, "")
    context.keep_kernels()
    assert os.environ[context.KERNELS] == str(tmp_path / ".cache" / "lagrum-kernels")


def test_a_user_without_a_name_and_a_home_keeps_them_too(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    context.keep_kernels()
    assert os.environ[context.KERNELS] == str(read_only)


def test_where_nothing_can_be_written_none_are_kept_and_the_command_goes_on(
    read_only: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (read_only.parent / "file").touch()
    monkeypatch.setattr(context, "KERNELS_FOLDER", read_only.parent / "file")
    context.keep_kernels()
    assert os.environ[context.KERNELS] == ""


def test_a_folder_that_others_can_write_is_not_used(read_only: Path) -> None:
    read_only.mkdir()
    read_only.chmod(0o777)
    context.keep_kernels()
    assert os.environ[context.KERNELS] == ""


def test_a_program_that_can_write_beside_itself_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(context.KERNELS, "")
    context.keep_kernels()
    assert os.environ[context.KERNELS] == ""
