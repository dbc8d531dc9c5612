"""Compaction: fewer parts, the same records, whoever reads, writes, withdraws or crashes meanwhile."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import BusyError
from store import ScanQuery, SourceRef, Store, files
from store.compaction.compact import FAN_IN, FAN_IN_MAX, MERGED_ROWS_MAX, choose
from store.layout import SUFFIXES
from store.model import PartRow
from store.partitions import PartitionKey
from tests.conftest import FixedClock, ends_us
from tests.fault.disk import Disk, run_until
from tests.store.conftest import deliver
from tests.store.records import records, with_column

EVER = ScanQuery(0, 2**60)


def rows(store: Store, query: ScanQuery = EVER) -> list[dict[str, Any]]:
    found = [row for batch in store.scan(query) for row in batch.to_pylist()]
    return sorted(found, key=lambda row: (row["record_key"], row["batch_id"]))


def deliver_many(store: Store, batches: int, *, size: int = 20) -> list[int]:
    return [deliver(store, records(size, seed=n, first_key=n * 1000)).batch_id for n in range(batches)]


def part(rows_: int, number: int = 1, **more: Any) -> PartRow:
    key = PartitionKey(date(2026, 11, 20), "standard")
    return PartRow(
        f"{number:032x}", key, rows_, 1, "", 1, "", 1, "", 0, 0, 0, 1, part_id=number, batch_id=number, **more
    )


def test_a_merge_syncs_the_names_of_its_own_directory_and_no_other_that_publishing_has_synced(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_many(store, 6)
    with Store.open(store.root, clock=clock) as other:
        disk = Disk()
        assert run_until(monkeypatch, disk, lambda: other.compact(everything=True))
        synced = [
            path
            for operation, path in disk.steps
            if operation == "fsync_dir" and path.is_relative_to(store.layout.parts)
        ]
        own = store.layout.partition(store.partitions()[0].key)
        assert synced == [own, own], "the new names, then those that went"


def test_what_one_process_delivered_and_another_merged_outlives_a_loss_of_power(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def life() -> None:
        deliver_many(store, 6)
        with Store.open(store.root, clock=clock) as other:
            other.compact(everything=True)

    disk = Disk()
    assert run_until(monkeypatch, disk, life)
    disk.lose_power()
    with Store.open(store.root, clock=clock) as after:
        assert (len(after.catalog.parts()), len(rows(after))) == (1, 120)
        assert after.verify() == []


def test_a_merge_into_a_directory_that_had_to_be_made_again_syncs_those_above_it(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_many(store, 1)
    key = store.partitions()[0].key
    with Store.open(store.root, clock=clock) as other:
        directory = other.layout.partition(key)
        other.part_store.is_published(key)
        table = other.part_store.read_records(key, other.catalog.parts()[0].file_id, other.keyring.key(key.ref))
        files.remove_dirs([directory], other.layout.parts)
        other.part_store.write(key, other.keyring.key(key.ref), table, None, location_key=None)
        disk = Disk()
        assert run_until(monkeypatch, disk, lambda: other.part_store.sync_names(key))
        assert [path for _, path in disk.steps] == [directory, *directory.parents[:3]]


def test_what_is_read_is_the_same_before_and_after(store: Store) -> None:
    deliver_many(store, 6)
    before = rows(store)
    result = store.compact(everything=True)
    assert (result.merged, result.parts, result.rows, result.retired) == (6, 1, 120, 0)
    assert rows(store) == before
    assert [item.parts for item in store.partitions()] == [1]
    assert len([path for path in store.layout.parts.rglob("*") if path.is_file()]) == len(SUFFIXES)
    assert store.verify() == []


def test_a_partition_is_merged_without_a_look_at_the_parts_of_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else merging many partitions costs the square of their number."""
    for number in range(2):
        deliver(store, records(60, seed=number, first_key=number * 1000, days=8, days_ago=9))
    made = store.catalog.parts
    seen: list[int] = []

    def parts(where: str = "1", parameters: Sequence[Any] = ()) -> list[PartRow]:
        seen.append(len(made(where, parameters)))
        return made(where, parameters)

    monkeypatch.setattr(store.catalog, "parts", parts)
    before = rows(store)
    partitions = len(store.partitions())
    seen.clear()
    result = store.compact(everything=True)
    assert (result.partitions, partitions) == (8, 8)
    assert sorted(seen) == [2] * 8 + [16]
    seen.clear()
    only = store.partitions()[0].key
    assert store.compact(everything=True, partition=only).merged == 0 and seen == [1]
    assert rows(store) == before


def test_parts_are_merged_by_like_size_and_never_beyond_the_bound() -> None:
    small = [part(100, number) for number in range(1, FAN_IN + 1)]
    large = [part(MERGED_ROWS_MAX - 50, 50), part(MERGED_ROWS_MAX, 51)]
    assert choose(small + large, everything=False) == [small]
    assert choose(small[:-1], everything=False) == []
    assert choose(small[:2] + large, everything=True) == [small[:2] + large]
    withdrawn = [part(100, 1, withdrawn=True), part(100, 2)]
    assert choose(withdrawn, everything=True) == []
    assert choose(withdrawn, everything=True, above_floor=True) == [withdrawn]
    groups = choose([part(MERGED_ROWS_MAX // 3, number) for number in range(1, 9)], everything=False)
    assert [len(group) for group in groups] == []
    many = [part(100 + number, number) for number in range(1, 2 * FAN_IN_MAX)]
    assert choose(many, everything=True) == [many[:FAN_IN_MAX]]


def test_duplicates_and_conflicts_are_recognised_in_merged_parts(store: Store) -> None:
    deliver_many(store, 4)
    store.compact(everything=True)
    again = records(20, seed=2, first_key=2000)
    assert deliver(store, again).duplicates == 20
    assert deliver(store, with_column(again, "cell_id", [10**5 + 777] * 20)).conflicts == 20
    store.compact(everything=True)
    assert deliver(store, again).duplicates == 20
    assert store.verify() == []


def test_a_batch_withdrawn_after_it_was_merged_is_hidden_and_can_be_delivered_again(store: Store) -> None:
    ids = deliver_many(store, 4)
    store.compact(everything=True)
    store.withdraw_batch(ids[1], reason="wrong zone", actors=("a", "b"))
    assert {row["batch_id"] for row in rows(store)} == {ids[0], ids[2], ids[3]}
    assert len(rows(store, ScanQuery(0, 2**60, include_withdrawn=True))) == 80
    table = records(20, seed=1, first_key=1000)
    assert deliver(store, table).accepted == 20
    assert deliver(store, table).duplicates == 20
    store.compact(everything=True)
    assert len(rows(store)) == 80
    assert deliver(store, table).duplicates == 20
    assert store.verify() == []


def test_a_batch_withdrawn_before_stays_apart_and_hidden(store: Store) -> None:
    ids = deliver_many(store, 3)
    store.withdraw_batch(ids[0], reason="wrong zone", actors=("a", "b"))
    store.compact(everything=True)
    assert {row["batch_id"] for row in rows(store)} == set(ids[1:])
    assert [item.records for item in store.partitions()] == [60]
    assert store.verify() == []


def test_the_records_up_to_a_batch_are_the_same_after_merging(store: Store) -> None:
    ids = deliver_many(store, 4)
    query = ScanQuery(0, 2**60, batch_id_max=ids[1])
    before = rows(store, query)
    store.compact(everything=True)
    assert rows(store, query) == before and len(before) == 40


def test_a_reader_that_began_before_finishes_with_what_it_planned(store: Store) -> None:
    deliver_many(store, 4)
    reader = store.scan(EVER)
    first = next(reader).num_rows
    result = store.compact(everything=True)
    assert result.retired == 4
    assert first + sum(batch.num_rows for batch in reader) == 80
    assert store.compact(everything=True).retired == 0
    assert len([path for path in store.layout.parts.rglob("*") if path.is_file()]) == len(SUFFIXES)


def test_what_the_log_says_of_merges_is_read_once_and_kept_only_for_files_that_wait(store: Store) -> None:
    deliver_many(store, 4)
    store.compact(everything=True)
    assert store.log_state.merged(list) == []  # nothing waits, nothing is kept in mind
    deliver(store, records(20, first_key=10_000))
    plan = store.scan(EVER)
    next(plan)
    assert store.compact(everything=True).retired > 0  # a reader is at work
    waiting = store.catalog.retired()
    assert store.log_state.merged(store.catalog.retired) == waiting
    plan.close()
    assert store.compact(everything=True).retired == 0
    assert store.catalog.retired() == []
    assert len(list(store.layout.parts.rglob("*.parquet"))) == len(store.catalog.parts())


def test_a_delivery_that_began_before_recognises_what_was_merged_meanwhile(store: Store) -> None:
    deliver_many(store, 4)
    with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
        batch.add(records(5, seed=9, first_key=9000))
        store.compact(everything=True)
        batch.add(records(20, seed=3, first_key=3000))
        receipt = batch.commit()
    assert (receipt.accepted, receipt.duplicates) == (5, 20)
    assert len(rows(store)) == 85
    assert store.verify() == []


def test_late_records_come_beside_a_merged_part_and_join_it_next_time(store: Store) -> None:
    deliver_many(store, 3)
    store.compact(everything=True)
    deliver(store, records(20, seed=7, first_key=7000))
    assert [item.parts for item in store.partitions()] == [2]
    store.compact(everything=True)
    assert [item.parts for item in store.partitions()] == [1]
    assert len(rows(store)) == 80


def test_only_one_process_compacts(store: Store) -> None:
    with files.lock(store.layout.compaction_lock, exclusive=True), pytest.raises(BusyError):
        store.compact()


def test_a_merged_partition_expires_whole(store: Store, clock: FixedClock) -> None:
    deliver_many(store, 4)
    reader = store.scan(EVER)
    next(reader)
    store.compact(everything=True)
    key = store.partitions()[0].key
    clock.value_us = ends_us(key)
    assert store.expire().partitions == (key,)
    assert not store.layout.partition(key).exists()
    reader.close()
    assert store.verify() == []


@pytest.mark.parametrize("kind", ["crash", "power", "io-error"])
def test_a_compaction_that_ends_at_any_durable_step_loses_and_repeats_nothing(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with Store.create(tmp_path / "made", clock=clock) as store:
        deliver_many(store, 3)
        before = rows(store)
    step = 0
    while True:
        step += 1
        root = shutil.copytree(tmp_path / "made", tmp_path / f"root-{step}")
        with Store.open(root, clock=clock) as store:
            disk = Disk(fail_at=step, io_error=kind == "io-error")
            try:
                finished = run_until(monkeypatch, disk, lambda one=store: one.compact(everything=True))
            except Exception as error:
                assert kind == "io-error", error
                finished = False
        if not finished and kind == "power":
            disk.lose_power()
        with Store.open(root, clock=clock) as store:
            assert rows(store) == before, step
            assert store.verify() == [], step
            store.compact(everything=True)
            assert rows(store) == before, step
            assert [item.parts for item in store.partitions()] == [1]
            assert len([path for path in store.layout.parts.rglob("*") if path.is_file()]) == len(SUFFIXES), step
            assert store.verify() == [], step
        if finished and len(disk.steps) < step:
            break
    assert step > 5
