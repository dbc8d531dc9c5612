"""Every transition that is not listed is refused."""

from __future__ import annotations

import itertools

import pytest

from api.disclosure.states import (
    AUTHORISATION_TRANSITIONS,
    TASK_TRANSITIONS,
    AuthorisationAction,
    AuthorisationState,
    Stage,
    TaskAction,
    TaskState,
    next_authorisation,
    next_stage,
    task_state,
)
from schemas.errors import ProcedureError

LEGAL_TASK = {
    ("registered", "check", "checked"),
    ("registered", "reject", "rejected"),
    ("registered", "cancel", "cancelled"),
    ("registered", "lapse", "invalid"),
    ("checked", "approve", "approved"),
    ("checked", "reject", "rejected"),
    ("checked", "cancel", "cancelled"),
    ("checked", "lapse", "invalid"),
    ("approved", "approve", "approved"),
    ("approved", "run", "running"),
    ("approved", "cancel", "cancelled"),
    ("approved", "lapse", "invalid"),
    ("running", "approve", "running"),
    ("running", "run", "running"),
    ("running", "fail", "failed"),
    ("running", "complete", "run"),
    ("running", "cancel", "cancelled"),
    ("running", "lapse", "invalid"),
    ("failed", "approve", "failed"),
    ("failed", "run", "running"),
    ("failed", "cancel", "cancelled"),
    ("failed", "lapse", "invalid"),
    ("run", "approve", "run"),
    ("run", "release", "released"),
    ("run", "reject", "rejected"),
    ("run", "cancel", "cancelled"),
    ("run", "lapse", "invalid"),
    ("released", "approve", "released"),
    ("released", "release", "released"),
    ("released", "deliver", "delivered"),
    ("released", "lapse", "invalid"),
    ("delivered", "approve", "delivered"),
    ("delivered", "release", "delivered"),
    ("delivered", "deliver", "delivered"),
}
LEGAL_AUTHORISATION = {
    ("AwaitingApproval", "approve", "Approved"),
    ("AwaitingApproval", "approve-emergency", "EmergencyApproval"),
    ("AwaitingApproval", "confirm", "AwaitingApproval"),
    ("AwaitingApproval", "reject", "Rejected"),
    ("AwaitingApproval", "cancel", "Cancelled"),
    ("AwaitingApproval", "expire", "Expired"),
    ("AwaitingApproval", "lapse", "Invalid"),
    ("EmergencyApproval", "approve-emergency", "EmergencyApproval"),
    ("EmergencyApproval", "confirm", "Approved"),
    ("EmergencyApproval", "suspend", "Suspended"),
    ("EmergencyApproval", "cancel", "Cancelled"),
    ("EmergencyApproval", "expire", "Expired"),
    ("EmergencyApproval", "lapse", "Invalid"),
    ("Approved", "approve", "Approved"),
    ("Approved", "extend", "AwaitingApproval"),
    ("Approved", "suspend", "Suspended"),
    ("Approved", "cancel", "Cancelled"),
    ("Approved", "expire", "Expired"),
    ("Suspended", "resume", "Approved"),
    ("Suspended", "resume-emergency", "EmergencyApproval"),
    ("Suspended", "confirm", "Suspended"),
    ("Suspended", "cancel", "Cancelled"),
    ("Suspended", "expire", "Expired"),
    ("Suspended", "lapse", "Invalid"),
}


LEGAL_STARTS = {(start, action) for start, action, _ in LEGAL_AUTHORISATION}


def test_the_tables_are_exactly_what_the_procedure_says() -> None:
    assert {(str(a), str(b), str(c)) for (a, b), c in TASK_TRANSITIONS.items()} == LEGAL_TASK
    assert {(str(a), str(b), str(c)) for (a, b), c in AUTHORISATION_TRANSITIONS.items()} == LEGAL_AUTHORISATION


@pytest.mark.parametrize(("stage", "action"), list(itertools.product(Stage, TaskAction)))
def test_a_task_moves_as_listed_and_not_otherwise(stage: Stage, action: TaskAction) -> None:
    after = {end for start, act, end in LEGAL_TASK if (start, act) == (stage, action)}
    if after:
        assert next_stage(stage, action) in after
    else:
        with pytest.raises(ProcedureError) as refusal:
            next_stage(stage, action)
        assert refusal.value.reason == "wrong-state"


@pytest.mark.parametrize(("state", "action"), list(itertools.product(AuthorisationState, AuthorisationAction)))
def test_an_authorisation_moves_as_listed_and_not_otherwise(
    state: AuthorisationState, action: AuthorisationAction
) -> None:
    after = {end for start, act, end in LEGAL_AUTHORISATION if (start, act) == (state, action)}
    if after:
        assert next_authorisation(state, action) in after
    else:
        with pytest.raises(ProcedureError) as refusal:
            next_authorisation(state, action)
        assert refusal.value.reason == "wrong-state"


def test_there_is_no_way_to_a_delivery_but_through_approval_run_and_release() -> None:
    for must in (Stage.CHECKED, Stage.APPROVED, Stage.RUN, Stage.RELEASED):
        reached = {Stage.REGISTERED}
        while True:
            more = {
                end for (start, _), end in TASK_TRANSITIONS.items() if start in reached and end is not must
            } - reached
            if not more:
                break
            reached |= more
        assert Stage.DELIVERED not in reached


def test_every_word_of_the_standard_is_reached() -> None:
    begun = AuthorisationState.AWAITING_APPROVAL
    assert set(AUTHORISATION_TRANSITIONS.values()) | {begun} == set(AuthorisationState)
    assert set(TASK_TRANSITIONS.values()) | {Stage.REGISTERED} == set(Stage)
    assert {task_state(stage, found=found) for stage in Stage for found in (True, False)} == set(TaskState)


def test_what_has_ended_stays_so() -> None:
    ended = {AuthorisationState.REJECTED, AuthorisationState.CANCELLED}
    ended |= {AuthorisationState.EXPIRED, AuthorisationState.INVALID}
    assert {state for state in AuthorisationState if not any(start == state for start, _ in LEGAL_STARTS)} == ended


def test_a_released_task_that_found_nothing_has_the_standards_word_for_it() -> None:
    assert task_state(Stage.RELEASED, found=False) is TaskState.DISCLOSURE_NOT_AVAILABLE
    assert task_state(Stage.RELEASED) is TaskState.DISCLOSED
    assert task_state(Stage.FAILED, found=False) is TaskState.ERROR
    assert task_state(Stage.RUN, found=False) is TaskState.AWAITING_DISCLOSURE
