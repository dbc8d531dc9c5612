"""Somebody with write access to the catalog, and without keys, changes it: verification says what was done."""

from __future__ import annotations

import pytest

from schemas.errors import LagrumError
from schemas.rejects import Reject, RejectReason
from store import ScanQuery, SourceRef, Store
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import records

EVER = ScanQuery(0, 2**60)

CHANGES = {
    "a batch is hidden": ("UPDATE batches SET withdrawn_us = 1 WHERE batch_id = 1", "withdrawn"),
    "a withdrawn batch is shown again": ("UPDATE batches SET withdrawn_us = NULL", "withdrawn"),
    "a part is hidden": ("DELETE FROM parts WHERE part_id = 1", "the catalog does not"),
    "a part is given to another batch": ("UPDATE parts SET batch_id = 2 WHERE part_id = 1", "manifest"),
    "a partition is marked as dropped": ("UPDATE partitions SET state = 'dropped' WHERE partition_id = 1", "dropped"),
    "a partition is marked as leaving": ("UPDATE partitions SET state = 'dropping' WHERE partition_id = 1", "erasure"),
    "a partition is moved to another day": (
        "UPDATE partitions SET end_date = '2026-11-01' WHERE partition_id = 1",
        "is missing",
    ),
    "bounds are changed, so that scans leave it out": (
        "UPDATE parts SET end_us_max = 5, end_us_min = 4, start_us_min = 3 WHERE part_id = 1",
        "time bounds",
    ),
    "a batch's counts are changed": (
        "UPDATE batches SET records = records - 1, accepted = accepted - 1 WHERE batch_id = 1",
        "counts",
    ),
    "rejects are taken away": ("DELETE FROM quarantine", "not all in quarantine"),
    "rejects of two batches are swapped": (
        "UPDATE quarantine SET batch_id = 5 - batch_id WHERE batch_id IN (2, 3)",
        "authenticate",
    ),
    "digests of two deliveries are swapped": (
        "UPDATE batches SET sealed = (SELECT sealed FROM batches b WHERE b.batch_id = 5 - batches.batch_id) "
        "WHERE batch_id IN (2, 3)",
        "authenticate",
    ),
    "documents are swapped": (
        "UPDATE documents SET sealed = (SELECT sealed FROM documents d WHERE d.id <> documents.id)",
        "authenticate",
    ),
}


@pytest.fixture
def filled(store: Store) -> Store:
    from store.documents import Put

    deliver(store, records(10))
    for number in (1, 2):
        with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
            batch.add(records(10, first_key=1000 * number))
            batch.reject([Reject(11, RejectReason.MALFORMED, raw=b"x" * number)])
            batch.finish_input(bytes([number]) * 32, 1)
            batch.commit()
    wrong = deliver(store, records(10, first_key=9000))
    store.withdraw_batch(wrong.batch_id, reason="zone", actors=("p1", "p2"))
    store.documents.commit([Put("thing", "a", {"is": "a"}), Put("thing", "b", {"is": "b"})])
    assert store.verify() == []
    return store


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_catalog_is_told(filled: Store, change: str) -> None:
    sql, words = CHANGES[change]
    with filled.catalog.transaction() as cursor:
        cursor.execute(sql)
        assert cursor.rowcount > 0
    problems = filled.verify()
    assert [problem for problem in problems if words in problem.what], problems


def test_a_damaged_catalog_is_an_error_of_ours_and_no_traceback(store: Store, clock: FixedClock) -> None:
    deliver(store, records(10))
    store.close()
    path = store.layout.catalog
    data = bytearray(path.read_bytes())
    data[4096:] = bytes(len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(LagrumError), Store.open(store.root, clock=clock) as again:
        list(again.scan(EVER))


def test_a_missing_pinned_key_is_told(store: Store) -> None:
    (store.layout.audit / "origin.pub").unlink()
    assert [problem.where for problem in store.verify()] == ["audit log"]


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM part_batches WHERE batch_id = 1",
        "DELETE FROM part_batches",
        "UPDATE part_batches SET rows = rows + 1 WHERE batch_id = 2",
        "UPDATE part_batches SET rows = CASE batch_id WHEN 1 THEN 11 WHEN 2 THEN 10 ELSE rows END",
    ],
)
def test_what_a_merged_part_holds_cannot_be_told_otherwise(store: Store, change: str) -> None:
    """With a row taken away, withdrawing that batch would hide nothing."""
    for number in range(3):
        deliver(store, records(10 + number, first_key=1000 * number))
    store.compact(everything=True)
    assert store.verify() == []
    with store.catalog.transaction() as cursor:
        cursor.execute(change)
    assert any("other batches" in str(problem) for problem in store.verify())
