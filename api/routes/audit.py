"""The audit log over HTTP: checkpoints and proofs for everybody who is authenticated, entries for auditors."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import PlainTextResponse, Response

from api.deps import get_store
from api.disclosure import completeness
from api.disclosure.casebook import Casebook, kind_of
from api.disclosure.model import AUTHORISATION, TASK
from api.people.auth import Principal, require_any, require_role
from api.people.roles import Role
from api.routes.models import ERRORS
from schemas.errors import LagrumError, NotFoundError
from store import AuditEntry
from store.audit import StoredEntry, bundle
from store.clock import to_text

router = APIRouter(tags=["audit"])

ENTRIES_MAX: Final = 1000
_NOTE: Final = "lagrum/9f0c…\n2\nq1x…=\n\n— lagrum/9f0c… Az3f…\n"
_ENTRY: Final = {
    "index": 1,
    "time": "2026-11-22T12:00:00.000000Z",
    "kind": "person.first",
    "public": {"person": "custodian-1", "roles": ["custodian"], "key_id": "5d0a0f6c1b2e3d4f"},
    "sealed": True,
    "key_destroyed": False,
    "secret": None,
}
_COMPLETENESS: Final = "audit.completeness"
_REPORT: Final = {
    "task": "SE-T-5d0a0f6c1b2e3d4f",
    "delivery": "SE-D-9b1c2d3e4f5a6b7c",
    "verdict": "complete",
    "thorough": False,
    "records": 61,
    "parts": 730,
    "days": 31,
    "days_not_comparable": {},
    "problems": [],
}
_BUNDLE: Final = {"format": bundle.FORMAT, "case": "SE-T-5d0a0f6c1b2e3d4f", "checkpoint": _NOTE, "entries": []}
_PROOF: Final = {"hashes": ["5f1d…"]}


@router.get(
    "/v1/audit/checkpoint",
    summary="Read the newest checkpoint",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"example": _NOTE}}}, **ERRORS},
)
def checkpoint(request: Request, _: Annotated[Principal, Depends(require_any)]) -> PlainTextResponse:
    """Return the signed tree head (C2SP tlog-checkpoint); keep it off this machine: only a witness sees truncation."""
    return PlainTextResponse(get_store(request).audit.checkpoint())


@router.get(
    "/v1/audit/entries",
    summary="Read entries",
    responses={200: {"content": {"application/json": {"example": {"size": 2, "entries": [_ENTRY]}}}}, **ERRORS},
)
def entries(
    request: Request,
    principal: Annotated[Principal, Depends(require_role(Role.AUDITOR))],
    start: Annotated[int, Query(ge=0, description="Index of the first entry.", examples=[0])] = 0,
    stop: Annotated[int | None, Query(ge=0, description="Index after the last entry.", examples=[2])] = None,
    reveal: Annotated[bool, Query(description="Open the secret parts too.", examples=[False])] = False,
) -> dict[str, Any]:
    """Return at most 1000 entries from `start`; each reading is an entry itself, durable before anything leaves."""
    store = get_store(request)
    size = store.audit.size
    last = min(size if stop is None else stop, start + ENTRIES_MAX, size)
    read = {"person": principal.person_id, "start": start, "stop": last, "reveal": reveal}
    store.log(AuditEntry("audit.read", read))
    shown = [_shown(entry) for entry in store.audit.entries(start, last, reveal=reveal)] if start < last else []
    return {"size": size, "entries": shown}


@router.get(
    "/v1/audit/proofs/inclusion",
    summary="Prove that an entry is in the log",
    responses={200: {"content": {"application/json": {"example": _PROOF | {"index": 0, "size": 2}}}}, **ERRORS},
)
def inclusion(
    request: Request,
    _: Annotated[Principal, Depends(require_any)],
    index: Annotated[int, Query(ge=0, examples=[0])],
    size: Annotated[int, Query(ge=1, description="Size of the tree of a checkpoint.", examples=[2])],
) -> dict[str, Any]:
    """Return the audit path of RFC 6962, hashes in hex."""
    log = get_store(request).audit
    if index >= size or size > log.size:
        raise NotFoundError("the log has no such entry in a tree of that size")
    return {"index": index, "size": size, "hashes": [node.hex() for node in log.inclusion_proof(index, size)]}


@router.get(
    "/v1/audit/proofs/consistency",
    summary="Prove that the log only grew",
    responses={200: {"content": {"application/json": {"example": _PROOF | {"first": 1, "second": 2}}}}, **ERRORS},
)
def consistency(
    request: Request,
    _: Annotated[Principal, Depends(require_any)],
    first: Annotated[int, Query(ge=0, description="Size of the older tree.", examples=[1])],
    second: Annotated[int, Query(ge=1, description="Size of the newer tree.", examples=[2])],
) -> dict[str, Any]:
    """Return the consistency proof of RFC 6962, hashes in hex."""
    log = get_store(request).audit
    if first > second or second > log.size:
        raise NotFoundError("the log has no two trees of those sizes in that order")
    return {"first": first, "second": second, "hashes": [node.hex() for node in log.consistency_proof(first, second)]}


@router.post(
    "/v1/audit/completeness/{task}",
    summary="Verify that a delivery is complete",
    responses={200: {"content": {"application/json": {"example": _REPORT}}}, **ERRORS},
)
def prove_completeness(
    request: Request,
    principal: Annotated[Principal, Depends(require_role(Role.AUDITOR))],
    task: Annotated[str, Path(description="The task whose result is verified.", examples=["SE-T-5d0a0f6c1b2e3d4f"])],
    thorough: Annotated[bool, Query(description="Read every record of the window; ask no postings.")] = False,
) -> dict[str, Any]:
    """Search again over what was stored at the result's snapshot, and compare with the evidence that the log names.

    The answer tells numbers and days, never a record; it is an entry of the log before it leaves.
    """
    store = get_store(request)
    told: dict[str, Any] = {"person": principal.person_id, "key_id": principal.key_id, "thorough": thorough}
    try:
        report = completeness.verify(store, task, thorough=thorough)
    except LagrumError as error:
        known = kind_of(task) is not None  # what is not of our pattern is not written down: it may be a number
        store.log(AuditEntry(_COMPLETENESS, {**told, "task": task if known else None, "verdict": type(error).__name__}))
        raise
    store.log(AuditEntry(_COMPLETENESS, {**told, "task": report.task, "verdict": report.verdict}))
    return report.as_dict()


@router.get(
    "/v1/audit/cases/{case}",
    summary="Export the entries of a case",
    responses={200: {"content": {"application/json": {"example": _BUNDLE}}}, **ERRORS},
)
def export_case(
    request: Request,
    principal: Annotated[Principal, Depends(require_role(Role.AUDITOR))],
    case: Annotated[str, Path(description="An authorisation or a task.", examples=["SE-T-5d0a0f6c1b2e3d4f"])],
    witnessed: Annotated[int | None, Query(ge=1, description="Size of a kept checkpoint to connect.")] = None,
) -> Response:
    """Return every entry that names the case, each with its proof, for verification offline; sealed parts stay sealed.

    A task's entries come with those of its authorisation. The reading is an entry itself, durable before anything
    leaves.
    """
    store = get_store(request)
    kind = kind_of(case)
    if kind not in (AUTHORISATION, TASK):
        raise NotFoundError("there is no such case")
    words = [case, Casebook(store).task(case)[0].authorisation_id] if kind == TASK else [case]
    if witnessed is not None and witnessed > store.audit.size:
        raise NotFoundError("the log has no tree of that size")
    store.log(AuditEntry("audit.exported", {"person": principal.person_id, "case": case}))
    return Response(bundle.bundle(store.audit, case, words, witnessed=witnessed), media_type="application/json")


def _shown(entry: StoredEntry) -> dict[str, Any]:
    return {
        "index": entry.index,
        "time": to_text(entry.time_us),
        "kind": entry.kind,
        "public": entry.public,
        "sealed": entry.sealed,
        "key_destroyed": entry.key_destroyed,
        "secret": entry.secret,
    }
