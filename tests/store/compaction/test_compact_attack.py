"""Merges that something happens to: an erasure by another process, a disk that fails between two parts."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from store import Store
from store.compaction import retired
from store.compaction.retired import unlink_retired
from store.model import WrittenPart
from tests.conftest import FixedClock, ends_us
from tests.store.conftest import deliver
from tests.store.records import records


@pytest.fixture
def filled(store: Store) -> Store:
    for number in range(12):
        deliver(store, records(300, seed=number, first_key=number * 300, days_ago=2 + number % 3))
    return store


def parts_of(store: Store) -> set[Path]:
    return {path for path in store.layout.parts.rglob("*") if path.is_file()}


def test_a_partition_that_is_erased_while_it_is_merged_stays_erased(filled: Store, clock: FixedClock) -> None:
    with Store.open(filled.root, clock=clock) as other:
        write = filled.part_store.write

        def erased_meanwhile(*words: Any, **named: Any) -> WrittenPart:
            if other.partitions():
                clock.value_us = max(ends_us(item.key) for item in other.partitions())
                other.expire()
            return write(*words, **named)

        filled.part_store.write = erased_meanwhile  # type: ignore[method-assign]
        done = filled.compact(everything=True)
    assert done.merged == 0
    assert parts_of(filled) == set()
    filled.part_store.write = write  # type: ignore[method-assign]
    assert filled.verify() == []


def test_a_merge_that_fails_leaves_no_files_behind(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is damaged fails every merge of its partition: what was written by then must not pile up."""
    monkeypatch.setattr("store.compaction.compact.MERGED_ROWS_MAX", 200)
    before = parts_of(filled)
    write, count = filled.part_store.write, 0

    def fails(*words: Any, **named: Any) -> WrittenPart:
        nonlocal count
        count += 1
        if count == 3:
            raise OSError(5, "EIO")
        return write(*words, **named)

    monkeypatch.setattr(filled.part_store, "write", fails)
    with pytest.raises(OSError, match="EIO"):
        filled.compact(everything=True)
    assert count >= 3
    assert parts_of(filled) == before


def test_a_part_that_the_log_does_not_know_as_merged_stays_and_is_counted(filled: Store) -> None:
    before = parts_of(filled)
    with filled.catalog.transaction() as cursor:
        cursor.execute("INSERT INTO retired SELECT file_id, partition_id FROM parts WHERE part_id = 1")
    assert unlink_retired(filled) == 1
    assert parts_of(filled) == before


def test_a_long_run_unlinks_what_it_merged_away_before_it_goes_on(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three days of four parts: never more than one day's on disk twice."""
    monkeypatch.setattr(retired, "RETIRED_BYTES_MAX", 1)
    write, on_disk = filled.part_store.write, list[int]()

    def counted(*words: Any, **named: Any) -> WrittenPart:
        on_disk.append(len(list(filled.layout.parts.rglob("*.parquet"))))
        return write(*words, **named)

    monkeypatch.setattr(filled.part_store, "write", counted)
    assert filled.compact(everything=True).merged == 12
    assert on_disk == [12, 9, 6]


def test_a_merge_for_which_the_disk_has_no_room_does_not_begin(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before, taken = parts_of(filled), sum(part.total_bytes for part in filled.catalog.parts())
    day = taken // 3
    free = [0, 0, day, day, 10 * taken]  # asked twice where there is none: what was merged away may make room

    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=free.pop(0))

    monkeypatch.setattr(shutil, "disk_usage", usage)
    done = filled.compact(everything=True)
    assert (done.merged, done.without_room) == (4, 8)
    assert len(parts_of(filled)) < len(before)
    free = [10 * taken] * 3
    assert filled.compact(everything=True).without_room == 0
    assert filled.verify() == []
