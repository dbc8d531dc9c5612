"""Merging as a stream: the same records, parts that do not overlap, memory that does not grow with the partition."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import IntegrityError
from store import Store, native, parquet, parts
from store.compaction import compact, merging
from store.encoding import columns
from store.part_reader import PartReader
from store.partitions import to_us
from tests.conftest import FixedClock
from tests.store.compaction.test_compact import deliver_many, rows
from tests.store.conftest import deliver
from tests.store.encoding.test_columns import BINDING, KEY
from tests.store.records import records, with_column


def as_it_is(table: pa.Table) -> pa.Table:
    return table


def made(path: Path, table: pa.Table, group_rows: int = 512) -> PartReader:
    stored = columns.encode(parts.sort(table), group_rows, parquet.size_of)
    parquet.write_stored(path, stored, BINDING, KEY)
    return PartReader(path, BINDING, KEY)


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    sizes=st.lists(st.integers(1, 200), min_size=1, max_size=4),
    callers=st.integers(1, 60),
    rows_max=st.integers(5, 300),
    group_rows=st.integers(3, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_record_comes_once_and_stretches_follow_one_another(
    tmp_path: Path, sizes: list[int], callers: int, rows_max: int, group_rows: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    tables = []
    for number, size in enumerate(sizes):
        table = records(size, seed=number, first_key=number * 1000)
        parties = [int(party) if party else None for party in random.integers(0, callers, size)]
        tables.append(with_column(table, "calling_number", parties))
    with ExitStack() as stack:
        for path in tmp_path.iterdir():
            path.unlink()
        readers = [
            stack.enter_context(made(tmp_path / str(number), table, group_rows)) for number, table in enumerate(tables)
        ]
        out = list(merging.merged(readers, [as_it_is] * len(readers), rows_max))
    keys = [key for table in out for key in table.column("record_key").to_pylist()]
    assert sorted(keys) == sorted(key for table in tables for key in table.column("record_key").to_pylist())
    assert all(0 < table.num_rows <= rows_max for table in out)
    last = (-1, -1)
    for table in out:
        pairs = list(zip(*(values.tolist() for values in merging.sort_keys(table)), strict=True))
        assert min(pairs) >= last
        last = max(pairs)


def test_memory_does_not_grow_with_the_parts(tmp_path: Path) -> None:
    peaks = []
    for size in (10_000, 60_000):
        with ExitStack() as stack:
            readers = [
                stack.enter_context(made(tmp_path / f"{size}-{n}", records(size, seed=n, first_key=n * size)))
                for n in range(3)
            ]
            gc.collect()  # what other tests left would be given back meanwhile
            before = pa.total_allocated_bytes()
            peak = 0
            with mock.patch.object(merging, "READ_ROWS_MAX", 1_024):
                for _ in merging.merged(readers, [as_it_is] * 3, 3_000):
                    peak = max(peak, pa.total_allocated_bytes() - before)
        peaks.append(peak)
    assert peaks[1] < 1.5 * peaks[0] < 8 * 2**20


def test_of_large_records_fewer_are_at_hand_and_one_stretch_is_written(tmp_path: Path) -> None:
    """A record with long texts takes many times the memory of another; the bound is bytes, not records."""
    plain = records(6_000)
    texts = pa.array([f"sip:{n:06}@{'x' * 800}" for n in range(6_000)])
    for table, longest, beside in ((plain, 2_048, 2), (plain.append_column("called_number_text", texts), 512, 1)):
        read: list[int] = []
        writing: list[int] = []
        most = 0

        def write(written: pa.Table, writing: list[int] = writing) -> Any:
            nonlocal most
            writing.append(1)
            most = max(most, len(writing))
            time.sleep(0.05)
            writing.pop()
            return mock.Mock(rows=written.num_rows), Counter()

        with made(tmp_path / str(longest), table) as reader:
            whole = reader.read
            reader.read = lambda groups, whole=whole, read=read: read.append(len(groups) * 512) or whole(groups)  # type: ignore[method-assign, misc, assignment]
            with (
                mock.patch.multiple(merging, AT_HAND_BYTES=600_000, READ_ROWS_MAX=2_048),
                mock.patch.object(compact, "BOTH_BYTES_MAX", 2**20),
            ):
                compact.written_by(merging.merged([reader], [as_it_is], 1_500), write, mock.Mock())
        assert max(read[2:], default=0) <= longest
        assert most <= beside


def test_a_merge_that_fails_or_is_left_ends_its_readers_first(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with ExitStack() as stack:
        readers = [
            stack.enter_context(made(tmp_path / str(n), records(4_000, seed=n, first_key=n * 10_000))) for n in range(3)
        ]
        readers[2].read = mock.Mock(side_effect=IntegrityError("torn"))  # type: ignore[method-assign]
        with pytest.raises(IntegrityError, match="torn"):
            list(merging.merged(readers, [as_it_is] * 3, 1_000))
        with pytest.raises(OSError, match="full"):
            compact.written_by(
                merging.merged(readers[:2], [as_it_is] * 2, 1_000), mock.Mock(side_effect=OSError("full")), mock.Mock()
            )
        left = merging.merged(readers[:2], [as_it_is] * 2, 1_000)
        next(left)
        left.close()
        begun = set(threading.enumerate()) - before
        assert not [thread for thread in begun if thread.name.startswith("lagrum-read")]


def test_a_large_partition_becomes_parts_of_parties_of_their_own(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compact, "MERGED_ROWS_MAX", 150)
    deliver_many(store, 5, size=100)
    before = rows(store)
    result = store.compact(everything=True)
    assert (result.merged, result.rows) == (5, 500)
    assert result.write_amplification > 1
    assert rows(store) == before
    assert store.compact(everything=True).merged == 0
    key = store.partitions()[0].key
    with ExitStack() as stack:
        readers = [
            stack.enter_context(store.part_store.open(key, part.file_id, store.keyring.key(key.ref)))
            for part in store.catalog.parts()
        ]
        assert all(sum(reader.group_rows(g) for g in range(reader.groups)) <= 150 for reader in readers)
        assert merging.is_settled(readers, 150)
        assert not merging.is_settled(readers, 1_000)
    assert store.verify() == []


def test_a_merged_partition_is_left_alone(store: Store) -> None:
    deliver_many(store, 4)
    assert store.compact(everything=True).merged == 4
    again = store.compact(everything=True)
    assert (again.merged, again.bytes_written) == (0, 0)


def test_withdrawn_records_leave_merged_parts_above_the_floor_and_not_before(store: Store, clock: FixedClock) -> None:
    ids = deliver_many(store, 4)
    store.compact(everything=True)
    store.withdraw_batch(ids[1], reason="wrong zone", actors=("a", "b"))
    assert store.compact(everything=True).withdrawn == 0
    assert [item.records for item in store.partitions()] == [80]
    before = rows(store)
    clock.value_us = to_us(store.partitions()[0].key.floor_until) - 1
    assert store.compact(everything=True).withdrawn == 0
    clock.value_us += 1
    assert store.compact(everything=True).withdrawn == 20
    assert rows(store) == before
    assert [item.records for item in store.partitions()] == [60]
    assert store.compact(everything=True).merged == 0
    assert store.verify() == []


def test_a_withdrawn_part_goes_above_the_floor_even_when_nothing_else_is_there(store: Store, clock: FixedClock) -> None:
    batch = deliver(store, records(20)).batch_id
    store.withdraw_batch(batch, reason="wrong zone", actors=("a", "b"))
    assert store.compact(everything=True).merged == 0
    clock.value_us = to_us(store.partitions()[0].key.floor_until)
    assert store.compact(everything=True).withdrawn == 20
    assert [item.records for item in store.partitions()] == [0]
    assert store.verify() == []


@settings(deadline=None)
@given(st.lists(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=20), max_size=9))
def test_the_compiled_merge_equals_a_stable_sort(runs: list[list[tuple[int, int]]]) -> None:
    if not runs:
        return
    rows = np.array([row for run in runs for row in sorted(run)], np.int64)
    parties, starts = np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1])
    counts = [len(run) for run in runs]
    with mock.patch.object(native, "is_loaded", lambda _: True):
        compiled = merging.order_of(parties, starts, counts)
    with mock.patch.object(native, "is_loaded", lambda _: False):
        plain = merging.order_of(parties, starts, counts)
    assert compiled.tolist() == plain.tolist() == np.lexsort((starts, parties)).tolist()
