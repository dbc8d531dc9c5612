"""Expiry: decide which partitions are due (pure), then erase them as the law and the design order it.

(0) The clock is trusted, or nothing is begun (`store.retention.clockguard`); what is due is so by every clock there is.
Holds whose time is over end, and what the others name is copied out of the partitions (`store.retention.holds`).

Erasing one partition, each step durable before the next, every step repeatable, recovery rolls forward:

1. Catalog: holds are looked at, then state `dropping`, the draft of the certificate and the audit entry of the intent,
   in one transaction: a hold that came before it wins. From here no scan or commit uses the partition.
2. Keyring: a new generation without the victims' keys, under a new root key; the old root is destroyed.
3. Caches: what this process knows of the partition is forgotten (other processes' leases end within 60 s).
4. Files: unlinked.
5. Catalog: state `dropped`, the signed certificate, and the audit entry that carries it, in one transaction.

A sibling (`store.siblings`) that ends before its partition is erased by the same steps, with a certificate of its own:
its key and its files go, the records stay. One that lives as long goes with its partition, under its certificate.

An erasure whose key is destroyed already is finished whatever the clock says: nobody can read what is left of it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.errors import RetentionError
from schemas.policy import Policy
from schemas.retention import floor_until
from store import files, siblings
from store.audit import AuditEntry
from store.audit.epochs import spent_backup_keys
from store.clock import to_date
from store.keys import KeyRef
from store.layout import LOCATION_SUFFIX
from store.model import PartitionStatus, rfc3339
from store.open_sessions import session_tables
from store.partitions import KEY_KINDS, PartitionKey, expires_at, is_due, to_us
from store.retention import certificates, commitments
from store.retention.clocktrust import Verdict
from store.retention.reclassification import Moved
from store.spooling import spool_drain

if TYPE_CHECKING:
    from store.store import Store

DAILY_KINDS = ("quarantine", "open", "spool")
"""Keys of the day on which something came; they go at the floor."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What holds say of a partition: `blocking` of them still need it, `counts` tells all that ever did, by kind."""

    blocking: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)


HoldCheck = Callable[[sqlite3.Cursor, PartitionKey], Holding]
"""Looks at the holds of a partition within the transaction that begins its erasure."""


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
    held: tuple[PartitionKey, ...] = ()
    """Due, and kept because a hold came first."""
    unsound: tuple[PartitionKey, ...] = ()
    """The catalog calls them due, and what lies on the disk says otherwise: not touched; `verify` tells more."""
    moved: tuple[Moved, ...] = ()
    """What ended of partitions that stay (`store.retention.reclassified_erasure`)."""

    def as_dict(self) -> dict[str, Any]:
        """Return the run as JSON-ready data."""
        return {
            "partitions": [str(key) for key in self.partitions],
            "records": self.records,
            "bytes": self.bytes,
            "daily_keys": [str(ref) for ref in self.daily_keys],
            "dry_run": self.dry_run,
            "generation": self.generation,
            "held": [str(key) for key in self.held],
            "unsound": [str(key) for key in self.unsound],
            "moved": [item.as_dict() for item in self.moved],
        }


def due(partitions: Iterable[PartitionStatus], now_us: int, policy: Policy) -> list[PartitionStatus]:
    """Return the partitions whose period is over; that an erasure was begun does not make one due. Pure."""
    return [item for item in partitions if is_due(item.key, now_us, policy)]


def due_daily_keys(refs: Iterable[KeyRef], now_us: int) -> list[KeyRef]:
    """Return keys of quarantine and open sessions whose day lies beyond the floor. Pure."""
    return [
        ref for ref in refs if ref.kind in DAILY_KINDS and now_us >= to_us(floor_until(date.fromisoformat(ref.date)))
    ]


def idle_spool_keys(refs: Iterable[KeyRef], now_us: int) -> list[KeyRef]:
    """Return keys of the spool of days that are over: their segments are drained within seconds. Pure."""
    today = to_date(now_us).isoformat()
    return [ref for ref in refs if ref.kind == "spool" and ref.date < today]


def due_strays(refs: Iterable[KeyRef], states: Mapping[PartitionKey, str], now_us: int, policy: Policy) -> list[KeyRef]:
    """Return keys of partitions whose period is over and that the catalog has not, or not any more. Pure."""
    return [
        ref
        for ref in refs
        if ref.kind in KEY_KINDS
        and is_due(key := PartitionKey.of_ref(ref), now_us, policy)
        and states.get(key, "dropped") == "dropped"
    ]


def refuse_below_floor(keys: Iterable[PartitionKey], now_us: int, policy: Policy) -> None:
    """Raise when one of the partitions is younger than the floor; the last check before a key dies.

    Raises:
        RetentionError: the floor forbids it.
    """
    for key in keys:
        if not is_due(key, now_us, policy):
            earliest = max(key.floor_until, expires_at(key, policy))
            raise RetentionError(f"partition {key} may not be erased before {rfc3339(earliest)}")


def expire(
    store: Store, *, dry_run: bool = False, holds: HoldCheck | None = None, step: Callable[[str], None] | None = None
) -> Expired:
    """Erase every partition that is due.

    Raises:
        ClockError: the clock is not trusted; nothing is begun.
        RetentionError: something that is not due was about to be erased; nothing is.
        IntegrityError: the catalog does not know the holds and the policy that the audit log knows; nothing is begun.
        AuditError: the intent could not be logged; nothing is erased.
    """
    if dry_run:
        verdict = store.clock_guard.verdict()
        verdict.require_trusted()
        return _decide(store, verdict)[0]
    report = step or (lambda _: None)
    with files.lock(store.layout.erasure_lock, exclusive=True, blocking=True):
        finish(store, report)
        verdict = store.clock_guard.require_trusted()  # (0)
        now_us = verdict.erase_us
        store.holds.lapse()
        result, victims = _decide(store, verdict)
        result = replace(result, dry_run=False)
        if not (victims or result.daily_keys):
            session_tables.sweep(store.catalog, now_us, erased=False)
            return result
        commitments.refuse_forgotten(store)
        refuse_below_floor(result.partitions, now_us, verdict.policy)
        for item in victims:
            store.holds.carve(item.key)
        victims = _intend(store, victims, result.daily_keys, verdict, holds or store.holds.check)
        erased = {item.key for item in victims}
        held = tuple(key for key in result.partitions if key not in erased)
        report("intended")
        _erase(store, victims, result.daily_keys, verdict, report)
    return replace(
        result,
        partitions=tuple(item.key for item in victims),
        records=sum(item.records for item in victims if not item.key.category),
        bytes=sum(item.bytes for item in victims),
        held=held,
        generation=store.keyring.generation,
    )


def finish(store: Store, step: Callable[[str], None] | None = None) -> None:
    """Finish erasures whose key is destroyed already, and those of partitions that were written anew.

    The caller holds the erasure lock, or is alone.
    """
    store.keyring.refresh()
    anew = _written_anew(store)
    every = unfinished(store)
    left = [item for item in every if not store.keyring.has(item.key.ref) or str(item.key) in anew]
    if left:
        store.flush_outbox(required=any(store.keyring.has(item.key.ref) for item in left))
        certificates.adopt(store)
        _erase(store, left, (), store.clock_guard.observe(), step or (lambda _: None))


def _written_anew(store: Store) -> set[str]:
    """Return the partitions whose other records lie elsewhere by now: the log decides, the catalog can be edited."""
    drafted = {name for name, draft in certificates.drafted(store).items() if draft.get("rewritten")}
    if not drafted:
        return drafted
    store.flush_outbox(required=True)
    return drafted & store.log_state.written_anew()


def unfinished(store: Store) -> list[PartitionStatus]:
    """Return the partitions and siblings whose erasure was begun."""
    policy = store.policies.current()
    every = [*store.catalog.locations(policy), *store.catalog.partitions(policy)]
    return [item for item in every if item.state == "dropping"]


def _candidates(store: Store, now_us: int, policy: Policy) -> list[PartitionStatus]:
    """Return what is due: siblings, but those that go with their partition, then partitions."""
    whole = due(store.catalog.partitions(policy), now_us, policy)
    going = {item.key for item in whole}
    beside = due(store.catalog.locations(policy), now_us, policy)
    return [item for item in beside if item.state == "dropping" or item.key.core not in going] + whole


def _decide(store: Store, verdict: Verdict) -> tuple[Expired, list[PartitionStatus]]:
    store.keyring.refresh()
    now_us, policy = verdict.erase_us, verdict.policy
    candidates = _candidates(store, now_us, policy)
    unsound = [item.key for item in candidates if _is_elsewhere(store, item.key)]
    victims = [item for item in candidates if item.key not in unsound]
    refs = store.keyring.refs()
    daily = [ref for ref in due_daily_keys({*refs, *_left_refs(store)}, now_us) if not _in_use(store, ref)]
    if victims or daily:  # a generation is due, and takes keys of the spool and of backups along
        daily += [ref for ref in idle_spool_keys(refs, now_us) if ref not in daily and not _in_use(store, ref)]
        daily += spent_backup_keys(refs, to_date(now_us), store.audit.epoch)
    states = store.catalog.partition_states() | store.catalog.location_states()
    lone = sorted(daily) + due_strays(refs, states, now_us, policy)
    result = Expired(
        tuple(item.key for item in victims),
        sum(item.records for item in victims if not item.key.category),
        sum(item.bytes for item in victims),
        tuple(lone),
        dry_run=True,
        unsound=tuple(unsound),
    )
    return result, victims


def _is_elsewhere(store: Store, key: PartitionKey) -> bool:
    """Tell whether files that the catalog gives this partition lie under another: somebody edited the catalog."""
    directory = store.layout.partition(key)
    absent = {file_id for file_id in _files(store, key) if not store.layout.part(key, file_id).exists()}
    if not absent:
        return False
    return any(
        parsed is not None and parsed[1] in absent and path.parent != directory
        for path in store.layout.parts.glob("*/*/*/*")
        for parsed in (store.layout.parse(path),)
    )


def _left_refs(store: Store) -> list[KeyRef]:
    """Return the keys of quarantined rows: a crash may have left rows whose key is destroyed."""
    return [KeyRef.parse(row[0]) for row in store.catalog.query("SELECT DISTINCT key_ref FROM quarantine")]


def _intend(
    store: Store, victims: Sequence[PartitionStatus], daily: Sequence[KeyRef], verdict: Verdict, holds: HoldCheck
) -> list[PartitionStatus]:
    """Step (1): return the partitions whose erasure is begun; one that is held is not among them."""
    if victims:
        certificates.adopt(store)
    begun = certificates.drafted(store)
    chosen = []
    with store.catalog.transaction() as cursor:
        for item in victims:
            if item.state == "dropping" and str(item.key) in begun:
                chosen.append(item)
                continue
            holding = holds(cursor, item.key)
            if holding.blocking:
                continue
            set_state(cursor, [item.key], "live")  # only a live partition's parts can be counted
            drafted = certificates.draft(store, item.key, holding.counts, verdict)
            certificates.begin(cursor, drafted)
            set_state(cursor, [item.key], "dropping")
            public = {name: value for name, value in drafted.items() if name != "files"}
            store.outbox.put(cursor, [AuditEntry("erasure.intended", public, None)])
            chosen.append(item)
        if daily:
            public = {"keys": [str(ref) for ref in daily]}
            store.outbox.put(cursor, [AuditEntry("erasure.daily-intended", public, None)])
    store.flush_outbox(required=True)
    return chosen


def _erase(
    store: Store,
    victims: Sequence[PartitionStatus],
    daily: Sequence[KeyRef],
    verdict: Verdict,
    step: Callable[[str], None],
) -> None:
    keys = [item.key for item in victims]
    refs = [ref for key in keys for ref in {key.ref, key.location.ref}] + list(daily)
    store.keyring.destroy([ref for ref in refs if store.keyring.has(ref)])  # (2)
    step("destroyed")
    store.known.clear()  # (3)
    _unlink(store, keys)  # (4)
    step("unlinked")
    with store.catalog.transaction() as cursor:  # (5)
        issued = certificates.issue(store, cursor, [str(key) for key in sorted(keys)], verdict)
        for key in keys:
            _forget(cursor, key)
        set_state(cursor, keys, "dropped", verdict.wall_us)
        for ref in daily:
            cursor.execute("DELETE FROM quarantine WHERE key_ref = ?", (str(ref),))
        store.outbox.put(cursor, [AuditEntry(certificates.DONE, entry, None) for entry in issued])
        if daily:
            store.outbox.put(cursor, [AuditEntry("erasure.daily", {"keys": [str(ref) for ref in daily]}, None)])
    store.flush_outbox(required=True)
    session_tables.sweep(store.catalog, verdict.erase_us, erased=True)
    step("done")


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


def _unlink(store: Store, keys: Sequence[PartitionKey]) -> None:
    """Remove files; a delivery that began before and writes still is refused, and takes along what it leaves."""
    beside = [key for key in keys if key.category]
    for directory in filter(Path.is_dir, map(store.layout.partition, beside)):
        files.empty_dir(directory, LOCATION_SUFFIX)
    files.remove_dirs([store.layout.partition(key) for key in keys if not key.category], store.layout.parts)


def _forget(cursor: sqlite3.Cursor, key: PartitionKey) -> None:
    """Remove what the catalog knows of the partition's parts; the number of records stays for the certificate."""
    if key.category:
        siblings.forget(cursor.execute, key)
        return
    partition = "(SELECT partition_id FROM partitions WHERE end_date = ? AND retention_class = ? AND key_domain = ?)"
    for statement in (
        f"DELETE FROM part_batches WHERE part_id IN (SELECT part_id FROM parts WHERE partition_id = {partition})",  # noqa: S608
        f"DELETE FROM parts WHERE partition_id = {partition}",  # noqa: S608
        f"DELETE FROM retired WHERE partition_id = {partition}",  # noqa: S608
        f"DELETE FROM corrections WHERE partition_id = {partition}",  # noqa: S608
    ):
        cursor.execute(statement, _name(key))


def set_state(cursor: sqlite3.Cursor, keys: Iterable[PartitionKey], state: str, now_us: int | None = None) -> None:
    """Note how far the erasure of partitions and siblings is, within its transaction."""
    where = "end_date = ? AND retention_class = ? AND key_domain = ?"
    for key in keys:
        if key.category:
            cursor.execute(f"UPDATE partitions SET location_state = ? WHERE {where}", (state, *_name(key)))  # noqa: S608
            continue
        cursor.execute(
            f"UPDATE partitions SET state = ?, dropped_us = ? WHERE {where}",  # noqa: S608
            (state, now_us, *_name(key)),
        )
        if state == "dropped":  # a sibling that was not erased before went with it
            cursor.execute(
                f"UPDATE partitions SET location_state = nullif(location_state, 'live') WHERE {where}",  # noqa: S608
                _name(key),
            )


def _name(key: PartitionKey) -> tuple[str, str, str]:
    return key.end_date.isoformat(), key.retention_class, key.key_domain
