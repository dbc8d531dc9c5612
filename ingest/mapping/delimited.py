"""Delimited layouts: Arrow parses well-formed blocks, the line reader everything else.

* A block whose quotes stand where they should is cut into lines; if Arrow cannot take it as it is, each line is looked
  at by itself, so that one bad line costs one record.
* The first quote that is not at the edge of a value, or a value over several lines, sends the rest of the delivery
  down the exact road (`ingest.lines.read_records`), which knows values with line ends in them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from ingest.decoders.base import CHUNK_ROWS, RECORD_BYTES_MAX
from ingest.decoders.canonical.lines import BLOCK_BYTES, lines_are_short
from ingest.decoders.plain_rows import Rejoined
from ingest.decoders.quoting import quote_faults
from ingest.decoders.slices import UTF8_BOM, Block, Lines, read_blocks
from ingest.lines import Line, read_records
from ingest.mapping.controls import Controls, CountSoFar
from ingest.mapping.model import MappingFile
from ingest.mapping.stretch import Rows, Stretch, settled
from schemas.errors import InputError
from schemas.rejects import RejectReason

HEADER_BYTES_MAX: Final = 1 << 18


class DelimitedReader:
    """One delivery of a delimited layout."""

    def __init__(self, mapping: MappingFile, wanted: Sequence[str]) -> None:
        self._layout, self._wanted = mapping.layout, list(wanted)
        self._controls, self._count = Controls(mapping), CountSoFar()
        self._quote = self._layout.quote.encode()
        self._names: list[str] = list(self._layout.columns)
        self.is_headed = False
        self._places: list[int] = []
        self._dialect: dict[str, Any] = {"delimiter": self._layout.delimiter, "strict": True}
        if self._quote:
            self._dialect["quotechar"] = self._layout.quote
        else:
            self._dialect |= {"quoting": csv.QUOTE_NONE, "quotechar": None}

    def read(self, stream: BinaryIO) -> Iterator[Stretch]:
        """Yield the records in order, a block at a time.

        Raises:
            InputError: there is no header line, or it lacks a column that the mapping reads; a declared count is wrong.
        """
        blocks = read_blocks(stream, block_bytes=BLOCK_BYTES)
        first = True
        for found in blocks:
            block = self._begin(found) if first else found
            first = False
            if block.overlong_bytes:
                yield self._overlong(block)
            elif self._quote and self._quote in block.data and self._quotes_are_odd(block.data):
                yield from self._exactly(block, blocks)
                break
            else:
                for piece in self._controls.pieces(block, self._count) if self._controls.any else (block,):
                    yield self._block(piece)
        self._controls.end(self._count.records)
        self.is_headed |= self._controls.is_told

    def _begin(self, block: Block) -> Block:
        """Leave out the first lines, and take the names from the header line."""
        is_whole = block.data.endswith(b"\n")  # names without their line end may be cut off
        for _ in range(self._layout.skip_lines):
            line, block = _first_line(block)
        if self._layout.header:
            while True:
                line, block = _first_line(block)
                if not block.data and not line:
                    return block
                # Lines before the names may be comments and the header line that declares a count.
                if line.strip() and not self._controls.takes(line, 0):
                    break
            self._names = self._header(line)
            self.is_headed = is_whole
        self._places = [self._names.index(name) for name in self._wanted]
        return block

    def _header(self, line: bytes) -> list[str]:
        try:
            names = next(csv.reader([line.decode()], **self._dialect), [])
        except (ValueError, csv.Error) as error:
            raise InputError("the header line cannot be read", position=1) from error
        names = [name.strip() for name in names]
        for name in self._wanted:
            if names.count(name) != 1:
                problem = "lacks" if name not in names else "has twice"
                raise InputError(
                    f"the header line {problem} the column {name!r}, which the mapping reads",
                    hint="this is another layout; compare the delivery's first line with the mapping",
                )
        return names

    def _overlong(self, block: Block) -> Stretch:
        self._count.records += 1
        rows = Rows(self._wanted, self._layout)
        rows.refuse(self._count.records, RejectReason.TOO_LONG, block.offset, block.overlong_bytes)
        return rows.take()

    def _quotes_are_odd(self, data: bytes) -> bool:
        lines = Lines(data)
        return bool(quote_faults(lines, ord(self._layout.delimiter), self._quote[0]).any())

    def _block(self, block: Block) -> Stretch:
        lines = Lines(block.data)
        lines.select(~lines.blank())
        table = self._parse_clean(block.data, len(lines)) if len(lines) else None
        if table is None:
            return self._line_by_line(block, lines)
        first = self._count.records + 1
        self._count.records += table.num_rows
        positions = np.arange(first, first + table.num_rows, dtype=np.int64)
        columns = {name: table.column(str(place)) for name, place in zip(self._wanted, self._places, strict=True)}
        flat = {name: column.combine_chunks() for name, column in columns.items()}
        if self._layout.trim:
            flat = {name: settled(column, self._layout) for name, column in flat.items()}
        return Stretch(flat, positions, [])

    def _parse_clean(self, data: bytes, records: int) -> pa.Table | None:
        """Parse a block as it is; None when something about it needs a closer look."""
        if b"\0" in data or not lines_are_short(data):
            return None
        # Columns are known by their place: a header may name one twice that nobody reads.
        names = [str(place) for place in range(len(self._names))]
        chosen = [str(place) for place in sorted(set(self._places))]
        read = pa.csv.ReadOptions(use_threads=False, block_size=len(data) + len(UTF8_BOM) + 1, column_names=names)
        parse = pa.csv.ParseOptions(
            delimiter=self._layout.delimiter, quote_char=self._layout.quote or False, newlines_in_values=False
        )
        convert = pa.csv.ConvertOptions(
            column_types=dict.fromkeys(chosen, pa.string()),
            include_columns=chosen or names[:1],
            null_values=sorted(self._layout.nulls),
            strings_can_be_null=True,
        )
        marked = data.startswith(UTF8_BOM)  # one at the beginning of any block is skipped; here it is part of a value
        source: Any = pa.py_buffer(UTF8_BOM + data if marked else data)
        try:
            table = pa.csv.read_csv(source, read, parse, convert)
        except pa.ArrowInvalid:
            return None
        return table if table.num_rows == records else None

    def _line_by_line(self, block: Block, lines: Lines) -> Stretch:
        rows = Rows(self._wanted, self._layout)
        for index in range(len(lines)):
            offset = None if block.offset < 0 else block.offset + int(lines.starts[index])
            self._one(rows, lines.line(index), offset)
        return rows.take()

    def _exactly(self, block: Block, rest: Iterator[Block]) -> Iterator[Stretch]:
        """Read the rest of the delivery record by record."""
        stream: Any = io.BufferedReader(Rejoined(block, rest))
        rows = Rows(self._wanted, self._layout)
        for record in read_records(stream, self._reads, quote=self._quote, begins=False):
            if record.reason is None and self._controls.takes(record.data, self._count.records):
                continue
            self._record(rows, record, block.offset)
            if len(rows) >= CHUNK_ROWS:
                yield rows.take()
        yield rows.take()

    def _record(self, rows: Rows, record: Line, base: int) -> None:
        offset = base + record.offset
        if record.reason is None:
            self._one(rows, record.data, offset)
        else:
            self._count.records += 1
            rows.refuse(self._count.records, record.reason, offset, record.length_bytes)

    def _reads(self, data: bytes) -> bool:
        return isinstance(self._split(data), list)

    def _one(self, rows: Rows, data: bytes, offset: int | None) -> None:
        self._count.records += 1
        found = self._split(data)
        if isinstance(found, list):
            rows.add(self._count.records, [found[place] for place in self._places])
        else:
            rows.refuse(self._count.records, found, offset, len(data))

    def _split(self, data: bytes) -> list[str] | RejectReason:
        """Return the values of one record, or why it is refused."""
        if len(data) > RECORD_BYTES_MAX:
            return RejectReason.TOO_LONG
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return RejectReason.ENCODING
        if "\0" in text:
            return RejectReason.ENCODING
        try:
            (values,) = csv.reader([text], **self._dialect)
        except (csv.Error, ValueError):
            return RejectReason.MALFORMED
        return values if len(values) == len(self._names) else RejectReason.COLUMN_COUNT


def _first_line(block: Block) -> tuple[bytes, Block]:
    if block.overlong_bytes:
        raise InputError("the first line is too long", position=1)
    line, end, rest = block.data.partition(b"\n")
    if len(line) > HEADER_BYTES_MAX:
        raise InputError("the first line is too long", position=1)
    return line.rstrip(b"\r"), block._replace(data=rest, offset=block.offset + len(line) + len(end))
