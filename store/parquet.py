"""The one module that writes and opens encrypted Parquet.

A file's key is derived from its partition's key and its own id, so one key encrypts one file; the AAD binds store,
partition, file and role, so two files swapped, or moved to another store, do not authenticate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pyarrow.parquet.encryption

from schemas.arrow import PACKED
from schemas.errors import IntegrityError
from schemas.fields import FIELDS, Kind
from store import files
from store.binding import FileBinding

pe: Any = pyarrow.parquet.encryption  # its stubs lack the direct interface

_PURPOSE: Final = "parquet-file"
ROW_GROUP_ROWS: Final = 131_072
COMPRESSION: Final = "zstd"
COMPRESSION_LEVEL: Final = 1
_REPEATED: Final = frozenset(field.name for field in FIELDS if field.kind is Kind.IDENTIFIER or field.kind is Kind.FLAG)


def write(path: Path, table: pa.Table, binding: FileBinding, partition_key: bytes) -> tuple[int, str]:
    """Write `table` encrypted and durable; return its size in bytes and the SHA-256 of its ciphertext.

    The file is not visible to anybody until the catalog says so; its directory is made durable by the committer.
    """
    properties = pe.create_encryption_properties(
        binding.key(partition_key, _PURPOSE), aad_prefix=binding.aad, store_aad_prefix=False
    )
    labels = [name for name in table.schema.names if pa.types.is_dictionary(table.schema.field(name).type)]
    encodings = {name: encoding for name in table.schema.names if (encoding := _encoding(table.schema.field(name)))}
    compressions: Any = {name: _compression(table.schema.field(name)) for name in table.schema.names}
    levels = {name: COMPRESSION_LEVEL for name, codec in compressions.items() if codec == COMPRESSION}
    files.create_private(path)
    with (
        pa.OSFile(str(path), "wb") as sink,
        pq.ParquetWriter(
            sink,
            table.schema,
            compression=compressions,
            compression_level=levels,
            use_dictionary=labels,  # type: ignore[arg-type]
            column_encoding=encodings,
            encryption_properties=properties,
            write_statistics=True,
        ) as writer,
    ):
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    files.fsync_path(path)
    return path.stat().st_size, digest(path)


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
    except (OSError, pa.ArrowException) as error:
        raise IntegrityError(f"{binding} does not authenticate") from error


def read_groups(file: pq.ParquetFile, groups: list[int], columns: list[str] | None, binding: FileBinding) -> pa.Table:
    """Read row groups of an open file; labels come back as dictionaries.

    Raises:
        IntegrityError: a page does not authenticate.
    """
    try:
        return file.read_row_groups(groups, columns=columns, use_threads=False)
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
    wanted = PACKED.names if columns is None else columns
    arrays = []
    for name in wanted:
        kind = PACKED.field(name).type
        if name in table.schema.names:
            column = table.column(name)
            arrays.append(column if column.type == kind else column.cast(kind))
        else:
            arrays.append(pa.chunked_array([pa.nulls(table.num_rows, kind)]))
    return pa.table(arrays, schema=pa.schema([PACKED.field(name) for name in wanted]))


def _compression(field: Any) -> str:
    """Return a column's codec: delta-encoded measures have nothing left to squeeze, repeated identifiers have."""
    squeezable = pa.types.is_string(field.type) or pa.types.is_binary(field.type) or pa.types.is_dictionary(field.type)
    return COMPRESSION if squeezable or field.name in _REPEATED else "none"


def _encoding(field: Any) -> str | None:
    kind = field.type
    if pa.types.is_dictionary(kind) or pa.types.is_boolean(kind):
        return None
    if pa.types.is_integer(kind) or pa.types.is_timestamp(kind):
        return "DELTA_BINARY_PACKED"
    if pa.types.is_string(kind):
        return "DELTA_LENGTH_BYTE_ARRAY"
    return "PLAIN"
