"""`ndjson`: the canonical record as one JSON object a line, under the names of docs/FIELDS.md.

Texts and times are strings; an identifier may be a whole number too. Figures are whole numbers or their text, and a
field with a larger unit (`duration_s`) may have a fraction. `null` and an absent name mean the same. A record that
names what is no field is refused; what is kept of it is the known part, since the rest may be content. A line that is
no JSON object is refused, and nothing of it is kept. A delivery whose first record has no `record_key` gets keys from
its rows.

A large block of lines that look like its first one (the same names in the same order, no escapes) is walked by compiled
kernels (`csv_walk`). Another one without faults is parsed by Arrow, with a schema made from its first line; any other
one line by line. All three bring the same.

Source: RFC 8259; https://github.com/ndjson/ndjson-spec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, ClassVar, Final, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json

from ingest.decoders.base import CHUNK_ROWS, RECORD_BYTES_MAX, Decoded
from ingest.decoders.canonical.columns import FIGURES, Assembler, InputColumn, input_columns
from ingest.decoders.canonical.lines import BLOCK_BYTES as PARSED_BYTES
from ingest.decoders.canonical.lines import RawLines, lines_are_short, no_records, overlong
from ingest.decoders.csv_walk import Walker
from ingest.decoders.padded import Padded, read_padded
from ingest.decoders.slices import Lines, is_utf8
from ingest.source_config import SourceConfig
from schemas.buffers import Column, Ints
from schemas.fields import BY_NAME, INPUT_ALIASES, STORE_FIELDS, Kind
from schemas.rejects import Reject, RejectReason

BLOCK_BYTES: Final = 16 << 20
"""How much is read at once and walked."""

NAMES: Final = tuple(name for name in (*BY_NAME, *INPUT_ALIASES) if name not in STORE_FIELDS)

_COLUMNS: Final[dict[str, InputColumn]] = {name: input_columns([name])[0] for name in NAMES}
_OPEN, _CLOSE = 0x7B, 0x7D
_FIRST_LINE_BYTES: Final = 1 << 16
_MEMBER: Final = re.compile(rb'([ \t]*[{,][ \t]*"([a-z_0-9]+)"[ \t]*:[ \t]*)("[^"\\]*"|[-a-z0-9]+)')
_END: Final = re.compile(rb"[ \t]*\}[ \t]*")


class CanonicalNdjson:
    """One JSON object per line."""

    name: ClassVar = "ndjson"
    summary: ClassVar = "canonical record as one JSON object per line"
    zoned: ClassVar = True
    options: ClassVar = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the records in order, a block at a time.

        Raises:
            InputError: the stream is UTF-16.
        """
        reader = _Reader(source)
        for block in read_padded(stream, block_bytes=BLOCK_BYTES):
            yield from reader.decode(block)


class _Reader:
    """One delivery on its way; remembers the number of records so far."""

    def __init__(self, source: SourceConfig) -> None:
        self._source = source
        self._records = 0
        self._assembler: Assembler | None = None

    def decode(self, block: Padded) -> Iterator[Decoded]:
        """Yield the records of a block."""
        if block.overlong_bytes:
            self._records += 1
            yield overlong(block, self._records)
            return
        shape = _shape(block.head(_FIRST_LINE_BYTES).partition(b"\n")[0])
        if shape is not None:
            columns = [_COLUMNS[name] for name in shape[0]]
            walker = Walker(columns, self._source.zone, shape[1])
            assembler = self._assembling("record_key" in shape[0])
            walked = walker.walk(block) if assembler.keyed and walker.takes(block) else None
            if walked is not None:
                first = self._records + 1
                for part in walked:
                    yield self._assembled(assembler, columns, part.columns, part.rows, RawLines(block, first))
                return
        for piece in block.pieces(PARSED_BYTES):
            yield from self._parsed(piece)

    def _assembling(self, keyed: bool) -> Assembler:
        """Return the delivery's assembler; its first record tells whether records have keys."""
        if self._assembler is None:
            self._assembler = Assembler(self._source, keyed=keyed)
        return self._assembler

    def _assembled(
        self, assembler: Assembler, columns: list[InputColumn], arrays: Sequence[Any], rows: int, raw: RawLines
    ) -> Decoded:
        positions = np.arange(self._records + 1, self._records + 1 + rows, dtype=np.int64)
        self._records += rows
        made, faults = assembler.assemble(columns, arrays, positions)
        return Decoded(made, faults.rejects(positions, raw), raw)

    def _parsed(self, block: Padded) -> Iterator[Decoded]:
        """Yield the records of a block, parsed by Arrow or line by line."""
        lines = Lines(block.data)
        lines.select(~lines.blank())
        if not len(lines):
            return
        first = self._records + 1
        assembler = self._assembling("record_key" in (_first_object(lines) or {"record_key": None}))
        table = _parse_clean(block.data, lines)
        if table is None:
            self._records += len(lines)
            positions = np.arange(first, first + len(lines), dtype=np.int64)
            for start in range(0, len(lines), CHUNK_ROWS):
                yield _slow(assembler, block, lines, start, positions)
            return
        columns = [_COLUMNS[name] for name in table.column_names]
        yield self._assembled(assembler, columns, table.columns, len(lines), RawLines(block, first))


def _shape(line: bytes) -> tuple[list[str], list[bytes]] | None:
    """Return a line's names, and what stands between its values; None when it is no plain object of known fields."""
    names, between, at = [], [], 0
    while member := _MEMBER.match(line, at):
        names.append(member[2].decode())
        between.append(member[1])
        at = member.end()
    end = line[at:].removesuffix(b"\r")
    if not names or _END.fullmatch(end) is None or not all(name in _COLUMNS for name in names):
        return None
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    return (names, [*between, end]) if list(value) == names else None


def _first_object(lines: Lines) -> dict[str, Any] | None:
    try:
        value = orjson.loads(lines.line(0))
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _parse_clean(data: bytes, lines: Lines) -> pa.Table | None:
    """Parse a block as it is; None when something about it needs a closer look."""
    first = _first_object(lines)
    if (
        first is None
        or b"\0" in data
        or b"\\u0000" in data
        or not lines_are_short(data)
        or not (data.isascii() or is_utf8(data))
    ):
        return None
    # Arrow also takes objects side by side, or over several lines: then lines would not be records.
    if (lines.bytes[lines.starts] != _OPEN).any() or (lines.bytes[lines.ends - 1] != _CLOSE).any():
        return None
    kinds = {name: _arrow_type(_COLUMNS[name], value) for name, value in first.items() if name in _COLUMNS}
    options = pa.json.ParseOptions(
        explicit_schema=pa.schema(list(kinds.items())), newlines_in_values=False, unexpected_field_behavior="error"
    )
    read = pa.json.ReadOptions(use_threads=False, block_size=len(data) + 1)
    source: Any = pa.BufferReader(data)
    try:
        table = pa.json.read_json(source, read, options)
    except pa.ArrowInvalid:
        return None
    return table if table.num_rows == len(lines) else None


def _arrow_type(column: InputColumn, value: Any) -> pa.DataType:
    """Return the type in which Arrow reads a column, from its value in the first line."""
    if column.kind is Kind.FLAG and isinstance(value, bool):
        return pa.bool_()
    whole = isinstance(value, int) and not isinstance(value, bool)
    figure = column.kind in FIGURES and (value is None or whole)
    return pa.int64() if figure or (whole and column.kind is Kind.IDENTIFIER) else pa.string()


class _Row(NamedTuple):
    """A parsed line: its values as texts, or why it is refused; `known` is what may be kept of it."""

    values: dict[str, str]
    reason: RejectReason | None = None
    field: str | None = None
    known: bytes | None = None


def _slow(assembler: Assembler, block: Padded, lines: Lines, start: int, positions: Ints) -> Decoded:
    """Read a stretch of lines one by one."""
    stop = min(start + CHUNK_ROWS, len(lines))
    rejects: list[Reject] = []
    rows: list[_Row] = []
    for index in range(start, stop):
        line = lines.line(index)
        row = _read(line)
        rows.append(row)
        if row.reason is not None:
            at = block.offset + int(lines.starts[index])
            rejects.append(Reject(int(positions[index]), row.reason, row.field, at, len(line), row.known))
    good = [index for index, row in enumerate(rows) if row.reason is None]
    if not good:
        return Decoded(no_records(), rejects)
    names = [name for name in NAMES if any(name in rows[index].values for index in good)]
    arrays: list[Column] = [pa.array([rows[index].values.get(name) for index in good], pa.string()) for name in names]
    places = positions[start:stop][good]
    own = RawLines(block, int(positions[0]))
    made, faults = assembler.assemble([_COLUMNS[name] for name in names], arrays, places)
    rejects += faults.rejects(places, own)
    return Decoded(made, sorted(rejects, key=lambda reject: reject.position), own)


def _read(line: bytes) -> _Row:
    if len(line) > RECORD_BYTES_MAX:
        return _Row({}, RejectReason.TOO_LONG)
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _Row({}, RejectReason.MALFORMED if is_utf8(line) else RejectReason.ENCODING)
    if not isinstance(value, dict):
        return _Row({}, RejectReason.MALFORMED)
    values: dict[str, str] = {}
    fault: tuple[RejectReason, str | None] | None = None
    for name, item in value.items():
        column = _COLUMNS.get(name)
        if column is None:
            fault = fault or (RejectReason.UNSUPPORTED, None)
        elif item is not None:
            text = _text(column, item)
            if text is None:
                fault = fault or (RejectReason.BAD_FIELD, column.field.name)
            elif "\0" in text:
                fault = fault or (RejectReason.ENCODING, column.field.name)
            else:
                values[name] = text
    if fault is None:
        return _Row(values)
    known = {name: item for name, item in value.items() if name in _COLUMNS and not isinstance(item, dict | list)}
    return _Row({}, *fault, orjson.dumps(known))


def _text(column: InputColumn, item: Any) -> str | None:
    """Return a JSON value as the text that a CSV would have; None when the field takes no such value."""
    if isinstance(item, str):
        return item
    if isinstance(item, bool):
        return ("true" if item else "false") if column.kind is Kind.FLAG else None
    if isinstance(item, int):
        return str(item) if column.kind in (*FIGURES, Kind.IDENTIFIER) else None
    if isinstance(item, float):
        return f"{item:f}" if column.factor > 1 else None
    return None
