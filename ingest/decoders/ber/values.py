"""Values of BER fields as columns: digits, times, integers, texts and addresses of many records at once.

A field is a `Span`: places in a buffer that has `ber.SLACK_BYTES` behind it. Each function returns a column, null where
the record has no such field, and which rows hold something that has not the field's form.

Source: 3GPP TS 32.298 §5.1.1 and §5.1.2 (TimeStamp, TBCD), TS 29.002 §17.7.8 (TBCD-STRING, AddressString),
TS 24.008 §10.5.4.7 and §10.5.4.9 (called and calling party BCD number).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decoders.ber.walk import Span, compiled
from ingest.decoders.slices import is_utf8
from schemas.buffers import Bytes, Column, Ints, Mask

LANE_OCTETS_MAX: Final = 64
TEXT_OCTETS_MAX: Final = 1024
"""Longer texts are no names, identities or URIs."""

CACHE_VALUES_MAX: Final = 100_000
"""So many distinct values of a field are remembered over a delivery; then the cache starts again."""

_KERNELS: Final = "ingest.decoders.ber.value_kernels"
_VALUE_OCTETS: Final = 16  # about what is read for one value

# Two digits of an octet, the low nibble first; 15 is the filler and ends the number.
_DIGITS: Final = "0123456789*#abc\0"
_PAIRS: Final = np.array([ord(_DIGITS[octet & 15]) | ord(_DIGITS[octet >> 4]) << 8 for octet in range(256)], np.uint16)
_PAIRS_HIGH_FIRST: Final = _PAIRS.byteswap()
_BCD_BAD: Final = 999
_BCD: Final = np.array(
    [(octet >> 4) * 10 + (octet & 15) if octet >> 4 < 10 and octet & 15 < 10 else _BCD_BAD for octet in range(256)],
    np.int64,
)
_ONES: Final = np.uint64(0x0101010101010101)


def compiled_values(rows: int) -> Any:
    """Return the compiled readers of values; None when so few are not worth loading them."""
    return compiled(_VALUE_OCTETS * rows, _KERNELS)


def _plain(span: Span) -> tuple[Ints, Ints]:
    return np.ascontiguousarray(span.starts), np.ascontiguousarray(span.lengths)


def lane(data: Bytes, at: Ints, octets: int) -> Bytes:
    """Return `octets` octets from each place, one row each."""
    view: Any = np.ndarray((len(data) - octets + 1,), f"V{octets}", data, strides=(1,))
    return view[at].view(np.uint8).reshape(len(at), octets)  # type: ignore[no-any-return]


def _keep(octets: int, element: int) -> Bytes:
    """Return by length the mask that clears what is behind a value; `element` bytes stand for one octet."""
    lengths = np.arange(octets + 1)[:, None]
    return np.where(np.arange(octets * element)[None, :] < lengths * element, 0xFF, 0).astype(np.uint8)


KEEP: Final = {(octets, element): _keep(octets, element) for octets in (8, 16, 32, 64) for element in (1, 2)}


def _width(longest: int) -> int:
    return next(width for width in (8, 16, 32, 64) if longest <= width)


def digits(data: Bytes, span: Span, skip: Ints | int = 0) -> tuple[Column, Mask]:
    """Return TBCD digits as strings; `skip` octets in front (number type, plan) are left out.

    Digits are 0 to 9, `*`, `#`, `a`, `b`, `c`. The filler may only stand at the end.
    """
    chars, bad = digit_chars(data, span, skip)
    return strings(chars, chars[:, 0] == 0), bad


def digit_chars(data: Bytes, span: Span, skip: Ints | int = 0, *, high_first: bool = False) -> tuple[Bytes, Mask]:
    """Return TBCD digits as rows of ASCII characters filled up with zeros; rows that are absent or bad are all zero.

    `high_first` reads TAP's BCDString, whose first digit is the high nibble.
    """
    present = span.present
    starts = np.where(present, span.starts + skip, 0)
    lengths = np.where(present, span.lengths - skip, 0)
    bad = (lengths < 0) | (lengths > 32)
    lengths[bad] = 0
    width = _width(int(lengths.max(initial=0)))
    pairs = _PAIRS_HIGH_FIRST if high_first else _PAIRS
    kernels = compiled(2 * width * len(starts))
    if kernels is not None:
        made, faults = np.zeros(2 * width * len(starts), np.uint8), bad.view(np.uint8)
        kernels.read_digits(data, starts, lengths, pairs, 2 * width, made, faults)
        return made.reshape(len(starts), 2 * width), bad
    chars = pairs.take(lane(data, starts, width)).view(np.uint8).reshape(len(starts), 2 * width)
    chars &= KEEP[width, 2].take(lengths, axis=0)
    filled = (chars != 0).view(np.uint64)  # eight digits each
    counts = (filled * _ONES) >> np.uint64(56)
    holes = filled[:, 0] != _first(counts[:, 0])
    for group in range(1, filled.shape[1]):
        holes |= (filled[:, group] != _first(counts[:, group])) | ((counts[:, group] > 0) & (counts[:, group - 1] < 8))
    if holes.any():
        chars[holes] = 0
        bad |= holes
    return chars, bad


def _first(counts: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return eight flags, the first `counts` of them set."""
    return _FIRST.take(counts.astype(np.int64))


_FIRST: Final = np.array([0x0101010101010101 & ((1 << 8 * count) - 1) for count in range(9)], np.uint64)


def strings(chars: Bytes, absent: Mask) -> Column:
    """Return rows of ASCII characters, filled up with zeros, as strings."""
    rows, width = chars.shape
    kernels = compiled(chars.size)
    if kernels is not None:
        offsets, text = np.empty(rows + 1, np.int32), np.empty(chars.size, np.uint8)
        kernels.trim(np.ascontiguousarray(chars).reshape(-1), width, absent.view(np.uint8), offsets, text)
        text = text[: int(offsets[-1])].copy()
        valid = _buffer(np.packbits(~absent, bitorder="little"))
        return pa.StringArray.from_buffers(rows, _buffer(offsets), _buffer(text), valid, int(absent.sum()))
    return pa.array(np.ascontiguousarray(chars).view(f"S{width}").ravel(), pa.binary(), mask=absent).view(pa.string())


def hexadecimal(data: Bytes, span: Span) -> tuple[Column, Mask]:
    """Return octets as lower-case hexadecimal digits, up to 64 octets."""
    present = span.present
    lengths = np.where(present, span.lengths, 0)
    bad = lengths > LANE_OCTETS_MAX
    lengths[bad] = 0
    width = _width(int(lengths.max(initial=0)))
    chars = HEX.take(lane(data, np.where(present, span.starts, 0), width)).view(np.uint8)
    chars = chars.reshape(len(lengths), 2 * width) & KEEP[width, 2].take(lengths, axis=0)
    return strings(chars, ~present | (lengths == 0)), bad


HEX: Final = np.array([int.from_bytes(f"{octet:02x}".encode(), "little") for octet in range(256)], np.uint16)


def hexadecimal_of(values: Ints, octets: int) -> Bytes:
    """Return numbers as rows of hexadecimal characters of a fixed width."""
    big = values.astype(">u8").view(np.uint8).reshape(len(values), 8)[:, 8 - octets :]
    return HEX.take(np.ascontiguousarray(big)).view(np.uint8).reshape(len(values), 2 * octets)


class Numbers(NamedTuple):
    """Integers of a field, 0 where it is absent or bad."""

    values: Ints
    present: Mask
    bad: Mask

    def column(self, kind: pa.DataType, factor: int = 1) -> Column:
        """Return them as a column."""
        return pa.array(self.values * factor, kind, mask=~self.present | self.bad)


def integers(data: Bytes, span: Span) -> Numbers:
    """Return INTEGER fields up to 8 octets; they are taken as unsigned, since some encoders leave out the leading 0."""
    present = span.present
    if not present.any():
        return Numbers(np.zeros(len(present), np.int64), present, present)
    kernels = compiled_values(len(present))
    if kernels is not None:
        found, wrong = np.zeros(len(present), np.int64), np.zeros(len(present), np.bool_)
        kernels.read_integers(data, *_plain(span), found, wrong.view(np.uint8))
        return Numbers(found, present, wrong)
    bad = present & ((span.lengths < 1) | (span.lengths > 8))
    lengths = np.where(present & ~bad, span.lengths, 0)
    octets = lane(data, np.where(present, span.starts, 0), 8)
    big = octets.view(">u8").ravel().astype(np.uint64)
    values = np.where(lengths > 0, big >> ((8 - lengths) % 8 * 8).astype(np.uint64), 0)
    bad |= values > np.uint64(2**63 - 1)
    return Numbers(np.where(bad, 0, values).astype(np.int64), present, bad)


class Times(NamedTuple):
    """Times of a field: µs since 1970 UTC, the offset of the local time in s."""

    values_us: Ints
    offsets_s: Ints
    present: Mask
    bad: Mask


_MONTH_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _calendar() -> tuple[Ints, Ints]:
    """Return, by year - 2000 and month - 1, the days since 1970 before the month and the days in it."""
    before, days, total = [], [], 10_957  # days from 1970 to 2000
    for year in range(2000, 2100):
        for month in range(12):
            length = _MONTH_DAYS[month] + (month == 1 and year % 4 == 0)
            before.append(total)
            days.append(length)
            total += length
    return np.array(before, np.int64), np.array(days, np.int64)


_DAYS_BEFORE, _DAYS_IN = _calendar()
OFFSET_MAX_S: Final = 14 * 3600


def times(data: Bytes, span: Span) -> Times:
    """Return TimeStamp fields: BCD `YYMMDDhhmmss`, `+` or `-` in ASCII, BCD `hhmm`. All years are 20YY.

    A field of 7 octets or fewer, as some switches write without the offset, is bad: nothing says which zone it means.

    Source: TS 32.298 §5.1.1 (TimeStamp).
    """
    present = span.present
    if not present.any():
        nothing = np.zeros(len(present), np.int64)
        return Times(nothing, nothing, present, present)
    kernels = compiled_values(len(present))
    if kernels is not None:
        (made, shifts), wrong = np.zeros((2, len(present)), np.int64), np.zeros(len(present), np.bool_)
        flags = wrong.view(np.uint8)
        kernels.read_times(data, *_plain(span), _DAYS_BEFORE, _DAYS_IN, OFFSET_MAX_S, made, shifts, flags)
        return Times(made, shifts, present, wrong)
    octets = lane(data, np.maximum(span.starts, 0), 16)
    clock = _BCD.take(octets[:, :6]).T
    offset_hour, offset_minute = _BCD.take(octets[:, 7]), _BCD.take(octets[:, 8])
    offsets = offset_hour * 3600 + offset_minute * 60
    bad = (span.lengths != 9) | (offset_minute > 59) | (offsets > OFFSET_MAX_S)
    bad |= (octets[:, 6] != 0x2B) & (octets[:, 6] != 0x2D)
    offsets = np.where(octets[:, 6] == 0x2D, -offsets, offsets)
    return instants(clock, offsets, present, bad)


def instants(clock: Ints, offsets_s: Ints, present: Mask, bad: Mask) -> Times:
    """Return times from years (since 2000), months, days, hours, minutes and seconds of the local clock."""
    year, month, day, hour, minute, second = clock
    bad = bad | (year > 99) | (year < 0) | (month > 12) | (month < 1)
    index = np.where(bad, 0, year * 12 + month - 1)
    bad |= (day < 1) | (day > _DAYS_IN.take(index)) | (hour > 23) | (minute > 59) | (second > 59)
    seconds = (_DAYS_BEFORE.take(index) + day - 1) * 86_400 + hour * 3600 + minute * 60 + second - offsets_s
    return Times(np.where(bad, 0, seconds) * 1_000_000, np.where(bad, 0, offsets_s), present, bad & present)


def distinct(data: Bytes, span: Span) -> tuple[Ints, Mask, list[bytes]]:
    """Return by record the index of its content (-1: none, or too long), which are bad, and the distinct contents."""
    present = span.present
    lengths = np.where(present, span.lengths, 0)
    bad = lengths >= LANE_OCTETS_MAX
    lengths[bad] = 0
    good = present & ~bad
    rows = np.flatnonzero(good)
    if not len(rows):
        return np.full(len(lengths), -1, np.int64), bad, []
    kernels = compiled_values(len(lengths))
    if kernels is not None:
        starts, groups = np.where(good, span.starts, -1), np.empty(len(lengths), np.int64)
        firsts, slots = np.empty(kernels.GROUPS_MAX, np.int64), np.zeros(kernels.SLOTS, np.int64)
        count = kernels.group(data, starts, np.ascontiguousarray(lengths), slots, firsts, groups)
        if count >= 0:
            places = [(int(starts[row]), int(lengths[row])) for row in firsts[:count]]
            return groups, bad, [data[start : start + length].tobytes() for start, length in places]
    longest, shortest = int(lengths[rows].max()), int(lengths[rows].min())
    if longest == shortest == 1:
        return _octets(data, span, good, bad)
    told = longest == shortest  # else the length is part of what is compared, in the last octet
    width = _width(longest if told else longest + 1)
    octets = lane(data, np.where(good, span.starts, 0), width) & KEEP[width, 1].take(lengths, axis=0)
    if not told:
        octets[:, width - 1] = lengths
    keys: Column = (
        pa.array(octets.view(np.int64).ravel())
        if width == 8
        else pa.Array.from_buffers(pa.binary(width), len(lengths), [None, _buffer(octets)])
    )
    encoded = keys.dictionary_encode()
    if width == 8:
        raw = encoded.dictionary.to_numpy(zero_copy_only=False).tobytes()
        wide = [raw[at : at + 8] for at in range(0, len(raw), 8)]
    else:
        wide = encoded.dictionary.to_pylist()
    indices = np.asarray(encoded.indices, np.int64)
    if len(rows) < len(lengths):
        indices = np.where(good, indices, -1)
    return indices, bad, [one[:longest] if told else one[: one[-1]] for one in wide]


def _octets(data: Bytes, span: Span, good: Mask, bad: Mask) -> tuple[Ints, Mask, list[bytes]]:
    """Do as `distinct`, for contents of one octet each."""
    octets = data[np.where(good, span.starts, 0)]
    found = np.flatnonzero(np.bincount(octets[good], minlength=256))
    places = np.full(256, -1, np.int64)
    places[found] = np.arange(len(found))
    return np.where(good, places[octets], -1), bad, [bytes((octet,)) for octet in found.tolist()]


class Rendered:
    """A field of few distinct values: each value is read once, by a function of its bytes, and remembered."""

    def __init__(self, read: Callable[[bytes], str | None]) -> None:
        """Take the function; it returns None for what has not the field's form."""
        self._read = read
        self._cache: dict[bytes, str | None] = {}

    def column(self, data: Bytes, span: Span) -> tuple[Column, Mask]:
        """Return the values as a dictionary column of strings."""
        indices, bad, contents = distinct(data, span)
        if len(self._cache) > CACHE_VALUES_MAX:
            self._cache = {}  # other threads may still read the old one
        cache = self._cache
        for content in set(contents).difference(cache):
            cache[content] = self._read(content)
        values = [cache[content] for content in contents]
        if None in values:
            wrong = np.array([value is None for value in values] + [False], np.bool_)
            bad = bad | wrong[indices]
        codes: Any = pa.array(indices.astype(np.int32), mask=(indices < 0) | bad)
        return pa.DictionaryArray.from_arrays(codes, pa.array(values, pa.string())), bad


def texts(data: Bytes, span: Span) -> tuple[Column, Mask]:
    """Return UTF-8 texts of up to `TEXT_OCTETS_MAX` octets; an empty text is null."""
    lengths = np.where(span.present, span.lengths, 0)
    bad = lengths > TEXT_OCTETS_MAX
    lengths[bad] = 0
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    total = int(offsets[-1])
    values = data[np.repeat(span.starts - offsets[:-1], lengths) + np.arange(total)] if total else data[:0]
    if total and (int(values.max()) >= 0x80 or int(values.min()) < 0x20):
        odd = np.flatnonzero((values >= 0x80) | (values < 0x20))
        for row in np.unique(np.searchsorted(offsets, odd, side="right") - 1).tolist():
            one = values[offsets[row] : offsets[row + 1]].tobytes()
            bad[row] = not is_utf8(one) or any(octet < 0x20 for octet in one)
    if bad.any() and total:
        values = np.where(np.repeat(bad, lengths), 0x3F, values).astype(np.uint8)
    column = pa.StringArray.from_buffers(len(lengths), _buffer(offsets), _buffer(values))
    return _masked(column, (lengths == 0) | bad), bad


def _buffer(values: Any) -> pa.Buffer:
    return pa.py_buffer(values)


def _masked(column: Column, absent: Mask) -> Column:
    if not absent.any():
        return column
    validity = _buffer(np.packbits(~absent, bitorder="little").tobytes())
    return pa.StringArray.from_buffers(len(column), column.buffers()[1], column.buffers()[2], validity)
