"""What recognises a caller: a key, a session, a token, a client certificate or a secret.

Whoever is claimed, known or not, an attempt costs the same steps. Failures lock out (`api.people.throttle`) and are
logged for 30 days (`api.people.logins`). An address that is locked keeps out what proves nothing. A secret that is
right, a signature that holds and a token that the provider signed come in from there all the same: many may share a
proxy's address, and none of the three is guessed. A person's id is known to many: an account that others' wrong
signatures have locked opens to its own key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from api.people import authorities, client_certificates, oidc, persons
from api.people.auth import LOCAL, Peer, Principal, PrincipalKind, UnauthenticatedError
from api.people.bindings import BindingKind, person_of
from api.people.credential_fast_path import HEADER_CHARS_MAX, claim_of
from api.people.credentials import Credential, CredentialBook, Scope
from api.people.logins import CLOSED, LOCKED, OPENED, RECOGNISED, REFUSED, UNKNOWN, Event, LoginLog
from api.people.rates import Rates, per_minute
from api.people.sessions import Challenges, Sessions
from api.people.signing import PersonKey, session_statement, verify
from api.people.throttle import Throttle
from api.settings import Settings
from store.clock import to_text

if TYPE_CHECKING:
    from store import Store

ADDRESS_FACTOR: Final = 10
"""So many times the failures of one account lock an address."""
_INVALID: Final = "the token is not valid here"
_OVER: Final = "the session is over, or there never was one"
_FORM: Final = "the credentials do not have the documented form"
_SEEN_MAX: Final = 10_000
_CLAIM_CHARS_MAX: Final = 64
_PARAMETER: Final = re.compile(r'\s*([a-z]+)="([A-Za-z0-9+/=_-]*)"\s*(?:,|$)')


class Authenticator:
    """Everything that recognises a caller; one per application."""

    def __init__(self, store: Store, settings: Settings) -> None:
        clock = store.clock
        self._store = store
        self.challenges = Challenges(clock, seconds=settings.challenge_seconds, used_max=10 * settings.sessions_max)
        self.sessions = Sessions(clock, seconds=settings.session_seconds, entries_max=settings.sessions_max)
        self.credentials = CredentialBook(store)
        self.tokens = oidc.TokenVerifier.of(clock, settings, store.root)
        self.logins = LoginLog(store)
        self.rates = Rates(clock, per_minute(settings))
        self.throttle, self.addresses = (
            Throttle(
                clock,
                failures_max=settings.failures_max * factor,
                lockout_seconds=settings.lockout_seconds,
                lockout_seconds_max=settings.lockout_seconds_max,
                entries_max=settings.lockout_entries_max,
            )
            for factor in (1, ADDRESS_FACTOR)
        )
        self._decoy = PersonKey.generate("nobody").public_bytes
        self._decoy_id: str | None = None
        self._seen_us_max = settings.session_seconds * 1_000_000
        self._seen: dict[tuple[str, ...], int] = {}

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
            return await self._without_header(peer, in_thread)
        claim = claim_of(authorization)
        if claim is not None:
            return self._by_secret(*claim, peer)
        if len(authorization) > (oidc.TOKEN_CHARS_MAX if authorization.count(".") > 1 else HEADER_CHARS_MAX):
            raise UnauthenticatedError(_FORM)
        scheme, _, rest = authorization.partition(" ")
        rest = rest.strip()
        match scheme.lower():
            case "basic":
                raise UnauthenticatedError(_FORM)
            case "bearer" if "." in rest:
                principal = await in_thread(self._by_token, rest, peer)
            case "bearer":
                principal = await in_thread(self._by_session, rest, peer)
            case "lagrum":
                principal = await in_thread(self._by_signature, rest, peer)
            case _:
                raise UnauthenticatedError("this authentication scheme is not known")
        assert isinstance(principal, Principal)
        return principal

    def close(self, token: str) -> None:
        """End the session of a token; one of the OpenID provider is not taken again while it would live."""
        if "." in token and self.tokens is not None:
            self.tokens.end(token)
        else:
            self.sessions.close(token)

    def opened(self, principal: Principal, host: str) -> None:
        """Write down that a session is opened; without that it must not be.

        Raises:
            BusyError: it cannot be written.
        """
        self.logins.write(Event(OPENED, "key", principal.person_id, host))

    def closed(self, principal: Principal, host: str) -> None:
        """Note a log-out."""
        self.logins.note(Event(CLOSED, "person", principal.person_id, host))

    async def _without_header(self, peer: Peer, in_thread: Callable[..., Awaitable[object]]) -> Principal:
        if peer.fingerprint is not None:
            credential = self.credentials.check_certificate(peer.fingerprint, peer.subject)
            if credential is not None:
                return _of_credential(credential)
            principal = await in_thread(self._by_certificate, peer)
            if isinstance(principal, Principal):
                return principal
        raise UnauthenticatedError("credentials are needed")

    def _by_certificate(self, peer: Peer) -> Principal | None:
        """Return the person or the authority whose client certificate TLS has verified."""
        assert peer.fingerprint is not None
        kind, _, owner = (client_certificates.owner_of(self._store, peer.fingerprint) or "").partition(":")
        if kind == "authority":
            authority = authorities.find(self._store, owner)
            now_us = self._store.clock.now_us()
            if authority and authority.in_force(now_us) and peer.fingerprint in authority.terms.fingerprints:
                self._recognised("certificate", owner, peer, peer.fingerprint)
                return Principal(owner, frozenset(), "", frozenset(), PrincipalKind.AUTHORITY, None, owner)
        elif kind == "person" and person_of(self._store, BindingKind.CERTIFICATE, peer.fingerprint) == owner:
            person = persons.find_active(self._store, owner)
            if person is not None:
                self._recognised("certificate", owner, peer, peer.fingerprint)
                return _of_person(person)
        if kind:
            self.logins.note(Event(REFUSED, "certificate", owner if kind != "switch" else UNKNOWN, peer.host))
        return None

    def _by_secret(self, credential_id: str, secret: str, peer: Peer) -> Principal:
        key = (credential_id[:_CLAIM_CHARS_MAX], peer.host)
        account = credential_id if self.credentials.is_known(credential_id) else UNKNOWN
        self._refuse_locked(key, "secret", account)
        credential = self.credentials.check_secret(credential_id, secret, (peer.fingerprint, peer.subject))
        if credential is None:
            self._refuse_locked_address(peer, "secret")
            self._failed(key, "secret", account)
            raise UnauthenticatedError("the credentials are wrong")
        self.throttle.succeeded(key)
        return _of_credential(credential)

    def _by_session(self, token: str, peer: Peer) -> Principal:
        session = self.sessions.find(token)
        if session is None:
            raise UnauthenticatedError(_OVER)
        person = persons.find_active(self._store, session.person_id)
        if person is None or person.key_id != session.key_id:
            raise UnauthenticatedError(_OVER)
        self._refuse_other_certificate(person, peer)
        return _of_person(person)

    def _by_token(self, token: str, peer: Peer) -> Principal:
        if self.tokens is None:
            raise UnauthenticatedError("tokens of an OpenID provider are not taken here")
        try:
            claims = self.tokens.verify(token)
        except oidc.TokenError as error:
            # Whose a token is, its signature tells; what anybody may have made is the address's.
            key = _token_key(error.subject, peer)
            if error.is_untimely:
                # Its signature proves whose it was: a replay guesses nothing, and must not keep its owner out.
                self.logins.note(Event(REFUSED, "token", UNKNOWN, peer.host, error.word))
                raise UnauthenticatedError(_INVALID) from None
            if error.subject is None:
                self._refuse_locked_address(peer, "token")
            self._refuse_locked(key, "token", UNKNOWN)
            self._failed(key, "token", UNKNOWN, error.word)
            raise UnauthenticatedError(_INVALID) from None
        key = _token_key(claims.subject, peer)
        self._refuse_locked(key, "token", UNKNOWN)
        person_id = person_of(self._store, BindingKind.SUBJECT, claims.subject, claims.issuer)
        person = None if person_id is None else persons.find_active(self._store, person_id)
        if person is None:
            self._failed(key, "token", person_id or UNKNOWN, "person")
            raise UnauthenticatedError(_INVALID)
        self._refuse_other_certificate(person, peer)
        self.throttle.succeeded(key)
        self._recognised("token", person.person_id, peer, claims.digest.hex())
        return _of_person(person)

    def _by_signature(self, parameters: str, peer: Peer) -> Principal:
        claims = dict(_PARAMETER.findall(parameters))
        person_id, challenge = claims.get("person", ""), claims.get("challenge", "")
        key = (person_id[:_CLAIM_CHARS_MAX], peer.host)
        # An expired or used challenge is no attempt at a key, so it does not count as a failure.
        expires_us = self.challenges.open_until_us(challenge)
        if expires_us is None:
            raise UnauthenticatedError("the challenge is expired, used or not ours")
        person = self._claimed(person_id)
        public = self._decoy if person is None else person.public_bytes
        statement = session_statement(self._store.store_id, person_id, challenge, to_text(expires_us))
        holds = verify(public, statement.to_bytes(), claims.get("signature", ""))
        if person is None or not holds or not persons.may_act(self._store, person):
            self._refuse_locked(key, "key", UNKNOWN)
            self._refuse_locked_address(peer, "key")
            self._failed(key, "key", UNKNOWN if person is None else person_id)
            raise UnauthenticatedError("the signature is not this person's under this challenge")
        if not self.challenges.redeem(challenge):
            raise UnauthenticatedError("the challenge is expired, used or not ours")
        self._refuse_other_certificate(person, peer)
        self.throttle.succeeded(key)
        return _of_person(person)

    def _claimed(self, person_id: str) -> persons.Person | None:
        """Return the person of an id; for one that nobody has, read and unseal somebody else's document instead."""
        if self._decoy_id is None:
            self._decoy_id = persons.any_id(self._store)
        is_known = persons.exists(self._store, person_id)
        person = persons.get(self._store, person_id if is_known else self._decoy_id)
        return person if is_known else None

    def _refuse_other_certificate(self, person: persons.Person, peer: Peer) -> None:
        """Who comes with a client certificate comes with his own, or with his authority's."""
        if peer.fingerprint is None:
            return
        owner = client_certificates.owner_of(self._store, peer.fingerprint)
        if owner in (None, f"person:{person.person_id}", f"authority:{person.authority}"):
            return
        self.logins.note(Event(REFUSED, "certificate", person.person_id, peer.host, "other"))
        raise UnauthenticatedError("the client certificate is another owner's")

    def _recognised(self, way: str, account: str, peer: Peer, proof: str) -> None:
        """Log who is recognised without a session, once for as long as a session would last."""
        key, now_us = (way, account, peer.host, proof), self._store.clock.now_us()
        if self._seen.get(key, 0) > now_us:
            return
        if len(self._seen) >= _SEEN_MAX:
            self._seen = {}
        self._seen[key] = now_us + self._seen_us_max
        self.logins.write(Event(RECOGNISED, way, account, peer.host))

    def _failed(self, key: tuple[str, str], way: str, account: str, word: str = "") -> None:
        self.throttle.failed(key)
        if key[1] != LOCAL:
            self.addresses.failed(key[1])
        self.logins.note(Event(REFUSED, way, account, key[1], word))

    def _refuse_locked(self, key: tuple[str, str], way: str, account: str) -> None:
        seconds = self.throttle.locked_seconds(key)
        if seconds:
            self.logins.note(Event(LOCKED, way, account, key[1]))
            raise UnauthenticatedError("too many failures", retry_after_seconds=seconds)

    def _refuse_locked_address(self, peer: Peer, way: str) -> None:
        seconds = 0 if peer.host == LOCAL else self.addresses.locked_seconds(peer.host)
        if seconds:
            self.logins.note(Event(LOCKED, way, UNKNOWN, peer.host, "address"))
            raise UnauthenticatedError("too many failures", retry_after_seconds=seconds)


def _token_key(subject: str | None, peer: Peer) -> tuple[str, str]:
    return ("(token)" if subject is None else f"(token) {hashlib.sha256(subject.encode()).hexdigest()}", peer.host)


def _of_credential(credential: Credential) -> Principal:
    kind = PrincipalKind.SWITCH if credential.scope is Scope.INGEST else PrincipalKind.METRICS
    return Principal(credential.credential_id, frozenset(), "", credential.sources, kind)


def _of_person(person: persons.Person) -> Principal:
    roles = frozenset(role.value for role in person.roles)
    return Principal(
        person.person_id, roles, person.key_id, frozenset(), PrincipalKind.PERSON, person.tenant, person.authority
    )
