"""HI-1 of ETSI TS 103 120 over HTTP: an authority's system speaks as the officer whom the door has recognised."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from api.auth import Principal, require_person
from api.deps import get_store
from api.disclosure.model import Actor
from api.handover.hi1 import Exchange
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
    """Take a request of TS 103 120 (GET, CREATE, UPDATE, LIST); the officer's, every action behind the same guards."""
    actor = Actor(principal.person_id, principal.key_id, principal.roles)
    answer = Exchange(get_store(request)).answer(actor, message)
    return Response(answer, media_type=MEDIA_TYPE, headers={"Cache-Control": "no-store"})
