"""How records are held beyond their partition's end: two custodians, one requesting and the other confirming.

(1) A custodian requests to add, renew or release a hold; signed over the digest of store, hold, act and its words.
(2) Another custodian, another person with another key, confirms; signed over the same digest.
(3) The store holds, holds longer, or destroys what it held. Each step is in the audit log before it counts.

A hold has a basis of `schemas.holds`, a reference, a window, and either accounts (billing) or targets (preservation).
The service looks up which identifiers belonged to an account, and when, as it is placed. Nothing happens to a record
before its partition's end; then what the hold names moves out (`store.retention.holds`). What nobody renews ends by
itself.

Source: the design's promises 5 and 7; the provisions that each basis cites.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from api.billing import subscriptions
from api.disclosure.targets import normalise_target, require_networks
from api.instants import midnight_us, parse_date
from api.people.custodians import acting, refuse_same
from api.people.persons import Approval, Person
from api.people.signing import digest_of
from schemas.errors import InputError, NotFoundError, ProcedureError
from schemas.holds import TARGETS_MAX, Purpose, hold_basis
from store import AuditEntry, Put
from store.clock import to_date
from store.retention import commitments
from store.retention.hold import ACTIVE, ENDED, Hold
from store.retention.holds import KIND

if TYPE_CHECKING:
    from store import Store

ACT: Final = "hold-act"
REQUEST: Final = "hold.request"
CONFIRM: Final = commitments.CONFIRMED
ADD, RENEW, RELEASE = "add", "renew", "release"
TEXT_CHARS_MAX: Final = 200
_SHOWN: Final = ("basis", "reference", "owner", "ends", "start", "end", "state", "renewals")


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be done to a hold.

    act: `add`, `renew` or `release`. add: basis, reference, owner (who answers for it), ends (date), start and end of
    the window (dates, half-open), accounts or targets ({"kind", "value"} as orders write them, with the country).
    renew: ends. release: reason.
    """

    act: str
    basis: str = ""
    reference: str = ""
    owner: str = ""
    ends: str = ""
    start: str = ""
    end: str = ""
    country: str = ""
    accounts: tuple[str, ...] = ()
    targets: tuple[tuple[str, str], ...] = ()
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        words = {name: getattr(self, name) for name in self.__slots__}
        return words | {"accounts": list(self.accounts), "targets": [list(item) for item in self.targets]}

    @classmethod
    def from_dict(cls, body: dict[str, Any]) -> Wish:
        """Read what `as_dict` writes."""
        targets = tuple((str(kind), str(value)) for kind, value in body["targets"])
        return cls(**{**body, "accounts": tuple(body["accounts"]), "targets": targets})


def new_id() -> str:
    """Return the id of a new hold."""
    return secrets.token_hex(8)


def digest(store_id: str, hold_id: str, wish: Wish) -> str:
    """Return the digest that both custodians sign."""
    return digest_of({"store": store_id, "hold": hold_id, "wish": wish.as_dict()})


def listing(store: Store) -> dict[str, Any]:
    """Return every hold without whom it names, what waits for a second custodian, and the share of the store held."""
    report = store.holds.report()
    today = to_date(store.clock.now_us())
    holds = []
    for document in store.documents.list(KIND):
        body = document.body
        basis = hold_basis(body["basis"])
        left = (date.fromisoformat(body["ends"]) - today).days
        holds.append(
            {
                "hold": document.id,
                **{name: body.get(name) for name in _SHOWN},
                "purpose": basis.purpose.value,
                "citation": basis.citation,
                "days_left": left,
                "ends_soon": body["state"] == ACTIVE and left <= basis.warning_days,
                **report["held"].get(document.id, {"partitions": 0, "records": 0, "bytes": 0}),
            }
        )
    waiting = [
        {"hold": item.id, "act": item.body["wish"]["act"], "by": item.body["by"], "time": item.body["time"]}
        for item in store.documents.list(ACT)
    ]
    return {
        "holds": holds,
        "waiting": waiting,
        **{name: report[name] for name in ("records_held", "records_stored", "share")},
    }


def show(store: Store, hold_id: str) -> dict[str, Any]:
    """Return what is requested for a hold, with all that a confirmer signs.

    Raises:
        NotFoundError: nothing is.
    """
    try:
        body = store.documents.get(ACT, hold_id).body
    except NotFoundError as error:
        raise NotFoundError("nothing is requested for this hold") from error
    return {"hold": hold_id, **{name: body[name] for name in ("wish", "by", "time")}}


def request(store: Store, custodian_id: str, hold_id: str, wish: Wish, approval: Approval) -> dict[str, Any]:
    """Step (1).

    Raises:
        NotFoundError: there is no such hold to renew or release.
        InputError, ProcedureError, ConfigurationError: the wish cannot be: basis, term, window, accounts, targets.
        ProcedureError: something is requested already, not a custodian, a wrong signature.
    """
    _made(store, hold_id, wish)
    custodian = _custodian(store, custodian_id, hold_id, wish, approval, REQUEST)
    body = {
        "wish": wish.as_dict(),
        "by": custodian.person_id,
        "key_id": custodian.key_id,
        "time": approval.time,
        "signature": approval.signature,
    }
    public = {"hold": hold_id, "act": wish.act, "by": custodian.person_id, "by_key_id": custodian.key_id}
    store.documents.commit([Put(ACT, hold_id, body, expect=0)], [AuditEntry(REQUEST, public, {"request": body})])
    return show(store, hold_id)


def confirm(store: Store, custodian_id: str, hold_id: str, approval: Approval) -> dict[str, Any]:
    """Steps (2) and (3).

    Raises:
        NotFoundError: nothing is requested.
        ProcedureError: the same custodian or key again, a wrong signature, or the wish cannot be any more.
    """
    show(store, hold_id)
    document = store.documents.get(ACT, hold_id)
    requested = document.body
    wish = Wish.from_dict(requested["wish"])
    custodian = _custodian(store, custodian_id, hold_id, wish, approval, CONFIRM)
    refuse_same(store, custodian, requested)
    made = _made(store, hold_id, wish)
    actors = sorted((requested["by"], custodian.person_id))
    public = {"hold": hold_id, "act": wish.act, "basis": wish.basis, "ends": wish.ends, "actors": actors}
    secret = {"wish": wish.as_dict(), "signatures": [requested["signature"], approval.signature]}
    puts = [Put(ACT, hold_id, None, expect=document.revision)]
    if made is not None:
        puts.append(made)
    store.documents.commit(puts, [AuditEntry(CONFIRM, public, secret)])
    if wish.act == ADD:
        store.holds.make_keys()
    if wish.act == RELEASE:
        store.holds.end(hold_id, reason="released", actors=actors)
    return {"hold": hold_id, "act": wish.act, "state": store.holds.get(hold_id).state, "actors": actors}


def _made(store: Store, hold_id: str, wish: Wish) -> Put | None:
    """Return the hold's next document; None for a release, which only needs one to release."""
    if wish.act == ADD:
        return Put(KIND, hold_id, _new(store, wish), expect=0)
    document = store.documents.get(KIND, hold_id)
    body, hold = document.body, Hold.of(document)
    if wish.act == RENEW:
        if not hold.is_in_force(store.clock.now_us()):
            raise ProcedureError("the hold ended already", reason="state")
        hold.basis.check_renewal(hold.ends, parse_date(wish.ends), body["renewals"])
        return Put(
            KIND, hold_id, {**body, "ends": wish.ends, "renewals": body["renewals"] + 1}, expect=document.revision
        )
    if wish.act != RELEASE:
        raise InputError("a hold is added, renewed or released")
    if hold.state == ENDED:
        raise ProcedureError("the hold ended already", reason="state")
    _text(wish.reason, "a reason")
    return None


def _new(store: Store, wish: Wish) -> dict[str, Any]:
    basis = hold_basis(wish.basis)
    _text(wish.reference, "a reference")
    _text(wish.owner, "an owner")
    basis.check_end(to_date(store.clock.now_us()), parse_date(wish.ends))
    start_us, end_us = midnight_us(parse_date(wish.start)), midnight_us(parse_date(wish.end))
    if start_us >= end_us:
        raise InputError("the window is empty or runs backwards")
    if (basis.purpose is Purpose.BILLING) != bool(wish.accounts) or bool(wish.accounts) == bool(wish.targets):
        raise ProcedureError("a billing hold names accounts, a preservation names targets", reason="targets")
    if len(wish.accounts) + len(wish.targets) > TARGETS_MAX:
        raise ProcedureError(f"a hold names at most {TARGETS_MAX} accounts or targets", reason="targets")
    targets: list[dict[str, Any]] = []
    for kind, written in wish.targets:
        found = normalise_target(kind, written, country=wish.country)
        require_networks([found])  # else everybody's records are kept who has it in a network of the own
        targets.append({"kind": found.kind, "value": found.value, "port": found.port})
    for account in wish.accounts:
        targets += _of_account(store, account, start_us, end_us)
    return {
        "state": ACTIVE,
        "basis": basis.id,
        "reference": wish.reference,
        "owner": wish.owner,
        "ends": wish.ends,
        "start": wish.start,
        "end": wish.end,
        "start_us": start_us,
        "end_us": end_us,
        "accounts": list(wish.accounts),
        "targets": targets,
        "renewals": 0,
    }


def _of_account(store: Store, account: str, start_us: int, end_us: int) -> list[dict[str, Any]]:
    """Return the identifiers that belonged to an account within the window, each with its time."""
    found = []
    for item in subscriptions.load(store, account=account):
        times = {"start_us": midnight_us(item.valid_from), "end_us": midnight_us(item.end)}
        if times["start_us"] < end_us and start_us < times["end_us"]:
            found.append({"kind": item.kind, "value": item.value, **times})
    return found


def _text(text: str, what: str) -> None:
    if not text.strip() or len(text) > TEXT_CHARS_MAX or not text.isprintable():
        raise InputError(f"{what} is 1 to {TEXT_CHARS_MAX} printable characters")


def _custodian(store: Store, custodian_id: str, hold_id: str, wish: Wish, approval: Approval, action: str) -> Person:
    signed = digest(store.store_id, hold_id, wish)
    return acting(store, custodian_id, approval, action=action, case=hold_id, digest=signed)
