"""Who is asking: people by session, switches by credential; nobody else gets further than /v1/health.

Log-in: `POST /v1/sessions` without credentials is answered 401 with a challenge; the person signs it and sends the
same request with `Authorization: Lagrum person="…", challenge="…", signature="…"`. The answer is a bearer token for at
most 15 minutes, and only in this process's memory.

A person is also recognised by a token of the OpenID provider (`api.people.oidc`) or by a client certificate, where two
custodians have bound them (`api.people.bindings`); an authority's system by a client certificate of the register. None
of them signs: an approval is always under the person's own key.

What recognises a caller is in `api.people.authenticator`. Authentication happens once, in front of all routes
(`api.access_middleware`); routes only say which principals they serve.

Source: RFC 9110 section 11 (authentication), RFC 7617 (Basic), RFC 6750 (Bearer).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from fastapi import HTTPException, Query, Request

from api.people.roles import Role
from schemas.errors import ProcedureError

LOCAL: Final = "local"
"""The host of who comes by the unix socket: the service's own user, who is not locked out as an address."""


class PrincipalKind(StrEnum):
    """What kind of caller it is."""

    PERSON = "person"
    AUTHORITY = "authority"
    SWITCH = "switch"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    `person_id` is a person's, a credential's or an authority's id; `key_id` names the person's key; `sources` are those
    that a switch may push for; `tenant` is a tenant administrator's; `authority` an officer's, or the system's own.
    """

    person_id: str
    roles: frozenset[str]
    key_id: str
    sources: frozenset[str]
    kind: PrincipalKind = PrincipalKind.PERSON
    tenant: str | None = None
    authority: str | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """What the connection says: the client's address, and the certificate that TLS has verified."""

    host: str
    fingerprint: str | None = None
    subject: str | None = None


class UnauthenticatedError(Exception):
    """No or wrong credentials; `retry_after_seconds` when locked out."""

    def __init__(self, detail: str, *, retry_after_seconds: int = 0) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


def principal_of(request: Request) -> Principal:
    """Return who is asking, as the door found out.

    Raises:
        HTTPException: 401, nobody.
    """
    principal = request.scope.get("principal")
    if not isinstance(principal, Principal):
        raise HTTPException(401, "credentials are needed")
    return principal


async def require_any(request: Request) -> Principal:
    """Dependency: any authenticated caller."""
    return principal_of(request)


def require_role(*roles: str | Role) -> Callable[[Request], Awaitable[Principal]]:
    """Return a dependency: a person with at least one of `roles`; anybody else is refused with 403."""
    wanted = frozenset(Role(role).value for role in roles)

    async def dependency(request: Request) -> Principal:
        principal = principal_of(request)
        if principal.kind is not PrincipalKind.PERSON or not principal.roles & wanted:
            raise HTTPException(403, "your role may not do this")
        return principal

    return dependency


require = require_role


async def require_person(request: Request) -> Principal:
    """Dependency: any person, whatever the role."""
    principal = principal_of(request)
    if principal.kind is not PrincipalKind.PERSON:
        raise HTTPException(403, "only people may do this")
    return principal


async def require_source(
    request: Request,
    source: Annotated[str, Query(description="The registered source that delivers.", examples=["pbx-east"])],
) -> Principal:
    """Dependency: a switch whose credential is bound to the query's `source`."""
    principal = principal_of(request)
    if principal.kind is not PrincipalKind.SWITCH:
        raise HTTPException(403, "only switches deliver")
    if source not in principal.sources:
        raise ProcedureError("the credential is not bound to this source", reason="source")
    return principal


async def require_switch(request: Request) -> Principal:
    """Dependency: a switch, whatever its sources."""
    principal = principal_of(request)
    if principal.kind is not PrincipalKind.SWITCH:
        raise HTTPException(403, "only switches deliver")
    return principal
