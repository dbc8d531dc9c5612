"""`arrow` and `parquet`: canonical records in columns, under the names of docs/FIELDS.md.

Columns may be text (plain, large, view or dictionary), whole numbers for identifiers and figures, and timestamps of any
unit; a timestamp without zone is local in the source's zone. A table that says `lagrum.schema_version` in its metadata
has packed columns (`schemas.packing`), and is unpacked first; any other table's whole numbers are plain digits.
A delivery without `record_key` gets keys from its rows.

`arrow` takes the stream and the file format. Both are read as a stream, so nothing is spooled; both must come to their
end mark, so a truncated delivery is refused. Parquet has its table of contents at the end: a stream that cannot seek is
held in memory, up to `PARQUET_BYTES_MAX`.

What is kept of a refused record is a line of the format named by `replay_format`.

Source: Arrow columnar format, "IPC Streaming Format" and "IPC File Format".
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from ingest.decoders.base import CHUNK_ROWS, Decoded, nothing
from ingest.decoders.canonical.columns import FIGURES, Assembler, InputColumn, input_columns
from ingest.source_config import SourceConfig
from schemas.arrow import PACKED
from schemas.buffers import Column, as_text, flat, pc
from schemas.errors import InputError
from schemas.fields import Kind
from schemas.packing import unpack_table

PARQUET_BYTES_MAX: Final = 512 << 20
"""Largest Parquet delivery that is held in memory."""

BATCH_BYTES_MAX: Final = 1 << 30
"""Largest record batch of an Arrow delivery."""

PIECE_BYTES_MAX: Final = 256 << 20
"""Most text in so many records as are handed over at once."""

_FILE_MAGIC: Final = b"ARROW1"
_STREAM_END: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_SPOOL_BYTES: Final = 4 << 20


# What Arrow raises for damaged bytes; its own errors are not all of it (names and zones that are not UTF-8, lengths).
_DAMAGE: Final = (pa.ArrowException, OSError, OverflowError, MemoryError, ValueError, TypeError, KeyError)


class _Tail(io.RawIOBase):
    """Passes a stream on and remembers its last bytes; `head` was read already and comes first."""

    def __init__(self, stream: BinaryIO, head: bytes = b"") -> None:
        self._stream = stream
        self._head = head
        self.last = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        data, self._head = (self._head[:size], self._head[size:]) if self._head else (self._stream.read(size), b"")
        buffer[: len(data)] = data
        self.last = (self.last + data[-16:])[-16:]
        return len(data)


class _Bounded(io.BufferedReader):
    """Reads in full, since Arrow takes a short read for the end; and never what no honest batch has."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > BATCH_BYTES_MAX:
            raise InputError("a record batch is too large", hint="write batches of up to a million rows")
        return super().read(size)


class CanonicalArrow:
    """Arrow IPC, stream or file."""

    name: ClassVar = "arrow"
    summary: ClassVar = "canonical record as Arrow IPC, stream or file"
    zoned: ClassVar = True
    options: ClassVar = ()
    replay_format: ClassVar = "ndjson"

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the records in order.

        Raises:
            InputError: it is no Arrow IPC, is damaged or truncated, or has columns that are no fields.
        """
        head = _read_exactly(stream, 8)
        if not head:
            return
        is_file = head.startswith(_FILE_MAGIC)
        tail = _Tail(stream, b"" if is_file else head)  # behind its magic, a file is a stream and a footer
        end_mark = _FILE_MAGIC if is_file else _STREAM_END
        yield from _Columns(source).decoded(_ipc_tables(tail, end_mark))


def _ipc_tables(tail: _Tail, end_mark: bytes) -> Iterator[pa.Table]:
    buffered = _Bounded(tail, _SPOOL_BYTES)
    try:
        with pa.ipc.open_stream(pa.PythonFile(buffered, "r")) as reader:
            _read_names(reader.schema)
            for batch in reader:
                # Before anything else is asked of it: offsets that point elsewhere, texts that are not UTF-8.
                batch.validate(full=True)
                if batch.nbytes > BATCH_BYTES_MAX:
                    raise InputError("a record batch is too large", hint="write batches of up to a million rows")
                yield pa.Table.from_batches([batch])
            yield reader.schema.empty_table()
        behind = 0
        while rest := buffered.read(_SPOOL_BYTES):
            behind += len(rest)
    except _DAMAGE as error:
        raise InputError("the delivery is no Arrow IPC, or is damaged") from error
    if not tail.last.endswith(end_mark):
        raise InputError("the delivery is truncated: its end mark is missing")
    if behind > _behind_batches(tail.last, end_mark):
        raise InputError("the delivery goes on behind its end mark", hint="deliver each Arrow file by itself")


def _behind_batches(last: bytes, end_mark: bytes) -> int:
    """Return how many bytes follow the batches at most: a file's footer, its length and the magic; of a stream none."""
    if end_mark != _FILE_MAGIC:
        return 0
    size = last[-len(_FILE_MAGIC) - 4 : -len(_FILE_MAGIC)]
    return int.from_bytes(size, "little") + len(size) + len(_FILE_MAGIC) + len(_STREAM_END)


def _read_names(schema: pa.Schema) -> None:
    """Read every name and zone once, here where damage is expected: Arrow decodes them when they are asked for."""
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        _ = field.name, kind.tz if pa.types.is_timestamp(kind) else None


class CanonicalParquet:
    """Parquet."""

    name: ClassVar = "parquet"
    summary: ClassVar = "canonical record as Parquet"
    zoned: ClassVar = True
    options: ClassVar = ()
    replay_format: ClassVar = "ndjson"

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the records in order.

        Raises:
            InputError: it is no Parquet, is damaged, truncated or too large, or has columns that are no fields.
        """
        if stream.seekable():
            if not stream.read(1):
                return
            stream.seek(0)
            yield from _Columns(source).decoded(_parquet_tables(stream))
            return
        held = _spooled(stream)
        if held.size:
            yield from _Columns(source).decoded(_parquet_tables(pa.BufferReader(held)))


def _parquet_tables(source: Any) -> Iterator[pa.Table]:
    try:
        texts = _text_columns(source)
        with pq.ParquetFile(source, pre_buffer=False, read_dictionary=texts) as file:
            metadata = file.schema_arrow.metadata
            _read_names(file.schema_arrow)
            for batch in file.iter_batches(batch_size=CHUNK_ROWS, use_threads=False):
                batch.validate(full=True)
                yield pa.Table.from_batches([batch]).replace_schema_metadata(metadata)
            yield file.schema_arrow.empty_table()
    except _DAMAGE as error:
        raise InputError("the delivery is no Parquet, or is damaged or truncated") from error


def _text_columns(source: Any) -> list[str]:
    """Return the columns of texts, after a look at the sizes that the file declares.

    Texts are read as dictionaries, for one long text in the file may stand in every row.
    """
    file = pq.ParquetFile(source, pre_buffer=False)
    for number in range(file.metadata.num_row_groups):
        if file.metadata.row_group(number).total_byte_size > BATCH_BYTES_MAX:
            raise InputError("a row group is too large", hint="write row groups of up to a million rows")
    _read_names(file.schema_arrow)
    return [field.name for field in file.schema_arrow if field.type in (pa.string(), pa.large_string())]


def _spooled(stream: BinaryIO) -> pa.Buffer:
    """Hold a stream in memory, up to the limit."""
    sink = pa.BufferOutputStream()
    size = 0
    while piece := stream.read(_SPOOL_BYTES):
        size += len(piece)
        if size > PARQUET_BYTES_MAX:
            limit = PARQUET_BYTES_MAX >> 20
            raise InputError(f"the Parquet delivery is larger than {limit} MiB", hint="deliver smaller files")
        sink.write(piece)
    return sink.getvalue()


def _read_exactly(stream: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := stream.read(size - len(data))):
        data += piece
    return data


@dataclass(frozen=True, slots=True)
class _RawRows:
    """Writes records as NDJSON lines that are refused after decoding; `first` is the position of the first row."""

    table: pa.Table
    first: int

    def __call__(self, positions: Sequence[int]) -> Sequence[bytes | None]:
        columns = {name: self.table.column(name) for name in self.table.column_names}
        return [
            orjson.dumps({name: _plain(column[position - self.first]) for name, column in columns.items()}, default=str)
            for position in positions
        ]


def _plain(value: Any) -> Any:
    """Return a value of Arrow as JSON knows it; a time that no calendar has as its number."""
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        return str(value.value)


class _Columns:
    """One delivery of columns on its way."""

    def __init__(self, source: SourceConfig) -> None:
        self._source = source
        self._records = 0
        self._assembler: Assembler | None = None

    def decoded(self, tables: Iterator[pa.Table]) -> Iterator[Decoded]:
        """Yield the records of the tables in pieces of a bounded size."""
        for table in tables:
            if b"lagrum.schema_version" in (table.schema.metadata or {}):
                table = unpack_table(_check_packed(table))  # noqa: PLW2901 (the same table in another shape)
            columns = input_columns(table.column_names)
            for number, (column, field) in enumerate(zip(columns, table.schema, strict=True), start=1):
                _check_type(number, column, field.type)
            if self._assembler is None:
                keyed = any(column.field.name == "record_key" for column in columns)
                self._assembler = Assembler(self._source, keyed=keyed)
            for start in range(0, table.num_rows, CHUNK_ROWS):
                yield self._piece(self._assembler, columns, table.slice(start, CHUNK_ROWS))
        if not self._records:  # a schema of the record's fields, or it would not have come here
            yield nothing()

    def _piece(self, assembler: Assembler, columns: list[InputColumn], table: pa.Table) -> Decoded:
        first = self._records + 1
        self._records += table.num_rows
        positions = np.arange(first, self._records + 1, dtype=np.int64)
        if sum(_expanded_bytes(column) for column in table.columns) > PIECE_BYTES_MAX:
            raise InputError("texts of the delivery are too long", position=first)
        raw = _RawRows(table, first)
        made, faults = assembler.assemble(columns, table.columns, positions)
        return Decoded(made, faults.rejects(positions, raw), raw)


def _expanded_bytes(column: Column) -> int:
    """Return the bytes that the texts of a dictionary take when each row has its own; 0 for other columns."""
    array = flat(column)
    if not isinstance(array, pa.DictionaryArray) or not len(array.dictionary):
        return 0
    lengths = pc.binary_length(as_text(array.dictionary))
    return pc.sum(lengths.take(array.indices)).as_py() or 0


def _check_packed(table: pa.Table) -> pa.Table:
    """Refuse a table that says it is packed, and has columns that are not."""
    for number, field in enumerate(table.schema, start=1):
        place = PACKED.get_field_index(field.name)
        if place < 0 or field.type != PACKED.field(place).type:
            raise InputError(f"column {number} is no column of packed records", position=1)
    return table


def _check_type(number: int, column: InputColumn, kind: pa.DataType) -> None:
    """Refuse a column of a type from which its field cannot be read."""
    types = pa.types
    if types.is_dictionary(kind):
        kind = kind.value_type
    fine = types.is_null(kind) or types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    if column.kind in (Kind.IDENTIFIER, *FIGURES):
        fine = fine or types.is_integer(kind)
    elif column.kind is Kind.TIME:
        fine = fine or types.is_timestamp(kind)
    elif column.kind is Kind.FLAG:
        fine = fine or types.is_boolean(kind)
    if not fine:
        raise InputError(f"column {number} ({column.name}) has a type that its field does not take", position=1)
