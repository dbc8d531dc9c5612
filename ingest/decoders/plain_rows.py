"""Blocks of CSV, cut at once into the columns that a format reads, as far as their lines are plain.

Plain is what a compiled look finds so (`line_kernels.plain_values`): as many values as the others, quotes only around
whole values, no line end in a value. What is not is for the format to read, line by line. A quote that is open at the
end of a line may make one record of several: then no line of the block is plain, and of none that follows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import chain
from typing import Any, Final, Generic, TypeVar

import numpy as np
import pyarrow as pa

from ingest.decoders.base import Decoded
from ingest.decoders.canonical.lines import lines_are_short
from ingest.decoders.delimited import Convert
from ingest.decoders.plain_columns import PlainColumns, Slices
from ingest.decoders.slices import Block, Faults, Lines, is_utf8, line_kernels
from ingest.lines import Line
from ingest.parallel_map import in_order
from ingest.row_faults import RawOf
from schemas.buffers import Bytes, Ints

_FILLER_BYTES: Final = 6 << 20
_NEWLINE: Final = 0x0A
_WIDTH_MIN: Final = 2

Made = TypeVar("Made")


class PlainRows:
    """A block's plain rows: `columns` by name, `indices` the line of each; and all its lines, `odd` set where
    one is not plain. Positions count from the block's first line."""

    def __init__(self, block: Block, columns: PlainColumns, odd: Bytes) -> None:
        self.block, self.columns, self.odd = block, columns, odd
        self.indices: Ints = np.flatnonzero(odd == 0)
        counted = np.ones(len(odd), np.bool_) if len(self.indices) == len(odd) else ~self.lines.blank()
        self.places: Ints = np.cumsum(counted)
        self.positions: Ints = self.places[self.indices]
        self.count = int(counted.sum())
        """Lines that are not blank."""

    @cached_property
    def lines(self) -> Lines:
        """All lines of the block."""
        return Lines(self.block.data)

    def line(self, index: int) -> Line:
        """Return a line of the block."""
        start, data = int(self.lines.starts[index]), self.lines.line(index)
        terminated = bool(self.lines.terminated[index])
        length = len(data) + int(terminated and self.lines.data[start + len(data)] != _NEWLINE)
        return Line(int(self.places[index]), self.block.offset + start, data, length, None, terminated)

    def odd_lines(self, understood: Any = None) -> Iterator[Line]:
        """Yield in order the lines that are not plain, and the plain ones that are not understood; no blank ones."""
        asked = self.odd != 0
        if understood is not None:
            asked[self.indices[~understood]] = True
        if asked.any():
            asked &= ~self.lines.blank()
        yield from map(self.line, np.flatnonzero(asked).tolist())

    def at(self, position: int) -> int:
        """Return the index of the line at a position."""
        return int(np.searchsorted(self.places, position))


def plain_rows(block: Block, width: int, wanted: Mapping[str, int | None], *, quoted: bool = False) -> PlainRows | None:
    """Return a block's plain rows, of so many values; `wanted` tells the place of each column, None where it is empty.

    None when the block is too small to load the kernels for it, has a line that is too long, or one with an open quote,
    and for rows of one value, which may be blank.

    Args:
        block: whole lines.
        width: how many values a plain row has.
        wanted: the columns that are read.
        quoted: a line is a row whatever quotes it has; plain is one whose values all stand in quotes, and have none.
    """
    kernels = line_kernels(len(block.data))
    if kernels is None or width < _WIDTH_MIN or block.overlong_bytes or not lines_are_short(block.data):
        return None
    data = np.frombuffer(block.data, np.uint8)
    most = int(np.count_nonzero(data == _NEWLINE)) + 1
    places = sorted({place for place in wanted.values() if place is not None})
    into = np.full(width, -1, np.int64)
    into[places] = np.arange(len(places))
    starts, ends = np.empty((len(places), most), np.int64), np.empty((len(places), most), np.int64)
    doubled, odd, state = (
        np.zeros(len(places), np.uint8),
        np.zeros(most, np.uint8),
        np.zeros(kernels.STATE_SIZE, np.int64),
    )
    address = int(data.ctypes.data)
    lines = kernels.plain_values(data, address, into, int(quoted), starts, ends, doubled, odd, state)
    if state[kernels.OPEN] and not quoted:
        return None
    odd = odd[:lines]
    chosen: Any = slice(int(state[kernels.ROWS]))
    if not block.data.isascii() and not is_utf8(block.data):
        strange = Lines(block.data).encoding_faults()
        chosen = np.flatnonzero(~strange[odd == 0])
        odd |= strange
    rows = lines - int(np.count_nonzero(odd))
    found: dict[str, Slices | None] = {}
    for name, place in wanted.items():
        line = None if place is None else into[place]
        found[name] = None if line is None else Slices(starts[line, chosen], ends[line, chosen], bool(doubled[line]))
    return PlainRows(block, PlainColumns(block.data, rows, found), odd)


class PlainBlocks(Generic[Made]):
    """What is made of a delivery's blocks, two at once, as far as they are plain; positions count from each block's 1.

    `make` returns None for the first block that is not. From there on `rest` is the delivery as a stream again, and the
    offset at which it begins.
    """

    def __init__(self, blocks: Iterator[Block], make: Callable[[Block], Made | None]) -> None:
        self._make, self._going = make, True
        self._pairs = in_order(blocks, self._work)
        self.rest: tuple[Any, int] | None = None

    def __iter__(self) -> Iterator[Made]:
        for block, made in self._pairs:
            if made is None:
                self._going = False
                self.rest = rest_of(block, (one for one, _ in self._pairs))
                return
            yield made

    def _work(self, block: Block) -> Made | None:
        return self._make(block) if self._going else None


class PlainStretch:
    """The plain rows of a block on their way into columns."""

    def __init__(self, rows: PlainRows) -> None:
        self._rows = rows

    def decoded(self, convert: Convert) -> Decoded:
        """Convert the rows; those that `convert` finds faulty are rejects."""
        rows = self._rows
        faults = Faults(len(rows.indices))
        table = convert(rows.columns, len(rows.indices), faults)
        table = table.append_column("position", pa.array(rows.positions))
        if not faults.mask.any():
            return Decoded(table, [], self.raw_of)
        rejects = [
            rows.line(int(rows.indices[index])).reject(reason, field=field, raw=self._kept(index))
            for index, reason, field in faults.found()
        ]
        return Decoded(table.filter(pa.array(~faults.mask)), rejects, self.raw_of)

    def raw_of(self, positions: Sequence[int]) -> list[bytes | None]:
        """Return what is kept of rows that are refused later."""
        return [self._kept(int(index)) for index in np.searchsorted(self._rows.positions, positions)]

    def _kept(self, index: int) -> bytes:
        """Return a line of names and one of values, of the row's wanted columns that are not empty."""
        values = {name: column[index].as_py() for name, column in self._rows.columns.items()}
        text = io.StringIO()
        pairs = [(name, value) for name, value in values.items() if value]
        csv.writer(text, lineterminator="\n").writerows(zip(*pairs, strict=True))
        return text.getvalue().encode()


def _raw_before(raw_of: RawOf, before: int, asked: Sequence[int]) -> Sequence[bytes | None]:
    return raw_of([position - before for position in asked])


def shifted(parts: Iterable[Decoded], positions: int, offset: int = 0) -> Iterator[Decoded]:
    """Yield what was decoded of some blocks of a delivery, of which so many records and bytes came before."""
    for part in parts:
        table, raw_of = part.table, part.raw_of
        place = table.column_names.index("position")
        moved = pa.array(table.column(place).to_numpy() + positions)
        yield Decoded(
            table.set_column(place, "position", moved),
            [
                replace(
                    one,
                    position=one.position + positions,
                    offset=None if one.offset is None else one.offset + offset,
                )
                for one in part.rejects
            ],
            None if raw_of is None else partial(_raw_before, raw_of, positions),
        )


def rest_of(first: Block, rest: Iterator[Block]) -> tuple[Any, int]:
    """Return the rest of a delivery as a stream, and the offset at which it begins.

    It begins with a blank line of its own: at the beginning of a stream a line might be taken for a byte order mark.
    """
    blank = Block(b"\n", first.offset - 1)
    return io.BufferedReader(Rejoined(blank, chain((first,), rest))), blank.offset


class Rejoined(io.RawIOBase):
    """The blocks of a delivery as a stream again; what was read past as too long is as long a line of filler."""

    def __init__(self, first: Block, rest: Iterator[Block]) -> None:
        self._blocks = _chain(first, rest)
        self._data = b""

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as one block goes; 0 at the end."""
        while not self._data:
            piece = next(self._blocks, None)
            if piece is None:
                return 0
            self._data = piece
        size = min(len(buffer), len(self._data))
        buffer[:size] = self._data[:size]
        self._data = self._data[size:]
        return size


def _chain(first: Block, rest: Iterator[Block]) -> Iterator[bytes]:
    yield first.data
    for block in rest:
        left = block.overlong_bytes
        while left > 0:
            size = min(left, _FILLER_BYTES)
            left -= size
            ends = left == 0 and not block.last
            yield b"x" * (size - ends) + b"\n" * ends
        yield block.data
