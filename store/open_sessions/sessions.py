"""Open sessions: what a switch says before an end exists is durable here, and becomes a record when it ends.

Events of one session are folded (`store.open_sessions.folding`). A session is complete when it has a closing event and
a start; events may come in any order. That a session was, and until when, is remembered for the dedup horizon
(`store.open_sessions.session_tables`), so a late or repeated event opens nothing anew. Of one that was closed by
timeout its fields are remembered too: its true end may come.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from store.catalog import Catalog
from store.clock import to_date
from store.identities.identity import IdentityHasher
from store.identities.prf import Words
from store.keys import KeyRef, Keyring, derive, seal_series
from store.open_sessions import session_tables
from store.open_sessions.earlier_uses import earlier, has_end
from store.open_sessions.folding import (
    completed,
    fold,
    in_order,
    joined,
    timed_out,
    typed,
    with_column,
    without_starts,
)
from store.open_sessions.session_fates import DIRECT, INFERRED, KNOWN, TAKEN, Events, Fates, fates, marks_of
from store.open_sessions.session_numbers import NO_TIME, RANK, fresh, turns
from store.open_sessions.session_pairs import PAIRS_MIN, paired, pairs
from store.open_sessions.session_reading import element_tags, opened
from store.open_sessions.session_rows import MARKS, OWN, RANKS, decode, encode
from store.open_sessions.session_sieve import SessionSieve
from store.open_sessions.session_states import NO_END, SessionStates
from store.open_sessions.session_tables import Running, bound

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

SESSION_TIMEOUT_US: Final = 48 * 3600 * 1_000_000
"""A session without a sign of life for so long is closed by the store, with an inferred end."""

EVENT_COLUMNS: Final = ("event", "session_key")
_EVENTS: Final = ("update", "open", "close")
"""Their place is their rank (`store.open_sessions.session_numbers.RANK`)."""
_MARKS: Final = np.array([0, 2, 1, 3], np.uint64)
"""What an event's kind adds to its mark: none of the three, update, open, close."""
_NONE: Final = np.zeros(0, np.int64)

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Marks = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Folded:
    """What a stretch of events leads to."""

    records: pa.Table | None
    """Complete sessions, as packed records."""
    accepted: Ints
    """Positions of events that are durable and stored no record (yet)."""
    duplicates: Ints
    """Positions of events that came before, or too late."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """Events that say something: fields, positions, and for each the place of its session in `sessions`."""

    fields: pa.Table
    events: Events
    positions: Ints
    local: Ints
    sessions: Ints


class SessionArea:
    """The open sessions that one batch sees: the catalog's, with the batch's own changes on top."""

    def __init__(self, catalog: Catalog, keyring: Keyring, hasher: IdentityHasher, source: str, domain: str) -> None:
        self._catalog, self._keyring, self._hasher = catalog, keyring, hasher
        self._source, self._domain = source, domain
        self._states = SessionStates()

    def fold(self, table: pa.Table) -> Folded:
        """Take events in; return the records that they complete, in no order.

        `table` has `event`, `session_key` and `batch_position`. A record has the position of the event that completes
        it, opening or end, so positions tell which of two records came first. Where a key is used anew in one table,
        the sessions are folded one after the other.
        """
        keys: Any = pc.dictionary_encode(_one(table.column("session_key")), null_encoding="encode")
        place, distinct = np.asarray(keys.indices).astype(np.int64), self._sessions_of(keys.dictionary)
        kinds, starts, ends = _said(table)
        positions = _filled(table.column("batch_position"), 0)
        fields = table.drop_columns([name for name in EVENT_COLUMNS if name in table.column_names])
        opening, closing = pairs(place, self._states.unknown(distinct), kinds, starts, ends)
        if len(opening) < PAIRS_MIN:
            events = Events(distinct[place], kinds, self._marks(table, kinds), starts, ends)
            return self._fold_turns(fields, events, positions)
        records = self._complete(fields, distinct[place[opening]], opening, closing)
        first, last = positions[np.minimum(opening, closing)], positions[np.maximum(opening, closing)]
        folded = [Folded(with_column(records, "batch_position", pa.array(last)), first, _NONE)]
        if 2 * len(opening) < len(place):
            rest = np.ones(len(place), np.bool_)
            rest[opening] = rest[closing] = False
            rows = np.flatnonzero(rest)
            kinds, some = kinds[rows], table.take(rows)
            events = Events(distinct[place[rows]], kinds, self._marks(some, kinds), starts[rows], ends[rows])
            folded.append(self._fold_turns(fields.take(rows), events, positions[rows]))
        return _together(folded)

    def _complete(self, fields: pa.Table, sessions: Ints, opening: Ints, closing: Ints) -> pa.Table:
        """Return the records of sessions that are told whole by a pair of events each, and remember that they ended."""
        records, states = completed(paired(fields, opening, closing)), self._states
        states.changed[sessions] = states.closed[sessions] = True
        states.started_us[sessions] = _filled(records.column("start_time"), NO_TIME)
        states.ended_us[sessions] = _filled(records.column("end_time"), NO_END)
        return records

    def _fold_turns(self, fields: pa.Table, events: Events, positions: Ints) -> Folded:
        local, sessions = self._states.gather(events.sessions)
        told_us = _filled(fields.column("end_time"), NO_TIME)
        in_turn = turns(local, self._states.times_us(sessions), events.kinds, events.starts, told_us)
        if len(in_turn) == 1:
            return self._fold(fields, events, positions)
        return _together([self._fold(fields.take(rows), events.of(rows), positions[rows]) for rows in in_turn])

    def _fold(self, fields: pa.Table, events: Events, positions: Ints) -> Folded:
        states = self._states
        told = fates(states, events, partial(has_end, states, self._load, events))
        aside = earlier(states, self._load, fields, events, told.fates)
        taken = np.flatnonzero(told.fates == TAKEN)
        local, sessions = states.gather(events.sessions[taken])
        before = np.flatnonzero(states.has_row(sessions))
        old = states.rows(sessions[before])
        owners, marks = marks_of(before, old)
        new = fresh(np.concatenate([owners, local]), np.concatenate([marks, events.marks[taken]]))[len(owners) :]
        if not new.all():
            taken = taken[new]
            kept, local = np.unique(local[new], return_inverse=True)
            stays = np.isin(before, kept)
            before, old, sessions = np.searchsorted(kept, before[stays]), old.filter(pa.array(stays)), sessions[kept]
        slept = ~np.isin(told.woken, sessions)
        states.closed[told.woken[slept]], states.ended_us[told.woken[slept]] = True, told.slept_us[slept]
        some = fields if len(taken) == len(positions) else fields.take(taken)
        complete = self._merge(_Taken(some, events.of(taken), positions[taken], local, sessions), before, old)
        known = told.fates == KNOWN
        known[np.flatnonzero(told.fates == TAKEN)[~new]] = True
        records = [*_beside(fields, told, positions), *aside.records, *([] if complete is None else [complete])]
        one = pa.concat_tables(records, promote_options="default") if records else None
        accepted = positions[np.union1d(taken, aside.accepted)]
        if one is not None:
            accepted = np.setdiff1d(accepted, _filled(one.column("batch_position"), 0), assume_unique=True)
        return Folded(one, accepted, positions[known])

    def stale(self, before_us: int) -> pa.Table | None:
        """Close the source's sessions that were silent since `before_us`; return them as records with inferred ends.

        Their positions are theirs in this order, from 1: who was silent first is first.
        """
        found = self._catalog.query(
            "SELECT tag, seen_us FROM sessions WHERE state = 'open' AND source = ? AND seen_us < ? "
            "ORDER BY seen_us, batch_id",
            (self._source, before_us),
        )
        states = self._states
        numbers = self._load(np.frombuffer(b"".join(tag for tag, _ in found), np.uint64).reshape(-1, 2))
        seen_us = np.array([seen for _, seen in found], np.int64)
        known = states.has_row(numbers)
        if not known.any():
            return None
        numbers, seen_us = numbers[known], seen_us[known]
        records = timed_out(states.rows(numbers).drop_columns(list(OWN)), seen_us)
        records = with_column(records, "batch_position", pa.array(np.arange(1, len(numbers) + 1)))
        states.ended_us[numbers] = _filled(records.column("end_time"), NO_END)
        states.closed[numbers] = states.changed[numbers] = True
        return records

    def write(self, cursor: sqlite3.Cursor, batch_id: int, now_us: int) -> None:
        """Put the batch's changes into the open transaction.

        Raises:
            BusyError: another batch changed one of these sessions meanwhile; the delivery can be tried again.
        """
        states = self._states
        changed = np.flatnonzero(states.changed[: len(states)])
        if not len(changed):
            return
        ref = KeyRef("open", to_date(now_us).isoformat(), "sessions", "shared")
        runs = states.has_row(changed)
        running = self._running(changed[runs], ref, batch_id, now_us)
        session_tables.write(cursor, states, running, changed[~runs], batch_id)

    @property
    def changed(self) -> bool:
        """Whether the batch changed any session."""
        return bool(self._states.changed.any())

    def _sessions_of(self, keys: Any) -> Ints:
        """Return the numbers of the sessions of distinct keys."""
        joined = pc.binary_join_element_wise(pa.scalar(self._domain), keys.cast(pa.string()), pa.scalar("\x1f"))
        return self._load(self._hasher.strings(joined))

    def _marks(self, table: pa.Table, kinds: Ints) -> Marks:
        return self._event_marks(table) ^ _MARKS[kinds + 1]

    def _merge(self, taken: _Taken, before: Ints, old: pa.Table) -> Any:
        """Fold events into what is known of their sessions (`before`, by place); return those that are complete."""
        if not len(taken.local):
            return None
        states, kinds = self._states, taken.events.kinds
        # The word of an end counts more than any other; else a later one does.
        told = np.asarray(old.column(RANKS)).astype(np.int64)
        every = np.concatenate([told, kinds])
        numbers = np.concatenate([before, taken.local])
        rows = np.argsort(2 * numbers + (every == RANK["close"]), kind="stable")
        starts = np.flatnonzero(np.diff(numbers[rows], prepend=-1))
        best = np.maximum(np.maximum.reduceat(every[rows], starts), 0)
        opened = np.zeros(len(taken.sessions), np.bool_)
        opened[numbers[every == RANK["open"]]] = True
        later = opened[taken.local] & (kinds < RANK["open"])
        table = joined(old, without_starts(taken.fields, later))
        folded = in_order(fold(table, rows, starts), best == RANK["close"])
        ended = (best == RANK["close"]) & np.asarray(folded.column("start_time").is_valid())
        states.changed[taken.sessions] = True
        if not ended.all():
            rest = folded.filter(pa.array(~ended)).append_column(RANKS, pa.array(best[~ended].astype(np.int8)))
            owners, marks = marks_of(before, old)
            owners, marks = np.concatenate([owners, taken.local]), np.concatenate([marks, taken.events.marks])
            states.put(taken.sessions[~ended], rest.append_column(MARKS, _lists(owners, marks, ~ended)))
            states.started_us[taken.sessions[~ended]] = _openings(rest)
        if not ended.any():
            return None
        records, over = folded.filter(pa.array(ended)), taken.sessions[ended]
        last = np.zeros(len(taken.sessions), np.int64)
        np.maximum.at(last, taken.local, np.arange(len(taken.local)))  # a session is whole with the last of its turn
        records = with_column(records, "batch_position", pa.array(taken.positions[last[ended]]))
        states.closed[over] = True
        states.drop_rows(over)
        states.ended_us[over] = _filled(records.column("end_time"), NO_END)
        states.started_us[over] = _filled(records.column("start_time"), NO_TIME)
        return completed(records)

    def _running(self, numbers: Ints, ref: KeyRef, batch_id: int, now_us: int) -> list[Running]:
        """Return the catalog's rows of sessions of which fields are known."""
        if not len(numbers):
            return []
        states, told = self._states, str(ref)
        key, rows = derive(self._keyring.key(ref), "session"), states.rows(numbers)
        tags = states.tags(numbers)
        ends = [None if end == NO_END else end for end in states.ended_us[numbers].tolist()]
        closed = ["closed" if over else "open" for over in states.closed[numbers].tolist()]
        sieves = SessionSieve(self._keyring).of_rows(rows)
        known = list(zip(tags, closed, self._elements(rows), sieves, ends, strict=True))
        aads = [bound(tag, (*clear, now_us, batch_id, self._source)) for tag, *clear in known]
        sealed = seal_series(key, list(zip(encode(rows), aads, strict=True)))
        return [
            Running(number, (state, end, now_us, told, blob, element, sieve, batch_id, tag, self._source))
            for number, blob, (tag, state, element, sieve, end) in zip(numbers.tolist(), sealed, known, strict=True)
        ]

    def _elements(self, rows: pa.Table) -> list[int]:
        """Return the keyed hash of source and network element of each row."""
        names = rows.column("switch").to_pylist() if "switch" in rows.column_names else [None] * rows.num_rows
        distinct = list(dict.fromkeys(names))
        known = dict(zip(distinct, element_tags(self._hasher, self._source, distinct), strict=True))
        return [known[name] for name in names]

    def _event_marks(self, table: pa.Table) -> Marks:
        marks = self._hasher.tags(table)
        keyed = np.zeros(table.num_rows, dtype=bool)
        for name in ("record_key", "record_key_text"):
            if name in table.column_names:
                keyed |= np.asarray(table.column(name).combine_chunks().is_valid())
        if not keyed.all():  # no key: known by its content
            bare = np.flatnonzero(~keyed)
            marks[bare] ^= self._hasher.identities(table.take(bare)).digests
        return marks

    def _load(self, tags: Words) -> Ints:
        """Return the numbers of sessions; of new ones, read what the catalog knows."""
        states = self._states
        known = len(states)
        numbers = states.of(tags)
        rows = session_tables.load(self._catalog, states, known)
        if rows:
            found = np.frombuffer(b"".join(row.tag for row in rows), np.uint64).reshape(-1, 2)
            plain = decode(opened(self._keyring, rows))
            states.put(states.of(found), plain)
            states.started_us[states.of(found)] = _openings(plain)
        return numbers


def _said(table: pa.Table) -> tuple[Ints, Ints, Ints]:
    """Return rank, start and end in µs of every event."""
    kinds = _filled(pc.index_in(table.column("event"), pa.array(_EVENTS)), -1)
    starts, ends = (_filled(table.column(name), NO_TIME) for name in ("start_time", "end_time"))
    if "duration_ms" in table.column_names:
        spans = _filled(table.column("duration_ms"), -1)
        spoken = (kinds == RANK["update"]) & (starts != NO_TIME) & (ends == NO_TIME) & (spans >= 0)
        ends = np.where(spoken, starts + np.where(spoken, spans, 0) * 1000, ends)
    return kinds, starts, ends


def _together(folded: Sequence[Folded]) -> Folded:
    """Return what several turns lead to."""
    records = [one.records for one in folded if one.records is not None]
    return Folded(
        pa.concat_tables(records, promote_options="default") if records else None,
        np.concatenate([one.accepted for one in folded]),
        np.concatenate([one.duplicates for one in folded]),
    )


def _beside(fields: pa.Table, told: Fates, positions: Ints) -> list[pa.Table]:
    """Return the records of a turn that leave their sessions as they are; an end alone has no start yet."""
    whole = np.flatnonzero(told.fates == DIRECT)
    tables = [fields.take(whole)] if len(whole) else []
    if len(alone := np.flatnonzero(told.fates == INFERRED)):
        rows = fields.take(alone)
        ends = rows.column("end_time").is_valid()
        some = rows.filter(pc.invert(ends))
        tables += [rows.filter(ends), timed_out(some, np.zeros(len(some), np.int64))]
    if told.left is not None:
        old = told.left.drop_columns([*OWN, *(name for name in ("batch_position",) if name in told.left.column_names)])
        left = timed_out(typed(old, fields), np.zeros(len(told.left_by), np.int64))
        tables.append(with_column(left, "batch_position", pa.array(positions[told.left_by])))
    return tables


def _openings(rows: pa.Table) -> Ints:
    """Return the starts that openings told; none where there was no opening, or an end is waiting for it."""
    opened = np.asarray(rows.column(RANKS)) == RANK["open"]
    if "start_time" not in rows.column_names:
        return np.full(len(opened), NO_TIME)
    return np.where(opened, _filled(rows.column("start_time"), NO_TIME), NO_TIME)


def _lists(owners: Ints, marks: Marks, wanted: Flags) -> Any:
    """Return the sorted marks of each owner that is wanted, in the order of their places."""
    some = wanted[owners]
    owners, marks = owners[some], marks[some]
    order = np.lexsort((marks, owners))
    begins = np.flatnonzero(np.diff(owners[order], prepend=-1))
    values: Any = pa.array(marks[order])
    return pa.ListArray.from_arrays(pa.array(np.append(begins, len(order)), pa.int32()), values)


def _one(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _filled(column: Any, missing: int) -> Ints:
    """Return a column of whole numbers or times, with a number where there is none."""
    numbers: Ints = np.asarray(pc.fill_null(column.cast(pa.int64()), missing))
    return numbers
