"""Text formats read in blocks and cut into Arrow columns without a Python object per field.

`read_blocks` bounds memory: what has no terminator within the bound is read past, and told with its length.
`Lines` finds the lines of a block; `gather` copies any slices of it into one Arrow string column.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Any, BinaryIO, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ingest.decoders.base import RECORD_BYTES_MAX
from schemas.buffers import text_views
from schemas.errors import InputError
from schemas.rejects import Reject, RejectReason
from store import native

BLOCK_BYTES: Final = 4 << 20
"""How much is read at once: some ten thousand records, a few megabytes of columns."""

KERNEL_BYTES_MIN: Final = 1 << 12
"""Fewer bytes are copied by NumPy."""

LOAD_BYTES_MIN: Final = 1 << 18
"""Fewer bytes are no reason to load the kernels; when they are there, they are used."""

_KERNELS: Final = "ingest.decoders.line_kernels"

_PLACE_BYTES: Final = 16
"""So much of two numbers is read for each slice."""

LINE_END: Final = (b"\n",)
BLANK_LINE: Final = (b"\n\n", b"\n\r\n")

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Column = Any  # an Arrow array: the stubs know neither compute's overloads nor which kind of array comes out
compute: Final[Any] = pc

UTF8_BOM: Final = b"\xef\xbb\xbf"
_UTF16_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")
_NEWLINE, _RETURN, _ZERO, _DIGIT_MAX = 0x0A, 0x0D, 0x30, 9


class Block(NamedTuple):
    """Whole records of a delivery, `offset` bytes from its beginning.

    `overlong_bytes` is not 0 when this stands for one stretch without a terminator that was read past; `data` is its
    first bytes then, too few to tell anything but where it began. `last` is set at the end of the delivery: what
    follows the last terminator in `data` may be cut off.
    """

    data: bytes
    offset: int
    overlong_bytes: int = 0
    last: bool = False


def read_blocks(
    stream: BinaryIO,
    *,
    terminators: tuple[bytes, ...] = LINE_END,
    block_bytes: int = BLOCK_BYTES,
    bytes_max: int = RECORD_BYTES_MAX,
    offset: int = 0,
) -> Iterator[Block]:
    """Yield blocks that end after a terminator, except the last one; at most about `block_bytes + bytes_max` is held.

    A UTF-8 byte order mark is skipped. `offset` is where in the delivery the stream begins.

    Raises:
        InputError: the stream is UTF-16.
    """
    first_bytes = max(block_bytes, len(UTF8_BOM))
    pending = read_full(stream, first_bytes)
    ended = len(pending) < first_bytes
    if offset == 0:
        refuse_utf16(pending)
        offset = len(UTF8_BOM) if pending.startswith(UTF8_BOM) else 0
        pending = pending[offset:]
    skipped = 0  # bytes of an overlong stretch already dropped
    while True:
        if skipped and (cut := _first_end(pending, terminators)):
            yield Block(b"", offset - skipped, skipped + cut)
            skipped, offset, pending = 0, offset + cut, pending[cut:]
        if ended:
            break
        if not skipped and (cut := last_end(pending, terminators)):
            yield Block(pending[:cut], offset)
            offset, pending = offset + cut, pending[cut:]
        if skipped or len(pending) > bytes_max:
            drop = max(len(pending) - max(map(len, terminators)) + 1, 0)  # a terminator may straddle two reads
            skipped, offset, pending = skipped + drop, offset + drop, pending[drop:]
        more = read_full(stream, block_bytes)
        ended = len(more) < block_bytes
        pending += more
    if skipped:
        yield Block(b"", offset - skipped, skipped + len(pending), last=True)
    else:
        yield Block(pending, offset, last=True)


def refuse_utf16(head: bytes) -> None:
    """Refuse a delivery whose first octets are a byte order mark of UTF-16.

    Raises:
        InputError: They are.
    """
    if head.startswith(_UTF16_BOMS):
        raise InputError("the delivery is UTF-16", hint="deliver it as UTF-8")


def read_full(stream: BinaryIO, size: int) -> bytes:
    """Read `size` bytes however small the stream's own pieces are; fewer only at its end."""
    pieces = []
    while size > 0 and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def last_end(data: bytes, terminators: tuple[bytes, ...]) -> int:
    """Return the index after the last terminator, 0 if there is none."""
    end = 0
    for one in terminators:  # the one that is not there is not looked for in all of it
        at = data.rfind(one, max(end - len(one), 0))
        end = max(end, at + len(one)) if at >= 0 else end
    return end


def _first_end(data: bytes, terminators: tuple[bytes, ...]) -> int:
    """Return the index after the first terminator, 0 if there is none."""
    found = ((data.find(one), len(one)) for one in terminators)
    return min((at + length for at, length in found if at >= 0), default=0)


class Lines:
    """The lines of one block: `starts` and `ends` (without LF or CR LF) as byte indices into `bytes`.

    `terminated` is False for a last line without its line end.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.bytes = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(self.bytes == _NEWLINE).astype(np.int64)
        self.terminated = np.ones(len(ends), np.bool_)
        if data and not data.endswith(b"\n"):
            ends = np.append(ends, len(data))
            self.terminated = np.append(self.terminated, False)
        self.starts: Ints = np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1]) if len(ends) else ends
        returned = (ends > self.starts) & (self.bytes[np.maximum(ends - 1, 0)] == _RETURN) if len(ends) else ends > 0
        self.ends: Ints = ends - (returned & self.terminated)

    def select(self, wanted: Flags | Ints) -> None:
        """Keep only some of the lines."""
        self.starts, self.ends = self.starts[wanted], self.ends[wanted]
        self.terminated = self.terminated[wanted]

    def part(self, first: int, last: int) -> Lines:
        """Return some lines of the same block."""
        some = copy(self)
        some.select(np.arange(first, min(last, len(self))))
        return some

    def __len__(self) -> int:
        return len(self.starts)

    def line(self, index: int) -> bytes:
        """Return one line without its end."""
        return self.data[int(self.starts[index]) : int(self.ends[index])]

    def blank(self) -> Flags:
        """Return which lines hold nothing but spaces and tabs."""
        blank: Flags = self.ends <= self.starts
        if not len(self):
            return blank
        # Only lines that begin and end with a space or control byte are looked at one by one.
        spaced = (self.bytes[self.starts % len(self.bytes)] <= 0x20) & (self.bytes[self.ends - 1] <= 0x20)
        for index in np.flatnonzero(~blank & spaced):
            blank[index] = self.line(int(index)).isspace()
        return blank

    def encoding_faults(self) -> Flags:
        """Return which lines hold a NUL byte or are not UTF-8."""
        faults = np.zeros(len(self), np.bool_)
        if b"\0" in self.data:
            nul = np.flatnonzero(self.bytes == 0)
            faults |= np.searchsorted(nul, self.ends) > np.searchsorted(nul, self.starts)
        if not self.data.isascii():
            high = np.flatnonzero(self.bytes >= 0x80)
            suspects = np.searchsorted(high, self.ends) > np.searchsorted(high, self.starts)
            for index in np.flatnonzero(suspects):
                faults[index] |= not is_utf8(self.line(int(index)))
        return faults


def is_utf8(data: bytes) -> bool:
    """Tell whether bytes are UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def gather(data: npt.NDArray[np.uint8], starts: Ints, ends: Ints) -> Column:
    """Copy the slices `starts[i]:ends[i]` into one Arrow column; they must be UTF-8.

    A slice that begins below 0 becomes null.
    """
    kernels = line_kernels(_PLACE_BYTES * len(starts))
    if kernels is not None:
        return _gathered(kernels, data, starts, ends)
    absent = starts < 0
    lengths = np.where(absent, 0, ends - starts)
    offsets = np.zeros(len(starts) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    values = _copied(data, starts, ends, offsets)
    validity = None
    if absent.any():
        validity = pa.py_buffer(np.packbits(~absent, bitorder="little").tobytes())
    return pa.StringArray.from_buffers(
        len(starts),
        _buffer(offsets),
        _buffer(values),
        validity,
    )


def _gathered(kernels: Any, data: npt.NDArray[np.uint8], starts: Ints, ends: Ints) -> Column:
    """Do as `gather`, by the compiled loops."""
    rows = len(starts)
    begins, stops = np.ascontiguousarray(starts, np.int64), np.ascontiguousarray(ends, np.int64)
    offsets, valid = np.empty(rows + 1, np.int32), np.zeros((rows + 7) // 8, np.uint8)
    absent = kernels.measure_slices(begins, stops, offsets, valid)
    if absent == rows:
        return pa.nulls(rows, pa.string())
    values = _copied(data, begins, stops, offsets)
    validity = _buffer(valid) if absent else None
    return pa.StringArray.from_buffers(rows, _buffer(offsets), _buffer(values), validity, absent)


def _copied(data: npt.NDArray[np.uint8], starts: Ints, ends: Ints, offsets: npt.NDArray[np.int32]) -> Any:
    """Return the slices one behind the other; slice `i` goes to `offsets[i]`."""
    total = int(offsets[-1])
    kernels = line_kernels(total)
    if kernels is not None:
        out = np.empty(total + kernels.WORD_BYTES, np.uint8)
        places = (np.ascontiguousarray(places, np.int64) for places in (starts, ends))
        data = np.ascontiguousarray(data)
        kernels.copy_slices(data, int(data.ctypes.data), *places, out, int(out.ctypes.data))
        return out[:total]
    step = np.repeat(starts - offsets[:-1], offsets[1:] - offsets[:-1])
    return data[step + np.arange(total)] if total else np.zeros(0, np.uint8)


def line_kernels(size_bytes: int) -> Any:
    """Return the compiled loops over lines; None when so few bytes are not worth loading them."""
    if size_bytes >= KERNEL_BYTES_MIN and (native.is_loaded(_KERNELS) or size_bytes >= LOAD_BYTES_MIN):
        return native.load(_KERNELS)
    return None


def _buffer(values: Any) -> pa.Buffer:
    return pa.py_buffer(values)


def fill(column: Column, replacement: Column, where: Column) -> Column:
    """Return the column with `replacement` (a column, scalar or None) where the mask is set."""
    mask = pa.array(where) if isinstance(where, np.ndarray) else where
    other = pa.scalar(replacement, column.type) if not isinstance(replacement, pa.Array) else replacement
    return compute.if_else(mask, other, column)


def empty_to_null(column: Column) -> Column:
    """Return the column with null for empty texts."""
    if not len(column) or not column.null_count:
        offsets, data = text_views(column)
        if not len(data):
            return pa.nulls(len(column), column.type)
        if (offsets[1:] > offsets[:-1]).all():
            return column
    return fill(column, None, compute.equal(compute.binary_length(column), 0))


def figures(column: Column, digits_max: int) -> tuple[Column, Flags]:
    """Return whole numbers of 1 to so many digits, at most 18, null for an empty text; and which rows hold others.

    Those are null as well. `column` is text without nulls.
    """
    offsets, data = text_views(column)
    text, bad = empty_to_null(column), np.zeros(len(column), np.bool_)
    longest = int((offsets[1:] - offsets[:-1]).max(initial=0))
    if longest > digits_max or (data - np.uint8(_ZERO)).max(initial=0) > _DIGIT_MAX:
        good = compute.match_substring_regex(column, f"^[0-9]{{0,{digits_max}}}$")
        bad = ~np.asarray(good)
        text = compute.if_else(good, text, pa.scalar(None, pa.string()))
    return compute.cast(text, pa.int64()), bad


class Faults:
    """Which rows of a stretch are refused, and why: the first fault found in a row is told."""

    def __init__(self, rows: int) -> None:
        self.mask = np.zeros(rows, np.bool_)
        self._reasons: dict[int, tuple[RejectReason, str | None]] = {}

    def add(self, rows: Column, reason: RejectReason, field: str | None = None) -> None:
        """Refuse the rows where the mask is set, unless they are refused already."""
        mask = rows if isinstance(rows, np.ndarray) else np.asarray(compute.fill_null(rows, False))
        new = mask & ~self.mask
        for index in np.flatnonzero(new):
            self._reasons[int(index)] = (reason, field)
        self.mask |= new

    def include(self, other: Faults) -> None:
        """Take over the faults of `other` in rows that are not refused already."""
        self._reasons = other._reasons | self._reasons
        self.mask |= other.mask

    def override(self, other: Faults) -> None:
        """Take over the faults of `other`, which are told instead of this one's."""
        self._reasons.update(other._reasons)
        self.mask |= other.mask

    def found(self) -> Iterator[tuple[int, RejectReason, str | None]]:
        """Yield the refused rows in order: index, reason, field."""
        for index in sorted(self._reasons):
            yield index, *self._reasons[index]

    def rejects(self, positions: Ints, lines: Lines, offset: int, *, raw: bool = True) -> list[Reject]:
        """Return the refused rows, row `i` being line `i` of `lines`, which begins `offset` bytes into the delivery."""
        result = []
        for index, reason, field in self.found():
            line = lines.line(index)
            kept = line if raw and len(line) <= RECORD_BYTES_MAX else None
            at = offset + int(lines.starts[index])
            result.append(Reject(int(positions[index]), reason, field, at, len(line), kept))
        return result
