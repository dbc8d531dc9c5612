"""`lagrum ingest` of many files keeps what it needs of a few."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest

from store.batch import BatchWriter
from tests.api.cli.conftest import Run
from tests.api.world import CSV


def writers() -> list[BatchWriter]:
    """Return those of this process that are held by something."""
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, BatchWriter)]


def test_what_is_durable_is_let_go(run: Run, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[int] = []
    commit = BatchWriter.commit
    others = writers()

    def counted(batch: BatchWriter) -> Any:
        alive.append(len([one for one in writers() if not any(one is other for other in others)]))
        return commit(batch)

    monkeypatch.setattr(BatchWriter, "commit", counted)
    files = [tmp_path / f"{number}.csv" for number in range(8)]
    for file in files:
        file.write_bytes(CSV)
    assert run("--root", root, "ingest", "--source", "pbx", "--format", "csv", *files).code == 0
    assert len(alive) == len(files) and max(alive) <= 3
