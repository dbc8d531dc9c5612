"""How persons come and go: every change takes two custodians.

(1) A custodian requests an enrolment: id, display name, roles, public key; signed over the digest of all of it.
(2) The roles fit one person (`api.people.roles`), the id is new, the public key was never anybody's, and an officer
    belongs to one registered authority in force (`api.people.authorities`).
(3) Another custodian, another person with another key, confirms; signed over the same digest.
(4) A revocation takes the same two steps; at least two active custodians stay.
(5) Any one custodian may withdraw what is only requested.
(6) Every step is one transaction of the document and its audit entry; the entry's public part names ids, never names.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from api.people import authorities, persons
from api.people.custodians import act, acting, refuse_same, requested_of
from api.people.persons import ACTIVE, KIND, PENDING, REVOKED, Approval, Enrolment, Person
from api.people.roles import Role, check_roles
from api.people.signing import digest_of
from schemas.errors import NotFoundError, ProcedureError
from store import AuditEntry, Put
from store.clock import to_text

if TYPE_CHECKING:
    from store import Store

KEY_KIND: Final = "person-key"
"""One document per public key that was ever enrolled: it makes keys unique within one transaction."""

CUSTODIANS_MIN: Final = 2
ENROL_REQUEST: Final = "person.enrol.request"
ENROL_CONFIRM: Final = "person.enrol.confirm"
REVOKE_REQUEST: Final = "person.revoke.request"
REVOKE_CONFIRM: Final = "person.revoke.confirm"
WITHDRAW: Final = "person.withdraw"

_LAST_CUSTODIANS: Final = threading.Lock()
"""Two revocations at once must not each count the other's custodian as staying."""


def request_enrolment(store: Store, custodian_id: str, enrolment: Enrolment, approval: Approval) -> Person:
    """Steps (1) and (2): put a person down as pending.

    Raises:
        ProcedureError: roles that exclude each other, an id or a key that is or was somebody's, a wrong signature.
        ConfigurationError, InputError: a field does not have its form.
    """
    person = persons.new_person(enrolment)
    digest = person.enrolment().digest(store.store_id)
    custodian = acting(store, custodian_id, approval, action=ENROL_REQUEST, case=person.person_id, digest=digest)
    pending = act(ENROL_REQUEST, custodian, approval, digest=digest)
    person = replace(person, state=PENDING, pending=pending)
    puts = [
        Put(KIND, person.person_id, person.to_body(), expect=0),
        Put(KEY_KIND, person.key_id, {"person": person.person_id}, expect=0),
    ]
    _refuse_taken(store, person)
    _require_authority(store, person)
    _commit(store, puts, _entry(ENROL_REQUEST, person, custodian, pending))
    return persons.get(store, person.person_id)


def confirm_enrolment(store: Store, custodian_id: str, person_id: str, approval: Approval) -> Person:
    """Step (3): another custodian makes the person active.

    Raises:
        ProcedureError: nothing is requested, the same custodian or the same key again, a wrong signature.
    """
    person = persons.get(store, person_id)
    requested = requested_of(person.pending, ENROL_REQUEST)
    digest = person.enrolment().digest(store.store_id)
    custodian = acting(store, custodian_id, approval, action=ENROL_CONFIRM, case=person_id, digest=digest)
    refuse_same(store, custodian, requested)
    check_roles(person.roles, tenant=person.tenant)
    _require_authority(store, person)
    confirmed = act(ENROL_CONFIRM, custodian, approval, digest=digest)
    after = replace(person, state=ACTIVE, pending=None, enrolled={"requested": requested, "confirmed": confirmed})
    _commit(store, [_put(after)], _entry(ENROL_CONFIRM, after, custodian, confirmed, requested))
    return persons.get(store, person_id)


def revocation_digest(store_id: str, person_id: str, reason: str) -> str:
    """Return the digest that both custodians sign to revoke a person."""
    return digest_of({"store": store_id, "person": person_id, "reason": reason})


def request_revocation(store: Store, custodian_id: str, person_id: str, reason: str, approval: Approval) -> Person:
    """Step (4), first half; the person stays active until it is confirmed.

    Raises:
        ProcedureError: the person is not active, something is pending, too few custodians stay, a wrong signature.
    """
    person = persons.get(store, person_id)
    if not person.is_active or person.pending is not None:
        raise ProcedureError("only an active person with nothing pending can be revoked", reason="state")
    _refuse_last_custodians(store, person)
    digest = revocation_digest(store.store_id, person_id, reason)
    custodian = acting(store, custodian_id, approval, action=REVOKE_REQUEST, case=person_id, digest=digest)
    if custodian.person_id == person_id:
        raise ProcedureError("nobody revokes himself", reason="same-person")
    pending = act(REVOKE_REQUEST, custodian, approval, digest=digest, reason=reason)
    _commit(store, [_put(replace(person, pending=pending))], _entry(REVOKE_REQUEST, person, custodian, pending))
    return persons.get(store, person_id)


def confirm_revocation(store: Store, custodian_id: str, person_id: str, approval: Approval) -> Person:
    """Step (4), second half; the caller ends the person's sessions.

    Raises:
        ProcedureError: nothing is requested, the same custodian or key, too few custodians stay, a wrong signature.
    """
    person = persons.get(store, person_id)
    requested = requested_of(person.pending, REVOKE_REQUEST)
    digest = revocation_digest(store.store_id, person_id, requested["reason"])
    custodian = acting(store, custodian_id, approval, action=REVOKE_CONFIRM, case=person_id, digest=digest)
    refuse_same(store, custodian, requested)
    if custodian.person_id == person_id:
        raise ProcedureError("nobody revokes himself", reason="same-person")
    confirmed = act(REVOKE_CONFIRM, custodian, approval, digest=digest)
    after = replace(person, state=REVOKED, pending=None, revoked={"requested": requested, "confirmed": confirmed})
    with _LAST_CUSTODIANS:
        _refuse_last_custodians(store, person)
        _commit(store, [_put(after)], _entry(REVOKE_CONFIRM, after, custodian, confirmed, requested))
    return persons.get(store, person_id)


def withdraw_digest(store_id: str, person_id: str, pending: dict[str, Any]) -> str:
    """Return the digest that a custodian signs to withdraw what is pending."""
    return digest_of({"store": store_id, "person": person_id, "action": pending["action"], "time": pending["time"]})


def withdraw(store: Store, custodian_id: str, person_id: str, approval: Approval) -> Person:
    """Step (5): a pending enrolment ends as revoked (its id and key stay used), a pending revocation is dropped.

    Raises:
        ProcedureError: nothing is pending, or a wrong signature.
    """
    person = persons.get(store, person_id)
    if person.pending is None:
        raise ProcedureError("nothing is pending for this person", reason="state")
    digest = withdraw_digest(store.store_id, person_id, person.pending)
    custodian = acting(store, custodian_id, approval, action=WITHDRAW, case=person_id, digest=digest)
    withdrawn = act(WITHDRAW, custodian, approval, digest=digest)
    state = REVOKED if person.state == PENDING else person.state
    after = replace(person, state=state, pending=None)
    _commit(store, [_put(after)], _entry(WITHDRAW, after, custodian, withdrawn, person.pending))
    return persons.get(store, person_id)


def _refuse_taken(store: Store, person: Person) -> None:
    """Say in words what the transaction's expectations would refuse as stale."""
    for kind, name, what in ((KIND, person.person_id, "id"), (KEY_KIND, person.key_id, "public key")):
        try:
            store.documents.get(kind, name)
        except NotFoundError:
            continue
        raise ProcedureError(f"this {what} is, or was, another person's", reason=f"{what.replace(' ', '-')}-taken")


def _require_authority(store: Store, person: Person) -> None:
    if person.authority is not None:
        authorities.require(store, person.authority, store.clock.now_us())


def _refuse_last_custodians(store: Store, person: Person) -> None:
    if Role.CUSTODIAN not in person.roles:
        return
    active = sum(1 for other in persons.list_all(store) if other.is_active and Role.CUSTODIAN in other.roles)
    if active <= CUSTODIANS_MIN:
        raise ProcedureError(
            "two active custodians have to stay", reason="last-custodians", hint="enrol another custodian first"
        )


def _put(person: Person) -> Put:
    return Put(KIND, person.person_id, person.to_body(), expect=person.revision)


def _entry(
    action: str, person: Person, custodian: Person, done: dict[str, Any], requested: dict[str, Any] | None = None
) -> AuditEntry:
    public: dict[str, Any] = {
        "person": person.person_id,
        "roles": sorted(role.value for role in person.roles),
        "key_id": person.key_id,
        "authority": person.authority,
        "by": custodian.person_id,
        "by_key_id": custodian.key_id,
    }
    if requested is not None:
        public["requested_by"] = requested["by"]
    # The digests under the signatures cover the display name, so they could be guessed back: auditors only.
    secret = {"enrolment": person.to_body() | {"pending": None}, "act": done, "requested": requested}
    return AuditEntry(kind=action, public=public, secret=secret)


def _commit(store: Store, puts: Sequence[Put], entry: AuditEntry) -> None:
    store.documents.commit(puts, [entry])


def create_first(store: Store, enrolments: Sequence[Enrolment]) -> list[Person]:
    """Enrol the first custodians of a new store; nobody is there yet who could sign for them.

    Raises:
        ProcedureError: there are persons already, or these are not two custodians with two keys.
    """
    if store.documents.list(KIND):
        raise ProcedureError("the store has persons already", reason="state")
    people = [persons.new_person(enrolment) for enrolment in enrolments]
    keys = {person.key_id for person in people}
    if len(keys) < CUSTODIANS_MIN or any(person.roles != {Role.CUSTODIAN} for person in people):
        raise ProcedureError("a store begins with two custodians of two keys", reason="custodians")
    time = to_text(store.clock.now_us())
    puts, entries = [], []
    for person in people:
        first = replace(person, state=ACTIVE, enrolled={"action": "person.first", "time": time})
        puts.append(Put(KIND, first.person_id, first.to_body(), expect=0))
        puts.append(Put(KEY_KIND, first.key_id, {"person": first.person_id}, expect=0))
        public = {"person": first.person_id, "roles": [Role.CUSTODIAN.value], "key_id": first.key_id}
        entries.append(AuditEntry(kind="person.first", public=public, secret={"enrolment": first.to_body()}))
    store.documents.commit(puts, entries)
    return [persons.get(store, person.person_id) for person in people]
