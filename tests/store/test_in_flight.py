"""A batch that is compared with one before it whose commit is not done: nothing is told by what is not stored."""

from __future__ import annotations

import pyarrow as pa
import pytest

from store import Receipt, SourceRef, Store
from store import batch as batches
from store.batch import BatchWriter
from store.in_flight import InFlightBatch, VoidError
from tests.store.conftest import deliver
from tests.store.records import records

EAST = SourceRef("east", "east")


def _begun(store: Store, table: pa.Table, after: InFlightBatch | None = None) -> BatchWriter:
    batch = store.begin_batch(EAST, format="csv", after=after)
    batch.add(table)
    batch.finish_input(b"\x11" * 32, 1)
    return batch


def _fates(receipt: Receipt) -> tuple[int, int, int, int]:
    return receipt.accepted, receipt.duplicates, receipt.conflicts, receipt.rows


def _stored(store: Store) -> int:
    return sum(item.records for item in store.partitions())


@pytest.fixture(params=["in memory", "in parts", "in the sieve", "published"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "in parts":
        monkeypatch.setattr(batches, "PART_ROWS", 50)
    if request.param == "in the sieve":
        monkeypatch.setattr("store.identities.screen.ROWS_MIN", 1)
    return str(request.param)


def test_the_rows_of_the_batch_before_are_known_while_it_is_committed(store: Store, where: str) -> None:
    table = records(200, seed=1, days=2)
    first = _begun(store, table.slice(0, 150))
    preceding = first.precede()
    if where == "published":
        assert _fates(first.commit()) == (150, 0, 0, 150)
    second = _begun(store, table.slice(100), preceding)
    contradicting = table.slice(0, 10)
    place = contradicting.column_names.index("called_number")
    contradicting = contradicting.set_column(place, "called_number", pa.array([46_700_000_000 + 10**12] * 10))
    second.add(contradicting)
    if where != "published":
        assert _fates(first.commit()) == (150, 0, 0, 150)
    assert _fates(second.commit()) == (50, 50, 10, 60)
    assert _stored(store) == 210
    assert _fates(deliver(store, table)) == (0, 200, 0, 0)


def test_a_batch_after_one_that_failed_is_void_and_leaves_nothing(store: Store, where: str) -> None:
    table = records(200, seed=2)
    first = _begun(store, table)
    preceding = first.precede()
    if where == "published":
        first.abort()
    second = _begun(store, table, preceding)
    first.abort()
    with pytest.raises(VoidError):
        second.commit()
    assert _stored(store) == 0 and not list(store.layout.parts.rglob("*.parquet"))
    assert _fates(deliver(store, table)) == (200, 0, 0, 200)


def test_a_batch_after_one_that_settled_with_others_is_void(store: Store) -> None:
    table = records(200, seed=3)
    first = _begun(store, table)
    second = _begun(store, table.slice(50), first.precede())
    assert deliver(store, table.slice(0, 100)).accepted == 100
    assert _fates(first.commit()) == (100, 100, 0, 100)
    with pytest.raises(VoidError):
        second.commit()
    assert _stored(store) == 200


def test_what_others_published_meanwhile_is_still_compared(store: Store) -> None:
    table = records(300, seed=4)
    first = _begun(store, table.slice(0, 100))
    second = _begun(store, table.slice(100), first.precede())
    assert deliver(store, table.slice(250)).accepted == 50
    first.commit()
    assert _fates(second.commit()) == (150, 50, 0, 150)
    assert _stored(store) == 300


def test_parts_of_the_batch_before_may_be_merged_away_at_once(store: Store, where: str) -> None:
    table = records(300, seed=5)
    deliver(store, table.slice(200))
    first = _begun(store, table.slice(0, 200))
    second = store.begin_batch(EAST, format="csv", after=first.precede())
    second.add(table.slice(0, 50))
    first.commit()
    assert store.compact(everything=True).merged >= 2
    second.settle()
    second.add(table.slice(50))
    second.finish_input(b"\x12" * 32, 1)
    assert _fates(second.commit()) == (0, 300, 0, 0)
    assert _stored(store) == 300 and store.verify() == []
