"""Corrections of single records, as the catalog keeps them: requested by one person, confirmed by another.

A row names its partition and its kind in the clear; which record, the values, the reason and the signatures lie sealed
under the partition's key, so nothing of them outlives it. A request is a row that counts for nothing. Confirming puts a
new row in its place, with its audit entry in the same transaction: rows are in the order of their confirmation. Rows go
with their partition (`store.retention.expiry`). The audit log has the same sealed words, so they end for auditors too.
"""

from __future__ import annotations

import json
import sqlite3
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import date
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from schemas.errors import IntegrityError, KeyUnavailableError, NotFoundError, ProcedureError
from schemas.holds import Purpose
from store.audit import AuditEntry
from store.correcting import rectified
from store.correcting.overlay import KINDS, RECTIFIED, RELEASED, RESTRICTED, SUPERSEDED, Correction, in_effect
from store.keys import derive, seal, unseal
from store.model import PartRow, Problem
from store.partitions import PartitionKey
from store.retention import erasing, explain

if TYPE_CHECKING:
    from store.store import Store

REQUESTED: Final = "record.correction-requested"
CORRECTED: Final = "record.corrected"
_PURPOSE: Final = "correction"
_SELECT: Final = (
    "SELECT c.act, c.kind, q.end_date, q.retention_class, q.key_domain, c.confirmed_us, c.sealed, c.correction_id "
    "FROM corrections c JOIN partitions q USING (partition_id) WHERE q.state = 'live' AND ({}) ORDER BY c.correction_id"
)
Rows: TypeAlias = Sequence[tuple[Any, ...]]


class Corrections:
    """The corrections of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def request(self, wanted: Correction, public: Mapping[str, Any]) -> Correction:
        """Note a request; nothing is corrected yet. `wanted.partition` is found here and need not be right.

        Raises:
            NotFoundError: no such record is stored, or its period is over.
            InputError: the values of a rectification do not have their form.
            ProcedureError: the id is in use (`stale`), or the record is corrected so already (`state`).
        """
        if wanted.kind not in (*KINDS, erasing.ERASED):
            raise ProcedureError("a correction restricts, releases, supersedes, rectifies or erases", reason="kind")
        if wanted.kind == RECTIFIED:
            rectified.check(wanted.fields)
        part, service = explain.found(self._store, wanted.batch_id, wanted.position)
        if self._store.clock_guard.verdict().services_over(part.partition, [service]):
            raise NotFoundError("no such record is stored", hint="its period is over")
        made = self._made(wanted, part.partition, confirmed=False, said=wanted.said)
        if wanted.kind == erasing.ERASED:
            erasing.check(self._store, made, self._store.clock_guard.require_trusted())
        with self._store.catalog.transaction() as cursor:
            self._check(cursor, made)
            if cursor.execute("SELECT 1 FROM corrections WHERE act = ?", (made.act,)).fetchone():
                raise ProcedureError("a correction of this id is requested already", reason="stale")
            self._put(cursor, made, None, REQUESTED, public)
        self._store.flush_outbox(required=True)
        return made

    def confirm(self, act: str, said: Mapping[str, Any], actors: Sequence[str]) -> Correction:
        """Put a requested correction in force: from here every new read has it.

        Raises:
            NotFoundError: nothing is requested, or the record's period is over.
            ProcedureError: fewer than two persons act (`two-persons`), or it is in force already (`state`).
        """
        if len(set(actors)) < 2:
            raise ProcedureError("correcting data takes two persons", reason="two-persons")
        wanted = self.get(act)
        if wanted.confirmed:
            raise ProcedureError("the correction is in force already", reason="state")
        if wanted.kind == erasing.ERASED:
            raise ProcedureError("a record is erased by `erasing.erase`", reason="kind")
        made = self._made(wanted, wanted.partition, confirmed=True, said={**wanted.said, **said})
        with self._store.catalog.transaction() as cursor:
            self._check(cursor, made)
            gone = cursor.execute("DELETE FROM corrections WHERE act = ? AND confirmed_us IS NULL", (act,))
            if gone.rowcount != 1:
                raise ProcedureError("the correction is in force already", reason="state")
            self._put(cursor, made, self._store.clock.now_us(), CORRECTED, {"actors": sorted(set(actors))})
        self._store.flush_outbox(required=True)
        return made

    def get(self, act: str) -> Correction:
        """Return one correction, requested or in force.

        Raises:
            NotFoundError: there is none, or its record's period is over.
        """
        rows = self._store.catalog.query(_SELECT.format("c.act = ?"), (act,))
        if not rows or self._store.expired(_key(rows[0])):
            raise NotFoundError("there is no such correction", hint="it ends with its record's partition")
        return self._opened(rows[0])

    def all(self) -> list[Correction]:
        """Return every correction whose record is kept, requested ones too."""
        rows = self._store.catalog.query(_SELECT.format("1"))
        return [self._opened(row) for row in rows if not self._store.expired(_key(row))]

    def newest(self) -> int:
        """Return the number of the correction that came in force last; 0: there is none."""
        rows = self._store.catalog.query(
            "SELECT coalesce(max(correction_id), 0) FROM corrections WHERE confirmed_us IS NOT NULL"
        )
        return int(rows[0][0])

    def in_force(self) -> Rows:
        """Return the corrections in force as they lie in the catalog: to be read in one view with the parts."""
        return self._store.catalog.query(_SELECT.format("c.confirmed_us IS NOT NULL"))

    def of_parts(self, parts: Sequence[PartRow], purpose: str | None, rows: Rows) -> dict[int, list[Correction]]:
        """Return by part those of `in_force` that a read for a purpose applies; parts without any are absent.

        Raises:
            IntegrityError: a row does not open.
            KeyUnavailableError: a partition's key is gone.
        """
        if not rows:
            return {}
        known: dict[PartitionKey, list[Correction]] = {part.partition: [] for part in parts}
        for row in rows:
            if _key(row) in known and not (row[1] in (RESTRICTED, RELEASED) and purpose == Purpose.DISCLOSURE):
                known[_key(row)].append(self._opened(row))
        by_partition = {key: in_effect(items) for key, items in known.items()}
        found = {}
        for part in parts:
            # A merged part may have records of any batch.
            own = [item for item in by_partition[part.partition] if part.batch_id in (None, item.batch_id)]
            if own:
                found[part.part_id] = own
        return found

    def marks(self, places: Iterable[tuple[int, int]]) -> dict[str, list[int]]:
        """Return by kind the rows (1-based) of records that have a correction; kinds without any are absent.

        Args:
            places: batch and position of each row; not looked at where nothing is corrected.
        """
        rows = self.in_force()
        kinds: dict[tuple[int, int], set[str]] = {}
        for item in in_effect([self._opened(row) for row in rows]):
            kinds.setdefault(item.place, set()).add(item.kind)
        found: dict[str, list[int]] = {}
        for row, place in enumerate(places if kinds else (), start=1):
            for kind in kinds.get(place, ()):
                found.setdefault(kind, []).append(row)
        return found

    def move(
        self, cursor: sqlite3.Cursor, old: PartitionKey, new: PartitionKey, gone: Set[tuple[int, int]]
    ) -> list[str]:
        """Bring a partition's corrections under the key of its next generation; return the acts of those that end.

        They end with their record, one of `gone`; so does a request to erase several of which one is gone.
        """
        ended = []
        rows = cursor.execute(
            _SELECT.format("q.end_date = ? AND q.retention_class = ? AND q.key_domain = ?"), _name(old)
        )
        for row in rows.fetchall():
            item = self._opened(row)
            if not gone.isdisjoint(erasing.places(item)):
                ended.append(item.act)
                continue
            words = unseal(self._sealing_key(old), row[6], _aad(item))
            cursor.execute(
                "UPDATE corrections SET sealed = ?, partition_id = (SELECT partition_id FROM partitions "
                "WHERE end_date = ? AND retention_class = ? AND key_domain = ?) WHERE act = ?",
                (seal(self._sealing_key(new), words, _aad(item)), *_name(new), item.act),
            )
        return ended

    def problems(self) -> list[Problem]:
        """Return the rows that do not open, and those whose record is not there."""
        found = []
        withdrawn = {row[0] for row in self._store.catalog.query("SELECT batch_id FROM batches WHERE withdrawn_us > 0")}
        for row in self._store.catalog.query(_SELECT.format("1")):
            where = f"correction {row[0]}"
            try:
                item = self._opened(row)
                if self._store.expired(item.partition) or item.batch_id in withdrawn:
                    continue  # above the floor, compaction leaves withdrawn records out
                part = explain.part_of(self._store, item.batch_id, item.position)
            except (IntegrityError, KeyUnavailableError) as error:
                found.append(Problem(where, error.message))
            except NotFoundError:
                found.append(Problem(where, "its record is not stored"))
            else:
                if part.partition != item.partition:
                    found.append(Problem(where, "its record lies in another partition"))
        return found

    def _made(
        self, wanted: Correction, partition: PartitionKey, *, confirmed: bool, said: Mapping[str, Any]
    ) -> Correction:
        return Correction(
            wanted.act, wanted.kind, partition, wanted.batch_id, wanted.position, wanted.fields, confirmed, said
        )

    def _check(self, cursor: sqlite3.Cursor, wanted: Correction) -> None:
        """Return if the record can be corrected so, within the transaction that does it."""
        state = cursor.execute(
            "SELECT state FROM partitions WHERE end_date = ? AND retention_class = ? AND key_domain = ?",
            _name(wanted.partition),
        ).fetchone()
        if state != ("live",) or self._store.expired(wanted.partition):
            raise NotFoundError("no such record is stored", hint="its period is over")
        where = "c.confirmed_us IS NOT NULL AND q.end_date = ? AND q.retention_class = ? AND q.key_domain = ?"
        rows = cursor.execute(_SELECT.format(where), _name(wanted.partition)).fetchall()
        kinds = {item.kind for item in in_effect([self._opened(row) for row in rows]) if item.place == wanted.place}
        if wanted.kind == RELEASED and RESTRICTED not in kinds:
            raise ProcedureError("the record is not restricted", reason="state")
        if SUPERSEDED in kinds or (wanted.kind == RESTRICTED and RESTRICTED in kinds):
            raise ProcedureError("the record is superseded or restricted already", reason="state")

    def _put(
        self,
        cursor: sqlite3.Cursor,
        made: Correction,
        confirmed_us: int | None,
        entry: str,
        public: Mapping[str, Any],
    ) -> None:
        words = {
            "batch": made.batch_id,
            "position": made.position,
            "fields": dict(made.fields),
            "said": dict(made.said),
        }
        sealed = seal(self._sealing_key(made.partition), json.dumps(words).encode(), _aad(made))
        cursor.execute(
            "INSERT INTO corrections (act, partition_id, kind, confirmed_us, sealed) SELECT ?, partition_id, ?, ?, ? "
            "FROM partitions WHERE end_date = ? AND retention_class = ? AND key_domain = ?",
            (made.act, made.kind, confirmed_us, sealed, *_name(made.partition)),
        )
        told = {**public, "act": made.act, "kind": made.kind, "partition": str(made.partition)}
        secret = {"reason": made.said.get("reason", ""), "sealed": b64encode(sealed).decode("ascii")}
        self._store.outbox.put(cursor, [AuditEntry(entry, told, secret)])

    def _opened(self, row: tuple[Any, ...]) -> Correction:
        key = _key(row)
        confirmed = row[5] is not None
        bare = Correction(row[0], row[1], key, 0, 0, confirmed=confirmed)
        words = json.loads(unseal(self._sealing_key(key), row[6], _aad(bare)))
        return Correction(
            row[0],
            row[1],
            key,
            words["batch"],
            words["position"],
            words["fields"],
            confirmed,
            words["said"],
            number=row[7],
            confirmed_us=row[5],
        )

    def _sealing_key(self, key: PartitionKey) -> bytes:
        return derive(self._store.keyring.key(key.ref), _PURPOSE)


def _aad(made: Correction) -> bytes:
    """Bind the sealed words to the row: its id, its kind, and whether it is in force."""
    return f"{made.act}|{made.kind}|{'confirmed' if made.confirmed else 'requested'}".encode()


def _key(row: tuple[Any, ...]) -> PartitionKey:
    return PartitionKey(date.fromisoformat(row[2]), row[3], row[4])


def _name(key: PartitionKey) -> tuple[str, str, str]:
    return key.end_date.isoformat(), key.retention_class, key.key_domain
