"""Holding records beyond their partition's end: two custodians; see `api.custody.holds` for the steps."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from api.custody import holds
from api.deps import get_store
from api.people.auth import Principal, require_role
from api.people.roles import Role
from api.routes.models import ERRORS, ApprovalModel, Model

router = APIRouter(tags=["holds"])

_WISH: Final = {
    "act": "add",
    "basis": "preservation",
    "reference": "K 4711-26",
    "owner": "legal desk",
    "ends": "2027-02-01",
    "start": "2026-01-01",
    "end": "2026-12-01",
    "country": "SE",
    "accounts": [],
    "targets": [["number", "070-174 06 05"]],
    "reason": "",
}
_REQUESTED: Final = {
    "hold": "9f1c2d3e4b5a6978",
    "wish": _WISH,
    "by": "custodian-1",
    "time": "2026-11-22T12:00:00.000000Z",
}
_CONFIRMED: Final[dict[str, Any]] = {
    "hold": "9f1c2d3e4b5a6978",
    "act": "add",
    "state": "active",
    "actors": ["custodian-1", "custodian-2"],
}
_LIST: Final[dict[str, Any]] = {
    "holds": [],
    "waiting": [],
    "records_held": 0,
    "records_stored": 2_000_000,
    "share": 0.0,
}
Custodian = Annotated[Principal, Depends(require_role(Role.CUSTODIAN))]
HoldId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", examples=["9f1c2d3e4b5a6978"])]
Word = Annotated[str, Field(max_length=holds.TEXT_CHARS_MAX)]


def _answer(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}, **ERRORS}


class WishModel(Model):
    """What shall be done; `add` needs all words but the reason, `renew` the new end, `release` the reason."""

    act: Literal["add", "renew", "release"] = Field(examples=["add"])
    basis: Word = Field("", examples=["preservation"])
    reference: Word = Field("", examples=["K 4711-26"])
    owner: Word = Field("", examples=["legal desk"])
    ends: Word = Field("", examples=["2027-02-01"])
    start: Word = Field("", examples=["2026-01-01"])
    end: Word = Field("", examples=["2026-12-01"])
    country: Word = Field("", examples=["SE"])
    accounts: list[Word] = Field(default_factory=list, max_length=1000)
    targets: list[tuple[Word, Word]] = Field(
        default_factory=list, max_length=1000, examples=[[["number", "070-1740605"]]]
    )
    reason: Word = ""

    def value(self) -> holds.Wish:
        """Return it as the procedure takes it."""
        return holds.Wish.from_dict(self.model_dump())


class RequestModel(Model):
    """What shall be done, with the first custodian's signature."""

    wish: WishModel
    approval: ApprovalModel


class ConfirmationModel(Model):
    """The second custodian's signature."""

    approval: ApprovalModel


@router.get("/v1/holds", summary="List holds", responses=_answer(_LIST))
def listing(request: Request, _: Custodian) -> dict[str, Any]:
    """Return every hold without whom it names, what waits for a second custodian, and the share of the store held."""
    return holds.listing(get_store(request))


@router.get("/v1/holds/{hold_id}/request", summary="Show a request", responses=_answer(_REQUESTED))
def show(request: Request, hold_id: HoldId, _: Custodian) -> dict[str, Any]:
    """Return what is requested for a hold, with all that a confirmer signs."""
    return holds.show(get_store(request), hold_id)


@router.post("/v1/holds/{hold_id}/request", summary="Add, renew or release", responses=_answer(_REQUESTED))
def ask(request: Request, hold_id: HoldId, body: RequestModel, principal: Custodian) -> dict[str, Any]:
    """Ask for a change of a hold; sign action `hold.request`. Nothing changes until another confirms."""
    return holds.request(get_store(request), principal.person_id, hold_id, body.wish.value(), body.approval.value())


@router.post("/v1/holds/{hold_id}/confirm", summary="Confirm a request", responses=_answer(_CONFIRMED))
def confirm(request: Request, hold_id: HoldId, body: ConfirmationModel, principal: Custodian) -> dict[str, Any]:
    """Do what was requested; sign action `hold.confirm` over the same digest."""
    return holds.confirm(get_store(request), principal.person_id, hold_id, body.approval.value())
