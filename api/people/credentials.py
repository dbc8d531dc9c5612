"""Credentials of programs: switches, bound to their sources, and scrapers of metrics.

A secret is always made here: 256 random bits, shown once. So HMAC-SHA256 under a random salt keeps it; a slow hash
would protect a secret that people choose, and would cost every pushed record its time. The same secret works as HTTP
Basic (user: the credential's id) and as bearer token (id, '.', secret). A certificate credential names the SHA-256
fingerprint of the client certificate, or its subject (RFC 4514) when the configured client CA has signed it. One that
has a secret and a certificate is bound: neither opens anything without the other. A secret that is not bound is taken
beside any certificate that the client CA has signed, as a proxy may show one of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from base64 import b32encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from api.people import client_certificates
from schemas.errors import ConfigurationError, ProcedureError
from store import AuditEntry, Document, Put

if TYPE_CHECKING:
    from store import Store

KIND: Final = "credential"
CACHE_SECONDS: Final = 30
_SOURCES_MAX: Final = 100
_PROVEN_MAX: Final = 10_000
_SUBJECT_CHARS_MAX: Final = 500


class Scope(StrEnum):
    """What a credential is for."""

    INGEST = "ingest"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class Credential:
    """One credential, as stored; `salt` and `hash` are hex."""

    credential_id: str
    scope: Scope
    sources: frozenset[str]
    salt: str | None
    hash: str | None
    fingerprint: str | None
    subject: str | None
    active: bool
    revision: int

    @property
    def kind(self) -> str:
        """What its holder shows."""
        if self.hash is None:
            return "certificate"
        return "secret" if self.certificate is None else "both"

    @property
    def certificate(self) -> str | None:
        """The fingerprint or the subject of its certificate."""
        return self.fingerprint or self.subject

    def as_dict(self) -> dict[str, Any]:
        """Return what custodians see: never the hash."""
        return {
            "id": self.credential_id,
            "scope": self.scope.value,
            "kind": self.kind,
            "sources": sorted(self.sources),
            "fingerprint": self.fingerprint,
            "subject": self.subject,
            "active": self.active,
        }

    def to_body(self) -> dict[str, Any]:
        """Return the document's body."""
        return {
            "scope": self.scope.value,
            "sources": sorted(self.sources),
            "salt": self.salt,
            "hash": self.hash,
            "fingerprint": self.fingerprint,
            "subject": self.subject,
            "active": self.active,
        }


def from_document(document: Document) -> Credential:
    """Return the credential of a stored document."""
    body = document.body
    return Credential(
        credential_id=document.id,
        scope=Scope(body["scope"]),
        sources=frozenset(body["sources"]),
        salt=body["salt"],
        hash=body["hash"],
        fingerprint=body["fingerprint"],
        subject=body["subject"],
        active=body["active"],
        revision=document.revision,
    )


def digest(secret: str, salt: bytes) -> bytes:
    """Return what is kept of a secret."""
    return hmac.digest(salt, secret.encode("utf-8", "surrogatepass"), "sha256")


def create(
    store: Store,
    by: str,
    *,
    scope: Scope,
    sources: Sequence[str],
    fingerprint: str | None = None,
    subject: str | None = None,
    with_secret: bool = False,
) -> tuple[Credential, str | None]:
    """Make a credential and return it with its secret, which nobody sees again.

    A certificate has one only `with_secret`, and then both have to be shown together.

    Raises:
        ConfigurationError: no source for ingest, sources for metrics, a fingerprint or subject without the form.
        ProcedureError: the certificate is a person's or an authority's.
    """
    if (scope is Scope.INGEST) != bool(sources) or len(sources) > _SOURCES_MAX:
        raise ConfigurationError("a credential for ingest is bound to sources, one for metrics to none")
    if fingerprint is not None and subject is not None:
        raise ConfigurationError("a certificate is named by its fingerprint or by its subject, not by both")
    if subject is not None and not ("=" in subject and len(subject) <= _SUBJECT_CHARS_MAX):
        raise ConfigurationError(f"a subject is a name as RFC 4514 writes it, at most {_SUBJECT_CHARS_MAX} characters")
    secret = salt = None
    if with_secret or (fingerprint is None and subject is None):
        secret, salt = secrets.token_urlsafe(32), secrets.token_bytes(16)
    credential = Credential(
        credential_id="c-" + b32encode(secrets.token_bytes(10)).decode("ascii").lower(),
        scope=scope,
        sources=frozenset(sources),
        salt=None if salt is None else salt.hex(),
        hash=None if salt is None or secret is None else digest(secret, salt).hex(),
        fingerprint=fingerprint,
        subject=subject,
        active=True,
        revision=0,
    )
    put = Put(KIND, credential.credential_id, credential.to_body(), expect=0)
    claimed = client_certificates.claims(store, "switch", [] if fingerprint is None else [fingerprint])
    store.documents.commit([put, *claimed], [_entry("credential.create", credential, by)])
    return credential, secret


def revoke(store: Store, by: str, credential_id: str) -> Credential:
    """End a credential.

    Raises:
        NotFoundError: there is none of this id.
        ProcedureError: it is revoked already.
    """
    before = from_document(store.documents.get(KIND, credential_id))
    if not before.active:
        raise ProcedureError("the credential is revoked already", reason="state")
    put = Put(KIND, credential_id, before.to_body() | {"active": False}, expect=before.revision)
    store.documents.commit([put], [_entry("credential.revoke", before, by)])
    return from_document(store.documents.get(KIND, credential_id))


def list_all(store: Store) -> list[Credential]:
    """Return every credential, the revoked included, by id."""
    return sorted((from_document(document) for document in store.documents.list(KIND)), key=lambda c: c.credential_id)


def _entry(action: str, credential: Credential, by: str) -> AuditEntry:
    public = {
        "credential": credential.credential_id,
        "scope": credential.scope.value,
        "sources": sorted(credential.sources),
        "by": by,
    }
    return AuditEntry(kind=action, public=public)


class CredentialBook:
    """The active credentials, in memory; reread after a change here and every `CACHE_SECONDS`.

    Only the running service changes credentials, so a change takes effect at once.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read_us = 0
        self._by_id: dict[str, Credential] = {}
        self._by_certificate: dict[str, Credential] = {}
        self._proven: dict[bytes, Credential] = {}  # what was checked since the last refresh, by its digest
        self._lock = threading.Lock()
        self._dummy_salt = secrets.token_bytes(16)
        self._dummy_hash = digest(secrets.token_urlsafe(32), self._dummy_salt)

    def refresh(self) -> None:
        """Read the credentials anew; one look after the other, so that the last to begin is the one that counts."""
        with self._lock:
            active = [credential for credential in list_all(self._store) if credential.active]
            self._by_id = {credential.credential_id: credential for credential in active}
            self._by_certificate = {
                credential.certificate: credential
                for credential in active
                if credential.certificate is not None and credential.hash is None
            }
            self._proven = {}
            self._read_us = self._store.clock.now_us()

    def is_stale(self) -> bool:
        """Tell whether `refresh` is due."""
        return abs(self._store.clock.now_us() - self._read_us) > CACHE_SECONDS * 1_000_000

    def is_known(self, credential_id: str) -> bool:
        """Tell whether there is an active credential of this id."""
        return credential_id in self._by_id

    def proven(self, credential_id: str, secret: str) -> Credential | None:
        """Return the credential of a secret that was found right since the last refresh; None tells nothing."""
        return None if self.is_stale() else self._proven.get(self._proof(credential_id, secret))

    def check_secret(
        self, credential_id: str, secret: str, certificate: Sequence[str | None] = ()
    ) -> Credential | None:
        """Return the credential when the secret is its own; takes as long for an id that there is not.

        `certificate` are fingerprint and subject of the client certificate that TLS has verified, of whom there is one.
        """
        proof = self._proof(credential_id, secret)
        proven, known = self._proven, self._proven.get(proof)
        if known is not None:  # a switch says the same with every push, and the check would let other threads in
            return known
        credential = self._by_id.get(credential_id)
        salt, expected = self._dummy_salt, self._dummy_hash
        if credential is not None and credential.salt is not None and credential.hash is not None:
            salt, expected = bytes.fromhex(credential.salt), bytes.fromhex(credential.hash)
        matches = hmac.compare_digest(digest(secret, salt), expected)
        if not matches or credential is None:
            return None
        if credential.certificate is not None:  # never remembered: the connection has to be looked at every time
            return credential if credential.certificate in certificate else None
        if len(proven) < _PROVEN_MAX:
            proven[proof] = credential
        return credential

    def _proof(self, credential_id: str, secret: str) -> bytes:
        claim = f"{credential_id}\0{secret}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(self._dummy_salt + claim).digest()

    def check_certificate(self, fingerprint: str, subject: str | None) -> Credential | None:
        """Return the credential of a client certificate that TLS has verified."""
        by_fingerprint = self._by_certificate.get(fingerprint)
        if by_fingerprint is not None:
            return by_fingerprint
        return None if subject is None else self._by_certificate.get(subject)
