"""Which rule keeps or removes records of a day, a partition, or one record; from which citation, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute

from schemas.errors import NotFoundError
from schemas.policy import Policy
from schemas.retention import CATEGORY_FLOORS
from store.model import PartRow, rfc3339
from store.partitions import PartitionKey, ends_apart, expires_at, is_above_floor, is_due, is_expired, to_us
from store.retention.policies import statement
from store.retention.reclassification import Moved, rules_of

if TYPE_CHECKING:
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type


def of_date(day: date, now_us: int, policy: Policy) -> dict[str, Any]:
    """Tell what happens to records that ended on a day, class by class. Pure."""
    keys = [PartitionKey(day, name) for name in policy.class_names]
    return {"date": day.isoformat(), "classes": [_class_facts(key, now_us, policy) for key in keys]}


def of_partition(key: PartitionKey, now_us: int, policy: Policy) -> dict[str, Any]:
    """Tell what happens to the records of a partition, which need not exist. Pure."""
    return {"partition": str(key), "date": key.end_date.isoformat(), "classes": [_class_facts(key, now_us, policy)]}


def of_record(store: Store, batch_id: int, position: int) -> dict[str, Any]:
    """Tell what happens to the record at a position (1-based) of a batch.

    Raises:
        NotFoundError: it is not stored: it came twice, was refused, or its partition is erased.
    """
    verdict = store.clock_guard.verdict()
    part, service = found(store, batch_id, position)
    hidden = part.withdrawn or batch_id in part.withdrawn_batches
    said = of_partition(part.partition, verdict.wall_us, verdict.policy)
    for told in said["classes"]:
        told["moved"] = [item for item in told["moved"] if service in item["services"]]
    return {"record": f"{batch_id}:{position}", "service": service, "withdrawn": hidden, **said}


def part_of(store: Store, batch_id: int, position: int) -> PartRow:
    """Return the part that holds the record at a position (1-based) of a batch.

    Raises:
        NotFoundError: it is not stored: it came twice, was refused, or its partition is erased.
    """
    return found(store, batch_id, position)[0]


def found(store: Store, batch_id: int, position: int) -> tuple[PartRow, str]:
    """Return the part that holds the record at a position (1-based) of a batch, and the record's category of service.

    Raises:
        NotFoundError: it is not stored: it came twice, was refused, or its partition is erased.
    """
    where = "p.batch_id = ? OR p.part_id IN (SELECT part_id FROM part_batches WHERE batch_id = ?)"
    for part in store.catalog.parts(where, (batch_id, batch_id)):
        service = _service(store, part, batch_id, position)
        if service is not None:
            return part, service
    raise NotFoundError(
        "no such record is stored", hint="it came twice or was refused, or its partition is erased already"
    )


def _service(store: Store, part: PartRow, batch_id: int, position: int) -> str | None:
    """Return the category of a record, empty if it has none; None if the part does not have the record."""
    with store.part_store.open(part.partition, part.file_id, store.keyring.key(part.partition.ref)) as reader:
        names = sorted(reader.names & {"batch_id", "batch_position", "service_type"})
        for group in range(reader.groups):
            table = reader.read([group], names)
            here = pc.equal(table.column("batch_position").cast(pa.int64()), position)
            if part.batch_id is None:
                here = pc.and_(here, pc.equal(table.column("batch_id").cast(pa.int64()), batch_id))
            if pc.any(here).as_py():
                words: Any = table.filter(here).column("service_type") if "service_type" in table.column_names else []
                return next((word.as_py() for word in words if word.is_valid), "")
    return None


def _categories(key: PartitionKey, now_us: int, policy: Policy) -> list[dict[str, Any]]:
    """Tell of each field category with a period of its own in this partition; the others end with the record."""
    siblings = [replace(key, category=name) for name in CATEGORY_FLOORS]
    return [_class_facts(sibling, now_us, policy) for sibling in siblings if ends_apart(sibling, policy)]


def _moves(key: PartitionKey, services: Sequence[str], now_us: int, policy: Policy) -> list[dict[str, Any]]:
    """Tell which categories of service end before the class in which their records lie, and by which rule."""
    told = []
    for rule, names in rules_of(policy, key, services):
        item = Moved(key, tuple(names), 0, rule)
        if item.is_due(now_us):
            verdict = "expired: scans leave it out, and the partition is written anew without it"
        elif now_us >= to_us(rule.ends):
            verdict = "expired: scans leave it out; it is erased once the floor is passed"
        else:
            verdict = "kept until the period of the class to which it moved is over"
        said = statement(policy, key, rule)
        told.append(
            {
                "services": names,
                "class": said["class"],
                "period_months": said["months"],
                "legal_basis": said["legal_basis"],
                "citation": said["citation"],
                "policy_version": said["version"],
                "since": said["since"],
                "expires_at": rfc3339(rule.ends),
                "verdict": verdict,
            }
        )
    return told


def _class_facts(key: PartitionKey, now_us: int, policy: Policy) -> dict[str, Any]:
    rule = statement(policy, key)
    if is_due(key, now_us, policy):
        verdict = "expired: scans refuse it and it is erased"
    elif is_expired(key, now_us, policy):
        verdict = "expired: scans refuse it; it is erased once the floor is passed"
    elif is_above_floor(key, now_us):
        verdict = "kept by its class's period; the floor is passed"
    else:
        verdict = "kept: nothing removes it before the floor"
    chosen = policy.in_force(key.end_date).services
    services = [service for service, name in chosen.items() if name == key.retention_class]
    own: dict[str, Any] = {"category": key.category}
    if not key.category:
        own = {"categories": _categories(key, now_us, policy), "moved": _moves(key, services, now_us, policy)}
    return {
        "class": key.retention_class,
        **own,
        "services": services,
        "period_months": rule["months"],
        "legal_basis": rule["legal_basis"],
        "citation": rule["citation"],
        "policy_version": rule["version"],
        "since": rule["since"],
        "floor_until": rfc3339(key.floor_until),
        "expires_at": rfc3339(expires_at(key, policy)),
        "verdict": verdict,
    }
