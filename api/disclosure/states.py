"""States of an authorisation and of a task, and every transition there is. Pure.

The words are those of ETSI TS 103 120 (AuthorisationStatus; LDTaskStatus, clause 8.3.3). A task also has a *stage*,
finer than its state, because checking, running, releasing and fetching are steps of the operator's own procedure.
A transition that is not listed raises; nothing returns a flag that could go unread.

An authorisation, by what may happen to it; nothing happens to what is rejected, cancelled, expired or invalid:

    AwaitingApproval   approve, approve-emergency, confirm, reject, cancel, expire, lapse
    EmergencyApproval  approve-emergency (a further task), confirm, suspend, cancel, expire, lapse
    Approved           approve (a further task), extend, suspend, cancel, expire
    Suspended          resume, resume-emergency, confirm, cancel, expire, lapse
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from schemas.errors import ProcedureError


class AuthorisationState(StrEnum):
    """State of an authorisation."""

    AWAITING_APPROVAL = "AwaitingApproval"
    EMERGENCY_APPROVAL = "EmergencyApproval"
    APPROVED = "Approved"
    REJECTED = "Rejected"
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"
    EXPIRED = "Expired"
    INVALID = "Invalid"


class TaskState(StrEnum):
    """State of a task, as an authority sees it."""

    AWAITING_APPROVAL = "AwaitingApproval"
    AWAITING_DISCLOSURE = "AwaitingDisclosure"
    DISCLOSED = "Disclosed"
    DISCLOSURE_NOT_AVAILABLE = "DisclosureNotAvailable"
    REJECTED = "Rejected"
    CANCELLED = "Cancelled"
    ERROR = "Error"
    INVALID = "Invalid"


class Stage(StrEnum):
    """Where a task stands in the procedure."""

    REGISTERED = "registered"
    CHECKED = "checked"
    APPROVED = "approved"
    RUNNING = "running"
    FAILED = "failed"
    RUN = "run"
    RELEASED = "released"
    DELIVERED = "delivered"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    INVALID = "invalid"


class AuthorisationAction(StrEnum):
    """What can happen to an authorisation."""

    APPROVE = "approve"
    APPROVE_EMERGENCY = "approve-emergency"
    CONFIRM = "confirm"
    SUSPEND = "suspend"
    RESUME = "resume"
    RESUME_EMERGENCY = "resume-emergency"
    EXTEND = "extend"
    REJECT = "reject"
    CANCEL = "cancel"
    EXPIRE = "expire"
    LAPSE = "lapse"


class TaskAction(StrEnum):
    """What can happen to a task."""

    CHECK = "check"
    APPROVE = "approve"
    RUN = "run"
    FAIL = "fail"
    COMPLETE = "complete"
    RELEASE = "release"
    DELIVER = "deliver"
    REJECT = "reject"
    CANCEL = "cancel"
    LAPSE = "lapse"


_A = AuthorisationState
_Act = AuthorisationAction
AUTHORISATION_TRANSITIONS: Final[dict[tuple[AuthorisationState, AuthorisationAction], AuthorisationState]] = {
    (_A.AWAITING_APPROVAL, _Act.APPROVE): _A.APPROVED,
    # Every approved task approves its authorisation anew; the second one changes nothing.
    (_A.APPROVED, _Act.APPROVE): _A.APPROVED,
    (_A.AWAITING_APPROVAL, _Act.APPROVE_EMERGENCY): _A.EMERGENCY_APPROVAL,
    (_A.EMERGENCY_APPROVAL, _Act.APPROVE_EMERGENCY): _A.EMERGENCY_APPROVAL,
    (_A.EMERGENCY_APPROVAL, _Act.CONFIRM): _A.APPROVED,
    # The authority's decision may be there before the operator's approver has signed.
    (_A.AWAITING_APPROVAL, _Act.CONFIRM): _A.AWAITING_APPROVAL,
    # What is confirmed while it is suspended stays suspended; it resumes as approved.
    (_A.SUSPENDED, _Act.CONFIRM): _A.SUSPENDED,
    (_A.APPROVED, _Act.SUSPEND): _A.SUSPENDED,
    (_A.EMERGENCY_APPROVAL, _Act.SUSPEND): _A.SUSPENDED,
    (_A.SUSPENDED, _Act.RESUME): _A.APPROVED,
    (_A.SUSPENDED, _Act.RESUME_EMERGENCY): _A.EMERGENCY_APPROVAL,
    # A new decision with a new end is approved like the first one.
    (_A.APPROVED, _Act.EXTEND): _A.AWAITING_APPROVAL,
    (_A.AWAITING_APPROVAL, _Act.REJECT): _A.REJECTED,
    # The time to confirm runs on while an emergency approval is suspended.
    (_A.AWAITING_APPROVAL, _Act.LAPSE): _A.INVALID,
    (_A.EMERGENCY_APPROVAL, _Act.LAPSE): _A.INVALID,
    (_A.SUSPENDED, _Act.LAPSE): _A.INVALID,
    **{
        (state, action): end
        for state in (_A.AWAITING_APPROVAL, _A.EMERGENCY_APPROVAL, _A.APPROVED, _A.SUSPENDED)
        for action, end in ((_Act.CANCEL, _A.CANCELLED), (_Act.EXPIRE, _A.EXPIRED))
    },
}

_S = Stage
_OPEN: Final = (_S.REGISTERED, _S.CHECKED, _S.APPROVED, _S.RUNNING, _S.FAILED, _S.RUN)
TASK_TRANSITIONS: Final[dict[tuple[Stage, TaskAction], Stage]] = {
    (_S.REGISTERED, TaskAction.CHECK): _S.CHECKED,
    (_S.CHECKED, TaskAction.APPROVE): _S.APPROVED,
    # An approver whose enrolment is revoked approves nothing any more, and an extension is approved anew: somebody
    # signs in the same place (`approving`).
    **{
        (stage, TaskAction.APPROVE): stage
        for stage in (_S.APPROVED, _S.RUNNING, _S.FAILED, _S.RUN, _S.RELEASED, _S.DELIVERED)
    },
    (_S.RELEASED, TaskAction.RELEASE): _S.RELEASED,
    (_S.DELIVERED, TaskAction.RELEASE): _S.DELIVERED,
    (_S.APPROVED, TaskAction.RUN): _S.RUNNING,
    # A run that a crash cut off, or that failed on an unavailable part, starts anew under the same approval.
    (_S.RUNNING, TaskAction.RUN): _S.RUNNING,
    (_S.FAILED, TaskAction.RUN): _S.RUNNING,
    (_S.RUNNING, TaskAction.FAIL): _S.FAILED,
    (_S.RUNNING, TaskAction.COMPLETE): _S.RUN,
    (_S.RUN, TaskAction.RELEASE): _S.RELEASED,
    (_S.RELEASED, TaskAction.DELIVER): _S.DELIVERED,
    (_S.DELIVERED, TaskAction.DELIVER): _S.DELIVERED,
    **{(stage, TaskAction.REJECT): _S.REJECTED for stage in (_S.REGISTERED, _S.CHECKED, _S.RUN)},
    **{(stage, TaskAction.CANCEL): _S.CANCELLED for stage in _OPEN},
    # What was delivered stays told as delivered; everything before it falls with its authorisation.
    **{(stage, TaskAction.LAPSE): _S.INVALID for stage in (*_OPEN, _S.RELEASED)},
}

_STATES: Final[dict[Stage, TaskState]] = {
    _S.REGISTERED: TaskState.AWAITING_APPROVAL,
    _S.CHECKED: TaskState.AWAITING_APPROVAL,
    _S.APPROVED: TaskState.AWAITING_DISCLOSURE,
    _S.RUNNING: TaskState.AWAITING_DISCLOSURE,
    _S.FAILED: TaskState.ERROR,
    _S.RUN: TaskState.AWAITING_DISCLOSURE,
    _S.RELEASED: TaskState.DISCLOSED,
    _S.DELIVERED: TaskState.DISCLOSED,
    _S.REJECTED: TaskState.REJECTED,
    _S.CANCELLED: TaskState.CANCELLED,
    _S.INVALID: TaskState.INVALID,
}


_TO_OFFICERS: Final = {TaskAction.DELIVER: "no result of this task is released, so there is none to fetch"}
"""In words of what officers do: they do not learn how far the operator's staff is."""


def next_authorisation(state: AuthorisationState, action: AuthorisationAction) -> AuthorisationState:
    """Return the state after `action`.

    Raises:
        ProcedureError: reason `wrong-state`: the transition is not listed.
    """
    after = AUTHORISATION_TRANSITIONS.get((state, action))
    if after is None:
        hint = "it is approved with its first task" if state is AuthorisationState.AWAITING_APPROVAL else None
        raise ProcedureError(f"an authorisation in state {state} does not {action}", reason="wrong-state", hint=hint)
    return after


def next_stage(stage: Stage, action: TaskAction) -> Stage:
    """Return the stage after `action`.

    Raises:
        ProcedureError: reason `wrong-state`: the transition is not listed.
    """
    after = TASK_TRANSITIONS.get((stage, action))
    if after is None:
        hint = "`lagrum disclosure show` tells whose step is next"
        told = _TO_OFFICERS.get(action, f"a task at stage {stage} does not {action}")
        raise ProcedureError(told, reason="wrong-state", hint=hint)
    return after


def task_state(stage: Stage, *, found: bool = True) -> TaskState:
    """Return the standard's state of a task; a released task that found nothing is DisclosureNotAvailable."""
    state = _STATES[stage]
    return state if found or state is not TaskState.DISCLOSED else TaskState.DISCLOSURE_NOT_AVAILABLE
