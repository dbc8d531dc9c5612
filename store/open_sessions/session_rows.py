"""What is known of open sessions as sealed bytes, a session each, and back into columns. Pure.

    rank (1 byte), number of columns (1), a code for each (1)      whose word counted, and which columns have a value
    values of fixed width, lengths of marks and texts (4 each)     in the order of the codes, little endian
    marks (8 each), texts (UTF-8)

A column's code is twice its field's number, plus one for a field's second column. Rows with the same columns are
written and read together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED
from schemas.buffers import Column
from schemas.fields import FIELDS

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

MARKS: Final = "marks"
"""The column of the marks of the events that were taken in: list<uint64>, sorted."""
RANKS: Final = "rank"
"""The column of the best among the events so far (`store.open_sessions.folding.RANK`)."""
OWN: Final = (MARKS, RANKS)

_FIELDS: Final = frozenset(field.name for field in FIELDS)
_NAMES: Final = {
    int((column.metadata or {})[b"field"]) * 2 + (column.name not in _FIELDS): column.name for column in PACKED
}
_CODES: Final = {name: code for code, name in _NAMES.items()}

Bytes = npt.NDArray[np.uint8]


def encode(table: pa.Table) -> list[bytes]:
    """Return each row as bytes; of its columns those of packed records count, `marks` and `rank`."""
    rows = table.num_rows
    names = [name for name in PACKED.names if name in table.column_names]
    valid = np.zeros((rows, len(names)), np.bool_)
    for place, name in enumerate(names):
        valid[:, place] = np.asarray(table.column(name).is_valid())
    shapes, shape_of = np.unique(np.packbits(valid, axis=1), axis=0, return_inverse=True)
    found: list[bytes] = [b""] * rows
    for shape in range(len(shapes)):
        where = np.flatnonzero(shape_of.reshape(-1) == shape)
        present = [name for name, there in zip(names, valid[where[0]], strict=True) if there]
        for place, data in zip(where.tolist(), _encode_alike(table.take(where), present), strict=True):
            found[place] = data
    return found


def decode(blobs: Sequence[bytes]) -> pa.Table:
    """Return the rows of `encode` with `marks` and `rank`; labels are plain texts."""
    shapes: dict[bytes, list[int]] = {}
    for place, blob in enumerate(blobs):
        shapes.setdefault(blob[2 : 2 + blob[1]], []).append(place)
    tables = [_decode_alike(codes, [blobs[place] for place in where]) for codes, where in shapes.items()]
    if not tables:
        return pa.table({MARKS: pa.array([], pa.list_(pa.uint64())), RANKS: pa.array([], pa.int8())})
    if len(tables) == 1:
        return tables[0]
    order = np.argsort(np.concatenate([np.array(where) for where in shapes.values()]))
    return pa.concat_tables(tables, promote_options="default").take(order)


def _encode_alike(table: pa.Table, names: Sequence[str]) -> list[bytes]:
    """Return rows as bytes that all have a value in each of these columns."""
    rows = table.num_rows
    marks: Any = table.column(MARKS).combine_chunks()
    counts = np.asarray(pc.list_value_length(marks)).astype(np.int64)
    fixed = [np.asarray(table.column(RANKS)).astype(np.uint8).reshape(rows, 1)]
    fixed.append(np.tile(np.frombuffer(bytes([len(names), *(_CODES[name] for name in names)]), np.uint8), (rows, 1)))
    fixed += [_octets(table.column(name), name) for name in names if _width(name)]
    texts = [_one(table.column(name).cast(pa.string())) for name in names if not _width(name)]
    lengths = np.stack([counts * 8, *(np.asarray(pc.binary_length(text)) for text in texts)], axis=1)
    fixed.append(lengths.astype("<u4").view(np.uint8))
    heads = np.ascontiguousarray(np.concatenate(fixed, axis=1))
    width, plain = heads.shape[1], heads.tobytes()
    values = np.asarray(marks.flatten()).astype("<u8").tobytes()
    ends = (np.cumsum(counts) * 8).tolist()
    tails = pc.binary_join_element_wise(*texts, "").to_pylist() if texts else [""] * rows
    return [
        plain[row * width : (row + 1) * width] + values[begin:end] + tail.encode()
        for row, (begin, end, tail) in enumerate(zip([0, *ends], ends, tails, strict=False))
    ]


def _decode_alike(codes: bytes, blobs: Sequence[bytes]) -> pa.Table:
    names = [_NAMES[code] for code in codes]
    rows, texts = len(blobs), [name for name in names if not _width(name)]
    head, many = 2 + len(codes), 1 + len(texts)
    width = head + sum(map(_width, names)) + 4 * many
    heads = np.frombuffer(b"".join(blob[:width] for blob in blobs), np.uint8).reshape(rows, width)
    columns: dict[str, Column] = {}
    at = head
    for name in names:
        if size := _width(name):
            columns[name] = _values(np.ascontiguousarray(heads[:, at : at + size]), name)
            at += size
    lengths = np.ascontiguousarray(heads[:, at:]).view("<u4").astype(np.int64).reshape(-1)
    data = b"".join(blob[width:] for blob in blobs)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    pieces: Any = pa.Array.from_buffers(
        pa.large_binary(), len(lengths), [None, pa.py_buffer(offsets.tobytes()), pa.py_buffer(data)]
    )
    every = np.arange(rows) * many
    for place, name in enumerate(texts, 1):
        columns[name] = pieces.take(pa.array(every + place)).cast(pa.large_string()).cast(pa.string())
    values = b"".join(pieces.take(pa.array(every)).to_pylist())
    ends = np.concatenate([[0], np.cumsum(lengths[::many] // 8)]).astype(np.int32)
    marks: Any = pa.array(np.frombuffer(values, "<u8").astype(np.uint64))
    columns[MARKS] = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), marks)
    columns[RANKS] = pa.array(heads[:, 0].astype(np.int8))
    return pa.table(columns)


def _width(name: str) -> int:
    """Return how many bytes a value has; 0 for texts."""
    kind = PACKED.field(name).type
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind):
        return 0
    return 1 if pa.types.is_boolean(kind) else int(kind.bit_width) // 8


def _octets(column: Column, name: str) -> Bytes:
    """Return the values of a column without nulls, a row each."""
    kind: Any = PACKED.field(name).type
    array = _one(column.cast(kind))
    if pa.types.is_fixed_size_binary(kind):
        return np.frombuffer(b"".join(array.to_pylist()), np.uint8).reshape(len(array), _width(name))
    if pa.types.is_timestamp(kind):
        array = array.view(pa.int64())
    numbers: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(numbers).view(np.uint8).reshape(len(array), _width(name))


def _values(octets: Bytes, name: str) -> Column:
    kind: Any = PACKED.field(name).type
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([row.tobytes() for row in octets], kind)
    if pa.types.is_boolean(kind):
        return pa.array(octets.reshape(-1).astype(np.bool_))
    if pa.types.is_timestamp(kind):
        return pa.array(octets.view(np.int64).reshape(-1)).view(kind)
    return pa.array(octets.view(kind.to_pandas_dtype()).reshape(-1))


def _one(column: Column) -> Column:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
