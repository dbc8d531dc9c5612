"""Who is asking: people by session, switches by credential; nobody else gets further than /v1/health.

Log-in: `POST /v1/sessions` without credentials is answered 401 with a challenge; the person signs it and sends the
same request with `Authorization: Lagrum person="…", challenge="…", signature="…"`. The answer is a bearer token for at
most 15 minutes, and only in this process's memory.

Authentication happens once, in front of all routes (`api.door`); routes only say which principals they serve.

Source: RFC 9110 section 11 (authentication), RFC 7617 (Basic), RFC 6750 (Bearer).
"""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import HTTPException, Query, Request

from api import persons
from api.credentials import Credential, CredentialBook, Scope
from api.roles import Role
from api.sessions import Challenges, Sessions
from api.settings import Settings
from api.signing import Statement, digest_of, verify
from api.throttle import Throttle
from schemas.errors import ProcedureError
from store.clock import to_text

if TYPE_CHECKING:
    from store import Store

SESSION_ACTION: Final = "session.open"
SCHEME: Final = "lagrum"
_HEADER_CHARS_MAX: Final = 1024
_CLAIM_CHARS_MAX: Final = 64
_PARAMETER: Final = re.compile(r'\s*([a-z]+)="([A-Za-z0-9+/=_-]*)"\s*(?:,|$)')


class PrincipalKind(StrEnum):
    """What kind of caller it is."""

    PERSON = "person"
    SWITCH = "switch"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller.

    `person_id` is a person's id or a credential's id; `key_id` names the person's key; `sources` are those that a
    switch may push for; `tenant` is a tenant administrator's.
    """

    person_id: str
    roles: frozenset[str]
    key_id: str
    sources: frozenset[str]
    kind: PrincipalKind = PrincipalKind.PERSON
    tenant: str | None = None


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


def session_statement(store_id: str, person_id: str, challenge: str, expires_at: str) -> Statement:
    """Return what a person signs to log in; `expires_at` as it came with the challenge."""
    return Statement(SESSION_ACTION, person_id, digest_of({"store": store_id, "challenge": challenge}), expires_at)


class Authenticator:
    """Everything that recognises a caller; one per application."""

    def __init__(self, store: Store, settings: Settings) -> None:
        clock = store.clock
        self._store = store
        self.challenges = Challenges(clock, seconds=settings.challenge_seconds, used_max=10 * settings.sessions_max)
        self.sessions = Sessions(clock, seconds=settings.session_seconds, entries_max=settings.sessions_max)
        self.credentials = CredentialBook(store)
        self.throttle = Throttle(
            clock,
            failures_max=settings.failures_max,
            lockout_seconds=settings.lockout_seconds,
            entries_max=settings.lockout_entries_max,
        )

    async def authenticate(
        self, authorization: str | None, peer: Peer, in_thread: Callable[..., Awaitable[object]]
    ) -> Principal:
        """Return who is asking; what reads the store runs through `in_thread`.

        Raises:
            UnauthenticatedError: no credentials, wrong ones, or too many failures before.
        """
        if self.credentials.is_stale():
            await in_thread(self.credentials.refresh)
        if authorization is None:
            if peer.fingerprint is not None:
                credential = self.credentials.check_certificate(peer.fingerprint, peer.subject)
                if credential is not None:
                    return _of_credential(credential)
            raise UnauthenticatedError("credentials are needed")
        if len(authorization) > _HEADER_CHARS_MAX:
            raise UnauthenticatedError("the credentials do not have the documented form")
        scheme, _, rest = authorization.partition(" ")
        match scheme.lower():
            case "basic":
                return self._by_secret(*_split_basic(rest), peer)
            case "bearer":
                credential_id, dot, secret = rest.strip().partition(".")
                if dot:
                    return self._by_secret(credential_id, secret, peer)
                principal = await in_thread(self._by_session, rest.strip())
            case "lagrum":
                principal = await in_thread(self._by_signature, rest, peer)
            case _:
                raise UnauthenticatedError("this authentication scheme is not known")
        assert isinstance(principal, Principal)
        return principal

    def _by_secret(self, credential_id: str, secret: str, peer: Peer) -> Principal:
        key = (credential_id[:_CLAIM_CHARS_MAX], peer.host)
        self._refuse_locked(key)
        credential = self.credentials.check_secret(credential_id, secret)
        if credential is None:
            self.throttle.failed(key)
            raise UnauthenticatedError("the credentials are wrong")
        self.throttle.succeeded(key)
        return _of_credential(credential)

    def _by_session(self, token: str) -> Principal:
        session = self.sessions.find(token)
        person = None if session is None else persons.find_active(self._store, session.person_id)
        if session is None or person is None or person.key_id != session.key_id:
            raise UnauthenticatedError("the session is over, or there never was one")
        return _of_person(person)

    def _by_signature(self, parameters: str, peer: Peer) -> Principal:
        claims = dict(_PARAMETER.findall(parameters))
        person_id, challenge = claims.get("person", ""), claims.get("challenge", "")
        key = (person_id[:_CLAIM_CHARS_MAX], peer.host)
        self._refuse_locked(key)
        # An expired or used challenge is no attempt at a key, so it does not count as a failure.
        expires_us = self.challenges.open_until_us(challenge)
        if expires_us is None:
            raise UnauthenticatedError("the challenge is expired, used or not ours")
        person = persons.find_active(self._store, person_id)
        statement = session_statement(self._store.store_id, person_id, challenge, to_text(expires_us))
        if person is None or not verify(person.public_bytes, statement.to_bytes(), claims.get("signature", "")):
            self.throttle.failed(key)
            raise UnauthenticatedError("the signature is not this person's under this challenge")
        if not self.challenges.redeem(challenge):
            raise UnauthenticatedError("the challenge is expired, used or not ours")
        self.throttle.succeeded(key)
        return _of_person(person)

    def _refuse_locked(self, key: tuple[str, str]) -> None:
        seconds = self.throttle.locked_seconds(key)
        if seconds:
            raise UnauthenticatedError("too many failures", retry_after_seconds=seconds)


def _split_basic(encoded: str) -> tuple[str, str]:
    try:
        user, colon, password = b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
    except (Base64Error, ValueError):
        colon = ""
    if not colon:
        raise UnauthenticatedError("the credentials do not have the documented form")
    return user, password


def _of_credential(credential: Credential) -> Principal:
    kind = PrincipalKind.SWITCH if credential.scope is Scope.INGEST else PrincipalKind.METRICS
    return Principal(credential.credential_id, frozenset(), "", credential.sources, kind)


def _of_person(person: persons.Person) -> Principal:
    roles = frozenset(role.value for role in person.roles)
    return Principal(person.person_id, roles, person.key_id, frozenset(), PrincipalKind.PERSON, person.tenant)


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
