"""How a single record is restricted, superseded, rectified or erased: two custodians, one requests, the other confirms.

(1) A custodian names a record by its batch and its position in it, which receipts, quarantine and explanations tell: no
traffic data is read for it. Signed over the digest of everything that is requested.
(2) Another custodian, another person with another key, confirms; signed over the same digest.
(3) The store applies the correction to every read from then on; the stored record is never edited. An erasure, which
names its legal basis and is refused below the floor, removes it (`store.retention.erasing`).
(4) Each step is in the audit log in the transaction that does it. The reason is for auditors only; which record it was
and the values are sealed under its partition's key and end with it. The digest has a salt, which lies there too: once
the partition is erased, nobody can try values against the digest or a signature.

Source: the design's *Corrections* and promise 7; Regulation (EU) 2016/679 Art 16 to 18.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from api.billing import adjustments
from api.people.custodians import acting, refuse_same
from api.people.persons import Approval, Person
from api.people.signing import digest_of
from schemas.errors import InputError, ProcedureError
from store.correcting.overlay import RECTIFIED, Correction
from store.partitions import PartitionKey
from store.retention import erasing
from store.retention.erasing import ERASED

if TYPE_CHECKING:
    from store import Store

REQUEST: Final = "record.correct.request"
CONFIRM: Final = "record.correct.confirm"
REASON_CHARS_MAX: Final = 500
PENDING, DONE = "pending", "in-force"
_SOMEWHERE: Final = PartitionKey(date.min, "")
"""The store finds the record's partition."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall become of one record.

    `kind` is of `store.correcting.overlay.KINDS`, or `store.retention.erasing.ERASED`.
    """

    kind: str
    batch_id: int
    position: int
    reason: str
    salt: str
    """32 random hex digits: without them the digest tells nothing about the values."""
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def digest(self, store_id: str, act: str) -> str:
        """Return the digest that both custodians sign."""
        return digest_of({"store": store_id, "correction": act, **self.as_dict()})

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": self.kind,
            "batch_id": self.batch_id,
            "position": self.position,
            "reason": self.reason,
            "salt": self.salt,
            "fields": dict(self.fields),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Wish:
        """Return the wish of `as_dict`'s data."""
        return cls(body["kind"], body["batch_id"], body["position"], body["reason"], body["salt"], dict(body["fields"]))


def new_id() -> str:
    """Return the id of a new correction: 16 hex digits."""
    return secrets.token_hex(8)


def new_salt() -> str:
    """Return 32 random hex digits."""
    return secrets.token_hex(16)


def overview(store: Store) -> list[dict[str, Any]]:
    """Return every correction whose record is kept, without values and reasons."""
    return [
        {
            "correction": item.act,
            "kind": item.kind,
            "state": DONE if item.confirmed else PENDING,
            "batch_id": item.batch_id,
            "position": item.position,
            "by": item.said["by"],
            "confirmed_by": item.said.get("confirmed_by"),
        }
        for item in store.corrections.all()
    ]


def show(store: Store, act: str) -> dict[str, Any]:
    """Return one correction, with all that a confirmer signs.

    Raises:
        NotFoundError: there is none, or its record's period is over.
    """
    return _shown(store.corrections.get(act))


def request(store: Store, custodian_id: str, act: str, wish: Wish, approval: Approval) -> dict[str, Any]:
    """Step (1).

    Raises:
        NotFoundError: there is no such record, or its period is over.
        InputError: the reason or a value does not have its form.
        ProcedureError: it is requested or done already, not a custodian, a wrong signature.
    """
    if not wish.reason.strip() or len(wish.reason) > REASON_CHARS_MAX or not wish.reason.isprintable():
        raise InputError(f"a reason is 1 to {REASON_CHARS_MAX} printable characters")
    if wish.kind not in (RECTIFIED, ERASED) and wish.fields:
        raise InputError("only a rectification or an erasure has fields")
    custodian = _custodian(store, custodian_id, act, wish, approval, REQUEST)
    said = {
        "reason": wish.reason,
        "salt": wish.salt,
        "by": custodian.person_id,
        "key_id": custodian.key_id,
        "time": approval.time,
        "signature": approval.signature,
    }
    wanted = Correction(act, wish.kind, _SOMEWHERE, wish.batch_id, wish.position, wish.fields, False, said)
    public = {"by": custodian.person_id, "by_key_id": custodian.key_id}
    return _shown(store.corrections.request(wanted, public))


def confirm(store: Store, custodian_id: str, act: str, approval: Approval) -> dict[str, Any]:
    """Steps (2) and (3).

    Raises:
        NotFoundError: nothing is requested, or the record's period is over.
        ProcedureError: the same custodian or key again, done already, a wrong signature, a hold.
        RetentionError, ClockError: the floor forbids an erasure, or nobody can tell.
    """
    requested = store.corrections.get(act)
    if requested.confirmed:
        raise ProcedureError("the correction is in force already", reason="state")
    said = requested.said
    custodian = _custodian(store, custodian_id, act, _wish(requested), approval, CONFIRM)
    refuse_same(store, custodian, said)
    if requested.kind == ERASED:
        actors = (said["by"], custodian.person_id)
        done = erasing.erase(store, act, {}, actors, beside=partial(adjustments.before_erasure, store))
        return {**_shown(requested), **done.as_dict(), "confirmed_by": custodian.person_id}
    confirmed = {"confirmed_by": custodian.person_id, "confirmed": approval.time, "signature_2": approval.signature}
    return _shown(store.corrections.confirm(act, confirmed, (said["by"], custodian.person_id)))


def _wish(item: Correction) -> Wish:
    return Wish(item.kind, item.batch_id, item.position, item.said["reason"], item.said["salt"], item.fields)


def _shown(item: Correction) -> dict[str, Any]:
    return {
        "correction": item.act,
        "state": DONE if item.confirmed else PENDING,
        **_wish(item).as_dict(),
        "by": item.said["by"],
        "time": item.said["time"],
        "confirmed_by": item.said.get("confirmed_by"),
    }


def _custodian(store: Store, custodian_id: str, act: str, wish: Wish, approval: Approval, action: str) -> Person:
    signed = wish.digest(store.store_id, act)
    return acting(store, custodian_id, approval, action=action, case=act, digest=signed)
