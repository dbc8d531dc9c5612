"""What of a case waits for whom, and until when. Pure: the case on file, the basis's version, and the instant.

Each open end is a `Due` on one clock:

    answer           from a task's registration, which is its receipt, to its release: the basis's deadline
    confirmation     from an emergency's filing to the regular decision: the basis's hours
    register         from the filing to the decision's end, while no task is registered
    fetch            from the release until the decision ends or the envelope goes
    acknowledgement  from the first fetch until the same
    outdated         from the mark on a result that has left until the authority knows; without an end
    notice           from the first to the last day on which the customer is told, where the basis lets the operator

A suspension stops no clock, and an extension gives an answer no further time: the law names neither, so the earlier
instant holds. Where no provision gives a deadline, the decision's end is one, because nothing can be done after it.

Source: the provisions that `schemas.legal_bases` cites for each basis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from api.disclosure.deliveries import DAY_US, Delivery, kept_until_us
from api.disclosure.model import Authorisation, Signatory, Task
from api.disclosure.states import AuthorisationState, Stage
from api.people.roles import Role
from schemas.legal_bases import LegalBasis
from schemas.legal_terms import CustomerNotice

SOON_SHARE: Final = 4
"""Our bound: the last quarter of a time is its reminder's."""
DECISION_ENDS: Final = "the decision's end"
OUTDATED_CITATION: Final = "Regulation (EU) 2016/679 Art 19"
ENVELOPE_GOES: Final = "our bound: a release that nobody confirms is not kept for ever"


class Clock(StrEnum):
    """What runs."""

    ANSWER = "answer"
    CONFIRMATION = "confirmation"
    REGISTER = "register"
    FETCH = "fetch"
    ACKNOWLEDGEMENT = "acknowledgement"
    NOTICE = "notice"
    OUTDATED = "outdated"


class Standing(StrEnum):
    """How a time stands."""

    OPEN = "open"
    SOON = "soon"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class Due:
    """One open end of a case.

    `case` is the task's id, or the authorisation's where no task is meant. `person` is the only one who may act; None:
    anybody of the role. `step` is the command that ends the wait. In [`since_us`, `due_us`), UTC microseconds;
    `due_us` None has no end.
    """

    clock: Clock
    case: str
    authorisation: Authorisation
    waits_for: Role
    person: str | None
    step: str
    since_us: int
    due_us: int | None
    citation: str

    def standing(self, now_us: int) -> Standing:
        """Return how it stands; at the instant itself it is overdue."""
        if self.due_us is None:
            return Standing.OPEN
        if now_us >= self.due_us:
            return Standing.OVERDUE
        soon_us = self.due_us - (self.due_us - self.since_us) // SOON_SHARE
        return Standing.SOON if now_us >= soon_us else Standing.OPEN


LIVE: Final = frozenset(
    {
        AuthorisationState.AWAITING_APPROVAL,
        AuthorisationState.EMERGENCY_APPROVAL,
        AuthorisationState.APPROVED,
        AuthorisationState.SUSPENDED,
    }
)
_ANSWERING: Final = {
    Stage.REGISTERED: (Role.CASE_HANDLER, "check"),
    Stage.CHECKED: (Role.APPROVER, "approve"),
    Stage.APPROVED: (Role.CASE_HANDLER, "run"),
    Stage.RUNNING: (Role.CASE_HANDLER, "run"),
    Stage.FAILED: (Role.CASE_HANDLER, "run"),
    Stage.RUN: (Role.APPROVER, "release"),
}
_BEFORE_APPROVAL: Final = (Stage.REGISTERED, Stage.CHECKED)


def open_ends(
    authorisation: Authorisation,
    basis: LegalBasis,
    tasks: Sequence[Task],
    deliveries: Mapping[str, Delivery],
    *,
    noticed: frozenset[str],
    now_us: int,
    outdated: Mapping[str, int] | None = None,
) -> list[Due]:
    """Return the open ends of one authorisation, in no order.

    Args:
        authorisation: as it is on file.
        basis: the version by which it is judged.
        tasks: the tasks under it.
        deliveries: by id; those of the tasks at least.
        noticed: tasks of which the customer's notice is settled.
        now_us: now; a notice is none of today's ends before its first day.
        outdated: since when deliveries are outdated (UTC microseconds), of which no authority knows.
    """
    found: list[Due] = []
    if authorisation.state in LIVE:
        found += _of_authorisation(authorisation, basis, tasks)
        for task in tasks:
            found += _of_task(authorisation, basis, task, deliveries.get(task.delivery_id or ""))
    for task in tasks:
        found += _notice(authorisation, basis, task, deliveries, noticed, now_us)
        found += _outdated(authorisation, task, deliveries, outdated or {})
    return found


def answer_due_us(authorisation: Authorisation, basis: LegalBasis, task: Task) -> tuple[int, str]:
    """Return by when a task is to be answered, and which words say so."""
    found = [(authorisation.expires_at_us, DECISION_ENDS)]
    deadline = basis.deadline_of(emergency=authorisation.emergency)
    if deadline is not None:
        found.append((deadline.due_us(task.registered_at_us), deadline.citation))
        if task.due_at_us is not None:
            found.append((task.due_at_us, deadline.citation))
    return min(found)


def notice_window(basis: LegalBasis, delivery: Delivery) -> tuple[int, int | None] | None:
    """Return the first instant at which the customer may be told, and the end of the time for it.

    None: the operator never tells, or no record has left. The days count from the first fetch, which is when the data
    were handed over.
    """
    if basis.customer_notice is not CustomerNotice.AFTER_DELIVERY or not delivery.fetched or not delivery.records:
        return None
    left_us = min(delivery.fetched)
    if basis.notice_days is None:
        return left_us, None
    earliest, latest = basis.notice_days
    return left_us + earliest * DAY_US, left_us + latest * DAY_US


def _of_authorisation(authorisation: Authorisation, basis: LegalBasis, tasks: Sequence[Task]) -> Iterator[Due]:
    filed_us = authorisation.filed_at_us
    if authorisation.awaits_confirmation and basis.emergency is not None:
        yield Due(
            Clock.CONFIRMATION,
            authorisation.id,
            authorisation,
            Role.OFFICER,
            None,
            "confirm",
            filed_us,
            authorisation.confirm_by_us,
            basis.emergency.citation,
        )
    if not tasks:
        who, person, step = _held(authorisation) or (Role.OFFICER, authorisation.officer, "register")
        yield Due(
            Clock.REGISTER,
            authorisation.id,
            authorisation,
            who,
            person.person_id if person else None,
            step,
            filed_us,
            authorisation.expires_at_us,
            DECISION_ENDS,
        )


def _of_task(authorisation: Authorisation, basis: LegalBasis, task: Task, delivery: Delivery | None) -> Iterator[Due]:
    if task.stage in _ANSWERING:
        role, step = _ANSWERING[task.stage]
        clock, since_us = Clock.ANSWER, task.registered_at_us
        due_us, citation = answer_due_us(authorisation, basis, task)
        person = task.case_handler if step == "run" else None
    elif delivery is not None and delivery.erased_at_us is None and task.stage in (Stage.RELEASED, Stage.DELIVERED):
        if delivery.acknowledged_at_us is not None or delivery.released_at_us is None:
            return
        fetched = bool(delivery.fetched)
        clock, step = (Clock.ACKNOWLEDGEMENT, "acknowledge") if fetched else (Clock.FETCH, "deliver")
        role, person = Role.OFFICER, task.officer
        since_us = min(delivery.fetched) if fetched else delivery.released_at_us
        ends = (authorisation.expires_at_us, DECISION_ENDS), (kept_until_us(delivery) or since_us, ENVELOPE_GOES)
        due_us, citation = min(ends)
    else:
        return
    if authorisation.state is AuthorisationState.AWAITING_APPROVAL and task.stage not in _BEFORE_APPROVAL:
        role, person, step = Role.APPROVER, None, "approve"  # an extension is approved anew
    role, person, step = _held(authorisation) or (role, person, step)
    yield Due(
        clock, task.id, authorisation, role, person.person_id if person else None, step, since_us, due_us, citation
    )


def _held(authorisation: Authorisation) -> tuple[Role, Signatory | None, str] | None:
    """Return who lets a suspended authorisation go on; None when it is not suspended."""
    suspension = authorisation.suspension
    if authorisation.state is not AuthorisationState.SUSPENDED or suspension is None:
        return None
    return (
        (Role.OFFICER, authorisation.officer, "resume") if suspension.by_authority else (Role.APPROVER, None, "resume")
    )


def _notice(
    authorisation: Authorisation,
    basis: LegalBasis,
    task: Task,
    deliveries: Mapping[str, Delivery],
    noticed: frozenset[str],
    now_us: int,
) -> Iterator[Due]:
    delivery = deliveries.get(task.delivery_id or "")
    if authorisation.is_test or delivery is None or task.id in noticed:
        return
    window = notice_window(basis, delivery)
    if window is None or now_us < window[0]:
        return
    yield Due(
        Clock.NOTICE,
        task.id,
        authorisation,
        Role.CASE_HANDLER,
        None,
        "notice",
        window[0],
        window[1],
        basis.notice_citation,
    )


def _outdated(
    authorisation: Authorisation, task: Task, deliveries: Mapping[str, Delivery], outdated: Mapping[str, int]
) -> Iterator[Due]:
    delivery = deliveries.get(task.delivery_id or "")
    if delivery is None or delivery.id not in outdated or task.stage not in (Stage.RELEASED, Stage.DELIVERED):
        return
    if delivery.fetched or delivery.erased_at_us is None:
        since_us = outdated[delivery.id]
        yield Due(
            Clock.OUTDATED, task.id, authorisation, Role.CASE_HANDLER, None, "inform", since_us, None, OUTDATED_CITATION
        )
