"""The compiled twins of `store.open_sessions.session_numbers` (ADR 7).

There are no bounds checks: numbers lie inside what is told of them, and tables of places have a power of two of room,
twice as much as they hold at the most.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")
types: Any = numba.types

_INTS: Final = types.Array(types.int64, 1, "C")
_GIVEN: Final = types.Array(types.int64, 1, "C", readonly=True)
_TAGS: Final = types.Array(types.uint64, 2, "C", readonly=True)
_KNOWN: Final = types.Array(types.uint64, 2, "C")
_MARKS: Final = types.Array(types.uint64, 1, "C", readonly=True)
_FLAGS: Final = types.Array(types.boolean, 1, "C")
_U: Final = np.uint64
_MIX: Final = _U(0x9E37_79B9_7F4A_7C15)
_HALF: Final = _U(32)
_OPEN: Final = 1  # as RANK of `store.open_sessions.folding`
_CLOSE: Final = 2


def _rehash_of(tags: Any, count: Any, places: Any) -> None:
    """Put the first tags into an empty table of places (-1: free)."""
    bound = _U(len(places) - 1)
    for number in range(count):
        at = tags[number, 0] & bound
        while places[np.int64(at)] >= 0:
            at = (at + _U(1)) & bound
        places[np.int64(at)] = number


rehash: Any = numba.njit(types.void(_TAGS, types.int64, _INTS), nogil=True)(_rehash_of)


def _number_of(tags: Any, known: Any, count: Any, places: Any, numbers: Any) -> Any:
    """Write the number of every tag; new ones get the next and are put into `known`. Return how many are known."""
    bound = _U(len(places) - 1)
    for row in range(len(tags)):
        first, second = tags[row, 0], tags[row, 1]
        at = first & bound
        number = places[np.int64(at)]
        while number >= 0 and not (known[number, 0] == first and known[number, 1] == second):
            at = (at + _U(1)) & bound
            number = places[np.int64(at)]
        if number < 0:
            number = count
            known[number, 0], known[number, 1] = first, second
            places[np.int64(at)] = number
            count += 1
        numbers[row] = number
    return count


number: Any = numba.njit(types.int64(_TAGS, _KNOWN, types.int64, _INTS, _INTS), nogil=True)(_number_of)


def _gather_of(numbers: Any, scratch: Any, local: Any, distinct: Any) -> Any:
    """Number the distinct numbers as they come; return how many. `scratch` holds -1 for each, before and after."""
    count = np.int64(0)
    for row in range(len(numbers)):
        one = numbers[row]
        if scratch[one] < 0:
            scratch[one] = count
            distinct[count] = one
            count += 1
        local[row] = scratch[one]
    for place in range(count):
        scratch[distinct[place]] = -1
    return count


gather: Any = numba.njit(types.int64(_GIVEN, _INTS, _INTS, _INTS), nogil=True)(_gather_of)


def _turns_of(
    sessions: Any,
    kinds: Any,
    starts: Any,
    ends: Any,
    none: Any,
    begun: Any,
    waits: Any,
    last: Any,
    seen: Any,
    alone: Any,
    since: Any,
    turns: Any,
) -> Any:
    """Write the turn of every event; return the last turn.

    Of each session `begun` holds the known start, `waits` the end that waits for one, `last` an end before (or `none`),
    the next three 0.
    """
    latest = np.int64(0)
    for row in range(len(sessions)):
        one, kind, start, end = sessions[row], kinds[row], starts[row], ends[row]
        cut = alone[one] > 0 or kind == _OPEN or (kind == _CLOSE and none < end < begun[one])
        if cut and seen[one] > 0:
            since[one] += 1
            latest = max(latest, since[one])
        seen[one] = 1
        turns[row] = since[one]
        apart = kind == _CLOSE or (kind != _OPEN and end != none)
        if kind == _OPEN:
            before = max(begun[one], waits[one], last[one])
            apart = before != none and start <= before
            begun[one] = start
            if not apart:
                waits[one] = none
        alone[one] = 1 if apart or waits[one] != none else 0
        if kind == _CLOSE:
            waits[one] = last[one] = max(waits[one], last[one], end)
    return latest


turns: Any = numba.njit(
    types.int64(_GIVEN, _GIVEN, _GIVEN, _GIVEN, types.int64, _INTS, _INTS, _INTS, _INTS, _INTS, _INTS, _INTS),
    nogil=True,
)(_turns_of)


def _fresh_of(owners: Any, marks: Any, places: Any, fresh: Any) -> None:
    """Tell of every mark whether its owner has it for the first time. `places` is free (-1)."""
    bound = _U(len(places) - 1)
    for row in range(len(owners)):
        owner, mark = owners[row], marks[row]
        mixed = (mark ^ _U(owner)) * _MIX
        at = (mixed ^ (mixed >> _HALF)) & bound
        other = places[np.int64(at)]
        while other >= 0 and not (owners[other] == owner and marks[other] == mark):
            at = (at + _U(1)) & bound
            other = places[np.int64(at)]
        fresh[row] = other < 0
        if other < 0:
            places[np.int64(at)] = row


fresh: Any = numba.njit(types.void(_GIVEN, _MARKS, _INTS, _FLAGS), nogil=True)(_fresh_of)
