"""Compiled walk over FreeSWITCH's JSON documents: each checked to its end, the values that are read found (ADR 38).

A document is read as RFC 8259 has it, blank space between its tokens being spaces and tabs. Names are looked up by
hash; what stands under other names is checked and passed over. A document is left to the twin,
`ingest.decoders.freeswitch.json_cdr`, when a name is there twice, when a value that is read is no plain text, when it
nests deeper than `DEPTH_MAX`, and when it is longer than `DOCUMENT_BYTES_MAX`.

There are no bounds checks. A control byte ends every search, and behind the block are `PAD_BYTES` of zeros.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.freeswitch.leg_kernels import FIELDS, NEWEST, OLDEST, ORIGIN, PLACES, SWITCH, leg
from ingest.decoders.freeswitch.leg_values_kernels import helper
from ingest.decoders.freeswitch.name_kernels import SEEN, code_of, is_new
from ingest.decoders.json_kernels import bare, behind_blanks, string
from ingest.decoders.word_kernels import inlined, load8, load32, numba, types

__all__ = ["NEWEST", "OLDEST", "ORIGIN", "PLACES", "SEEN", "SWITCH", "walk"]

# What a name stands in, and what it opens. A list of entries has the bit LIST.
DOCUMENT: Final = 0
VARIABLES: Final = 1
ENTRY: Final = 2
CALLER: Final = 3
ORIGIN_OF: Final = 4
ORIGINS: Final = 5
ORIGIN_CALLER: Final = 6
OTHER: Final = 7
LIST: Final = 8
OPENS: Final = 1 << 10  # a name's code: it opens OPENS + what; below, it is a place of the leg

DEPTH_MAX: Final = 32
SPANS_MAX: Final = 512
SEEMING_MAX: Final = 12
ATTRIBUTES_MAX: Final = 0  # a document has none
DOCUMENT_BYTES_MAX: Final = (1 << 16) - 1

# Places in the work of one document: a row for each depth, then these.
DEPTH: Final = DEPTH_MAX
NAMED: Final = DEPTH_MAX + 1  # names of variables
SPANS: Final = DEPTH_MAX + 2  # variables that are texts
WILD: Final = DEPTH_MAX + 3  # not 0: some byte may not be ASCII
SEEMING: Final = DEPTH_MAX + 4  # texts that end so that another document might seem to follow
ENTRIES: Final = DEPTH_MAX + 5
OPENED: Final = DEPTH_MAX + 6  # bits of the names that open something and were there
WORK: Final = DEPTH_MAX + 7

# Places in the state.
POSITION: Final = 0
ROWS: Final = 1
NUMBER: Final = 2  # position of the next record in the delivery
SCRATCH: Final = 3
MARK: Final = 4
STATE_SIZE: Final = 8

_QUOTE: Final = 0x22
_COMMA: Final = 0x2C
_COLON: Final = 0x3A
_OPEN: Final = 0x7B
_CLOSE: Final = 0x7D
_OPEN_LIST: Final = 0x5B
_CLOSE_LIST: Final = 0x5D
_NEWLINE: Final = 0x0A
_RETURN: Final = 0x0D
_SPACE: Final = 0x20
_TAB: Final = 0x09
_NULL: Final = 0x6C6C_756E
_U = np.uint64


def _name(at: Any, names: Any, table: Any, seen: Any, mark: Any, work: Any) -> Any:
    """Read a name and the colon behind it; return (address of its value, what is known under it), address -1: bad."""
    bad = (np.int64(-1), np.int64(-1))
    if load8(at) != _QUOTE:
        return bad
    length, escaped, high = string(at + 1)
    if length < 0 or escaped:
        return bad
    work[WILD] |= np.int64(high)
    place, code = work[work[DEPTH]], np.int64(-1)
    if place != OTHER:
        code, mixed = code_of(at + 1, length, place, table, names)
        if place == VARIABLES:
            work[NAMED] += 1
            if work[NAMED] > SPANS_MAX or not is_new(seen, mixed, mark):
                return bad
    at = behind_blanks(at + length + 2)
    return (behind_blanks(at + 1) if load8(at) == _COLON else np.int64(-1)), code


_name_of: Any = inlined(_name)


def _opens(place: Any, code: Any, is_list: Any, first: Any) -> Any:
    """Return what a brace or bracket opens; -1 when the document is left to the twin."""
    other = np.int64(OTHER | (LIST if is_list else 0))
    if place == ENTRY | LIST:
        return np.int64(-1) if is_list else np.int64(ENTRY)
    if place == ORIGINS | LIST and first:
        return np.int64(-1) if is_list else np.int64(ORIGIN_CALLER)
    if place & LIST or code < 0:
        return other
    what = code - OPENS
    if what == ENTRY and is_list:
        return np.int64(ENTRY | LIST)
    if what == ORIGINS:
        return np.int64(ORIGINS | LIST) if is_list else np.int64(-1)
    return np.int64(-1) if is_list or what < 0 else np.int64(what)


_opens_of: Any = inlined(_opens)


def _open(code: Any, is_list: Any, first: Any, found: Any, work: Any) -> Any:
    """Go into what a brace or bracket opens; False when the document is left to the twin."""
    what = _opens_of(work[work[DEPTH]], code, is_list, first)
    work[DEPTH] += 1
    if what < 0 or work[DEPTH] == DEPTH_MAX:
        return False
    if code >= OPENS:
        bit = np.int64(1) << (code - OPENS)
        if work[OPENED] & bit:
            return False
        work[OPENED] |= bit
    if what == ENTRY:  # what the entry before said is forgotten
        work[ENTRIES] += 1
        work[OPENED] &= ~np.int64((1 << CALLER) | (1 << ORIGIN_OF) | (1 << ORIGINS))
        for place in range(OLDEST, SWITCH):
            found[place, 0], found[place, 1] = 0, 0
    work[work[DEPTH]] = what
    return True


_open_of: Any = inlined(_open)


def _leave(found: Any, work: Any) -> None:
    """Leave an object, a list or an element; what the first entry says is kept as of the leg as it ended."""
    if work[work[DEPTH]] == ENTRY and work[ENTRIES] == 1:
        for place in range(FIELDS):
            found[NEWEST + place, 0], found[NEWEST + place, 1] = found[OLDEST + place, 0], found[OLDEST + place, 1]
        found[PLACES, 0], found[PLACES, 1] = found[ORIGIN, 0], found[ORIGIN, 1]
    work[DEPTH] -= 1


leave: Any = inlined(_leave)


def _value(base: Any, at: Any, code: Any, first: Any, found: Any, spans: Any, work: Any) -> Any:
    """Read a text, a number, `true`, `false` or `null`; return the address behind it, -1: it is left to the twin."""
    place = work[work[DEPTH]]
    if code >= OPENS or place == ENTRY | LIST or (place == ORIGINS | LIST and first):
        return np.int64(-1)
    if load8(at) != _QUOTE:
        length = bare(at)
        if length < 0 or (code >= 0 and (load32(at) != _NULL or found[code, 0] != 0)):
            return np.int64(-1)
        return at + length
    length, escaped, high = string(at + 1)
    if length < 0:
        return np.int64(-1)
    work[WILD] |= np.int64(high)
    last = load8(at + length)
    work[SEEMING] += np.int64(last == _OPEN) + np.int64(last == _SPACE)
    if code >= 0:
        if escaped or found[code, 0] != 0:
            return np.int64(-1)
        found[code, 0], found[code, 1] = at + 1 - base, length
    if place == VARIABLES:
        count = work[SPANS]
        spans[count, 0], spans[count, 1] = at + 1 - base, length
        work[SPANS] = count + 1
    return at + length + 2


_value_of: Any = inlined(_value)


def _behind_value(at: Any, empty: Any, found: Any, work: Any) -> Any:
    """Return the address of what comes next in some object or list, or behind the document; -1: it is no JSON."""
    while True:
        at = behind_blanks(at)
        byte = load8(at)
        if byte == _COMMA and not empty:
            return at + 1
        if byte != (_CLOSE_LIST if work[work[DEPTH]] & LIST else _CLOSE):
            return np.int64(-1)
        leave(found, work)
        at, empty = at + 1, False
        if work[DEPTH] < 0:
            return at


_behind_value_of: Any = inlined(_behind_value)


def _document(
    base: Any, start: Any, names: Any, table: Any, found: Any, spans: Any, seen: Any, work: Any, mark: Any
) -> Any:
    """Find the values of the document at a place; return the place behind it, -1: it is left to the twin."""
    work[:] = 0
    work[0] = DOCUMENT
    at, first = base + start + 1, True
    while True:
        at, code = behind_blanks(at), np.int64(-1)
        is_list = work[work[DEPTH]] & LIST != 0
        empty = first and load8(at) == (_CLOSE_LIST if is_list else _CLOSE)
        if not empty:
            if not is_list:
                at, code = _name_of(at, names, table, seen, mark, work)
                if at < 0:
                    return np.int64(-1)
            byte = load8(at)
            if byte in (_OPEN, _OPEN_LIST):
                if not _open_of(code, byte == _OPEN_LIST, first, found, work):
                    return np.int64(-1)
                at, first = at + 1, True
                continue
            at = _value_of(base, at, code, first, found, spans, work)
            if at < 0:
                return np.int64(-1)
        at, first = _behind_value_of(at, empty, found, work), False
        if at < 0:
            return np.int64(-1)
        if work[DEPTH] < 0:
            break
    found[ORIGIN, 0], found[ORIGIN, 1] = found[PLACES, 0], found[PLACES, 1]
    return at - base if work[OPENED] & (1 << VARIABLES) != 0 else np.int64(-1)


_document_of: Any = helper(_document)


def _ends_well(at: Any, seeming: Any) -> Any:
    """Return where the twin would end the document before an address; -1 when it may be elsewhere."""
    behind = at
    while load8(behind) == _SPACE or load8(behind) == _TAB or load8(behind) == _RETURN:
        behind += 1
    if load8(behind) == _NEWLINE:
        return behind
    if load8(behind) != _OPEN or seeming > SEEMING_MAX:
        return np.int64(-1)
    behind += 1
    while load8(behind) == _SPACE or load8(behind) == _TAB or load8(behind) == _RETURN or load8(behind) == _NEWLINE:
        behind += 1
    return at if load8(behind) == _QUOTE else np.int64(-1)


_ends_well_of: Any = helper(_ends_well)


def _walk(
    base: Any,
    memory: Any,
    end: Any,
    is_utf8: Any,
    option: Any,
    names: Any,
    table: Any,
    found: Any,
    spans: Any,
    seen: Any,
    work: Any,
    starts: Any,
    ends: Any,
    figures: Any,
    state: Any,
) -> Any:
    """Make legs of documents from `state[POSITION]` on, until one is left to the twin.

    Args:
        base: address of the memory.
        memory: uint8: the block, with padding around it, and room for its length behind.
        end: place behind the block.
        is_utf8: not 0 when the block is UTF-8; else a document that is not ASCII is left to the twin.
        option: whether values are URL-encoded (`leg_kernels`).
        names: address of the names that are read, one after the other, with padding.
        table: uint64, 256 rows: first and last eight bytes of a name, length and where it stands, place, code.
        found: int64, one row more than PLACES: see `leg_kernels.leg`.
        spans: int64, SPANS_MAX.
        seen: uint64, SEEN rows: marks and hashes of the variables' names.
        work: int64, WORK.
        starts, ends, figures: int64, a line per text or figure, a column per row.
        state: int64, POSITION to MARK.
    """
    most = starts.shape[1]
    while state[ROWS] < most:
        position = state[POSITION]
        while position < end and (
            load8(base + position) == _NEWLINE
            or load8(base + position) == _RETURN
            or load8(base + position) == _SPACE
            or load8(base + position) == _TAB
        ):
            position += 1
        state[POSITION] = position
        if position >= end or load8(base + position) != _OPEN:
            return
        found[:, :] = 0
        state[MARK] += 1
        behind = _document_of(base, position, names, table, found, spans, seen, work, _U(state[MARK]))
        if behind < 0 or (work[WILD] and not is_utf8):
            return
        behind = _ends_well_of(base + behind, work[SEEMING]) - base
        if behind < position or behind - position > DOCUMENT_BYTES_MAX:
            return
        row = state[ROWS]
        scratch = leg(base, memory, found, spans, work[SPANS], option, state[SCRATCH], starts, ends, figures, row)
        if scratch < 0:
            return
        figures[0, row], figures[1, row], figures[2, row] = position, behind, state[NUMBER]
        state[POSITION], state[ROWS], state[NUMBER], state[SCRATCH] = behind, row + 1, state[NUMBER] + 1, scratch


compiled_walk: Any = numba.njit(
    types.void(
        types.int64,
        types.uint8[::1],
        types.int64,
        types.int64,
        types.int64,
        types.int64,
        types.Array(types.uint64, 2, "C", readonly=True),
        types.int64[:, ::1],
        types.int64[:, ::1],
        types.uint64[:, ::1],
        types.int64[::1],
        types.int64[:, ::1],
        types.int64[:, ::1],
        types.int64[:, ::1],
        types.int64[::1],
    ),
    nogil=True,
    error_model="numpy",
    _nrt=False,
)
"""Compiles a walk: documents' and elements' take the same arguments."""

walk: Any = compiled_walk(_walk)
