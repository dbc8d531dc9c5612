"""Authorities that may order disclosures: the register, and what an order may rely on.

An authority is a document of the store. Its id stands in the audit log in the clear and names an office, never a
person. An order names a registered authority, and its officer belongs to that authority and to no other. Deliveries are
encrypted to its certificate; call-backs go to the number that is here, never to one that a caller gives.

How an authority comes, changes and goes is in `api.people.authority_register`: two custodians each time.

Source: the design's promise 7; ETSI TS 103 120 clause 6 (endpoints and their countries); ETSI TS 102 657 clause 6.1.2
(`countryCode`, `authorisedOrganisationID`); RFC 5280.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from api.people.authority_endpoint import check_endpoint
from api.people.signing import decode_public_key, digest_of
from schemas.errors import ConfigurationError, NotFoundError, ProcedureError
from store import Document

if TYPE_CHECKING:
    from api.people.persons import Person
    from store import Store

KIND: Final = "authority"
PENDING, ACTIVE, REVOKED = "pending", "active", "revoked"
RSA_BITS_MIN: Final = 3072
RSA_BITS_MAX: Final = 8192
CERTIFICATE_CHARS_MAX: Final = 16_384
FINGERPRINTS_MAX: Final = 20
NAME_CHARS_MAX: Final = 200
_ID: Final = re.compile(r"[a-z][a-z0-9-]{1,39}")
_COUNTRY: Final = re.compile(r"[A-Z]{2}")
_ORGANISATION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_CALL_BACK: Final = re.compile(r"\+[1-9][0-9]{6,14}")


class AuthorityKind(StrEnum):
    """What kind of authority it is."""

    LAW_ENFORCEMENT = "law-enforcement"
    PROSECUTOR = "prosecutor"
    SECURITY_SERVICE = "security-service"
    EMERGENCY_SERVICE = "emergency-service"
    COURT = "court"
    SUPERVISORY = "supervisory"
    RIGHTS_HOLDER = "rights-holder"  # party to a court's copyright information order


class Format(StrEnum):
    """A form in which an authority takes deliveries; the first one of its list is what it prefers."""

    NDJSON = "ndjson"
    CSV = "csv"
    TS_102_657 = "ts-102657"
    TS_103_120 = "ts-103120"


@dataclass(frozen=True, slots=True)
class Terms:
    """What is registered of an authority.

    `organisation` is TS 102 657's `authorisedOrganisationID`; `fingerprints` are SHA-256 (hex) of the client
    certificates of its systems; `signing_key` is Ed25519 in base64; `certificate` is the X.509 certificate to which
    deliveries are encrypted (DER, base64); `call_back` is E.164 with `+`; `endpoint` and its certificates are where
    deliveries are pushed (`api.people.authority_endpoint`).
    In force in [`from_us`, `until_us`), UTC microseconds.
    """

    authority_id: str
    name: str
    country: str
    organisation: str
    kind: AuthorityKind
    certificate: str
    call_back: str
    formats: tuple[Format, ...]
    from_us: int
    until_us: int | None = None
    fingerprints: tuple[str, ...] = ()
    signing_key: str | None = None
    endpoint: str | None = None
    endpoint_ca: str | None = None
    endpoint_client: str | None = None

    def to_body(self) -> dict[str, Any]:
        """Return the terms as JSON; the id is the document's."""
        return {
            "name": self.name,
            "country": self.country,
            "organisation": self.organisation,
            "kind": self.kind.value,
            "certificate": self.certificate,
            "call_back": self.call_back,
            "formats": [item.value for item in self.formats],
            "from_us": self.from_us,
            "until_us": self.until_us,
            "fingerprints": list(self.fingerprints),
            "signing_key": self.signing_key,
            "endpoint": self.endpoint,
            "endpoint_ca": self.endpoint_ca,
            "endpoint_client": self.endpoint_client,
        }

    def digest(self, store_id: str) -> str:
        """Return the digest that both custodians sign; it binds the store too."""
        return digest_of({"store": store_id, "authority": self.authority_id, **self.to_body()})


@dataclass(frozen=True, slots=True)
class Authority:
    """One authority, as stored; `pending` is what waits for a second custodian, with the terms that it would bring."""

    terms: Terms
    state: str
    registered: dict[str, Any]
    pending: dict[str, Any] | None = None
    revoked: dict[str, Any] | None = None
    revision: int = field(default=0, compare=False)

    @property
    def authority_id(self) -> str:
        """The id, as orders and officers name it."""
        return self.terms.authority_id

    @property
    def is_active(self) -> bool:
        """Whether two custodians have registered it and none have revoked it."""
        return self.state == ACTIVE

    def in_force(self, now_us: int) -> bool:
        """Tell whether it may order anything at `now_us`."""
        until_us = self.terms.until_us
        return self.is_active and self.terms.from_us <= now_us and (until_us is None or now_us < until_us)

    def pending_terms(self) -> Terms:
        """Return what waits for a second custodian: the new terms, or those that stand."""
        if self.pending is not None and "terms" in self.pending:
            return terms_of(self.authority_id, self.pending["terms"])
        return self.terms

    def to_body(self) -> dict[str, Any]:
        """Return the document's body."""
        return {
            "terms": self.terms.to_body(),
            "state": self.state,
            "registered": self.registered,
            "pending": self.pending,
            "revoked": self.revoked,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return what custodians see; a confirmer signs `terms_pending`."""
        waits = None
        if self.pending is not None:
            waits = {name: self.pending[name] for name in ("action", "by", "time", "reason") if name in self.pending}
        changes = self.pending is not None and "terms" in self.pending
        return {
            "id": self.authority_id,
            "state": self.state,
            **self.terms.to_body(),
            "pending": waits,
            "terms_pending": self.pending_terms().to_body() if changes else None,
        }


def terms_of(authority_id: str, body: dict[str, Any]) -> Terms:
    """Return the terms of a stored body."""
    return Terms(
        authority_id=authority_id,
        name=body["name"],
        country=body["country"],
        organisation=body["organisation"],
        kind=AuthorityKind(body["kind"]),
        certificate=body["certificate"],
        call_back=body["call_back"],
        formats=tuple(Format(name) for name in body["formats"]),
        from_us=body["from_us"],
        until_us=body["until_us"],
        fingerprints=tuple(body["fingerprints"]),
        signing_key=body["signing_key"],
        endpoint=body["endpoint"],
        endpoint_ca=body["endpoint_ca"],
        endpoint_client=body["endpoint_client"],
    )


def from_document(document: Document) -> Authority:
    """Return the authority of a stored document."""
    body = document.body
    return Authority(
        terms=terms_of(document.id, body["terms"]),
        state=body["state"],
        registered=body["registered"],
        pending=body["pending"],
        revoked=body["revoked"],
        revision=document.revision,
    )


def get(store: Store, authority_id: str) -> Authority:
    """Return an authority, whatever its state.

    Raises:
        NotFoundError: there is none of this id.
    """
    if not _ID.fullmatch(authority_id):
        raise NotFoundError("there is no such authority")
    return from_document(store.documents.get(KIND, authority_id))


def find(store: Store, authority_id: str) -> Authority | None:
    """Return an authority, whatever its state; None when there is none."""
    try:
        return get(store, authority_id)
    except NotFoundError:
        return None


def list_all(store: Store) -> list[Authority]:
    """Return every authority, the revoked included, by id."""
    return sorted((from_document(item) for item in store.documents.list(KIND)), key=lambda a: a.authority_id)


def require(store: Store, authority_id: str, now_us: int) -> Authority:
    """Return the authority that is registered and in force at `now_us`.

    Raises:
        ProcedureError: there is none, it is not confirmed, it is revoked, or its time is over or has not come
            (reason `authority`; one answer for all, so that nobody learns the register by asking).
    """
    authority = find(store, authority_id)
    if authority is None or not authority.in_force(now_us):
        raise ProcedureError(
            "no authority of this name is registered and in force",
            reason="authority",
            hint="two custodians register it: lagrum authority add",
        )
    return authority


def require_officer(store: Store, officer: Person, authority_id: str, now_us: int) -> Authority:
    """Return the authority that is in force and to which `officer` belongs.

    Raises:
        ProcedureError: the officer belongs to another one or to none, or as `require` (reason `authority`).
    """
    if officer.authority != authority_id:
        raise ProcedureError("the officer does not belong to this authority", reason="authority")
    return require(store, authority_id, now_us)


def encryption_certificate(authority: Authority, now_us: int) -> x509.Certificate:
    """Return the certificate to which deliveries are encrypted.

    Raises:
        ProcedureError: it is not valid at `now_us` (reason `certificate-expired`).
    """
    certificate = x509.load_der_x509_certificate(b64decode(authority.terms.certificate))
    if not _is_valid(certificate, now_us):
        raise ProcedureError(
            "the authority's certificate is not valid any more",
            reason="certificate-expired",
            hint="two custodians register a new one: lagrum authority add",
        )
    return certificate


def parse_certificate(text: str, now_us: int) -> str:
    """Return the DER (base64) of a PEM or base64 certificate that deliveries can be encrypted to.

    Raises:
        ConfigurationError: no certificate, no RSA key of 3072 to 8192 bits, not for encryption, or not valid now.
    """
    if len(text) > CERTIFICATE_CHARS_MAX:
        raise ConfigurationError(f"a certificate has at most {CERTIFICATE_CHARS_MAX} characters")
    try:
        if "-----BEGIN" in text:
            certificate = x509.load_pem_x509_certificate(text.encode("ascii"))
        else:
            certificate = x509.load_der_x509_certificate(b64decode(text, validate=True))
        key = certificate.public_key()
    except Exception:  # the parser raises many kinds
        raise ConfigurationError("this is not an X.509 certificate in PEM or base64") from None
    if not isinstance(key, RSAPublicKey) or not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        raise ConfigurationError(f"the certificate's key is RSA of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and not usage.key_encipherment:
        raise ConfigurationError("the certificate's key usage does not allow encipherment of keys")
    if not _is_valid(certificate, now_us):
        raise ConfigurationError("the certificate is not valid now")
    return b64encode(certificate.public_bytes(Encoding.DER)).decode("ascii")


def check_terms(terms: Terms, now_us: int) -> Terms:
    """Return the terms in the form in which they are signed and stored.

    Raises:
        ConfigurationError, InputError: a field does not have its form.
    """
    checks = (
        (bool(_ID.fullmatch(terms.authority_id)), "an authority's id is 2 to 40 of a-z, 0-9 and '-'"),
        (
            0 < len(terms.name.strip()) <= NAME_CHARS_MAX and terms.name.isprintable(),
            f"a name is 1 to {NAME_CHARS_MAX} printable characters",
        ),
        (bool(_COUNTRY.fullmatch(terms.country)), "a country is two capital letters of ISO 3166"),
        (
            bool(_ORGANISATION.fullmatch(terms.organisation)),
            "an organisation id is 1 to 64 letters, digits, '.', '_' and '-'",
        ),
        (bool(_CALL_BACK.fullmatch(terms.call_back)), "a call-back number is E.164 with its '+'"),
        (
            bool(terms.formats) and len(set(terms.formats)) == len(terms.formats),
            "an authority takes at least one format, each named once",
        ),
        (terms.until_us is None or terms.from_us < terms.until_us, "an authority's time begins before it ends"),
        (
            bool(terms.fingerprints) or terms.signing_key is not None,
            "an authority has a client certificate or a signing key",
        ),
        (
            len(terms.fingerprints) <= FINGERPRINTS_MAX
            and len(set(terms.fingerprints)) == len(terms.fingerprints)
            and all(_FINGERPRINT.fullmatch(item) for item in terms.fingerprints),
            f"fingerprints are at most {FINGERPRINTS_MAX} SHA-256 of client certificates, 64 hex digits in lower case",
        ),
    )
    for holds, what in checks:
        if not holds:
            raise ConfigurationError(what)
    if terms.signing_key is not None:
        decode_public_key(terms.signing_key)
    certificate = parse_certificate(terms.certificate, now_us)
    ca, client = check_endpoint(terms.endpoint, terms.endpoint_ca, terms.endpoint_client)
    checked = {"certificate": certificate, "endpoint_ca": ca, "endpoint_client": client}
    return terms_of(terms.authority_id, terms.to_body() | checked)


def _is_valid(certificate: x509.Certificate, now_us: int) -> bool:
    now = datetime.fromtimestamp(now_us // 1_000_000, tz=UTC)
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc
