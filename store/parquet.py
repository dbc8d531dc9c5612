"""The one module that writes and opens encrypted Parquet.

A file's key is derived from its partition's key and its own id, so one key encrypts one file; the AAD binds store,
partition, file and role, so two files swapped, or moved to another store, do not authenticate.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption

from schemas.arrow import PACKED
from schemas.errors import IntegrityError
from store import files
from store.binding import FileBinding
from store.encoding.columns import Encoding, Stored
from store.encoding.packed_ints import packed_ints, unpacked_ints
from store.reading.page_layout import Paging
from store.reading.pages import PageFile
from store.syncing import Syncs

pe: Any = pyarrow.parquet.encryption  # its stubs lack the direct interface
python_file: Any = pa.PythonFile  # its stub asks for more than it uses

_PURPOSE: Final = "parquet-file"
ROW_GROUP_ROWS: Final = 131_072
COMPRESSION: Final = "zstd"
COMPRESSION_LEVEL: Final = 1
_PAGES_KEY: Final = "lagrum.pages"
_WRITE_BYTES: Final = 1 << 20
"""Pages are handed on together: each alone would wait for the interpreter, which other threads need meanwhile."""
_MAGIC_BYTES: Final = 4
_LENGTH: Final = struct.Struct("<I")
_LENGTH_BYTES: Final = _LENGTH.size
_FEW_ROWS: Final = 16
_EMPTY_BYTES: Final = 300
"""What a file of one column takes without its values, about."""


def write(path: Path, table: pa.Table, binding: FileBinding, partition_key: bytes) -> tuple[int, str]:
    """Write `table` as it is; see `write_stored`. Labels are dictionaries, integers and times are delta-encoded."""
    encodings = {name: _encoding(table.schema.field(name)) for name in table.schema.names}
    return write_stored(path, Stored(table, encodings, ROW_GROUP_ROWS, {}), binding, partition_key)


def write_stored(
    path: Path, stored: Stored, binding: FileBinding, partition_key: bytes, syncs: Syncs | None = None
) -> tuple[int, str]:
    """Write stored columns encrypted and durable; return the file's size in bytes and the SHA-256 of its ciphertext.

    With `syncs` the file is durable when these are finished. It is not visible to anybody until the catalog says so;
    its directory is made durable by the committer.
    """
    with PartFile(path, stored, binding, partition_key, syncs) as file:
        file.write(stored.table)
        file.describe(stored.metadata)
    return file.size_bytes, file.sha256


class PartFile:
    """An encrypted file that is being written, row group by row group; durable when its context is left in peace.

    The digest is made of the bytes on their way, so the file is not read again.
    """

    def __init__(
        self, path: Path, first: Stored, binding: FileBinding, partition_key: bytes, syncs: Syncs | None = None
    ) -> None:
        """Make the file; `first` gives the schema and the encodings. With `syncs` it is durable once they are."""
        self._syncs = syncs
        self.size_bytes = 0
        self.sha256 = ""
        self._path, self._group_rows = path, first.row_group_rows
        self._page_rows, self._halved = first.page_rows, first.halved
        self._properties = pe.create_encryption_properties(
            binding.key(partition_key, _PURPOSE), aad_prefix=binding.aad, store_aad_prefix=False
        )
        self._schema = first.table.schema
        self._options = _options(first.encodings) | first.paging

    def __enter__(self) -> PartFile:
        files.create_private(self._path)
        self._sink = _Sink(self._path)
        self._buffered = pa.BufferedOutputStream(python_file(self._sink, mode="w"), _WRITE_BYTES)
        self._writer = pq.ParquetWriter(
            self._buffered,
            self._schema,
            encryption_properties=self._properties,
            **self._options,
        )
        return self

    def write(self, table: pa.Table) -> None:
        """Write records; every call begins a row group."""
        self._writer.write_table(table, row_group_size=self._group_rows)

    def describe(self, metadata: Mapping[str, str]) -> None:
        """Put metadata into the footer: when all records are written, for where their pages lie goes with it."""
        if self._page_rows:
            self._buffered.flush()
            told: dict[str, Any] = {"rows": self._page_rows, "bytes": packed_ints(self._sink.pages.sizes)}
            told |= {"halved": self._halved} if self._halved else {}
            metadata = {**metadata, _PAGES_KEY: json.dumps(told, separators=(",", ":"))}
        if metadata:
            self._writer.add_key_value_metadata(dict(metadata))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
        finally:
            try:
                self._buffered.close()
            finally:
                self._sink.close()
        self.size_bytes, self.sha256 = self._sink.size_bytes, self._sink.digest.hexdigest()
        if kind is None:
            (files.fsync_path if self._syncs is None else self._syncs.add)(self._path)


class _Pages:
    """Follows an encrypted file while it is written: behind its magic, each page has two modules, each its length."""

    def __init__(self) -> None:
        self._modules: list[int] = []
        self._left, self._cut = _MAGIC_BYTES, b""

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Bytes of each page."""
        pages = len(self._modules) // 2
        modules = np.array(self._modules[: 2 * pages], np.int64)
        return modules[::2] + modules[1::2]

    def see(self, data: memoryview) -> None:
        """See the next bytes, however they are cut."""
        if self._cut:  # within a length
            data = memoryview(self._cut + bytes(data))
        at, end = self._left, len(data)
        while at + _LENGTH_BYTES <= end:
            size = _LENGTH_BYTES + _LENGTH.unpack_from(data, at)[0]
            self._modules.append(size)
            at += size
        self._cut = bytes(data[at:])
        self._left = max(at - end, 0)


class _Sink:
    """A file that digests what is written to it."""

    def __init__(self, path: Path) -> None:
        self._stream: BinaryIO = path.open("r+b")
        self.digest = hashlib.sha256()
        self.pages = _Pages()
        self.size_bytes = 0

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.digest.update(view)
        self.pages.see(view)
        self._stream.write(view)
        self.size_bytes += len(view)
        return len(view)

    def tell(self) -> int:
        return self.size_bytes

    def flush(self) -> None:
        """Leave what was written to the system; the file is synced when it is whole."""

    def close(self) -> None:
        self._stream.close()


def size_of(array: Any, encoding: str, codec: str) -> int:
    """Return the bytes that an array takes in an encoding and codec: what a choice between forms tries."""
    sink = pa.BufferOutputStream()
    table = pa.table({"x": array})
    with pq.ParquetWriter(sink, table.schema, **_options({"x": Encoding(encoding, codec)})) as writer:
        writer.write_table(table)
    return sink.getvalue().size - _EMPTY_BYTES


def _options(encodings: Mapping[str, Encoding]) -> dict[str, Any]:
    compressions = {name: item.codec for name, item in encodings.items()}
    return {
        "compression": compressions,
        "compression_level": {n: COMPRESSION_LEVEL for n, codec in compressions.items() if codec == COMPRESSION},
        "use_dictionary": [name for name, item in encodings.items() if item.dictionary],
        "column_encoding": {name: item.encoding for name, item in encodings.items() if not item.dictionary},
        "write_statistics": False,
        "store_schema": False,
    }


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes (ciphertext), in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_file(path: Path, binding: FileBinding, partition_key: bytes) -> pq.ParquetFile:
    """Open an encrypted file.

    Raises:
        IntegrityError: it is missing, is not the file that the catalog means, or its footer does not authenticate.
    """
    properties = pe.create_decryption_properties(binding.key(partition_key, _PURPOSE), aad_prefix=binding.aad)
    try:
        return pq.ParquetFile(path, decryption_properties=properties, memory_map=False)
    except FileNotFoundError as error:
        raise IntegrityError(f"{binding} is missing") from error
    except MemoryError:
        raise  # it says nothing of the file
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"{binding} does not authenticate") from error


def pages_of(path: Path, file: pq.ParquetFile, binding: FileBinding, partition_key: bytes) -> PageFile:
    """Return the single pages of an open file."""
    told = (file.metadata.metadata or {}).get(_PAGES_KEY.encode())
    paging = None
    if told is not None:
        data = json.loads(told)
        ends = np.cumsum(unpacked_ints(data["bytes"])) + _MAGIC_BYTES
        paging = Paging(int(data["rows"]), np.concatenate([[_MAGIC_BYTES], ends]), data.get("halved", {}))
    return PageFile(path, file.metadata, file.schema_arrow, binding, binding.key(partition_key, _PURPOSE), paging)


def read_groups(file: pq.ParquetFile, groups: list[int], columns: list[str] | None, binding: FileBinding) -> pa.Table:
    """Read row groups of an open file; labels come back as dictionaries.

    Raises:
        IntegrityError: a page does not authenticate.
    """
    try:
        return file.read_row_groups(groups, columns=columns, use_threads=False)
    except MemoryError:
        raise  # it says nothing of the file
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"{binding} does not authenticate") from error


def group_bounds(file: pq.ParquetFile, column: str) -> Iterator[tuple[Any, Any] | None]:
    """Yield (min, max) of `column` for each row group; None where the file keeps none."""
    names = [file.metadata.schema.column(index).name for index in range(len(file.metadata.schema))]
    if column not in names:
        for _ in range(file.metadata.num_row_groups):
            yield None
        return
    position = names.index(column)
    for group in range(file.metadata.num_row_groups):
        statistics = file.metadata.row_group(group).column(position).statistics
        yield (statistics.min, statistics.max) if statistics is not None and statistics.has_min_max else None


def conform(table: pa.Table, columns: list[str] | None = None) -> pa.Table:
    """Return `table` with the packed schema's types and order; columns that the part left out come back as nulls."""
    names = tuple(PACKED.names if columns is None else columns)
    schema, kinds = _schema(names)
    there = dict(zip(table.schema.names, table.columns, strict=True))
    few = _few_nulls(names, table.num_rows) if table.num_rows <= _FEW_ROWS else None
    arrays = []
    for at, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        column = there.get(name)
        if column is None:
            arrays.append(_nulls(table.num_rows, kind) if few is None else few[at])
        else:
            arrays.append(column if column.type == kind else column.cast(kind))
    return pa.table(arrays, schema=schema)


@lru_cache(maxsize=64)
def _schema(names: tuple[str, ...]) -> tuple[pa.Schema, Sequence[Any]]:
    schema = pa.schema([PACKED.field(name) for name in names])
    return schema, schema.types


@lru_cache(maxsize=256)
def _few_nulls(names: tuple[str, ...], rows: int) -> tuple[Any, ...]:
    return tuple(_nulls(rows, kind) for kind in _schema(names)[1])


def _nulls(rows: int, kind: Any) -> Any:
    make: Any = pa.nulls  # its stub does not know a type that is not known
    return pa.chunked_array([make(rows, kind)])


def _encoding(field: Any) -> Encoding:
    kind = field.type
    if pa.types.is_dictionary(kind):
        return Encoding(codec=COMPRESSION, dictionary=True)
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind):
        return Encoding("DELTA_BINARY_PACKED")
    if pa.types.is_string(kind):
        return Encoding("DELTA_LENGTH_BYTE_ARRAY", COMPRESSION)
    return Encoding()
