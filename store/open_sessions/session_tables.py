"""The catalog's two tables of sessions: those that run, and of those that ended that they did, and until when.

A session is in one of them. `sessions` has the fields of those that run, or were closed by timeout. `ended_sessions` is
small, for it has a row for every session of the dedup horizon: 64 bits of the tag, the end, the batch. So much of a tag
may be another session's once in 2^64 / (sessions remembered); it is asked only when nothing runs under the whole tag,
and an opening after the end that is told opens a session all the same.

A batch that is withdrawn ended nothing: its rows are told apart when they are read, not looked for at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np

from schemas.errors import BusyError
from store.catalog import Catalog
from store.identities.dedup import HORIZON_DAYS
from store.open_sessions.session_states import NO_END, SessionStates
from store.partitions import DAY_US, date_to_day

_CHANGED: Final = "another delivery of the same source changed its open sessions"
_TAGS_A_QUERY: Final = 500
_SWEPT_AT_ONCE: Final = 50_000
"""Rows that are looked through in one transaction: deliveries wait for no more."""
_SWEPT: Final = "sessions_swept_us"


@dataclass(frozen=True, slots=True)
class Running:
    """A session of which fields are known, as the batch leaves it."""

    number: int
    row: tuple[Any, ...]
    """state, end, time of the change, key, sealed fields, element, batch, tag, source"""


def load(catalog: Catalog, states: SessionStates, tags: Sequence[bytes]) -> list[tuple[Any, ...]]:
    """Note what the catalog knows of new sessions; return (tag, key, sealed fields) of those that have fields.

    A session may change tables between the questions: then `write` finds it changed.
    """
    rows: list[Any] = []
    for some, marks in _stretches(tags):
        sql = f"SELECT tag, key_ref, sealed, state, ended_us FROM sessions WHERE tag IN ({marks})"  # noqa: S608
        rows += catalog.query(sql, some)
    numbers = states.numbers([row[0] for row in rows])
    if rows:
        states.closed[numbers] = [row[3] == "closed" for row in rows]
        states.ended_us[numbers] = [NO_END if row[4] is None else row[4] for row in rows]
        states.stored.update(zip(numbers.tolist(), (row[2] for row in rows), strict=True))
    running = {row[0] for row in rows}
    _load_ended(catalog, states, [tag for tag in tags if tag not in running])
    return [row[:3] for row in rows]


def _load_ended(catalog: Catalog, states: SessionStates, tags: Sequence[bytes]) -> None:
    cut = dict(zip(_cuts(tags), states.numbers(tags).tolist(), strict=True))
    for some, marks in _stretches(list(cut)):
        told = "tag, ended_us, batch_id, withdrawn_us IS NULL"
        both = "ended_sessions LEFT JOIN batches USING (batch_id)"
        sql = f"SELECT {told} FROM {both} WHERE tag IN ({marks})"  # noqa: S608
        for tag, ended_us, batch_id, counts in catalog.query(sql, some):
            number = cut[tag]
            states.remembered[number] = batch_id
            if counts:
                states.closed[number] = True
                states.ended_us[number] = NO_END if ended_us is None else ended_us


def write(
    cursor: sqlite3.Cursor, states: SessionStates, running: Sequence[Running], ended: Sequence[int], batch_id: int
) -> None:
    """Put what a batch changed into the open transaction: sessions of which fields are known, and that ended.

    Raises:
        BusyError: another batch changed one of them meanwhile.
    """
    # Neighbours in the tables together: their pages are written once then.
    _write_running(cursor, states, sorted(running, key=lambda one: states.tags[one.number]))
    _write_ended(cursor, states, ended, batch_id)


def _write_running(cursor: sqlite3.Cursor, states: SessionStates, running: Sequence[Running]) -> None:
    tags, stored, remembered = states.tags, states.stored, states.remembered
    known = [one.number for one in running if one.number in remembered]
    woken = dict(zip(_cuts([tags[number] for number in known]), map(remembered.__getitem__, known), strict=True))
    new = [one.row for one in running if one.number not in stored]
    fresh = [tags[one.number] for one in running if not (one.number in stored or one.number in remembered)]
    _refuse_known(cursor, "ended_sessions", _cuts(fresh))
    columns = "state, ended_us, seen_us, key_ref, sealed, element, batch_id, tag, source"
    _insert(cursor, f"INSERT INTO sessions ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", new)  # noqa: S608
    _change(
        cursor,
        "UPDATE sessions SET state = ?, ended_us = ?, seen_us = ?, key_ref = ?, sealed = ?, element = ?, batch_id = ? "
        "WHERE tag = ? AND sealed = ?",
        [(*one.row[:-1], stored[one.number]) for one in running if one.number in stored],
    )
    _change(cursor, "DELETE FROM ended_sessions WHERE tag = ? AND batch_id = ?", sorted(woken.items()))


def _write_ended(cursor: sqlite3.Cursor, states: SessionStates, ended: Sequence[int], batch_id: int) -> None:
    tags, stored, remembered = states.tags, states.stored, states.remembered
    numbers = dict(sorted(zip(_cuts([tags[number] for number in ended]), ended, strict=True)))
    ends = [None if end == NO_END else end for end in states.ended_us[list(numbers.values())].tolist()]
    rows = {number: (end, batch_id, cut) for (cut, number), end in zip(numbers.items(), ends, strict=True)}
    fresh = [tags[number] for number in numbers.values() if not (number in stored or number in remembered)]
    _refuse_known(cursor, "sessions", fresh)
    first = [row for number, row in rows.items() if number not in remembered]
    _insert(cursor, "INSERT INTO ended_sessions (ended_us, batch_id, tag) VALUES (?, ?, ?)", first)
    again = [(*row, remembered[number]) for number, row in rows.items() if number in remembered]
    _change(cursor, "UPDATE ended_sessions SET ended_us = ?, batch_id = ? WHERE tag = ? AND batch_id = ?", again)
    over = [(tags[number], stored[number]) for number in ended if number in stored]
    _change(cursor, "DELETE FROM sessions WHERE tag = ? AND sealed = ?", over)


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


def _insert(cursor: sqlite3.Cursor, sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
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


def _cuts(tags: Sequence[bytes]) -> list[int]:
    """Return the first 64 bits of tags."""
    cuts: list[int] = np.frombuffer(b"".join(tags), ">i8")[::2].tolist()
    return cuts
