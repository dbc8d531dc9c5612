"""Disclosure over HTTP; see `api.disclosure.procedure` for the steps.

Every person reaches these routes and the procedure decides, because a refusal is logged there; a switch's credential
gets no further than the door.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from starlette.responses import StreamingResponse

from api.deps import get_store
from api.disclosure import views
from api.disclosure.bases import bases
from api.disclosure.model import Actor, Authorisation, Task
from api.disclosure.procedure import Disclosure
from api.disclosure.push_key import PushKey
from api.disclosure.push_outbox import push_of
from api.disclosure.rules import OFFICER
from api.people.auth import Principal, require_person
from api.routes.disclosure_models import CheckModel, OrderModel, ReasonModel, RulingModel, SignedModel, TaskModel
from api.routes.models import ERRORS

router = APIRouter(tags=["disclosure"])

_A: Final = "SE-A-0f3c2a5e9b8d7416"
_T: Final = "SE-T-7be1d0c4a2963f58"
_AUTHORISATION: Final = {
    "id": _A,
    "state": "AwaitingApproval",
    "basis": "secret-surveillance",
    "decision_reference": "B 1234-26",
    "authority": "police-se",
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
_COUNTS: Final = {"authorisations": 1, "tasks": 1, "tests": 0}
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

_DELIVERY: Final = {
    "id": "SE-D-5d1c08a4e7f2b963",
    "task": _T,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "bytes": 61_440,
    "records": 212,
    "parts": 1,
    "fetches": 1,
    "acknowledged_at": "2026-11-22T12:00:00.000000Z",
    "kept_until": "2026-12-22T12:00:00.000000Z",
    "erased_at": None,
}


async def _octets(request: Request) -> bytes:
    return await request.body()


Person = Annotated[Principal, Depends(require_person)]
CaseId = Annotated[str, Path(max_length=64, examples=[_A], description="An authorisation's or a task's id.")]
AuthorisationId = Annotated[str, Path(max_length=64, examples=[_A])]
Octets = Annotated[bytes, Depends(_octets)]
TaskId = Annotated[str, Path(max_length=64, examples=[_T])]


def _answers(status: int, example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    return {status: {"content": {"application/json": {"example": example}}}, **ERRORS}


@router.get("/v1/disclosure/bases", summary="List the legal bases", responses=_answers(200, {"bases": []}))
def list_bases(_: Person) -> dict[str, Any]:
    """Return every version of every legal basis."""
    return {"bases": bases()}


@router.get(
    "/v1/disclosure/delivery-key",
    summary="Read the delivery key",
    responses=_answers(200, {"algorithm": "Ed25519", "public_key": "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="}),
)
def delivery_key(request: Request, _: Person) -> dict[str, Any]:
    """Return the public key under which deliveries verify."""
    return {"algorithm": "Ed25519", "public_key": Disclosure(get_store(request)).vault.public_key()}


@router.get(
    "/v1/disclosure/push-key",
    summary="Read the push key",
    responses=_answers(200, {"certificate": "-----BEGIN…", "sha256": "e3b0c442…", "request": "-----BEGIN…"}),
)
def push_key(request: Request, _: Person) -> dict[str, Any]:
    """Return the certificate with which the service comes to endpoints, and a request for one of the authority's."""
    return PushKey(get_store(request)).as_dict()


@router.get(
    "/v1/disclosure/cases",
    summary="List cases",
    responses=_answers(200, {"cases": [_AUTHORISATION | {"tasks": [_TASK]}], "counts": _COUNTS}),
)
def list_cases(request: Request, principal: Person) -> dict[str, Any]:
    """Return the officer's own cases, or all of them to case handlers and approvers; without targets."""
    shown = views.cases(get_store(request), _actor(principal))
    return {"cases": shown, "counts": views.counts(shown)}


@router.get("/v1/disclosure/cases/{case_id}", summary="Show a case", responses=_answers(200, _TASK))
def show(request: Request, case_id: CaseId, principal: Person) -> dict[str, Any]:
    """Return a case with its targets as they are searched for; the reading is logged."""
    return views.show(get_store(request), _actor(principal), case_id)


@router.get(
    "/v1/disclosure/cases/{case_id}/document",
    summary="Read the decision's document",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}, "description": "The decision, as it came."},
        **ERRORS,
    },
)
def document(
    request: Request,
    case_id: CaseId,
    principal: Person,
    number: Annotated[int | None, Query(ge=1, le=100, description="As the case lists them; else the last.")] = None,
) -> Response:
    """Return a decision's document, to compare the fields with; the reading is logged."""
    decision, content = views.source(get_store(request), _actor(principal), case_id, number)
    headers = {
        "Content-Disposition": f'attachment; filename="{decision.document}"',
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Lagrum-Media-Type": decision.media_type,
        "Lagrum-SHA256": decision.sha256,
    }
    return Response(content, media_type="application/octet-stream", headers=headers)


@router.get("/v1/disclosure/lapsed", summary="List lapsed emergencies", responses=_answers(200, {"lapsed": []}))
def list_lapsed(request: Request, principal: Person) -> dict[str, Any]:
    """Return emergencies that were not confirmed, or for less, and what more had left; for approvers and the DPO."""
    return {"lapsed": views.lapsed(get_store(request), _actor(principal))}


@router.post(
    "/v1/disclosure/authorisations",
    status_code=201,
    summary="File an authorisation",
    responses=_answers(201, _AUTHORISATION),
)
def authorise(request: Request, body: OrderModel, octets: Octets, principal: Person) -> dict[str, Any]:
    """Step 1, the officer's; the decision's document, or the request as it came, is kept sealed beside the fields."""
    return views.authorisation_view(_procedure(request).authorise(_actor(principal), body.order(octets)))


@router.post(
    "/v1/disclosure/authorisations/{authorisation_id}/confirm",
    summary="Confirm an emergency",
    responses=_answers(200, _AUTHORISATION),
)
def confirm(
    request: Request, authorisation_id: AuthorisationId, body: RulingModel, octets: Octets, principal: Person
) -> dict[str, Any]:
    """Step 11, an officer's of the same authority: the regular decision, within the basis's time.

    One that grants less says what it grants; tasks that ask for more end, and what had left under them is told.
    """
    ruling = body.ruling(octets)
    return views.authorisation_view(_procedure(request).confirm(_actor(principal), authorisation_id, ruling))


@router.post(
    "/v1/disclosure/authorisations/{authorisation_id}/extend",
    summary="Extend an authorisation",
    responses=_answers(200, _AUTHORISATION),
)
def extend(
    request: Request, authorisation_id: AuthorisationId, body: RulingModel, octets: Octets, principal: Person
) -> dict[str, Any]:
    """Step 11, the officer's: a new decision with a later end; tasks are approved anew."""
    ruling = body.ruling(octets)
    return views.authorisation_view(_procedure(request).extend(_actor(principal), authorisation_id, ruling))


@router.post(
    "/v1/disclosure/authorisations/{authorisation_id}/suspend",
    summary="Suspend an authorisation",
    responses=_answers(200, _AUTHORISATION),
)
def suspend(
    request: Request, authorisation_id: AuthorisationId, body: ReasonModel, principal: Person
) -> dict[str, Any]:
    """Step 11, the officer's, a case handler's or an approver's: nothing is searched, released or fetched meanwhile."""
    done = _procedure(request).suspend(_actor(principal), authorisation_id, body.reason)
    return views.authorisation_view(done)


@router.post(
    "/v1/disclosure/authorisations/{authorisation_id}/resume",
    summary="Resume an authorisation",
    responses=_answers(200, _AUTHORISATION),
)
def resume(request: Request, authorisation_id: AuthorisationId, principal: Person) -> dict[str, Any]:
    """Step 11, of the side that suspended it: the officer, or an approver."""
    return views.authorisation_view(_procedure(request).resume(_actor(principal), authorisation_id))


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
def check(request: Request, task_id: TaskId, principal: Person, body: CheckModel | None = None) -> dict[str, Any]:
    """Step 3, the case handler's; an emergency is checked with the record of a call-back."""
    call = body.call_back.called() if body is not None and body.call_back is not None else None
    return _task(request, principal, _procedure(request).check(_actor(principal), task_id, call))


@router.post(
    "/v1/disclosure/tasks/{task_id}/preflight",
    summary="Count coarsely",
    responses=_answers(200, {"records": "10-99", "days": "1-9"}),
)
def preflight(request: Request, task_id: TaskId, principal: Person) -> dict[str, Any]:
    """Return buckets to the approver, between check and approval, three times a task; who may not gets zeros.

    A task whose search would end without a result (an account that several tenants have) is 409, with the reason.
    """
    return _procedure(request).preflight(_actor(principal), task_id)


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
    responses={
        200: {"content": {"application/zip": {}}, "description": "Envelopes to the authority: cover and parts."},
        **ERRORS,
    },
)
def deliver(request: Request, task_id: TaskId, principal: Person) -> Response:
    """Step 9, the officer's; each fetch is logged before the delivery leaves, and gives the same octets."""
    parcel = _procedure(request).deliver(_actor(principal), task_id)
    headers = {
        "Content-Disposition": f'attachment; filename="{parcel.delivery.id}.zip"',
        "Cache-Control": "no-store",
        "Lagrum-Delivery": parcel.delivery.id,
        "Lagrum-Parts": str(len(parcel.delivery.parts)),
    }
    push = push_of(get_store(request), parcel.delivery)
    if push is not None:
        headers["Lagrum-Push"] = push["state"]
    return StreamingResponse(parcel.chunks(), media_type="application/zip", headers=headers)


@router.post(
    "/v1/disclosure/tasks/{task_id}/acknowledge",
    summary="Acknowledge a delivery",
    responses=_answers(200, _DELIVERY),
)
def acknowledge(request: Request, task_id: TaskId, body: SignedModel, principal: Person) -> dict[str, Any]:
    """The officer's, once: sign action `disclosure.acknowledge`, the task's id and the SHA-256 of `receipt.json`."""
    delivery = _procedure(request).acknowledge(_actor(principal), task_id, body.approval.value())
    return views.delivery_view(delivery)


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
