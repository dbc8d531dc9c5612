"""The audit log over HTTP: checkpoints and proofs for everybody who is authenticated, entries for auditors."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import PlainTextResponse

from api.auth import Principal, require_any, require_role
from api.deps import get_store
from api.roles import Role
from api.routes.models import ERRORS
from schemas.errors import NotFoundError
from store import AuditEntry
from store.audit import StoredEntry
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
