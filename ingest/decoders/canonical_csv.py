"""`csv`: the canonical record as comma-separated values.

The first line names the fields, in any order (docs/FIELDS.md); unknown names are refused. Then one record a line: a
value may stand in quotes, quotes in it are doubled, and a line end always ends the record, so that one unclosed quote
spoils one record and no more. An empty value is null. Times are RFC 3339 (`ingest.decoders.canonical_times`).
A delivery without `record_key` gets keys from its rows (`ingest.row_keys`). What is kept of a refused line is the line
under a header, a delivery by itself.

A block without faults is parsed by Arrow as it is. Anything strange in it sends the block down the slow road, which
looks at every line: what Arrow would choke on is refused line by line, the rest is parsed as texts, and values that do
not have their field's form refuse their own row.

Source: RFC 4180.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO, ClassVar, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from ingest.decoders.base import RECORD_BYTES_MAX, Decoded
from ingest.decoders.canonical_columns import FIGURES, Assembler, InputColumn, input_columns
from ingest.decoders.canonical_lines import BLOCK_BYTES, RawLines, lines_are_short, no_records, overlong
from ingest.decoders.quoting import field_counts, quote_faults
from ingest.decoders.slices import Block, Faults, Lines, read_blocks
from ingest.source import SourceConfig
from schemas.arrow import LABEL_TYPE, delivered_type
from schemas.buffers import Ints
from schemas.errors import InputError
from schemas.fields import Kind
from schemas.rejects import RejectReason

HEADER_BYTES_MAX: Final = 1 << 16

_RETURN: Final = 0x0D


class CanonicalCsv:
    """CSV with canonical names in its first line."""

    name: ClassVar = "csv"
    summary: ClassVar = "canonical record as CSV with a header line"
    zoned: ClassVar = True
    options: ClassVar = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the records in order, a block at a time.

        Raises:
            InputError: there is no header line, or it names what is no field.
        """
        reader: _Reader | None = None
        for block in read_blocks(stream, block_bytes=BLOCK_BYTES):
            if reader is None:
                if not block.data and not block.overlong_bytes:
                    return
                names, rest = _header(block)
                reader = _Reader(input_columns(names), source)
                decoded = reader.decode(rest)
            else:
                decoded = reader.decode(block)
            if decoded is not None:
                yield decoded


def _header(block: Block) -> tuple[list[str], Block]:
    """Return the names in the first line, and the block after it."""
    line, end, _ = block.data.partition(b"\n")
    if block.overlong_bytes or len(line) > HEADER_BYTES_MAX:
        raise InputError("the first line is too long to be a header", position=1)
    try:
        text = line.rstrip(b"\r").decode()
        (names,) = csv.reader([text], strict=True)
    except (ValueError, csv.Error) as error:
        raise InputError("the first line is no header", position=1, hint="it names the fields, with commas") from error
    size = len(line) + len(end)
    return [name.strip() for name in names], block._replace(data=block.data[size:], offset=block.offset + size)


class _Reader:
    """One delivery on its way; remembers the number of records so far."""

    def __init__(self, columns: list[InputColumn], source: SourceConfig) -> None:
        names = [column.name for column in columns]
        self._assembler = Assembler(source, keyed=any(column.field.name == "record_key" for column in columns))
        self._columns = columns
        self._records = 0
        self._names = names
        self._heading = ",".join(names).encode() + b"\n"
        self._typed = pa.csv.ConvertOptions(
            column_types={column.name: _csv_type(column) for column in columns},
            null_values=[""],
            strings_can_be_null=True,
        )
        self._texts = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True
        )

    def decode(self, block: Block) -> Decoded | None:
        """Return the records of a block; None when it has none."""
        if block.overlong_bytes:
            self._records += 1
            return overlong(block, self._records)
        if not block.data:
            return None
        table = self._parse_clean(block.data)
        return self._slow(block) if table is None else self._assembled(table, block)

    def _assembled(self, table: pa.Table, block: Block) -> Decoded | None:
        rows = table.num_rows
        if not rows:
            return None
        first = self._records + 1
        self._records += rows
        positions = np.arange(first, first + rows, dtype=np.int64)
        raw = RawLines(block.data, first, self._heading)
        made, faults = self._assembler.assemble(self._columns, table.columns, positions)
        return Decoded(made, faults.rejects(positions, raw), raw)

    def _parse_clean(self, data: bytes) -> pa.Table | None:
        """Parse a block as it is; None when something about it needs a closer look."""
        if b"\0" in data or not lines_are_short(data):
            return None
        quoted = b'"' in data
        if quoted and quote_faults(Lines(data)).any():
            return None
        try:
            table = self._parse(data, self._typed)
        except pa.ArrowInvalid:
            return None
        if (quoted or b"\r" in data) and table.num_rows != _count_lines(data):
            return None
        return table

    def _parse(self, data: bytes, options: pa.csv.ConvertOptions) -> pa.Table:
        read = pa.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self._names)
        source: Any = pa.py_buffer(data)
        return pa.csv.read_csv(source, read, pa.csv.ParseOptions(newlines_in_values=False), options)

    def _slow(self, block: Block) -> Decoded | None:
        lines = Lines(block.data)
        lines.select(~lines.blank())
        rows = len(lines)
        if not rows:
            return None
        positions = np.arange(self._records + 1, self._records + 1 + rows, dtype=np.int64)
        self._records += rows
        faults = self._line_faults(lines)
        good = np.flatnonzero(~faults.mask)
        raw = RawLines(block.data, int(positions[0]), self._heading)
        refused = [
            reject if reject.raw is None else replace(reject, raw=self._heading + reject.raw)
            for reject in faults.rejects(positions, lines, block.offset)
        ]
        if not len(good):
            return Decoded(no_records(), refused)
        table = self._parse_lines(lines, good)
        made, later = self._assembler.assemble(self._columns, table.columns, positions[good])
        rejects = refused + later.rejects(positions[good], raw)
        return Decoded(made, sorted(rejects, key=lambda reject: reject.position), raw)

    def _line_faults(self, lines: Lines) -> Faults:
        """Refuse the lines that cannot be parsed as one record each."""
        faults = Faults(len(lines))
        faults.add(lines.ends - lines.starts > RECORD_BYTES_MAX, RejectReason.TOO_LONG)
        faults.add(lines.encoding_faults(), RejectReason.ENCODING)
        faults.add(_count_in(lines, _RETURN) > 0, RejectReason.MALFORMED)
        width = len(self._columns)
        faults.add(quote_faults(lines), RejectReason.MALFORMED)
        faults.add(field_counts(lines) != width, RejectReason.COLUMN_COUNT)
        return faults

    def _parse_lines(self, lines: Lines, good: Ints) -> pa.Table:
        """Parse the good lines as texts; they are known to be one record each."""
        data = b"".join([lines.line(row) + b"\n" for row in good.tolist()])
        table = self._parse(data, self._texts)
        assert table.num_rows == len(good), "a line that was looked at is one record"
        return table


def _csv_type(column: InputColumn) -> pa.DataType:
    """Return the type in which Arrow parses a column fastest without losing anything."""
    if column.kind is Kind.LABEL:
        return LABEL_TYPE
    return delivered_type(column.field) if column.kind in FIGURES else pa.string()


def _count_lines(data: bytes) -> int:
    lines = Lines(data)
    return int((lines.ends > lines.starts).sum())


def _count_in(lines: Lines, byte: int) -> Ints:
    """Count a byte in each line."""
    places = np.flatnonzero(lines.bytes == byte)
    return np.searchsorted(places, lines.ends) - np.searchsorted(places, lines.starts)
