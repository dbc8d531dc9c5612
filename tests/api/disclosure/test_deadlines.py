"""Clocks of cases, basis by basis, and who is waited for at every stage."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from api.disclosure.deadlines import Clock, Due, Standing, answer_due_us, notice_window, open_ends
from api.disclosure.deliveries import DAY_US, KEPT_DAYS_UNACKNOWLEDGED, Delivery
from api.disclosure.model import Authorisation, Confirmation, Decision, Signatory, Suspension, Task, Window
from api.disclosure.states import AuthorisationState, Stage
from schemas.legal_bases import BASES, LegalBasis, basis_on
from schemas.legal_terms import CustomerNotice, Decider

DAY = date(2026, 11, 20)
FRIDAY_US = int(datetime(2026, 11, 20, 16, 0, tzinfo=UTC).timestamp()) * 1_000_000
HOUR_US = 3_600_000_000
OFFICER, HANDLER = Signatory("officer-1", "k1"), Signatory("handler-1", "k2")


def case(
    basis_id: str, *, stage: Stage = Stage.REGISTERED, **changes: object
) -> tuple[Authorisation, Task, LegalBasis]:
    basis = basis_on(basis_id, DAY)
    item = Authorisation(
        id="SE-A-1",
        state=AuthorisationState.APPROVED,
        basis_id=basis.id,
        basis_version=basis.version,
        decision_reference="B 1",
        decided_on=DAY,
        decided_by=basis.decided_by,
        authority="police-se",
        country="SE",
        targets=(),
        window=Window(0, 1),
        categories=frozenset(),
        expires_at_us=FRIDAY_US + 60 * DAY_US,
        officer=OFFICER,
        filed_at_us=FRIDAY_US,
    )
    item = replace(item, **changes)  # type: ignore[arg-type]
    task = Task("SE-T-1", item.id, stage, (), Window(0, 1), frozenset(), "00", OFFICER, FRIDAY_US, case_handler=HANDLER)
    return item, task, basis


def delivery(**changes: object) -> Delivery:
    made = Delivery("SE-D-1", "SE-T-1", "0" * 64, 1, "police-se", "0" * 64, FRIDAY_US, released_at_us=FRIDAY_US)
    return replace(made, **changes)  # type: ignore[arg-type]


def ends(
    item: Authorisation, basis: LegalBasis, task: Task, *left: Delivery, now_us: int = FRIDAY_US, noticed: bool = False
) -> list[Due]:
    told = replace(task, delivery_id=left[0].id) if left else task
    settled = frozenset({task.id} if noticed else ())
    return open_ends(item, basis, [told], {one.id: one for one in left}, noticed=settled, now_us=now_us)


@pytest.mark.parametrize(
    ("basis_id", "emergency", "hours"),
    [
        ("european-production-order", False, 240),
        ("european-production-order", True, 8),
        ("european-production-order-subscriber", False, 240),
        ("european-production-order-subscriber", True, 8),
        ("secret-surveillance", True, 8),
        ("missing-person", False, 4),
        ("missing-person", True, 1),
        # Three working days from a Friday end on the Wednesday.
        ("secret-surveillance", False, 120),
        ("intelligence", False, 120),
        ("subscriber-data", False, 120),
    ],
)
def test_an_answer_is_due_by_the_basis_from_receipt(basis_id: str, emergency: bool, hours: int) -> None:
    item, task, basis = case(basis_id, emergency=emergency)
    due_us, citation = answer_due_us(item, basis, task)
    assert due_us == FRIDAY_US + hours * HOUR_US
    assert citation == basis.deadline_of(emergency=emergency).citation  # type: ignore[union-attr]
    (due,) = ends(item, basis, task)
    assert (due.clock, due.due_us, due.since_us) == (Clock.ANSWER, due_us, FRIDAY_US)


def test_every_basis_that_lets_something_leave_gives_an_end() -> None:
    for basis in BASES:
        if basis.preserves:
            continue
        item, task, _ = case("secret-surveillance")
        due_us, _ = answer_due_us(item, basis, task)
        assert FRIDAY_US < due_us <= item.expires_at_us


def test_without_a_deadline_the_decisions_end_is_one_and_nothing_is_due_after_it() -> None:
    item, task, basis = case("copyright-information-order")
    assert answer_due_us(item, basis, task) == (item.expires_at_us, "the decision's end")
    short, task, basis = case("european-production-order", expires_at_us=FRIDAY_US + DAY_US)
    assert answer_due_us(short, basis, task)[0] == FRIDAY_US + DAY_US


def test_an_extension_gives_an_answer_no_further_time() -> None:
    item, task, basis = case("european-production-order")
    filed = replace(task, due_at_us=FRIDAY_US + 5)
    assert answer_due_us(item, basis, filed)[0] == FRIDAY_US + 5


@pytest.mark.parametrize(
    ("stage", "role", "step", "person"),
    [
        (Stage.REGISTERED, "case-handler", "check", None),
        (Stage.CHECKED, "approver", "approve", None),
        (Stage.APPROVED, "case-handler", "run", "handler-1"),
        (Stage.RUNNING, "case-handler", "run", "handler-1"),
        (Stage.FAILED, "case-handler", "run", "handler-1"),
        (Stage.RUN, "approver", "release", None),
    ],
)
def test_every_stage_waits_for_its_role(stage: Stage, role: str, step: str, person: str | None) -> None:
    item, task, basis = case("secret-surveillance", stage=stage)
    (due,) = ends(item, basis, task)
    assert (due.waits_for, due.step, due.person) == (role, step, person)
    for by_authority, resumer in ((True, "officer"), (False, "approver")):
        rests = Suspension(HANDLER, by_authority, "doubt", FRIDAY_US)
        (held,) = ends(replace(item, state=AuthorisationState.SUSPENDED, suspension=rests), basis, task)
        assert (held.waits_for, held.step) == (resumer, "resume")
        assert held.due_us == due.due_us  # a suspension stops no clock


def test_an_extended_authorisation_waits_for_an_approver_again() -> None:
    item, task, basis = case("secret-surveillance", stage=Stage.RUN, state=AuthorisationState.AWAITING_APPROVAL)
    (due,) = ends(item, basis, task)
    assert (due.waits_for, due.step) == ("approver", "approve")


@pytest.mark.parametrize("stage", [Stage.REJECTED, Stage.CANCELLED, Stage.INVALID])
def test_what_has_ended_waits_for_nobody(stage: Stage) -> None:
    item, task, basis = case("secret-surveillance", stage=stage)
    assert ends(item, basis, task) == []
    for state in ("Rejected", "Cancelled", "Expired", "Invalid"):
        item, task, basis = case("secret-surveillance", state=AuthorisationState(state))
        assert ends(item, basis, task) == []


def test_a_release_waits_to_be_fetched_and_a_fetch_to_be_acknowledged() -> None:
    item, task, basis = case("secret-surveillance", stage=Stage.RELEASED)
    (due,) = ends(item, basis, task, delivery())
    assert (due.clock, due.step, due.person, due.due_us) == (Clock.FETCH, "deliver", "officer-1", item.expires_at_us)
    fetched = replace(task, stage=Stage.DELIVERED)
    late = replace(item, expires_at_us=FRIDAY_US + 900 * DAY_US)
    (due,) = ends(late, basis, fetched, delivery(fetched=(FRIDAY_US + 5, FRIDAY_US + 9)))
    assert (due.clock, due.step, due.since_us) == (Clock.ACKNOWLEDGEMENT, "acknowledge", FRIDAY_US + 5)
    assert due.due_us == FRIDAY_US + KEPT_DAYS_UNACKNOWLEDGED * DAY_US
    assert ends(item, basis, fetched, delivery(fetched=(FRIDAY_US,), acknowledged_at_us=FRIDAY_US)) == []
    assert ends(item, basis, fetched, delivery(fetched=(FRIDAY_US,), erased_at_us=FRIDAY_US)) == []


def test_an_emergency_waits_for_its_confirmation_and_an_order_for_its_task() -> None:
    item, task, basis = case(
        "secret-surveillance", emergency=True, confirm_by_us=FRIDAY_US + 72 * HOUR_US, stage=Stage.CHECKED
    )
    clocks = {due.clock: due for due in ends(item, basis, task)}
    assert set(clocks) == {Clock.ANSWER, Clock.CONFIRMATION}
    assert clocks[Clock.CONFIRMATION].due_us == FRIDAY_US + 72 * HOUR_US
    decision = Decision("B 2", DAY, Decider.COURT, 1, 0, "d", "text/plain", 1, "0" * 64)
    confirmed = replace(item, confirmation=Confirmation(decision, OFFICER, FRIDAY_US))
    assert {due.clock for due in ends(confirmed, basis, task)} == {Clock.ANSWER}
    (waits,) = open_ends(confirmed, basis, [], {}, noticed=frozenset(), now_us=FRIDAY_US)
    assert (waits.clock, waits.step, waits.due_us) == (Clock.REGISTER, "register", item.expires_at_us)


@pytest.mark.parametrize(
    ("share", "standing"),
    [
        (0.0, Standing.OPEN),
        (0.74, Standing.OPEN),
        (0.75, Standing.SOON),
        (0.99, Standing.SOON),
        (1.0, Standing.OVERDUE),
    ],
)
def test_the_last_quarter_is_soon_and_the_instant_itself_is_overdue(share: float, standing: Standing) -> None:
    item, task, basis = case("european-production-order")
    (due,) = ends(item, basis, task)
    assert due.due_us is not None
    assert due.standing(FRIDAY_US + round((due.due_us - FRIDAY_US) * share)) is standing


def test_the_customer_is_told_when_the_basis_allows_and_never_before() -> None:
    left = delivery(fetched=(FRIDAY_US, FRIDAY_US + 3 * DAY_US))
    item, task, basis = case("copyright-information-order", stage=Stage.DELIVERED)
    first_us = FRIDAY_US + 31 * DAY_US
    assert notice_window(basis, left) == (first_us, FRIDAY_US + 89 * DAY_US)

    def notices(now_us: int, *, noticed: bool = False, test: bool = False) -> list[Clock]:
        found = ends(replace(item, is_test=test), basis, task, left, now_us=now_us, noticed=noticed)
        return [due.clock for due in found if due.clock is Clock.NOTICE]

    assert notices(first_us - 1) == []
    assert notices(first_us) == [Clock.NOTICE]
    assert notices(first_us, noticed=True) == []
    assert notices(first_us, test=True) == []
    # The order's end takes nothing from the customer.
    over = replace(item, state=AuthorisationState.EXPIRED)
    assert [due.clock for due in ends(over, basis, task, left, now_us=first_us)] == [Clock.NOTICE]


def test_nobody_is_told_of_what_never_left_or_where_the_basis_keeps_silent() -> None:
    for basis in BASES:
        silent = basis.customer_notice is CustomerNotice.PROHIBITED
        assert (notice_window(basis, delivery(fetched=(FRIDAY_US,))) is None) is silent
        assert notice_window(basis, delivery()) is None
        assert notice_window(basis, delivery(fetched=(FRIDAY_US,), records=0)) is None
    for basis_id in ("secret-surveillance", "intelligence", "subscriber-data", "european-production-order"):
        item, task, basis = case(basis_id, stage=Stage.DELIVERED)
        later = FRIDAY_US + int(timedelta(days=4000) / timedelta(microseconds=1))
        found = ends(item, basis, task, delivery(fetched=(FRIDAY_US,)), now_us=later)
        assert Clock.NOTICE not in {due.clock for due in found}
