"""Blocks of plain CSV, cut by Arrow into the columns that a format reads.

Plain is what a compiled look finds so (`line_kernels.plain_lines`): the same number of values in every line, quotes
only around whole values, no line end in a value. A block that is not goes the row-by-row road, and all that follows it
with it: what a quote left open means, only that road knows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from ingest.decoders.base import Decoded
from ingest.decoders.canonical_lines import lines_are_short
from ingest.decoders.delimited import Convert
from ingest.decoders.slices import Block, Column, Faults, Lines, line_kernels
from ingest.row_faults import RawOf
from schemas.rejects import Reject

_FILLER_BYTES: Final = 6 << 20


def plain_columns(data: bytes, width: int, wanted: Mapping[str, int | None]) -> dict[str, Column] | None:
    """Return the wanted columns, by name and place, as texts; those without a place are empty.

    None when the block is not plain, not UTF-8, or too small to load the kernels for it.
    """
    kernels = line_kernels(len(data))
    if kernels is None or not lines_are_short(data):
        return None
    rows = int(kernels.plain_lines(np.frombuffer(data, np.uint8), width))
    if rows <= 0:
        return None
    names = [str(place) for place in range(width)]
    chosen = [str(place) for place in sorted({place for place in wanted.values() if place is not None})]
    read = pa.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=names)
    convert = pa.csv.ConvertOptions(column_types=dict.fromkeys(chosen, pa.string()), include_columns=chosen)
    source: Any = pa.py_buffer(data)
    try:
        table = pa.csv.read_csv(source, read, pa.csv.ParseOptions(newlines_in_values=False), convert)
    except pa.ArrowInvalid:
        return None
    if table.num_rows != rows:
        return None
    return {
        name: pa.repeat("", rows) if place is None else table.column(str(place)).combine_chunks()
        for name, place in wanted.items()
    }


class PlainStretch:
    """The rows of one plain block; `position` is that of the first one."""

    def __init__(self, block: Block, columns: Mapping[str, Column], position: int) -> None:
        self._block, self._columns, self._position = block, columns, position
        self.rows = len(next(iter(columns.values())))

    def decoded(self, convert: Convert) -> Decoded:
        """Convert the rows; those that `convert` finds faulty are rejects."""
        faults = Faults(self.rows)
        table = convert(self._columns, self.rows, faults)
        positions = np.arange(self._position, self._position + self.rows, dtype=np.int64)
        table = table.append_column("position", pa.array(positions))
        if not faults.mask.any():
            return Decoded(table, [], self.raw_of)
        lines, rejects = Lines(self._block.data), []
        for index, reason, field in faults.found():
            start, end = int(lines.starts[index]), int(lines.ends[index])
            offset = self._block.offset + start
            rejects.append(Reject(int(positions[index]), reason, field, offset, end - start, self._kept(index)))
        return Decoded(table.filter(pa.array(~faults.mask)), rejects, self.raw_of)

    def raw_of(self, positions: Sequence[int]) -> list[bytes | None]:
        """Return what is kept of rows that are refused later."""
        return [self._kept(position - self._position) for position in positions]

    def _kept(self, index: int) -> bytes:
        """Return a line of names and one of values, of the row's wanted columns that are not empty."""
        values = {name: column[index].as_py() for name, column in self._columns.items()}
        text = io.StringIO()
        pairs = [(name, value) for name, value in values.items() if value]
        csv.writer(text, lineterminator="\n").writerows(zip(*pairs, strict=True))
        return text.getvalue().encode()


def _raw_before(raw_of: RawOf, before: int, asked: Sequence[int]) -> Sequence[bytes | None]:
    return raw_of([position - before for position in asked])


def shifted(parts: Iterator[Decoded], positions: int, offset: int) -> Iterator[Decoded]:
    """Yield what was decoded of the rest of a delivery, of which so many records and bytes came before."""
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
