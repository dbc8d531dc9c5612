"""Open sessions: what a switch says before an end exists is durable here, and becomes a record when it ends.

Events of one session are folded: the first start and answer stay, of every other field the last value that is not
null. A session is complete when it has a closing event and a start. Events may come in any order. What has been seen
of a session is remembered (`closed`) for the dedup horizon, so a late or repeated event opens nothing anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
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
from store.identity import IdentityHasher
from store.keys import KeyRef, Keyring, derive, seal, unseal
from store.partitions import DAY_US

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

SESSION_TIMEOUT_US: Final = 48 * 3600 * 1_000_000
"""A session without a sign of life for so long is closed by the store, with an inferred end."""

EVENT_COLUMNS: Final = ("event", "session_key")
_CHANGED: Final = "another delivery of the same source changed its open sessions"
_TAGS_A_QUERY: Final = 500
_FIRST: Final = ("start_time", "answer_time")


@dataclass(slots=True)
class SessionState:
    """What is known of one session."""

    tag: bytes
    source: str
    events: set[int] = field(default_factory=set)
    row: pa.Table | None = None
    has_close: bool = False
    closed: bool = False
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
        marks = self._event_marks(table, events)
        fields = table.drop_columns([name for name in EVENT_COLUMNS if name in table.column_names])
        starts = np.asarray(table.column("start_time").combine_chunks().is_valid())
        self._load(tags)
        duplicates, direct, taken = 0, [], []
        numbers: dict[bytes, int] = {}
        session_of = []
        for index, tag in enumerate(tags):
            state = self._states.setdefault(tag, SessionState(tag, self._source))
            if state.closed and events[index] == "close" and starts[index]:
                direct.append(index)  # complete by itself: the dedup of records decides
            elif state.closed or marks[index] in state.events:
                duplicates += 1
            else:
                state.events.add(marks[index])
                state.changed = True
                state.has_close |= events[index] == "close"
                taken.append(index)
                session_of.append(numbers.setdefault(tag, len(numbers)))
        complete = self._merge(fields, taken, session_of, list(numbers))
        tables = [part for part in (fields.take(pa.array(direct)) if direct else None, complete) if part is not None]
        records = pa.concat_tables(tables, promote_options="default") if tables else None
        completed = complete.num_rows if complete is not None else 0
        return Folded(records, len(taken) - completed, duplicates)

    def stale(self, before_us: int) -> pa.Table | None:
        """Close the source's sessions that were silent since `before_us`; return them as records with inferred ends."""
        rows = self._catalog.query(
            "SELECT tag FROM sessions WHERE state = 'open' AND source = ? AND seen_us < ?", (self._source, before_us)
        )
        self._load([row[0] for row in rows])
        tables = []
        for (tag,) in rows:
            state = self._states[tag]
            if state.row is None or state.row.column("start_time").null_count:
                continue
            row = state.row
            if "end_time" not in row.column_names or row.column("end_time").null_count:
                end = row.column("start_time")
                if "duration_ms" in row.column_names and not row.column("duration_ms").null_count:
                    end = pc.add(end.cast(pa.int64()), pc.multiply(row.column("duration_ms"), 1000)).cast(end.type)
                row = _set(row, "end_time", end)
                row = _set(row, "end_inferred", pa.array([True]))
            tables.append(row)
            state.row, state.closed, state.changed = None, True, True
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
        key = derive(self._keyring.key(ref), "session")
        new, known = [], []
        for state in changed:
            # A closed session says nothing any more but that it was: its tag is enough.
            blob = b"" if state.closed else seal(key, _encode(state), state.tag)
            row = ("closed" if state.closed else "open", now_us, str(ref), blob, batch_id, state.tag)
            if state.stored is None:
                new.append((*row, state.source))
            else:
                known.append((*row, state.stored))
        try:
            cursor.executemany(
                "INSERT INTO sessions (state, seen_us, key_ref, sealed, batch_id, tag, source) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                new,
            )
        except sqlite3.IntegrityError as error:
            raise BusyError(_CHANGED, hint="deliver it again") from error
        cursor.executemany(
            "UPDATE sessions SET state = ?, seen_us = ?, key_ref = ?, sealed = ?, batch_id = ? "
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
        self, fields: pa.Table, taken: Sequence[int], session_of: Sequence[int], tags: Sequence[bytes]
    ) -> pa.Table | None:
        if not taken:
            return None
        old = [(number, row) for number, tag in enumerate(tags) if (row := self._states[tag].row) is not None]
        tables = [row for _, row in old] + [fields.take(pa.array(taken))]
        numbers = pa.array([number for number, _ in old] + list(session_of), pa.int64())
        folded = _fold(pa.concat_tables(tables, promote_options="default"), numbers)
        starts = np.asarray(folded.column("start_time").combine_chunks().is_valid())
        complete = []
        for place, number in enumerate(folded.column("session").to_numpy()):
            state = self._states[tags[number]]
            if state.has_close and starts[place]:
                complete.append(place)
                state.closed, state.row = True, None
            else:
                state.row = folded.slice(place, 1).drop_columns(["session"])
        return folded.take(pa.array(complete)).drop_columns(["session"]) if complete else None

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
        codes = np.array([{"open": 1, "update": 2, "close": 3}.get(event, 0) for event in events], dtype=np.uint64)
        return tags ^ codes

    def _load(self, tags: Iterable[bytes]) -> None:
        unknown = list(set(tags) - self._states.keys())
        for start in range(0, len(unknown), _TAGS_A_QUERY):
            some = unknown[start : start + _TAGS_A_QUERY]
            marks = ", ".join("?" * len(some))
            sql = f"SELECT tag, state, source, key_ref, sealed FROM sessions WHERE tag IN ({marks})"  # noqa: S608
            for tag, state, source, ref, blob in self._catalog.query(sql, some):
                if state == "closed":
                    self._states[tag] = SessionState(tag, source, closed=True, stored=blob)
                else:
                    plain = unseal(derive(self._keyring.key(KeyRef.parse(ref)), "session"), blob, tag)
                    self._states[tag] = _decode(tag, source, plain, blob)


def withdraw(cursor: sqlite3.Cursor, batch_id: int) -> None:
    """Forget the sessions that a withdrawn batch touched last, so that its events can be delivered again."""
    cursor.execute("DELETE FROM sessions WHERE batch_id = ?", (batch_id,))


def sweep(cursor: sqlite3.Cursor, now_us: int) -> None:
    """Forget closed sessions that are older than the dedup horizon."""
    cursor.execute("DELETE FROM sessions WHERE state = 'closed' AND seen_us < ?", (now_us - HORIZON_DAYS * DAY_US,))


def _fold(table: pa.Table, numbers: Column) -> pa.Table:
    """Fold rows with equal session number, in order: first start and answer, else the last value that is not null."""
    names = table.column_names
    plain = [column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column for column in table.columns]
    grouped = pa.table([*plain, numbers], names=[*names, "session"]).group_by("session", use_threads=False)
    folded = grouped.aggregate([(name, "first" if name in _FIRST else "last") for name in names])
    columns = [folded.column(f"{name}_{'first' if name in _FIRST else 'last'}") for name in names]
    columns = [column.cast(table.schema.field(name).type) for column, name in zip(columns, names, strict=True)]
    return pa.table([*columns, folded.column("session")], names=[*names, "session"])


def _set(table: pa.Table, name: str, column: Column) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def _encode(state: SessionState) -> bytes:
    marks = np.array(sorted(state.events), dtype=np.uint64).tobytes()
    row = b""
    if state.row is not None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, state.row.schema) as writer:
            writer.write_table(state.row)
        row = sink.getvalue().to_pybytes()
    return bytes([state.has_close]) + len(marks).to_bytes(4, "big") + marks + row


def _decode(tag: bytes, source: str, plain: bytes, blob: bytes) -> SessionState:
    size = int.from_bytes(plain[1:5], "big")
    marks = np.frombuffer(plain[5 : 5 + size], dtype=np.uint64)
    rest = plain[5 + size :]
    row = pa.ipc.open_stream(rest).read_all() if rest else None
    return SessionState(tag, source, {int(mark) for mark in marks}, row, bool(plain[0]), stored=blob)
