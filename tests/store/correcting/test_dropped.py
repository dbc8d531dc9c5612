"""Which batches have to come again when one is withdrawn: those of its domain that dropped duplicates after it."""

from __future__ import annotations

from store import Store
from store.correcting import dropped
from tests.store.conftest import deliver
from tests.store.records import records


def test_later_batches_of_the_domain_that_dropped_something_are_named(store: Store) -> None:
    deliver(store, records(5, first_key=500))
    deliver(store, records(5, first_key=500))  # before it
    table = records(10)
    batch = deliver(store, table).batch_id
    part = deliver(store, table.slice(0, 4)).batch_id
    deliver(store, records(3, first_key=900))  # all new
    deliver(store, records(5, first_key=700), source="west")
    deliver(store, records(5, first_key=700), source="west")  # of another domain
    gone = deliver(store, table.slice(0, 2)).batch_id
    last = deliver(store, table).batch_id
    store.withdraw_batch(gone, reason="test", actors=("one", "two"))
    found = dropped.since(store, batch)
    assert (found.batches, found.records) == ((part, last), 14)
    assert found.as_dict() == {"batches": 2, "records_max": 14, "deliver_again": [part, last]}
    store.withdraw_batch(batch, reason="test", actors=("one", "two"))
    again = [deliver(store, table.slice(0, rows)) for rows in (4, 10)]
    assert sum(receipt.accepted for receipt in again) == 10
    assert store.verify() == []
