"""Extension: a later end is a new decision, judged by its own day and law, and approved anew."""

from __future__ import annotations

from dataclasses import replace

import pytest

from api.disclosure.states import AuthorisationState, Stage
from schemas import legal_bases
from store.clock import to_date
from tests.api.disclosure.conftest import Court
from tests.api.disclosure.test_amending import later, order_of, refused
from tests.store.records import DAY_US


def test_an_extension_is_judged_by_its_own_day_and_approved_anew(court: Court) -> None:
    task, fetched_task = court.approved(), court.released()
    later(court, 20 * 24)
    for item in (task, fetched_task):
        end_us = court.clock.now_us() + 40 * DAY_US
        extended = court.procedure.extend(
            court.actor("officer-1"), item.authorisation_id, court.ruling(expires_at_us=end_us)
        )
        assert extended.state is AuthorisationState.AWAITING_APPROVAL
        assert [decision.reference for decision in extended.decisions] == ["B 1234-26", "B 1234-26/2"]
        assert extended.decided_on == court.ruling().decided_on
    assert refused(court.run, task.id) == "authorisation-not-approved"
    assert refused(court.deliver, fetched_task.id) == "authorisation-not-approved"
    court.approve(task.id, "approver-2")
    court.approve(fetched_task.id, "approver-2")
    later(court, 20 * 24)
    assert court.run(task.id).stage is Stage.RUN
    assert court.deliver(fetched_task.id)


def test_an_old_approval_does_not_carry_an_extension(court: Court) -> None:
    """Two tasks of one authorisation: approving one anew does not approve the other."""
    task = court.approved()
    other = court.register(order_of(court, task))
    court.approve(court.check(other.id).id)
    court.procedure.extend(
        court.actor("officer-1"),
        task.authorisation_id,
        court.ruling(expires_at_us=court.clock.now_us() + 40 * DAY_US),
    )
    court.approve(other.id)
    assert refused(court.run, task.id) == "approval-digest"
    assert court.run(other.id).stage is Stage.RUN


def a_new_law(court: Court, monkeypatch: pytest.MonkeyPatch) -> None:
    """From today on less may leave."""
    today = to_date(court.clock.now_us())
    old = legal_bases.basis_on("secret-surveillance", today)
    narrow = frozenset({"calling_number", "called_number", "start_time"})
    new = replace(old, version=old.version + 1, effective_from=today, fields=narrow)
    others = tuple(basis for basis in legal_bases.BASES if basis is not old)
    monkeypatch.setattr(legal_bases, "BASES", (*others, replace(old, effective_to=today), new))


def test_a_result_of_the_earlier_law_does_not_leave_under_an_extension_of_the_later(
    court: Court, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the new version keeps back stands in the result of the old one."""
    run, released = court.run(court.approved().id), court.released()
    a_new_law(court, monkeypatch)
    for task in (run, released):
        until = court.ruling(expires_at_us=court.clock.now_us() + 60 * DAY_US)
        court.procedure.extend(court.actor("officer-1"), task.authorisation_id, until)
        court.approve(task.id)
    assert refused(court.release, run.id) == "law-changed"
    assert refused(court.release, released.id) == "law-changed"
    assert refused(court.deliver, released.id) == "law-changed"
