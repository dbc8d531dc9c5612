"""What the command line shows a person who signs: the whole order, the whole result, and whose step is the next."""

from __future__ import annotations

from typing import Any

import pytest

from api.cli.disclosure_common import SHOWN_CHARACTERS_MAX, flat, legible, next_step
from api.cli.disclosure_reading import _rows
from api.disclosure import views
from api.disclosure.orders import WrittenTarget
from schemas.errors import NotFoundError
from store.clock import to_text
from tests.api.disclosure.conftest import TARGET, Court
from tests.store.records import DAY_US, NOW_US


@pytest.fixture
def court(shared_court: Court) -> Court:
    return shared_court


def shown(court: Court, task: str, person: str) -> dict[str, Any]:
    return views.show(court.store, court.actor(person), task)


def test_a_release_is_signed_after_counts_fields_gaps_and_recipient_were_seen(court: Court) -> None:
    task = court.run(court.approved().id)
    facts = flat(shown(court, task.id, "approver-2"))
    assert facts["result"] == "found"
    assert facts["counts"]["records"] == task.records
    assert "calling_number" in facts["fields"]
    assert (facts["erased_days"], facts["recipient"], facts["parts"]) == ([], "Police Authority (SE)", 1)


def test_a_call_back_is_seen_before_an_emergency_is_signed(court: Court) -> None:
    task = court.check(court.register(court.file(emergency=True)).id, call=court.called())
    facts = flat(shown(court, task.id, "approver-1"))
    assert facts["call_back"].startswith("handler-1 spoke with Duty officer 4711, ")


def test_the_whole_decision_is_seen_before_it_is_signed(court: Court) -> None:
    terms = {"preservation": "BEV 77/2026", "expires_at_us": NOW_US + DAY_US}
    seen = shown(court, court.checked(**terms).id, "approver-1")
    facts = flat(seen)
    assert facts["preservation"] == "BEV 77/2026"
    assert facts["expires_at"] == to_text(NOW_US + DAY_US)
    assert (facts["authority_name"], facts["country"], facts["basis_version"]) == ("Police Authority", "SE", 2)
    # Of the authorisation what the task does not say itself is there, whatever is added to it.
    apart = {"id", "state", "filed_at", "officer", "targets", "window", "categories"}
    assert seen["authorisation"].keys() - apart <= facts.keys()


@pytest.mark.parametrize(
    ("media_type", "content", "expected"),
    [
        ("text/plain", "Beslut B 1:\t070-174 00 07\nåäö".encode(), "Beslut B 1:     070-174 00 07\nåäö"),
        ("application/json", b'{"basis": "x"}', '{"basis": "x"}'),
        ("text/plain", b"070\x1b[2J\x1b]0;x\x07-1\r2", "070\ufffd[2J\ufffd]0;x\ufffd-1\ufffd2"),
        ("text/plain", "070\u202e1".encode(), "070\ufffd1"),
        ("application/pdf", b"%PDF-1.7", None),
        ("text/plain", b"\xff\xfe", None),
        ("text/plain", b"x" * SHOWN_CHARACTERS_MAX, "x" * SHOWN_CHARACTERS_MAX),
        ("text/plain", b"x" * (SHOWN_CHARACTERS_MAX + 1), None),
        ("text/plain", b"x" * (4 * SHOWN_CHARACTERS_MAX + 1), None),
    ],
)
def test_a_document_is_shown_as_text_that_commands_no_terminal(
    media_type: str, content: bytes, expected: str | None
) -> None:
    assert legible(media_type, content) == expected


def test_the_day_on_which_a_target_was_held_is_seen(court: Court) -> None:
    held = (WrittenTarget("number", "070-174 00 07", held_on="2026-11-18"),)
    facts = flat(shown(court, court.checked(targets=held).id, "approver-1"))
    assert facts["targets"] == f"number {TARGET} as held on 2026-11-18 (written 070-174 00 07)"


def test_who_is_next_is_told_at_every_step(court: Court) -> None:
    def told(task: Any, person: str = "approver-1") -> str | None:
        return next_step(shown(court, task.id, person))

    task = court.register(court.file())
    assert told(task) == told(task, "officer-1") == f"a case handler: lagrum disclosure check {task.id}"
    assert told(court.check(task.id)) == f"an approver: lagrum disclosure approve {task.id}"
    assert told(court.approve(task.id)) == f"its case handler: lagrum disclosure run {task.id}"
    assert told(court.run(task.id)) == f"an approver: lagrum disclosure release {task.id}"
    assert told(task, "officer-1") is None  # whether a search was made is not the officer's to know yet
    assert told(court.release(task.id)) == f"its officer: lagrum disclosure deliver {task.id} --output FILE"
    court.deliver(task.id)
    assert told(task) is None


def test_nobody_is_next_in_a_case_that_rests(court: Court) -> None:
    task = court.approved()
    court.procedure.suspend(court.actor("approver-1"), task.authorisation_id, "doubt")
    assert next_step(shown(court, task.id, "approver-1")) is None


def test_a_list_keeps_identifiers_whole(court: Court) -> None:
    task = court.checked(is_test=True)
    case = next(
        item for item in views.cases(court.store, court.actor("approver-1")) if item["id"] == task.authorisation_id
    )
    head, line = _rows(case)
    assert (head["case"], head["state"]) == (task.authorisation_id, "AwaitingApproval, test")
    assert (line["case"], line["state"]) == (f"  {task.id}", "AwaitingApproval")


def test_a_document_is_asked_for_by_a_number_that_the_case_has(court: Court) -> None:
    case, actor = court.file().id, court.actor("handler-1")
    assert views.source(court.store, actor, case, 1) == views.source(court.store, actor, case)
    for number in (0, 2, -1):
        with pytest.raises(NotFoundError):
            views.source(court.store, actor, case, number)
