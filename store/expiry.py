"""Expiry: decide which partitions are due (pure), then erase them as the law and the design order it.

Erasing one partition, each step durable before the next, every step repeatable, recovery rolls forward:

1. Catalog: state `dropping` and the audit entry of the intent, in one transaction. From here no scan or commit uses it.
2. Keyring: a new generation without the victims' keys, under a new root key; the old root is destroyed.
3. Caches: what this process knows of the partition is forgotten (other processes' leases end within 60 s).
4. Files: unlinked.
5. Catalog: state `dropped`, with the audit entry that the key is destroyed, in one transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from schemas.errors import RetentionError
from schemas.retention import CLASSES, add_months
from store import files, sessions, spool_drain
from store.audit import AuditEntry
from store.clock import to_date
from store.keys import KeyRef
from store.model import PartitionStatus, rfc3339
from store.partitions import PartitionKey, is_above_floor, is_expired

if TYPE_CHECKING:
    from store.store import Store

DAILY_KINDS = ("quarantine", "open", "spool")
"""Keys of the day on which something came; they go at the floor."""


@dataclass(frozen=True, slots=True)
class Expired:
    """What an expiry run did, or would do."""

    partitions: tuple[PartitionKey, ...]
    records: int
    bytes: int
    daily_keys: tuple[KeyRef, ...]
    """Keys without a partition: of days, and of partitions that never came to be."""
    dry_run: bool
    generation: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the run as JSON-ready data."""
        return {
            "partitions": [str(key) for key in self.partitions],
            "records": self.records,
            "bytes": self.bytes,
            "daily_keys": [str(ref) for ref in self.daily_keys],
            "dry_run": self.dry_run,
            "generation": self.generation,
        }


def due(partitions: Iterable[PartitionStatus], now_us: int) -> list[PartitionStatus]:
    """Return the partitions whose period is over, or whose erasure was begun. Pure."""
    return [item for item in partitions if item.state == "dropping" or is_expired(item.key, now_us)]


def due_daily_keys(refs: Iterable[KeyRef], now_us: int) -> list[KeyRef]:
    """Return keys of quarantine and open sessions whose day lies beyond the floor. Pure."""
    return [
        ref
        for ref in refs
        if ref.kind in DAILY_KINDS and is_above_floor(PartitionKey(date.fromisoformat(ref.date), _CORE), now_us)
    ]


def idle_spool_keys(refs: Iterable[KeyRef], now_us: int) -> list[KeyRef]:
    """Return keys of the spool of days that are over: their segments are drained within seconds. Pure."""
    today = to_date(now_us).isoformat()
    return [ref for ref in refs if ref.kind == "spool" and ref.date < today]


def due_strays(refs: Iterable[KeyRef], states: Mapping[PartitionKey, str], now_us: int) -> list[KeyRef]:
    """Return keys of partitions whose period is over and that the catalog has not, or not any more. Pure."""
    return [
        ref
        for ref in refs
        if ref.kind == "partition"
        and is_expired(key := PartitionKey(date.fromisoformat(ref.date), ref.name, ref.domain), now_us)
        and states.get(key, "dropped") == "dropped"
    ]


def refuse_below_floor(keys: Iterable[PartitionKey], now_us: int) -> None:
    """Raise when one of the partitions is younger than the floor; the last check before a key dies.

    Raises:
        RetentionError: the floor forbids it.
    """
    for key in keys:
        if not is_above_floor(key, now_us) or not is_expired(key, now_us):
            raise RetentionError(
                f"partition {key} may not be erased before {rfc3339(max(key.floor_until, key.expires_at))}"
            )


def expire(store: Store, *, dry_run: bool = False, step: Callable[[str], None] | None = None) -> Expired:
    """Erase every partition that is due.

    Raises:
        RetentionError: something that is not due was about to be erased; nothing is.
        AuditError: the intent could not be logged; nothing is erased.
    """
    if dry_run:
        return _decide(store, store.clock.now_us())[0]
    with files.lock(store.layout.erasure_lock, exclusive=True, blocking=True):
        now_us = store.clock.now_us()
        result, victims = _decide(store, now_us)
        result = replace(result, dry_run=False)
        if not (victims or result.daily_keys):
            with store.catalog.transaction() as cursor:
                sessions.sweep(cursor, now_us)
            return result
        refuse_below_floor(result.partitions, now_us)
        _erase(store, victims, result.daily_keys, now_us, step or (lambda _: None))
    return replace(result, generation=store.keyring.generation)


def _decide(store: Store, now_us: int) -> tuple[Expired, list[PartitionStatus]]:
    store.keyring.refresh()
    victims = due(store.catalog.partitions(), now_us)
    refs = store.keyring.refs()
    daily = [ref for ref in due_daily_keys({*refs, *_left_refs(store)}, now_us) if not _in_use(store, ref)]
    if victims or daily:  # a generation is due, and takes the spool's keys of past days along
        daily += [ref for ref in idle_spool_keys(refs, now_us) if ref not in daily and not _in_use(store, ref)]
    lone = sorted(daily) + due_strays(refs, store.catalog.partition_states(), now_us)
    result = Expired(
        tuple(item.key for item in victims),
        sum(item.records for item in victims),
        sum(item.bytes for item in victims),
        tuple(lone),
        dry_run=True,
    )
    return result, victims


def _left_refs(store: Store) -> list[KeyRef]:
    """Return the keys of quarantined rows: a crash may have left rows whose key is destroyed."""
    return [KeyRef.parse(row[0]) for row in store.catalog.query("SELECT DISTINCT key_ref FROM quarantine")]


def explain(day: date, now_us: int) -> dict[str, Any]:
    """Tell which rule keeps or removes records that ended on `day`, and when. Pure."""
    classes = []
    for item in CLASSES:
        key = PartitionKey(day, item.name)
        if is_expired(key, now_us):
            verdict = "expired: scans refuse it and it is erased"
        elif is_above_floor(key, now_us):
            verdict = "kept by its class's period; the floor is passed"
        else:
            verdict = "kept: nothing removes it before the floor"
        classes.append(
            {
                "class": item.name,
                "period_months": item.period_months,
                "legal_basis": item.legal_basis,
                "citation": item.citation,
                "floor_until": rfc3339(key.floor_until),
                "expires_at": rfc3339(key.expires_at),
                "verdict": verdict,
            }
        )
    return {"date": day.isoformat(), "classes": classes}


def oldest_kept(now_us: int) -> date:
    """Return the oldest end date of which records may still be kept today. Pure."""
    today = to_date(now_us)
    longest = max(item.period_months for item in CLASSES)
    day = add_months(today, -longest)
    while is_expired(PartitionKey(day, _CORE), now_us):
        day = date.fromordinal(day.toordinal() + 1)
    return day


def _erase(
    store: Store, victims: Sequence[PartitionStatus], daily: Sequence[KeyRef], now_us: int, step: Callable[[str], None]
) -> None:
    keys = [item.key for item in victims]
    fresh = [item for item in victims if item.state == "live"]
    with store.catalog.transaction() as cursor:  # (1)
        _set_state(cursor, [item.key for item in fresh], "dropping")
        store.outbox.put(cursor, [_entry("erasure.intended", item, store, now_us) for item in fresh])
        if daily:
            store.outbox.put(
                cursor, [AuditEntry("erasure.daily-intended", {"keys": [str(ref) for ref in daily]}, None)]
            )
    store.flush_outbox(required=True)
    step("intended")
    refs = [key.ref for key in keys] + list(daily)
    store.keyring.destroy([ref for ref in refs if store.keyring.has(ref)])  # (2)
    step("destroyed")
    files_of = {key: _files(store, key) for key in keys}
    store.runs.forget(file_id for ids in files_of.values() for file_id in ids)  # (3)
    for key in keys:  # (4)
        _unlink(store, key)
    step("unlinked")
    with store.catalog.transaction() as cursor:  # (5)
        for item in victims:
            _forget(cursor, item.key)
        _set_state(cursor, keys, "dropped", now_us)
        for ref in daily:
            cursor.execute("DELETE FROM quarantine WHERE key_ref = ?", (str(ref),))
        sessions.sweep(cursor, now_us)
        store.outbox.put(cursor, [_entry("erasure.done", item, store, now_us) for item in victims])
        if daily:
            store.outbox.put(cursor, [AuditEntry("erasure.daily", {"keys": [str(ref) for ref in daily]}, None)])
    store.flush_outbox(required=True)
    step("done")


def _entry(kind: str, item: PartitionStatus, store: Store, now_us: int) -> AuditEntry:
    public = {
        "partition": str(item.key),
        "records": item.records,
        "parts": item.parts,
        "bytes": item.bytes,
        "period_over": rfc3339(item.key.expires_at),
        "time_us": now_us,
        "keyring_generation": store.keyring.generation,
    }
    return AuditEntry(kind, public, None)


def _in_use(store: Store, ref: KeyRef) -> bool:
    """Tell whether an open session, or a segment of the spool, still lies under a day's key."""
    if spool_drain.in_use(store, ref):
        return True
    return bool(store.catalog.query("SELECT 1 FROM sessions WHERE key_ref = ? AND state = 'open' LIMIT 1", (str(ref),)))


def _files(store: Store, key: PartitionKey) -> list[str]:
    rows = store.catalog.query(
        "SELECT file_id FROM parts JOIN partitions USING (partition_id) "
        "WHERE end_date = ? AND retention_class = ? AND key_domain = ?",
        _name(key),
    )
    return [row[0] for row in rows]


def _unlink(store: Store, key: PartitionKey) -> None:
    directory = store.layout.partition(key)
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        files.unlink_durable(path, missing_ok=True)
    files.remove_dir(directory)
    for parent in (directory.parent, directory.parent.parent):
        if not any(parent.iterdir()):
            files.remove_dir(parent)


def _forget(cursor: sqlite3.Cursor, key: PartitionKey) -> None:
    """Remove what the catalog knows of the partition's parts; the number of records stays for the certificate."""
    partition = "(SELECT partition_id FROM partitions WHERE end_date = ? AND retention_class = ? AND key_domain = ?)"
    for statement in (
        f"DELETE FROM part_batches WHERE part_id IN (SELECT part_id FROM parts WHERE partition_id = {partition})",  # noqa: S608
        f"DELETE FROM parts WHERE partition_id = {partition}",  # noqa: S608
        f"DELETE FROM retired WHERE partition_id = {partition}",  # noqa: S608
    ):
        cursor.execute(statement, _name(key))


def _set_state(cursor: sqlite3.Cursor, keys: Iterable[PartitionKey], state: str, now_us: int | None = None) -> None:
    cursor.executemany(
        "UPDATE partitions SET state = ?, dropped_us = ? WHERE end_date = ? AND retention_class = ? AND key_domain = ?",
        [(state, now_us, *_name(key)) for key in keys],
    )


def _name(key: PartitionKey) -> tuple[str, str, str]:
    return key.end_date.isoformat(), key.retention_class, key.key_domain


_CORE = CLASSES[0].name
