"""Whose decision an order is: on file, before the approver's eyes, under the signature, in what leaves."""

from __future__ import annotations

from dataclasses import replace

from api.cli.disclosure_common import flat
from api.disclosure import views
from api.disclosure.model import order_of, request_digest
from schemas.legal_terms import Decider
from tests.api.disclosure.conftest import Court


def test_who_decided_stands_on_every_page_from_the_order_to_the_prosecutors_summary(shared_court: Court) -> None:
    court = shared_court
    task = court.released(basis="intelligence")
    case = court.procedure.casebook.case(task.id)
    assert case.authorisation.decided_by is Decider.PROSECUTOR
    shown = views.show(court.store, court.actor("approver-1"), task.id)
    assert shown["authorisation"]["decided_by"] == "prosecutor"
    assert [document["decided_by"] for document in shown["authorisation"]["documents"]] == ["prosecutor"]
    assert flat(shown)["decided_by"] == "prosecutor", "the command line shows it to who approves"
    assert order_of(case.authorisation, case.task)["authorisation"]["decided_by"] == "prosecutor"
    other = replace(case.authorisation, decided_by=Decider.COURT)
    assert request_digest(other, case.task) != request_digest(case.authorisation, case.task)
    opened, _ = court.open(court.deliver(task.id))
    assert opened.manifest["order"]["decided_by"] == "prosecutor"


def test_an_emergency_keeps_who_decided_first_and_who_confirmed(shared_court: Court) -> None:
    court = shared_court
    task = court.emergency(decided_by=Decider.PROSECUTOR)
    court.procedure.confirm(court.actor("officer-1"), task.authorisation_id, court.ruling(decided_by=Decider.COURT))
    court.run(task.id)
    shown = views.show(court.store, court.actor("approver-1"), task.authorisation_id)
    assert shown["decided_by"] == "prosecutor"
    assert [document["decided_by"] for document in shown["documents"]] == ["prosecutor", "court"]


def test_a_decision_of_whoever_may_decide_as_well_is_taken(shared_court: Court) -> None:
    for decided_by in (Decider.AUTHORITY, Decider.PROSECUTOR):
        assert shared_court.file(basis="subscriber-data", decided_by=decided_by).decided_by is decided_by
