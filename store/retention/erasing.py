"""Erasing single records after the floor: their partition is written anew without them, and its old key destroyed.

The clock is trusted, the floor is passed, no hold names one of the records; all lie in one partition. How it is written
anew and what a crash leaves, `store.retention.rewriting` says.

Source: the design's *Corrections*; Regulation (EU) 2016/679 Art 17.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import BusyError, InputError, NotFoundError, ProcedureError, RetentionError
from store import files
from store.documents import Put
from store.model import PartRow, rfc3339
from store.partitions import PartitionKey, is_above_floor
from store.retention import certificates, commitments, expiry, explain, rewriting
from store.retention.clocktrust import Verdict
from store.retention.hold import selected
from store.retention.rewriting import ATTEMPTS, ChangedError, Places, Rewritten

if TYPE_CHECKING:
    from store.correcting.overlay import Correction
    from store.store import Store

ERASED: Final = "erased"
"""The kind of a correction that asks for it; it never is in force, for its record is gone then."""
ENTRY: Final = "record.erased"
Beside = Callable[["Correction"], Sequence[Put]]
"""Returns what is stored in the transaction of an erasure; it is asked just before, on every attempt."""
RECORDS_MAX: Final = 1000
CITATION_CHARS_MAX: Final = 300
_WORDS: Final = frozenset({"citation", "also"})
_HELD: Final = "erase it when the hold has ended: Regulation (EU) 2016/679 Art 17(3)"


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
        IntegrityError: the catalog does not know the holds and the policy that the audit log knows.
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
    _refuse_held(store, key, rewriting.parts_of(store, key), named, verdict.erase_us)


def erase(
    store: Store,
    act: str,
    said: Mapping[str, Any],
    actors: Sequence[str],
    *,
    beside: Beside = lambda _: (),
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
    report = step or (lambda _: None)
    if len(set(actors)) < 2:
        raise ProcedureError("correcting data takes two persons", reason="two-persons")
    with files.lock(store.layout.erasure_lock, exclusive=True, blocking=True):
        expiry.finish(store, report)
        verdict = store.clock_guard.require_trusted()
        certificates.adopt(store)
        wanted = store.corrections.get(act)
        if wanted.kind != ERASED:
            raise ProcedureError("that correction erases nothing", reason="kind")
        for _ in range(ATTEMPTS):
            with suppress(ChangedError):
                made = _replace(store, wanted, {**said, "actors": sorted(set(actors))}, verdict, beside, report)
                break
        else:
            raise BusyError("deliveries to the partition keep coming", hint="confirm again")
        rewriting.finish(store, report)
    return Erased(act, wanted.partition, made.into, made.erased.total(), made.kept, store.keyring.generation)


def _replace(
    store: Store,
    wanted: Correction,
    public: Mapping[str, Any],
    verdict: Verdict,
    beside: Beside,
    report: Callable[[str], None],
) -> Rewritten:
    """Write the partition anew without the records and publish it."""
    key, named = wanted.partition, places(wanted)
    holds, newest = rewriting.holds_now(store), store.corrections.newest()
    check(store, wanted, verdict)
    puts = beside(wanted)
    store.documents.prepare(puts)
    with store.writers.holding():  # nobody takes the new files for orphans
        made = rewriting.rewrite(store, key, _named(named))
        if made.erased.total() != len(named):
            rewriting.discard(store, made)
            raise NotFoundError("a record of the request is not stored any more")
        report("written")
        with store.catalog.transaction() as cursor:
            rewriting.refuse_changed(store, made, holds)
            if store.corrections.newest() != newest:
                rewriting.discard(store, made)
                raise ChangedError
            store.documents.put(cursor, puts)
            drafted = certificates.draft(
                store, key, {}, verdict, rewriting.certificate_fields(made, wanted.fields["citation"])
            )
            secret = {"reason": wanted.said.get("reason", "")}
            entry = (ENTRY, {**public, "act": wanted.act}, secret)
            rewriting.publish(store, cursor, made, drafted, named, entry)
    return made


def _named(named: Places) -> rewriting.Goes:
    """Tell the records of these places from others."""
    batch_ids, numbers = [batch for batch, _ in named], [position for _, position in named]

    def goes(_: pa.Table, batches: npt.NDArray[np.int64], positions: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        near = np.isin(positions, numbers) & np.isin(batches, batch_ids)
        for row in np.flatnonzero(near):
            near[row] = (int(batches[row]), int(positions[row])) in named
        return near

    return goes


def _refuse_held(store: Store, key: PartitionKey, parts: Sequence[PartRow], named: Places, now_us: int) -> None:
    """Return if no hold needs one of the records, or has copied something of the partition already."""
    commitments.refuse_forgotten(store)
    carved = store.catalog.query(
        "SELECT 1 FROM held WHERE partition IN (?, ?) AND file_id IS NOT NULL LIMIT 1", (str(key), str(key.location))
    )
    if carved:
        raise ProcedureError("a hold has copied location out of that partition", reason="held", hint=_HELD)
    for hold in store.holds.all():
        if not hold.is_in_force(now_us):
            continue
        for part in (part for part in parts if hold.reaches(part)):
            for table in selected(store, hold, part):
                columns = (table.column(name).cast(pa.int64()).to_pylist() for name in ("batch_id", "batch_position"))
                if not named.isdisjoint(zip(*columns, strict=True)):
                    raise ProcedureError("a hold names one of the records", reason="held", hint=_HELD)
