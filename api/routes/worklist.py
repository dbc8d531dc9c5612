"""The worklist, and who was told what, over HTTP; the procedure decides who may, because a refusal is logged there."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import Field

from api.deps import get_store
from api.disclosure.model import Actor
from api.disclosure.notices import Notices
from api.disclosure.outdated_marks import Informing
from api.disclosure.worklist import worklist
from api.people.auth import Principal, require_person
from api.routes.models import ERRORS, Model

router = APIRouter(tags=["disclosure"])

_T: Final = "SE-T-7be1d0c4a2963f58"
_ITEM: Final = {
    "case": _T,
    "authorisation": "SE-A-0f3c2a5e9b8d7416",
    "basis": "european-production-order",
    "authority": "police-se",
    "emergency": False,
    "test": False,
    "clock": "answer",
    "waits_for": "approver",
    "person": None,
    "step": "approve",
    "standing": "soon",
    "due_at": "2026-12-02T12:00:00.000000Z",
    "left_seconds": 180_000,
    "citation": "Regulation (EU) 2023/1543 Art 10(2) and (3)",
    "push": None,
}
_NOTICE: Final = {
    "task": _T,
    "outcome": "given",
    "by": "handler-1",
    "at": "2026-11-22T12:00:00.000000Z",
    "reason": None,
}
_INFORMED: Final = {
    "task": _T,
    "since": "2026-11-20T12:00:00.000000Z",
    "changes": {"rectified": 1},
    "told_at": "2026-11-22T12:00:00.000000Z",
    "told_by": "handler-1",
}

Person = Annotated[Principal, Depends(require_person)]


class NoticeModel(Model):
    """What became of a customer's notice."""

    withheld: Annotated[
        str | None, Field(max_length=40, description="Why it is withheld, as a stable word.", examples=[None])
    ] = None


def _answers(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {200: {"content": {"application/json": {"example": example}}}, **ERRORS}


@router.get(
    "/v1/disclosure/worklist",
    summary="Show what waits for whom",
    responses=_answers({"items": [_ITEM], "counts": {"open": 0, "soon": 1, "overdue": 0}}),
)
def show(
    request: Request,
    principal: Person,
    mine: Annotated[bool, Query(description="Only what you can do.", examples=[False])] = False,
) -> dict[str, Any]:
    """Return open ends of cases, overdue first, without targets: the officer's own, or all to the operator's roles."""
    return worklist(get_store(request), _actor(principal), mine=mine)


@router.post("/v1/disclosure/tasks/{task_id}/notice", summary="Settle a customer's notice", responses=_answers(_NOTICE))
def settle(
    request: Request,
    task_id: Annotated[str, Path(max_length=64, examples=[_T])],
    principal: Person,
    body: NoticeModel | None = None,
) -> dict[str, Any]:
    """Put on file as a case handler that the customer was told, or as an approver that and why the customer is not."""
    withheld = None if body is None else body.withheld
    return Notices(get_store(request)).settle(_actor(principal), task_id, withheld=withheld).as_dict()


@router.post(
    "/v1/disclosure/tasks/{task_id}/inform",
    summary="Tell that the authority knows of an outdated result",
    responses=_answers(_INFORMED),
)
def inform(
    request: Request, task_id: Annotated[str, Path(max_length=64, examples=[_T])], principal: Person
) -> dict[str, Any]:
    """Put on file as a case handler that the authority was told, by another road, that its result is outdated."""
    return {"task": task_id, **Informing(get_store(request)).inform(_actor(principal), task_id).as_dict()}


def _actor(principal: Principal) -> Actor:
    return Actor(principal.person_id, principal.key_id, principal.roles)
