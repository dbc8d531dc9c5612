"""Compiled walk over BroadWorks records: each element checked to its end, the values that are read found (ADR 38).

Elements and texts are understood as the server writes them, without attributes. Everything else is left to the twin,
`ingest.decoders.broadworks`: a module or a value that is there twice, a value that is read and holds a reference or
begins or ends with a blank or a letter outside ASCII, an address that is no dotted quad, and whatever is refused.

There are no bounds checks. A control byte ends every search, and behind the block are `PAD_BYTES` of zeros.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.freeswitch.document_kernels import (
    MARK,
    NUMBER,
    POSITION,
    ROWS,
    SCRATCH,
    STATE_SIZE,
    compiled_walk,
)
from ingest.decoders.freeswitch.leg_values_kernels import ABSENT, helper, same
from ingest.decoders.freeswitch.name_kernels import code_of
from ingest.decoders.freeswitch.tag_kernels import behind_blanks, has_noncharacter, name_bytes, text_of
from ingest.decoders.word_kernels import day_of, load8, load32, load64, number, quad

__all__ = ["MARK", "NUMBER", "POSITION", "ROWS", "SCRATCH", "STATE_SIZE", "walk"]

# What a name stands in, and what it opens.
RECORD: Final = 0
HEADER: Final = 1
RECORD_ID: Final = 2
BASIC: Final = 3
CENTREX: Final = 4
IP: Final = 5
OTHER: Final = 6
OPENS: Final = 1 << 10  # a name's code: it opens OPENS + what; below, it is a place of the record

# Places of a record (`broadworks_walk.NAMES`).
(
    COUNTER, SYSTEM, DATE, PROVIDER, TYPE,
    USER, DIRECTION, CALLING, CALLED, DIALLED, REDIRECTING, ORIGINAL, START, ZONE, LOCAL_CALL, INDICATOR, ANSWER,
    RELEASE, CAUSE, ACCOUNT, BASIC_LINK, TRUNK, CENTREX_LINK, ROUTE, NETWORK_CALL, DEVICE, AGENT, IP_LINK,
) = range(28)  # fmt: skip
PLACES: Final = 28

# Sizes of what other walks need and this one does not.
SPANS_MAX: Final = 1
SEEN: Final = 1
ATTRIBUTES_MAX: Final = 0

DEPTH_MAX: Final = 16
OPENED: Final = DEPTH_MAX  # bits of the modules that were there
WILD: Final = DEPTH_MAX + 1  # not 0: some byte may not be ASCII
NAMES_AT: Final = DEPTH_MAX + 2  # for each depth where the element's name is
WORK: Final = NAMES_AT + 2 * DEPTH_MAX
TAGS_MAX: Final = 4096
RECORD_BYTES_MAX: Final = (1 << 16) - 1

_SLASH: Final = 0x2F
_GREATER: Final = 0x3E
_SPACE: Final = 0x20
_DOT: Final = 0x2E
_ZERO: Final = 0x30
_PLUS: Final = 0x2B
_MINUS: Final = 0x2D
_ASCII: Final = 0x80
_YES: Final = 0x736559
_STAMP_BYTES: Final = len("20261120090000")
_OFFSET_MAX_S: Final = 14 * 3600
_U = np.uint64


def _word(text: bytes) -> Any:
    return _U(int.from_bytes(text, "little"))


_CDR_DATA: Final = _word(b"<cdrData")
_ORIGINATING: Final = (_word(b"Originat"), _word(b"ginating"))
_START: Final = _word(b"Start\0\0\0")
_END: Final = 0x646E45
_FIVE: Final = _U(0xFF_FFFF_FFFF)


def _kept(base: Any, at: Any, length: Any, plain: Any, code: Any, found: Any) -> Any:
    """Keep a text that is read; False when the record is left to the twin."""
    if length == 0:
        return True
    first, last = load8(at), load8(at + length - 1)
    if not plain or found[code, 0] != 0 or first <= _SPACE or last <= _SPACE or first >= _ASCII or last >= _ASCII:
        return False
    found[code, 0], found[code, 1] = at - base, length
    return True


_kept_of: Any = helper(_kept)


def _element(base: Any, at: Any, depth: Any, names: Any, table: Any, found: Any, work: Any) -> Any:
    """Read a start tag and the text behind it, to the end tag of an element without children.

    Returns the address behind, -1: it is left to the twin; and the depth then.
    """
    bad = (np.int64(-1), depth)
    length = name_bytes(at + 1)
    if length == 0 or (length == 7 and load64(at) == _CDR_DATA):
        return bad
    place, code = work[depth], np.int64(-1)
    if place != OTHER:
        code, _ = code_of(at + 1, length, place, table, names)
    if code >= OPENS:
        bit = np.int64(1) << (code - OPENS)
        if work[OPENED] & bit:
            return bad
        work[OPENED] |= bit
    name, at = at + 1, at + 1 + length
    if load8(at) == _SLASH and load8(at + 1) == _GREATER:
        return at + 2, depth
    if load8(at) != _GREATER:
        return bad
    at += 1
    size, plain, wild = text_of(at)
    work[WILD] |= wild
    if size < 0:
        return bad
    if load8(at + size + 1) == _SLASH:
        behind = at + size + 2
        if not same(behind, length, name, length) or load8(behind + length) != _GREATER:
            return bad
        if 0 <= code < OPENS and not _kept_of(base, at, size, plain, code, found):
            return bad
        return behind + length + 1, depth
    if depth + 1 == DEPTH_MAX or 0 <= code < OPENS:
        return bad
    depth += 1
    work[depth] = code - OPENS if code >= OPENS else OTHER
    work[NAMES_AT + 2 * depth], work[NAMES_AT + 2 * depth + 1] = name, length
    return at + size, depth


_element_of: Any = helper(_element)


def _record(base: Any, start: Any, names: Any, table: Any, found: Any, work: Any) -> Any:
    """Find the values of the record at a place; return the place behind it, -1: it is left to the twin."""
    work[:] = 0
    at, depth = base + start + 9, np.int64(0)
    work[NAMES_AT], work[NAMES_AT + 1] = base + start + 1, 7
    for _ in range(TAGS_MAX):
        length, _, wild = text_of(at)
        if length < 0:
            return np.int64(-1)
        work[WILD] |= wild
        at += length
        if load8(at + 1) != _SLASH:
            at, depth = _element_of(base, at, depth, names, table, found, work)
            if at < 0:
                return np.int64(-1)
            continue
        name, length = work[NAMES_AT + 2 * depth], work[NAMES_AT + 2 * depth + 1]
        if not same(at + 2, length, name, length) or load8(at + 2 + length) != _GREATER:
            return np.int64(-1)
        at += 3 + length
        depth -= 1
        if depth < 0:
            return at - base if at - base - start <= RECORD_BYTES_MAX else np.int64(-1)
    return np.int64(-1)


_record_of: Any = helper(_record)


def _stamp(base: Any, found: Any, slot: Any) -> Any:
    """Return the us of `YYYYMMDDhhmmss.mmm`, ABSENT where there is none, -1: it is left to the twin."""
    at, length = base + found[slot, 0], found[slot, 1]
    if length == 0:
        return np.int64(ABSENT)
    if length < _STAMP_BYTES:
        return np.int64(-1)
    date, clock, fraction = number(at, 8), number(at + 8, 6), np.int64(0)
    digits = length - _STAMP_BYTES - 1
    if digits >= 0:
        if digits == 0 or digits > 6 or load8(at + _STAMP_BYTES) != _DOT:
            return np.int64(-1)
        fraction = number(at + _STAMP_BYTES + 1, digits)
        for _ in range(6 - digits):
            fraction *= 10
    if date < 0 or clock < 0 or fraction < 0:
        return np.int64(-1)
    day_us = day_of(date)
    hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
    if day_us < 0 or hour > 23 or minute > 59 or second > 59:
        return np.int64(-1)
    return day_us + ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction


_stamp_of: Any = helper(_stamp)


def _offset(base: Any, found: Any) -> Any:
    """Return the offset of `1+020000` in s, ABSENT for anything else."""
    at, length = base + found[ZONE, 0], found[ZONE, 1]
    sign = load8(at + 1)
    if length not in (6, 8) or load8(at) not in (_ZERO, _ZERO + 1) or sign not in (_PLUS, _MINUS):
        return np.int64(ABSENT)
    hours, minutes = number(at + 2, 2), number(at + 4, 2)
    seconds = number(at + 6, 2) if length == 8 else np.int64(0)
    if hours < 0 or minutes < 0 or seconds < 0:
        return np.int64(ABSENT)
    offset = hours * 3600 + minutes * 60 + seconds
    if offset > _OFFSET_MAX_S:
        return np.int64(ABSENT)
    return -offset if sign == _MINUS else offset


_offset_of: Any = helper(_offset)


def _put(row: Any, text: Any, found: Any, slot: Any, is_there: Any, starts: Any, ends: Any) -> None:
    there = is_there and found[slot, 1] > 0
    starts[text, row] = found[slot, 0] if there else -1
    ends[text, row] = found[slot, 0] + found[slot, 1]


_put_of: Any = helper(_put)


def _key(base: Any, memory: Any, found: Any, scratch: Any) -> Any:
    """Write counter and date of the record id to `scratch`; return the place behind."""
    for slot in (COUNTER, DATE):
        if slot == DATE:
            memory[scratch] = _SLASH
            scratch += 1
        for place in range(found[slot, 1]):
            memory[scratch + place] = load8(base + found[slot, 0] + place)
        scratch += found[slot, 1]
    return scratch


_key_of: Any = helper(_key)


def _parties(base: Any, found: Any, originating: Any, starts: Any, ends: Any, row: Any) -> None:
    """Write who calls, who is called, who was dialled, and to whom the call went on."""
    calling = CALLING if found[CALLING, 1] > 0 or not originating else USER
    _put_of(row, 2, found, calling, True, starts, ends)
    _put_of(row, 3, found, CALLED, True, starts, ends)
    called, called_bytes = base + found[CALLED, 0], found[CALLED, 1]
    slot = ORIGINAL if found[ORIGINAL, 1] > 0 else REDIRECTING
    other = not same(base + found[slot, 0], found[slot, 1], called, called_bytes)
    _put_of(row, 5, found, CALLED, found[slot, 1] > 0 and other, starts, ends)
    if found[slot, 1] == 0 and originating:
        slot = DIALLED
        other = not same(base + found[slot, 0], found[slot, 1], called, called_bytes)
    _put_of(row, 4, found, slot, other, starts, ends)


_parties_of: Any = helper(_parties)


def _figures(base: Any, found: Any, figures: Any, row: Any) -> Any:
    """Write times, offset and billable duration; tell whether all of them are understood."""
    start, answer, end = _stamp_of(base, found, START), _stamp_of(base, found, ANSWER), _stamp_of(base, found, RELEASE)
    date = _stamp_of(base, found, DATE)
    if start < 0 or end < start or date < 0 or found[COUNTER, 1] == 0 or (answer != ABSENT and not 0 <= answer <= end):
        return False
    indicated = found[INDICATOR, 1] >= 3 and np.int64(load32(base + found[INDICATOR, 0])) & 0xFFFFFF == _YES
    answered = indicated and answer != ABSENT
    figures[3, row], figures[4, row], figures[5, row] = start, answer if answered else np.int64(ABSENT), end
    figures[6, row] = _offset_of(base, found)
    figures[7, row] = (end - answer) // 1000 if answered else np.int64(0)
    return True


_figures_of: Any = helper(_figures)


def _leg(base: Any, memory: Any, found: Any, scratch: Any, starts: Any, ends: Any, figures: Any, row: Any) -> Any:
    """Write one leg into its row; return what is left of memory, -1: it is left to the twin."""
    if not _figures_of(base, found, figures, row):
        return np.int64(-1)
    at, length = base + found[DIRECTION, 0], found[DIRECTION, 1]
    originating = length == 11 and load64(at) == _ORIGINATING[0] and load64(at + 3) == _ORIGINATING[1]
    if found[DEVICE, 1] > 0 and quad(base + found[DEVICE, 0], found[DEVICE, 1]) < 0:
        return np.int64(-1)
    _parties_of(base, found, originating, starts, ends, row)
    _put_of(row, 0, found, SYSTEM, True, starts, ends)
    behind = _key_of(base, memory, found, scratch)
    starts[1, row], ends[1, row] = scratch, behind
    _put_of(row, 6, found, DEVICE, originating, starts, ends)
    _put_of(row, 7, found, DEVICE, not originating, starts, ends)
    _put_of(row, 8, found, AGENT, originating, starts, ends)
    cause = found[CAUSE, 1]
    while cause > 0 and load8(base + found[CAUSE, 0] + found[CAUSE, 1] - cause) == _ZERO:
        cause -= 1
    ends[9, row] = found[CAUSE, 0] + found[CAUSE, 1]
    starts[9, row] = ends[9, row] - cause if cause > 0 else -1
    _put_of(row, 10, found, TRUNK if originating else ROUTE, True, starts, ends)
    _put_of(row, 11, found, ROUTE if originating else TRUNK, True, starts, ends)
    link = LOCAL_CALL
    for slot in (NETWORK_CALL, IP_LINK, CENTREX_LINK, BASIC_LINK):
        link = slot if found[slot, 1] > 0 else link
    _put_of(row, 12, found, link, True, starts, ends)
    _put_of(row, 13, found, PROVIDER, True, starts, ends)
    _put_of(row, 14, found, ACCOUNT, True, starts, ends)
    return behind


_leg_of: Any = helper(_leg)


def _is_marker(base: Any, found: Any) -> Any:
    """Tell whether a record only begins or ends a file."""
    at, length = base + found[TYPE, 0], found[TYPE, 1]
    begins = length == 5 and load64(at) & _FIVE == _START
    return found[START, 1] == 0 and (begins or (length == 3 and np.int64(load32(at)) & 0xFFFFFF == _END))


_is_marker_of: Any = helper(_is_marker)


def _walk(
    base: Any,
    memory: Any,
    end: Any,
    is_utf8: Any,
    option: Any,  # noqa: ARG001 (of other forms)
    names: Any,
    table: Any,
    found: Any,
    spans: Any,  # noqa: ARG001 (of other forms)
    seen: Any,  # noqa: ARG001 (of other forms)
    work: Any,
    starts: Any,
    ends: Any,
    figures: Any,
    state: Any,
) -> None:
    """Make legs of records from `state[POSITION]` on, until one is left to the twin.

    The arguments are those of `document_kernels.walk`; `option`, `spans` and `seen` are not used, `found` has PLACES
    rows and `work` WORK places. Records that begin or end a file are passed over.
    """
    most = starts.shape[1]
    while state[ROWS] < most:
        at = behind_blanks(base + state[POSITION])
        position = min(at - base, end)
        state[POSITION] = position
        if position == end or load64(at) != _CDR_DATA or load8(at + 8) != _GREATER:
            return
        found[:, :] = 0
        behind = _record_of(base, position, names, table, found, work)
        if behind < 0 or (work[WILD] and (not is_utf8 or has_noncharacter(at, base + behind))):
            return
        if _is_marker_of(base, found):
            state[POSITION] = behind
            continue
        row = state[ROWS]
        scratch = _leg_of(base, memory, found, state[SCRATCH], starts, ends, figures, row)
        if scratch < 0:
            return
        figures[0, row], figures[1, row], figures[2, row] = position, behind, state[NUMBER]
        state[POSITION], state[ROWS], state[NUMBER], state[SCRATCH] = behind, row + 1, state[NUMBER] + 1, scratch


walk: Any = compiled_walk(_walk)
