"""Arrow text columns as numpy views: offsets and bytes, without a copy.

Working rule of all vectorised code here: a stretch of `STRETCH_ROWS` rows keeps its temporaries in the cache; a
longer one spends more time on page faults than on arithmetic.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute
"""The compute functions, untyped: their stubs refuse nulls, scalars and mixed arguments, which the library takes."""

STRETCH_ROWS: Final = 16_384

Column: TypeAlias = Any
"""A pa.Array or pa.ChunkedArray; untyped for the same reason."""
Mask: TypeAlias = "npt.NDArray[np.bool_]"
Bytes: TypeAlias = "npt.NDArray[np.uint8]"
Ints: TypeAlias = "npt.NDArray[np.int64]"


def tell_absent(name: str) -> None:
    """Let imports of a module fail at once where it is not installed; one that is installed, or loaded, is left alone.

    Who asks for an absent module has every folder looked through, each time.
    """
    modules: dict[str, Any] = sys.modules
    if name not in modules and importlib.util.find_spec(name) is None:
        modules[name] = None


tell_absent("dateutil")  # Arrow asks for it with each value whose type it infers: 50 µs instead of 8


def flat(column: Column) -> Column:
    """Return the column as one array."""
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks == 0:
            return pa.nulls(0, column.type)
        return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.unify_dictionaries().chunks)
    return column


def as_text(column: Column) -> Column:
    """Return the column as one plain string array; dictionaries are decoded, a null column becomes null strings."""
    array = flat(column)
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    return array if array.type == pa.string() else array.cast(pa.string())


def text_views(array: Column) -> tuple[npt.NDArray[np.int32], Bytes]:
    """Return the offsets (rows + 1, starting at 0) and the bytes of a string array."""
    rows = len(array)
    buffers = array.buffers()
    if rows == 0 or buffers[1] is None:
        return np.zeros(rows + 1, np.int32), np.empty(0, np.uint8)
    offsets = np.frombuffer(buffers[1], np.int32, rows + 1, 4 * array.offset)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.empty(0, np.uint8)
    return (offsets - np.int32(first) if first else offsets), data[first:last]


def valid_mask(array: Column) -> Mask:
    """Return which rows are not null."""
    if array.null_count == 0:
        return np.ones(len(array), np.bool_)
    return np.asarray(pc.is_valid(array).to_numpy(zero_copy_only=False), np.bool_)


def values_int64(array: Column) -> Ints:
    """Return the 64-bit values of an integer or time array, without a copy; null rows hold anything."""
    buffer = array.buffers()[1]
    if buffer is None or len(array) == 0:
        return np.zeros(len(array), np.int64)
    return np.frombuffer(buffer, np.int64, len(array), 8 * array.offset)


def stretches(array: Column) -> Iterator[Column]:
    """Yield zero-copy slices of at most `STRETCH_ROWS` rows; an empty array yields itself."""
    for start in range(0, max(len(array), 1), STRETCH_ROWS):
        yield array.slice(start, STRETCH_ROWS)


def map_unique(array: Column, function: Callable[[str], Any], kind: pa.DataType) -> Column:
    """Apply a function of one text to every distinct value; nulls stay null."""
    encoded = array.dictionary_encode()
    values = pa.array([function(text) for text in encoded.dictionary.to_pylist()], kind)
    return values.take(encoded.indices)


def flags(rows: int, *, value: bool = False) -> Mask:
    """Return a mask of one value."""
    return np.full(rows, value, np.bool_)


def replaced(column: Column, rows: Ints, values: Column) -> Column:
    """Return a column with other values in some rows, which ascend."""
    if not len(rows):
        return column
    mask = flags(len(column))
    mask[rows] = True
    return pc.replace_with_mask(column, pa.array(mask), values.cast(column.type))
