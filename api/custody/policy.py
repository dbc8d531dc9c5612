"""How a version of the retention policy comes into force: two custodians, one requesting and the other confirming.

(1) A custodian requests a version; it must follow from the versions before (`schemas.policy`). Signed over the digest
    of store and version.
(2) Another custodian, another person with another key, confirms; signed over the same digest.
(3) The store puts it in force from its day on, which is tomorrow at the earliest; before the first record, any day.
    Its text and its digest are in the audit log as it counts.

Source: the design's promises 5 and 7.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from api.people.custodians import acting, refuse_same
from api.people.persons import Approval, Person
from api.people.signing import digest_of
from schemas.errors import NotFoundError
from schemas.policy import Policy, Version
from schemas.retention import midnight
from store import AuditEntry, Put
from store.clock import to_date
from store.partitions import is_due, to_us

if TYPE_CHECKING:
    from store import Document, Store
    from store.model import PartitionStatus

KIND: Final = "policy-request"
REQUEST: Final = "policy.request"
CONFIRM: Final = "policy.confirm"
_ID: Final = "current"


def next_version(body: Mapping[str, Any], number: int) -> Version:
    """Return the version that a person's file describes, as the next one.

    Raises:
        ConfigurationError: it is no version of a policy, or a period lies outside the bounds.
    """
    return Version.from_dict({**body, "version": number})


def version_of(body: Mapping[str, Any]) -> Version:
    """Return the version that `Version.as_dict` wrote.

    Raises:
        ConfigurationError: it is none.
    """
    return Version.from_dict(body)


def digest(store_id: str, version: Version) -> str:
    """Return the digest that both custodians sign."""
    return digest_of({"store": store_id, "policy": version.digest})


def show(store: Store) -> dict[str, Any]:
    """Return the version in force today, all versions, the number of the next, and whether one is requested."""
    policy = store.policies.current()
    versions = [item.as_dict() | {"digest": item.digest} for item in policy.versions]
    return {
        "in_force": policy.in_force(to_date(store.clock.now_us())).number,
        "next": policy.versions[-1].number + 1,
        "versions": versions,
        "requested": _pending(store) is not None,
    }


def show_request(store: Store) -> dict[str, Any]:
    """Return what is requested, with all that a confirmer signs, and how many partitions it ends on its day.

    Raises:
        NotFoundError: nothing is.
    """
    requested = _requested(store).body
    version = version_of(requested["version"])
    after = store.policies.check(version)
    return _shown(version) | {
        "ends": _ended(store.partitions(), store, after, version),
        "ends_locations": _ended(store.catalog.locations(after), store, after, version),
        "by": requested["by"],
        "time": requested["time"],
    }


def request(store: Store, custodian_id: str, version: Version, approval: Approval) -> dict[str, Any]:
    """Step (1).

    Raises:
        ConfigurationError: the version does not follow from those before.
        ClockError: nobody can tell which day it is.
        ProcedureError: another one is requested already (`stale`), not a custodian, a wrong signature.
    """
    custodian = _custodian(store, custodian_id, version, approval, REQUEST)
    store.policies.check(version)
    body = {
        "version": version.as_dict(),
        "by": custodian.person_id,
        "key_id": custodian.key_id,
        "time": approval.time,
        "signature": approval.signature,
    }
    pending = _pending(store)
    expect = 0 if pending is None else pending.revision
    public = {"digest": version.digest, "policy": version.as_dict(), "by": custodian.person_id}
    store.documents.commit([Put(KIND, _ID, body, expect=expect)], [AuditEntry(REQUEST, public, {"act": body})])
    return show_request(store)


def confirm(store: Store, custodian_id: str, approval: Approval) -> dict[str, Any]:
    """Steps (2) and (3).

    Raises:
        NotFoundError: nothing is requested.
        ConfigurationError, ClockError: it cannot come into force any more.
        ProcedureError: the same custodian or key again, a wrong signature.
    """
    document = _requested(store)
    requested = document.body
    version = version_of(requested["version"])
    custodian = _custodian(store, custodian_id, version, approval, CONFIRM)
    refuse_same(store, custodian, requested)
    actors = sorted((requested["by"], custodian.person_id))
    signatures = {"signatures": [requested["signature"], approval.signature]}
    done = Put(KIND, _ID, None, expect=document.revision)
    store.policies.enforce(version, actors=actors, puts=(done,), secret=signatures)
    return _shown(version) | {"actors": actors}


def _shown(version: Version) -> dict[str, Any]:
    return {"version": version.as_dict(), "digest": version.digest}


def _ended(items: Iterable[PartitionStatus], store: Store, policy: Policy, version: Version) -> int:
    """Return how many of these are over on the version's day that would be kept without it."""
    at_us, now = to_us(midnight(version.start)), store.policies.current()
    return sum(is_due(item.key, at_us, policy) and not is_due(item.key, at_us, now) for item in items)


def _pending(store: Store) -> Document | None:
    try:
        return store.documents.get(KIND, _ID)
    except NotFoundError:
        return None


def _requested(store: Store) -> Document:
    found = _pending(store)
    if found is None:
        raise NotFoundError("no version of the policy is requested")
    return found


def _custodian(store: Store, custodian_id: str, version: Version, approval: Approval, action: str) -> Person:
    signed = digest(store.store_id, version)
    return acting(store, custodian_id, approval, action=action, case=str(version.number), digest=signed)
