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
    ("checked", "approve", "approved"),
    ("checked", "reject", "rejected"),
    ("checked", "cancel", "cancelled"),
    ("approved", "approve", "approved"),
    ("approved", "run", "running"),
    ("approved", "cancel", "cancelled"),
    ("running", "run", "running"),
    ("running", "fail", "failed"),
    ("running", "complete", "run"),
    ("running", "cancel", "cancelled"),
    ("failed", "run", "running"),
    ("failed", "cancel", "cancelled"),
    ("run", "release", "released"),
    ("run", "reject", "rejected"),
    ("run", "cancel", "cancelled"),
    ("released", "release", "released"),
    ("released", "deliver", "delivered"),
    ("delivered", "deliver", "delivered"),
}
LEGAL_AUTHORISATION = {
    ("AwaitingApproval", "approve", "Approved"),
    ("AwaitingApproval", "reject", "Rejected"),
    ("AwaitingApproval", "cancel", "Cancelled"),
    ("AwaitingApproval", "expire", "Expired"),
    ("Approved", "approve", "Approved"),
    ("Approved", "cancel", "Cancelled"),
    ("Approved", "expire", "Expired"),
}


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


def test_a_released_task_that_found_nothing_has_the_standards_word_for_it() -> None:
    assert task_state(Stage.RELEASED, found=False) is TaskState.DISCLOSURE_NOT_AVAILABLE
    assert task_state(Stage.RELEASED) is TaskState.DISCLOSED
    assert task_state(Stage.FAILED, found=False) is TaskState.ERROR
    assert task_state(Stage.RUN, found=False) is TaskState.AWAITING_DISCLOSURE
