"""How two custodians confirm the clock when the guard does not trust it: one requests, the other confirms.

(1) A custodian requests: the service notes the instant that its clock shows, what is proven and how many partitions
    that instant would end; signed over the digest of store, instant, count and reason.
(2) Another custodian, another person with another key, confirms within CONFIRM_SECONDS_MAX, over the same digest.
(3) The store believes that this instant has come, and not a moment more; logged before it counts.

Each signature is made with the custodian's own clock: a statement that is minutes off the service's clock is refused,
so custodians at machines of their own notice a clock that is wrong.

Source: the design's promise 7.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from api.people.custodians import acting, refuse_same
from api.people.persons import Approval, Person
from api.people.signing import digest_of
from schemas.errors import InputError, NotFoundError, ProcedureError
from store import AuditEntry, Put
from store.clock import to_text
from store.partitions import is_due
from store.retention.clocktrust import WORDS

if TYPE_CHECKING:
    from store import Store

KIND: Final = "clock-confirmation"
REQUEST: Final = "clock.confirm.request"
CONFIRM: Final = "clock.confirm.confirm"
REASON_CHARS_MAX: Final = 500
CONFIRM_SECONDS_MAX: Final = 900
_ID: Final = "current"
_SHOWN: Final = ("seen", "seen_us", "due", "reason", "by", "time")


def digest(store_id: str, seen_us: int, due: int, reason: str) -> str:
    """Return the digest that both custodians sign; `due` is how many partitions the instant ends."""
    return digest_of({"store": store_id, "seen_us": seen_us, "due": due, "reason": reason})


def show(store: Store) -> dict[str, Any]:
    """Return what the guard thinks of the clock, what confirming it would end, and what is requested."""
    verdict = store.clock_guard.verdict()
    pending = _pending(store)
    return {
        "trusted": verdict.is_trusted,
        "reason": verdict.reason,
        "text": None if verdict.reason is None else WORDS[verdict.reason],
        "clock": to_text(verdict.wall_us),
        "clock_us": verdict.wall_us,
        "proven": to_text(verdict.proven_us),
        "doubt_seconds": verdict.doubt_us / 1e6,
        "due": _due(store, verdict.wall_us),
        "pending": None if pending is None else {name: pending[name] for name in _SHOWN},
    }


def request(store: Store, custodian_id: str, seen_us: int, due: int, reason: str, approval: Approval) -> dict[str, Any]:
    """Step (1).

    Raises:
        InputError: the reason does not have its form.
        ProcedureError: the clock is trusted, does not show this instant any more, another number of partitions would
            end, not a custodian, a wrong signature.
    """
    if not reason.strip() or len(reason) > REASON_CHARS_MAX or not reason.isprintable():
        raise InputError(f"a reason is 1 to {REASON_CHARS_MAX} printable characters")
    custodian = _custodian(store, custodian_id, seen_us, due, reason, approval, REQUEST)
    verdict = store.clock_guard.observe()
    if verdict.is_trusted and not verdict.doubt_us:
        raise ProcedureError("the clock is trusted", reason="state")
    if not 0 <= verdict.wall_us - seen_us <= CONFIRM_SECONDS_MAX * 1_000_000 or _due(store, seen_us) != due:
        raise ProcedureError("the clock shows another instant by now", reason="stale", hint="look again, then request")
    body = {
        "seen_us": seen_us,
        "seen": to_text(seen_us),
        "due": due,
        "reason": reason,
        "by": custodian.person_id,
        "key_id": custodian.key_id,
        "time": approval.time,
        "signature": approval.signature,
    }
    public = {"seen_us": seen_us, "due": due, "by": custodian.person_id, "by_key_id": custodian.key_id}
    store.documents.commit([Put(KIND, _ID, body)], [AuditEntry(REQUEST, public, {"act": body})])
    return show(store)


def confirm(store: Store, custodian_id: str, approval: Approval) -> dict[str, Any]:
    """Steps (2) and (3).

    Raises:
        NotFoundError: nothing is requested.
        ProcedureError: the same custodian or key again, too late, a wrong signature.
    """
    requested = _pending(store)
    if requested is None:
        raise NotFoundError("no confirmation of the clock is requested")
    seen_us, due, reason = requested["seen_us"], requested["due"], requested["reason"]
    custodian = _custodian(store, custodian_id, seen_us, due, reason, approval, CONFIRM)
    refuse_same(store, custodian, requested)
    if not 0 <= store.clock.now_us() - seen_us <= CONFIRM_SECONDS_MAX * 1_000_000:
        raise ProcedureError("the clock shows another instant by now", reason="stale", hint="request it again")
    # (3)
    store.clock_guard.confirm(seen_us, reason=reason, actors=(requested["by"], custodian.person_id))
    public = {"seen_us": seen_us, "by": custodian.person_id, "requested_by": requested["by"]}
    act = {"confirmed_by": custodian.person_id, "time": approval.time, "signature": approval.signature}
    store.documents.commit([Put(KIND, _ID, None)], [AuditEntry(CONFIRM, public, {"act": act})])
    return show(store)


def _pending(store: Store) -> dict[str, Any] | None:
    try:
        return store.documents.get(KIND, _ID).body
    except NotFoundError:
        return None


def _due(store: Store, at_us: int) -> int:
    policy = store.policies.current()
    return sum(is_due(item.key, at_us, policy) for item in store.partitions())


def _custodian(
    store: Store, custodian_id: str, seen_us: int, due: int, reason: str, approval: Approval, action: str
) -> Person:
    signed = digest(store.store_id, seen_us, due, reason)
    return acting(store, custodian_id, approval, action=action, case=str(seen_us), digest=signed)
