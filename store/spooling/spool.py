"""The spool: small pushes are durable here, a group at a time, before they are in a batch.

`append` seals a group of pushes into one frame of the active segment and syncs it: one write and one sync, whatever the
number of pushes. `drain` commits what lies in the spool as ordinary batches (`store.spooling.spool_drain`); every
reader drains first, so what is acknowledged is found. A segment is held under a lock by the process that appends to it,
and only one that nobody holds is removed.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import BusyError, LagrumError
from store import files
from store.clock import to_date
from store.keys import KeyRef
from store.model import Receipt
from store.partitions import is_expired
from store.retention.policies import partition_of, slots_of
from store.spooling import spool_drain, spool_receipts
from store.spooling.spool_format import MAGIC, Ints, PushGroup, SegmentCipher
from store.spooling.spool_receipts import PushId, PushReceipt

if TYPE_CHECKING:
    from store.store import Store

SEGMENT_BYTES_MAX: Final = 64 << 20
"""A segment that reaches so many bytes is closed."""
SPOOL_BYTES_MAX: Final = 1 << 30
"""With so many bytes undrained, pushes are refused until there is room."""
_log = logging.getLogger("lagrum.store")


def day_ref(now_us: int) -> KeyRef:
    """Return the key of the segments that are begun on a day."""
    return KeyRef("spool", to_date(now_us).isoformat(), "pushes", "shared")


@dataclass(slots=True)
class Segment:
    """The segment that this process appends to."""

    number: int
    file_id: str
    path: Path
    ref: KeyRef
    fd: int
    cipher: SegmentCipher
    held: ExitStack
    size_bytes: int = len(MAGIC)
    frames: int = 0
    entries: int = 0

    def close(self) -> None:
        """Let go of the file; whoever drains it may remove it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            self.held.close()


@dataclass(frozen=True, slots=True)
class Spooled:
    """What lies in the spool and came through this process."""

    pushes: int
    bytes: int
    oldest_us: int | None


@dataclass(slots=True)
class _Held:
    """What this process knows of a segment that is not drained."""

    since_us: int
    pushes: int = 0
    bytes: int = 0
    entries: dict[int, tuple[str, Ints]] = field(default_factory=dict)


class Spool:
    """The spool of one store; safe for threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._active: Segment | None = None
        self._held: dict[int, _Held] = {}
        self.bytes_max = SPOOL_BYTES_MAX
        self.drained: Callable[[Receipt], None] | None = None
        """Called with the receipt of every batch that a drain commits."""

    def append(self, groups: Sequence[PushGroup]) -> list[list[PushId]]:
        """Make pushes durable; return the id of each. Everything is in one frame, under one sync.

        Raises:
            BusyError: the spool is full, the disk does not take it, or the store is not in its place any more. Nothing
                is kept; it can be pushed again.
        """
        self._store.catalog.refuse_other()
        entries = [group.to_bytes() for group in groups]
        with self._lock:
            if sum(held.bytes for held in self._held.values()) >= self.bytes_max:
                raise BusyError("the spool is full", hint="it empties as soon as the store can commit")
            segment = self._ready()
            try:
                frame = segment.cipher.seal(segment.frames, entries)
                files.append_durable(segment.fd, frame)
            except OSError as error:
                self._give_up(segment)
                raise BusyError("the disk does not take the spool", hint="check its space and its state") from error
            except BaseException:
                self._give_up(segment)  # its frame's number may be spent
                raise
            segment.frames += 1
            segment.size_bytes += len(frame)
            return self._note(segment, groups, len(frame))

    def rotate(self) -> None:
        """Close the active segment, if something is in it or its day is over; the next append has another."""
        with self._lock:
            active, today = self._active, day_ref(self._store.clock.now_us())
            if active is None or not (active.frames or active.ref != today):
                return
            wanted = bool(active.frames)
        following = None
        if wanted:
            with self._store.writers.holding():
                following = self._create()  # before the lock: appends do not wait for it
        with self._lock:
            if self._active is active and active is not None:
                active.close()
                self._active = following
            elif following is not None:
                following.close()

    def drain(self) -> list[Receipt]:
        """Commit everything that lies in the spool, whichever process took it; return the batches' receipts.

        Raises:
            LagrumError: not everything could be committed; what was not stays in the spool.
        """
        return spool_drain.drain(self._store)

    def recover(self) -> None:
        """Drain what another process left; what cannot be drained stays, and stops whoever reads."""
        try:
            self.drain()
        except LagrumError as error:
            _log.error("the spool cannot be drained: %s", error.message)

    def receipt(self, push: PushId) -> PushReceipt | None:
        """Return what is known of a push; None when there is none of this id, or it was too long ago."""
        with self._lock:
            held = self._held.get(push.segment)
            entry = None if held is None else held.entries.get(push.entry)
        found = spool_receipts.committed(self._store.catalog, push)
        if found is None and held is None and self._is_left(push.segment):
            self.drain()
            found = spool_receipts.committed(self._store.catalog, push)
        if found is not None or entry is None or push.place >= len(entry[1]):
            return found
        return PushReceipt(push, entry[0], int(entry[1][push.place]))

    @property
    def spooled(self) -> Spooled:
        """What lies in the spool and came through this process."""
        with self._lock:
            held = [item for item in self._held.values() if item.pushes]
        oldest = min((item.since_us for item in held), default=None)
        return Spooled(sum(item.pushes for item in held), sum(item.bytes for item in held), oldest)

    def is_idle(self, segment: int) -> bool:
        """Tell whether a segment is this process's active one, of today, and nothing is in it."""
        with self._lock:
            active, today = self._active, day_ref(self._store.clock.now_us())
            return active is not None and active.number == segment and not active.frames and active.ref == today

    def forget(self, segment: int) -> None:
        """Note that a segment is drained."""
        with self._lock:
            self._held.pop(segment, None)

    def within_period(self, table: pa.Table) -> pa.Table:
        """Return the records whose period is not over: others are not even spooled. Of sessions their end decides."""
        policy, now_us = self._store.policies.current(), self._store.clock.now_us()
        whole = np.ones(table.num_rows, np.bool_)
        if "event" in table.column_names:
            whole = np.asarray(pc.equal(table.column("event"), pa.scalar("record")))
        slots = slots_of(policy, table if whole.all() else table.filter(pa.array(whole)))
        over = [
            slot
            for slot in np.unique(slots).tolist()
            if slot < 0 or is_expired(partition_of(policy, slot), now_us, policy)
        ]
        if not over:
            return table
        kept = ~whole
        kept[whole] = ~np.isin(slots, over)
        return table.filter(pa.array(kept))

    def close(self) -> None:
        """Let go of the active segment; what is in it is drained by the next opening."""
        with self._lock:
            if self._active is not None:
                self._active.close()
                self._active = None

    def _is_left(self, segment: int) -> bool:
        """Tell whether a segment that this process knows nothing of waits to be drained."""
        return bool(
            self._store.catalog.query("SELECT 1 FROM spool_segments WHERE segment = ? AND drained = 0", (segment,))
        )

    def _ready(self) -> Segment:
        """Return a segment with room, of today; the caller holds the lock."""
        today = day_ref(self._store.clock.now_us())
        active = self._active
        if active is not None and (active.size_bytes >= SEGMENT_BYTES_MAX or active.ref != today):
            active.close()
            active = self._active = None
        if active is None:
            try:
                with self._store.writers.holding():
                    active = self._active = self._create()
            except OSError as error:
                raise BusyError("the disk does not take the spool", hint="check its space and its state") from error
        return active

    def _create(self) -> Segment:
        """Make an empty segment: its key, its file, and last its row; without a row it is an orphan."""
        store, now_us = self._store, self._store.clock.now_us()
        ref, file_id = day_ref(now_us), secrets.token_hex(16)
        store.keyring.ensure([ref])
        path = store.layout.segment(file_id)
        if not store.layout.spool.is_dir():
            files.make_dir(store.layout.spool)
        cipher = SegmentCipher(store.keyring.key(ref), store.store_id, file_id)
        with ExitStack() as stack:
            files.create_private(path)
            stack.enter_context(files.lock(path, exclusive=True, blocking=True))
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                files.append_durable(fd, MAGIC)
                files.fsync_dir(path.parent)
                with store.catalog.transaction() as cursor:
                    cursor.execute(
                        "INSERT INTO spool_segments (file_id, key_ref, created_us) VALUES (?, ?, ?)",
                        (file_id, str(ref), now_us),
                    )
                    number = cursor.lastrowid
            except BaseException:
                os.close(fd)
                raise
            assert number is not None
            return Segment(number, file_id, path, ref, fd, cipher, stack.pop_all())

    def _give_up(self, segment: Segment) -> None:
        """Never write to a segment again whose last write or sync failed; take the failed frame back, if that works.

        If it does not, the frame may be found after a crash: its pushes were refused, and their repetition is then
        recognised.
        """
        try:
            files.truncate_durable(segment.fd, segment.size_bytes)
        except OSError:
            pass
        finally:
            segment.close()
            self._active = None

    def _note(self, segment: Segment, groups: Sequence[PushGroup], size_bytes: int) -> list[list[PushId]]:
        held = self._held.setdefault(segment.number, _Held(groups[0].received_us))
        held.bytes += size_bytes
        ids = []
        for group in groups:
            held.entries[segment.entries] = (group.source.name, group.records)
            held.pushes += group.pushes
            ids.append([PushId(segment.number, segment.entries, place) for place in range(group.pushes)])
            segment.entries += 1
        return ids
