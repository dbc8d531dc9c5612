"""Files of a batch become durable together, and not before they are asked to."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from store import files, syncing
from store.syncing import Syncs
from tests.fault.disk import Disk, run_until
from tests.store.opened import opened


def written(folder: Path, count: int) -> list[Path]:
    paths = [folder / str(number) for number in range(count)]
    for path in paths:
        path.write_bytes(b"x" * 5000)
    return paths


def test_nothing_is_synced_before_the_end_and_then_everything_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "EARLY_BYTES_MIN", 1)
    paths, syncs, disk = written(tmp_path, 5), Syncs(), Disk()

    def add() -> None:
        for path in paths:
            syncs.add(path)

    run_until(monkeypatch, disk, add)
    assert disk.steps == []
    run_until(monkeypatch, disk, lambda: (syncs.finish(), syncs.finish()))
    assert disk.steps == [("fsync", path) for path in paths]
    assert opened(tmp_path) == 0


def test_descriptors_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncing, "FILES_MAX", 3)
    syncs = Syncs()
    for path in written(tmp_path, 10):
        syncs.add(path)
        assert opened(tmp_path) < 3
    syncs.drop()
    assert opened(tmp_path) == 0


def test_a_sync_that_fails_is_told_and_no_descriptor_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs, asked = Syncs(), list[int]()

    def failing(descriptor: int) -> None:
        asked.append(descriptor)
        if len(asked) == 2:
            raise OSError(errno.EIO, "injected")

    for path in written(tmp_path, 4):
        syncs.add(path)
    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="injected"):
        syncs.finish()
    assert len(asked) == 2
    assert opened(tmp_path) == 0


def test_a_system_that_cannot_begin_early_syncs_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files.ctypes, "CDLL", lambda _: object())
    monkeypatch.setattr(files, "EARLY_BYTES_MIN", 1)
    syncs, disk = Syncs(), Disk()
    syncs.add(written(tmp_path, 1)[0])
    run_until(monkeypatch, disk, syncs.finish)
    assert [step for step, _ in disk.steps] == ["fsync"]
