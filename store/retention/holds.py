"""Holds: single records that outlive their partition, for one purpose, under a key of their own.

A hold is a document of kind `hold`. Nothing happens to records until their partition's end: then, before the erasure
begins, what the hold names is copied out of the partition, reduced to the fields that its basis needs, into the held
area under the hold's own key. The partition drops all the same. Ending a hold destroys its key.

Where the location ends before its records (`store.siblings`), a hold whose basis keeps location copies the records that
have one when the location ends, and all others when the records do.

Carving one hold out of one partition: (1) the held file, durable; (2) one row in the catalog, with its audit entry. A
file that no row names is removed by the next run. Erasure looks at the holds again in the transaction that begins it,
so a hold that came meanwhile wins: the partition waits for the next run.

How it ends, and what certifies it: `store.retention.hold_end`.

That a hold's time is over is told by every clock where records go for good, as with partitions; readers go by the wall.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute

from schemas.errors import IntegrityError, KeyUnavailableError, NotFoundError, ProcedureError
from schemas.holds import Purpose
from store import files, parquet
from store.audit import AuditEntry
from store.binding import FileBinding
from store.model import PartitionStatus, PartRow, Problem
from store.partitions import PartitionKey, newest
from store.retention import commitments, hold_end
from store.retention.expiry import Holding
from store.retention.hold import ACTIVE, BOUNDS, ENDED, ENDING, Hold, selected
from store.siblings import LOCATION_COLUMNS

if TYPE_CHECKING:
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

KIND: Final = commitments.KIND
_ROLE: Final = "held"
_PLACE: Final = ("batch_id", "batch_position")


@dataclass(frozen=True, slots=True)
class Copied:
    """What was copied out of a partition that is written anew: rows of the catalog, and how many holds, by kind."""

    rows: Sequence[tuple[Any, ...]]
    counts: Mapping[str, int]


class Holds:
    """The holds of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Hold]:
        """Return every hold that is confirmed, ended ones too."""
        return [
            Hold.of(item) for item in self._store.documents.list(KIND) if item.body["state"] in (ACTIVE, ENDING, ENDED)
        ]

    def get(self, hold_id: str) -> Hold:
        """Return one hold.

        Raises:
            NotFoundError: there is none of that id that is confirmed.
        """
        for hold in self.all():
            if hold.id == hold_id:
                return hold
        raise NotFoundError("there is no such hold")

    def check(self, _cursor: sqlite3.Cursor, key: PartitionKey) -> Holding:
        """Tell what holds say of a partition, within the transaction that begins its erasure."""
        now_us = self._erase_us()
        parts = self._parts(key)
        carved = self._carved(key)
        counts: Counter[str] = Counter()
        blocking = 0
        for hold in self.all():
            if not any(hold.reaches(part) for part in parts) or not hold.keeps(key.category):
                continue
            if hold.id in carved:
                counts[hold.basis.id] += 1
            elif hold.is_in_force(now_us):
                blocking += 1
        return Holding(blocking, counts)

    def counted(self, items: Sequence[PartitionStatus]) -> list[PartitionStatus]:
        """Return partitions with the number of holds in force whose window reaches them; which records is not asked."""
        now_us = self._store.clock.now_us()
        holds = [hold for hold in self.all() if hold.is_in_force(now_us)]
        if not holds:
            return list(items)
        reached: dict[PartitionKey, set[str]] = defaultdict(set)
        window = max(hold.end_us for hold in holds), min(hold.start_us for hold in holds)
        for part in self._store.catalog.parts("p.start_us_min < ? AND p.end_us_max >= ?", window):
            reached[part.partition].update(hold.id for hold in holds if hold.reaches(part))
        return [replace(item, holds=len(reached[item.key])) for item in items]

    def carve(self, key: PartitionKey) -> None:
        """Copy out of a partition what holds in force name; the caller holds the erasure lock."""
        self._sweep()
        now_us = self._erase_us()
        parts = self._parts(key)
        done = self._carved(key)
        for hold in self.all():
            reached = hold.keeps(key.category) and any(hold.reaches(part) for part in parts)
            if reached and hold.is_in_force(now_us) and hold.id not in done:
                self._carve(hold, key, [part for part in parts if hold.reaches(part)])

    def end(self, hold_id: str, *, reason: str, actors: Sequence[str] = ()) -> None:
        """End a hold: destroy its key and what it held. Ending one that ended is no error.

        Raises:
            NotFoundError: there is no such hold.
            AuditError: the intent could not be logged.
        """
        hold_end.end(self._store, self.get(hold_id), reason=reason, actors=actors)

    def make_keys(self) -> None:
        """Make the keys of holds that have none yet: a restored backup from before a hold learns of it by its key."""
        self._store.keyring.ensure([hold.ref for hold in self.all() if hold.state == ACTIVE])

    def lapse(self) -> list[str]:
        """End the holds whose time is over by every clock, and those whose ending was begun; return their ids.

        Raises:
            IntegrityError: the catalog does not know the holds that the audit log knows.
        """
        now_us = self._erase_us()
        self.make_keys()  # a crash came between a confirmation and its key
        over = [hold for hold in self.all() if hold.state != ENDED and not hold.is_in_force(now_us)]
        if over:
            commitments.refuse_forgotten(self._store)
        for hold in over:
            self.end(hold.id, reason="its time is over")
        for hold in self.all():
            if hold.state == ENDED and self._files(hold.id):  # a crash came between its last two steps
                hold_end.forget(self._store, hold.id)
        return [hold.id for hold in over]

    def end_destroyed(self) -> None:
        """End the holds that keep what nobody can read: their key was destroyed after the backup that was restored."""
        for hold in self.all():
            if hold.state != ENDED and self._files(hold.id) and not self._store.keyring.has(hold.ref):
                self.end(hold.id, reason="its key was destroyed after the backup was made")

    def scan(
        self,
        purpose: Purpose,
        *,
        start_us: int,
        end_us: int,
        columns: Sequence[str],
        holds: Sequence[str] | None = None,
        by_end: bool = False,
        include_conflicts: bool = True,
        batch_id_max: int | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Yield held records of a window, each once, for the purpose of their hold and no other.

        What lies in a partition that is still there is left to `Store.scan`. A record of which only the location ended
        comes with it if `columns` ask for location; `Store.scan` has it too, without.

        Args:
            purpose: what the records are for.
            start_us: begin of the window, inclusive.
            end_us: end of the window, exclusive.
            columns: packed columns; those that were not kept come back as nulls.
            holds: ids of holds; None takes all of the purpose.
            by_end: records that ended in the window instead of those that overlap it.
            include_conflicts: also records that contradict an earlier one.
            batch_id_max: only what this batch and earlier ones brought.

        Raises:
            ProcedureError: a named hold serves another purpose.
            IntegrityError, KeyUnavailableError: a held file cannot be read; there is no partial answer.
        """
        now_us = self._store.clock.now_us()
        chosen = [hold for hold in self.all() if hold.is_in_force(now_us) and (holds is None or hold.id in holds)]
        if holds is not None and any(hold.basis.purpose != purpose for hold in chosen):
            raise ProcedureError("a hold serves its own purpose only", reason="purpose")
        states = self._store.catalog.partition_states() | self._store.catalog.location_states()
        located = not LOCATION_COLUMNS.isdisjoint(columns)
        seen: set[tuple[Any, ...]] = set()
        for hold in chosen:
            if hold.basis.purpose != purpose:
                continue
            for partition, file_id in self._files(hold.id):
                left = partition.category and not located and states.get(newest(partition.core, states)) == "live"
                if left or states.get(partition) == "live":
                    continue
                table = self._read(hold, partition, file_id)
                starts, ends = (table.column(name).cast(pa.int64()) for name in BOUNDS)
                upper = ends if by_end else starts
                mask = pc.and_(pc.greater_equal(ends, start_us), pc.less(upper, end_us))
                if not include_conflicts:
                    mask = pc.and_(mask, pc.invert(table.column("conflict")))
                if batch_id_max is not None:
                    mask = pc.and_(mask, pc.less_equal(table.column("batch_id"), batch_id_max))
                table = table.filter(mask)
                identities = list(zip(*(table.column(name).to_pylist() for name in _PLACE), strict=True))
                table = table.filter(pa.array([item not in seen for item in identities], pa.bool_()))
                seen.update(identities)
                yield from parquet.conform(table, list(columns)).combine_chunks().to_batches()

    def report(self) -> dict[str, Any]:
        """Return how much is held, by hold and in all, beside what the store keeps."""
        rows = {
            row[0]: row[1:]
            for row in self._store.catalog.query(
                "SELECT hold_id, count(*), sum(rows), sum(bytes) FROM held GROUP BY hold_id"
            )
        }
        held = sum(row[1] for row in rows.values())
        stored = sum(item.records for item in self._store.partitions())
        return {
            "held": {id: {"partitions": row[0], "records": row[1], "bytes": row[2]} for id, row in rows.items()},
            "records_held": held,
            "records_stored": stored,
            "share": held / (held + stored) if held + stored else 0.0,
        }

    def problems(self) -> list[Problem]:
        """Return every disagreement between the held area and the catalog."""
        found = commitments.problems(self._store)
        known = {hold.id: hold for hold in self.all()}
        rows = self._store.catalog.query(
            "SELECT hold_id, partition, file_id, rows, bytes, sha256 FROM held WHERE file_id IS NOT NULL"
        )
        for hold_id, partition, file_id, count, size, digest in rows:
            where = f"hold {hold_id}, partition {partition}"
            path = self._store.layout.held_file(hold_id, file_id)
            if hold_id not in known:
                found.append(Problem(where, "it holds records, but there is no such hold"))
            elif known[hold_id].state == ENDED:
                continue
            elif not path.is_file():
                found.append(Problem(where, "its file is missing"))
            elif path.stat().st_size != size or parquet.digest(path) != digest:
                found.append(Problem(where, "its file was changed"))
            else:
                found += self._readable(known[hold_id], partition, file_id, count, where)
        named = {(row[0], row[2]) for row in rows}
        for path in sorted(self._store.layout.held.glob("*/*")):
            if (path.parent.name, path.stem) not in named:
                where = f"hold {path.parent.name}"
                found.append(Problem(where, "a file lies among the held ones that the catalog does not know"))
        return found

    def _readable(self, hold: Hold, partition: str, file_id: str, count: int, where: str) -> list[Problem]:
        try:
            rows = self._read(hold, PartitionKey.parse(partition), file_id).num_rows
        except (IntegrityError, KeyUnavailableError) as error:
            return [Problem(where, error.message)]
        return [] if rows == count else [Problem(where, "its file holds another number of records")]

    def copied(self, key: PartitionKey, services: Sequence[str]) -> Copied:
        """Copy what holds in force name of some categories of service; the caller holds the erasure lock.

        The files are durable, and orphans until `note` has named them.
        """
        self._sweep()
        now_us = self._erase_us()
        parts = self._parts(key)
        reaching = [hold for hold in self.all() if hold.is_in_force(now_us) and any(map(hold.reaches, parts))]
        rows = [self._copy(hold, key, [part for part in parts if hold.reaches(part)], services) for hold in reaching]
        return Copied(rows, Counter(hold.basis.id for hold in reaching))

    def note(self, cursor: sqlite3.Cursor, copied: Copied) -> None:
        """Name what was copied, in the transaction that takes it out of its partition."""
        for row in copied.rows:
            self._put(cursor, row)

    def _erase_us(self) -> int:
        """Return the instant by which a hold's time is over, where that ends something for good."""
        return self._store.clock_guard.verdict().erase_us

    def _carve(self, hold: Hold, key: PartitionKey, parts: Sequence[PartRow]) -> None:
        row = self._copy(hold, key, parts)
        with self._store.catalog.transaction() as cursor:
            self._put(cursor, row)
        self._store.flush_outbox(required=True)

    def _copy(
        self, hold: Hold, key: PartitionKey, parts: Sequence[PartRow], services: Sequence[str] | None = None
    ) -> tuple[Any, ...]:
        """Write what a hold names, durably; return the row that will name the file."""
        store, only_located = self._store, bool(key.category)
        tables = [
            table
            for part in parts
            for table in selected(store, hold, part, only_located=only_located, services=services)
        ]
        records = pa.concat_tables(tables, promote_options="default") if tables else None
        row: tuple[Any, ...] = (hold.id, str(key), None, 0, 0, "")
        if records is not None and records.num_rows:
            store.keyring.ensure([hold.ref])
            file_id = secrets.token_hex(16)
            path = store.layout.held_file(hold.id, file_id)
            for directory in (store.layout.held, path.parent):
                files.make_dir(directory)
            binding = self._binding(key, file_id)
            size, digest = parquet.write(path, records, binding, store.keyring.key(hold.ref))
            files.fsync_dir(path.parent)
            row = (hold.id, str(key), file_id, records.num_rows, size, digest)
        return row

    def _put(self, cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> None:
        public = {"hold": row[0], "partition": row[1], "records": row[3], "file": row[2], "sha256": row[5]}
        cursor.execute(
            "INSERT INTO held (hold_id, partition, file_id, rows, bytes, sha256) VALUES (?, ?, ?, ?, ?, ?)", row
        )
        self._store.outbox.put(cursor, [AuditEntry(commitments.CARVED, public, None)])

    def _sweep(self) -> None:
        """Remove files that neither a row nor the log names: a crash came between the file and its row."""
        named = {(row[0], row[1]) for row in self._store.catalog.query("SELECT hold_id, file_id FROM held")}
        for path in sorted(self._store.layout.held.glob("*/*")):
            if (path.parent.name, path.stem) not in named and not commitments.is_kept(
                self._store, path.parent.name, path.stem
            ):
                files.unlink_durable(path, missing_ok=True)

    def _parts(self, key: PartitionKey) -> list[PartRow]:
        name = (key.end_date.isoformat(), key.retention_class, key.key_domain)
        where = "q.end_date = ? AND q.retention_class = ? AND q.key_domain = ?"
        parts = [part for part in self._store.catalog.parts(where, name) if not part.withdrawn]
        return [part for part in parts if part.location_bytes] if key.category else parts

    def _carved(self, key: PartitionKey) -> set[str]:
        rows = self._store.catalog.query("SELECT hold_id FROM held WHERE partition = ?", (str(key),))
        return {row[0] for row in rows}

    def _files(self, hold_id: str) -> list[tuple[PartitionKey, str]]:
        rows = self._store.catalog.query(
            "SELECT partition, file_id FROM held WHERE hold_id = ? AND file_id IS NOT NULL ORDER BY held_id", (hold_id,)
        )
        return [(PartitionKey.parse(row[0]), row[1]) for row in rows]

    def _read(self, hold: Hold, partition: PartitionKey, file_id: str) -> pa.Table:
        binding = self._binding(partition, file_id)
        path = self._store.layout.held_file(hold.id, file_id)
        with parquet.open_file(path, binding, self._store.keyring.key(hold.ref)) as file:
            return parquet.read_groups(file, list(range(file.metadata.num_row_groups)), None, binding)

    def _binding(self, partition: PartitionKey, file_id: str) -> FileBinding:
        return FileBinding(self._store.store_id, partition, file_id, _ROLE)
