"""Which messages of a queue are in a batch: ranges of their numbers, written in the batch's own transaction.

A broker delivers at least once: what was committed and not acknowledged comes again. It is known by its number here,
and so it is in exactly one batch, whatever its records say. Ranges that touch are joined, and everything up to the
broker's own floor is one range, so a queue takes a few rows however long it runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from schemas.errors import BusyError

if TYPE_CHECKING:
    from store.catalog import Catalog


def settled_of(catalog: Catalog, queue: str, sequences: Sequence[int]) -> set[int]:
    """Return those of some numbers that are in a batch already."""
    if not sequences:
        return set()
    rows = catalog.query(
        "SELECT first, last FROM queue_settled WHERE queue = ? AND first <= ? AND last >= ?",
        (queue, max(sequences), min(sequences)),
    )
    return {number for number in sequences if any(first <= number <= last for first, last in rows)}


def settle(cursor: sqlite3.Cursor, queue: str, sequences: Iterable[int]) -> None:
    """Note numbers as being in the batch of the open transaction.

    Raises:
        BusyError: one of them is in another batch, which was committed meanwhile.
    """
    for first, last in runs(sequences):
        near = cursor.execute(
            "SELECT first, last FROM queue_settled WHERE queue = ? AND first <= ? AND last >= ?",
            (queue, last + 1, first - 1),
        ).fetchall()
        if any(low <= last and high >= first for low, high in near):
            raise BusyError("a message is in another batch meanwhile", hint="it is recognised when it comes again")
        _replace(cursor, queue, near, (first, last))


def settle_up_to(cursor: sqlite3.Cursor, queue: str, floor: int) -> int:
    """Join everything up to a number that the broker gives no more; return how many of them were in no batch."""
    if floor < 1:
        return 0
    near: list[tuple[int, int]] = cursor.execute(
        "SELECT first, last FROM queue_settled WHERE queue = ? AND first <= ?", (queue, floor + 1)
    ).fetchall()
    whole = (1, max([floor, *(last for _, last in near)]))
    if near != [whole]:
        _replace(cursor, queue, near, whole)
    return floor - sum(min(last, floor) - first + 1 for first, last in near if first <= floor)


def runs(sequences: Iterable[int]) -> list[tuple[int, int]]:
    """Return numbers as ranges, first and last inclusive, in order."""
    found: list[tuple[int, int]] = []
    for number in sorted(sequences):
        if found and found[-1][1] >= number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _replace(cursor: sqlite3.Cursor, queue: str, old: list[tuple[int, int]], new: tuple[int, int]) -> None:
    cursor.executemany("DELETE FROM queue_settled WHERE queue = ? AND first = ?", [(queue, first) for first, _ in old])
    first, last = min([new, *old])[0], max(last for _, last in [new, *old])
    cursor.execute("INSERT INTO queue_settled VALUES (?, ?, ?)", (queue, first, last))
