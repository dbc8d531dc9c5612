"""Compaction: small parts of a partition become few sorted ones, without a reader or a writer noticing.

1. The parts to merge are chosen by size (pure): like with like, so that a record is rewritten a few times at most.
2. They are merged as a stream (`store.compaction.merging`) into parts of at most `MERGED_ROWS_MAX` rows, each of
   parties of its own, whose rows carry their `batch_id`; durable, and seen by nobody. Memory is that of a few
   such parts, whatever is merged.
3. One transaction puts the new parts in the place of the old ones, which are retired, with its audit entry.
4. Retired files are unlinked when everybody who read then has finished (`store.reading.turns`), during a long run, too:
   so a run needs room for a few hundred MiB and one merge, however large the store is. Where even that is not free,
   parts stay as they are: deliveries need the room more.

A crash before (3) leaves orphans that recovery removes; after it, retired files that the next run removes. A
partition that is dropped is never touched. What a withdrawn batch brought stays, hidden row by row, until its partition
is above the floor; then it is left out of what parts are merged into.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from store import files, siblings
from store.audit import AuditEntry
from store.compaction.merging import FAN_IN_MAX, is_settled, merged
from store.compaction.retired import Room, unlink_retired
from store.model import PartRow, WrittenPart
from store.partitions import PartitionKey, is_above_floor
from store.parts import PartStore
from store.publish import insert_part, part_manifest

if TYPE_CHECKING:
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

MERGED_ROWS_MAX: Final = 1_000_000
"""A merged part has at most so many rows; three of them, two being written, are the bound of compaction's memory."""
WRITERS: Final = 2
"""Stretches encoded at once; one alone would leave a core waiting while the next is merged already."""
BOTH_BYTES_MAX: Final = 256 << 20
"""Two stretches are encoded at once only while both together have no more in memory."""
FAN_IN: Final = 4
"""So many parts of like size are merged into one of the next."""
_OF_PARTITION: Final = "q.end_date = ? AND q.retention_class = ? AND q.key_domain = ?"
_FRESH: Final = "bytes_compacted_fresh"
_MERGED: Final = "bytes_compacted_written"
_TIER_BITS: Final = 2  # a tier holds parts up to four times as large as the one below


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a run of compaction did."""

    partitions: int
    merged: int
    """Parts that were merged."""
    parts: int
    """Parts that they became."""
    rows: int
    bytes_read: int
    bytes_written: int
    retired: int
    """Files still waiting for a reader to finish."""
    withdrawn: int
    """Rows of withdrawn batches that were left out, above the floor."""
    without_room: int
    """Parts that were left as they are, because the disk has no room for what they would become."""
    write_amplification: float
    """Since the store began: bytes that deliveries and merges wrote for each byte of deliveries that was merged."""

    def as_dict(self) -> dict[str, Any]:
        """Return the run as JSON-ready data."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Done:
    """What was merged into what."""

    group: Sequence[PartRow]
    written: Sequence[WrittenPart]
    withdrawn: int


def choose(parts: Sequence[PartRow], *, everything: bool, above_floor: bool = False) -> list[list[PartRow]]:
    """Return the groups of parts of one partition to merge. Pure.

    By default parts of like size, when there are enough of them; `everything` takes all parts, the smallest first when
    they are too many for one merge. Withdrawn parts join in only above the floor.
    """
    sound = sorted((part for part in parts if above_floor or not part.withdrawn), key=lambda p: (p.rows, p.part_id))
    if everything:
        return [sound[:FAN_IN_MAX]] if len(sound) > 1 or any(_hides(part) for part in sound if above_floor) else []
    tiers: dict[int, list[PartRow]] = defaultdict(list)
    for part in sound:
        if part.rows < MERGED_ROWS_MAX:
            tiers[part.rows.bit_length() // _TIER_BITS].append(part)
    groups = []
    for tier in tiers.values():
        group: list[PartRow] = []
        for part in tier:
            if sum(other.rows for other in group) + part.rows > MERGED_ROWS_MAX or len(group) == FAN_IN_MAX:
                groups.append(group)
                group = []
            group.append(part)
        groups.append(group)
    return [group for group in groups if len(group) >= FAN_IN]


def is_due(store: Store, *, everything: bool = False) -> bool:
    """Tell by the catalog alone whether `compact` would find parts to merge, if perhaps as it would leave them.

    The clock is asked where something is withdrawn: only then the floor decides. `compact` asks it for itself, in the
    process that merges; no process is handed another's time.
    """
    parts = defaultdict[PartitionKey, list[PartRow]](list)
    for part in store.catalog.parts():
        parts[part.partition].append(part)
    hiding = {key for key, found in parts.items() if any(map(_hides, found))}
    verdict = store.clock_guard.verdict() if hiding else None
    return any(
        choose(
            found,
            everything=everything,
            above_floor=verdict is not None and verdict.is_trusted and is_above_floor(key, verdict.erase_us),
        )
        for key, found in parts.items()
    )


def compact(
    store: Store,
    *,
    everything: bool = False,
    partition: PartitionKey | None = None,
    tell: Callable[[list[str], list[str]], None] | None = None,
) -> Compacted:
    """Merge the small parts of one partition, or of all.

    When a merge is published, `tell` is told the files of the parts that were merged, and of those that they became.

    Raises:
        BusyError: another process compacts.
        IntegrityError: a part does not authenticate; it is left as it is.
    """
    done: list[_Done] = []
    room = Room(store)
    with files.lock(store.layout.compaction_lock, exclusive=True, blocking=False):
        verdict = store.clock_guard.verdict()
        for key in sorted({part.partition for part in store.catalog.parts()}) if partition is None else (partition,):
            above_floor = verdict.is_trusted and is_above_floor(key, verdict.erase_us)
            for one in _compact_partition(room, key, everything=everything, above_floor=above_floor):
                done.append(one)
                if tell is not None:
                    tell([part.file_id for part in one.group], [part.file_id for part in one.written])
                room.merged_away(one.group)
    store.flush_outbox()
    written = [part for one in done for part in one.written]
    return Compacted(
        partitions=len({one.group[0].partition for one in done}),
        merged=sum(len(one.group) for one in done),
        parts=len(written),
        rows=sum(part.rows for part in written),
        bytes_read=sum(part.bytes for one in done for part in one.group),
        bytes_written=sum(part.total_bytes for part in written),
        retired=unlink_retired(store),
        withdrawn=sum(one.withdrawn for one in done),
        without_room=room.without,
        write_amplification=write_amplification(store),
    )


def write_amplification(store: Store) -> float:
    """Return how many bytes were written for each byte of deliveries that was merged; 1.0 when nothing was."""
    told = dict(store.catalog.query("SELECT name, value FROM meta WHERE name IN (?, ?)", (_FRESH, _MERGED)))
    fresh = int(told.get(_FRESH, 0))
    return round(1 + int(told.get(_MERGED, 0)) / fresh, 3) if fresh else 1.0


def _compact_partition(room: Room, key: PartitionKey, *, everything: bool, above_floor: bool) -> Iterator[_Done]:
    store = room.store
    while True:
        parts = store.catalog.parts(_OF_PARTITION, (key.end_date.isoformat(), key.retention_class, key.key_domain))
        groups = choose(parts, everything=everything, above_floor=above_floor)
        whole = everything and len(groups) == 1 and len(groups[0]) == len(parts)
        if whole and not (above_floor and any(map(_hides, parts))) and _is_final(store, key, parts):
            return
        became = 0
        for group in groups:
            if not room.is_left(group):
                return
            one = _merge(store, key, group, above_floor=above_floor)
            if one is None:
                return
            yield one
            became = len(one.written)
        if not everything or not groups or len(groups[0]) < FAN_IN_MAX or became >= FAN_IN_MAX:
            return


def _hides(part: PartRow) -> bool:
    return part.withdrawn or bool(part.withdrawn_batches)


def _is_final(store: Store, key: PartitionKey, parts: Sequence[PartRow]) -> bool:
    """Tell whether the parts are as a merge of all would leave them."""
    secret = store.keyring.key(key.ref)
    with ExitStack() as stack:
        opened = [stack.enter_context(store.part_store.open(key, part.file_id, secret)) for part in parts]
        return is_settled(opened, MERGED_ROWS_MAX)


def _merge(store: Store, key: PartitionKey, group: Sequence[PartRow], *, above_floor: bool) -> _Done | None:
    """Merge a group; None when something else was done to its parts meanwhile."""
    with store.writers.holding(), ExitStack() as stack:  # nobody takes the new files for orphans
        secret, beside = store.keyring.key(key.ref), None
        if any(part.location_bytes for part in group):
            if not store.keyring.has(key.location.ref):
                return None  # the location is being erased
            beside = store.keyring.key(key.location.ref)
        roads = [siblings.reading_key(store, part) for part in group]
        readers = [
            stack.enter_context(store.part_store.open(key, part.file_id, secret, road))
            for part, road in zip(group, roads, strict=True)
        ]
        store.part_store.is_published(key)
        left_out: Counter[int] = Counter()
        prepares = [partial(prepared, part, above_floor, left_out) for part in group]
        made = written_by(
            merged(readers, prepares, MERGED_ROWS_MAX),
            lambda records: (
                store.part_store.write(key, secret, records, None, location_key=beside),
                batches_of(records),
            ),
            store.part_store,
        )
        written, batches = [part for part, _ in made], [counted for _, counted in made]
        store.part_store.sync_names(key)
        with store.catalog.transaction() as cursor:
            if not _still_there(cursor, group):
                store.part_store.discard(*written)
                return None
            _replace(cursor, group, written, batches)
            entry: dict[str, Any] = {
                "partition": str(key),
                "removed": [part.file_id for part in group],
                "parts": [part_manifest(part) for part in written],
            }
            if left_out:
                entry["withdrawn"] = {str(batch): rows for batch, rows in sorted(left_out.items())}
            store.outbox.put(cursor, [AuditEntry("compaction", entry, None)])
    store.known.merged((part.file_id for part in group), (part.file_id for part in written))
    return _Done(group, written, left_out.total())


def written_by(
    stretches: Generator[pa.Table, None, None],
    write: Callable[[pa.Table], tuple[WrittenPart, Counter[int]]],
    part_store: PartStore,
) -> list[tuple[WrittenPart, Counter[int]]]:
    """Write stretches while the next is being read and merged; when one fails, what was written of them goes."""
    made: list[Future[tuple[WrittenPart, Counter[int]]]] = []
    try:
        with ThreadPoolExecutor(WRITERS, thread_name_prefix="lagrum-merge") as pool, closing(stretches):
            for records in stretches:
                beside = WRITERS if WRITERS * records.nbytes <= BOTH_BYTES_MAX else 1
                for one in made[: len(made) - beside + 1]:
                    one.result()  # so many are written with the one that waits: no more are in memory
                made.append(pool.submit(write, records))
            return [one.result() for one in made]
    except BaseException:
        with suppress(OSError):  # what stays, and what the failed one wrote, is an orphan; recovery removes it
            part_store.discard(*(one.result()[0] for one in made if one.exception() is None))
        raise


def prepared(part: PartRow, above_floor: bool, left_out: Counter[int], records: pa.Table) -> pa.Table:
    """Name the batch in every row; above the floor leave out what is withdrawn."""
    if part.batch_id is not None:
        if part.withdrawn and above_floor:
            left_out[part.batch_id] += records.num_rows
            records = records.slice(0, 0)
        return records.append_column("batch_id", pa.array(np.full(records.num_rows, part.batch_id, np.int64)))
    if above_floor and part.withdrawn_batches:
        gone = pc.is_in(records.column("batch_id"), value_set=pa.array(part.withdrawn_batches, pa.int64()))
        left_out.update(batches_of(records.filter(gone)))
        records = records.filter(pc.invert(gone))
    return records


def batches_of(records: pa.Table) -> Counter[int]:
    """Return how many records each batch has."""
    counted = pc.value_counts(records.column("batch_id").combine_chunks())
    return Counter({item["values"]: item["counts"] for item in counted.to_pylist()})


def _still_there(cursor: sqlite3.Cursor, group: Sequence[PartRow]) -> bool:
    """Tell whether the parts are still published, each with the location that it had."""
    found = 0
    for part in group:
        found += cursor.execute(
            "SELECT count(*) FROM parts JOIN partitions USING (partition_id) WHERE part_id = ? AND state = 'live' "
            "AND location_bytes = ? AND (location_bytes = 0 OR location_state = 'live')",
            (part.part_id, part.location_bytes),
        ).fetchone()[0]
    return found == len(group)


def _replace(
    cursor: sqlite3.Cursor, group: Sequence[PartRow], written: Sequence[WrittenPart], batches: Sequence[Counter[int]]
) -> None:
    for one, counts in zip(written, batches, strict=True):
        part_id = insert_part(cursor, None, one)
        cursor.executemany(
            "INSERT INTO part_batches (part_id, batch_id, rows) VALUES (?, ?, ?)",
            [(part_id, batch_id, rows) for batch_id, rows in counts.items()],
        )
    for name, size in (
        (_FRESH, sum(part.total_bytes for part in group if part.batch_id is not None)),
        (_MERGED, sum(part.total_bytes for part in written)),
    ):
        cursor.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET "
            "value = CAST(CAST(value AS INTEGER) + ? AS TEXT)",
            (name, str(size), size),
        )
    for part in group:
        cursor.execute(
            "INSERT INTO retired (file_id, partition_id) SELECT file_id, partition_id FROM parts WHERE part_id = ?",
            (part.part_id,),
        )
        cursor.execute("DELETE FROM part_batches WHERE part_id = ?", (part.part_id,))
        cursor.execute("DELETE FROM parts WHERE part_id = ?", (part.part_id,))
        cursor.execute(
            "UPDATE partitions SET rows = rows - ?, parts = parts - 1, bytes = bytes - ? "
            "WHERE end_date = ? AND retention_class = ? AND key_domain = ?",
            (
                part.rows,
                part.total_bytes,
                part.partition.end_date.isoformat(),
                part.partition.retention_class,
                part.partition.key_domain,
            ),
        )
