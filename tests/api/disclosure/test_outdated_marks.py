"""A result that has left and of which something is not so any more: who learns of it, what they learn, and what not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.disclosure import outdated_marks
from api.disclosure.completeness import COMPLETE, PARTLY, verify
from api.disclosure.model import Task
from api.disclosure.outdated_marks import Informing, Watch
from api.disclosure.result_records import Places, has_batch, has_place
from api.disclosure.staleness import Change
from api.disclosure.views import cases, show
from api.disclosure.worklist import Reminders, worklist
from schemas.errors import NotFoundError, ProcedureError
from store import Store
from store.correcting.overlay import RECTIFIED, RELEASED, RESTRICTED, SUPERSEDED, Correction
from store.retention import erasing, explain
from tests.api.disclosure.conftest import PEOPLE, Court
from tests.api.disclosure.test_completeness import more
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records

INSIDE = 6
"""Days ago, within the order's window."""


def left(court: Court) -> tuple[Task, int]:
    """A result that was fetched, with records of a batch of their own."""
    batch = deliver(court.store, more(INSIDE), source=f"more-{court.store.audit.size}").batch_id
    task = court.released()
    court.deliver(task.id)
    return task, batch


def correct(store: Store, batch: int, kind: str = SUPERSEDED, act: str = "00000000000000aa", position: int = 2) -> None:
    fields = {"duration_ms": 1} if kind == RECTIFIED else {}
    partition = next(item.key for item in store.partitions() if item.records)
    store.corrections.request(Correction(act, kind, partition, batch, position, fields), {"by": "a"})
    store.corrections.confirm(act, {}, ("a", "b"))


def erase(court: Court, batch: int, position: int) -> None:
    """Erase a record, half a year later."""
    court.clock.advance(days=200)
    court.store.clock_guard.confirm(court.clock.now_us(), reason="test", actors=["a", "b"])
    key = explain.part_of(court.store, batch, position).partition
    words = {"citation": "Regulation (EU) 2016/679 Art 17(1)(d)"}
    wanted = Correction("00000000000000ee", erasing.ERASED, key, batch, position, words, said={"reason": "asked"})
    court.store.corrections.request(wanted, {"by": "a"})
    assert Watch(court.store).look() == 0, "one custodian alone changes nothing"
    erasing.erase(court.store, "00000000000000ee", {}, ("a", "b"))


def items(court: Court, person: str) -> list[dict[str, Any]]:
    found = worklist(court.store, court.actor(person))["items"]
    return [item for item in found if item["clock"] == "outdated"]


@pytest.mark.parametrize("kind", [RESTRICTED, SUPERSEDED, RECTIFIED])
def test_a_correction_of_a_record_that_left_is_an_open_end_until_the_officer_was_shown_it(
    court: Court, kind: str
) -> None:
    task, batch = left(court)
    watch, before = Watch(court.store), show(court.store, court.actor("officer-1"), task.id)
    assert watch.look() == 0 and before["outdated_since"] is None
    correct(court.store, batch, kind)
    start = court.store.audit.size
    assert (watch.look(), watch.look()) == (1, 0)
    (entry,) = court.log(start)
    assert (entry.kind, entry.public["task"], entry.public["changes"]) == ("disclosure.outdated", task.id, {kind: 1})
    (item,) = items(court, "handler-1")
    assert (item["case"], item["step"], item["due_at"]) == (task.id, "inform", None)
    assert items(court, "officer-1") == []
    seen = show(court.store, court.actor("handler-2"), task.id)
    assert seen["outdated"]["changes"] == {kind: 1} and seen["outdated"]["told_at"] is None
    assert items(court, "handler-1"), "the operator's own reading tells no authority"
    start = court.store.audit.size
    told = show(court.store, court.actor("officer-1"), task.id)
    assert told["outdated_since"] == seen["outdated"]["since"] and "outdated" not in told
    assert court.log(start)[-1].public["told"] == "outdated"
    assert items(court, "handler-1") == []
    assert show(court.store, court.actor("handler-1"), task.id)["outdated"]["told_by"] == "officer-1"


def test_what_is_corrected_later_opens_it_again_and_counts_on(court: Court) -> None:
    task, batch = left(court)
    watch = Watch(court.store)
    correct(court.store, batch, RESTRICTED)
    watch.look()
    show(court.store, court.actor("officer-1"), task.id)
    correct(court.store, batch, RELEASED, "00000000000000ab")
    assert watch.look() == 1
    assert len(items(court, "handler-1")) == 1
    seen = show(court.store, court.actor("approver-1"), task.id)["outdated"]
    assert (seen["changes"], seen["told_at"]) == ({RELEASED: 1, RESTRICTED: 1}, None)


def test_a_withdrawn_batch_is_told_once_also_after_a_restart(court: Court) -> None:
    task, batch = left(court)
    court.store.withdraw_batch(batch, reason="zone", actors=["a", "b"])
    assert [Watch(court.store).look() for _ in range(2)] == [1, 0]
    (mark,) = outdated_marks.marks(court.store).values()
    assert (mark.task, mark.kinds) == (task.id, {"withdrawn": 1})


def test_an_erasure_after_the_release_is_told_to_the_authority(court: Court) -> None:
    batch = deliver(court.store, more(INSIDE), source="more").batch_id
    task = court.release(court.run(court.approved(expires_at_us=NOW_US + 300 * DAY_US).id).id)
    court.deliver(task.id)
    erase(court, batch, 1)
    assert Watch(court.store).look() == 1
    (mark,) = outdated_marks.marks(court.store).values()
    assert (mark.task, mark.kinds) == (task.id, {"erased": 1})
    assert show(court.store, court.actor("officer-1"), task.id)["outdated_since"] is not None


def test_after_an_erasure_the_orders_next_result_is_without_the_record_and_each_is_judged_as_it_was(
    court: Court,
) -> None:
    """The authority is told that the first is outdated; the second is whole without what may not be had any more."""
    batch = deliver(court.store, more(INSIDE), source="more").batch_id
    first = court.release(court.run(court.approved(expires_at_us=NOW_US + 300 * DAY_US).id).id)
    court.deliver(first.id)

    def searched() -> Task:
        again = court.register(court.procedure.casebook.authorisation(first.authorisation_id)[0])
        return court.run(court.approve(court.check(again.id).id).id)

    waits = searched()
    erase(court, batch, 2)
    Watch(court.store).look()
    with pytest.raises(ProcedureError) as caught:
        court.release(waits.id)
    assert caught.value.reason == "corrected-since"
    second = court.release(searched().id)
    assert second.records == (first.records or 0) - 1
    court.deliver(second.id)
    before, after = (verify(court.store, task.id, thorough=True) for task in (first, second))
    assert (before.verdict, before.problems, before.days_not_comparable) == (PARTLY, [], {"erased": 1})
    assert (after.verdict, after.problems, after.days_not_comparable) == (COMPLETE, [], {})
    told = {task.id: show(court.store, court.actor("officer-1"), task.id)["outdated_since"] for task in (first, second)}
    assert told[first.id] is not None and told[second.id] is None
    assert Watch(court.store).look() == 0


def test_what_is_not_in_the_result_is_nobodys_matter(court: Court) -> None:
    strangers = deliver(court.store, records(40, days_ago=INSIDE, days=1, seed=9), source="strangers").batch_id
    left(court)
    correct(court.store, strangers)  # of the same day
    court.store.withdraw_batch(strangers, reason="zone", actors=["a", "b"])
    assert Watch(court.store).look() == 0
    assert outdated_marks.marks(court.store) == {}


def test_a_case_handler_tells_by_another_road_once_and_only_what_is_so(court: Court) -> None:
    task, batch = left(court)
    informing, handler = Informing(court.store), court.actor("handler-2")

    def refused(act: Callable[[], Any]) -> str:
        with pytest.raises(ProcedureError) as caught:
            act()
        assert court.log()[-1].kind == "disclosure.refused"
        return caught.value.reason

    assert refused(lambda: informing.inform(handler, task.id)) == "not-outdated"
    correct(court.store, batch)
    Watch(court.store).look()
    for person in set(PEOPLE) - {"handler-1", "handler-2"}:
        assert refused(lambda: informing.inform(court.actor(person), task.id)) == "wrong-role"  # noqa: B023
    assert informing.inform(handler, task.id).told_by == "handler-2"
    assert court.log()[-1].kind == "disclosure.informed"
    assert items(court, "handler-1") == []
    assert refused(lambda: informing.inform(handler, task.id)) == "told"
    with pytest.raises(NotFoundError):
        informing.inform(handler, "SE-T-" + "0" * 16)


def test_nobody_is_told_of_a_result_that_has_not_left(court: Court) -> None:
    """It is marked, since it may leave yet; but whoever was told now would hold a result that nobody released."""
    batch = deliver(court.store, more(INSIDE), source="more").batch_id
    task = court.run(court.approved().id)
    correct(court.store, batch)
    assert Watch(court.store).look() == 1
    with pytest.raises(ProcedureError) as caught:
        Informing(court.store).inform(court.actor("handler-1"), task.id)
    assert caught.value.reason == "not-outdated"
    assert [mark.told_us for mark in outdated_marks.marks(court.store).values()] == [None]


def test_the_officer_learns_since_when_and_nothing_else_and_no_other_officer_anything(court: Court) -> None:
    task, batch = left(court)
    correct(court.store, batch)
    Watch(court.store).look()
    (listed,) = cases(court.store, court.actor("officer-1"))
    assert listed["tasks"][0]["outdated_since"] is not None
    assert len(items(court, "handler-1")) == 1, "a list tells of many cases; who reads the case was told"
    assert "superseded" not in json.dumps([listed, show(court.store, court.actor("officer-1"), task.id)])
    assert cases(court.store, court.actor("officer-2")) == []


def test_new_data_leaves_by_the_usual_road_only(court: Court) -> None:
    task, batch = left(court)
    correct(court.store, batch)
    Watch(court.store).look()
    with pytest.raises(ProcedureError) as caught:
        court.release(task.id)
    assert caught.value.reason == "corrected-since"
    again = court.register(court.procedure.casebook.authorisation(task.authorisation_id)[0])
    court.release(court.run(court.approve(court.check(again.id).id).id).id)
    assert court.procedure.casebook.task(again.id)[0].records == (task.records or 0) - 1
    assert show(court.store, court.actor("officer-1"), again.id)["outdated_since"] is None


def test_a_result_that_nobody_ever_had_is_not_told(court: Court) -> None:
    batch = deliver(court.store, more(INSIDE), source="more").batch_id
    task = court.released()
    court.procedure.cancel(court.actor("officer-1"), task.authorisation_id, "settled")
    correct(court.store, batch)
    assert Watch(court.store).look() == 0
    assert items(court, "handler-1") == []


def test_a_gauge_does_not_move_on_the_day_of_the_correction(court: Court) -> None:
    """Who corrects a record and reads metrics would see that it was disclosed."""
    _, batch = left(court)
    correct(court.store, batch)
    Watch(court.store).look()
    reminders = Reminders(court.store)

    def counted() -> float:
        reminders.look()
        samples = [sample for family in reminders.collect() for sample in family.samples]
        return sum(one.value for one in samples if one.labels == {"clock": "outdated", "standing": "open"})

    assert counted() == 0
    court.clock.advance(days=1)
    assert counted() == 1


def test_a_change_before_the_search_or_of_another_record_touches_nothing() -> None:
    kept = Places()
    kept.add(_table([(3, 7)]))
    evidence = {"snapshot": {"log": {"from": 10}}, "days": {"2026-11-16": [1, ""]}, "places": kept.as_body()}
    touching = [
        Change(10, "erased", day="2026-11-16"),
        Change(10, "withdrawn", batch_id=3),
        Change(11, "rectified", batch_id=3, position=7),
    ]
    assert all(change.touches(evidence) for change in touching)
    others = [
        Change(9, "erased", day="2026-11-16"),
        Change(10, "erased", day="2026-11-17"),
        Change(10, "withdrawn", batch_id=2),
        Change(10, "rectified", batch_id=3, position=6),
        Change(10, "rectified", batch_id=4, position=7),
    ]
    assert not any(change.touches(evidence) for change in others)


@given(st.sets(st.tuples(st.integers(1, 4), st.integers(0, 40)), max_size=60))
def test_places_are_kept_as_they_were_given(pairs: set[tuple[int, int]]) -> None:
    kept = Places()
    for start in range(0, len(pairs), 7):
        kept.add(_table(sorted(pairs)[start : start + 7]))
    body = json.loads(json.dumps(kept.as_body()))
    assert {(b, p) for b in range(6) for p in range(42) if has_place(body, b, p)} == pairs
    assert {b for b in range(6) if has_batch(body, b)} == set(Counter(b for b, _ in pairs))


def _table(pairs: list[tuple[int, int]]) -> pa.Table:
    array = np.array(pairs, np.int64).reshape(-1, 2)
    return pa.table({"batch_id": array[:, 0], "batch_position": array[:, 1].astype(np.int32)})
