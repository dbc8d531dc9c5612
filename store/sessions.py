"""Open sessions: what a switch says before an end exists is durable here, and becomes a record when it ends.

Events of one session are folded (`store.folding`). A session is complete when it has a closing event and a start;
events may come in any order. That a session was, and until when, is remembered for the dedup horizon, so a late or
repeated event opens nothing anew. Of one that was closed by timeout its fields are remembered too: its true end may
come.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.buffers import Column
from schemas.errors import BusyError
from store.catalog import Catalog
from store.clock import to_date
from store.dedup import HORIZON_DAYS
from store.folding import RANK, SESSION, completed, fold, timed_out, with_column
from store.identity import IdentityHasher
from store.keys import KeyRef, Keyring, derive, seal, unseal
from store.model import TargetIdentifier
from store.parquet import conform
from store.partitions import DAY_US
from store.targets import check, matches

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

SESSION_TIMEOUT_US: Final = 48 * 3600 * 1_000_000
"""A session without a sign of life for so long is closed by the store, with an inferred end."""

EVENT_COLUMNS: Final = ("event", "session_key")
_CHANGED: Final = "another delivery of the same source changed its open sessions"
_TAGS_A_QUERY: Final = 500
_SESSIONS_A_BATCH: Final = 1000
_CODES: Final = {"open": 1, "update": 2, "close": 3}


@dataclass(slots=True)
class SessionState:
    """What is known of one session."""

    tag: bytes
    source: str
    events: set[int] = field(default_factory=set)
    row: pa.Table | None = None
    rank: int = 0  # the best among the events so far (`store.folding.RANK`)
    closed: bool = False
    ended_us: int | None = None
    stored: bytes | None = None  # the sealed bytes that were read, to notice a change by somebody else
    changed: bool = False


@dataclass(frozen=True, slots=True)
class Folded:
    """What a stretch of events leads to."""

    records: pa.Table | None
    """Complete sessions, as packed records."""
    accepted: int
    """Events that are durable and stored no record (yet)."""
    duplicates: int


class SessionArea:
    """The open sessions that one batch sees: the catalog's, with the batch's own changes on top."""

    def __init__(self, catalog: Catalog, keyring: Keyring, hasher: IdentityHasher, source: str, domain: str) -> None:
        self._catalog, self._keyring, self._hasher = catalog, keyring, hasher
        self._source, self._domain = source, domain
        self._states: dict[bytes, SessionState] = {}

    def fold(self, table: pa.Table) -> Folded:
        """Take events in; return the records that they complete. `table` has `event` and `session_key`."""
        tags = self._session_tags(table.column("session_key"))
        events: list[str] = table.column("event").to_pylist()  # type: ignore[assignment]
        marks: list[int] = self._event_marks(table, events).tolist()
        fields = table.drop_columns([name for name in EVENT_COLUMNS if name in table.column_names])
        starts = table.column("start_time").cast(pa.int64()).to_pylist()
        self._load(tags)
        duplicates, direct, taken = 0, [], []
        numbers: dict[bytes, int] = {}
        session_of = []
        for index, tag in enumerate(tags):
            state = self._states.get(tag)
            if state is None:
                state = self._states[tag] = SessionState(tag, self._source)
            start = starts[index]
            if state.closed and events[index] == "open" and _is_after(start, state.ended_us):
                state = self._states[tag] = SessionState(tag, self._source, stored=state.stored)  # the key is used anew
            if state.closed and state.row is not None and events[index] == "close":
                state.closed = False  # it was closed by timeout; the dedup of records decides between the two ends
            if state.closed and events[index] == "close" and start is not None:
                direct.append(index)  # complete by itself: the dedup of records decides
            elif state.closed or marks[index] in state.events:
                duplicates += 1
            else:
                state.events.add(marks[index])
                state.changed = True
                taken.append(index)
                session_of.append(numbers.setdefault(tag, len(numbers)))
        ranks = [RANK[events[index]] for index in taken]
        complete = self._merge(fields.take(pa.array(taken, pa.int64())), ranks, session_of, list(numbers))
        tables = [part for part in (fields.take(pa.array(direct)) if direct else None, complete) if part is not None]
        records = pa.concat_tables(tables, promote_options="default") if tables else None
        completed = complete.num_rows if complete is not None else 0
        return Folded(records, len(taken) - completed, duplicates)

    def stale(self, before_us: int) -> pa.Table | None:
        """Close the source's sessions that were silent since `before_us`; return them as records with inferred ends."""
        rows = self._catalog.query(
            "SELECT tag, seen_us FROM sessions WHERE state = 'open' AND source = ? AND seen_us < ?",
            (self._source, before_us),
        )
        self._load([row[0] for row in rows])
        tables = []
        for tag, seen_us in rows:
            state = self._states[tag]
            if state.row is None:
                continue
            record = timed_out(state.row, seen_us)
            tables.append(record)
            state.ended_us = int(record.column("end_time").cast(pa.int64())[0].as_py())
            state.closed, state.changed = True, True
        return pa.concat_tables(tables, promote_options="default") if tables else None

    def write(self, cursor: sqlite3.Cursor, batch_id: int, now_us: int) -> None:
        """Put the batch's changes into the open transaction.

        Raises:
            BusyError: another batch changed one of these sessions meanwhile; the delivery can be tried again.
        """
        changed = [state for state in self._states.values() if state.changed]
        if not changed:
            return
        ref = KeyRef("open", to_date(now_us).isoformat(), "sessions", "shared")
        key, told = derive(self._keyring.key(ref), "session"), str(ref)
        new, known = [], []
        for state in changed:
            # A session that ended says nothing any more but that it was, and until when.
            blob = b"" if state.row is None else seal(key, _encode(state), state.tag)
            row = ("closed" if state.closed else "open", state.ended_us, now_us, told, blob, batch_id, state.tag)
            if state.stored is None:
                new.append((*row, state.source))
            else:
                known.append((*row, state.stored))
        try:
            cursor.executemany(
                "INSERT INTO sessions (state, ended_us, seen_us, key_ref, sealed, batch_id, tag, source) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                new,
            )
        except sqlite3.IntegrityError as error:
            raise BusyError(_CHANGED, hint="deliver it again") from error
        cursor.executemany(
            "UPDATE sessions SET state = ?, ended_us = ?, seen_us = ?, key_ref = ?, sealed = ?, batch_id = ? "
            "WHERE tag = ? AND sealed = ?",
            known,
        )
        if known and cursor.rowcount != len(known):
            raise BusyError(_CHANGED, hint="deliver it again")

    @property
    def changed(self) -> bool:
        """Whether the batch changed any session."""
        return any(state.changed for state in self._states.values())

    def _merge(
        self, fields: pa.Table, ranks: Sequence[int], session_of: Sequence[int], tags: Sequence[bytes]
    ) -> pa.Table | None:
        if not ranks:
            return None
        old = [(number, state) for number, tag in enumerate(tags) if (state := self._states[tag]).row is not None]
        rows: list[Any] = [state.row for _, state in old]
        numbers = np.array([number for number, _ in old] + list(session_of), np.int64)
        # What was folded before closes if it had its close; else it is older than any new interim figures.
        before = [RANK["close"] if state.rank == RANK["close"] else -1 for _, state in old]
        table = pa.concat_tables([*rows, fields], promote_options="default")
        folded = fold(table, numbers, np.array(before + list(ranks), np.int64))
        states = [self._states[tag] for tag in tags]
        for number, rank in zip(session_of, ranks, strict=True):
            state = states[number]
            state.rank = max(state.rank, rank)
        starts = np.asarray(folded.column("start_time").combine_chunks().is_valid()).tolist()
        complete = []
        for place, number in enumerate(folded.column(SESSION).to_numpy().tolist()):
            state = states[number]
            if state.rank == RANK["close"] and starts[place]:
                complete.append(place)
                state.closed, state.row = True, None
            else:
                state.row = folded.slice(place, 1).drop_columns([SESSION])
        if not complete:
            return None
        records = folded.take(pa.array(complete))
        ends = records.column("end_time").cast(pa.int64()).to_pylist()
        for number, end in zip(records.column(SESSION).to_numpy().tolist(), ends, strict=True):
            states[number].ended_us = end
        return completed(records.drop_columns([SESSION]))

    def _session_tags(self, keys: Column) -> list[bytes]:
        joined = pc.binary_join_element_wise(pa.scalar(self._domain), keys.cast(pa.string()), pa.scalar("\x1f"))
        words = self._hasher.strings(joined.combine_chunks())
        data = words.tobytes()
        return [data[index : index + 16] for index in range(0, len(data), 16)]

    def _event_marks(self, table: pa.Table, events: Sequence[str]) -> npt.NDArray[np.uint64]:
        identities = self._hasher.identities(table)
        keyed = np.zeros(table.num_rows, dtype=bool)
        for name in ("record_key", "record_key_text"):
            if name in table.column_names:
                keyed |= np.asarray(table.column(name).combine_chunks().is_valid())
        tags = np.where(keyed, identities.tags, identities.tags ^ identities.digests)  # no key: known by its content
        codes = np.array([_CODES.get(event, 0) for event in events], dtype=np.uint64)
        return tags ^ codes

    def _load(self, tags: Iterable[bytes]) -> None:
        unknown = list(set(tags) - self._states.keys())
        for start in range(0, len(unknown), _TAGS_A_QUERY):
            some = unknown[start : start + _TAGS_A_QUERY]
            marks = ", ".join("?" * len(some))
            sql = f"SELECT tag, state, source, ended_us, key_ref, sealed FROM sessions WHERE tag IN ({marks})"  # noqa: S608
            for tag, state, source, ended_us, ref, blob in self._catalog.query(sql, some):
                if blob:
                    plain = unseal(derive(self._keyring.key(KeyRef.parse(ref)), "session"), blob, tag)
                    self._states[tag] = _decode(tag, source, plain, blob)
                else:
                    self._states[tag] = SessionState(tag, source, stored=blob)
                self._states[tag].closed, self._states[tag].ended_us = state == "closed", ended_us


def open_rows(catalog: Catalog, keyring: Keyring, targets: Sequence[TargetIdentifier] = ()) -> Iterator[pa.RecordBatch]:
    """Yield what is known of the sessions that run now, as packed columns; those of some targets only, if any.

    What no event has said yet is null, the end among it.

    Raises:
        ConfigurationError: a target can never match.
        IntegrityError: a session does not authenticate.
        KeyUnavailableError: a session's key is gone.
    """
    for target in targets:
        check(target)
    last = b""
    while rows := catalog.query(
        "SELECT tag, batch_id, key_ref, sealed FROM sessions WHERE state = 'open' AND tag > ? ORDER BY tag LIMIT ?",
        (last, _SESSIONS_A_BATCH),
    ):
        last = rows[-1][0]
        found = []
        for tag, batch_id, ref, blob in rows:
            plain = unseal(derive(keyring.key(KeyRef.parse(ref)), "session"), blob, tag)
            row = _decode(tag, "", plain, blob).row
            if row is not None:
                found.append(with_column(row, "batch_id", pa.array([batch_id], pa.int64())))
        if not found:
            continue
        table = conform(pa.concat_tables(found, promote_options="default"))
        if targets:
            masks = [np.asarray(matches(table, target)) for target in targets]
            table = table.filter(pa.array(np.logical_or.reduce(masks)))
        yield from (batch for batch in table.combine_chunks().to_batches() if batch.num_rows)


def withdraw(cursor: sqlite3.Cursor, batch_id: int) -> None:
    """Forget the sessions that a withdrawn batch touched last, so that its events can be delivered again."""
    cursor.execute("DELETE FROM sessions WHERE batch_id = ?", (batch_id,))


def sweep(cursor: sqlite3.Cursor, now_us: int) -> None:
    """Forget closed sessions that are older than the dedup horizon."""
    cursor.execute("DELETE FROM sessions WHERE state = 'closed' AND seen_us < ?", (now_us - HORIZON_DAYS * DAY_US,))


def _is_after(start_us: int | None, ended_us: int | None) -> bool:
    return start_us is not None and ended_us is not None and start_us > ended_us


def _encode(state: SessionState) -> bytes:
    marks = np.array(sorted(state.events), dtype=np.uint64).tobytes()
    row = b""
    if state.row is not None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, state.row.schema) as writer:
            writer.write_table(state.row)
        row = sink.getvalue().to_pybytes()
    return bytes([state.rank]) + len(marks).to_bytes(4, "big") + marks + row


def _decode(tag: bytes, source: str, plain: bytes, blob: bytes) -> SessionState:
    size = int.from_bytes(plain[1:5], "big")
    marks = np.frombuffer(plain[5 : 5 + size], dtype=np.uint64)
    rest = plain[5 + size :]
    row = pa.ipc.open_stream(rest).read_all() if rest else None
    return SessionState(tag, source, {int(mark) for mark in marks}, row, plain[0], stored=blob)
