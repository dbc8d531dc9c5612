"""Persons: who they are, what they may, and what they signed.

A person is a document of the store. An id is a service number or a pseudonym, not a name: it stands in the audit log
in the clear. How a person comes and goes is in `api.people.enrolment`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from api.people import authorities
from api.people.roles import Role, check_roles, parse_roles
from api.people.signing import Statement, decode_public_key, digest_of, key_id, verify
from schemas.errors import ConfigurationError, InputError, NotFoundError, ProcedureError
from store import Document

if TYPE_CHECKING:
    from store import Store

KIND: Final = "person"
NAME_CHARS_MAX: Final = 200
STATEMENT_AGE_SECONDS_MAX: Final = 300
_ID: Final = re.compile(r"[a-z][a-z0-9-]{1,39}")
_TIME: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z")
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

PENDING, ACTIVE, REVOKED = "pending", "active", "revoked"


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's signature under a statement, as it is sent: `time` RFC 3339 with Z, `signature` base64."""

    time: str
    signature: str


@dataclass(frozen=True, slots=True)
class Enrolment:
    """Who is to be enrolled; `public_key` in base64, `authority` an officer's registered authority."""

    person_id: str
    display_name: str
    roles: tuple[str, ...]
    public_key: str
    tenant: str | None = None
    authority: str | None = None

    def digest(self, store_id: str) -> str:
        """Return the digest that both custodians sign; it binds the store too."""
        return digest_of(
            {
                "store": store_id,
                "person": self.person_id,
                "display_name": self.display_name,
                "roles": sorted(self.roles),
                "public_key": self.public_key,
                "tenant": self.tenant,
                "authority": self.authority,
            }
        )


@dataclass(frozen=True, slots=True)
class Person:
    """One person, as stored; `pending` is what waits for a second custodian."""

    person_id: str
    display_name: str
    roles: frozenset[Role]
    public_key: str
    tenant: str | None
    state: str
    enrolled: dict[str, Any]
    pending: dict[str, Any] | None = None
    revoked: dict[str, Any] | None = None
    revision: int = field(default=0, compare=False)
    authority: str | None = None

    @property
    def public_bytes(self) -> bytes:
        """The public key, 32 bytes."""
        return decode_public_key(self.public_key)

    @property
    def key_id(self) -> str:
        """The short name of the public key."""
        return key_id(self.public_bytes)

    @property
    def is_active(self) -> bool:
        """Whether the person may act."""
        return self.state == ACTIVE

    def enrolment(self) -> Enrolment:
        """Return what was enrolled."""
        roles = tuple(sorted(role.value for role in self.roles))
        return Enrolment(self.person_id, self.display_name, roles, self.public_key, self.tenant, self.authority)

    def to_body(self) -> dict[str, Any]:
        """Return the document's body."""
        return {
            "display_name": self.display_name,
            "roles": sorted(role.value for role in self.roles),
            "public_key": self.public_key,
            "tenant": self.tenant,
            "authority": self.authority,
            "state": self.state,
            "enrolled": self.enrolled,
            "pending": self.pending,
            "revoked": self.revoked,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return what custodians see."""
        return {
            "id": self.person_id,
            "display_name": self.display_name,
            "roles": sorted(role.value for role in self.roles),
            "tenant": self.tenant,
            "authority": self.authority,
            "state": self.state,
            "public_key": self.public_key,
            "key_id": self.key_id,
            "pending": None
            if self.pending is None
            else {name: self.pending[name] for name in ("action", "by", "time")},
        }


def from_document(document: Document) -> Person:
    """Return the person of a stored document."""
    body = document.body
    return Person(
        person_id=document.id,
        display_name=body["display_name"],
        roles=parse_roles(body["roles"]),
        public_key=body["public_key"],
        tenant=body["tenant"],
        authority=body.get("authority"),
        state=body["state"],
        enrolled=body["enrolled"],
        pending=body["pending"],
        revoked=body["revoked"],
        revision=document.revision,
    )


def get(store: Store, person_id: str) -> Person:
    """Return a person.

    Raises:
        NotFoundError: there is none of this id.
    """
    if not _ID.fullmatch(person_id):
        raise NotFoundError("there is no such person")
    return from_document(store.documents.get(KIND, person_id))


def exists(store: Store, person_id: str) -> bool:
    """Tell whether there is a person of this id, whatever the state; takes as long for one that there is not."""
    return bool(store.catalog.query("SELECT 1 FROM documents WHERE kind = ? AND id = ?", (KIND, person_id)))


def any_id(store: Store) -> str:
    """Return the id of somebody; a store always has its custodians."""
    rows = store.catalog.query("SELECT id FROM documents WHERE kind = ? ORDER BY id LIMIT 1", (KIND,))
    return str(rows[0][0])


def find_active(store: Store, person_id: str) -> Person | None:
    """Return the person if he may act."""
    try:
        person = get(store, person_id)
    except NotFoundError:
        return None
    return person if may_act(store, person) else None


def may_act(store: Store, person: Person) -> bool:
    """Tell whether a person is active; an officer's authority has to be in force, too."""
    if not person.is_active:
        return False
    if person.authority is None:
        return True
    authority = authorities.find(store, person.authority)
    return authority is not None and authority.in_force(store.clock.now_us())


def list_all(store: Store) -> list[Person]:
    """Return every person, the revoked included, by id."""
    return sorted((from_document(document) for document in store.documents.list(KIND)), key=lambda p: p.person_id)


def verify_approval(store: Store, person_id: str, *, action: str, case: str, digest: str, approval: Approval) -> Person:
    """Return the active person who signed exactly this, just now.

    Raises:
        ProcedureError: not an active person, not this person's signature, or signed too long ago or in the future.
    """
    person = find_active(store, person_id)
    statement = Statement(action=action, case=case, digest=digest, time=approval.time)
    if person is None or not verify(person.public_bytes, statement.to_bytes(), approval.signature):
        raise ProcedureError("the signature is not this person's under this statement", reason="signature")
    if abs(store.clock.now_us() - parse_time_us(approval.time)) > STATEMENT_AGE_SECONDS_MAX * 1_000_000:
        raise ProcedureError(
            f"the statement was not signed within the last {STATEMENT_AGE_SECONDS_MAX} seconds",
            reason="signature",
            hint="compare the clocks of the two machines",
        )
    return person


def parse_time_us(text: str) -> int:
    """Return UTC microseconds of RFC 3339 with Z.

    Raises:
        InputError: the text is something else.
    """
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        moment = datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)
    except ValueError:
        raise InputError("a statement's time is RFC 3339 with Z") from None
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def new_person(enrolment: Enrolment) -> Person:
    """Return the person that an enrolment describes, pending.

    Raises:
        ConfigurationError, InputError: a field does not have its form.
        ProcedureError: the roles exclude each other.
    """
    if not _ID.fullmatch(enrolment.person_id):
        raise ConfigurationError(
            "a person's id is 2 to 40 of a-z, 0-9 and '-', beginning with a letter",
            hint="take a service number, not a name: ids stand in the audit log in the clear",
        )
    name = enrolment.display_name
    if not name.strip() or len(name) > NAME_CHARS_MAX or not name.isprintable():
        raise ConfigurationError(f"a display name is 1 to {NAME_CHARS_MAX} printable characters")
    if enrolment.tenant is not None and not _TENANT.fullmatch(enrolment.tenant):
        raise ConfigurationError("a tenant is 1 to 64 letters, digits, '.', '_' and '-'")
    roles = parse_roles(enrolment.roles)
    check_roles(roles, tenant=enrolment.tenant)
    if (Role.OFFICER in roles) != (enrolment.authority is not None):
        raise ProcedureError("an officer, and nobody else, belongs to an authority", reason="authority")
    decode_public_key(enrolment.public_key)
    return Person(
        enrolment.person_id,
        name,
        roles,
        enrolment.public_key,
        enrolment.tenant,
        PENDING,
        {},
        authority=enrolment.authority,
    )
