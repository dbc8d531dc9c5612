"""A large last buffer is written by both writers, and says the same."""

from __future__ import annotations

import pytest

from store import ScanQuery, Store, batch
from tests.store.conftest import deliver
from tests.store.records import records


@pytest.mark.parametrize(("shared_rows_min", "parts"), [(10**9, 1), (100, 2)])
def test_a_last_buffer_is_shared_when_it_is_large(
    store: Store, monkeypatch: pytest.MonkeyPatch, shared_rows_min: int, parts: int
) -> None:
    monkeypatch.setattr(batch, "SHARED_ROWS_MIN", shared_rows_min)
    tables = [records(60, seed=number, first_key=1000 * number) for number in range(5)]
    assert deliver(store, *tables, tables[0]).accepted == 300
    assert [item.parts for item in store.partitions()] == [parts]
    assert sum(found.num_rows for found in store.scan(ScanQuery(0, 2**60))) == 300
    assert deliver(store, *tables).duplicates == 300
    assert store.verify() == []
