"""Withdrawing a batch that was read wrongly: two custodians; see `api.custody.corrections` for the steps."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from api.custody import corrections
from api.deps import get_store
from api.people.auth import Principal, require_role
from api.people.roles import Role
from api.routes.models import ERRORS, ApprovalModel, Model

router = APIRouter(tags=["corrections"])

_EXAMPLE: Final = {
    "batch_id": 17,
    "state": "pending",
    "reason": "read in the wrong time zone",
    "by": "custodian-1",
    "time": "2026-11-22T12:00:00.000000Z",
    "later_duplicates": {"batches": 1, "records_max": 2, "deliver_again": [18]},
}
_ONE: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"application/json": {"example": _EXAMPLE}}}, **ERRORS}
Custodian = Annotated[Principal, Depends(require_role(Role.CUSTODIAN))]
BatchId = Annotated[int, Path(ge=1, le=2**62, examples=[17])]


class WithdrawalModel(Model):
    """Why a batch is withdrawn, with the first custodian's signature."""

    reason: Annotated[str, Field(min_length=1, max_length=500, examples=["read in the wrong time zone"])]
    approval: ApprovalModel


class ConfirmationModel(Model):
    """The second custodian's signature."""

    approval: ApprovalModel


@router.get("/v1/batches/{batch_id}/withdrawal", summary="Show a withdrawal", responses=_ONE)
def show(request: Request, batch_id: BatchId, _: Custodian) -> dict[str, Any]:
    """Return what is requested for a batch, with all that a confirmer signs.

    `later_duplicates` names the batches that may have dropped records because this one had them, and how many at most.
    Those are not kept: deliver these batches again, after the withdrawal.
    """
    return corrections.show(get_store(request), batch_id)


@router.post("/v1/batches/{batch_id}/withdrawal", summary="Request a withdrawal", responses=_ONE)
def ask(request: Request, batch_id: BatchId, body: WithdrawalModel, principal: Custodian) -> dict[str, Any]:
    """Ask to withdraw a batch; sign action `batch.withdraw.request`. Nothing changes until another confirms."""
    return corrections.request(get_store(request), principal.person_id, batch_id, body.reason, body.approval.value())


@router.post("/v1/batches/{batch_id}/withdrawal/confirm", summary="Confirm a withdrawal", responses=_ONE)
def confirm(request: Request, batch_id: BatchId, body: ConfirmationModel, principal: Custodian) -> dict[str, Any]:
    """Hide the batch's records from every scan; sign action `batch.withdraw.confirm` over the same digest."""
    return corrections.confirm(get_store(request), principal.person_id, batch_id, body.approval.value())
