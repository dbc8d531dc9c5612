"""Batches of a scan: small ones of parts that follow each other are one, and each day in it may still be shown."""

from __future__ import annotations

import pyarrow as pa
import pytest

from store import ScanQuery, Store, TargetIdentifier
from store.encoding.restoring import Layout
from store.reading.lookup import Found
from tests.store.conftest import deliver
from tests.store.records import records, with_column

SOMEBODY = ScanQuery(0, 2**60, (TargetIdentifier("number", "46701749999"),))
EVERYBODY = ScanQuery(0, 2**60)


@pytest.fixture
def days(store: Store) -> Store:
    for day in range(5):
        deliver(
            store, with_column(records(20, first_key=100 * day, days_ago=day), "called_number", [146_701_749_999] * 20)
        )
    return store


@pytest.mark.parametrize("query", [SOMEBODY, EVERYBODY], ids=["one number", "every record"])
def test_small_batches_of_parts_that_follow_each_other_are_one(
    days: Store, query: ScanQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,) = days.scan(query)
    assert whole.num_rows == 100
    for rows_max, sizes in ((1, [20] * 5), (40, [40, 40, 20]), (59, [40, 40, 20]), (100, [100])):
        monkeypatch.setattr("store.reading.batches.BATCH_ROWS", rows_max)
        batches = list(days.scan(query))
        assert [batch.num_rows for batch in batches] == sizes
        assert pa.Table.from_batches(batches).to_pylist() == pa.Table.from_batches([whole]).to_pylist()


def test_a_day_that_ends_while_its_batch_waits_is_left_out_of_it(days: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.reading.batches.BATCH_ROWS", 40)
    scan = days.scan(SOMEBODY)
    assert next(scan).num_rows == 40
    gone = days.partitions()[2].key
    ends = type(days.clock_guard.verdict()).is_over
    monkeypatch.setattr(
        "store.retention.clockguard.Watch.is_over", lambda watch, key: key == gone or ends(watch.verdict, key)
    )
    assert [batch.num_rows for batch in scan] == [20, 20]


def test_only_named_pages_bound_what_is_looked_at() -> None:
    assert Found(by_group={0: {"imsi"}}, named_rows=512).rows_max == 512
    assert Found(bounded=[("calling_number", 1, 1)], named_rows=512).rows_max is None
    assert Found(everywhere={"nat_ip"}).rows_max is None


def test_a_layout_remembers_a_few_choices_of_columns(days: Store) -> None:
    part = days.catalog.parts()[0]
    with days.readers.part(part) as opened:
        layout = opened.reader.layout
        assert isinstance(layout, Layout)
        for size in range(1, len(layout.names)):
            asked = layout.names[:size]
            assert layout.stored(asked) == layout.stored(list(asked)) == tuple(dict.fromkeys(layout._own(asked)))
        assert 0 < len(layout._needed) <= 8
