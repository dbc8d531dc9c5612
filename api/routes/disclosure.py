"""Disclosure over HTTP; see `api.disclosure.procedure` for the steps.

Every person reaches these routes and the procedure decides, because a refusal is logged there; a switch's credential
gets no further than the door.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response
from pydantic import Field

from api.auth import Principal, require_person
from api.deps import get_store
from api.disclosure import views
from api.disclosure.model import Actor, Authorisation, Task, Window
from api.disclosure.procedure import Disclosure, Order, WrittenTarget
from api.disclosure.rules import OFFICER
from api.instants import parse_date, parse_instant
from api.routes.models import ERRORS, ApprovalModel, Model
from schemas.fields import Category

router = APIRouter(tags=["disclosure"])

_A: Final = "SE-A-0f3c2a5e9b8d7416"
_T: Final = "SE-T-7be1d0c4a2963f58"
_TARGET: Final = {"kind": "number", "value": "070-123 45 67"}
_WINDOW: Final = {"from": "2026-10-01", "to": "2026-11-01"}
_AUTHORISATION: Final = {
    "id": _A,
    "state": "AwaitingApproval",
    "basis": "secret-surveillance",
    "decision_reference": "B 1234-26",
    "authority": "Police Authority",
    "filed_at": "2026-11-22T12:00:00.000000Z",
    "expires_at": "2026-12-22T00:00:00.000000Z",
}
_TASK: Final = {
    "id": _T,
    "authorisation_id": _A,
    "state": "AwaitingApproval",
    "registered_at": "2026-11-22T12:00:00.000000Z",
    "due_at": None,
}
_PLAN: Final = {
    "partitions": 30,
    "parts": 30,
    "bytes": 61_440_000,
    "pruned_parts": 2,
    "withdrawn_parts": 0,
    "corrected_parts": 0,
    "refused_partitions": [],
    "beyond_purpose": [],
    "parts_without_target": 27,
    "index_bytes": 30_720,
    "row_groups": 51,
    "row_groups_read": 4,
    "rows_read": 32_768,
    "bytes_read_max": 786_432,
}

Person = Annotated[Principal, Depends(require_person)]
CaseId = Annotated[str, Path(max_length=64, examples=[_A], description="An authorisation's or a task's id.")]
AuthorisationId = Annotated[str, Path(max_length=64, examples=[_A])]
TaskId = Annotated[str, Path(max_length=64, examples=[_T])]


def _answers(status: int, example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {status: {"content": {"application/json": {"example": example}}}, **ERRORS}


class TargetModel(Model):
    """One target, in the order's own way of writing it."""

    kind: Annotated[
        str, Field(max_length=16, description="number, imsi, imei, mac, ip or account", examples=["number"])
    ]
    value: Annotated[str, Field(min_length=1, max_length=255, examples=["070-123 45 67"])]
    port: Annotated[int | None, Field(ge=0, le=65_535, description="With an ip.", examples=[None])] = None

    def written(self) -> WrittenTarget:
        """Return it as the procedure takes it."""
        return WrittenTarget(self.kind, self.value, self.port)


class WindowModel(Model):
    """Half-open; dates are midnights UTC, times are RFC 3339 with an offset."""

    start: Annotated[str, Field(alias="from", max_length=40, examples=["2026-10-01"])]
    end: Annotated[str, Field(alias="to", max_length=40, examples=["2026-11-01"])]

    def window(self) -> Window:
        """Return it as the procedure takes it."""
        return Window(parse_instant(self.start), parse_instant(self.end))


class OrderModel(Model):
    """What was decided."""

    basis: Annotated[str, Field(max_length=64, examples=["secret-surveillance"])]
    decision_reference: Annotated[str, Field(min_length=1, max_length=120, examples=["B 1234-26"])]
    decided_on: Annotated[str, Field(max_length=10, examples=["2026-11-20"])]
    authority: Annotated[str, Field(min_length=1, max_length=120, examples=["Police Authority"])]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$", examples=["SE"])] = "SE"
    targets: Annotated[list[TargetModel], Field(min_length=1, max_length=100, examples=[[_TARGET]])]
    window: Annotated[WindowModel, Field(examples=[_WINDOW])]
    categories: Annotated[
        list[Category] | None,
        Field(max_length=16, description="None asks for all that the basis permits.", examples=[None]),
    ] = None
    expires_at: Annotated[str, Field(max_length=40, examples=["2026-12-22"])]

    def order(self) -> Order:
        """Return it as the procedure takes it."""
        return Order(
            basis=self.basis,
            decision_reference=self.decision_reference,
            decided_on=parse_date(self.decided_on),
            authority=self.authority,
            country=self.country,
            targets=tuple(target.written() for target in self.targets),
            window=self.window.window(),
            expires_at_us=parse_instant(self.expires_at),
            categories=None if self.categories is None else frozenset(self.categories),
        )


class TaskModel(Model):
    """What to search for; what is not named is the authorisation's."""

    targets: Annotated[list[TargetModel] | None, Field(min_length=1, max_length=100, examples=[None])] = None
    window: Annotated[WindowModel | None, Field(examples=[None])] = None
    categories: Annotated[list[Category] | None, Field(max_length=16, examples=[None])] = None


class SignedModel(Model):
    """An approver's signature."""

    approval: ApprovalModel


class ReasonModel(Model):
    """Why a case ends, as a stable word."""

    reason: Annotated[str, Field(max_length=40, examples=["wrong-number"])]


@router.get("/v1/disclosure/bases", summary="List the legal bases", responses=_answers(200, {"bases": []}))
def list_bases(_: Person) -> dict[str, Any]:
    """Return every version of every legal basis."""
    return {"bases": views.bases()}


@router.get(
    "/v1/disclosure/delivery-key",
    summary="Read the delivery key",
    responses=_answers(200, {"algorithm": "Ed25519", "public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}),
)
def delivery_key(request: Request, _: Person) -> dict[str, Any]:
    """Return the public key under which packages verify."""
    return {"algorithm": "Ed25519", "public_key": Disclosure(get_store(request)).vault.public_key()}


@router.get(
    "/v1/disclosure/cases",
    summary="List cases",
    responses=_answers(200, {"cases": [_AUTHORISATION | {"tasks": [_TASK]}]}),
)
def list_cases(request: Request, principal: Person) -> dict[str, Any]:
    """Return the officer's own cases, or all of them to case handlers and approvers; without targets."""
    return {"cases": views.cases(get_store(request), _actor(principal))}


@router.get("/v1/disclosure/cases/{case_id}", summary="Show a case", responses=_answers(200, _TASK))
def show(request: Request, case_id: CaseId, principal: Person) -> dict[str, Any]:
    """Return a case with its targets as they are searched for; the reading is logged."""
    return views.show(get_store(request), _actor(principal), case_id)


@router.post(
    "/v1/disclosure/authorisations",
    status_code=201,
    summary="File an authorisation",
    responses=_answers(201, _AUTHORISATION),
)
def authorise(request: Request, body: OrderModel, principal: Person) -> dict[str, Any]:
    """Step 1, the officer's."""
    return views.authorisation_view(_procedure(request).authorise(_actor(principal), body.order()))


@router.post(
    "/v1/disclosure/authorisations/{authorisation_id}/tasks",
    status_code=201,
    summary="Register a task",
    responses=_answers(201, _TASK),
)
def register(request: Request, authorisation_id: AuthorisationId, body: TaskModel, principal: Person) -> dict[str, Any]:
    """Step 2, the officer's."""
    task = _procedure(request).register(
        _actor(principal),
        authorisation_id,
        targets=None if body.targets is None else [target.written() for target in body.targets],
        window=None if body.window is None else body.window.window(),
        categories=None if body.categories is None else frozenset(body.categories),
    )
    return _task(request, principal, task)


@router.post("/v1/disclosure/tasks/{task_id}/check", summary="Check a task", responses=_answers(200, _TASK))
def check(request: Request, task_id: TaskId, principal: Person) -> dict[str, Any]:
    """Step 3, the case handler's."""
    return _task(request, principal, _procedure(request).check(_actor(principal), task_id))


@router.post("/v1/disclosure/tasks/{task_id}/approve", summary="Approve a request", responses=_answers(200, _TASK))
def approve(request: Request, task_id: TaskId, body: SignedModel, principal: Person) -> dict[str, Any]:
    """Step 4, the approver's: sign action `disclosure.approve`, the task's id and its `request_digest`."""
    return _task(request, principal, _procedure(request).approve(_actor(principal), task_id, body.approval.value()))


@router.get("/v1/disclosure/tasks/{task_id}/plan", summary="Explain a task", responses=_answers(200, _PLAN))
def explain(request: Request, task_id: TaskId, principal: Person) -> dict[str, Any]:
    """Return what running the task would read, as counts and never a record; the case handler's, and logged."""
    return _procedure(request).explain(_actor(principal), task_id)


@router.post("/v1/disclosure/tasks/{task_id}/run", summary="Run a task", responses=_answers(200, _TASK))
def run(request: Request, task_id: TaskId, principal: Person) -> dict[str, Any]:
    """Steps 5 to 7, the case handler's; the result is kept as ciphertext."""
    return _task(request, principal, _procedure(request).run(_actor(principal), task_id))


@router.post("/v1/disclosure/tasks/{task_id}/release", summary="Release a result", responses=_answers(200, _TASK))
def release(request: Request, task_id: TaskId, body: SignedModel, principal: Person) -> dict[str, Any]:
    """Step 8, the approver's: sign action `disclosure.release`, the task's id and its `result_digest`."""
    return _task(request, principal, _procedure(request).release(_actor(principal), task_id, body.approval.value()))


@router.get(
    "/v1/disclosure/tasks/{task_id}/delivery",
    summary="Fetch a delivery",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}, "description": "The signed package."}, **ERRORS},
)
def deliver(request: Request, task_id: TaskId, principal: Person) -> Response:
    """Step 9, the officer's; each fetch is logged before the package leaves."""
    delivery, package = _procedure(request).deliver(_actor(principal), task_id)
    headers = {
        "Content-Disposition": f'attachment; filename="{delivery.id}.zip"',
        "Cache-Control": "no-store",
        "Lagrum-Delivery": delivery.id,
        "Lagrum-SHA256": delivery.sha256,
    }
    return Response(package, media_type="application/zip", headers=headers)


@router.post("/v1/disclosure/cases/{case_id}/reject", summary="Reject a case", responses=_answers(200, _TASK))
def reject(request: Request, case_id: CaseId, body: ReasonModel, principal: Person) -> dict[str, Any]:
    """Step 10, the case handler's or approver's."""
    return _ended(request, principal, _procedure(request).reject(_actor(principal), case_id, body.reason))


@router.post("/v1/disclosure/cases/{case_id}/cancel", summary="Cancel a case", responses=_answers(200, _TASK))
def cancel(request: Request, case_id: CaseId, body: ReasonModel, principal: Person) -> dict[str, Any]:
    """Step 10, the officer's."""
    return _ended(request, principal, _procedure(request).cancel(_actor(principal), case_id, body.reason))


def _procedure(request: Request) -> Disclosure:
    return Disclosure(get_store(request))


def _actor(principal: Principal) -> Actor:
    return Actor(principal.person_id, principal.key_id, principal.roles)


def _task(request: Request, principal: Principal, task: Task) -> dict[str, Any]:
    authorisation, _ = _procedure(request).casebook.authorisation(task.authorisation_id)
    return views.task_view(task, authorisation, officer=OFFICER in principal.roles)


def _ended(request: Request, principal: Principal, ended: Authorisation | Task) -> dict[str, Any]:
    return _task(request, principal, ended) if isinstance(ended, Task) else views.authorisation_view(ended)
