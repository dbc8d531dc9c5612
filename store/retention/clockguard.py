"""The guard of the clock: reads what `store.retention.clocktrust` judges, keeps its mark, and tells when trust is lost.

The mark and what sources say lie sealed in the catalog, so that an edit of the catalog cannot prove a time that never
was; older ones only prove less. Where the mark is missing, the newest heartbeat of the audit log stands in, which
nobody can make anew; while a source's words do not open, no source proves anything.

There is no switch. What is refused while the clock is untrusted: erasure, reading a partition whose period may be over,
and taking in records whose period may be over. Two custodians may confirm the instant that they see; see
`api.custody.clock`.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import IntegrityError, ProcedureError
from store.audit import AuditEntry
from store.audit.search import find, last_time_us
from store.clock import Clock, Uptime, to_text
from store.keys import derive, seal, unseal
from store.model import Problem
from store.outbox import OUTBOX_REF
from store.partitions import PartitionKey, expires_us
from store.retention.clocktrust import Mark, Reading, Verdict, confirmed, judge

if TYPE_CHECKING:
    from store.model import PartRow
    from store.store import Store

HEARTBEAT: Final = "clock.heartbeat"
UNTRUSTED: Final = "clock.untrusted"
TRUSTED: Final = "clock.trusted"
CONFIRMED: Final = "clock.confirmed"

HEARTBEAT_US: Final = 3_600_000_000
SOURCES_US: Final = 35 * 24 * HEARTBEAT_US
"""Sources that delivered nothing for so long do not speak for the time."""
_RELOAD_US: Final = 1_000_000
"""So long a process judges with the mark that it read."""


class ClockGuard:
    """The guard of one store; safe for threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._known: tuple[Mark, int | None, int | None] | None = None
        self._read_at = Uptime("", 0)
        self._peak_us = 0

    def begin(self) -> None:
        """Leave the first mark of a new store."""
        mark = Mark.first(self._store.clock.now_us(), self._store.clock.uptime())
        with self._store.catalog.transaction() as cursor:
            self._save(cursor, mark)

    def verdict(self) -> Verdict:
        """Judge the clock now; nothing is written."""
        with self._lock:
            uptime = self._store.clock.uptime()
            if self._known is None or not self._is_fresh(uptime):
                mark = self._load()
                self._known = (mark, self._sources_us(mark), last_time_us(self._store.layout.audit))
                self._read_at = uptime
            mark, sources_us, logged_us = self._known
            mark = replace(mark, peak_us=max(mark.peak_us, self._peak_us))
            verdict, _ = judge(mark, Reading(self._store.clock.now_us(), uptime, sources_us, logged_us))
            self._peak_us = verdict.peak_us
            return replace(verdict, policy=self._store.policies.current())

    def observe(self, *, beat: bool = False) -> Verdict:
        """Judge the clock and leave a durable mark; log when trust is lost or comes back, and hourly when `beat`."""
        store = self._store
        logged_us = last_time_us(store.layout.audit)
        with store.catalog.transaction() as cursor, self._lock:  # in this order: a batch, too, asks within its own
            old = self._load()
            reading = Reading(store.clock.now_us(), store.clock.uptime(), self._sources_us(old), logged_us)
            verdict, mark = judge(replace(old, peak_us=max(old.peak_us, self._peak_us)), reading)
            entries = []
            if (verdict.reason or "") != old.alarm:
                entries.append(_entry(TRUSTED if verdict.is_trusted else UNTRUSTED, verdict, mark))
                mark = replace(mark, alarm=verdict.reason or "")
            if beat and (mark.proven_us - mark.beat_us >= HEARTBEAT_US or mark.boot != old.boot):
                entries.append(_entry(HEARTBEAT, verdict, mark))
                mark = replace(mark, beat_us=mark.proven_us)
            self._save(cursor, mark)
            store.outbox.put(cursor, entries)
            self._known, self._peak_us = None, verdict.peak_us
        if entries:
            store.flush_outbox()
        return replace(verdict, policy=store.policies.current())

    def beat(self) -> None:
        """Observe, and write the hourly heartbeat; the service calls it every minute."""
        self.observe(beat=True)

    def require_trusted(self) -> Verdict:
        """Observe, and return the verdict if the clock is trusted.

        Raises:
            ClockError: it is not; the alarm is in the audit log.
        """
        verdict = self.observe()
        verdict.require_trusted()
        return verdict

    def is_over(self, key: PartitionKey) -> bool:
        """Tell whether a partition's period is over.

        Raises:
            ClockError: it may be, and the clock at hand cannot tell.
        """
        return self.verdict().is_over(key)

    def note_arrival(self, cursor: sqlite3.Cursor, source: str, received_us: int, end_us_max: int) -> None:
        """Remember, with the batch, how far its source's clock has come; an untrusted clock's batches say nothing."""
        if not self.verdict().is_trusted:
            return
        row = cursor.execute("SELECT sealed FROM clock_sources WHERE source = ?", (source,)).fetchone()
        before = self._said(source, row[0]) if row else None
        arrived_us, end_us = before or (0, 0)
        said = [max(arrived_us, received_us), max(end_us, min(end_us_max, received_us))]
        sealed = seal(self._key(), json.dumps(said).encode(), self._aad(source))
        cursor.execute(
            "INSERT INTO clock_sources VALUES (?, ?) ON CONFLICT (source) DO UPDATE SET sealed = excluded.sealed",
            (source, sealed),
        )

    def confirm(self, seen_us: int, *, reason: str, actors: Sequence[str]) -> Verdict:
        """Believe that `seen_us` has come, because two persons say so; logged before it counts.

        The clock is believed up to that instant only; what it says beyond is judged as ever.

        Raises:
            ProcedureError: fewer than two persons act (`two-persons`), or the clock does not say so (`state`).
            AuditError: it could not be logged; nothing changes.
        """
        if len(set(actors)) < 2:
            raise ProcedureError("confirming the clock takes two persons", reason="two-persons")
        store = self._store
        verdict = self.observe()
        if seen_us > verdict.wall_us:
            raise ProcedureError("the clock stands before the instant that was confirmed", reason="state")
        public = {"seen_us": seen_us, "seen": to_text(seen_us), "was": verdict.reason, "actors": sorted(set(actors))}
        public |= {"proven_us": verdict.proven_us}
        store.log(AuditEntry(CONFIRMED, public, {"reason": reason}))
        with store.catalog.transaction() as cursor, self._lock:
            self._save(cursor, confirmed(self._load(), seen_us))
            self._known = None
        return self.observe()

    # inside

    def _is_fresh(self, uptime: Uptime) -> bool:
        return self._read_at.boot == uptime.boot and 0 <= uptime.counter_us - self._read_at.counter_us < _RELOAD_US

    def _load(self) -> Mark:
        rows = self._store.catalog.query("SELECT sealed FROM clock_mark")
        if rows:
            try:
                return Mark(**json.loads(unseal(self._key(), rows[0][0], self._aad())))
            except (IntegrityError, TypeError, ValueError):
                pass  # told by `verify`; the log stands in
        return self._from_log()

    def _from_log(self) -> Mark:
        """Return what the newest heartbeat proves, or the beginning of the store."""
        store = self._store
        store.audit.refresh()
        proven_us = next(store.audit.entries(0, 1)).time_us
        for entry in find(store.layout.audit, store.audit.size, (HEARTBEAT, CONFIRMED)):
            if entry.public.get("reason") is None:
                proven_us = int(entry.public.get("seen_us") or entry.public["proven_us"])
        return Mark("", 0, proven_us, proven_us, proven_us)

    def _save(self, cursor: sqlite3.Cursor, mark: Mark) -> None:
        sealed = seal(self._key(), json.dumps(asdict(mark)).encode(), self._aad())
        cursor.execute(
            "INSERT INTO clock_mark VALUES (1, ?) ON CONFLICT (one) DO UPDATE SET sealed = excluded.sealed", (sealed,)
        )

    def problems(self) -> list[Problem]:
        """Return what does not open of the mark and of what sources said."""
        found = []
        rows = self._store.catalog.query("SELECT sealed FROM clock_mark")
        try:
            is_sound = bool(rows) and bool(unseal(self._key(), rows[0][0], self._aad()))
        except IntegrityError:
            is_sound = False
        if not is_sound:
            found.append(Problem("clock", "the mark of the last observation is missing or was changed"))
        for source, sealed in self._store.catalog.query("SELECT source, sealed FROM clock_sources ORDER BY source"):
            if self._said(source, sealed) is None:
                found.append(Problem(f"clock of source {source}", "how far it has come was changed"))
        return found

    def _sources_us(self, mark: Mark) -> int | None:
        """Return up to where sources say that time has come: the second newest, where there are two."""
        ends = []
        for source, sealed in self._store.catalog.query("SELECT source, sealed FROM clock_sources"):
            said = self._said(source, sealed)
            if said is None:
                return None
            if said[0] >= mark.proven_us - SOURCES_US:
                ends.append(said[1])
        return sorted(ends)[-2:][0] if ends else None

    def _said(self, source: str, sealed: bytes) -> tuple[int, int] | None:
        """Return when a source was heard last and how far its clock has come; None: somebody changed it."""
        try:
            arrived_us, end_us = json.loads(unseal(self._key(), sealed, self._aad(source)))
        except IntegrityError:
            return None
        return int(arrived_us), int(end_us)

    def _key(self) -> bytes:
        return derive(self._store.keyring.key(OUTBOX_REF), "clock")

    def _aad(self, *source: str) -> bytes:
        return "|".join(("clock", self._store.store_id, *source)).encode()


class Watch:
    """The verdict for one reading, which asks for every part: judged anew when a second is over; safe for threads."""

    def __init__(self, guard: ClockGuard, clock: Clock) -> None:
        self._guard, self._clock = guard, clock
        self._last = self._judged()

    @property
    def verdict(self) -> Verdict:
        """The verdict that was judged last."""
        return self._last[0]

    def is_over(self, key: PartitionKey) -> bool:
        """Tell whether a partition's period is over.

        Raises:
            ClockError: it may be, and the clock at hand cannot tell.
        """
        verdict, possible_us = self._fresh()
        if expires_us(key, verdict.policy) > possible_us:
            return False
        return verdict.is_over(key)

    def gone(self, part: PartRow) -> frozenset[str]:
        """Return the categories of service in a part whose records are over, though their partition is not.

        Raises:
            ClockError: one may be, and the clock at hand cannot tell.
        """
        verdict, _ = self._fresh()
        if not verdict.policy.has_moves:
            return frozenset()
        return verdict.services_over(part.partition, part.by_service)

    def _fresh(self) -> tuple[Verdict, int]:
        verdict, at_s, _ = self._last
        if not (0 <= self._clock.now_us() - verdict.wall_us < _RELOAD_US and time.monotonic() - at_s < 1):
            self._last = self._judged()
        return self._last[0], self._last[2]

    def _judged(self) -> tuple[Verdict, float, int]:
        verdict = self._guard.verdict()
        return verdict, time.monotonic(), verdict.possible_us


def _entry(kind: str, verdict: Verdict, mark: Mark) -> AuditEntry:
    public: dict[str, Any] = {
        "reason": verdict.reason,
        "wall_us": verdict.wall_us,
        "proven_us": verdict.proven_us,
        "counter_us": mark.counter_us,
        "boot": mark.boot[:8],
    }
    return AuditEntry(kind, public)
