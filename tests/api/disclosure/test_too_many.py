"""A search that finds more than a result may hold ends without one, and holds no more than that on its way there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from api.disclosure import open_sessions, package, sliced_scan
from api.disclosure.preflight import MORE
from api.disclosure.search import query_of
from schemas.errors import ProcedureError
from store import ScanQuery
from tests.api.disclosure.conftest import Court
from tests.api.disclosure.test_open_sessions import ORDER, begin, court

__all__ = ["court"]


def refused(court: Court, **changes: Any) -> None:
    """Run a task of these terms: nothing is kept, and its file says why."""
    task = court.approved(**changes)
    with pytest.raises(ProcedureError) as refusal:
        court.run(task.id)
    assert refusal.value.reason == "too-many-records"
    after = court.procedure.casebook.task(task.id)[0]
    assert (after.reason, after.delivery_id) == ("too-many-records", None)


def test_a_result_beyond_the_limit_of_records_is_none(shared_court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    records = shared_court.released().records or 0
    monkeypatch.setattr(package, "RECORDS_MAX", records)
    assert shared_court.released().records == records
    monkeypatch.setattr(package, "RECORDS_MAX", records - 1)
    refused(shared_court)


def test_an_hour_that_holds_too_many_rows_ends_the_search(shared_court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sliced_scan, "_SLICE_ROWS_LIMIT", 1)
    refused(shared_court)
    task = shared_court.checked()
    assert shared_court.procedure.preflight(shared_court.actor("approver-1"), task.id)["records"] == MORE


def test_no_more_rows_of_an_hour_are_read_than_are_held(shared_court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    store, query = shared_court.store, query_of(shared_court.procedure.casebook.case(shared_court.approved().id))
    rows = pa.Table.from_batches(list(store.scan(query)))
    read = []

    def scan(_store: object, _query: ScanQuery) -> Iterator[pa.RecordBatch]:
        for batch in rows.to_batches(max_chunksize=1):
            read.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(type(store), "scan", scan)
    monkeypatch.setattr(sliced_scan, "_SLICE_ROWS_LIMIT", 3)
    with pytest.raises(ProcedureError):
        list(sliced_scan.hits(store, query))
    assert sum(read) == 4 < rows.num_rows


def test_what_is_added_to_an_hour_counts_too(shared_court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    store, query = shared_court.store, query_of(shared_court.procedure.casebook.case(shared_court.approved().id))
    monkeypatch.setattr(
        sliced_scan, "_SLICE_ROWS_LIMIT", sum(table.num_rows for table in sliced_scan.hits(store, query))
    )
    assert list(sliced_scan.hits(store, query, lambda _query, batches: batches))
    with pytest.raises(ProcedureError):
        list(sliced_scan.hits(store, query, lambda _query, batches: batches * 2))


def test_too_many_open_sessions_end_the_search(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(court)
    begin(court, "s2")
    monkeypatch.setattr(open_sessions, "SLICE_ROWS_MAX", 2)
    assert court.released(**ORDER).records == 2
    monkeypatch.setattr(open_sessions, "SLICE_ROWS_MAX", 1)
    refused(court, **ORDER)
