"""Erasing single records after the floor: their partition is written anew without them, and its old key destroyed.

(0) The clock is trusted, the floor is passed, no hold names one of the records; all lie in one partition.
(1) What stays is merged into parts of the partition's next generation (`store.partitions.successor`), under a key of
its own: records, identities, postings and location. Durable; no catalog names them.
(2) One transaction: those parts are published, the old generation is `dropping`, the draft of the certificate and the
audit entries are there. Corrections and digests of deliveries go along under the new key, those of erased records do
not. It is begun anew if a delivery, a merge or a hold came meanwhile. From here scans and deliveries see the new
generation only.
(3) Scans that planned with the old one finish, for `READERS_WAIT_S` at most. Then the erasure goes on as any other
(`store.expiry`): keyring n + 1 without the old key, root n destroyed, files unlinked, certificate.

A crash before (2) leaves orphans that recovery removes; after it, recovery rolls forward. Nothing about an erased
record is kept, not even a mark by which it would be known if it came again.

Source: the design's *Corrections*; Regulation (EU) 2016/679 Art 17.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from schemas.errors import BusyError, InputError, NotFoundError, ProcedureError, RetentionError
from store import certificates, compact, expiry, explain, files, merging, siblings
from store.audit import AuditEntry
from store.clocktrust import Verdict
from store.hold import selected
from store.keys import KeyRef, derive, seal, unseal
from store.model import PartRow, rfc3339
from store.partitions import PartitionKey, is_above_floor, successor
from store.parts import WrittenPart
from store.publish import batch_aad, insert_part, part_manifest

if TYPE_CHECKING:
    from store.overlay import Correction
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

ERASED: Final = "erased"
"""The kind of a correction that asks for it; it never is in force, for its record is gone then."""
ENTRY: Final = "record.erased"
RECORDS_MAX: Final = 1000
CITATION_CHARS_MAX: Final = 300
READERS_WAIT_S: Final = 30.0
ATTEMPTS: Final = 5
_WORDS: Final = frozenset({"citation", "also"})
_HELD: Final = "erase it when the hold has ended: Regulation (EU) 2016/679 Art 17(3)"
_HERE: Final = "q.end_date = ? AND q.retention_class = ? AND q.key_domain = ?"

Places = Set[tuple[int, int]]
"""Batch and position of records."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased."""

    act: str
    partition: PartitionKey
    into: PartitionKey
    records: int
    kept: int
    generation: int
    """Of the keyring, without the old key."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "correction": self.act,
            "state": ERASED,
            "partition": str(self.partition),
            "into": str(self.into),
            "records": self.records,
            "kept": self.kept,
            "keyring_generation": self.generation,
        }


class _ChangedError(Exception):
    """A delivery, a merge or a hold came meanwhile."""


@dataclass(frozen=True, slots=True)
class _Rewritten:
    """A partition as it will be."""

    into: PartitionKey
    written: Sequence[WrittenPart]
    batches: Sequence[Counter[int]]
    withdrawn: Counter[int]
    erased: Counter[int]


def places(wanted: Correction) -> set[tuple[int, int]]:
    """Return the records that a correction names: its own, and those that an erasure names besides.

    Raises:
        InputError: they do not have their form.
    """
    named = [word.split(":") for word in str(wanted.fields.get("also") or "").split(",") if word]
    if wanted.kind != ERASED:
        return {wanted.place}
    if len(named) >= RECORDS_MAX or not all(len(one) == 2 and all(map(str.isdecimal, one)) for one in named):
        raise InputError(f"the other records are BATCH:POSITION with commas between them, {RECORDS_MAX} at most")
    return {wanted.place, *((int(batch), int(position)) for batch, position in named)}


def check(store: Store, wanted: Correction, verdict: Verdict) -> None:
    """Return if these records may be erased; `wanted.partition` is where the first of them lies.

    Raises:
        InputError: there is no citation, or the other records do not have their form.
        NotFoundError: one of them is not stored.
        RetentionError: the floor forbids it.
        ProcedureError: they lie in several partitions (`partition`), or a hold names one (`held`).
    """
    citation = wanted.fields.get("citation")
    if not isinstance(citation, str) or not citation.strip() or len(citation) > CITATION_CHARS_MAX:
        raise InputError(f"an erasure cites its legal basis, in 1 to {CITATION_CHARS_MAX} characters")
    if not citation.isprintable() or not wanted.fields.keys() <= _WORDS:
        raise InputError("an erasure has a citation and the other records, nothing else")
    key, named = wanted.partition, places(wanted)
    for batch_id, position in sorted(named - {wanted.place}):
        if explain.part_of(store, batch_id, position).partition != key:
            raise ProcedureError("the records lie in several partitions: erase each by itself", reason="partition")
    if not is_above_floor(key, verdict.erase_us):
        raise RetentionError(f"no record of partition {key} may be erased before {rfc3339(key.floor_until)}")
    _refuse_held(store, key, _parts(store, key), named)


def erase(
    store: Store,
    act: str,
    said: Mapping[str, Any],
    actors: Sequence[str],
    *,
    step: Callable[[str], None] | None = None,
) -> Erased:
    """Erase what was requested as `act`; `said` are the public words of who confirms.

    Raises:
        NotFoundError: nothing is requested, or the records are gone.
        ProcedureError: fewer than two persons act (`two-persons`), or as `check`.
        RetentionError, ClockError: the floor forbids it, or nobody can tell.
        BusyError: deliveries keep coming; nothing is erased.
        AuditError: the intent could not be logged; the erasure is finished by the next expiry run that can.
    """
    told = step or (lambda _: None)
    if len(set(actors)) < 2:
        raise ProcedureError("correcting data takes two persons", reason="two-persons")
    with files.lock(store.layout.erasure_lock, exclusive=True, blocking=True):
        expiry.finish(store, told)
        verdict = store.clock_guard.require_trusted()
        certificates.adopt(store)
        wanted = store.corrections.get(act)
        if wanted.kind != ERASED:
            raise ProcedureError("that correction erases nothing", reason="kind")
        for _ in range(ATTEMPTS):
            with suppress(_ChangedError):
                made = _replace(store, wanted, {**said, "actors": sorted(set(actors))}, verdict, told)
                break
        else:
            raise BusyError("deliveries to the partition keep coming", hint="confirm again")
        store.flush_outbox(required=True)
        store.known.clear()
        told("published")
        _wait_for_readers(store)
        expiry.finish(store, told)  # (3)
    kept = sum(part.rows for part in made.written)
    return Erased(act, wanted.partition, made.into, made.erased.total(), kept, store.keyring.generation)


def _replace(
    store: Store, wanted: Correction, public: Mapping[str, Any], verdict: Verdict, told: Callable[[str], None]
) -> _Rewritten:
    """Steps (0) to (2)."""
    key, named = wanted.partition, places(wanted)
    holds = _revisions(store)
    parts = _parts(store, key)
    check(store, wanted, verdict)
    if store.catalog.location_states().get(key.location) == "dropping":
        raise BusyError("the location of the partition is being erased", hint="run expiry, then confirm again")
    with store.writers.holding():  # nobody takes the new files for orphans
        made = _rewrite(store, key, parts, named)
        told("written")
        with store.catalog.transaction() as cursor:
            same = {part.part_id for part in _parts(store, key)} == {part.part_id for part in parts}
            if not same or _revisions(store) != holds:
                for part in made.written:
                    store.part_store.discard(part)
                raise _ChangedError
            _publish(store, cursor, wanted, made, public, verdict)
    return made


def _rewrite(store: Store, key: PartitionKey, parts: Sequence[PartRow], named: Places) -> _Rewritten:
    """Step (1).

    Raises:
        NotFoundError: one of the records is not there.
        IntegrityError: a part does not authenticate.
    """
    into = successor(key)
    located = any(part.location_bytes for part in parts)
    store.keyring.ensure([into.ref, into.location.ref] if located else [into.ref])
    secret, beside = store.keyring.key(into.ref), store.keyring.key(into.location.ref) if located else None
    withdrawn: Counter[int] = Counter()
    erased: Counter[int] = Counter()
    made: list[tuple[WrittenPart, Counter[int]]] = []

    def write(records: pa.Table) -> tuple[WrittenPart, Counter[int]]:
        tags = store.hasher.tags(records)
        written = store.part_store.write(into, secret, records, tags, location_key=beside)
        return written, compact.batches_of(records)

    for first in range(0, len(parts), merging.FAN_IN_MAX):
        group = parts[first : first + merging.FAN_IN_MAX]
        with ExitStack() as stack:
            readers = [
                stack.enter_context(
                    store.part_store.open(
                        key, part.file_id, store.keyring.key(key.ref), siblings.reading_key(store, part)
                    )
                )
                for part in group
            ]
            prepares = [partial(_prepared, part, named, withdrawn, erased) for part in group]
            made += compact.written_by(merging.merged(readers, prepares, compact.MERGED_ROWS_MAX), write)
    if erased.total() != len(named):
        for part, _ in made:
            store.part_store.discard(part)
        raise NotFoundError("a record of the request is not stored any more")
    if made:
        store.part_store.sync_directory(into)
    return _Rewritten(into, [part for part, _ in made], [counted for _, counted in made], withdrawn, erased)


def _prepared(
    part: PartRow, named: Places, withdrawn: Counter[int], erased: Counter[int], records: pa.Table
) -> pa.Table:
    """Leave out what is erased and what is withdrawn, and name the batch in every row."""
    positions = np.asarray(records.column("batch_position").cast(pa.int64()).to_numpy())
    if part.batch_id is None:
        batches = np.asarray(records.column("batch_id").cast(pa.int64()).to_numpy())
    else:
        batches = np.full(len(positions), part.batch_id, np.int64)
    near = np.isin(positions, [position for _, position in named]) & np.isin(batches, [batch for batch, _ in named])
    for row in np.flatnonzero(near):
        place = (int(batches[row]), int(positions[row]))
        near[row] = place in named
        erased[place[0]] += int(near[row])
    return compact.prepared(part, True, withdrawn, records.filter(pa.array(~near)) if near.any() else records)


def _publish(
    store: Store,
    cursor: sqlite3.Cursor,
    wanted: Correction,
    made: _Rewritten,
    public: Mapping[str, Any],
    verdict: Verdict,
) -> None:
    """Step (2)."""
    key, into = wanted.partition, made.into
    cursor.execute(
        "INSERT INTO partitions (end_date, retention_class, key_domain, state, location_state) "
        "SELECT end_date, retention_class, ?, 'live', nullif(location_state, 'live') FROM partitions "
        "WHERE end_date = ? AND retention_class = ? AND key_domain = ?",
        (into.key_domain, *_name(key)),
    )
    for part, counted in zip(made.written, made.batches, strict=True):
        part_id = insert_part(cursor, None, part)
        cursor.executemany(
            "INSERT INTO part_batches (part_id, batch_id, rows) VALUES (?, ?, ?)",
            [(part_id, batch_id, rows) for batch_id, rows in counted.items()],
        )
    told = {
        "citation": wanted.fields["citation"],
        "into": str(into),
        "erased": made.erased.total(),
        "withdrawn": made.withdrawn.total(),
        "kept": sum(part.rows for part in made.written),
    }
    drafted = certificates.draft(store, key, {}, verdict, told)
    ended = store.corrections.move(cursor, key, into, places(wanted))
    _move_digests(store, cursor, key, into, made.erased)
    certificates.begin(cursor, drafted)
    expiry.set_state(cursor, [key], "dropping")
    parts = [part_manifest(part) for part in made.written]
    entry = {**public, **told, "act": wanted.act, "partition": str(key), "ended": sorted(ended), "parts": parts}
    intent = {name: value for name, value in drafted.items() if name != "files"}
    secret = {"reason": wanted.said.get("reason", "")}
    store.outbox.put(cursor, [AuditEntry(ENTRY, entry, secret), AuditEntry("erasure.intended", intent, None)])


def _move_digests(
    store: Store, cursor: sqlite3.Cursor, key: PartitionKey, into: PartitionKey, erased: Counter[int]
) -> None:
    """Let the digest of a delivery that had an erased record end with the old key, and the others go on."""
    marks = ", ".join("?" * len(erased))
    rows = cursor.execute(
        f"SELECT batch_id, key_ref, sealed FROM batches WHERE key_ref = ? OR batch_id IN ({marks})",  # noqa: S608
        (str(key.ref), *erased),
    ).fetchall()
    for batch_id, ref, sealed in rows:
        home = key if batch_id in erased else into
        if ref == str(home.ref) or not store.keyring.has(KeyRef.parse(ref)):
            continue
        plain = unseal(derive(store.keyring.key(KeyRef.parse(ref)), "batch"), sealed, batch_aad(batch_id))
        again = seal(derive(store.keyring.key(home.ref), "batch"), plain, batch_aad(batch_id))
        cursor.execute(
            "UPDATE batches SET key_ref = ?, sealed = ? WHERE batch_id = ?", (str(home.ref), again, batch_id)
        )


def _refuse_held(store: Store, key: PartitionKey, parts: Sequence[PartRow], named: Places) -> None:
    """Return if no hold needs one of the records, or has copied something of the partition already."""
    carved = store.catalog.query(
        "SELECT 1 FROM held WHERE partition IN (?, ?) AND file_id IS NOT NULL LIMIT 1", (str(key), str(key.location))
    )
    if carved:
        raise ProcedureError("a hold has copied location out of that partition", reason="held", hint=_HELD)
    now_us = store.clock.now_us()
    for hold in store.holds.all():
        if not hold.is_in_force(now_us):
            continue
        for part in (part for part in parts if hold.reaches(part)):
            for table in selected(store, hold, part):
                columns = (table.column(name).cast(pa.int64()).to_pylist() for name in ("batch_id", "batch_position"))
                if not named.isdisjoint(zip(*columns, strict=True)):
                    raise ProcedureError("a hold names one of the records", reason="held", hint=_HELD)


def _wait_for_readers(store: Store) -> None:
    """Let scans that planned with the old parts finish; one that takes too long gets an error instead."""
    until = time.monotonic() + READERS_WAIT_S
    while time.monotonic() < until:
        with suppress(BusyError), files.lock(store.layout.readers_lock, exclusive=True, blocking=False):
            return
        time.sleep(0.05)


def _parts(store: Store, key: PartitionKey) -> list[PartRow]:
    return store.catalog.parts(_HERE, _name(key))


def _revisions(store: Store) -> list[tuple[Any, ...]]:
    """Return what changes when a hold comes, is extended or ends."""
    return store.catalog.query("SELECT id, revision FROM documents WHERE kind = 'hold' ORDER BY id")


def _name(key: PartitionKey) -> tuple[str, str, str]:
    return key.end_date.isoformat(), key.retention_class, key.key_domain
