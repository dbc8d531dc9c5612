"""Scans: bounded memory, windows at the edges of time, ends of periods under a reader, torn parts in mid-stream."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.errors import ConfigurationError, IntegrityError
from store import ScanQuery, Store, TargetIdentifier, parquet
from store.partitions import to_us
from tests.conftest import FixedClock, ends_us
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records

EVER = ScanQuery(0, 2**60)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP_ROWS", 2_000)
    monkeypatch.setattr("store.parts.group_rows_of", lambda rows: 2_000, raising=False)
    monkeypatch.setattr("store.reading.scan.STRETCH_ROWS", 2_000)


@pytest.mark.usefixtures("small_groups")
def test_a_scan_holds_a_group_of_rows_and_not_the_store(store: Store) -> None:
    for number in range(5):
        deliver(store, records(40_000, first_key=number * 40_000, days_ago=2 + number))
    whole = sum(batch.nbytes for batch in store.scan(EVER))
    before = pa.total_allocated_bytes()
    most = rows = 0
    for batch in store.scan(EVER):
        rows += batch.num_rows
        most = max(most, pa.total_allocated_bytes() - before)
    assert rows == 200_000
    assert most < whole / 10


@pytest.mark.usefixtures("small_groups")
def test_a_reader_that_takes_its_time_gets_nothing_of_a_period_that_ended(store: Store, clock: FixedClock) -> None:
    deliver(store, records(10_000))
    scan = store.scan(EVER)
    assert next(scan).num_rows == 2_000
    clock.value_us = to_us(store.partitions()[0].expires_at)
    assert list(scan) == []


@pytest.mark.usefixtures("small_groups")
def test_a_part_that_is_torn_in_the_middle_ends_the_scan_with_an_error(store: Store) -> None:
    deliver(store, records(20_000))
    path = next(store.layout.parts.rglob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        list(store.scan(EVER))


@pytest.mark.parametrize(("start_us", "end_us"), [(-(2**62), 2**62), (-1, 2**63 - 1), (NOW_US - 3 * DAY_US, 2**62)])
def test_a_window_may_reach_beyond_the_years_of_a_calendar(store: Store, start_us: int, end_us: int) -> None:
    deliver(store, records(10))
    assert sum(batch.num_rows for batch in store.scan(ScanQuery(start_us, end_us))) == 10
    assert list(store.scan(ScanQuery(2**62, 2**62 + 1))) == []


def test_a_plan_names_the_partitions_of_the_window_whose_period_is_over_dropped_or_not(
    store: Store, clock: FixedClock
) -> None:
    deliver(store, records(10))
    deliver(store, records(10, first_key=100, days_ago=1))
    keys = [item.key for item in store.partitions()]
    clock.value_us = ends_us(keys[0])
    assert store.plan(EVER).refused == keys[:1]
    store.expire()
    assert store.plan(EVER).refused == keys[:1]
    assert store.plan(ScanQuery(NOW_US - DAY_US, NOW_US)).refused == []


@pytest.mark.parametrize("columns", [("mac",), ("batch_id",), ("mac", "batch_id"), ("start_time",), ("record_key",)])
def test_a_column_that_a_part_left_out_comes_back_as_nulls(store: Store, columns: tuple[str, ...]) -> None:
    table = records(50)
    deliver(store, table)
    target = TargetIdentifier("number", str(table.column("calling_number")[0])[1:])
    expected = sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60, targets=(target,))))
    for query, rows in (
        (ScanQuery(0, 2**60, columns=columns), 50),
        (ScanQuery(0, 2**60, (target,), columns), expected),
    ):
        batches = list(store.scan(query))
        assert sum(batch.num_rows for batch in batches) == rows
        assert batches[0].schema.names == list(columns)


def test_a_query_that_cannot_be_answered_is_refused_before_anything_is_read(store: Store) -> None:
    for query in (ScanQuery(5, 5), ScanQuery(6, 5), ScanQuery(0, 1, columns=("content",))):
        with pytest.raises(ConfigurationError):
            list(store.scan(query))
        with pytest.raises(ConfigurationError):
            store.plan(query)
