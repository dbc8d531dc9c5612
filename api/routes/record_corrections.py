"""Correcting single records: two custodians; see `api.custody.record_corrections` for the steps."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from api.custody import record_corrections
from api.deps import get_store
from api.people.auth import Principal, require_role
from api.people.roles import Role
from api.routes.models import ERRORS, ApprovalModel, Model

router = APIRouter(tags=["corrections"])

_EXAMPLE: Final[dict[str, Any]] = {
    "correction": "9f1c2d3e4b5a6978",
    "state": "pending",
    "kind": "rectified",
    "batch_id": 17,
    "position": 2,
    "reason": "the subscriber objects, ticket 4711",
    "salt": "00112233445566778899aabbccddeeff",
    "fields": {"duration_ms": 60_000},
    "by": "custodian-1",
    "time": "2026-11-22T12:00:00.000000Z",
    "confirmed_by": None,
}
_LISTED: Final = ("correction", "kind", "state", "batch_id", "position", "by", "confirmed_by")
_LIST: Final[dict[str, Any]] = {"corrections": [{name: _EXAMPLE[name] for name in _LISTED}]}
Custodian = Annotated[Principal, Depends(require_role(Role.CUSTODIAN))]
Act = Annotated[str, Path(pattern="^[0-9a-f]{16}$", examples=["9f1c2d3e4b5a6978"])]


def _answer(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}, **ERRORS}


class CorrectionModel(Model):
    """What shall become of a record, and why, with the first custodian's signature."""

    kind: Annotated[
        Literal["restricted", "released", "superseded", "rectified", "erased"], Field(examples=["rectified"])
    ]
    batch_id: Annotated[int, Field(ge=1, le=2**62, examples=[17])]
    position: Annotated[int, Field(ge=1, le=2**62, description="1-based, in the batch", examples=[2])]
    reason: Annotated[str, Field(min_length=1, max_length=500, examples=["the subscriber objects, ticket 4711"])]
    salt: Annotated[str, Field(pattern="^[0-9a-f]{32}$", examples=["00112233445566778899aabbccddeeff"])]
    fields: Annotated[
        dict[str, str | bool | int | None],
        Field(
            max_length=64,
            description="Of a rectification: field of the record and its value; null empties it. Of an erasure: "
            "`citation`, its legal basis, and `also`, other records of its partition, BATCH:POSITION, with commas.",
            examples=[{"duration_ms": 60_000}],
        ),
    ]
    approval: ApprovalModel

    def wish(self) -> record_corrections.Wish:
        """Return it as the procedure takes it."""
        return record_corrections.Wish(
            self.kind, self.batch_id, self.position, self.reason, self.salt, dict(self.fields)
        )


class ConfirmationModel(Model):
    """The second custodian's signature."""

    approval: ApprovalModel


@router.get("/v1/corrections", summary="List corrections of single records", responses=_answer(_LIST))
def overview(request: Request, _: Custodian) -> dict[str, Any]:
    """Return the corrections whose records are kept, requested ones too; values and reasons are not among it."""
    return {"corrections": record_corrections.overview(get_store(request))}


@router.get("/v1/corrections/{act}", summary="Show a correction", responses=_answer(_EXAMPLE))
def show(request: Request, act: Act, _: Custodian) -> dict[str, Any]:
    """Return one correction, with all that a confirmer signs."""
    return record_corrections.show(get_store(request), act)


@router.post("/v1/corrections/{act}/request", summary="Request a correction", responses=_answer(_EXAMPLE))
def ask(request: Request, act: Act, body: CorrectionModel, principal: Custodian) -> dict[str, Any]:
    """Ask to correct a record; sign action `record.correct.request`. Nothing changes until another confirms."""
    return record_corrections.request(get_store(request), principal.person_id, act, body.wish(), body.approval.value())


@router.post("/v1/corrections/{act}/confirm", summary="Confirm a correction", responses=_answer(_EXAMPLE))
def confirm(request: Request, act: Act, body: ConfirmationModel, principal: Custodian) -> dict[str, Any]:
    """Apply the correction to every read, or erase the records; sign `record.correct.confirm` over the same digest.

    An erasure is refused below the floor and while a hold names a record; its certificate is the partition's.
    """
    return record_corrections.confirm(get_store(request), principal.person_id, act, body.approval.value())
