"""What plain CDRs of OpenSIPS say, by a compiled walk over the values that `walk_kernels.rows` found (ADR 7, ADR 38).

What it does not understand is left to the twin, `ingest.decoders.kamailio.records.ended_calls`, row by row.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.kamailio.walk_kernels import (
    ANSWER,
    CALLID,
    CODE,
    END,
    EVENT,
    FAILED,
    FROM_TAG,
    MESSAGE,
    METHOD,
    RECORD,
    SECONDS,
    START,
    STATUS,
    TO_TAG,
    copy_text,
    is_before,
    parties,
)
from ingest.decoders.kamailio.walk_kernels import VALUES as SHARED_VALUES
from ingest.decoders.word_kernels import inlined, load8, load64, numba, number, store64, types

# What a value is besides those of `walk_kernels`: the column of its places.
DURATION: Final = SHARED_VALUES
MS_DURATION: Final = SHARED_VALUES + 1
CREATED: Final = SHARED_VALUES + 2
VALUES: Final = SHARED_VALUES + 3

# Columns of what ended calls say, where those of transactions have nothing to say.
DURATION_MS: Final = FAILED
BILLABLE_MS: Final = MESSAGE

_INVITE: Final = 0x4554_4956_4E49
_INVITE_BYTES: Final = 6
_CALL: Final = 0x20_6C6C_6163  # "call "
_CALL_BYTES: Final = 5
_SPACE: Final = 0x20
_ZERO: Final = 0x30
_U = np.uint64


def _whole(base: Any, what: Any, row: Any, most: Any, starts: Any, ends: Any) -> Any:
    """Return a number of 1 to so many digits; -1 where there is another value, or none."""
    length = ends[what, row] - starts[what, row]
    if starts[what, row] < 0 or length > most:
        return np.int64(-1)
    return number(base + starts[what, row], length)


_whole_of: Any = inlined(_whole)


def _said(base: Any, row: Any, starts: Any, ends: Any, told: Any) -> Any:
    """Tell the times and the code of a row; False when it is left to the twin."""
    at, length = starts[METHOD, row], ends[METHOD, row] - starts[METHOD, row]
    if at < 0 or length != _INVITE_BYTES or starts[CALLID, row] < 0:
        return False
    if np.int64(load64(base + at) & ((_U(1) << _U(8 * _INVITE_BYTES)) - _U(1))) != _INVITE:
        return False
    if ends[CODE, row] - starts[CODE, row] != 3:
        return False
    code = _whole_of(base, CODE, row, np.int64(3), starts, ends)
    answer = _whole_of(base, SECONDS, row, np.int64(11), starts, ends)
    if code < 200 or code > 299 or answer < 0:
        return False
    start = answer
    created, length = starts[CREATED, row], ends[CREATED, row] - starts[CREATED, row]
    if created >= 0 and (length != 1 or load8(base + created) != _ZERO):
        start = _whole_of(base, CREATED, row, np.int64(11), starts, ends)
    if starts[MS_DURATION, row] >= 0:
        duration = _whole_of(base, MS_DURATION, row, np.int64(12), starts, ends)
    else:
        duration = _whole_of(base, DURATION, row, np.int64(9), starts, ends) * 1000
    if start < 0 or duration < 0 or answer < start:
        return False
    told[EVENT, row] = RECORD
    told[STATUS, row] = code
    told[START, row] = start * 1_000_000
    told[ANSWER, row] = answer * 1_000_000
    told[END, row] = answer * 1_000_000 + duration * 1000
    told[DURATION_MS, row] = (answer - start) * 1000 + duration
    told[BILLABLE_MS, row] = duration
    return True


_said_of: Any = inlined(_said)


def _ended(base: Any, dialog: Any, starts: Any, ends: Any, good: Any, told: Any, own: Any, own_ends: Any) -> None:
    """Say what the rows that are `good` are; one that is left to the twin is not good, and has an empty key.

    `own` is the address of the record keys, one behind the other.
    """
    mine = np.int64(0)
    for row in range(len(good)):
        good[row] = good[row] and _said_of(base, row, starts, ends, told)
        if good[row]:
            store64(own + mine, _U(_CALL))
            mine += _CALL_BYTES
            if dialog:
                one, first = base + starts[FROM_TAG, row], max(ends[FROM_TAG, row] - starts[FROM_TAG, row], 0)
                two, second = base + starts[TO_TAG, row], max(ends[TO_TAG, row] - starts[TO_TAG, row], 0)
                if not is_before(one, first, two, second):
                    one, two, first, second = two, one, second, first
                mine = copy_text(own, mine, one, first)
                store64(own + mine, _U(_SPACE))
                mine = copy_text(own, mine + 1, two, second)
                store64(own + mine, _U(_SPACE))
                mine += 1
            mine = copy_text(own, mine, base + starts[CALLID, row], ends[CALLID, row] - starts[CALLID, row])
            parties(base, row, starts, ends, told)
        own_ends[row + 1] = mine


_INTS: Final = types.Array(types.int64, 2, "C")
_FLAGS: Final = types.Array(types.boolean, 1, "C")
_OFFSETS: Final = types.Array(types.int32, 1, "C")
ended: Any = numba.njit(
    types.void(types.int64, types.int64, _INTS, _INTS, _FLAGS, _INTS, types.int64, _OFFSETS),
    nogil=True,
    error_model="numpy",
)(_ended)
