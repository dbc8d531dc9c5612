"""HI-1 of TS 103 120 and messages of TS 102 657 over HTTP: an authority's system speaks as its recognised officer."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.deps import get_store
from api.disclosure.model import Actor
from api.handover.hi1 import Exchange
from api.handover.retained import RetainedData
from api.people.auth import Principal, require_person
from api.routes.models import ERRORS

router = APIRouter(tags=["handover"])

MEDIA_TYPE: Final = "application/xml"
_BODY: Final = {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}, "required": True}


async def _octets(request: Request) -> bytes:
    return await request.body()


@router.post(
    "/v1/hi1",
    summary="Exchange an HI-1 message",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}, "description": "The answers, one for each action."}, **ERRORS},
    openapi_extra={"requestBody": _BODY},
)
def exchange(
    request: Request,
    principal: Annotated[Principal, Depends(require_person)],
    message: Annotated[bytes, Depends(_octets)],
) -> Response:
    """Take a request of TS 103 120 (GET, CREATE, UPDATE, LIST, DELIVER); the officer's, behind the same guards."""
    return _xml(Exchange(get_store(request)).answer(_actor(principal), message))


@router.post(
    "/v1/retained-data",
    summary="Exchange a retained data message",
    response_class=Response,
    responses={200: {"content": {MEDIA_TYPE: {}}, "description": "The answer, or an errorMessage."}, **ERRORS},
    openapi_extra={"requestBody": _BODY},
)
def retained_data(
    request: Request,
    principal: Annotated[Principal, Depends(require_person)],
    message: Annotated[bytes, Depends(_octets)],
) -> Response:
    """Take a request, cancellation, status question or acknowledgement of TS 102 657 (unverified profile)."""
    return _xml(RetainedData(get_store(request)).answer(_actor(principal), message))


def _actor(principal: Principal) -> Actor:
    return Actor(principal.person_id, principal.key_id, principal.roles)


def _xml(answer: bytes) -> Response:
    return Response(answer, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})
