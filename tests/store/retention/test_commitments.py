"""Whoever edits holds or the policy out of the catalog: nothing goes, and `verify` tells."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from schemas.errors import IntegrityError
from store import Put, Store
from store.audit import AuditEntry
from store.clock import to_date
from store.partitions import PartitionKey
from store.retention import commitments, reclassified_erasure
from store.retention.holds import KIND
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import DAY_US, records
from tests.store.retention.test_holds import held, place, preserve
from tests.store.retention.test_policies import ACTORS, SPLIT, move
from tests.store.retention.test_reclassification import ENDS_US, KEY, SHORTER


def confirmed(store: Store, hold_id: str) -> None:
    """Say in the log what two custodians confirmed of a hold."""
    ends = store.documents.get(KIND, hold_id).body["ends"]
    store.log(AuditEntry(commitments.CONFIRMED, {"hold": hold_id, "act": "add", "ends": ends}))


def edit(store: Store, *statements: str) -> None:
    with store.catalog.transaction() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def due(store: Store, clock: FixedClock) -> PartitionKey:
    """A partition whose period is over, and of which a hold names records."""
    table = records(200)
    deliver(store, table)
    key, _ = preserve(store, clock, table)
    confirmed(store, "a1")
    return key


def refused(store: Store, clock: FixedClock, where: str) -> None:
    with Store.open(store.root, clock=clock) as other:
        with pytest.raises(IntegrityError, match=where):
            other.expire()
        assert where in {problem.where for problem in other.verify()}


def test_a_hold_that_somebody_takes_out_of_the_catalog_lets_nothing_go(
    store: Store, clock: FixedClock, due: PartitionKey
) -> None:
    edit(store, "CREATE TABLE aside AS SELECT * FROM documents", "DELETE FROM documents WHERE kind = 'hold'")
    refused(store, clock, "hold a1")
    assert store.keyring.has(due.ref) and store.layout.partition(due).is_dir()
    edit(store, "INSERT INTO documents SELECT * FROM aside WHERE kind = 'hold'", "DROP TABLE aside")
    store.expire()
    assert held(store) and store.verify() == []


def test_a_renewal_that_somebody_takes_back_ends_no_hold(store: Store, clock: FixedClock, due: PartitionKey) -> None:
    store.expire()
    edit(store, "CREATE TABLE aside AS SELECT * FROM documents WHERE kind = 'hold'")
    document = store.documents.get(KIND, "a1")
    longer = {**document.body, "ends": "2030-01-01"}
    store.documents.commit([Put(KIND, "a1", longer, expect=document.revision)])
    confirmed(store, "a1")
    edit(store, "DELETE FROM documents WHERE kind = 'hold'", "INSERT INTO documents SELECT * FROM aside")
    edit(store, "DROP TABLE aside")
    hold = store.holds.get("a1")
    for _ in range(100):
        clock.advance(days=1)
        store.clock_guard.beat()
    assert not hold.is_in_force(clock.value_us)
    refused(store, clock, "hold a1")
    assert store.keyring.has(hold.ref)


def test_what_a_hold_keeps_is_no_orphan_when_its_row_is_taken_away(
    store: Store, clock: FixedClock, due: PartitionKey
) -> None:
    deliver(store, records(20, first_key=5000, days_ago=-700))
    store.expire()
    kept = {path: path.read_bytes() for path in store.layout.held.glob("*/*")}
    assert kept
    edit(store, "DELETE FROM held")
    clock.value_us += 740 * DAY_US
    store.clock_guard.observe()
    refused(store, clock, f"hold a1, partition {due}")
    store.holds.carve(store.partitions()[0].key)
    assert {path: path.read_bytes() for path in store.layout.held.glob("*/*")} == kept


def test_what_a_hold_keeps_is_missed_when_file_and_row_are_gone(store: Store, due: PartitionKey) -> None:
    store.expire()
    assert store.verify() == []
    edit(store, "DELETE FROM held")
    for path in store.layout.held.glob("*/*"):
        path.unlink()
    assert [problem.where for problem in store.verify()] == [f"hold a1, partition {due}"]


def test_a_hold_that_ended_is_missed_by_nobody(store: Store, due: PartitionKey) -> None:
    store.expire()
    store.holds.end("a1", reason="released", actors=["a", "b"])
    assert store.verify() == []
    assert store.log_state.commitments() == commitments.Commitments(over={"a1"})


def test_a_hold_that_ended_is_not_brought_back_to_keep_what_is_due(
    store: Store, clock: FixedClock, due: PartitionKey
) -> None:
    """Its earlier row opens as it did: it would carve out again, under a new key, what nobody may keep."""
    edit(store, "CREATE TABLE aside AS SELECT * FROM documents WHERE kind = 'hold'")
    store.holds.end("a1", reason="released", actors=["a", "b"])
    edit(store, "DELETE FROM documents WHERE kind = 'hold'", "INSERT INTO documents SELECT * FROM aside")
    edit(store, "DROP TABLE aside")
    refused(store, clock, "hold a1")
    assert list(store.layout.held.glob("*/*")) == []


def test_a_version_of_the_policy_that_somebody_takes_out_lets_nothing_go(
    store: Store, clock: FixedClock, due: PartitionKey
) -> None:
    tomorrow = to_date(clock.value_us) + timedelta(days=1)
    store.policies.enforce(replace(SPLIT, start=tomorrow), actors=ACTORS)
    edit(store, "DELETE FROM documents WHERE kind = 'policy'")
    with Store.open(store.root, clock=clock) as other:
        with pytest.raises(IntegrityError, match="policy version 2"):
            other.expire()
        assert other.keyring.has(due.ref)


def test_of_a_category_that_moved_nothing_goes_either(store: Store, clock: FixedClock) -> None:
    deliver(store, records(60, first_key=1))
    store.policies.enforce(SHORTER, actors=ACTORS)
    place(store, "a1", ends=date(2029, 1, 1))
    confirmed(store, "a1")
    edit(store, "DELETE FROM documents WHERE kind = 'hold'")
    move(store, clock, ENDS_US)
    with Store.open(store.root, clock=clock) as other:
        run = replace(other.expire(dry_run=True), dry_run=False, moved=())
        with pytest.raises(IntegrityError, match="hold a1"):
            reclassified_erasure.expire(other, run)
        assert other.keyring.has(KEY.ref)
