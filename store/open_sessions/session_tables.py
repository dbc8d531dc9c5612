"""The catalog's two tables of sessions: those that run, and of those that ended that they did, and until when.

A session is in one of them. `sessions` has the fields of those that run, or were closed by timeout. `ended_sessions` is
small, for it has a row for every session of the dedup horizon: 64 bits of the tag, length, end, batch. So much of a tag
may be another session's once in 2^64 / (sessions remembered); it is asked only when nothing runs under the whole tag,
and an opening after the end that is told opens a session all the same.

A batch that is withdrawn ended nothing: its rows are told apart when they are read, not looked for at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np

from schemas.errors import BusyError
from store.catalog import Catalog
from store.identities.dedup import HORIZON_DAYS
from store.open_sessions.session_numbers import NO_TIME
from store.open_sessions.session_states import NO_END, Flags, Ints, SessionStates
from store.partitions import DAY_US, date_to_day

CLEAR: Final = "state, element, sieve, ended_us, seen_us, batch_id, source"
"""The columns of `sessions` that stand in the clear; the sealed fields are bound to them (`bound`)."""
_BATCH: Final = CLEAR.split(", ").index("batch_id")
_CHANGED: Final = "another delivery of the same source changed its open sessions"
_TAGS_A_QUERY: Final = 500
_ROWS_AN_INSERT: Final = 300
_INTO_ENDED: Final = "INSERT INTO ended_sessions (lasted_us, ended_us, batch_id, tag) VALUES "
_SWEPT_AT_ONCE: Final = 50_000
"""Rows that are looked through in one transaction: deliveries wait for no more."""
_SWEPT: Final = "sessions_swept_us"


@dataclass(frozen=True, slots=True)
class Running:
    """A session of which fields are known, as the batch leaves it."""

    number: int
    row: tuple[Any, ...]
    """state, end, time of the change, key, sealed fields, element, sieve, batch, tag, source"""

    @property
    def tag(self) -> bytes:
        """The keyed hash of the session's key."""
        found: bytes = self.row[-2]
        return found


@dataclass(frozen=True, slots=True)
class Sealed:
    """The sealed fields of a session as the catalog has them, and what they are bound to."""

    tag: bytes
    key_ref: str
    blob: bytes
    aad: bytes
    batch_id: int

    @classmethod
    def of(cls, row: Sequence[Any]) -> Sealed:
        """Take a row of `tag, key_ref, sealed` and `CLEAR`."""
        tag, key_ref, blob, *clear = row
        return cls(tag, key_ref, blob, bound(tag, clear), clear[_BATCH])


def bound(tag: bytes, clear: Sequence[Any]) -> bytes:
    """Return what a session's sealed fields are bound to: who edits a column in the clear is found out."""
    return tag + "|".join("" if value is None else str(value) for value in clear).encode()


def load(catalog: Catalog, states: SessionStates, known: int) -> list[Sealed]:
    """Note what the catalog knows of the sessions from a number on; return the fields of those that have some.

    A session may change tables between the questions: then `write` finds it changed.
    """
    numbers = np.arange(known, len(states))
    if not len(numbers):
        return []
    if not known:
        newest = catalog.query("SELECT seq FROM sqlite_sequence WHERE name = 'batches'")
        states.newest_batch = newest[0][0] if newest else 0
    numbers = numbers[np.argsort(states.cuts(numbers))]
    rows: list[tuple[Any, ...]] = []
    for some, marks in _stretches(_present(catalog, "sessions", len(numbers), lambda: states.tags(numbers))):
        sql = f"SELECT tag, key_ref, sealed, {CLEAR} FROM sessions WHERE tag IN ({marks})"  # noqa: S608
        rows += catalog.query(sql, some)
    if rows:
        number_of = dict(zip(states.tags(numbers), numbers.tolist(), strict=True))
        found = [number_of[row[0]] for row in rows]
        states.closed[found] = [row[3] == "closed" for row in rows]
        states.ended_us[found] = [NO_END if row[6] is None else row[6] for row in rows]
        states.stored.update(zip(found, (row[2] for row in rows), strict=True))
        numbers = numbers[~np.isin(numbers, found)]
    _load_ended(catalog, states, numbers)
    return [Sealed.of(row) for row in rows]


def _present(catalog: Catalog, table: str, count: int, tags: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """Return of so many `tags` those that are worth asking for: those that it has, where a table is small."""
    if count < _TAGS_A_QUERY:
        return tags()
    rows = catalog.query(f"SELECT tag FROM {table} LIMIT ?", (count // 2,))  # noqa: S608
    if len(rows) == count // 2:
        return tags()
    known = {row[0] for row in rows}
    return [tag for tag in tags() if tag in known] if known else []


def _load_ended(catalog: Catalog, states: SessionStates, numbers: Ints) -> None:
    cuts = states.cuts(numbers)
    number_of: dict[int, int] = {}
    for some, marks in _stretches(_present(catalog, "ended_sessions", len(cuts), cuts.tolist)):
        told = "tag, lasted_us, ended_us, batch_id, withdrawn_us IS NULL"
        both = "ended_sessions LEFT JOIN batches USING (batch_id)"
        sql = f"SELECT {told} FROM {both} WHERE tag IN ({marks})"  # noqa: S608
        for cut, lasted_us, ended_us, batch_id, counts in catalog.query(sql, some):
            number_of = number_of or dict(zip(cuts.tolist(), numbers.tolist(), strict=True))
            number = number_of[cut]
            states.remembered[number] = batch_id
            if counts:
                states.closed[number] = True
                states.ended_us[number] = NO_END if ended_us is None else ended_us
                states.started_us[number] = NO_TIME if lasted_us is None else ended_us - lasted_us


def write(
    cursor: sqlite3.Cursor, states: SessionStates, running: Sequence[Running], ended: Ints, batch_id: int
) -> None:
    """Put what a batch changed into the open transaction: sessions of which fields are known, and that ended.

    Raises:
        BusyError: another batch changed one of them meanwhile.
    """
    alone = batch_id == states.newest_batch + 1  # what was in no table then is in none now
    _write_running(cursor, states, running, alone=alone)
    _write_ended(cursor, states, ended, batch_id, alone=alone)


def _write_running(cursor: sqlite3.Cursor, states: SessionStates, running: Sequence[Running], *, alone: bool) -> None:
    stored, remembered = states.stored, states.remembered
    running = sorted(running, key=lambda one: one.tag)  # neighbours in the table together: their pages are written once
    known = [one.number for one in running if one.number in remembered]
    new = [one.row for one in running if one.number not in stored]
    if not alone:
        fresh = [one.number for one in running if not (one.number in stored or one.number in remembered)]
        _refuse_known(cursor, "ended_sessions", states.cuts(np.array(fresh, np.int64)).tolist())
    columns = "state, ended_us, seen_us, key_ref, sealed, element, sieve, batch_id, tag, source"
    _insert(cursor, f"INSERT INTO sessions ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", new)  # noqa: S608
    _change(
        cursor,
        "UPDATE sessions SET state = ?, ended_us = ?, seen_us = ?, key_ref = ?, sealed = ?, element = ?, sieve = ?, "
        "batch_id = ?, source = ? WHERE tag = ? AND sealed = ?",
        [(*one.row[:-2], one.row[-1], one.tag, stored[one.number]) for one in running if one.number in stored],
    )
    woken = zip(states.cuts(np.array(known, np.int64)).tolist(), map(remembered.__getitem__, known), strict=True)
    _change(cursor, "DELETE FROM ended_sessions WHERE tag = ? AND batch_id = ?", sorted(woken))


def _write_ended(cursor: sqlite3.Cursor, states: SessionStates, ended: Ints, batch_id: int, *, alone: bool) -> None:
    remembered, stored = states.remembered, states.stored
    ended = ended[np.argsort(states.cuts(ended), kind="stable")]
    cuts = states.cuts(ended)
    last = np.append(cuts[1:] != cuts[:-1], np.ones(min(len(cuts), 1), np.bool_))  # of two in one place, the later
    ended, cuts = ended[last], cuts[last]
    again, runs = _among(ended, remembered), _among(ended, stored)
    if not alone:
        _refuse_known(cursor, "sessions", states.tags(ended[~(again | runs)]))
    ends, starts = states.ended_us[ended], states.started_us[ended]
    whole = (ends != NO_END) & (starts != NO_TIME)
    lengths = np.where(whole, ends - np.where(whole, starts, 0), 0)
    plain = whole & ~again
    _remember(cursor, np.stack([lengths, ends, cuts], axis=1)[plain], batch_id)
    rest = np.flatnonzero(~plain)
    others = zip(*(column[rest].tolist() for column in (lengths, whole, ends, cuts, ended)), strict=True)
    rows = [
        (length if known else None, None if end == NO_END else end, batch_id, cut, number)
        for length, known, end, cut, number in others
    ]
    _insert(cursor, f"{_INTO_ENDED}(?, ?, ?, ?)", [row[:-1] for row in rows if row[-1] not in remembered])
    _change(
        cursor,
        "UPDATE ended_sessions SET lasted_us = ?, ended_us = ?, batch_id = ? WHERE tag = ? AND batch_id = ?",
        [(*row[:-1], remembered[row[-1]]) for row in rows if row[-1] in remembered],
    )
    over = ended[runs]
    sealed = zip(states.tags(over), map(stored.__getitem__, over.tolist()), strict=True)
    _change(cursor, "DELETE FROM sessions WHERE tag = ? AND sealed = ?", sorted(sealed))


def _among(numbers: Ints, known: Mapping[int, object]) -> Flags:
    """Tell which sessions are among those that something is known of."""
    if not known:
        return np.zeros(len(numbers), np.bool_)
    return np.isin(numbers, np.fromiter(known, np.int64, len(known)))


def withdraw(cursor: sqlite3.Cursor, batch_id: int) -> None:
    """Forget the running sessions that a withdrawn batch touched last, so that its events can be delivered again."""
    cursor.execute("DELETE FROM sessions WHERE batch_id = ?", (batch_id,))


def sweep(catalog: Catalog, now_us: int, *, erased: bool) -> None:
    """Forget closed sessions that are older than the dedup horizon, or ended on a day of which a partition is erased.

    It looks through all that is remembered, in short transactions: once a day, and when something was `erased`.
    """
    told = catalog.query("SELECT value FROM meta WHERE name = ?", (_SWEPT,))
    if told and not erased and 0 <= now_us - int(told[0][0]) < DAY_US:
        return
    since_us = now_us - HORIZON_DAYS * DAY_US
    newest = catalog.query(
        "SELECT batch_id FROM batches WHERE received_us < ? ORDER BY batch_id DESC LIMIT 1", (since_us,)
    )
    ((day,),) = catalog.query("SELECT max(end_date) FROM partitions WHERE state = 'dropped'")
    gone_us = (date_to_day(date.fromisoformat(day)) + 1) * DAY_US if day else 0
    with catalog.transaction() as cursor:
        which = "state = 'closed' AND (seen_us < ? OR ended_us < ?)"
        cursor.execute(f"DELETE FROM sessions WHERE {which}", (since_us, gone_us))  # noqa: S608
    at: int | None = -(2**63)
    over = (newest[0][0] if newest else 0, gone_us)
    while at is not None:
        at = _sweep_stretch(catalog, at, over)
    with catalog.transaction() as cursor:
        cursor.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_SWEPT, str(now_us)))


def _sweep_stretch(catalog: Catalog, at: int, over: tuple[int, int]) -> int | None:
    """Forget of the next rows those up to a batch, or that ended before an instant; return where the rest begins."""
    with catalog.transaction() as cursor:
        found = cursor.execute(
            "SELECT tag FROM ended_sessions WHERE tag >= ? ORDER BY tag LIMIT 1 OFFSET ?", (at, _SWEPT_AT_ONCE)
        ).fetchone()
        last = found[0] - 1 if found else 2**63 - 1
        which = "tag BETWEEN ? AND ? AND (batch_id <= ? OR ended_us < ?)"
        cursor.execute(f"DELETE FROM ended_sessions WHERE {which}", (at, last, *over))  # noqa: S608
    return found[0] if found else None


def _refuse_known(cursor: sqlite3.Cursor, table: str, tags: Sequence[Any]) -> None:
    """Refuse sessions that came into a table since they were found in none."""
    for some, marks in _stretches(tags):
        if cursor.execute(f"SELECT 1 FROM {table} WHERE tag IN ({marks}) LIMIT 1", some).fetchone():  # noqa: S608
            raise BusyError(_CHANGED, hint="deliver it again")


def _remember(cursor: sqlite3.Cursor, told: Ints, batch_id: int) -> None:
    """Insert sessions that ended, told by length, end and tag: many at a time, and the batch once for all of them."""
    whole = len(told) // _ROWS_AN_INSERT * _ROWS_AN_INSERT
    values = told[:whole].reshape(-1, 3 * _ROWS_AN_INSERT)
    places = (f"(?{at}, ?{at + 1}, ?1, ?{at + 2})" for at in range(2, 2 + 3 * _ROWS_AN_INSERT, 3))
    _insert(cursor, _INTO_ENDED + ", ".join(places), ((batch_id, *row.tolist()) for row in values))
    _insert(cursor, f"{_INTO_ENDED}(?2, ?3, ?1, ?4)", [(batch_id, *row) for row in told[whole:].tolist()])


def _insert(cursor: sqlite3.Cursor, sql: str, rows: Iterable[tuple[Any, ...]]) -> None:
    try:
        cursor.executemany(sql, rows)
    except sqlite3.IntegrityError as error:
        raise BusyError(_CHANGED, hint="deliver it again") from error


def _change(cursor: sqlite3.Cursor, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
    if not rows:
        return
    cursor.executemany(sql, rows)
    if cursor.rowcount != len(rows):
        raise BusyError(_CHANGED, hint="deliver it again")


def _stretches(tags: Sequence[Any]) -> list[tuple[Sequence[Any], str]]:
    """Return tags in stretches that one question takes, and its marks."""
    stretches = [tags[start : start + _TAGS_A_QUERY] for start in range(0, len(tags), _TAGS_A_QUERY)]
    return [(some, ", ".join("?" * len(some))) for some in stretches]
