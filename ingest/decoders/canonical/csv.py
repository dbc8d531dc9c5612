"""`csv`: the canonical record as comma-separated values.

The first line names the fields, in any order (docs/FIELDS.md); unknown names are refused. Then one record a line: a
value may stand in quotes, quotes in it are doubled, and a line end always ends the record, so that one unclosed quote
spoils one record and no more. An empty value is null. Times are RFC 3339 (`ingest.decoders.canonical.times`).
A delivery without `record_key` gets keys from its rows (`ingest.row_keys`). What is kept of a refused line is the line
under a header, a delivery by itself.

Three roads, which all bring the same. A large block of plain fields is walked by compiled kernels (`csv_walk`). What
they do not take (quotes, a small block, a delivery without keys) is parsed by Arrow as it is. What Arrow does not take
either is looked at line by line: what it would choke on is refused, the rest is parsed as texts. On every road values
that do not have their field's form refuse their own row.

Source: RFC 4180.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, ClassVar, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from ingest.decoders.base import RECORD_BYTES_MAX, Decoded, or_nothing
from ingest.decoders.canonical.columns import Assembler, InputColumn, input_columns
from ingest.decoders.canonical.lines import BLOCK_BYTES as PARSED_BYTES
from ingest.decoders.canonical.lines import RawLines, lines_are_short, no_records, overlong
from ingest.decoders.csv_walk import Walker
from ingest.decoders.padded import Padded, read_padded
from ingest.decoders.quoting import field_counts, quote_faults
from ingest.decoders.slices import UTF8_BOM, Faults, Lines
from ingest.source_config import SourceConfig
from schemas.arrow import LABEL_TYPE
from schemas.buffers import Ints
from schemas.errors import InputError
from schemas.fields import Kind
from schemas.rejects import RejectReason

BLOCK_BYTES: Final = 16 << 20
"""How much is read at once and walked, some 100 000 records: the fewer blocks, the less is done in Python."""

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
        delivery = _Delivery()
        return or_nothing(delivery.decode(stream, source), lambda: delivery.is_headed)


class _Delivery:
    """One delivery; `is_headed` tells whether it has a whole header line under which records can be."""

    is_headed = False

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the records in order, a block at a time."""
        reader: _Reader | None = None
        for block in read_padded(stream, block_bytes=BLOCK_BYTES):
            if reader is None:
                if not block.size and not block.overlong_bytes:
                    return
                names, rest = _header(block)
                columns = input_columns(names)
                # A header line without its end may be cut off; under one without a start there never is a record.
                self.is_headed = block.terminated and any(column.field.name == "start_time" for column in columns)
                reader = _Reader(columns, source)
                yield from reader.decode(rest)
            else:
                yield from reader.decode(block)


def _header(block: Padded) -> tuple[list[str], Padded]:
    """Return the names in the first line, and the block after it."""
    line, end, _ = block.head(HEADER_BYTES_MAX + 1).partition(b"\n")
    if block.overlong_bytes or len(line) > HEADER_BYTES_MAX:
        raise InputError("the first line is too long to be a header", position=1)
    try:
        text = line.rstrip(b"\r").decode()
        (names,) = csv.reader([text], strict=True)
    except (ValueError, csv.Error) as error:
        raise InputError("the first line is no header", position=1, hint="it names the fields, with commas") from error
    return [name.strip() for name in names], block.behind(len(line) + len(end))


class _Reader:
    """One delivery on its way; remembers the number of records so far."""

    def __init__(self, columns: list[InputColumn], source: SourceConfig) -> None:
        names = [column.name for column in columns]
        keyed = any(column.field.name == "record_key" for column in columns)
        self._assembler = Assembler(source, keyed=keyed)
        self._walker = Walker(columns, source.zone) if keyed else None  # keys are made from texts
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

    def decode(self, block: Padded) -> Iterator[Decoded]:
        """Yield the records of a block."""
        if block.overlong_bytes:
            self._records += 1
            yield overlong(block, self._records)
            return
        if not block.size:
            return
        walker = self._walker
        walked = walker.walk(block) if walker is not None and walker.takes(block) else None
        if walked is not None:
            first = self._records + 1
            for part in walked:
                yield self._assembled(part.columns, part.rows, block, first)
            return
        for piece in block.pieces(PARSED_BYTES):
            table = self._parse_clean(piece.data)
            if table is None:
                decoded = self._slow(piece)
                if decoded is not None:
                    yield decoded
            elif table.num_rows:
                yield self._assembled(table.columns, table.num_rows, piece, self._records + 1)

    def _assembled(self, columns: Sequence[Any], rows: int, block: Padded, first: int) -> Decoded:
        """Return the next rows of a block; `first` is the position of the block's first row."""
        positions = np.arange(self._records + 1, self._records + 1 + rows, dtype=np.int64)
        self._records += rows
        raw = RawLines(block, first, self._heading)
        made, faults = self._assembler.assemble(self._columns, columns, positions)
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
        if data.startswith(UTF8_BOM):  # one that stands before the first value is skipped
            data = UTF8_BOM + data
        read = pa.csv.ReadOptions(use_threads=False, block_size=len(data) + 1, column_names=self._names)
        source: Any = pa.py_buffer(data)
        return pa.csv.read_csv(source, read, pa.csv.ParseOptions(newlines_in_values=False), options)

    def _slow(self, block: Padded) -> Decoded | None:
        lines = Lines(block.data)
        lines.select(~lines.blank())
        rows = len(lines)
        if not rows:
            return None
        positions = np.arange(self._records + 1, self._records + 1 + rows, dtype=np.int64)
        self._records += rows
        faults = self._line_faults(lines)
        good = np.flatnonzero(~faults.mask)
        raw = RawLines(block, int(positions[0]), self._heading)
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
    """Return the type in which Arrow parses a column; figures are texts: Arrow trims, and takes hexadecimal."""
    return LABEL_TYPE if column.kind is Kind.LABEL else pa.string()


def _count_lines(data: bytes) -> int:
    lines = Lines(data)
    return int((lines.ends > lines.starts).sum())


def _count_in(lines: Lines, byte: int) -> Ints:
    """Count a byte in each line."""
    places = np.flatnonzero(lines.bytes == byte)
    return np.searchsorted(places, lines.ends) - np.searchsorted(places, lines.starts)
