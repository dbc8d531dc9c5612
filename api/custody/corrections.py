"""How a batch that was read wrongly is withdrawn: two custodians, one requesting and the other confirming.

(1) A custodian requests the withdrawal of a published batch; signed over the digest of store, batch and reason.
(2) Another custodian, another person with another key, confirms; signed over the same digest.
(3) The store hides the batch's records from every scan, so that the delivery can come again; nothing is removed.
(4) Each step is in the audit log before it counts; the reason is for auditors only.

Source: the design's *Corrections* and promise 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from api.billing import adjustments
from api.people.custodians import acting, refuse_same
from api.people.persons import Approval, Person
from api.people.signing import digest_of
from schemas.errors import InputError, NotFoundError, ProcedureError
from store import AuditEntry, Put
from store.correcting import dropped

if TYPE_CHECKING:
    from store import Store

KIND: Final = "withdrawal"
REQUEST: Final = "batch.withdraw.request"
CONFIRM: Final = "batch.withdraw.confirm"
REASON_CHARS_MAX: Final = 500
PENDING, DONE = "pending", "withdrawn"


def digest(store_id: str, batch_id: int, reason: str) -> str:
    """Return the digest that both custodians sign."""
    return digest_of({"store": store_id, "batch": batch_id, "reason": reason})


def show(store: Store, batch_id: int) -> dict[str, Any]:
    """Return what is requested for a batch, with all that a confirmer signs.

    Raises:
        NotFoundError: nothing is.
    """
    try:
        body = store.documents.get(KIND, str(batch_id)).body
    except NotFoundError as error:
        raise NotFoundError("no withdrawal is requested for this batch") from error
    told = {name: body[name] for name in ("state", "reason", "by", "time")}
    return {"batch_id": batch_id, **told, "later_duplicates": dropped.since(store, batch_id).as_dict()}


def request(store: Store, custodian_id: str, batch_id: int, reason: str, approval: Approval) -> dict[str, Any]:
    """Step (1).

    Raises:
        NotFoundError: there is no such batch.
        InputError: the reason does not have its form.
        ProcedureError: it is requested or done already, not a custodian, a wrong signature.
    """
    if not reason.strip() or len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise InputError(f"a reason is 1 to {REASON_CHARS_MAX} printable characters")
    store.receipt(batch_id)
    custodian = _custodian(store, custodian_id, batch_id, reason, approval, REQUEST)
    body = {
        "state": PENDING,
        "reason": reason,
        "by": custodian.person_id,
        "key_id": custodian.key_id,
        "time": approval.time,
        "signature": approval.signature,
    }
    public = {"batch": batch_id, "by": custodian.person_id, "by_key_id": custodian.key_id}
    entry = AuditEntry(REQUEST, public, {"act": body})
    # `expect` makes a second request of the same batch stale.
    store.documents.commit([Put(KIND, str(batch_id), body, expect=0)], [entry])
    return show(store, batch_id)


def confirm(store: Store, custodian_id: str, batch_id: int, approval: Approval) -> dict[str, Any]:
    """Steps (2) and (3).

    Raises:
        NotFoundError: nothing is requested.
        ProcedureError: the same custodian or key again, done already, a wrong signature.
    """
    show(store, batch_id)
    document = store.documents.get(KIND, str(batch_id))
    requested = document.body
    if requested["state"] != PENDING:
        raise ProcedureError("the batch is withdrawn already", reason="state")
    custodian = _custodian(store, custodian_id, batch_id, requested["reason"], approval, CONFIRM)
    refuse_same(store, custodian, requested)
    confirmed = {"confirmed_by": custodian.person_id, "confirmed": approval.time, "signature_2": approval.signature}
    adjustments.before_withdrawal(store, batch_id)
    # (3) The store logs the withdrawal with both names in the transaction that hides the records.
    records = store.withdraw_batch(batch_id, reason=requested["reason"], actors=(requested["by"], custodian.person_id))
    public = {"batch": batch_id, "by": custodian.person_id, "requested_by": requested["by"]}
    done = Put(KIND, str(batch_id), {**requested, **confirmed, "state": DONE}, expect=document.revision)
    store.documents.commit([done], [AuditEntry(CONFIRM, public, {"act": confirmed})])
    return {**show(store, batch_id), "records": records, "confirmed_by": custodian.person_id}


def _custodian(store: Store, custodian_id: str, batch_id: int, reason: str, approval: Approval, action: str) -> Person:
    signed = digest(store.store_id, batch_id, reason)
    return acting(store, custodian_id, approval, action=action, case=str(batch_id), digest=signed)
