"""Numbers for sessions, and what the order of their events says. Pure.

Large stretches take compiled loops over tables of places, small ones their twins in Python.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from store import native
from store.identities.prf import Words

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Marks = npt.NDArray[np.uint64]

KERNEL_ROWS_MIN: Final = 8192
"""Fewer events of a process are no reason to load the compiled kernels; when they are there, they are used."""
NO_TIME: Final = np.iinfo(np.int64).min
"""A start or an end that no event said."""
RANK: Final[dict[str, int]] = {"update": 0, "open": 1, "close": 2}
"""Kinds of events, by whose word counts more."""

_KERNELS: Final = "store.open_sessions.session_kernels"
_ROWS_MIN: Final = 1024


def kernels(rows: int) -> Any:
    """Return the compiled loops; None when so few rows are not worth loading them."""
    return native.load(_KERNELS) if native.pays(_KERNELS, rows, KERNEL_ROWS_MIN) else None


class SessionNumbers:
    """A number for each tag: the next one for a new tag, in the order in which they come."""

    def __init__(self) -> None:
        self._count = 0
        self._tags: Words = np.zeros((0, 2), np.uint64)
        self._numbers: dict[bytes, int] = {}
        self._places: Ints | None = None

    def __len__(self) -> int:
        return self._count

    @property
    def tags(self) -> Words:
        """The tags by number."""
        return self._tags[: self._count]

    def of(self, tags: Words) -> Ints:
        """Return the number of every tag."""
        self._reserve(len(tags))
        loops = kernels(len(tags))
        if loops is None:
            return self._plain(tags)
        if self._places is None or 2 * (self._count + len(tags)) > len(self._places):
            self._places = _free_places(2 * (self._count + len(tags)))
            loops.rehash(self._tags, self._count, self._places)
        numbers = np.empty(len(tags), np.int64)
        given = np.ascontiguousarray(tags)
        self._count = loops.number(given, self._tags, self._count, self._places, numbers)
        return numbers

    def _plain(self, tags: Words) -> Ints:
        octets, numbers = tags.tobytes(), np.empty(len(tags), np.int64)
        if len(self._numbers) < self._count:  # the loops numbered some
            self._numbers = {tag.tobytes(): number for number, tag in enumerate(self.tags)}
        self._places = None
        for row in range(len(tags)):
            tag = octets[16 * row : 16 * row + 16]
            numbers[row] = number = self._numbers.setdefault(tag, self._count)
            if number == self._count:
                self._tags[number] = tags[row]
                self._count += 1
        return numbers

    def _reserve(self, more: int) -> None:
        if self._count + more > len(self._tags):
            room = max(_ROWS_MIN, 2 * (self._count + more)) - len(self._tags)
            self._tags = np.concatenate([self._tags, np.zeros((room, 2), np.uint64)])


def gather(numbers: Ints, scratch: Ints) -> tuple[Ints, Ints]:
    """Return for every row the place of its number among the distinct ones, and these, in the order of their first row.

    `scratch` has a -1 for every number that there is; so it is left.
    """
    loops = kernels(len(numbers))
    if loops is None:
        values, first, inverse = np.unique(numbers, return_index=True, return_inverse=True)
        by_first = np.argsort(first)
        place = np.empty(len(values), np.int64)
        place[by_first] = np.arange(len(values))
        return place[inverse], values[by_first]
    local, distinct = np.empty(len(numbers), np.int64), np.empty(len(numbers), np.int64)
    count = loops.gather(numbers, scratch, local, distinct)
    return local, distinct[:count]


def turns(sessions: Ints, known: tuple[Ints, Ints, Ints], kinds: Ints, starts: Ints, ends: Ints) -> list[Ints]:
    """Return the rows to fold, and those to fold after them: as if every event came by itself.

    By session what is `known`: its start, the end that waits for one, the end of its use before (or `NO_TIME`). By row:
    session (its place there), rank of the event, its start and end in µs. A turn has of every session an opening or
    none, interim words, an end or none, in this order; what says something else is alone in its turn.
    """
    rows = len(sessions)
    turn = np.zeros(rows, np.int64)
    loops = kernels(rows)
    if loops is None:
        last = _turns(sessions, known, kinds, starts, ends, turn)
    else:
        own = [np.ascontiguousarray(times).copy() for times in known]
        seen, alone, since = (np.zeros(len(own[0]), np.int64) for _ in range(3))
        last = loops.turns(sessions, kinds, starts, ends, NO_TIME, *own, seen, alone, since, turn)
    if not last:
        return [np.arange(rows)]
    by_turn = np.argsort(turn, kind="stable")
    return np.split(by_turn, np.flatnonzero(np.diff(turn[by_turn])) + 1)


def _turns(sessions: Ints, known: tuple[Ints, Ints, Ints], kinds: Ints, starts: Ints, ends: Ints, turn: Ints) -> int:
    """Write the turn of every event; return the last turn."""
    begun, waits, last = (dict(enumerate(times.tolist())) for times in known)
    alone: set[int] = set()
    since: dict[int, int] = {}
    columns = zip(*(column.tolist() for column in (sessions, kinds, starts, ends)), strict=True)
    for row, (one, kind, start, end) in enumerate(columns):
        opens, closes = kind == RANK["open"], kind == RANK["close"]
        if one in since and (one in alone or opens or (closes and NO_TIME < end < begun[one])):
            since[one] += 1
        turn[row] = since.setdefault(one, 0)
        apart = closes or (not opens and end != NO_TIME)
        if opens:
            before = max(begun[one], waits[one], last[one])
            apart = before != NO_TIME and start <= before
            begun[one] = start
            waits[one] = waits[one] if apart else NO_TIME
        if apart or waits[one] != NO_TIME:
            alone.add(one)
        else:
            alone.discard(one)
        if closes:
            waits[one] = last[one] = max(waits[one], last[one], end)
    return max(since.values(), default=0)


def fresh(owners: Ints, marks: Marks) -> Flags:
    """Tell of every mark whether its owner has it for the first time."""
    loops = kernels(len(owners))
    first = np.ones(len(owners), np.bool_)
    if loops is None:
        order = np.lexsort((marks, owners))  # equal ones in their own order
        owners, marks = owners[order], marks[order]
        first[order[1:]] = (owners[1:] != owners[:-1]) | (marks[1:] != marks[:-1])
    else:
        loops.fresh(owners, np.ascontiguousarray(marks), _free_places(2 * len(owners)), first)
    return first


def _free_places(count: int) -> Ints:
    return np.full(1 << max(count - 1, 1).bit_length(), -1, np.int64)
