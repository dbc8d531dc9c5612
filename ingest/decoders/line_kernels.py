"""Compiled loops over lines and slices of text (ADR 7): copies, and the values of plain CSV.

The twins that the tests compare these with are the NumPy roads of `ingest.decoders.slices`, and the row-by-row roads of
CSV. There are no bounds checks: slices lie inside the data.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

from ingest.decoders.word_kernels import (
    commas32,
    ctz,
    inlined,
    load64,
    newlines32,
    nuls32,
    ones,
    quotes32,
    returns32,
    store64,
)

numba: Any = importlib.import_module("numba")
types: Any = importlib.import_module("numba.core.types")

# Places in the state of `plain_values`.
ROWS: Final = 0
OPEN: Final = 1  # not 0: some line leaves a quote open
STATE_SIZE: Final = 2

WORD_BYTES: Final = 8

_BYTES: Final = types.Array(types.uint8, 1, "C", readonly=True)
_PLACES: Final = types.Array(types.int64, 1, "C", readonly=True)
_OFFSETS: Final = types.Array(types.int32, 1, "C", readonly=True)
_DASH: Final = np.uint8(0x2D)
_DOT: Final = np.uint8(0x2E)
_SLASH: Final = np.uint8(0x2F)
_ZERO: Final = np.uint8(0x30)
_NINE: Final = np.uint8(0x39)
_SEMICOLON: Final = np.uint8(0x3B)
_LOW_A: Final = np.uint8(0x61)
_LOW_F: Final = np.uint8(0x66)
_QUOTE: Final = np.uint8(0x22)
_COMMA: Final = np.uint8(0x2C)
_NEWLINE: Final = np.uint8(0x0A)
_RETURN: Final = np.uint8(0x0D)
_NUL: Final = np.uint8(0)
_STEP: Final = 64
_U = np.uint64
_NONE: Final = _U(0)
_ONE: Final = _U(1)
_HALF: Final = _U(32)


def _copy_slices_of(data: Any, base: Any, starts: Any, ends: Any, out: Any, into: Any) -> None:
    """Copy the slices `starts[i]:ends[i]` one behind the other; one that begins below 0 is empty.

    `base` and `into` are the addresses of `data` and `out`, which has room for `WORD_BYTES` more: words are copied, and
    what is too much is written over.
    """
    place = np.int64(0)
    for index in range(len(starts)):
        at, end = starts[index], ends[index]
        if at < 0:
            continue
        length = end - at
        if length > 0 and at + (length + WORD_BYTES - 1) // WORD_BYTES * WORD_BYTES <= len(data):
            for word in range(0, length, WORD_BYTES):
                store64(into + place + word, load64(base + at + word))
            place += length
        else:
            for source in range(at, end):
                out[place] = data[source]
                place += 1


copy_slices: Any = numba.njit(
    types.void(_BYTES, types.int64, _PLACES, _PLACES, types.Array(types.uint8, 1, "C"), types.int64),
    nogil=True,
)(_copy_slices_of)


def _measure_slices_of(starts: Any, ends: Any, offsets: Any, valid: Any) -> Any:
    """Write where the slices `starts[i]:ends[i]` go, one behind the other; return how many begin below 0.

    Those are empty; the others' bits are set in `valid`, zeros on entry, the lowest bit of an octet first.
    """
    place, absent = np.int64(0), np.int64(0)
    offsets[0] = 0
    for index in range(len(starts)):
        if starts[index] < 0:
            absent += 1
        else:
            place += ends[index] - starts[index]
            valid[index >> 3] |= np.uint8(1 << (index & 7))
        offsets[index + 1] = place
    return absent


measure_slices: Any = numba.njit(
    types.int64(_PLACES, _PLACES, types.Array(types.int32, 1, "C"), types.Array(types.uint8, 1, "C")), nogil=True
)(_measure_slices_of)


def _masks_of(data: Any, base: Any, at: Any) -> Any:
    """Return where in 64 bytes, fewer at the end, quotes, commas, line feeds, and NUL or lone carriage returns are."""
    size = len(data)
    quotes, commas, feeds, returns, nuls = _NONE, _NONE, _NONE, _NONE, _NONE
    if size - at >= _STEP:
        place = base + at
        quotes = quotes32(place) | (quotes32(place + 32) << _HALF)
        commas = commas32(place) | (commas32(place + 32) << _HALF)
        feeds = newlines32(place) | (newlines32(place + 32) << _HALF)
        returns = returns32(place) | (returns32(place + 32) << _HALF)
        nuls = nuls32(place) | (nuls32(place + 32) << _HALF)
    else:
        for index in range(size - at):
            octet, bit = data[at + index], _ONE << _U(index)
            quotes |= bit if octet == _QUOTE else _NONE
            commas |= bit if octet == _COMMA else _NONE
            feeds |= bit if octet == _NEWLINE else _NONE
            returns |= bit if octet == _RETURN else _NONE
            nuls |= bit if octet == _NUL else _NONE
    if returns != _NONE:
        follows = feeds >> _ONE
        if at + _STEP < size and data[at + _STEP] == _NEWLINE:
            follows |= _ONE << _U(63)
        returns &= ~follows
    return quotes, commas, feeds, returns | nuls


_masks: Any = inlined(_masks_of)


def _within_quotes_of(quotes: Any, carried: Any) -> Any:
    """Return a bit for each place at or before which an odd number of quotes stands, `carried` being one before."""
    for step in (1, 2, 4, 8, 16, 32):
        quotes ^= quotes << _U(step)
    return ~quotes if carried else quotes


_within_quotes: Any = inlined(_within_quotes_of)


def _doubled_of(data: Any, start: Any, end: Any) -> Any:
    """Tell whether every quote of a slice has another one next to it."""
    at = start
    while at < end:
        if data[at] == _QUOTE:
            at += 1
            if at >= end or data[at] != _QUOTE:
                return False
        at += 1
    return True


_doubled: Any = inlined(_doubled_of)


def _unquoted_of(data: Any, start: Any, end: Any, quotes: Any) -> Any:
    """Return (start, end, whether quotes are doubled, whether it is well quoted) of a value that has quotes."""
    good = data[start] == _QUOTE and end - start >= 2 and data[end - 1] == _QUOTE
    if quotes > 2 and good:
        good = _doubled(data, start + 1, end - 1)
    return start + 1, end - 1, quotes > 2, good


_unquoted: Any = inlined(_unquoted_of)


def _plain_values_of(
    data: Any, base: Any, wanted: Any, quoted: Any, starts: Any, ends: Any, doubled: Any, odd: Any, state: Any
) -> Any:
    """Find the values of a block of CSV; return how many lines it has, what follows the last line end among them.

    A plain line has as many values as `wanted`, with quotes around whole values or doubled inside such, no NUL, no
    carriage return but one before its line feed, and its line feed. All others are odd. A quote that is open at the end
    of a line is taken to be closed there; `state[OPEN]` tells of it.

    Args:
        data: the block.
        base: its address.
        wanted: per column the line of `starts` and `ends` that takes it, -1 for none.
        quoted: not 0: only lines are plain in which each value stands in quotes, and none holds any.
        starts, ends: where the values of plain lines are, without their quotes; room for every line of the block.
        doubled: per line of `starts`, 0 on entry: 1 where some value has doubled quotes.
        odd: per line of the block: 1 where it is not plain.
        state: ROWS and OPEN, 0 on entry.
    """
    size, width = len(data), len(wanted)
    lines, rows, column, start = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    before, carried, wild, at = np.int64(0), False, False, np.int64(0)
    good: Any = True
    while at < size:
        quotes, commas, feeds, strange = _masks(data, base, at)
        inside = _within_quotes(quotes, carried)
        places = (commas & ~inside) | feeds
        while places != _NONE:
            bit = _U(ctz(places))
            here = _ONE << bit
            below = here - _ONE
            places &= places - _ONE
            place = at + np.int64(bit)
            count = before + ones(quotes & below)
            before, quotes = np.int64(0), quotes & ~below
            feed = feeds & here != _NONE
            first, last, twice = start, place, False
            if feed and place > start and data[place - 1] == _RETURN:
                last -= 1
            if count:
                first, last, twice, whole = _unquoted(data, first, last, count)
                good = good and whole
            good = good and (not quoted or count == 2)
            if column < width and wanted[column] >= 0 and good:
                line = wanted[column]
                starts[line, rows], ends[line, rows] = first, last
                doubled[line] |= np.uint8(twice)
            column, start = column + 1, place + 1
            if not feed:
                continue
            if inside & here != _NONE:
                state[OPEN], good = 1, False
                inside ^= ~(below | here)
                places = ((commas & ~inside) | feeds) & ~(below | here)
            good = good and not wild and strange & below == _NONE and column == width
            good = good and (width > 1 or last > first or count > 0)
            strange, wild = strange & ~below, False
            odd[lines] = not good
            rows, lines, column, good = rows + np.int64(good), lines + 1, np.int64(0), True
        before += ones(quotes)
        wild = wild or strange != _NONE
        carried = inside >> _U(63) != _NONE
        at += _STEP
    if size and data[size - 1] != _NEWLINE:
        odd[lines], lines = 1, lines + 1
        if carried:
            state[OPEN] = 1
    state[ROWS] = rows
    return lines


plain_values: Any = numba.njit(
    types.int64(
        _BYTES,
        types.int64,
        _PLACES,
        types.int64,
        types.Array(types.int64, 2, "C"),
        types.Array(types.int64, 2, "C"),
        types.Array(types.uint8, 1, "C"),
        types.Array(types.uint8, 1, "C"),
        types.Array(types.int64, 1, "C"),
    ),
    nogil=True,
)(_plain_values_of)


def _is_hex(octet: Any) -> Any:
    return (octet >= _ZERO and octet <= _NINE) or (octet >= _LOW_A and octet <= _LOW_F)


_is_hex_of: Any = inlined(_is_hex)


def _peers_of(data: Any, offsets: Any, ends: Any) -> None:
    """Tell where technology and peer of channel names end: before `-<hexadecimal serial>`, `;1` behind it or not.

    Text `i` is `offsets[i]:offsets[i + 1]`; what follows a second slash is cut, and all but `Local` of such a channel.
    """
    for index in range(len(ends)):
        start: Any = np.int64(offsets[index])
        end: Any = np.int64(offsets[index + 1])
        at = end
        if at - start >= 2 and data[at - 2] == _SEMICOLON and (data[at - 1] == _ZERO + 1 or data[at - 1] == _ZERO + 2):
            at -= 2
        serial = at
        while at > start and _is_hex_of(data[at - 1]):
            at -= 1
        if at < serial and at > start and data[at - 1] == _DASH:
            end = at - 1
        slashes = 0
        for place in range(start, end):
            if data[place] == _SLASH:
                slashes += 1
                if slashes == 2:
                    end = place
                    break
        ends[index] = end


peers: Any = numba.njit(types.void(_BYTES, _OFFSETS, types.Array(types.int64, 1, "C")), nogil=True)(_peers_of)


def _systems_of(data: Any, offsets: Any, ends: Any) -> None:
    """Tell where the system name of a uniqueid ends, at its start where it has none; -1 for what is no uniqueid.

    Its form is `<epoch of 9 to 11 digits>.<digits>`, or that behind a name and a dash.
    """
    for index in range(len(ends)):
        start, at = np.int64(offsets[index]), np.int64(offsets[index + 1])
        ends[index] = -1
        behind = at
        while at > start and data[at - 1] >= _ZERO and data[at - 1] <= _NINE:
            at -= 1
        if at in (behind, start) or data[at - 1] != _DOT:
            continue
        at -= 1
        behind = at
        while at > start and data[at - 1] >= _ZERO and data[at - 1] <= _NINE:
            at -= 1
        if behind - at < 9 or behind - at > 11:
            continue
        if at == start:
            ends[index] = start
        elif data[at - 1] == _DASH and at - 1 > start:
            ends[index] = at - 1


systems: Any = numba.njit(types.void(_BYTES, _OFFSETS, types.Array(types.int64, 1, "C")), nogil=True)(_systems_of)
