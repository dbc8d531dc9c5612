"""What the guard thinks of the clock, and two custodians who confirm it; see `api.custody.clock` for the steps."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import Field

from api.custody import clock
from api.deps import get_store
from api.people.auth import Principal, require_role
from api.people.roles import Role
from api.routes.models import ERRORS, ApprovalModel, Model

router = APIRouter(tags=["clock"])

_EXAMPLE: Final = {
    "trusted": False,
    "reason": "gap",
    "text": "nobody watched the clock for too long: the machine was off, or its clock was set",
    "clock": "2026-11-22T12:00:00.000000Z",
    "clock_us": 1795348800000000,
    "proven": "2026-10-31T06:00:00.000000Z",
    "doubt_seconds": 1922400.0,
    "due": 21,
    "pending": None,
}
_ONE: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/json": {"example": _EXAMPLE}}}, **ERRORS}
Custodian = Annotated[Principal, Depends(require_role(Role.CUSTODIAN))]


class ClockRequestModel(Model):
    """The instant that the first custodian saw, with a signature."""

    seen_us: Annotated[int, Field(ge=0, le=2**62, description="`clock_us` as shown", examples=[1795348800000000])]
    due: Annotated[int, Field(ge=0, le=2**31, description="`due` as shown: partitions that it ends", examples=[21])]
    reason: Annotated[str, Field(min_length=1, max_length=500, examples=["the machine was off for three weeks"])]
    approval: ApprovalModel


class ClockConfirmationModel(Model):
    """The second custodian's signature."""

    approval: ApprovalModel


@router.get("/v1/clock", summary="Show the clock and whether it is trusted", responses=_ONE)
def show(request: Request, _: Custodian) -> dict[str, Any]:
    """Return what the guard thinks of the clock, and what a custodian signs to confirm it."""
    return clock.show(get_store(request))


@router.post("/v1/clock/confirmation", summary="Request to confirm the clock", responses=_ONE)
def ask(request: Request, body: ClockRequestModel, principal: Custodian) -> dict[str, Any]:
    """Ask to believe the instant that was shown; sign action `clock.confirm.request`. Nothing changes yet."""
    return clock.request(
        get_store(request), principal.person_id, body.seen_us, body.due, body.reason, body.approval.value()
    )


@router.post("/v1/clock/confirmation/confirm", summary="Confirm the clock", responses=_ONE)
def confirm(request: Request, body: ClockConfirmationModel, principal: Custodian) -> dict[str, Any]:
    """Believe the requested instant, and not a moment more; sign action `clock.confirm.confirm`."""
    return clock.confirm(get_store(request), principal.person_id, body.approval.value())
