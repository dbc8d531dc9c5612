"""Emergencies and suspension: what changes an authorisation after it was filed, and what time does to it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.cli.disclosure_common import flat
from api.disclosure import lapses
from api.disclosure.model import Authorisation, Task, Window
from api.disclosure.orders import WrittenTarget
from api.disclosure.states import AuthorisationState, Stage, TaskState
from api.disclosure.views import cases, lapsed, show, source
from schemas.errors import AuditError, IntegrityError, ProcedureError
from schemas.fields import Category
from store import Put
from store.keys import KeyRef
from tests.api.disclosure.conftest import AUTHORITY, OTHER_AUTHORITY, TARGET, WINDOW, Court
from tests.store.records import DAY_US

HOUR_US = DAY_US // 24


def order_of(court: Court, task: Task) -> Authorisation:
    return court.procedure.casebook.authorisation(task.authorisation_id)[0]


def later(court: Court, hours: int) -> None:
    court.clock.value_us += hours * HOUR_US


def refused(act: Any, *given: Any) -> str:
    with pytest.raises(ProcedureError) as refusal:
        act(*given)
    return refusal.value.reason


def fetched(court: Court) -> Task:
    """An emergency under which a package has left."""
    task = court.emergency()
    court.release(court.run(task.id).id)
    court.deliver(task.id)
    return court.procedure.casebook.task(task.id)[0]


def test_an_emergency_is_searched_and_delivered_before_its_confirmation_and_never_without_an_approver(
    shared_court: Court,
) -> None:
    court = shared_court
    checked = court.check(court.register(court.file(emergency=True)).id, call=court.called())
    assert refused(court.run, checked.id) == "wrong-state"
    task = court.approve(checked.id)
    assert order_of(court, task).state is AuthorisationState.EMERGENCY_APPROVAL
    assert task.due_at_us == court.clock.now_us() + 8 * HOUR_US
    court.run(task.id)
    assert refused(court.deliver, task.id) == "wrong-state"
    court.release(task.id)
    assert court.deliver(task.id)
    seen = show(court.store, court.actor("approver-1"), task.id)
    assert seen["call_back"]["by"] == "handler-1"
    assert seen["authorisation"]["confirm_by"] is not None
    court.procedure.confirm(court.actor("officer-2"), task.authorisation_id, court.ruling())
    confirmed = order_of(court, task)
    assert confirmed.state is AuthorisationState.APPROVED
    assert confirmed.confirmation is not None
    assert confirmed.confirmation.by.person_id == "officer-2"
    # What confirms changes nothing of what was approved: the same signatures carry on.
    assert court.deliver(task.id)
    assert len(show(court.store, court.actor("approver-1"), task.id)["authorisation"]["documents"]) == 2


def test_what_nobody_confirms_becomes_invalid_and_what_had_left_is_told(court: Court) -> None:
    delivered, released, open_task = fetched(court), court.emergency(), court.emergency()
    court.release(court.run(released.id).id)
    kept = court.procedure.casebook.task(released.id)[0].delivery_id or ""
    later(court, 71)
    assert lapses.apply_all(court.store) == 0
    later(court, 1)
    start = court.store.audit.size
    assert lapses.apply_all(court.store) == 3
    assert lapses.apply_all(court.store) == 0
    stages = [court.procedure.casebook.task(task.id)[0] for task in (delivered, released, open_task)]
    assert [task.stage for task in stages] == [Stage.DELIVERED, Stage.INVALID, Stage.INVALID]
    assert [task.state for task in stages] == [TaskState.DISCLOSED, TaskState.INVALID, TaskState.INVALID]
    assert {order_of(court, task).state for task in stages} == {AuthorisationState.INVALID}
    assert not court.store.keyring.has(KeyRef("cases", "", kept, ""))
    entries = [entry for entry in court.log(start) if entry.kind == "disclosure.lapsed"]
    assert len(entries) == 3
    told = next(entry for entry in entries if entry.public["delivered"] == [delivered.id])
    assert told.secret is not None
    assert told.secret["delivered"][0]["records"] == delivered.records
    for step, task in ((court.deliver, delivered), (court.deliver, released), (court.run, open_task)):
        assert refused(step, task.id) == "unconfirmed"
    assert refused(court.procedure.confirm, court.actor("officer-1"), delivered.authorisation_id, court.ruling()) == (
        "unconfirmed"
    )
    for person in ("approver-1", "dpo-1"):
        report = lapsed(court.store, court.actor(person))
        assert [item["id"] for item in report if item["delivered"]] == [delivered.authorisation_id]
        left = next(item["delivered"][0] for item in report if item["delivered"])
        assert (left["task"], left["records"], len(left["fetched"])) == (delivered.id, delivered.records, 1)
        assert TARGET not in json.dumps(report)


def test_who_signs_a_further_emergency_sees_those_that_nobody_confirmed(court: Court) -> None:
    first = court.emergency()
    other = court.emergency(targets=(WrittenTarget("number", "+46 70 174 98 98"),))
    court.clock.advance(days=4)
    assert lapses.apply_all(court.store) == 2
    again = court.check(court.register(court.file(emergency=True)).id, call=court.called())
    seen = show(court.store, court.actor("approver-1"), again.id)
    assert seen["lapsed_before"] == [first.authorisation_id]
    assert other.authorisation_id not in str(seen)
    assert flat(seen)["lapsed_before"] == first.authorisation_id
    assert "lapsed_before" not in show(court.store, court.actor("officer-1"), again.id)
    # Another authority's, a test's and an order that is no emergency stand for themselves.
    court.enrol("officer-2", "officer", authority=OTHER_AUTHORITY)
    for task in (
        court.register(court.file("officer-2", emergency=True, authority=OTHER_AUTHORITY), "officer-2"),
        court.register(court.file(emergency=True, is_test=True)),
        court.register(court.file()),
    ):
        assert show(court.store, court.actor("approver-1"), task.id)["lapsed_before"] == []


def test_an_emergency_that_ends_before_its_confirmation_still_owes_it(court: Court) -> None:
    """Else an order of one hour would never be told: it expires, and nobody asks who confirmed what had left."""
    tasks = [court.emergency(expires_at_us=court.clock.now_us() + HOUR_US) for _ in range(2)]
    for task in tasks:
        court.release(court.run(task.id).id)
        court.deliver(task.id)
    later(court, 2)
    assert lapses.apply_all(court.store) == 0
    assert refused(court.deliver, tasks[0].id) == "expired"
    court.procedure.confirm(court.actor("officer-2"), tasks[0].authorisation_id, court.ruling())
    later(court, 70)
    lapses.apply_all(court.store)
    assert [order_of(court, task).state for task in tasks] == [AuthorisationState.EXPIRED, AuthorisationState.INVALID]
    (told,) = lapsed(court.store, court.actor("dpo-1"))
    assert told["id"] == tasks[1].authorisation_id
    assert [item["task"] for item in told["delivered"]] == [tasks[1].id]


SHORTER = Window(WINDOW.start_us, WINDOW.start_us + DAY_US)
LESS: list[dict[str, Any]] = [
    {"window": SHORTER},
    {"targets": (WrittenTarget("number", TARGET),)},
    {"categories": frozenset({Category.TIME, Category.PARTY})},
]


@pytest.mark.parametrize("less", LESS, ids=lambda less: next(iter(less)))
def test_a_confirmation_that_grants_less_ends_what_asks_for_more(court: Court, less: dict[str, Any]) -> None:
    both = (WrittenTarget("number", TARGET), WrittenTarget("number", "0701740001"))
    wide = court.emergency(targets=both)
    order, _ = court.procedure.casebook.authorisation(wide.authorisation_id)
    tasks = [wide, *(court.register(order, **terms) for terms in ({}, {}, less))]
    for task in tasks[1:]:
        court.approve(court.check(task.id, call=court.called()).id)
    left, waits, _, narrow = tasks
    for task in (left, waits, narrow):
        court.release(court.run(task.id).id)
    assert court.deliver(left.id)
    kept = court.procedure.casebook.task(waits.id)[0].delivery_id or ""
    start = court.store.audit.size
    court.procedure.confirm(court.actor("officer-2"), order.id, court.ruling(**less))
    stages = [court.procedure.casebook.task(task.id)[0].stage for task in tasks]
    assert stages == [Stage.DELIVERED, Stage.INVALID, Stage.INVALID, Stage.RELEASED]
    assert not court.store.keyring.has(KeyRef("cases", "", kept, "")), "a result beyond the grant is destroyed"
    assert refused(court.deliver, left.id).endswith("-out-of-scope")
    assert court.deliver(narrow.id), "the same signatures carry on for what is granted"
    (told,) = [entry for entry in court.log(start) if entry.kind == "disclosure.confirmed"]
    assert set(told.public["stopped"]) == {task.id for task in tasks[1:3]}
    assert told.public["delivered"] == [left.id]
    (report,) = lapsed(court.store, court.actor("dpo-1"))
    assert [item["task"] for item in report["delivered"]] == [left.id]
    # What is registered now asks for what is granted, and for nothing beside it.
    granted = order_of(court, left)
    assert granted.scope == granted.from_body(granted.as_body()).scope != (both, granted.window, granted.categories)
    anew = court.register(granted)
    assert (anew.targets, anew.window, anew.categories) == granted.scope
    with pytest.raises(ProcedureError):
        court.register(granted, targets=both, window=granted.window, categories=granted.categories)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"window": Window(WINDOW.start_us - 1, WINDOW.end_us)}, "window-out-of-scope"),
        ({"window": Window(WINDOW.end_us, WINDOW.start_us)}, "empty-window"),
        ({"targets": (WrittenTarget("number", "0701740009"),)}, "target-out-of-scope"),
        ({"targets": ()}, "no-target"),
        ({"categories": frozenset()}, "no-category"),
    ],
)
def test_a_confirmation_grants_no_more_than_the_emergency_asked(
    court: Court, more: dict[str, Any], reason: str
) -> None:
    task = court.emergency()
    assert refused(court.procedure.confirm, court.actor("officer-1"), task.authorisation_id, court.ruling(**more)) == (
        reason
    )
    assert order_of(court, task).awaits_confirmation


def test_an_extension_grants_all_or_is_another_order(court: Court) -> None:
    task = court.approved()
    ruling = court.ruling(expires_at_us=court.clock.now_us() + 60 * DAY_US, window=SHORTER)
    assert refused(court.procedure.extend, court.actor("officer-1"), task.authorisation_id, ruling) == "not-whole"


def test_an_emergency_under_which_something_left_is_not_withdrawn_unconfirmed(court: Court) -> None:
    """Else an officer takes the package, cancels the order, and nobody learns that no court confirmed it."""
    task, untouched = fetched(court), court.emergency()
    officer = court.actor("officer-1")
    assert refused(court.procedure.cancel, officer, task.authorisation_id, "settled") == "confirmation-owed"
    assert court.procedure.cancel(officer, untouched.authorisation_id, "settled").state == "Cancelled"
    court.procedure.suspend(officer, task.authorisation_id, "settled")
    assert refused(court.procedure.cancel, officer, task.authorisation_id, "settled") == "confirmation-owed"
    court.procedure.confirm(court.actor("officer-2"), task.authorisation_id, court.ruling())
    assert court.procedure.cancel(officer, task.authorisation_id, "settled").state == "Cancelled"


def test_a_step_finds_a_lapse_before_the_service_does(court: Court) -> None:
    task = court.emergency()
    later(court, 72)
    assert refused(court.run, task.id) == "unconfirmed"
    assert [entry.kind for entry in court.log()][-2:] == ["disclosure.lapsed", "disclosure.refused"]
    assert order_of(court, task).state is AuthorisationState.INVALID


def test_a_lapse_that_cannot_be_logged_still_lets_nothing_out(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    task = fetched(court)
    later(court, 72)
    with monkeypatch.context() as patch:
        patch.setattr(type(court.store.audit), "append", _no_log)
        with pytest.raises(AuditError):
            court.deliver(task.id)
    assert refused(court.deliver, task.id) == "unconfirmed"
    assert "disclosure.lapsed" in [entry.kind for entry in court.log()]


def _no_log(*_: Any, **__: Any) -> Any:
    raise AuditError("the log is full")


def test_confirmed_in_its_last_hour_it_stands_and_expires_like_any_other(court: Court) -> None:
    task = court.emergency()
    later(court, 71)
    court.procedure.confirm(court.actor("officer-1"), task.authorisation_id, court.ruling())
    later(court, 100)
    assert court.run(task.id).stage is Stage.RUN
    later(court, 31 * 24)
    assert lapses.apply_all(court.store) == 1
    assert order_of(court, task).state is AuthorisationState.EXPIRED


def test_confirmed_before_it_is_approved_it_is_approved_like_any_other(shared_court: Court) -> None:
    court = shared_court
    task = court.register(court.file(emergency=True))
    court.procedure.confirm(court.actor("officer-1"), task.authorisation_id, court.ruling())
    court.approve(court.check(task.id, call=court.called()).id)
    assert order_of(court, task).state is AuthorisationState.APPROVED


def test_while_suspended_nothing_is_searched_released_or_fetched(shared_court: Court) -> None:
    court = shared_court
    approved, ran, released = court.approved(), court.run(court.approved().id), court.released()
    for task in (approved, ran, released):
        court.procedure.suspend(court.actor("officer-1"), task.authorisation_id, "settling")
    for step, task in ((court.run, approved), (court.release, ran), (court.deliver, released)):
        assert refused(step, task.id) == "authorisation-not-approved"
    assert refused(court.procedure.resume, court.actor("approver-1"), approved.authorisation_id) == "not-yours"
    for task in (approved, ran, released):
        court.procedure.resume(court.actor("officer-1"), task.authorisation_id)
    assert court.run(approved.id).stage is Stage.RUN
    assert court.deliver(released.id)


def test_an_emergency_comes_back_from_its_rest_as_what_it_was(court: Court) -> None:
    one, two, three = (court.emergency().authorisation_id for _ in range(3))
    for case in (one, two, three):
        court.procedure.suspend(court.actor("handler-1"), case, "doubt")
    approver = court.actor("approver-2")
    assert court.procedure.resume(approver, one).state is AuthorisationState.EMERGENCY_APPROVAL
    assert court.procedure.confirm(court.actor("officer-1"), two, court.ruling()).state is AuthorisationState.SUSPENDED
    assert court.procedure.resume(approver, two).state is AuthorisationState.APPROVED
    later(court, 72)
    lapses.apply_all(court.store)  # the time to confirm runs on in the rest
    states = [court.procedure.casebook.authorisation(case)[0].state for case in (one, two, three)]
    assert states == [AuthorisationState.INVALID, AuthorisationState.APPROVED, AuthorisationState.INVALID]


def test_the_decision_is_shown_as_it_came_and_its_digest_is_signed(court: Court) -> None:
    task = court.approved()
    decision, content = source(court.store, court.actor("approver-1"), task.id)
    assert content == b"Decision B 1234-26: 070-174 00 07"
    assert court.log()[-1].kind == "disclosure.viewed"
    assert refused(source, court.store, court.actor("officer-2"), task.id) == "not-yours"
    body = court.store.documents.get("decision", decision.document).body
    court.store.documents.commit([Put("decision", decision.document, body | {"content": "bm8="})])
    with pytest.raises(IntegrityError):
        source(court.store, court.actor("approver-1"), task.id)
    # A digest to go with the other document is another order than was approved.
    filed = court.store.documents.get("authorisation", task.authorisation_id).body
    filed["decisions"][0]["sha256"] = "0" * 64
    court.store.documents.commit([Put("authorisation", task.authorisation_id, filed)])
    assert refused(court.run, task.id) == "approval-digest"


def test_officers_see_that_their_case_has_lapsed_and_why(court: Court) -> None:
    task = court.emergency()
    later(court, 72)
    lapses.apply_all(court.store)
    seen = show(court.store, court.actor("officer-1"), task.id)
    assert (seen["state"], seen["reason"]) == ("Invalid", "unconfirmed")
    listed = next(item for item in cases(court.store, court.actor("officer-1")) if item["id"] == task.authorisation_id)
    assert (listed["state"], listed["authority"], listed["emergency"]) == ("Invalid", AUTHORITY, True)


def summary_of(court: Court, task_id: str) -> tuple[dict[str, Any], str]:
    opened, _ = court.open(court.deliver(task_id))
    return opened.receipt, (court.store.root.parent / f"opened-{court.folders}" / "summary.html").read_text()


def test_a_package_says_that_an_emergency_was_confirmed_and_by_whom_or_that_it_was_not(court: Court) -> None:
    urgent, settled = court.emergency(), court.emergency()
    officer = court.actor("officer-1")
    filed = court.procedure.confirm(officer, settled.authorisation_id, court.ruling(decision_reference="B 77-26"))
    for task in (urgent, settled):
        court.release(court.run(task.id).id)
    receipt, page = summary_of(court, urgent.id)
    assert receipt["confirmation"] is None
    assert "the regular decision had not confirmed it when this was released" in page
    receipt, page = summary_of(court, settled.id)
    assert filed.confirmation is not None
    assert receipt["confirmation"]["document_sha256"] == filed.confirmation.decision.sha256
    assert receipt["confirmation"]["brought_by"]["person_id"] == "officer-1"
    assert f"yes; confirmed by a court: B 77-26, of {filed.confirmation.decision.decided_on}" in page
    assert f"lagrum audit completeness {settled.id}" in page


def test_a_package_of_an_order_that_is_no_emergency_speaks_of_none(court: Court) -> None:
    receipt, page = summary_of(court, court.released().id)
    assert receipt["confirmation"] is None
    assert "Emergency" not in page
