"""Credentials of switches and of scrapers of metrics."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field

from api.deps import get_authenticator, get_store
from api.people import credentials
from api.people.auth import Principal, require_role
from api.people.roles import Role
from api.routes.models import ERRORS, Model
from ingest import sources

router = APIRouter(tags=["sources"])

_CREDENTIAL: Final = {
    "id": "c-mfrggzdfmztwq2lk",
    "scope": "ingest",
    "kind": "secret",
    "sources": ["pbx-east"],
    "fingerprint": None,
    "subject": None,
    "active": True,
}
_SHOWN_ONCE: Final = {"secret": "…", "token": "c-mfrggzdfmztwq2lk.…", "basic": "c-mfrggzdfmztwq2lk:…"}
Custodian = Annotated[Principal, Depends(require_role(Role.CUSTODIAN))]


class CredentialModel(Model):
    """What the credential is for; with neither fingerprint nor subject a secret is made.

    With one of them and a secret, neither the secret nor the certificate opens anything without the other.
    """

    scope: Annotated[credentials.Scope, Field(examples=["ingest"])] = credentials.Scope.INGEST
    sources: Annotated[tuple[str, ...], Field(max_length=100, examples=[["pbx-east"]])] = ()
    fingerprint: Annotated[
        str | None, Field(max_length=64, description="SHA-256 of the client certificate, hex.", examples=[None])
    ] = None
    subject: Annotated[
        str | None,
        Field(max_length=500, description="Subject of a certificate of the client CA, RFC 4514.", examples=[None]),
    ] = None
    secret: Annotated[
        bool,
        Field(
            description="Make a secret beside the certificate, too; both have to be shown together.", examples=[False]
        ),
    ] = False


@router.get(
    "/v1/credentials",
    summary="List credentials",
    responses={200: {"content": {"application/json": {"example": {"credentials": [_CREDENTIAL]}}}}, **ERRORS},
)
def list_credentials(request: Request, _: Custodian) -> dict[str, Any]:
    """Return every credential, the revoked included, and no secret."""
    return {"credentials": [credential.as_dict() for credential in credentials.list_all(get_store(request))]}


@router.post(
    "/v1/credentials",
    status_code=201,
    summary="Make a credential",
    responses={201: {"content": {"application/json": {"example": _CREDENTIAL | _SHOWN_ONCE}}}, **ERRORS},
)
def create(request: Request, body: CredentialModel, principal: Custodian) -> dict[str, Any]:
    """Make a credential; its secret is in this answer and never again.

    `token` is for `Authorization: Bearer`, `basic` is user and password for HTTP Basic (FreeSWITCH's `cred`).
    """
    store = get_store(request)
    for name in body.sources:
        sources.get(store, name)
    credential, secret = credentials.create(
        store,
        principal.person_id,
        scope=body.scope,
        sources=body.sources,
        fingerprint=body.fingerprint,
        subject=body.subject,
        with_secret=body.secret,
    )
    get_authenticator(request).credentials.refresh()
    answer = credential.as_dict()
    if secret is not None:
        name = credential.credential_id
        answer |= {"secret": secret, "token": f"{name}.{secret}", "basic": f"{name}:{secret}"}
    return answer


@router.delete(
    "/v1/credentials/{credential_id}",
    summary="Revoke a credential",
    responses={200: {"content": {"application/json": {"example": _CREDENTIAL | {"active": False}}}}, **ERRORS},
)
def revoke(
    request: Request,
    credential_id: Annotated[str, Path(max_length=40, examples=["c-mfrggzdfmztwq2lk"])],
    principal: Custodian,
) -> dict[str, Any]:
    """End a credential at once."""
    revoked = credentials.revoke(get_store(request), principal.person_id, credential_id)
    get_authenticator(request).credentials.refresh()
    return revoked.as_dict()
