"""Compiled walk over FreeSWITCH's XML documents: each checked to its last tag, the values that are read found (ADR 38).

Elements, attributes and texts in UTF-8 are understood, with the four references that switches write. Everything else is
left to the twin, `ingest.decoders.freeswitch.xml_cdr`: a document type, a comment, a section of CDATA, an instruction,
a namespace, any other reference; a name twice among the variables; a value that is read and holds a reference.

There are no bounds checks. A control byte ends every search, and behind the block are `PAD_BYTES` of zeros.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.freeswitch.document_kernels import (
    CALLER,
    DEPTH,
    DEPTH_MAX,
    DOCUMENT,
    DOCUMENT_BYTES_MAX,
    ENTRIES,
    ENTRY,
    MARK,
    NAMED,
    NUMBER,
    OPENED,
    OPENS,
    ORIGIN_CALLER,
    ORIGIN_OF,
    OTHER,
    POSITION,
    ROWS,
    SCRATCH,
    SPANS,
    SPANS_MAX,
    STATE_SIZE,
    VARIABLES,
    WILD,
    compiled_walk,
    leave,
)
from ingest.decoders.freeswitch.leg_kernels import OLDEST, ORIGIN, PLACES, SWITCH, leg
from ingest.decoders.freeswitch.leg_values_kernels import helper, same
from ingest.decoders.freeswitch.name_kernels import SEEN, code_of, is_new
from ingest.decoders.freeswitch.tag_kernels import (
    behind_blanks,
    behind_declaration,
    has_noncharacter,
    name_bytes,
    text_of,
)
from ingest.decoders.word_kernels import (
    ampersands32,
    controls32,
    ctz,
    high32,
    less32,
    load8,
    load32,
    quotes32,
)

__all__ = [
    "CALLER",
    "DOCUMENT",
    "ENTRY",
    "NUMBER",
    "OLDEST",
    "OPENS",
    "ORIGIN",
    "ORIGIN_CALLER",
    "ORIGIN_OF",
    "PLACES",
    "POSITION",
    "ROWS",
    "SCRATCH",
    "SEEN",
    "SPANS_MAX",
    "STATE_SIZE",
    "SWITCH",
    "VARIABLES",
    "walk",
]

# What `work` holds behind what `document_kernels` keeps there: for each depth where the element's name is.
NAMES_AT: Final = OPENED + 1
WORK: Final = NAMES_AT + 2 * DEPTH_MAX
ATTRIBUTES_MAX: Final = 16  # of one tag; their hashes stand behind those of the variables' names

_LESS: Final = 0x3C
_GREATER: Final = 0x3E
_SLASH: Final = 0x2F
_EQUALS: Final = 0x3D
_QUOTE: Final = 0x22
_SPACE: Final = 0x20
_CDR: Final = 0x7264_633C
_XML: Final = 0x6C6D78
_U = np.uint64


def _attributes(base: Any, at: Any, is_root: Any, table: Any, names: Any, found: Any, seen: Any) -> Any:
    """Read the attributes of a tag; return the address of what ends it, -1: it is left to the twin."""
    for count in range(ATTRIBUTES_MAX):
        behind = behind_blanks(at)
        if load8(behind) in (_GREATER, _SLASH):
            return behind
        length = name_bytes(behind)
        if behind == at or length == 0 or (np.int64(load32(behind)) & 0xFFFFFF) == _XML:
            return np.int64(-1)
        code, mixed = code_of(behind, length, np.int64(DOCUMENT), table, names)
        for other in range(SEEN, SEEN + count):
            if seen[other, 1] == mixed:
                return np.int64(-1)
        seen[SEEN + count, 1] = mixed
        at = behind + length
        if load8(at) != _EQUALS or load8(at + 1) != _QUOTE:
            return np.int64(-1)
        at += 2
        size = np.int64(0)
        while True:
            odd = less32(at + size) | ampersands32(at + size) | controls32(at + size) | high32(at + size)
            quotes = quotes32(at + size)
            stops = odd | quotes
            if stops != _U(0):
                first = _U(ctz(stops))
                size += np.int64(first)
                if (odd >> first) & _U(1) != _U(0):
                    return np.int64(-1)
                break
            size += 32
        if is_root and code == SWITCH:
            found[SWITCH, 0], found[SWITCH, 1] = at - base, size
        at += size + 1
    return np.int64(-1)


_attributes_of: Any = helper(_attributes)


def _enter(code: Any, found: Any, work: Any) -> Any:
    """Go into an element; False when the document is left to the twin."""
    work[DEPTH] += 1
    if work[DEPTH] == DEPTH_MAX:
        return False
    what = code - OPENS if code >= OPENS else np.int64(OTHER)
    if what == ENTRY:
        work[ENTRIES] += 1
        work[OPENED] &= ~np.int64((1 << CALLER) | (1 << ORIGIN_OF) | (1 << ORIGIN_CALLER))
        for place in range(OLDEST, SWITCH):
            found[place, 0], found[place, 1] = 0, 0
    elif what != OTHER:
        bit = np.int64(1) << what
        if work[OPENED] & bit:
            return False
        work[OPENED] |= bit
    work[work[DEPTH]] = what
    return True


_enter_of: Any = helper(_enter)


def _leaf(base: Any, at: Any, length: Any, plain: Any, code: Any, found: Any, spans: Any, work: Any) -> Any:
    """Keep the text of an element without children; False when the document is left to the twin."""
    parent = work[work[DEPTH] - 1]
    if 0 <= code < OPENS:
        if not plain or found[code, 0] != 0:
            return False
        found[code, 0], found[code, 1] = at - base, length
    if parent == VARIABLES:
        count = work[SPANS]
        spans[count, 0], spans[count, 1] = at - base, length
        work[SPANS] = count + 1
    return True


_leaf_of: Any = helper(_leaf)


def _opening(base: Any, at: Any, names: Any, table: Any, found: Any, seen: Any, mark: Any, work: Any) -> Any:
    """Read a start tag; return (address of what ends it, -1: left to the twin; what is known under its name)."""
    bad = (np.int64(-1), np.int64(-1))
    length = name_bytes(at + 1)
    depth, code = work[DEPTH], np.int64(-1)
    if length == 0 or (length == 3 and depth >= 0 and load32(at) == _CDR):
        return bad
    place = work[depth] if depth >= 0 else np.int64(OTHER)
    if depth < 0:
        code = np.int64(OPENS + DOCUMENT)
    elif place != OTHER:
        code, mixed = code_of(at + 1, length, place, table, names)
        code = np.int64(-1) if code == SWITCH else code  # an attribute of that name is meant
        if place == VARIABLES:
            work[NAMED] += 1
            if work[NAMED] > SPANS_MAX or not is_new(seen, mixed, mark):
                return bad
    if not _enter_of(code, found, work):
        return bad
    work[NAMES_AT + 2 * work[DEPTH]], work[NAMES_AT + 2 * work[DEPTH] + 1] = at + 1, length
    at += 1 + length
    if load8(at) != _GREATER:
        at = _attributes_of(base, at, depth < 0, table, names, found, seen)
    return at, code


_opening_of: Any = helper(_opening)


def _document(
    base: Any, start: Any, names: Any, table: Any, found: Any, spans: Any, seen: Any, work: Any, mark: Any
) -> Any:
    """Find the values of the document at a place; return the place behind it, -1: it is left to the twin."""
    work[:] = 0
    work[DEPTH] = -1
    at = base + start
    while True:
        if load8(at + 1) == _SLASH:
            depth = work[DEPTH]
            name, length = work[NAMES_AT + 2 * depth], work[NAMES_AT + 2 * depth + 1]
            if not same(at + 2, length, name, length) or load8(at + 2 + length) != _GREATER:
                return np.int64(-1)
            at += 3 + length
            leave(found, work)
        else:
            at, code = _opening_of(base, at, names, table, found, seen, mark, work)
            if at < 0:
                return np.int64(-1)
            if load8(at) == _SLASH:
                if load8(at + 1) != _GREATER or not _leaf_of(base, at, 0, True, code, found, spans, work):
                    return np.int64(-1)
                at += 2
                leave(found, work)
            else:
                at += 1
                length, plain, wild = text_of(at)
                if length < 0:
                    return np.int64(-1)
                work[WILD] |= wild
                ends = load8(at + length + 1) == _SLASH
                if ends and not _leaf_of(base, at, length, plain, code, found, spans, work):
                    return np.int64(-1)
                if not ends and 0 <= code < OPENS:
                    return np.int64(-1)
                at += length
                continue
        if work[DEPTH] < 0:
            break
        length, _, wild = text_of(at)
        if length < 0:
            return np.int64(-1)
        work[WILD] |= wild
        at += length
    found[ORIGIN, 0], found[ORIGIN, 1] = found[PLACES, 0], found[PLACES, 1]
    fine = work[OPENED] & (1 << VARIABLES) != 0 and at - base - start <= DOCUMENT_BYTES_MAX
    return at - base if fine else np.int64(-1)


_document_of: Any = helper(_document)


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
) -> None:
    """Make legs of documents from `state[POSITION]` on, until one is left to the twin.

    The arguments are those of `document_kernels.walk`; `work` has WORK places, and `seen`
    ATTRIBUTES_MAX rows more.
    """
    most = starts.shape[1]
    while state[ROWS] < most:
        at = behind_blanks(base + state[POSITION])
        at = behind_blanks(behind_declaration(at))
        position = min(at - base, end)
        state[POSITION] = position
        after = load8(at + 4)
        if position == end or load32(at) != _CDR or after not in (_SPACE, _GREATER):
            return
        found[:, :] = 0
        state[MARK] += 1
        behind = _document_of(base, position, names, table, found, spans, seen, work, _U(state[MARK]))
        if behind < 0 or (work[WILD] and (not is_utf8 or has_noncharacter(at, base + behind))):
            return
        row = state[ROWS]
        scratch = leg(base, memory, found, spans, work[SPANS], option, state[SCRATCH], starts, ends, figures, row)
        if scratch < 0:
            return
        figures[0, row], figures[1, row], figures[2, row] = position, behind, state[NUMBER]
        state[POSITION], state[ROWS], state[NUMBER], state[SCRATCH] = behind, row + 1, state[NUMBER] + 1, scratch


walk: Any = compiled_walk(_walk)
