"""Columns of a block's plain rows, read from where their values lie: as texts, or at once as what they stand for.

Numbers, labels, times and UUIDs are read by compiled loops over slices (`slice_kernels`), so that most values are never
copied as texts. A column with doubled quotes, too many labels or a value of another form is read as texts, its twin.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ingest.decoders import slices
from ingest.decoders.slices import Column, Flags, compute, empty_to_null, gather
from ingest.times import LocalTimes, ZoneTimes
from schemas.arrow import TIME_TYPE
from schemas.buffers import Bytes, Ints
from store import native

_KERNELS: Final = "ingest.decoders.slice_kernels"
_PAD_BYTES: Final = 64


class Slices(NamedTuple):
    """Where the values of a column lie; `doubled` tells whether some hold doubled quotes."""

    starts: Ints
    ends: Ints
    doubled: bool


class PlainColumns(Mapping[str, Column]):
    """Texts by the name of their column; one without slices is empty in every row."""

    def __init__(self, data: bytes, rows: int, places: Mapping[str, Slices | None]) -> None:
        self.rows = rows
        self._data, self._places = data, places
        self._texts: dict[str, Column] = {}
        self._labels: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        """Return a column of texts."""
        if name not in self._texts:
            self._texts[name] = self._text(self._places[name])
        return self._texts[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the columns' names."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return how many columns there are."""
        return len(self._places)

    def has(self, name: str) -> bool:
        """Tell whether rows have the column."""
        return self._places[name] is not None

    def given(self, name: str) -> Column:
        """Return a column of texts, null for empty ones."""
        return empty_to_null(self[name]) if self.has(name) else pa.nulls(self.rows, pa.string())

    def identifiers(self, name: str) -> dict[str, Column]:
        """Return the columns that identifiers are packed in, as normalising takes them: digits, and other texts."""
        found = self._read(name)
        if found is None:
            return {name: self.given(name)}
        packed, kinds = np.empty(self.rows, np.int64), np.empty(self.rows, np.uint8)
        others = self._kernels.identifiers(self._base, *found, packed, kinds)
        if others == self.rows:
            return {name: self.given(name)}
        plain = kinds == self._kernels.PLAIN
        columns = {name: pa.array(packed, mask=None if plain.all() else ~plain)}
        if others:
            starts = np.where(kinds == self._kernels.OTHER, found[0], -1)
            columns[name + "_text"] = gather(self._bytes, starts, found[1])
        return columns

    def figures(self, name: str, digits_max: int) -> tuple[Column, Flags]:
        """Do as `slices.figures`."""
        found = self._read(name)
        if found is None:
            return slices.figures(self[name], digits_max)
        values, kinds = np.empty(self.rows, np.int64), np.empty(self.rows, np.uint8)
        self._kernels.figures(self._base, *found, digits_max, values, kinds)
        plain = kinds == self._kernels.PLAIN
        return pa.array(values, mask=None if plain.all() else ~plain), kinds == self._kernels.OTHER

    def labels(self, name: str) -> Column:
        """Return texts as a dictionary, null for empty ones."""
        if name not in self._labels:
            self._labels[name] = self._encoded(name)
        return self._labels[name]

    def _encoded(self, name: str) -> Column:
        found = self._read(name)
        if found is not None:
            kernels = self._kernels
            codes, slots = np.empty(self.rows, np.int32), np.zeros((1, kernels.PLACES), np.int16)
            keys, places = np.empty((1, kernels.WORDS, 2), np.uint64), np.zeros((1, kernels.WORDS + 1, 2), np.int64)
            count = kernels.labels(self._base, *found, codes, slots, keys, places)
            if count >= 0:
                starts = np.ascontiguousarray(places[0, :count, 0])
                words = gather(self._bytes, starts, starts + places[0, :count, 1])
                absent = codes < 0
                indices: Any = pa.array(codes, mask=absent if absent.any() else None)
                return pa.DictionaryArray.from_arrays(indices, words)
        return self.given(name).dictionary_encode()

    def times(self, name: str, zone: ZoneTimes) -> LocalTimes:
        """Do as `ZoneTimes.convert_column`; an empty text is no time."""
        found = self._read(name)
        if found is not None and zone.is_iso:
            kernels = self._kernels
            hours = np.empty(kernels.HOURS_MAX, np.int64)
            places, seconds = np.empty(self.rows, np.int64), np.empty(self.rows, np.int64)
            kinds = np.empty(self.rows, np.uint8)
            count = kernels.stamps(self._base, *found, hours, places, seconds, kinds)
            known = None if count < 0 or (kinds == kernels.OTHER).any() else zone.hours(hours[:count])
            if known is not None:
                absent = kinds == kernels.EMPTY
                mask = absent if absent.any() else None
                began, offsets = known if count else (np.zeros(1, np.int64), np.zeros(1, np.int32))
                times = (began[places] + seconds) * 1_000_000
                return LocalTimes(
                    pa.array(times, mask=mask).view(TIME_TYPE),
                    pa.array(offsets[places], mask=mask),
                    pa.array(np.zeros(self.rows, np.bool_), mask=mask),
                    np.zeros(self.rows, np.bool_),
                )
        return zone.convert_column(self.given(name))

    def uuids(self, name: str, pattern: str) -> tuple[Column, Flags]:
        """Return UUIDs in small letters, and which rows have one; the others' texts say nothing."""
        found = self._read(name)
        if found is None:
            lower = compute.ascii_lower(self[name])
            return lower, np.asarray(compute.match_substring_regex(lower, f"^{pattern}$"))
        size = self._kernels.UUID_BYTES
        text, good = np.empty(self.rows * size, np.uint8), np.empty(self.rows, np.bool_)
        self._kernels.uuids(self._base, *found, int(text.ctypes.data), good)
        offsets: Any = np.arange(0, (self.rows + 1) * size, size, dtype=np.int32)
        return pa.StringArray.from_buffers(self.rows, _buffer(offsets), _buffer(text)), good

    def _text(self, place: Slices | None) -> Column:
        if place is None:
            return pa.repeat("", self.rows)
        column = gather(self._bytes, place.starts, place.ends)
        return compute.replace_substring(column, '""', '"') if place.doubled else column

    def _read(self, name: str) -> tuple[Ints, Ints] | None:
        """Return where values lie that compiled loops may read."""
        place = self._places[name]
        return None if place is None or place.doubled or not self.rows else (place.starts, place.ends)

    @cached_property
    def _kernels(self) -> Any:
        return native.load(_KERNELS)

    @cached_property
    def _bytes(self) -> Bytes:
        """The block, with padding around it."""
        memory = np.zeros(len(self._data) + 2 * _PAD_BYTES, np.uint8)
        block = memory[_PAD_BYTES:-_PAD_BYTES]
        block[:] = np.frombuffer(self._data, np.uint8)
        return block

    @property
    def _base(self) -> int:
        return int(self._bytes.ctypes.data)


def figures_of(columns: Mapping[str, Column], name: str, digits_max: int) -> tuple[Column, Flags]:
    """Do as `slices.figures` with a column, wherever its values lie."""
    if isinstance(columns, PlainColumns):
        return columns.figures(name, digits_max)
    return slices.figures(columns[name], digits_max)


def encoded(columns: Mapping[str, Column], name: str) -> Column:
    """Return a column's texts as a dictionary, wherever its values lie; an empty text is one, or null."""
    return columns.labels(name) if isinstance(columns, PlainColumns) else columns[name].dictionary_encode()


def _buffer(values: Any) -> pa.Buffer:
    return pa.py_buffer(values)
