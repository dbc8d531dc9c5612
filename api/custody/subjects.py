"""A person's request for access to the own records: filed by a data protection officer, confirmed by a custodian.

(1) A data protection officer has checked who asks, and files the request: reference, how the identity was checked, and
    the person's identifiers with the days on which the person held them; signed over the digest of all of it.
(2) A custodian, another person in another role, confirms; signed over the same digest.
(3) A data protection officer fetches the answer, within 30 days; each time is in the audit log before a record is read.

Neither of the two knows the targets of disclosures, and no step looks at a case: answers, refusals and the work for
them are the same whether or not an order names the person. The answer is made when it is fetched and kept nowhere; the
request is erased 30 days after its last step.

Source: Regulation (EU) 2016/679 Art 12(3), 12(6) and 15; the design's promise 7.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from api.custody import subject_records
from api.custody.subject_records import FIELDS_OF, Held
from api.disclosure.targets import normalise_target
from api.instants import parse_date
from api.people import persons
from api.people.custodians import acting, refuse_same
from api.people.persons import Approval, Person, parse_time_us
from api.people.roles import Role
from api.people.signing import digest_of
from schemas.errors import InputError, NotFoundError, ProcedureError
from schemas.retention import add_months
from store import AuditEntry, Put
from store.clock import to_date, to_text

if TYPE_CHECKING:
    from store import Document, Store

KIND: Final = "subject-request"
REQUEST, CONFIRM, ANSWERED, ERASED = "subject.request", "subject.confirm", "subject.answered", "subject.erased"
PENDING, CONFIRMED = "pending", "confirmed"
IDENTITY_CHECKS: Final = ("electronic-id", "identity-document", "in-person")
IDENTIFIERS_MAX: Final = 20
TEXT_CHARS_MAX: Final = 200
KEPT_DAYS: Final = 30
_DAY_US: Final = 86_400 * 1_000_000
_SHOWN: Final = ("state", "by", "time", "confirmed_by", "confirmed_at")


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked: `identifiers` as (kind, value, first day, day after the last or nothing); `country` of numbers."""

    reference: str
    identity_check: str
    country: str
    identifiers: tuple[tuple[str, str, str, str], ...]

    def __repr__(self) -> str:
        return f"Wish(identifiers={len(self.identifiers)})"

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        words = {name: getattr(self, name) for name in ("reference", "identity_check", "country")}
        return words | {"identifiers": [list(item) for item in self.identifiers]}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Wish:
        """Read what `as_dict` writes."""
        return cls(**{**body, "identifiers": tuple(tuple(item) for item in body["identifiers"])})

    def held(self) -> tuple[Held, ...]:
        """Return the identifiers as the store is searched by them.

        Raises:
            InputError, ProcedureError, ConfigurationError: one does not have its form.
        """
        return tuple(_held(*item, country=self.country) for item in self.identifiers)


def new_id() -> str:
    """Return the id of a new request."""
    return secrets.token_hex(8)


def digest(store_id: str, request_id: str, wish: Wish) -> str:
    """Return the digest that both sign."""
    return digest_of({"store": store_id, "subject_request": request_id, "wish": wish.as_dict()})


def listing(store: Store) -> list[dict[str, Any]]:
    """Return every request that is kept, without whom it is about."""
    return [_summary(document) for document in store.documents.list(KIND)]


def show(store: Store, request_id: str) -> dict[str, Any]:
    """Return one request, with all that a confirmer signs.

    Raises:
        NotFoundError: there is none, or it is erased.
    """
    document = _get(store, request_id)
    return {**_summary(document), "wish": document.body["wish"]}


def request(store: Store, dpo_id: str, request_id: str, wish: Wish, approval: Approval) -> dict[str, Any]:
    """Step (1).

    Raises:
        InputError, ProcedureError, ConfigurationError: the wish does not have its form, not a data protection officer,
            a wrong signature, or the id is taken (`stale`).
    """
    _check(wish)
    signed = digest(store.store_id, request_id, wish)
    person = persons.verify_approval(store, dpo_id, action=REQUEST, case=request_id, digest=signed, approval=approval)
    _require_dpo(person)
    body = {
        "wish": wish.as_dict(),
        "state": PENDING,
        "by": person.person_id,
        "key_id": person.key_id,
        "time": approval.time,
        "signature": approval.signature,
    }
    public = {"request": request_id, "by": person.person_id, "by_key_id": person.key_id}
    # The log outlives the request: it has what both signed, and not the identifiers.
    secret = {"reference": wish.reference, "identity_check": wish.identity_check, "digest": signed}
    entry = AuditEntry(REQUEST, public, {**secret, "signature": approval.signature})
    store.documents.commit([Put(KIND, request_id, body, expect=0)], [entry])
    return show(store, request_id)


def confirm(store: Store, custodian_id: str, request_id: str, approval: Approval) -> dict[str, Any]:
    """Step (2).

    Raises:
        NotFoundError: nothing is requested.
        ProcedureError: not a custodian, the same person or key, confirmed already, a wrong signature.
    """
    document = _get(store, request_id)
    body = document.body
    if body["state"] != PENDING:
        raise ProcedureError("the request is confirmed already", reason="state")
    signed = digest(store.store_id, request_id, Wish.from_dict(body["wish"]))
    custodian = acting(store, custodian_id, approval, action=CONFIRM, case=request_id, digest=signed)
    refuse_same(store, custodian, body, Role.DPO)
    after = {
        **body,
        "state": CONFIRMED,
        "confirmed_by": custodian.person_id,
        "confirmed_at": to_text(store.clock.now_us()),
        "signature_2": approval.signature,
    }
    public = {"request": request_id, "by": custodian.person_id, "by_key_id": custodian.key_id}
    entry = AuditEntry(CONFIRM, public, {"digest": signed, "signature": approval.signature})
    store.documents.commit([Put(KIND, request_id, after, expect=document.revision)], [entry])
    return show(store, request_id)


def answer(store: Store, dpo_id: str, request_id: str) -> dict[str, Any]:
    """Step (3): the person's own records, by end; the same octets from the same store.

    Raises:
        NotFoundError: there is no such request.
        ProcedureError: not a data protection officer, not confirmed, too late; see `subject_records.records_of`.
        AuditError: the entry could not be made durable; nothing was read.
    """
    body = _get(store, request_id).body
    person = persons.find_active(store, dpo_id)
    _require_dpo(person)
    if body["state"] != CONFIRMED:
        raise ProcedureError("a custodian has not confirmed the request", reason="state")
    if _over_us(body) <= store.clock.now_us():
        raise ProcedureError("the time for the answer is over", reason="over", hint="file the request again")
    held = Wish.from_dict(body["wish"]).held()
    public = {"request": request_id, "person": dpo_id, "key_id": person.key_id if person else ""}
    store.log(AuditEntry(ANSWERED, public))
    # (3) Nothing is read unless the entry is in the log.
    since, records = subject_records.records_of(store, held)
    return {
        "request": request_id,
        "reference": body["wish"]["reference"],
        "purpose": subject_records.CUSTOMER,
        "from": since.isoformat(),
        "identifiers": body["wish"]["identifiers"],
        "records": records,
    }


def erase_due(store: Store) -> list[str]:
    """Erase requests whose time is over; return their ids."""
    now_us = store.clock.now_us()
    over = [document for document in store.documents.list(KIND) if _over_us(document.body) <= now_us]
    for document in over:
        entry = AuditEntry(ERASED, {"request": document.id, "state": document.body["state"]})
        store.documents.commit([Put(KIND, document.id, None, expect=document.revision)], [entry])
    return [document.id for document in over]


def _summary(document: Document) -> dict[str, Any]:
    due = add_months(to_date(parse_time_us(document.body["time"])), 1)
    shown = {name: document.body.get(name) for name in _SHOWN}
    return {"request": document.id, **shown, "due_on": due.isoformat(), "kept_until": to_text(_over_us(document.body))}


def _over_us(body: dict[str, Any]) -> int:
    return parse_time_us(body.get("confirmed_at") or body["time"]) + KEPT_DAYS * _DAY_US


def _get(store: Store, request_id: str) -> Document:
    try:
        return store.documents.get(KIND, request_id)
    except NotFoundError as error:
        raise NotFoundError("there is no such request") from error


def _require_dpo(person: Person | None) -> None:
    if person is None or Role.DPO not in person.roles:
        raise ProcedureError("a data protection officer handles persons' requests", reason="role")


def _check(wish: Wish) -> None:
    for text in (wish.reference, wish.identity_check):
        if not text.strip() or len(text) > TEXT_CHARS_MAX or not text.isprintable():
            raise InputError(f"a reference is 1 to {TEXT_CHARS_MAX} printable characters")
    if wish.identity_check not in IDENTITY_CHECKS:
        raise InputError("the identity was checked by one of " + ", ".join(IDENTITY_CHECKS))
    if not 1 <= len(wish.identifiers) <= IDENTIFIERS_MAX:
        raise InputError(f"a request names 1 to {IDENTIFIERS_MAX} identifiers")
    wish.held()


def _held(kind: str, value: str, start: str, end: str, *, country: str) -> Held:
    if kind not in FIELDS_OF:
        raise ProcedureError("a person is found by " + ", ".join(FIELDS_OF), reason="target-kind")
    first, after = parse_date(start), _end(end)
    if after is not None and after <= first:
        raise InputError("the days are out of order")
    target = normalise_target(kind, value, country=country)
    return Held(kind, target.value, first, after)


def _end(text: str) -> date | None:
    return parse_date(text) if text else None


def identifiers_of(lines: Iterable[str]) -> tuple[tuple[str, str, str, str], ...]:
    """Return the identifiers of lines `kind,value,first day,day after the last or nothing`; empty lines are skipped.

    Raises:
        InputError: a line has another form; its position is told, not its words.
    """
    found = []
    for position, line in enumerate(lines, start=1):
        words = [word.strip() for word in line.split(",")]
        if words == [""]:
            continue
        if len(words) != 4:
            raise InputError("a line is kind,value,from,to", position=position)
        found.append((words[0], words[1], words[2], words[3]))
    return tuple(found)
