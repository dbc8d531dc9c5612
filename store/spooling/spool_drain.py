"""The spool's other end: what lies in it becomes ordinary batches, exactly once.

Segment by segment: (1) entries that a row of `spool_batches` names are in a batch already. (2) The others of one
source, format and hour become one batch; the row that names them is written in the batch's own transaction, so after a
crash at any point an entry is either in a batch and named, or neither. (3) A segment of which everything is named, and
which nobody appends to, is overwritten and removed.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from schemas.errors import BusyError, IntegrityError, LagrumError
from store import files
from store.identities.dedup import EXPIRED, Fate, Told
from store.keys import KeyRef
from store.model import Problem, Receipt
from store.spooling import spool_receipts
from store.spooling.spool_format import Ints, PushGroup, SegmentCipher, read_entries

if TYPE_CHECKING:
    from store.store import Store

TRIES_MAX: Final = 3
"""How often a batch is tried whose records another batch brings at the same time."""
_HOUR_US: Final = 3_600_000_000
_DAY_US: Final = 24 * _HOUR_US
_log = logging.getLogger("lagrum.store")


@dataclass(frozen=True, slots=True)
class _Row:
    """A segment as the catalog knows it."""

    segment: int
    file_id: str
    ref: KeyRef
    drained: bool


class _MovedError(BusyError):
    """Another batch published some of the records meanwhile, so the fates of single pushes are not known."""


def drain(store: Store) -> list[Receipt]:
    """Commit what lies in the spool; see `Spool.drain`.

    Raises:
        LagrumError: A segment could not be committed; it stays, and the others are done first.
    """
    rows = _rows(store)
    if not rows or (len(rows) == 1 and store.spool.is_idle(rows[0].segment)):
        return []
    receipts: list[Receipt] = []
    failure: LagrumError | None = None
    with files.lock(store.layout.drain_lock, exclusive=True, blocking=True), ExitStack() as held:
        store.spool.rotate()
        finished = []
        for row in _rows(store):
            if row.drained:
                finished.append(row)
            elif not store.spool.is_idle(row.segment):
                # Held from before it is read: nobody appends between the reading and the removal.
                free = _hold(held, store.layout.segment(row.file_id))
                try:
                    receipts += _segment(store, row)
                except LagrumError as error:  # the other segments shall not wait for this one
                    _log.error("a segment of the spool cannot be drained: %s", error.message)
                    failure = error
                else:
                    finished += [row] if free else []
        _remove(store, finished)
    if failure is not None:
        raise failure
    return receipts


def sweep(store: Store) -> None:
    """Remove files that no row knows; the caller holds the writers' lock alone."""
    known = {row.file_id for row in _rows(store)}
    for path in sorted(store.layout.spool.iterdir()) if store.layout.spool.is_dir() else ():
        if path.stem not in known:
            files.overwrite_and_unlink(path, missing_ok=True)


def verify(store: Store) -> list[Problem]:
    """Check every segment: it is there, and its frames authenticate and can be read."""
    problems = []
    for row in _rows(store):
        where = f"segment {row.file_id} of the spool"
        if row.drained:
            continue
        try:
            for entry in _read(store, row):
                PushGroup.from_bytes(entry)
        except LagrumError as error:
            if any(row == other for other in _rows(store)):  # it may have been drained meanwhile
                problems.append(Problem(where, error.message))
    return problems


def in_use(store: Store, ref: KeyRef) -> bool:
    """Tell whether a segment still lies under a day's key."""
    return any(row.ref == ref and not row.drained for row in _rows(store))


def _rows(store: Store) -> list[_Row]:
    rows = store.catalog.query("SELECT segment, file_id, key_ref, drained FROM spool_segments ORDER BY segment")
    return [_Row(row[0], row[1], KeyRef.parse(row[2]), bool(row[3])) for row in rows]


def _read(store: Store, row: _Row) -> list[memoryview]:
    where = f"segment {row.file_id} of the spool"
    try:
        data = store.layout.segment(row.file_id).read_bytes()
    except FileNotFoundError as error:
        raise IntegrityError(f"{where} is missing", hint="`lagrum verify` says what is whole") from error
    cipher = SegmentCipher(store.keyring.key(row.ref), store.store_id, row.file_id)
    return list(read_entries(data, cipher, where))


def _segment(store: Store, row: _Row) -> list[Receipt]:
    """Commit the entries of a segment that are in no batch yet."""
    done = spool_receipts.consumed(store.catalog, row.segment)
    kinds: dict[tuple[object, ...], list[tuple[int, PushGroup]]] = {}
    for number, entry in enumerate(_read(store, row)):
        if number not in done:
            group = PushGroup.from_bytes(entry)
            kind = (group.source, group.format, group.received_us // _HOUR_US)
            kinds.setdefault(kind, []).append((number, group))
    receipts = []
    for entries in kinds.values():
        receipt = _commit_or_split(store, row.segment, entries)
        receipts += receipt
        for one in receipt:
            if store.spool.drained is not None:
                store.spool.drained(one)
    return receipts


def _commit_or_split(store: Store, segment: int, entries: list[tuple[int, PushGroup]]) -> list[Receipt]:
    """Commit entries as one batch; if they cannot be joined, each as one."""
    for left in range(TRIES_MAX - 1, -1, -1):
        try:
            return [_commit(store, segment, entries)]
        except BusyError:  # records or sessions of the batch changed meanwhile
            if not left:
                raise
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            if len(entries) == 1:
                raise IntegrityError("an entry of the spool holds records that no part can hold") from None
            return [receipt for entry in entries for receipt in _commit_or_split(store, segment, [entry])]
    raise AssertionError("unreachable")


def _commit(store: Store, segment: int, entries: Sequence[tuple[int, PushGroup]]) -> Receipt:
    """Publish some entries of one source, format and hour as one batch."""
    groups = _side_by_side([group for _, group in entries])
    first = groups[0]
    with store.begin_batch(first.source, format=first.format) as batch:
        pushes = _Pushes(segment, [number for number, _ in entries], groups)
        told = batch.replay(first.received_us, pushes.expired, partial(pushes.note, first.source.name))
        pushes.told = told
        for group in groups:
            batch.reject(group.rejects)
        batch.add(pa.concat_tables([group.table for group in groups], promote_options="default"))
        batch.finish_input(hashlib.sha256(b"".join(group.digests for group in groups)).digest(), pushes.size_bytes)
        return batch.commit()


def _side_by_side(groups: Sequence[PushGroup]) -> list[PushGroup]:
    """Return the groups with positions that go on from one to the next."""
    shifted, offset = [], 0
    for group in groups:
        place = group.table.column_names.index("batch_position")
        positions = group.table.column("batch_position").to_numpy() + offset
        shifted.append(
            replace(
                group,
                table=group.table.set_column(place, "batch_position", pa.array(positions)),
                rejects=[replace(reject, position=reject.position + offset) for reject in group.rejects],
                ends=group.ends + offset,
            )
        )
        offset = int(shifted[-1].ends[-1])
    return shifted


class _Pushes:
    """The pushes of one batch, and what became of each."""

    def __init__(self, segment: int, entries: Sequence[int], groups: Sequence[PushGroup]) -> None:
        self._segment, self._entries, self._groups = segment, entries, groups
        self._ends = np.concatenate([group.ends for group in groups])
        self._expired = np.concatenate([group.expired for group in groups])
        self.told: list[Told] = []

    @property
    def expired(self) -> int:
        return int(self._expired.sum())

    @property
    def size_bytes(self) -> int:
        return int(sum(group.sizes.sum() for group in self._groups))

    def note(self, source: str, cursor: sqlite3.Cursor, receipt: Receipt) -> None:
        """Write, within the batch's transaction, which pushes it holds and what became of each.

        Raises:
            BusyError: the batch's counts changed since the fates were told; it is tried again.
        """
        counts = self._counts()
        if counts[1:].sum(axis=1).tolist() != [
            receipt.accepted,
            receipt.duplicates,
            receipt.conflicts,
            receipt.rejected,
        ]:
            raise _MovedError("other records of the same identity came meanwhile", hint="try again")
        until_us = receipt_until_us(self._groups[0].received_us)
        outcomes = spool_receipts.pack(self._entries, [group.pushes for group in self._groups], counts)
        cursor.execute(
            "INSERT INTO spool_batches VALUES (?, ?, ?, ?, ?)",
            (self._segment, receipt.batch_id, source, until_us, outcomes),
        )

    def _counts(self) -> Ints:
        fates = {fate: [positions[told == fate] for positions, told in self.told] for fate in (*Fate, EXPIRED)}
        refused = [np.array([reject.position for group in self._groups for reject in group.rejects], np.int64)]
        return np.stack(
            [
                np.concatenate([group.records for group in self._groups]),
                self._per_push(fates[Fate.NEW]),
                self._per_push(fates[Fate.DUPLICATE]),
                self._per_push(fates[Fate.CONFLICT]),
                self._per_push(fates[EXPIRED]) + self._per_push(refused) + self._expired,
            ]
        )

    def _per_push(self, positions: Sequence[Ints]) -> Ints:
        joined = np.concatenate([np.zeros(0, np.int64), *positions])
        found: Ints = np.bincount(np.searchsorted(self._ends, joined), minlength=len(self._ends)).astype(np.int64)
        return found


def receipt_until_us(received_us: int) -> int:
    """Return until when what became of a push is told."""
    return received_us + spool_receipts.RECEIPT_DAYS * _DAY_US


def _remove(store: Store, finished: Sequence[_Row]) -> None:
    """Remove segments of which everything is in batches; a row goes when its file has gone."""
    if not finished:
        return
    gone = [row for row in finished if row.drained and not store.layout.segment(row.file_id).exists()]
    with store.catalog.transaction() as cursor:
        cursor.executemany("UPDATE spool_segments SET drained = 1 WHERE segment = ?", [(r.segment,) for r in finished])
        cursor.executemany("DELETE FROM spool_segments WHERE segment = ?", [(row.segment,) for row in gone])
        spool_receipts.forget_old(cursor, store.clock.now_us())
    for row in finished:
        if row not in gone:
            files.overwrite_and_unlink(store.layout.segment(row.file_id), missing_ok=True)
            store.spool.forget(row.segment)


def _hold(held: ExitStack, path: Path) -> bool:
    """Tell whether nobody appends to a segment, and keep it so."""
    if not path.exists():
        return False
    try:
        held.enter_context(files.lock(path, exclusive=True, blocking=False))
    except BusyError:
        return False
    return True
