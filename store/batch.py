"""The commit path: one delivery becomes visible whole, or not at all.

1. `add`: open sessions fold; records of expired partitions are refused; the rest are told new from known.
2. New rows gather per partition; a full buffer is sorted, encrypted, written and fsync'd by a worker.
3. `commit`: remaining buffers are written, directories fsync'd; then, holding the catalog's write lock, the batch is
   compared with what others published meanwhile, and one transaction publishes parts, rejects, sessions, counts and
   the audit entry. Only then is the receipt returned: acknowledged means durable.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.rejects import Reject
from store import siblings
from store.identities.dedup import EXPIRED, Chunk, Fate, Told, classify
from store.identities.horizon import around, near, nearest_first
from store.identities.identity import Tags
from store.identities.identity_lookup import PartSource
from store.identities.lone_ends import with_starts
from store.in_flight import InFlightBatch, sources
from store.model import Receipt, SourceRef, WrittenPart
from store.open_sessions.sessions import EVENT_COLUMNS, SessionArea
from store.partitions import PartitionKey
from store.provenance import complete
from store.publish import OnPublish, Publication, publish
from store.quarantine import RejectSpool
from store.retention.clocktrust import Verdict
from store.retention.late_records import over_rows
from store.retention.policies import distinct, partition_of, slots_of
from store.syncing import Syncs
from store.write_buffer import Buffer, Held, without_duplicates

if TYPE_CHECKING:
    from store.store import Store

PART_ROWS: Final = 640_000
"""A partition's buffer of so many rows becomes a part."""
BUFFER_ROWS_MAX: Final = 2_000_000
"""All buffers together; above it the largest is written first."""
SIEVE_LARGE_BYTES: Final = 512 << 20
"""From here on both are halved, so that sieve and buffers together stay below 2 GiB."""
RELEASE_BYTES: Final = 64 << 20
"""While a large sieve grows by so much, memory that was freed is kept for the next stretch."""
SHARED_ROWS_MIN: Final = 131_072
"""A last buffer of so many rows is written as two parts, by both writers."""
LARGE_ROWS_MIN: Final = 65_536
"""A part of so many rows waits for the disk by itself, beside the other writer; smaller ones all together."""
WRITERS: Final = 2
"""Parts encoded at once; a Parquet writer uses one core."""


class BatchWriter:
    """One delivery on its way in. Use as a context manager: leaving it without `commit` discards everything."""

    def __init__(
        self, store: Store, source: SourceRef, format: str, idempotency_tag: bytes | None, after: InFlightBatch | None
    ) -> None:
        self._store, self._source, self._format = store, source, format
        self._idempotency_tag = idempotency_tag
        self._started = time.monotonic()
        self._received_us = store.clock.now_us()
        self._counts: Counter[Fate] = Counter()
        self._events_accepted = 0
        self._rejects = RejectSpool(store.layout.run)
        self._buffers: dict[int, Buffer] = {}
        self._written: list[WrittenPart] = []
        self._pending: list[tuple[Future[WrittenPart], int, Buffer]] = []
        self._held: list[Held] = []
        self._preceding = InFlightBatch()
        self._after = after
        self._before, others = ((), ()) if after is None else after.rows()
        self._seen: frozenset[str] = frozenset()
        self._pool = ThreadPoolExecutor(WRITERS, thread_name_prefix="lagrum-part")
        self._parts = sources(store.known, others)
        self._slots: set[int] = set()
        self._days: set[int] = set()
        self._located: set[int] = set()
        self._beside: set[PartitionKey] = set()
        self._released_at_bytes = 0
        self._policy = store.policies.current()
        self._states = store.catalog.partition_states()
        self._snapshot = store.catalog.change_counter()
        self._withdrawals = store.catalog.withdrawals()
        self._doubtful: list[npt.NDArray[np.int64]] = []
        self._sessions: SessionArea | None = None
        self._told: list[Told] | None = None
        self._on_publish: OnPublish | None = None
        self._sha256 = b""
        self._size_bytes = 0
        self._syncs = Syncs()
        self._done = False

    def __enter__(self) -> BatchWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._done:
            self.abort()

    def precede(self) -> InFlightBatch:
        """Return what the batch after this one is compared with: all records are in, and the commit is not begun."""
        return self._preceding.begin([held.chunk for held in self._held], list(self._written))

    def settle(self) -> None:
        """Wait for the batch before, if there is one: its rows need no room in memory any more.

        Raises:
            VoidError: it was not published as it was written; this one cannot be published either.
        """
        if self._after is not None:
            parts = self._after.published()
            self._seen = frozenset(part.file_id for part in parts)
            self._parts = [part for part in self._parts if part.file_id not in self._seen]
            self._parts += sources(self._store.known, parts)
            self._before, self._after = (), None

    def add(self, records: pa.Table) -> None:
        """Take packed records in: columns of the packed schema without what the store sets, but `batch_position`.

        Columns `event` and `session_key` mark events of sessions; a row without an event is a record. Every row ends in
        the counts of the receipt.
        """
        if records.num_rows == 0:
            return
        records = complete(self._source, records)
        if EVENT_COLUMNS[0] in records.column_names:
            folded_records = self._fold(records)
            if folded_records is not None:
                self._take(folded_records)
        else:
            self._take(records)

    def reject(self, rejects: Sequence[Reject]) -> None:
        """Take refused records in; they are kept encrypted and counted."""
        self._rejects.add(rejects)

    def finish_input(self, sha256: bytes, size_bytes: int) -> None:
        """Say what was delivered: SHA-256 and size of the bytes as they came."""
        self._sha256, self._size_bytes = sha256, size_bytes

    def replay(self, received_us: int, expired: int, on_publish: OnPublish) -> list[Told]:
        """Stand in for deliveries that came at `received_us`, of which `expired` records were refused then.

        `on_publish` runs within the batch's transaction. Returns what will tell the fate of each position.
        """
        self._received_us, self._on_publish = received_us, on_publish
        self._rejects.count_expired(expired)
        self._told = []
        return self._told

    def close_stale_sessions(self, before_us: int) -> None:
        """Turn the source's sessions that are silent since `before_us` into records with inferred ends."""
        records = self._area().stale(before_us)
        if records is not None:
            own = records.select([name for name in records.column_names if name != "batch_id"])
            self._take(complete(self._source, own))

    @property
    def records(self) -> int:
        """Input events so far."""
        return self._counts.total() + self._events_accepted + self._rejects.count

    @property
    def doubtful_positions(self) -> npt.NDArray[np.int64]:
        """Positions of the records so far that are not simply new: duplicates, conflicts, expired ones."""
        return np.concatenate([np.zeros(0, np.int64), *self._doubtful])

    def commit(self) -> Receipt:
        """Publish the batch and return its receipt; when it returns, everything is durable.

        Raises:
            LagrumError: nothing of the batch is visible; it can be delivered again.
            VoidError: the same, because of the batch before.
        """
        try:
            self._share_last()
            for slot in list(self._buffers):
                self._flush(slot)
            self._collect(0)
            self._syncs.finish()
            self._store.part_store.sync_names(*{part.partition for part in self._written})
            self.settle()
            receipt, published = publish(self._store, self._publication())
        except BaseException:
            self.abort()
            raise
        self._done = True
        self._preceding.end(published if published == self._written else None)
        self._rejects.close()
        self._pool.shutdown()
        self._store.writers.release(self)
        self._store.flush_outbox()
        return receipt

    def abort(self) -> None:
        """Discard everything that was written for the batch."""
        if self._done:
            return
        self._done = True
        self._preceding.end(None)
        self._rejects.close()
        try:
            self._pool.shutdown()
            self._syncs.drop()
            for future, _, _ in self._pending:
                if future.exception() is None:  # what a failed one wrote is an orphan; recovery removes it
                    self._written.append(future.result())
            # An interrupt may come between the catalog's commit and this line: what is published stays.
            published = self._store.catalog.published([part.file_id for part in self._written])
            for part in self._written:
                if part.file_id not in published:
                    self._store.part_store.discard(part)
        finally:
            self._store.writers.release(self)

    def _area(self) -> SessionArea:
        if self._sessions is None:
            store = self._store
            store.ensure_session_key(self._received_us)
            self._sessions = SessionArea(
                store.catalog, store.keyring, store.hasher, self._source.name, self._source.dedup_domain
            )
        return self._sessions

    def _fold(self, records: pa.Table) -> pa.Table | None:
        whole = np.asarray(pc.fill_null(pc.equal(records.column("event"), pa.scalar("record")), pa.scalar(True)))
        if whole.all():
            return records.drop_columns(list(EVENT_COLUMNS))
        events = records.filter(pa.array(~whole)) if whole.any() else records
        folded = self._area().fold(events)
        self._events_accepted += len(folded.accepted)
        self._counts[Fate.DUPLICATE] += len(folded.duplicates)
        for fate, positions in ((Fate.NEW, folded.accepted), (Fate.DUPLICATE, folded.duplicates)):
            self._tell(positions, np.full(len(positions), fate, np.int8))
        tables = [] if folded.records is None else [folded.records]
        if whole.any():
            tables.append(records.filter(pa.array(whole)).drop_columns(list(EVENT_COLUMNS)))
        return pa.concat_tables(tables, promote_options="default") if tables else None

    def _take(self, records: pa.Table) -> None:
        clock = self._store.clock_guard.verdict()
        self._policy = clock.policy  # a later version only adds classes: the slots so far keep their meaning
        slots = slots_of(self._policy, records)
        if not self._slots.issuperset(distinct(slots)):
            self._states = self._store.catalog.partition_states()  # one may have been erased since the batch began
        gone = over_rows(records, slots, self._states, clock)
        if gone is not None:
            positions = records.column("batch_position").to_numpy()[gone]
            self._rejects.count_expired(len(positions))
            self._doubtful.append(positions)
            self._tell(positions, np.full(len(positions), EXPIRED, np.int8))
            records, slots = records.filter(pa.array(~gone)), slots[~gone]
        if records.num_rows == 0:
            return
        self._know(slots, siblings.has_location(records), clock)
        tags = self._store.hasher.tags(records)
        parts = near(self._parts, slots)
        screened = self._store.known.screen.tell(tags, parts)
        chunks = [*self._before, *(held.chunk for held in self._held)]
        fates = classify(records, tags, self._store.hasher, parts, screened=screened, chunks=chunks)
        records = with_starts(records)
        counts = np.bincount(fates, minlength=len(Fate))
        self._counts.update({fate: int(counts[fate]) for fate in Fate})
        self._tell(records.column("batch_position").to_numpy(), fates)
        if fates.any():
            self._doubtful.append(records.column("batch_position").to_numpy()[fates != Fate.NEW])
            records, tags, slots = without_duplicates(records, tags, slots, fates)
        self._buffer(records, tags, slots, screened.epoch)

    def _tell(self, positions: npt.NDArray[np.int64], fates: npt.NDArray[np.int8]) -> None:
        if self._told is not None:
            self._told.append((positions, fates))

    def _know(self, slots: npt.NDArray[np.int64], located: bool, clock: Verdict) -> None:
        """Make keys of new partitions, and bring in the published parts around the new days, the nearest first.

        Of a day the parts of all classes count: no record is stored twice because its class is another.
        """
        unique = set(distinct(slots))
        new = unique - self._slots
        wanted = [partition_of(self._policy, slot, self._states) for slot in sorted(new)]
        if located:
            beside = [partition_of(self._policy, slot, self._states) for slot in sorted(unique - self._located)]
            self._beside |= (kept := set(siblings.kept(self._store, beside, clock)))
            wanted += kept
            self._located |= unique
        self._store.keyring.ensure([key.ref for key in wanted])
        if not new:
            return
        self._slots |= new
        days = around(new)
        found = self._store.known.sources(days - self._days, self._snapshot)
        self._days |= days
        self._parts = nearest_first([*self._parts, *found], new)

    def _buffer(self, records: pa.Table, tags: Tags, slots: npt.NDArray[np.int64], epoch: int) -> None:
        if records.num_rows == 0:
            return
        unique = distinct(slots)
        held = Held(Chunk(records, tags, epoch), set(unique))
        self._held.append(held)
        for slot in unique:
            buffer = self._buffers.setdefault(slot, Buffer())
            if len(unique) == 1:
                part, own = records, tags
            else:
                chosen = np.flatnonzero(slots == slot)
                part, own = records.take(chosen), tags[chosen]
            buffer.add(part, own, held)
        share = self._share()
        for slot in [slot for slot, buffer in self._buffers.items() if buffer.rows >= PART_ROWS // share]:
            self._flush(slot)
        while self._buffers and sum(held.chunk.table.num_rows for held in self._held) > BUFFER_ROWS_MAX // share:
            self._flush(max(self._buffers, key=lambda slot: self._buffers[slot].rows))

    def _share(self) -> int:
        """Return by how much buffers are cut: beside a large sieve they are halved, and freed memory goes back."""
        sieve_bytes = self._store.known.screen.nbytes
        if sieve_bytes < SIEVE_LARGE_BYTES:
            return 1
        if sieve_bytes >= self._released_at_bytes + RELEASE_BYTES:
            pa.default_memory_pool().release_unused()
            self._released_at_bytes = sieve_bytes
        return 2

    def _share_last(self) -> None:
        """Write half of a last, lone buffer by itself: nothing else keeps the other writer busy."""
        if len(self._buffers) != 1:
            return
        ((slot, buffer),) = self._buffers.items()
        if buffer.rows >= SHARED_ROWS_MIN:
            for half in buffer.halves():
                self._buffers[slot] = half
                self._flush(slot)

    def _flush(self, slot: int) -> None:
        buffer = self._buffers.pop(slot)
        partition = partition_of(self._policy, slot, self._states)
        key = siblings.writing_key(self._store, partition)
        is_beside = partition.location in self._beside and any(map(siblings.has_location, buffer.tables))
        beside = siblings.writing_key(self._store, partition.location) if is_beside else None
        self._pending.append((self._pool.submit(self._write, partition, key, beside, buffer), slot, buffer))
        self._collect(WRITERS)

    def _write(self, partition: PartitionKey, key: bytes, location_key: bytes | None, buffer: Buffer) -> WrittenPart:
        table = pa.concat_tables(buffer.tables, promote_options="default")
        tags = np.concatenate(buffer.tags)
        syncs = self._syncs if table.num_rows < LARGE_ROWS_MIN else None
        return self._store.part_store.write(partition, key, table, tags, location_key=location_key, syncs=syncs)

    def _collect(self, running_max: int) -> None:
        while len(self._pending) > running_max:
            future, slot, buffer = self._pending[0]
            part = future.result()
            self._pending.pop(0)
            self._written.append(part)
            self._parts.append(PartSource(self._store.known, part))
            self._store.known.screen.cover(part.file_id, {held.chunk.epoch for held in buffer.held})
            for held in buffer.held:
                held.slots.discard(slot)
            self._held = [held for held in self._held if held.slots]

    def _publication(self) -> Publication:
        return Publication(
            source=self._source,
            format=self._format,
            received_us=self._received_us,
            records=self.records,
            accepted=self._counts[Fate.NEW] + self._events_accepted,
            duplicates=self._counts[Fate.DUPLICATE],
            conflicts=self._counts[Fate.CONFLICT],
            rejects=self._rejects,
            parts=list(self._written),
            written=self._written,
            sessions=self._sessions,
            sha256=self._sha256,
            size_bytes=self._size_bytes,
            started=self._started,
            snapshot=self._snapshot,
            seen=self._seen,
            withdrawals=self._withdrawals,
            # What holds no record is the same each night, and the source is heard each night.
            idempotency_tag=self._idempotency_tag if self.records else None,
            on_publish=self._on_publish,
        )
