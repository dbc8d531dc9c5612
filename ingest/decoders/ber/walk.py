"""BER read for many records at once: every step looks at the next element of all of them.

A record of TS 32.298 has 15 to 40 elements, so a walk takes some 40 steps over whole arrays, whatever the number of
records. What a walk returns are places in the buffer; `ingest.decoders.ber.values` makes columns of them.

Indefinite lengths are told, not followed: `ber_elements.definite` rewrites such a record, and it is read again.

Source: ITU-T X.690 §8.1 (identifier, length and end-of-contents octets).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from schemas.buffers import Bytes, Ints, Mask
from store import native

SLACK_BYTES: Final = 72
"""Zero bytes behind the data, so that headers and wide loads at its end stay inside the buffer."""

ELEMENTS_MAX: Final = 400
"""One level of a record has at most so many elements; a walk is as long as its longest record."""

CONTEXT: Final = 2 << 10
APPLICATION: Final = 1 << 10
UNIVERSAL: Final = 0
NUMBER_MAX: Final = 1022
"""Tags are `class | number`; every number above is one unknown tag."""

SEQUENCE: Final = UNIVERSAL | 16
SET: Final = UNIVERSAL | 17

KERNEL_BYTES_MIN: Final = 1 << 12
"""Fewer bytes are walked by NumPy."""

LOAD_BYTES_MIN: Final = 1 << 18
"""Fewer bytes are no reason to load the kernels; when they are there, they are used."""

_KERNELS: Final = "ingest.decoders.ber.kernels"

Slots: TypeAlias = npt.NDArray[np.int64]
"""By tag: the slot in which a walk keeps the element; the number of slots for tags that are skipped."""

_TAGS: Final = 4 << 10
_HIGH: Final = 0x1F
_INDEFINITE: Final = 0x80


def compiled(size_bytes: int, module: str = _KERNELS) -> Any:
    """Return the compiled walk, or other kernels; None when so few bytes are not worth loading them."""
    if size_bytes >= KERNEL_BYTES_MIN and (native.is_loaded(module) or size_bytes >= LOAD_BYTES_MIN):
        return native.load(module)
    return None


def padded(data: bytes) -> Bytes:
    """Return the bytes as an array with slack behind them."""
    return np.frombuffer(data + bytes(SLACK_BYTES), np.uint8)


class Headers(NamedTuple):
    """Identifier and length octets of many elements: tag, where the content begins, its length."""

    tags: Ints
    values: Ints
    lengths: Ints
    indefinite: Mask
    bad: Mask


def headers(data: Bytes, at: Ints) -> Headers:
    """Read the headers that begin at `at`; whether the content fits is for the caller to see."""
    first = data[at].astype(np.int64)
    numbers = first & _HIGH
    position = at + 1
    bad = np.zeros(len(at), np.bool_)
    high = np.flatnonzero(numbers == _HIGH)
    if len(high):
        place, number = position[high], np.zeros(len(high), np.int64)
        more = np.ones(len(high), np.bool_)
        for _ in range(3):
            octet = data[place].astype(np.int64)
            number = np.where(more, number << 7 | (octet & 0x7F), number)
            place = place + more
            more = more & (octet >= 0x80)
        numbers[high] = np.minimum(number, NUMBER_MAX + 1)
        position[high] = place
        bad[high] = more
    lengths = data[position].astype(np.int64)
    position = position + 1
    open_ended = lengths == _INDEFINITE
    indefinite = open_ended & ((first & 0x20) != 0)
    bad |= open_ended & ~indefinite
    long = np.flatnonzero(lengths > _INDEFINITE)
    if len(long):
        place, count, length = position[long], lengths[long] & 0x7F, np.zeros(len(long), np.int64)
        for step in range(4):
            taken = count > step
            length = np.where(taken, length << 8 | data[place], length)
            place = place + taken
        lengths[long] = length
        position[long] = place
        bad[long] |= count > 4
    lengths[open_ended] = 0
    return Headers((first >> 6) << 10 | numbers, position, lengths, indefinite, bad)


def slots_of(tags: list[int]) -> Slots:
    """Return the table that gives every tag of the list its place in the list, and all others the place behind it."""
    table = np.full(_TAGS, len(tags), np.int64)
    table[np.array(tags, np.int64)] = np.arange(len(tags))
    return table


class _Compiled(NamedTuple):
    """A level's tags: by first octet where that is the whole identifier (-1: it is not), and by tag."""

    single: npt.NDArray[np.int64]
    by_tag: Slots
    names: tuple[str, ...]


@dataclass(frozen=True)
class Level:
    """What is wanted of one level of a record: by tag, a name or a level below.

    `first` looks at the first element only. Of several elements of one tag the last is taken.
    """

    wanted: Mapping[int, str | Level]
    first: bool = False

    def __post_init__(self) -> None:
        tags = list(self.wanted)
        by_tag = slots_of(tags)
        octets = np.arange(256)
        single = by_tag[(octets >> 6) << 10 | (octets & _HIGH)]
        single[(octets & _HIGH) == _HIGH] = -1
        names = tuple(what if isinstance(what, str) else "" for what in self.wanted.values())
        object.__setattr__(self, "_compiled", _Compiled(single, by_tag, names))

    @property
    def compiled(self) -> _Compiled:
        """The level's tables."""
        return self._compiled  # type: ignore[attr-defined,no-any-return]


class Span(NamedTuple):
    """One field of many records: where its content begins (-1: the record has none), and how long it is."""

    starts: Ints
    lengths: Ints

    @property
    def present(self) -> Mask:
        """Which records have the field."""
        return self.starts >= 0

    def take(self, rows: Ints) -> Span:
        """Return the field of some of the records."""
        return Span(self.starts[rows], self.lengths[rows])


class Fields:
    """What a walk found in `rows` records; names that were not asked for are absent from every record."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.spans: dict[str, Span] = {}
        self.bad: Mask = np.zeros(rows, np.bool_)
        self.indefinite: Mask = np.zeros(rows, np.bool_)

    def __getitem__(self, name: str) -> Span:
        """Return a field."""
        found = self.spans.get(name)
        return found if found is not None else Span(np.full(self.rows, -1, np.int64), np.zeros(self.rows, np.int64))


def walk(data: Bytes, starts: Ints, ends: Ints, level: Level) -> Fields:
    """Find a level's elements in the contents `starts[i]:ends[i]`, and those of the levels below.

    A record whose elements do not fill it exactly, or are too many, is `bad`. One that uses the indefinite length on a
    level that is looked at is `indefinite`; what was found of it counts for nothing.
    """
    fields = Fields(len(starts))
    places, lengths = _walk_level(data, starts, ends, level, fields)
    for slot, (name, below) in enumerate(zip(level.compiled.names, level.wanted.values(), strict=True)):
        if isinstance(below, str):
            fields.spans[name] = Span(places[slot], lengths[slot])
            continue
        rows = np.flatnonzero(places[slot] >= 0)
        if not len(rows):
            continue
        whole = len(rows) == len(starts)
        inner = walk(data, places[slot][rows], places[slot][rows] + lengths[slot][rows], below)
        fields.bad[rows] |= inner.bad
        fields.indefinite[rows] |= inner.indefinite
        for inner_name, span in inner.spans.items():
            fields.spans[inner_name] = span if whole else _spread(span, rows, len(starts))
    return fields


def _spread(span: Span, rows: Ints, count: int) -> Span:
    starts, lengths = np.full(count, -1, np.int64), np.zeros(count, np.int64)
    starts[rows], lengths[rows] = span
    return Span(starts, lengths)


def _walk_level(data: Bytes, starts: Ints, ends: Ints, level: Level, fields: Fields) -> tuple[Ints, Ints]:
    """Return, by slot and record, where the level's elements begin (-1: absent) and how long they are."""
    single, by_tag, names = level.compiled
    count = len(starts)
    places = np.full((len(names) + 1, count), -1, np.int64)
    lengths = np.zeros((len(names) + 1, count), np.int64)
    flat_places, flat_lengths = places.reshape(-1), lengths.reshape(-1)
    kernels = compiled(int((ends - starts).sum()))
    if kernels is not None:
        faults = np.zeros(count, np.uint8)
        told = (np.ascontiguousarray(starts), np.ascontiguousarray(ends), single, by_tag)
        kernels.walk(data, *told, 1 if level.first else ELEMENTS_MAX, flat_places, flat_lengths, faults)
        fields.bad |= (faults & kernels.BAD) != 0
        fields.indefinite |= (faults & kernels.INDEFINITE) != 0
        return places[:-1], lengths[:-1]
    row = np.flatnonzero(starts < ends)
    at, end = starts[row], ends[row]
    steps = 0
    while len(row):
        if steps == ELEMENTS_MAX:
            fields.bad[row] = True
            break
        steps += 1
        slot = single[data[at]]
        length = data[at + 1].astype(np.int64)
        value = at + 2
        odd = np.flatnonzero((slot < 0) | (length >= _INDEFINITE))
        stopped = None
        if len(odd):
            found = headers(data, at[odd])
            slot[odd], value[odd], length[odd] = by_tag[found.tags], found.values, found.lengths
            if found.indefinite.any() or found.bad.any():
                fields.indefinite[row[odd[found.indefinite]]] = True
                fields.bad[row[odd[found.bad]]] = True
                stopped = odd[found.indefinite | found.bad]
        at = value + length
        over = at > end
        if stopped is not None:
            over[stopped] = False
            length[stopped] = 0
        if over.any():
            fields.bad[row[over]] = True
            length[over] = 0
        place = slot * count + row
        flat_places[place], flat_lengths[place] = value, length
        going = at < end
        if stopped is not None:
            going[stopped] = False
        if level.first:
            break
        if not going.all():
            row, at, end = row[going], at[going], end[going]
    return places[:-1], lengths[:-1]


class Children(NamedTuple):
    """All elements of many lists, one after the other: which list each is in, its tag, place and length."""

    parents: Ints
    tags: Ints
    span: Span


def children(data: Bytes, lists: Span, fields: Fields) -> Children:
    """Return the elements of lists (SEQUENCE OF); faults are noted in `fields`, whose records the lists belong to."""
    row = np.flatnonzero(lists.present & (lists.lengths > 0))
    at, end = lists.starts[row], (lists.starts + lists.lengths)[row]
    found: list[tuple[Ints, Ints, Ints, Ints]] = []
    steps = 0
    while len(row):
        if steps == ELEMENTS_MAX:
            fields.bad[row] = True
            break
        steps += 1
        tags, values, lengths, indefinite, bad = headers(data, at)
        at = values + lengths
        bad = bad | (at > end)
        fields.indefinite[row[indefinite]] = True
        fields.bad[row[bad & ~indefinite]] = True
        good = ~(bad | indefinite)
        found.append((row[good], tags[good], values[good], lengths[good]))
        going = good & (at < end)
        row, at, end = row[going], at[going], end[going]
    if not found:
        none = np.zeros(0, np.int64)
        return Children(none, none, Span(none, none))
    parents, tags, values, lengths = (np.concatenate(part) for part in zip(*found, strict=True))
    return Children(parents, tags, Span(values, lengths))
