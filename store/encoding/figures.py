"""Columns as integers: what the forms of `store.encoding.forms` are made of, and back without loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.arrow import LABEL_TYPE
from schemas.buffers import Column, flat, valid_mask, values_int64

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Figures:
    """The values of a column; where `valid` is given, a row that is not valid is null and its value is 0."""

    values: Ints
    valid: Mask | None = None

    def __len__(self) -> int:
        """Return the rows."""
        return len(self.values)

    def slice(self, start: int, stop: int) -> Figures:
        """Return a stretch of rows."""
        return Figures(self.values[start:stop], None if self.valid is None else self.valid[start:stop])

    @property
    def span(self) -> tuple[int, int]:
        """The lowest and the highest value, nulls left aside."""
        values = self.values if self.valid is None else self.values[self.valid]
        return (int(values.min()), int(values.max())) if len(values) else (0, 0)


def is_figures(kind: Any) -> bool:
    """Tell whether a column of this type is kept as integers; labels are, by their codes."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_timestamp(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_dictionary(kind)
    )


def of(column: Column) -> Figures:
    """Return a column of integers, times or flags as figures."""
    array = flat(column)
    valid = valid_mask(array) if array.null_count else None
    kind = array.type
    if pa.types.is_boolean(kind) and valid is None and array.true_count in (0, len(array)):
        return Figures(np.broadcast_to(np.int64(array.true_count > 0), len(array)))
    if kind == pa.int64() or pa.types.is_timestamp(kind):
        values = values_int64(array)
    else:
        filled = array.fill_null(False if pa.types.is_boolean(kind) else 0) if array.null_count else array
        values = filled.to_numpy(zero_copy_only=False).astype(np.int64)
    return Figures(values if valid is None else np.where(valid, values, 0), valid)


def of_labels(column: Column) -> tuple[Figures, list[str]]:
    """Return a column of labels as codes and the labels that occur, in the order of their codes."""
    array = flat(column)
    if not isinstance(array, pa.DictionaryArray):
        array = array.dictionary_encode()
    valid = valid_mask(array) if array.null_count else None
    if valid is None and len(array.dictionary) == 1:
        return Figures(np.broadcast_to(np.int64(0), len(array))), array.dictionary.to_pylist()
    indices = array.indices.fill_null(0) if array.null_count else array.indices
    codes = indices.to_numpy(zero_copy_only=False)
    used = np.sort(array.indices.drop_null().unique().to_numpy())
    labels: list[str] = array.dictionary.take(pa.array(used)).to_pylist()
    if len(used) < len(array.dictionary):
        place = np.zeros(len(array.dictionary), np.int64)
        place[used] = np.arange(len(used))
        codes = place[codes]
    values = codes.astype(np.int64, copy=False)
    return Figures(values if valid is None else np.where(valid, values, 0), valid), labels


def restore(figures: Figures, kind: Any, labels: Sequence[str] | None = None) -> Column:
    """Return figures as a column of the packed schema's type."""
    mask = None if figures.valid is None else ~figures.valid
    if labels is not None:
        return pa.DictionaryArray.from_arrays(
            pa.array(figures.values.astype(np.int32), pa.int32(), mask=mask), pa.array(labels, LABEL_TYPE.value_type)
        )
    if pa.types.is_boolean(kind):
        return pa.array(figures.values != 0, pa.bool_(), mask=mask)
    if pa.types.is_timestamp(kind):
        return pa.array(figures.values, pa.int64(), mask=mask).view(kind)
    return pa.array(figures.values.astype(kind.to_pandas_dtype(), copy=False), kind, mask=mask)
