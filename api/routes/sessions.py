"""Log-in and log-out of people."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from api.deps import get_authenticator, get_store
from api.people.auth import LOCAL, Principal, require_person
from api.people.authenticator import Authenticator
from api.routes.models import ERRORS
from store.clock import to_text

router = APIRouter(tags=["sessions"])

_CHALLENGE = {
    "type": "urn:lagrum:problem:unauthenticated",
    "title": "Credentials are needed",
    "status": 401,
    "detail": "sign the challenge",
    "hint": "sign it with the person's own key and send the request again with `Authorization: Lagrum`",
    "challenge": "yWz1…",
    "expires_at": "2026-11-22T12:01:00.000000Z",
    "store": "9f0c…",
}
_WHO = {"person": "custodian-1", "roles": ["custodian"], "key_id": "5d0a0f6c1b2e3d4f", "tenant": None}


@router.post(
    "/v1/sessions",
    status_code=201,
    summary="Log in",
    responses={
        201: {
            "content": {
                "application/json": {
                    "example": {"token": "…", "expires_at": "2026-11-22T12:15:00.000000Z", "store": "9f0c…", **_WHO}
                }
            }
        },
        401: {
            "description": "The challenge to sign.",
            "content": {"application/problem+json": {"example": _CHALLENGE}},
        },
        **ERRORS,
    },
    openapi_extra={"security": [{"signature": []}]},
)
def log_in(request: Request, principal: Annotated[Principal, Depends(require_person)]) -> dict[str, Any]:
    """Open a session of at most 15 minutes.

    Without credentials the answer is 401 with `challenge`, `expires_at` and `store`. Sign the statement
    {action: "session.open", case: your id, digest: SHA-256 of the canonical JSON of {challenge, store}, time:
    expires_at} and send the request again with
    `Authorization: Lagrum person="…", challenge="…", signature="…"`.

    Every signature is Ed25519, in base64, over the line `lagrum-statement-v1`, its line feed, and the statement as
    canonical JSON (RFC 8785: keys sorted, no spaces, UTF-8); every digest is hex.
    """
    store, authenticator = get_store(request), get_authenticator(request)
    authenticator.opened(principal, _host(request))
    token, session = authenticator.sessions.open(principal.person_id, principal.key_id)
    answer = {"token": token, "expires_at": to_text(session.expires_us), "store": store.store_id}
    return answer | _who(principal)


@router.get(
    "/v1/sessions/current",
    summary="Say who I am",
    responses={200: {"content": {"application/json": {"example": _WHO}}}, **ERRORS},
)
async def show(principal: Annotated[Principal, Depends(require_person)]) -> dict[str, Any]:
    """Return the person of the session."""
    return _who(principal)


@router.delete("/v1/sessions/current", status_code=204, summary="Log out", responses=ERRORS)
async def log_out(
    request: Request,
    principal: Annotated[Principal, Depends(require_person)],
    authenticator: Annotated[Authenticator, Depends(get_authenticator)],
) -> None:
    """End the session; a token of the OpenID provider is not taken again."""
    token = request.headers.get("authorization", "").partition(" ")[2]
    authenticator.close(token.strip())
    authenticator.closed(principal, _host(request))


def _host(request: Request) -> str:
    return request.client.host if request.client else LOCAL


def _who(principal: Principal) -> dict[str, Any]:
    return {
        "person": principal.person_id,
        "roles": sorted(principal.roles),
        "key_id": principal.key_id,
        "tenant": principal.tenant,
    }
