"""What a hold copies out of a partition with corrected records: as corrected, and as its purpose may use it."""

from __future__ import annotations

import pytest

from schemas.holds import Purpose
from store import Store
from store.correcting.overlay import RECTIFIED, RELEASED, RESTRICTED, SUPERSEDED
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.correcting.test_overlay import correct
from tests.store.records import CALLING, records, with_column
from tests.store.retention.test_holds import age, place

OTHER = "46701749999"
TARGET = str(CALLING + 7)[1:]


def held(store: Store, purpose: Purpose) -> dict[int, int]:
    """Return the duration by position of what is held for a purpose."""
    columns = ("batch_position", "duration_ms")
    batches = store.holds.scan(purpose, start_us=0, end_us=2**60, columns=columns)
    return {row["batch_position"]: row["duration_ms"] for found in batches for row in found.to_pylist()}


@pytest.fixture
def batch(store: Store) -> int:
    """Six records of one number and one account."""
    table = with_column(records(6, first_key=1), "calling_number", [CALLING + 7] * 6)
    table = with_column(table, "called_number", [CALLING + 500] * 6)
    return deliver(store, with_column(table, "account", [1_000_777] * 6)).batch_id


@pytest.mark.parametrize("merged", [False, True])
def test_a_hold_takes_along_what_its_purpose_may_use_as_corrected(
    store: Store, batch: int, clock: FixedClock, merged: bool
) -> None:
    correct(store, RESTRICTED, batch, 1, "00000000000000a1")
    correct(store, SUPERSEDED, batch, 2, "00000000000000a2")
    correct(store, RECTIFIED, batch, 3, "00000000000000a3", calling_number=OTHER)
    correct(store, RECTIFIED, batch, 4, "00000000000000a4", duration_ms=777_000)
    correct(store, RESTRICTED, batch, 5, "00000000000000a5")
    correct(store, RELEASED, batch, 5, "00000000000000a6")
    if merged:
        deliver(store, records(5, first_key=900))
        store.compact(everything=True)
    key = age(store, clock)
    place(store, "a1", targets=[{"kind": "number", "value": TARGET}])
    place(store, "b1", basis="invoice-consumer", accounts=["000777"])
    assert store.expire().partitions == (key,)
    preserved = held(store, Purpose.DISCLOSURE)
    assert set(preserved) == {1, 4, 5, 6}, "restricted ones serve disclosures; the other number's is not the target's"
    billed = held(store, Purpose.BILLING)
    assert set(billed) == {3, 4, 5, 6}, "restricted ones are not billed"
    assert (preserved[4], billed[4]) == (777_000, 777_000)
    assert store.verify() == []
