"""Every guard refuses its attack, and the attack succeeds, or is refused for another reason, once the guard is gone."""

from __future__ import annotations

import ast
import inspect
from dataclasses import replace
from datetime import timedelta
from typing import Final

import pytest

from api.disclosure import (
    amending,
    approving,
    casebook,
    delivering,
    filing,
    preflight,
    rules,
    running,
    step_base,
    views,
)
from api.disclosure.model import Window
from api.disclosure.procedure import SourceDocument, WrittenTarget
from schemas.errors import ProcedureError
from schemas.fields import Category
from schemas.legal_terms import Decider
from store.clock import to_date
from tests.api.disclosure.attacking import (
    Attack,
    acknowledge_other,
    acknowledge_twice,
    acknowledged,
    asked_by_a_rights_holder,
    authority_gone,
    cancelled_order,
    check_as,
    decided_otherwise,
    deliver_erased,
    deliver_other_delivery,
    deliver_other_package,
    deliver_to_new_key,
    edited,
    fetched,
    forged,
    gone,
    kept_in_a_drawer,
    officer_turned_handler,
    other_side_resumes,
    release_withdrawn,
    signatory,
    swap_approval,
    twin,
    unconfirmed,
    urgent,
    weighed,
    with_roles,
)
from tests.api.disclosure.conftest import (
    OTHER_AUTHORITY,
    WINDOW,
    Court,
)
from tests.store.records import DAY_US, NOW_US

NUMBER: Final = WrittenTarget("number", "0701740007")
OTHER: Final = WrittenTarget("number", "0701740008")
LONG: Final = Window(NOW_US - 800 * DAY_US, NOW_US - DAY_US)
BACKWARDS: Final = Window(WINDOW.end_us, WINDOW.start_us)
TOMORROW: Final = to_date(NOW_US) + timedelta(days=1)
WIDER: Final = Window(WINDOW.start_us - 1, WINDOW.end_us)
ATTACKS: Final = (
    Attack("a case handler files", "require_any_role", "wrong-role", lambda c: c.file("handler-1")),
    Attack("an auditor shows up to reject", "require_any_role", "wrong-role",
           lambda c: c.procedure.reject(c.actor("auditor-1"), c.checked().id, "wrong-number")),
    Attack("a case handler is an approver too", "require_separate_duties", "role-conflict",
           lambda c: check_as(c, "case-handler", "approver")),
    Attack("an auditor handles cases", "require_separate_duties", "role-conflict",
           lambda c: check_as(c, "case-handler", "auditor")),
    Attack("billing handles cases", "require_separate_duties", "role-conflict",
           lambda c: check_as(c, "case-handler", "billing")),
    Attack("an unheard-of role", "require_separate_duties", "role-conflict",
           lambda c: check_as(c, "case-handler", "root")),
    Attack("no reference", "require_reference", "no-reference", lambda c: c.file(decision_reference=" ")),
    Attack("no country", "require_reference", "bad-country", lambda c: c.file(country="se")),
    Attack("decided tomorrow", "require_decided", "decision-ahead", lambda c: c.file(decided_on=TOMORROW)),
    Attack("a basis that there is not", None, "unknown-basis", lambda c: c.file(basis="curiosity")),
    Attack("a basis of another time", None, "basis-not-in-force",
           lambda c: c.file(basis="european-production-order", decided_on=to_date(NOW_US) - timedelta(days=200))),
    Attack("no target", "require_targets", "no-target", lambda c: c.file(targets=())),
    Attack("too many targets", "require_targets", "too-many-targets", lambda c: c.file(targets=(NUMBER,) * 21)),
    Attack("a kind that the basis has not", "require_targets", "target-kind",
           lambda c: c.file(basis="missing-person", targets=(WrittenTarget("ip", "192.0.2.1"),))),
    Attack("an address that every network has", "require_networks", "inner-address",
           lambda c: c.file(targets=(WrittenTarget("ip", "192.168.1.10"),))),
    Attack("a target without its form", None, "bad-target", lambda c: c.file(targets=(WrittenTarget("imsi", "x"),))),
    Attack("a window too long", "require_window", "window-too-long", lambda c: c.file(window=LONG)),
    Attack("a window backwards", "require_window", "empty-window", lambda c: c.file(window=BACKWARDS)),
    Attack("a window that is not over", "require_window_over", "window-ahead",
           lambda c: c.register(c.file(window=Window(NOW_US - DAY_US, NOW_US + DAY_US)))),
    Attack("a category that the basis keeps", "require_categories", "category",
           lambda c: c.file(categories=frozenset(Category))),
    Attack("no category", "require_categories", "no-category", lambda c: c.file(categories=frozenset())),
    Attack("filed after its expiry", "require_unexpired", "expired", lambda c: c.file(expires_at_us=NOW_US)),
    Attack("registered under a rejected order", "require_live", "authorisation-not-live",
           lambda c: c.register(c.procedure.reject(c.actor("handler-1"), c.file().id, "wrong-number"))),
    Attack("another officer's order", "require_same_person", "not-yours", lambda c: c.register(c.file(), "officer-2")),
    Attack("another handler runs", "require_same_person", "not-yours", lambda c: c.run(c.approved().id, "handler-2")),
    Attack("another officer fetches", "require_same_person", "not-yours",
           lambda c: c.deliver(c.released().id, "officer-2")),
    Attack("another officer cancels", "require_side", "not-yours",
           lambda c: c.procedure.cancel(c.actor("officer-2"), c.checked().id, "settled")),
    Attack("a task for another target", "require_within", "target-out-of-scope",
           lambda c: c.register(c.file(), targets=[OTHER])),
    Attack("a task for no target", "require_targets", "no-target", lambda c: c.register(c.file(), targets=[])),
    Attack("a task with a wider window", "require_within", "window-out-of-scope",
           lambda c: c.register(c.file(), window=WIDER)),
    Attack("a task with more categories", "require_within", "category-out-of-scope",
           lambda c: c.register(c.file(categories=frozenset({Category.TIME})), categories=frozenset({Category.PARTY}))),
    Attack("an officer checks under a second account", "require_distinct", "same-key",
           lambda c: c.check(c.register(c.file()).id, twin(c, "handler-9", "officer-1", "case-handler"))),
    Attack("the officer's own person checks", "require_distinct", "same-person",
           officer_turned_handler),
    Attack("an approver of the handler's key", "require_three_persons", "same-key",
           lambda c: c.approve(c.checked().id, twin(c, "approver-9", "handler-1", "approver"))),
    Attack("an approver of the officer's key", "require_three_persons", "same-key",
           lambda c: c.approve(c.checked().id, twin(c, "approver-8", "officer-1", "approver"))),
    Attack("the handler's own person approves", "require_three_persons", "same-person",
           lambda c: c.approve(edited(c, c.checked().id, case_handler=signatory(c, "approver-1")))),
    Attack("nobody checked", "require_three_persons", "missing-person",
           lambda c: c.approve(edited(c, c.checked().id, case_handler=None))),
    Attack("released by the handler's key", "require_three_persons", "same-key",
           lambda c: c.release(c.run(c.approved().id).id, twin(c, "approver-9", "handler-1", "approver"))),
    Attack("run under a withdrawn order", "require_approved", "authorisation-not-approved",
           lambda c: c.run(cancelled_order(c))),
    Attack("run without an approval", "require_three_persons", "missing-person",
           lambda c: c.run(edited(c, c.approved().id, request_approval=None))),
    Attack("an approval of other content", "require_signed", "approval-digest",
           lambda c: c.run(edited(c, c.approved().id, salt="00" * 32))),
    Attack("an approval of another act", "require_signed", "approval-act",
           lambda c: c.run(swap_approval(c, c.approved().id, "request_approval", statement={"action": "x"}))),
    Attack("an approval with a made-up time", "require_signed", "approval-signature",
           lambda c: c.run(swap_approval(c, c.approved().id, "request_approval", statement={"time": "2026"}))),
    Attack("an approval in another's name", "require_signed", "approval-key",
           lambda c: c.run(swap_approval(c, c.approved().id, "request_approval", by=signatory(c, "approver-2")
                                         | {"key_id": c.actor("approver-1").key_id}))),
    Attack("a release that nobody signed", "require_three_persons", "missing-person",
           lambda c: c.deliver(edited(c, c.released().id, release_approval=None))),
    Attack("a release of another result", "require_signed", "approval-digest",
           lambda c: c.deliver(edited(c, c.released().id, result_digest="0" * 64))),
    Attack("another package in its place", None, "delivery-digest", deliver_other_package),
    Attack("another delivery in its place", "require_result", "delivery-digest", deliver_other_delivery),
    Attack("a delivery that is erased", "require_result", "delivery-erased", deliver_erased),
    Attack("a release of what was withdrawn since", "require_current", "corrected-since", release_withdrawn),
    Attack("enclosed for the key of before", "require_recipient", "recipient-changed", deliver_to_new_key),
    Attack("acknowledged before it was fetched", "require_fetched", "wrong-state",
           lambda c: acknowledged(c, c.released())),
    Attack("acknowledged twice", "require_unacknowledged", "acknowledged", acknowledge_twice),
    Attack("acknowledged without opening", None, "signature",
           lambda c: c.acknowledge(fetched(c).id, "0" * 64)),
    Attack("an acknowledgement of another delivery", None, "signature", acknowledge_other),
    Attack("an acknowledgement by another officer", "require_same_person", "not-yours",
           lambda c: acknowledged(c, fetched(c), "officer-2")),
    Attack("approved again, and nothing waits", None, "approved-already",
           lambda c: c.approve(fetched(c).id, "approver-2")),
    Attack("signed for another digest", None, "signature", lambda c: c.approve(c.checked().id, digest="0" * 64)),
    Attack("signed by another key", None, "signature", forged),
    Attack("signed yesterday", None, "signature", kept_in_a_drawer),
    Attack("a role that is only lent", "require_enrolled", "delegated-role",
           lambda c: c.procedure.check(with_roles(c, "dpo-1", "case-handler"), c.register(c.file()).id)),
    Attack("a key that was replaced", "require_enrolled", "revoked",
           lambda c: c.procedure.check(replace(c.actor("handler-1"), key_id="0" * 16), c.register(c.file()).id)),
    Attack("the handler is gone before the approval", "require_in_office", "revoked-role",
           lambda c: gone(c, "handler-1", Court.approve, c.checked().id)),
    Attack("the officer is gone before the run", "require_in_office", "revoked-role",
           lambda c: gone(c, "officer-1", Court.run, c.approved().id)),
    Attack("the handler is gone before the release", "require_in_office", "revoked-role",
           lambda c: gone(c, "handler-1", Court.release, c.run(c.approved().id).id)),
    Attack("an authority that nobody registered", None, "authority", lambda c: c.file(authority="nobody-se")),
    Attack("another authority's officer", None, "authority", lambda c: c.file(authority=OTHER_AUTHORITY)),
    Attack("an authority that is revoked since", None, "authority", authority_gone),
    Attack("a rights holder who asks for secret surveillance", "require_asker", "authority-kind",
           lambda c: asked_by_a_rights_holder(c, lambda court, _: court.file())),
    Attack("a task of an authority that is a rights holder now", "require_asker", "authority-kind",
           lambda c: asked_by_a_rights_holder(c, Court.register, c.file())),
    Attack("a search for an authority that is a rights holder now", "require_asker", "authority-kind",
           lambda c: asked_by_a_rights_holder(c, Court.run, c.approved().id)),
    Attack("a court's order that the police bring instead of who applied for it", "require_asker", "authority-kind",
           lambda c: c.file(basis="copyright-information-order", targets=(WrittenTarget("account", "0077"),))),
    Attack("secret surveillance that a prosecutor decided", "require_decider", "decider",
           lambda c: c.file(decided_by=Decider.PROSECUTOR)),
    Attack("secret surveillance that the police decided in an emergency", "require_decider", "decider",
           lambda c: c.file(decided_by=Decider.AUTHORITY, emergency=True)),
    Attack("a prosecutor's decision that says that it is a court's, and is put right on file", "require_decider",
           "decider", decided_otherwise),
    Attack("an emergency confirmed by who decided it", "require_decider", "decider",
           lambda c: c.procedure.confirm(c.actor("officer-1"), c.emergency().authorisation_id,
                                         c.ruling(decided_by=Decider.PROSECUTOR))),
    Attack("an extension that a prosecutor decided", "require_decider", "decider",
           lambda c: c.procedure.extend(c.actor("officer-1"), c.approved().authorisation_id,
                                        c.ruling(decided_by=Decider.PROSECUTOR, expires_at_us=NOW_US + 90 * DAY_US))),
    Attack("an order without its decision", "require_source", "no-source", lambda c: c.file(source=None)),
    Attack("a decision that could run", "require_source", "source-type",
           lambda c: c.file(source=SourceDocument("text/html", b"<script>"))),
    Attack("a decision without end", "require_source", "source-size",
           lambda c: c.file(source=SourceDocument("text/plain", b"0" * ((4 << 20) + 1)))),
    Attack("data for an order to preserve", "require_discloses", "preserves", lambda c: c.file(basis="preservation")),
    Attack("what a duty preserved, for a basis that it does not serve", "require_preserving", "preservation-basis",
           lambda c: c.file(basis="copyright-information-order", targets=(WrittenTarget("account", "0077"),),
                            preservation="K 1-26")),
    Attack("a preservation without its reference", "require_preserving", "no-reference",
           lambda c: c.file(preservation=" ")),
    Attack("an emergency that the basis does not know", None, "no-emergency-path",
           lambda c: c.file(basis="subscriber-data", emergency=True)),
    Attack("an emergency without a call-back", "require_call_back", "no-call-back",
           lambda c: c.check(c.register(c.file(emergency=True)).id)),
    Attack("a call-back to the caller's own number", "require_registered_call", "call-back-number",
           lambda c: urgent(c, number="+46701740099")),
    Attack("a call-back to nobody", "require_registered_call", "call-back-person",
           lambda c: urgent(c, spoken_with=" ")),
    Attack("a call before the order came", "require_registered_call", "call-back-time",
           lambda c: urgent(c, called_at_us=NOW_US - 1)),
    Attack("a call that is yet to come", "require_registered_call", "call-back-time",
           lambda c: urgent(c, called_at_us=NOW_US + 1)),
    Attack("an emergency that nobody confirms", "require_confirmed", "unconfirmed", unconfirmed),
    Attack("a confirmation of what is no emergency", "require_awaiting_confirmation", "nothing-to-confirm",
           lambda c: c.procedure.confirm(c.actor("officer-1"), c.file().id, c.ruling())),
    Attack("an emergency confirmed by a decision of before it", "require_follows", "decision-before",
           lambda c: c.procedure.confirm(c.actor("officer-1"), c.emergency().authorisation_id,
                                         c.ruling(decided_on=to_date(NOW_US) - timedelta(days=3)))),
    Attack("an extension under the law of before", "require_follows", "decision-before",
           lambda c: c.procedure.extend(c.actor("officer-1"), c.approved().authorisation_id,
                                        c.ruling(decided_on=to_date(NOW_US) - timedelta(days=3),
                                                 expires_at_us=NOW_US + 90 * DAY_US))),
    Attack("an extension that does not extend", "require_later_end", "not-later",
           lambda c: c.procedure.extend(c.actor("officer-1"), c.approved().authorisation_id, c.ruling())),
    Attack("the officer lets go on what staff stopped", "require_resumer", "wrong-role", other_side_resumes),
    Attack("the same, past the role", "require_role", "wrong-role", other_side_resumes),
    Attack("weighed before the check", "require_stage", "wrong-state",
           lambda c: weighed(c, edited(c, c.checked().id, stage="registered"))),
    Attack("weighed after the approval", "require_stage", "wrong-state", lambda c: weighed(c, c.approved().id)),
    Attack("weighed once too often", "require_preflights_left", "too-many-preflights",
           lambda c: weighed(c, c.checked().id, times=4)),
    Attack("a search for a missing person in what only the duty keeps", "require_reach", "beyond-purpose",
           lambda c: c.register(c.file(basis="missing-person", window=Window(NOW_US - 40 * DAY_US, WINDOW.end_us
                                                                             - 10 * DAY_US)))),
    Attack("ended without a reason", "require_reason", "no-reason",
           lambda c: c.procedure.cancel(c.actor("officer-1"), c.checked().id, "Ring 0701740007")),
)  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_each_attack_is_refused_with_its_reason_and_logged(shared_court: Court, attack: Attack) -> None:
    before = shared_court.store.audit.size
    with pytest.raises(ProcedureError) as refusal:
        attack.act(shared_court)
    assert refusal.value.reason == attack.reason
    told = [(entry.kind, entry.public.get("reason")) for entry in shared_court.log(before)]
    assert ("disclosure.refused", attack.reason) in told[-2:]  # an enrolment that is put back comes after it


@pytest.mark.parametrize(
    "attack", [attack for attack in ATTACKS if attack.guard is not None], ids=lambda attack: attack.name
)
def test_without_its_guard_the_attack_is_not_refused_for_that_reason(
    shared_court: Court, attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test that passes with and without its guard would test nothing."""
    assert attack.guard is not None
    monkeypatch.setattr(rules, attack.guard, lambda *_, **__: None)
    try:
        attack.act(shared_court)
    except ProcedureError as refusal:
        assert refusal.reason != attack.reason
    except Exception as error:
        assert not isinstance(error, AssertionError)


def test_every_guard_has_an_attack_and_every_guard_is_called() -> None:
    guards = {name for name, _ in inspect.getmembers(rules, inspect.isfunction) if name.startswith("require_")}
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for module in (filing, approving, running, delivering, amending, preflight, step_base, views, casebook, rules)
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call)
    }
    assert guards <= called
    # `require_order` is the list of five others.
    assert guards - {"require_order"} == {attack.guard for attack in ATTACKS if attack.guard is not None}


def test_no_guard_returns_a_verdict_that_could_go_unread() -> None:
    for node in ast.walk(ast.parse(inspect.getsource(rules))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("require_"):
            assert not [item for item in ast.walk(node) if isinstance(item, ast.Return) and item.value is not None]
