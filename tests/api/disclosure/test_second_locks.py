"""Where two checks stand behind each other, each holds alone: cases are changed on file, past the one before.

`tests/fault/mutate_guards.py` takes every check out and needs somebody to notice; here are those that only notice.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from api.disclosure import casebook, lapses, rules, views
from api.disclosure.deliveries import Delivery
from api.disclosure.delivering import require_manifest
from api.disclosure.model import AUTHORISATION, DELIVERY, Actor, Signatory, Window
from api.disclosure.orders import SourceDocument
from api.people import authorities, persons
from schemas.errors import ProcedureError
from store import Put
from store.clock import to_date
from tests.api.disclosure.attacking import Attack, edited, gone, later, no_authority, signatory, twin, weighed
from tests.api.disclosure.conftest import AUTHORITY, OTHER_AUTHORITY, PEOPLE, WINDOW, Court, register_authority
from tests.api.handover.authority import side
from tests.store.records import DAY_US, NOW_US

WIDE: Final = Window(NOW_US - 800 * DAY_US, NOW_US - DAY_US)
TOMORROW: Final = to_date(NOW_US) + timedelta(days=1)


def changed(court: Court, case: str, **terms: Any) -> str:
    """Change an authorisation on file, past the procedure."""
    body = court.store.documents.get(AUTHORISATION, case).body
    court.store.documents.commit([Put(AUTHORISATION, case, body | terms)])
    return case


def ended(court: Court, case: str) -> str:
    court.procedure.cancel(court.actor("officer-1"), case, "settled")
    return case


def urgent(court: Court) -> str:
    """An emergency that is checked, and whose call-back is gone from the file."""
    task = court.check(court.register(court.file(emergency=True)).id, call=court.called())
    return edited(court, task.id, call_back=None)


def under_ended(court: Court, task_id: str) -> str:
    ended(court, court.procedure.casebook.task(task_id)[0].authorisation_id)
    return task_id


def moved(court: Court, act: Callable[[Court], Any]) -> Any:
    """The officer belongs to another authority now."""
    court.enrol("officer-1", "officer", authority=OTHER_AUTHORITY)
    try:
        return act(court)
    finally:
        court.enrol("officer-1", "officer")


def case_of(court: Court) -> str:
    return court.approved().authorisation_id


def extend(court: Court, case: str, person: str = "officer-1", **terms: Any) -> Any:
    ruling = court.ruling(**({"expires_at_us": NOW_US + 90 * DAY_US} | terms))
    return court.procedure.extend(_known(court, person), case, ruling)


def confirm(court: Court, **terms: Any) -> Any:
    case = court.emergency().authorisation_id
    return court.procedure.confirm(court.actor("officer-1"), case, court.ruling(**terms))


def aged(court: Court, act: Callable[[Court, str], Any]) -> Any:
    """Registered on the last day on which the operator's own purpose reads the window's first."""
    start_us = WINDOW.start_us - 20 * DAY_US
    window = Window(start_us, start_us + DAY_US)
    task = court.register(court.file(basis="missing-person", window=window))
    with later(court, days=20):
        return act(court, task.id)


def without_authority(court: Court, act: Callable[[Court, str], Any], task_id: str) -> Any:
    with no_authority(court):
        return act(court, task_id)


def expired(court: Court, task_id: str) -> Any:
    """The authority's certificate is over before the search begins."""
    found = authorities.find(court.store, AUTHORITY)
    assert found is not None
    over = b64encode(side("over", days=30).certificate.public_bytes(Encoding.DER)).decode()
    past = replace(found, terms=replace(found.terms, certificate=over))
    court.store.documents.commit([Put(authorities.KIND, AUTHORITY, past.to_body())])
    try:
        return court.run(task_id)
    finally:
        register_authority(court.store, AUTHORITY)


def acknowledge(court: Court, task_id: str) -> Any:
    return court.acknowledge(task_id, "0" * 64)


def fetched(court: Court) -> str:
    task = court.released().id
    court.deliver(task)
    return task


def suspend(court: Court, case: str, person: str = "handler-1", reason: str = "doubt") -> Any:
    return court.procedure.suspend(_known(court, person), case, reason)


def resume(court: Court, case: str, person: str = "approver-1") -> Any:
    return court.procedure.resume(_known(court, person), case)


def rejects(court: Court, case: str) -> Any:
    return court.procedure.reject(_known(court, "handler-2"), case, "wrong-number")


def cancels(court: Court, case: str) -> Any:
    return court.procedure.cancel(_known(court, "officer-1"), case, "settled")


NO_TARGET: Final[dict[str, Any]] = {"targets": []}
LOCKS: Final = (
    Attack("a revoked officer registers", None, "revoked",
           lambda c: gone(c, "officer-1", lambda d, a: d.procedure.register(_known(d, "officer-1"), a), c.file().id)),
    Attack("an officer of another authority registers", None, "authority",
           lambda c: moved(c, lambda d: d.register(_filed(d)))),
    Attack("checked under an ended order", None, "authorisation-not-live",
           lambda c: c.check(under_ended(c, c.register(c.file()).id))),
    Attack("checked without a target", None, "no-target",
           lambda c: c.check(edited(c, c.register(c.file()).id, **NO_TARGET))),
    Attack("checked when the purpose reads it no longer", None, "beyond-purpose", lambda c: aged(c, Court.check)),
    Attack("approved before the check", None, "wrong-state", lambda c: c.approve(c.register(c.file()).id)),
    Attack("approved under an ended order", None, "wrong-state", lambda c: c.approve(under_ended(c, c.checked().id))),
    Attack("approved without a call-back", None, "no-call-back", lambda c: c.approve(urgent(c))),
    Attack("approved without a target", None, "no-target",
           lambda c: c.approve(edited(c, c.checked().id, **NO_TARGET))),
    Attack("approved after the officer is gone", None, "revoked-role",
           lambda c: gone(c, "officer-1", Court.approve, c.checked().id)),
    Attack("run without a call-back", None, "no-call-back",
           lambda c: c.run(edited(c, c.emergency().id, call_back=None))),
    Attack("run without a target", None, "no-target", lambda c: c.run(edited(c, c.approved().id, **NO_TARGET))),
    Attack("released without a target", None, "no-target",
           lambda c: c.release(edited(c, c.run(c.approved().id).id, **NO_TARGET))),
    Attack("fetched without a target", None, "no-target", lambda c: c.deliver(edited(c, c.released().id, **NO_TARGET))),
    Attack("acknowledged of what ended", None, "wrong-state",
           lambda c: acknowledge(c, edited(c, fetched(c), stage="invalid"))),
    Attack("explained without a target", None, "no-target",
           lambda c: c.procedure.explain(c.actor("handler-1"), edited(c, c.approved().id, **NO_TARGET))),
    Attack("explained before the approval", None, "wrong-state",
           lambda c: c.procedure.explain(c.actor("handler-1"), c.checked().id)),
    Attack("explained by another handler", None, "not-yours",
           lambda c: c.procedure.explain(c.actor("handler-2"), c.approved().id)),
    Attack("weighed under an ended order", None, "authorisation-not-live",
           lambda c: weighed(c, under_ended(c, c.checked().id))),
    Attack("weighed when nobody checked", None, "missing-person",
           lambda c: weighed(c, edited(c, c.checked().id, case_handler=None))),
    Attack("weighed without a call-back", None, "no-call-back", lambda c: weighed(c, urgent(c))),
    Attack("weighed without a target", None, "no-target",
           lambda c: weighed(c, edited(c, c.checked().id, **NO_TARGET))),
    Attack("rejected without a reason", None, "no-reason",
           lambda c: c.procedure.reject(c.actor("handler-1"), c.file().id, "No 1")),
    Attack("suspended without a reason", None, "no-reason", lambda c: suspend(c, case_of(c), reason="No 1")),
    Attack("rejected by somebody revoked", None, "revoked",
           lambda c: gone(c, "handler-2", rejects, c.file().id)),
    Attack("cancelled by somebody revoked", None, "revoked",
           lambda c: gone(c, "officer-1", cancels, c.file().id)),
    Attack("rejected after the end", None, "wrong-state", lambda c: rejects(c, ended(c, c.file().id))),
    Attack("a task rejected after its approval", None, "wrong-state", lambda c: rejects(c, c.approved().id)),
    Attack("another officer cancels an order", None, "not-yours",
           lambda c: c.procedure.cancel(c.actor("officer-2"), c.file().id, "settled")),
    Attack("confirmed by an officer of another authority", None, "authority", lambda c: moved(c, confirm_filed)),
    Attack("confirmed after the end", None, "wrong-state",
           lambda c: c.procedure.confirm(c.actor("officer-1"), ended(c, c.emergency().authorisation_id), c.ruling())),
    Attack("confirmed without a reference", None, "no-reference", lambda c: confirm(c, decision_reference=" ")),
    Attack("confirmed by a decision of tomorrow", None, "decision-ahead", lambda c: confirm(c, decided_on=TOMORROW)),
    Attack("confirmed without a document", None, "no-source", lambda c: confirm(c, source=None)),
    Attack("suspended by somebody revoked", None, "revoked",
           lambda c: gone(c, "handler-1", suspend, case_of(c))),
    Attack("resumed by somebody revoked", None, "revoked",
           lambda c: gone(c, "approver-1", resume, suspend(c, case_of(c)).id)),
    Attack("confirmed by somebody revoked", None, "revoked",
           lambda c: gone(c, "officer-2", lambda d, a: d.procedure.confirm(_known(d, "officer-2"), a, d.ruling()),
                          c.emergency().authorisation_id)),
    Attack("extended by somebody revoked", None, "revoked", lambda c: gone(c, "officer-1", extend, case_of(c))),
    Attack("suspended before it is granted", None, "wrong-state", lambda c: suspend(c, c.file().id)),
    Attack("suspended by another officer", None, "not-yours", lambda c: suspend(c, case_of(c), "officer-2")),
    Attack("suspended by the officer's key under a second account", None, "same-key",
           lambda c: c.procedure.suspend(c.actor(twin(c, "handler-7", "officer-1", "case-handler")),
                                         case_of(c), "doubt")),
    Attack("confirmed by an officer who has nothing to do with it", None, "not-yours",
           lambda c: c.procedure.confirm(foreign(c), c.emergency().authorisation_id, c.ruling())),
    Attack("resumed though it does not rest", None, "wrong-state", lambda c: resume(c, case_of(c))),
    Attack("resumed from the end", None, "wrong-state",
           lambda c: resume(c, changed(c, suspend(c, case_of(c)).id, state="Cancelled"))),
    Attack("run for an expired certificate", None, "certificate-expired", lambda c: expired(c, c.approved().id)),
    Attack("another officer reads an order", None, "not-yours",
           lambda c: views.show(c.store, c.actor("officer-2"), c.file().id)),
    Attack("another officer reads a task", None, "not-yours",
           lambda c: views.show(c.store, c.actor("officer-2"), c.checked().id)),
    Attack("somebody revoked reads an order", None, "revoked",
           lambda c: gone(c, "handler-2", lambda d, a: views.show(d.store, _known(d, "handler-2"), a), c.file().id)),
    Attack("run twice", None, "wrong-state", lambda c: c.run(c.run(c.approved().id).id)),
    Attack("checked twice", None, "wrong-state", lambda c: c.check(c.checked().id, "handler-2")),
    Attack("released before the run", None, "wrong-state", lambda c: c.release(c.approved().id)),
    Attack("fetched before the release", None, "wrong-state", lambda c: c.deliver(c.run(c.approved().id).id)),
    Attack("extended by another officer", None, "not-yours",
           lambda c: extend(c, case_of(c), person="officer-2")),
    Attack("extended by an officer of another authority", None, "authority",
           lambda c: moved(c, lambda d: extend(d, _granted(d)))),
    Attack("extended before it is granted", None, "wrong-state", lambda c: extend(c, c.file().id)),
    Attack("extended without a reference", None, "no-reference",
           lambda c: extend(c, case_of(c), decision_reference=" ")),
    Attack("extended by a decision of tomorrow", None, "decision-ahead",
           lambda c: extend(c, case_of(c), decided_on=TOMORROW)),
    Attack("extended without a document", None, "no-source", lambda c: extend(c, case_of(c), source=None)),
    Attack("extended to the same end", None, "not-later",
           lambda c: extend(c, case_of(c), expires_at_us=NOW_US + 30 * DAY_US)),
    Attack("extended without a target", None, "no-target",
           lambda c: extend(c, changed(c, case_of(c), targets=[]))),
    Attack("extended over a longer window than the law's", None, "window-too-long",
           lambda c: extend(c, changed(c, case_of(c), window=WIDE.as_body()))),
    Attack("extended without a category", None, "no-category",
           lambda c: extend(c, changed(c, case_of(c), categories=[]))),
    Attack("a task wider than the law, under an order as wide", None, "window-too-long",
           lambda c: c.procedure.register(c.actor("officer-1"), changed(c, c.file().id, window=WIDE.as_body()))),
    Attack("a task without a category", None, "no-category",
           lambda c: c.procedure.register(c.actor("officer-1"), c.file().id, categories=frozenset())),
    Attack("fetched by the order's officer, of another officer's task", None, "not-yours",
           lambda c: c.deliver(edited(c, c.released().id, officer=signatory(c, "officer-2")))),
    Attack("acknowledged by the order's officer, of another officer's task", None, "not-yours",
           lambda c: acknowledge(c, edited(c, fetched(c), officer=signatory(c, "officer-2")))),
    Attack("another version of the law", None, "basis-changed",
           lambda c: c.procedure.register(c.actor("officer-1"), changed(c, c.file().id, basis_version=99))),
)  # fmt: skip


def _known(court: Court, person: str) -> Actor:
    """An actor as the door knew it a moment ago."""
    return Actor(person, court.keys[person].key_id, frozenset(PEOPLE[person]))


def _filed(court: Court) -> Any:
    """An order that was filed while the officer still belonged to its authority."""
    court.enrol("officer-1", "officer")
    filed = court.file()
    court.enrol("officer-1", "officer", authority=OTHER_AUTHORITY)
    return filed


def _granted(court: Court) -> str:
    court.enrol("officer-1", "officer")
    case = case_of(court)
    court.enrol("officer-1", "officer", authority=OTHER_AUTHORITY)
    return case


def foreign(court: Court) -> Actor:
    court.enrol("officer-8", "officer", authority=OTHER_AUTHORITY)
    return court.actor("officer-8")


def confirm_filed(court: Court) -> Any:
    court.enrol("officer-1", "officer")
    case = court.emergency().authorisation_id
    court.enrol("officer-1", "officer", authority=OTHER_AUTHORITY)
    return court.procedure.confirm(court.actor("officer-1"), case, court.ruling())


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_each_lock_holds_alone(shared_court: Court, lock: Attack) -> None:
    before = shared_court.store.audit.size
    with pytest.raises(ProcedureError) as refusal:
        lock.act(shared_court)
    assert refusal.value.reason == lock.reason
    told = [entry.public.get("reason") for entry in shared_court.log(before)]
    assert lock.reason in told[-2:]  # an enrolment that is put back comes after it


def reason_of(act: Callable[..., Any], *arguments: Any, **terms: Any) -> str:
    with pytest.raises(ProcedureError) as refusal:
        act(*arguments, **terms)
    return refusal.value.reason


def test_who_acted_before_is_still_there_with_key_and_role() -> None:
    held = Actor("a", "k", frozenset({"officer"}))
    rules.require_in_office(Signatory("a", "k"), held, "officer")
    for who, now in (
        (None, held),
        (Signatory("a", "k"), None),
        (Signatory("a", "other"), held),
        (Signatory("a", "k"), replace(held, roles=frozenset())),
    ):
        assert reason_of(rules.require_in_office, who, now, "officer") == "revoked-role"
    assert reason_of(rules.require_same_person, held, None) == "not-yours"


def test_sides_are_kept_apart() -> None:
    officer, approver = Actor("a", "k", frozenset({"officer"})), Actor("a", "k", frozenset({"approver"}))
    rests = SimpleNamespace(by_authority=True)
    assert reason_of(rules.require_side, approver, officer.signatory, cancels=False) == "same-person"
    assert reason_of(rules.require_resumer, officer, None, officer.signatory) == "wrong-state"
    assert reason_of(rules.require_resumer, Actor("b", "l", officer.roles), rests, officer.signatory) == "not-yours"
    rests.by_authority = False
    assert reason_of(rules.require_resumer, approver, rests, officer.signatory) == "same-person"


def test_a_day_is_decided_on_from_its_first_hour_in_the_union() -> None:
    midnight_us = NOW_US - NOW_US % DAY_US + DAY_US
    rules.require_decided(TOMORROW, midnight_us - 3 * 3_600_000_000)  # 00:00 in Helsinki's summer, 23:00 in Stockholm
    assert reason_of(rules.require_decided, TOMORROW, midnight_us - 3 * 3_600_000_000 - 1) == "decision-ahead"


def test_what_an_order_has_to_say() -> None:
    assert reason_of(rules.require_reference, " ", "SE", "B 1") == "no-reference"
    assert reason_of(rules.require_source, SourceDocument("text/plain", b"")) == "no-source"
    order = SimpleNamespace(expires_at_us=5)
    assert reason_of(rules.require_later_end, order, 5) == "not-later"
    assert reason_of(rules.require_later_end, order, None) == "not-later"
    basis = SimpleNamespace(targets_max=1, target_kinds=("number",), matchable=lambda _: ())
    assert reason_of(rules.require_targets, basis, (SimpleNamespace(kind="number"),)) == "target-kind"


def test_an_approval_is_of_this_case_and_there(shared_court: Court) -> None:
    task = shared_court.approved()
    key = shared_court.keys["approver-1"].public_bytes
    assert task.request_approval is not None
    terms: dict[str, Any] = {
        "action": "disclosure.approve",
        "digest": task.request_approval.statement.digest,
        "public_key": key,
    }
    rules.require_signed(task.request_approval, case=task.id, **terms)
    assert reason_of(rules.require_signed, task.request_approval, case="SE-T-other", **terms) == "approval-act"
    assert reason_of(rules.require_signed, None, case=task.id, **terms) == "no-approval"


def test_a_result_is_of_this_task_and_digest(shared_court: Court) -> None:
    manifest = b"manifest"
    right = hashlib.sha256(manifest).hexdigest()
    task = replace(shared_court.approved(), result_digest=right)
    delivery = Delivery("d", task.id, right, 0, "a", "c", 0)
    rules.require_result(task, delivery)
    require_manifest(task, manifest)
    assert reason_of(require_manifest, task, b"another") == "delivery-digest"
    assert reason_of(rules.require_result, task, replace(delivery, task_id="other")) == "delivery-digest"
    assert reason_of(rules.require_result, task, replace(delivery, sha256="0")) == "delivery-digest"


def test_an_order_that_expired_is_refused_though_nobody_wrote_it_down(
    shared_court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = shared_court.approved()
    monkeypatch.setattr(lapses, "apply", lambda *_: False)
    with later(shared_court, days=31):
        assert reason_of(shared_court.run, task.id) == "expired"


def test_a_signature_is_verified_where_it_is_kept_too(shared_court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    task = shared_court.checked()
    monkeypatch.setattr(persons, "verify_approval", lambda store, person_id, **_: persons.get(store, person_id))
    forged = persons.Approval("2026-11-22T12:00:00.000000Z", "AA==")
    actor = shared_court.actor("approver-1")
    assert reason_of(shared_court.procedure.approve, actor, task.id, forged) == "approval-signature"


def test_a_result_is_put_on_file_of_a_task_that_runs(shared_court: Court) -> None:
    procedure, actor = shared_court.procedure, shared_court.actor("handler-1")
    case = procedure.casebook.case(shared_court.approved().id)
    delivery_id = casebook.new_id("SE", DELIVERY)
    assert reason_of(procedure._search, actor, case, delivery_id, None) == "wrong-state"
    assert reason_of(procedure._fail, actor, case, delivery_id, ValueError()) == "wrong-state"
    assert procedure.casebook.task(case.task.id)[0] == case.task
    procedure.vault.destroy(delivery_id)
