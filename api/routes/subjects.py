"""Persons' requests for access: a data protection officer and a custodian; see `api.custody.subjects` for the steps."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from api.custody import subjects
from api.deps import get_store
from api.people.auth import Principal, require_role
from api.people.roles import Role
from api.routes.models import ERRORS, ApprovalModel, Model

router = APIRouter(tags=["subjects"])

_WISH: Final = {
    "reference": "DSR 12-26",
    "identity_check": "electronic-id",
    "country": "SE",
    "identifiers": [["number", "070-174 06 05", "2025-03-01", ""]],
}
_SUMMARY: Final = {
    "request": "3b9a5e0c7d214f86",
    "state": "pending",
    "by": "dpo-1",
    "time": "2026-11-22T12:00:00.000000Z",
    "confirmed_by": None,
    "confirmed_at": None,
    "due_on": "2026-12-22",
    "kept_until": "2026-12-22T12:00:00.000000Z",
}
_RECORD: Final = {
    "side": "calling",
    "service_type": "voice",
    "start_time": "2026-11-20T10:00:00.000000Z",
    "end_time": "2026-11-20T10:01:01.000000Z",
    "duration_ms": 61_000,
    "calling_number": "46701740605",
    "called_number": "46701740606",
}
_ANSWER: Final = {
    "request": _SUMMARY["request"],
    "reference": _WISH["reference"],
    "purpose": "customer",
    "from": "2024-11-22",
    "identifiers": _WISH["identifiers"],
    "records": [_RECORD],
}
Dpo = Annotated[Principal, Depends(require_role(Role.DPO))]
Custodian = Annotated[Principal, Depends(require_role(Role.CUSTODIAN))]
Either = Annotated[Principal, Depends(require_role(Role.DPO, Role.CUSTODIAN))]
RequestId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", examples=["3b9a5e0c7d214f86"])]
Word = Annotated[str, Field(max_length=subjects.TEXT_CHARS_MAX)]
Day = Annotated[str, Field(max_length=10)]


def _answers(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}, **ERRORS}


class AccessModel(Model):
    """Who asked, as checked; an identifier is kind, value, first day and the day after the last or nothing."""

    reference: Word = Field(examples=["DSR 12-26"])
    identity_check: Word = Field(examples=["electronic-id"])
    country: Annotated[str, Field(max_length=2, examples=["SE"])]
    identifiers: list[tuple[Word, Word, Day, Day]] = Field(
        min_length=1, max_length=subjects.IDENTIFIERS_MAX, examples=[_WISH["identifiers"]]
    )

    def value(self) -> subjects.Wish:
        """Return it as the procedure takes it."""
        return subjects.Wish.from_dict(self.model_dump())


class AccessRequestModel(Model):
    """What is asked, with the data protection officer's signature."""

    wish: AccessModel
    approval: ApprovalModel


class AccessConfirmationModel(Model):
    """The custodian's signature."""

    approval: ApprovalModel


@router.get("/v1/subjects", summary="List persons' requests", responses=_answers({"requests": [_SUMMARY]}))
def listing(request: Request, _: Either) -> dict[str, Any]:
    """Return every request that is kept, without whom it is about."""
    return {"requests": subjects.listing(get_store(request))}


@router.get("/v1/subjects/{request_id}", summary="Show a request", responses=_answers({**_SUMMARY, "wish": _WISH}))
def show(request: Request, request_id: RequestId, _: Either) -> dict[str, Any]:
    """Return one request with all that a confirmer signs."""
    return subjects.show(get_store(request), request_id)


@router.post(
    "/v1/subjects/{request_id}/request", summary="File a request", responses=_answers({**_SUMMARY, "wish": _WISH})
)
def ask(request: Request, request_id: RequestId, body: AccessRequestModel, principal: Dpo) -> dict[str, Any]:
    """File a person's request after the identity was checked; sign action `subject.request`."""
    return subjects.request(
        get_store(request), principal.person_id, request_id, body.wish.value(), body.approval.value()
    )


@router.post(
    "/v1/subjects/{request_id}/confirm", summary="Confirm a request", responses=_answers({**_SUMMARY, "wish": _WISH})
)
def confirm(
    request: Request, request_id: RequestId, body: AccessConfirmationModel, principal: Custodian
) -> dict[str, Any]:
    """Confirm as a custodian; sign action `subject.confirm` over the same digest."""
    return subjects.confirm(get_store(request), principal.person_id, request_id, body.approval.value())


@router.get("/v1/subjects/{request_id}/answer", summary="Fetch the answer", responses=_answers(_ANSWER))
def answer(request: Request, request_id: RequestId, principal: Dpo) -> JSONResponse:
    """Return the person's own records, within 30 days of the confirmation; each reading is logged before."""
    found = subjects.answer(get_store(request), principal.person_id, request_id)
    return JSONResponse(found, headers={"Cache-Control": "no-store"})
