"""Compiled walks over accounting rows and bodies, and what plain transactions say (ADR 7, ADR 38).

A walk writes where the values of a row are, by what they are; `transactions` makes an event of each. What a kernel does
not understand is left to the twin, `ingest.decoders.kamailio.records`, row by row. There are no bounds checks: before
and behind the block are `PAD_BYTES` more, and what is written has room for as many bytes as it is made of.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.freeswitch.name_kernels import code_of
from ingest.decoders.json_kernels import bare, behind_blanks, string
from ingest.decoders.word_kernels import (
    colons32,
    ctz,
    inlined,
    load8,
    load32,
    load64,
    no_digits32,
    numba,
    number,
    pipes32,
    quad,
    store64,
    types,
)

# What a value is: the column of its places.
METHOD: Final = 0
FROM_TAG: Final = 1
TO_TAG: Final = 2
CALLID: Final = 3
CODE: Final = 4
SECONDS: Final = 5
MICROSECONDS: Final = 6
CALLING: Final = 7
CALLED: Final = 8
DIALLED: Final = 9
SOURCE: Final = 10
SHARED: Final = 7
VALUES: Final = 17
IDENTIFIERS: Final = 3  # calling, called, dialled
COLUMNS_MAX: Final = 64
RANKS: Final = 4  # a code is its value's number times this, plus its place among the names of that value
LEFT: Final = VALUES * RANKS  # the code of a name whose rows are left to the twin

# Columns of what transactions say.
EVENT: Final = 0
START: Final = 1
ANSWER: Final = 2
END: Final = 3
DISPOSITION: Final = 4
STATUS: Final = 5  # the code as a number, 0 where it is not told
FAILED: Final = 6
MESSAGE: Final = 7
ADDRESS: Final = 8  # of the source, as IPv4; -1 for none
DIGITS: Final = 9  # calling, called, dialled as packed; 0 for none
TOLD: Final = 12

RECORD: Final = 0
OPEN: Final = 1
CLOSE: Final = 2
NO_TIME: Final = -1
ANSWERED: Final = 0
SENT: Final = 1
NO_ANSWER: Final = 2
BUSY: Final = 3
CANCELLED: Final = 4
FAILURE: Final = 5

_INVITE: Final = 0x4554_4956_4E49
_BYE: Final = 0x45_5942
_MESSAGE: Final = 0x45_4741_5353_454D
_ACC: Final = 0x3A43_4341  # "ACC:"
_CALL: Final = 0x20_6C6C_6163  # "call "
_QUOTE: Final = 0x22
_COMMA: Final = 0x2C
_COLON: Final = 0x3A
_OPEN_BRACE: Final = 0x7B
_CLOSE_BRACE: Final = 0x7D
_SPACE: Final = 0x20
_DIGITS_MAX: Final = 18
_POWERS: Final = 10 ** np.arange(19, dtype=np.int64)
_U = np.uint64

_GIVEN: Final = types.Array(types.int64, 1, "C", readonly=True)
_PLACES: Final = types.Array(types.int64, 1, "C")
_INTS: Final = types.Array(types.int64, 2, "C")
_SHAPES: Final = types.Array(types.int64, 2, "C", readonly=True)
_TABLE: Final = types.Array(types.uint64, 2, "C", readonly=True)
_FLAGS: Final = types.Array(types.boolean, 1, "C")
_OFFSETS: Final = types.Array(types.int32, 1, "C")


def _put(code: Any, at: Any, end: Any, row: Any, starts: Any, ends: Any, ranks: Any) -> None:
    """Note a value that is no empty text, unless a better name of the same has one."""
    if code < 0 or end <= at:
        return
    what, rank = code // RANKS, code % RANKS
    if starts[what, row] < 0 or rank < ranks[what]:
        starts[what, row], ends[what, row], ranks[what] = at, end, rank


_put_of: Any = inlined(_put)


def _rows(
    base: Any,
    begins: Any,
    behind: Any,
    shapes: Any,
    stops: Any,
    starts: Any,
    ends: Any,
    ranks: Any,
    good: Any,
) -> None:
    """Cut the lines that are `good` at their pipes; of syslog, or with as many columns as no shape, they are not good.

    `shapes` has by number of columns their codes (-1: not read), the first -2 where there is no such shape.
    """
    for row in range(len(begins)):
        for what in range(len(starts)):
            starts[what, row] = -1
            ends[what, row] = -1
        if not good[row]:
            continue
        at, end = begins[row], behind[row]
        columns, place = np.int64(0), at
        while place < end:
            found, colons = pipes32(base + place), colons32(base + place)
            if end - place < 32:
                found &= (_U(1) << _U(end - place)) - _U(1)
                colons &= (_U(1) << _U(end - place)) - _U(1)
            while colons != _U(0):
                colon = base + place + np.int64(ctz(colons))
                colons &= colons - _U(1)
                good[row] &= load32(colon - 3) != _ACC or load8(colon + 1) != _SPACE
            while found != _U(0):
                if columns < COLUMNS_MAX:
                    stops[columns] = place + np.int64(ctz(found))
                columns += 1
                found &= found - _U(1)
            place += 32
        if not good[row] or columns >= COLUMNS_MAX - 1 or shapes[columns + 1, 0] == -2:
            good[row] = False
            continue
        stops[columns] = end
        for column in range(columns + 1):
            _put_of(shapes[columns + 1, column], at, stops[column], row, starts, ends, ranks)
            at = stops[column] + 1


rows: Any = numba.njit(
    types.void(types.int64, _GIVEN, _GIVEN, _SHAPES, _PLACES, _INTS, _INTS, _PLACES, _FLAGS),
    nogil=True,
    error_model="numpy",
)(_rows)


def _body(base: Any, at: Any, end: Any, row: Any, table: Any, names: Any, starts: Any, ends: Any, ranks: Any) -> Any:
    """Note the values of one flat object; tell whether it is one that the kernels understand."""
    known = _U(0)
    if load8(at) != _OPEN_BRACE:
        return False
    at = behind_blanks(at + 1)
    while True:
        if load8(at) != _QUOTE:
            return False
        length, escaped, _ = string(at + 1)
        if length < 0 or escaped:
            return False
        code, _ = code_of(at + 1, length, np.int64(0), table, names)
        at = behind_blanks(at + length + 2)
        if load8(at) != _COLON or code == LEFT:
            return False
        if code >= 0:
            bit = _U(1) << _U(code // RANKS * 3 + code % RANKS)
            if known & bit:
                return False
            known |= bit
        at = behind_blanks(at + 1)
        if load8(at) == _QUOTE:
            length, escaped, _ = string(at + 1)
            if length < 0 or (escaped and code >= 0):
                return False
            _put_of(code, at + 1 - base, at + 1 + length - base, row, starts, ends, ranks)
            at += length + 2
        else:
            length = bare(at)
            if length < 0 or (code >= 0 and (length > _DIGITS_MAX or np.int64(ctz(no_digits32(at))) != length)):
                return False
            _put_of(code, at - base, at + length - base, row, starts, ends, ranks)
            at += length
        at = behind_blanks(at)
        if load8(at) == _CLOSE_BRACE:
            return behind_blanks(at + 1) == end
        if load8(at) != _COMMA:
            return False
        at = behind_blanks(at + 1)


_body_of: Any = inlined(_body)


def _bodies(
    base: Any,
    begins: Any,
    behind: Any,
    table: Any,
    names: Any,
    starts: Any,
    ends: Any,
    ranks: Any,
    good: Any,
) -> None:
    """Find the values of the bodies that are `good`, one a line; one that is left to the twin is not good."""
    for row in range(len(begins)):
        for what in range(VALUES):
            starts[what, row] = -1
            ends[what, row] = -1
        if good[row]:
            good[row] = _body_of(base, base + begins[row], base + behind[row], row, table, names, starts, ends, ranks)


bodies: Any = numba.njit(
    types.void(types.int64, _GIVEN, _GIVEN, _TABLE, types.int64, _INTS, _INTS, _PLACES, _FLAGS),
    nogil=True,
    error_model="numpy",
)(_bodies)


def _copy(into: Any, at: Any, source: Any, length: Any) -> Any:
    """Copy bytes, up to seven more behind them; return the place behind."""
    for word in range(0, length, 8):
        store64(into + at + word, load64(source + word))
    return at + length


copy_text: Any = inlined(_copy)


def _before(one: Any, length: Any, two: Any, other: Any) -> Any:
    """Tell whether a text sorts before another, or is the same."""
    for place in range(min(length, other)):
        left, right = load8(one + place), load8(two + place)
        if left != right:
            return left < right
    return length <= other


is_before: Any = inlined(_before)


def _kind(base: Any, row: Any, starts: Any, ends: Any, told: Any) -> Any:
    """Tell what a row is from its method and code; False when it is left to the twin."""
    at, length = starts[METHOD, row], ends[METHOD, row] - starts[METHOD, row]
    if at < 0 or length > 7 or starts[CODE, row] < 0 or ends[CODE, row] - starts[CODE, row] != 3:
        return False
    word = np.int64(load64(base + at) & ((_U(1) << _U(8 * length)) - _U(1)))
    code = number(base + starts[CODE, row], np.int64(3))
    if code < 200 or code > 699:
        return False
    success, invite, bye, message = code < 300, word == _INVITE, word == _BYE, word == _MESSAGE
    if not (invite or bye or message) or (bye and code in (401, 407)):
        return False
    told[EVENT, row] = OPEN if invite and success else CLOSE if bye else RECORD
    told[FAILED, row] = np.int64(not bye and not success)
    told[MESSAGE, row] = np.int64(message)
    told[STATUS, row] = 0 if bye else code
    what = FAILURE
    if success:
        what = SENT if message else ANSWERED
    elif code in (408, 480):
        what = NO_ANSWER
    elif code in (486, 600):
        what = BUSY
    elif code == 487:
        what = CANCELLED
    told[DISPOSITION, row] = what
    return True


_kind_of: Any = inlined(_kind)


def _time(base: Any, row: Any, starts: Any, ends: Any) -> Any:
    """Return the time of a row in µs; -1 when it is left to the twin."""
    length = ends[SECONDS, row] - starts[SECONDS, row]
    if starts[SECONDS, row] < 0 or length > 11:
        return np.int64(-1)
    seconds, more = number(base + starts[SECONDS, row], length), np.int64(0)
    if starts[MICROSECONDS, row] >= 0:
        length = ends[MICROSECONDS, row] - starts[MICROSECONDS, row]
        more = number(base + starts[MICROSECONDS, row], length) if length <= 6 else np.int64(-1)
    return seconds * 1_000_000 + more if seconds >= 0 and more >= 0 else np.int64(-1)


_time_of: Any = inlined(_time)


def _parties(base: Any, row: Any, starts: Any, ends: Any, told: Any) -> None:
    """Forget what an end does not tell, and pack numbers of digits and addresses."""
    if told[EVENT, row] == CLOSE:
        for what in range(SHARED, VALUES):
            starts[what, row] = -1
    at, length = starts[DIALLED, row], ends[DIALLED, row] - starts[DIALLED, row]
    if at >= 0 and starts[CALLED, row] >= 0 and length == ends[CALLED, row] - starts[CALLED, row]:
        same = True
        for place in range(length):
            same &= load8(base + at + place) == load8(base + starts[CALLED, row] + place)
        if same:
            starts[DIALLED, row] = -1
    for one in range(IDENTIFIERS):
        at, length = starts[SHARED + one, row], ends[SHARED + one, row] - starts[SHARED + one, row]
        told[DIGITS + one, row] = 0
        if at >= 0 and length <= _DIGITS_MAX:
            value = number(base + at, length)
            if value >= 0:
                told[DIGITS + one, row] = _POWERS[length] + value
    at, length = starts[SOURCE, row], ends[SOURCE, row] - starts[SOURCE, row]
    told[ADDRESS, row] = quad(base + at, length) if at >= 0 else np.int64(-1)


parties: Any = inlined(_parties)


def _transactions(
    base: Any,
    dialog: Any,
    starts: Any,
    ends: Any,
    good: Any,
    told: Any,
    keys: Any,
    key_ends: Any,
    own: Any,
    own_ends: Any,
) -> None:
    """Say what the rows that are `good` are; one that is left to the twin is not good, and has empty keys.

    `keys` and `own` are the addresses of the session keys and record keys, one behind the other.
    """
    key, mine = np.int64(0), np.int64(0)
    for row in range(len(good)):
        good[row] = good[row] and starts[CALLID, row] >= 0 and _kind_of(base, row, starts, ends, told)
        time = _time_of(base, row, starts, ends) if good[row] else np.int64(-1)
        good[row] = time >= 0
        if good[row]:
            kind = told[EVENT, row]
            told[START, row] = NO_TIME if kind == CLOSE else time
            told[ANSWER, row] = time if kind == OPEN else NO_TIME
            told[END, row] = NO_TIME if kind == OPEN else time
            call, length = base + starts[CALLID, row], ends[CALLID, row] - starts[CALLID, row]
            one, first = base + starts[FROM_TAG, row], max(ends[FROM_TAG, row] - starts[FROM_TAG, row], 0)
            two, second = base + starts[TO_TAG, row], max(ends[TO_TAG, row] - starts[TO_TAG, row], 0)
            if kind != RECORD:
                if not is_before(one, first, two, second):
                    one, two, first, second = two, one, second, first
                begin = key
                key = copy_text(keys, key, call, length)
                store64(keys + key, _U(_SPACE))
                key = copy_text(keys, key + 1, one, first)
                store64(keys + key, _U(_SPACE))
                key = copy_text(keys, key + 1, two, second)
                store64(own + mine, _U(_CALL))
                mine += 5
                if dialog:
                    mine = copy_text(own, mine, keys + begin + length + 1, first + 1 + second)
                    store64(own + mine, _U(_SPACE))
                    mine += 1
            else:
                for what in (METHOD, CODE, FROM_TAG, TO_TAG):
                    size = max(ends[what, row] - starts[what, row], 0)
                    mine = copy_text(own, mine, base + starts[what, row], size)
                    store64(own + mine, _U(_SPACE))
                    mine += 1
            mine = copy_text(own, mine, call, length)
            parties(base, row, starts, ends, told)
        key_ends[row + 1], own_ends[row + 1] = key, mine


_KEYS: Final = (types.int64, _OFFSETS)
transactions: Any = numba.njit(
    types.void(types.int64, types.int64, _INTS, _INTS, _FLAGS, _INTS, *_KEYS, *_KEYS), nogil=True, error_model="numpy"
)(_transactions)
