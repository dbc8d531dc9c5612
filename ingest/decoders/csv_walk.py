"""The compiled road of canonical CSV: a clean block to columns, packed as far as its values let themselves be.

The kernels read what almost every value of a column looks like. What they leave as exceptions is read here, value by
value in the same functions as on the other roads, and put in its row. A block with quotes, control bytes, blank lines
or another number of fields in some line is not for this road.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decoders.canonical.columns import FIGURES, Converted, InputColumn, convert
from ingest.decoders.canonical.times import ParsedTimes, parse_times
from ingest.decoders.padded import Padded
from ingest.decoders.slices import is_utf8
from schemas.arrow import TIME_TYPE
from schemas.buffers import Bytes, Column, Ints, flags, valid_mask, values_int64
from schemas.fields import Kind
from store import native

WALK_BYTES_MIN: Final = 256 << 10
"""Smaller blocks are read by Arrow; files that may share a batch (`ingest.grouping`) are smaller, and so all alike."""

LOAD_BYTES_MIN: Final = 1 << 20
"""A smaller block is no reason to load the kernels; when they are there, they are used."""

_SAMPLE_BYTES: Final = 1 << 16
_FIGURE_MAX: Final = 2**62
_LENGTH: Final = 0xFFFF_FFFF
_MODULE: Final = "ingest.decoders.csv_kernels"


class Walked(NamedTuple):
    """Some rows of a block, a column each: times, or what else its field is."""

    rows: int
    columns: Sequence[ParsedTimes | Converted]


class Marks:
    """What stands between the values of JSON objects that look alike: before each value, and behind the last one."""

    def __init__(self, between: Sequence[bytes]) -> None:
        self._bytes = np.frombuffer(b"".join(between) + bytes(8), np.uint8)
        self.places: Ints = np.cumsum([0, *map(len, between)]) if between else np.zeros(0, np.int64)

    @property
    def address(self) -> int:
        """Where the bytes are."""
        return int(self._bytes.ctypes.data)


class Walker:
    """Walks the blocks of one delivery. `zone` is the source's, for times without an offset.

    With `marks`, lines are JSON objects, else CSV.
    """

    def __init__(self, columns: Sequence[InputColumn], zone: str | None, marks: Sequence[bytes] = ()) -> None:
        self._columns, self._zone, self._marks = columns, zone, Marks(marks)
        self._texts: set[int] = set()  # label columns with too many values

    def takes(self, block: Padded) -> bool:
        """Tell whether the block is worth it. A line of one field may be blank, which the walk does not look at."""
        least = WALK_BYTES_MIN if native.is_loaded(_MODULE) else LOAD_BYTES_MIN
        return len(self._columns) > 1 and block.size >= least

    def walk(self, block: Padded) -> list[Walked] | None:
        """Return the rows of a block, or None when it is not clean."""
        kernels = native.load(_MODULE)
        position, parts, size = 0, [], block.size
        if not block.terminated:
            if block.ends_with(ord("\r")):
                return None
            size += 1  # with the line feed behind the block
        while position < size:
            piece = _Piece(kernels, block, self._columns, self._texts)
            ended = piece.walk(position, size, self._marks)
            if ended == kernels.CROWDED:
                self._texts.add(int(piece.state[kernels.CROWD]))
                continue
            if ended == kernels.STRANGE or (piece.state[kernels.HIGH] and not is_utf8(block.data)):
                return None
            position = int(piece.state[kernels.POSITION])
            parts.append(Walked(piece.rows, piece.read(self._zone)))
        return parts


class _Piece:
    """The arrays of one walk."""

    def __init__(self, kernels: Any, block: Padded, columns: Sequence[InputColumn], texts: set[int]) -> None:
        self._kernels, self._block, self._columns = kernels, block, columns
        self._plan, wide, narrow = _plan(kernels, columns, texts)
        # So many rows as the first lines make likely; when there are more, another piece goes on.
        sample = block.memory[block.start : block.start + min(block.size, _SAMPLE_BYTES)]
        lines = int(np.count_nonzero(sample == ord("\n"))) + 1
        self.capacity = (block.size * lines // len(sample) * 17 // 16 + kernels.CHUNK_ROWS) & ~15
        self._wide: Ints = np.empty((wide, self.capacity), np.int64)
        self._narrow = np.empty((narrow, self.capacity), np.uint32)
        self._nulls: Bytes = np.zeros((len(columns), self.capacity), np.uint8)
        self._exceptions: Ints = np.empty((2 * self.capacity + kernels.CHUNK_ROWS * len(columns), 4), np.int64)
        self._slots = np.zeros((narrow, kernels.SLOTS), np.int16)
        self._keys = np.empty((narrow, kernels.LABELS_MAX, 2), np.uint64)
        self._places = np.zeros((narrow, kernels.LABELS_MAX + 1, 2), np.int64)
        self._ends = np.empty(2 * kernels.CHUNK_ROWS * len(columns) + kernels.ENDS_MORE, np.int64)
        self.state = np.zeros(kernels.STATE_SIZE, np.int64)
        self.rows = 0

    def walk(self, position: int, size: int, marks: Marks) -> int:
        """Walk from a position on; return how it ended."""
        self.state[self._kernels.POSITION] = position
        ended = self._kernels.walk(
            self._block.address,
            size,
            marks.address,
            marks.places,
            self._plan,
            np.ascontiguousarray(self._plan[:, 5]),
            self._wide,
            self._narrow,
            self._nulls,
            self._exceptions,
            self._slots,
            self._keys,
            self._places,
            self._ends,
            self.state,
        )
        self.rows = int(self.state[self._kernels.ROWS])
        return int(ended)

    def read(self, zone: str | None) -> list[ParsedTimes | Converted]:
        """Return the columns."""
        found = self._exceptions[: int(self.state[self._kernels.EXCEPTIONS])]
        return [self._column(number, found[found[:, 1] == number], zone) for number in range(len(self._columns))]

    def _column(self, number: int, odd: Ints, zone: str | None) -> ParsedTimes | Converted:
        kernels, column = self._kernels, self._columns[number]
        kind, line = int(self._plan[number, 0]), int(self._plan[number, 1])
        absent = self._nulls[number, : self.rows]
        if kind == kernels.TEXT:
            places = self._wide[line, : self.rows]
            text = self._texts(np.arange(self.rows), places >> 32, places & _LENGTH, absent)
            return Converted(*convert(column, text))
        if kind == kernels.LABEL:
            return Converted(self._labels(line, absent), None)
        if kind == kernels.TIME:
            return self._times(self._wide[line, : self.rows], absent, odd, zone)
        if kind == kernels.FIGURE:
            return self._figures(column, self._wide[line, : self.rows], absent, odd)
        packed = self._wide[line, : self.rows] if kind == kernels.IDENTIFIER else self._narrow[line, : self.rows]
        rest = None
        if len(odd):
            others = np.ones(self.rows, np.uint8)
            others[odd[:, 0]] = 0
            rest = self._texts(odd[:, 0], odd[:, 2], odd[:, 3], others)
        return Converted(_array(packed, absent), None, rest)

    def _texts(self, rows: Ints, starts: Ints, lengths: Ints, absent: Bytes) -> Column:
        """Return a column of texts that stand at these places of the block, null where marked."""
        offsets = np.zeros(len(absent) + 1, np.int32)
        offsets[1:][rows] = lengths
        np.cumsum(offsets, out=offsets)
        data = np.empty(int(offsets[-1]), np.uint8)
        into = np.append(offsets[:-1][rows], offsets[-1]) if len(rows) < len(absent) else offsets
        self._kernels.copy_texts(self._block.address, np.ascontiguousarray(starts), into, data)
        return pa.StringArray.from_buffers(
            len(absent), _buffer(offsets), _buffer(data), _validity(absent), int(absent.sum())
        )

    def _alone(self, odd: Ints) -> Column:
        """Return the texts of exceptions, one after the other."""
        return self._texts(np.arange(len(odd)), odd[:, 2], odd[:, 3], np.zeros(len(odd), np.uint8))

    def _labels(self, line: int, absent: Bytes) -> Column:
        places = self._places[line, : int(self._places[line, self._kernels.LABELS_MAX, 0])]
        start = self._block.start
        words = [
            self._block.memory[start + at : start + at + length].tobytes().decode() for at, length in places.tolist()
        ]
        codes = _array(self._narrow[line, : self.rows].view(np.int32), absent)
        return pa.DictionaryArray.from_arrays(codes, pa.array(words, pa.string()))

    def _times(self, values: Ints, absent: Bytes, odd: Ints, zone: str | None) -> ParsedTimes:
        bad = flags(self.rows)
        if not len(odd):
            return ParsedTimes(_array(values, absent).view(TIME_TYPE), None, None, bad)
        places, parsed = odd[:, 0], parse_times(self._alone(odd), zone)
        values[places] = values_int64(parsed.times)
        absent[places] = ~valid_mask(parsed.times)
        bad[places] = parsed.bad
        return ParsedTimes(
            _array(values, absent).view(TIME_TYPE),
            self._spread(parsed.offsets_s, places, np.zeros(self.rows, np.int32)),
            None if parsed.ambiguous is None else pa.array(_put(flags(self.rows), places, parsed.ambiguous)),
            bad,
        )

    def _spread(self, column: Column | None, places: Ints, values: npt.NDArray[Any]) -> Column | None:
        """Return a column that has these values in these rows, and null in all others."""
        if column is None:
            return None
        valid = flags(self.rows)
        valid[places] = valid_mask(column)
        return pa.array(_put(values, places, column.fill_null(0)), mask=~valid)

    def _figures(self, column: InputColumn, values: Ints, absent: Bytes, odd: Ints) -> Converted:
        bad = None
        if len(odd):
            places = odd[:, 0]
            read, refused = convert(column, self._alone(odd))
            values[places] = np.asarray(read.fill_null(0))
            absent[places] = ~valid_mask(read)
            bad = flags(self.rows)
            bad[places] = refused
        figures: npt.NDArray[Any] = values.astype(np.int32) if column.kind is Kind.SMALL else values
        return Converted(_array(figures, absent), bad)


def _plan(kernels: Any, columns: Sequence[InputColumn], texts: set[int]) -> tuple[Ints, int, int]:
    """Return what the walk does with each column, and how many lines of wide and narrow values it needs, at least 1."""
    kinds = {
        Kind.IDENTIFIER: kernels.IDENTIFIER,
        Kind.ADDRESS: kernels.ADDRESS,
        Kind.LABEL: kernels.LABEL,
        Kind.TIME: kernels.TIME,
        Kind.INTEGER: kernels.FIGURE,
        Kind.SMALL: kernels.FIGURE,
    }
    plan, wide, narrow = [], 0, 0
    for number, column in enumerate(columns):
        kind = kernels.TEXT if number in texts else kinds.get(column.kind, kernels.TEXT)
        most = (2**31 - 1 if column.kind is Kind.SMALL else _FIGURE_MAX) // column.factor
        taken = kernels.BARE if column.kind in (*FIGURES, Kind.IDENTIFIER) else 0
        taken |= kernels.EMPTY if column.kind in (Kind.IDENTIFIER, Kind.ADDRESS, Kind.LABEL) else 0
        packed = kind in (kernels.ADDRESS, kernels.LABEL)
        plan.append((kind, narrow if packed else wide, column.factor, most, number, taken))
        narrow, wide = (narrow + 1, wide) if packed else (narrow, wide + 1)
    return np.array(plan, np.int64), max(wide, 1), max(narrow, 1)


def _array(values: npt.NDArray[Any], absent: Bytes) -> Column:
    """Return values as an Arrow column without a copy, null where marked."""
    kind = pa.from_numpy_dtype(values.dtype)
    return pa.Array.from_buffers(kind, len(values), [_validity(absent), _buffer(values)], int(absent.sum()))


def _validity(absent: Bytes) -> pa.Buffer | None:
    return _buffer(np.packbits(absent == 0, bitorder="little")) if absent.any() else None


def _buffer(values: Any) -> pa.Buffer:
    return pa.py_buffer(values)


def _put(values: npt.NDArray[Any], places: Ints, column: Column) -> npt.NDArray[Any]:
    values[places] = np.asarray(column)
    return values
