"""A result of which something was withdrawn, corrected or erased since its search is not released any more."""

from __future__ import annotations

from datetime import timedelta

import pytest

from api.disclosure.model import Task
from schemas.errors import ProcedureError
from store import Store
from store.clock import to_date
from store.correcting.overlay import RESTRICTED, SUPERSEDED, Correction
from store.partitions import PartitionKey
from store.retention import erasing
from tests.api.disclosure.conftest import Court
from tests.api.disclosure.test_completeness import more
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records

INSIDE, OUTSIDE = 6, 1
"""Days ago: within the order's window, and after it."""


def searched(court: Court) -> Task:
    return court.run(court.approved().id)


def refused(court: Court, task: Task) -> str:
    with pytest.raises(ProcedureError) as caught:
        court.release(task.id)
    return caught.value.reason


def correct(store: Store, batch: int, kind: str, days_ago: int) -> None:
    partition = next(item.key for item in store.partitions() if item.records and _is(store, item.key, days_ago))
    store.corrections.request(Correction("00000000000000aa", kind, partition, batch, 1), {"by": "a"})
    store.corrections.confirm("00000000000000aa", {}, ("a", "b"))


def _is(store: Store, key: PartitionKey, days_ago: int) -> bool:
    return key.end_date == to_date(store.clock.now_us()) - timedelta(days=days_ago)


@pytest.mark.parametrize("kind", [RESTRICTED, SUPERSEDED])
def test_a_correction_of_a_day_of_the_result_is(court: Court, kind: str) -> None:
    batch = deliver(court.store, more(INSIDE), source="more").batch_id
    task = searched(court)
    correct(court.store, batch, kind, INSIDE)
    assert refused(court, task) == "corrected-since"
    assert court.release(searched(court).id)  # searched again, the store's word of today leaves


def test_a_correction_of_another_day_is_not(court: Court) -> None:
    batch = deliver(court.store, more(OUTSIDE), source="more").batch_id
    task = searched(court)
    correct(court.store, batch, SUPERSEDED, OUTSIDE)
    assert court.release(task.id)


def test_a_withdrawal_that_the_result_does_not_stand_on_is_not(court: Court) -> None:
    strangers = deliver(court.store, records(40, days_ago=INSIDE, days=1, seed=9), source="strangers")
    task = searched(court)
    court.store.withdraw_batch(strangers.batch_id, reason="zone", actors=["a", "b"])
    assert court.release(task.id)


def test_what_was_corrected_before_the_search_is_not(court: Court) -> None:
    batch = deliver(court.store, more(INSIDE), source="more").batch_id
    correct(court.store, batch, SUPERSEDED, INSIDE)
    assert court.release(searched(court).id)


def test_an_erased_record_does_not_leave_with_a_later_signature(court: Court) -> None:
    batch = deliver(court.store, more(INSIDE), source="more").batch_id
    task = court.run(court.approved(expires_at_us=NOW_US + 300 * DAY_US).id)
    court.clock.advance(days=200)
    court.store.clock_guard.beat()
    court.store.clock_guard.confirm(court.clock.now_us(), reason="test", actors=["a", "b"])
    key = next(item.key for item in court.store.partitions() if _is(court.store, item.key, 200 + INSIDE))
    words = {"citation": "Regulation (EU) 2016/679 Art 17(1)(d)"}
    wanted = Correction("00000000000000ee", erasing.ERASED, key, batch, 1, words, said={"reason": "asked"})
    court.store.corrections.request(wanted, {"by": "a"})
    erasing.erase(court.store, "00000000000000ee", {}, ("a", "b"))
    assert refused(court, task) == "corrected-since"


def test_a_test_has_nothing_that_could_be_corrected(court: Court) -> None:
    task = court.run(court.approved(is_test=True).id)
    batch = deliver(court.store, more(INSIDE), source="more").batch_id
    court.store.withdraw_batch(batch, reason="zone", actors=["a", "b"])
    assert court.release(task.id)
