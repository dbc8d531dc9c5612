"""Places: batch, position and time of a record say much the same, so a part keeps little more than the time.

A delivery counts its records, mostly in the order of time. A part's batches are laid end to end in the order of their
first record: batch and position become one number, the *place*. A table of places at equal steps of time then foretells
every record's place, and the part keeps how far the foretelling was off: a few bits, where the count itself takes
twenty. Records in another order are off by more; then the place itself is kept. Either way nothing is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.buffers import STRETCH_ROWS
from store.encoding.packed_ints import packed_ints, unpacked_ints

Ints = npt.NDArray[np.int64]

ROWS_PER_STEP: Final = 256
"""The table has one entry for about so many records."""
ROWS_PER_STEP_LARGE: Final = 32
"""In a large part: there a finer table takes 0.04 bytes a record in the footer, and saves a bit and a half."""
ROWS_LARGE: Final = 262_144
BATCHES_PER_ROW_MAX: Final = 1 / 64
"""With more batches than that, their table outweighs what it saves."""
PLACE_MAX: Final = 2**31 - 1
TABLES: Final = ("numbers", "positions", "places", "keys")
_FRACTION_BITS: Final = 31
_SAMPLE: Final = 8_192
_TABLE_MAX: Final = 65_536


@dataclass(frozen=True, slots=True)
class Batches:
    """A part's batches in the order of their places: numbers, first positions, first places; and a key per batch."""

    numbers: Ints
    positions: Ints
    places: Ints
    keys: Ints
    """What the first record's key was ahead of its position: switches count their keys up, too."""
    ahead: Ints | int = 0
    """Where tables of several parts are one: what is added to the place of each record."""

    def as_dict(self) -> dict[str, Any]:
        """Return the table as JSON-ready data."""
        return {name: packed_ints(getattr(self, name)) for name in TABLES}

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Batches:
        """Read what `as_dict` wrote."""
        return cls(*(unpacked_ints(data[name]) for name in TABLES))


@dataclass(frozen=True, slots=True)
class Timetable:
    """Places at equal steps of time: `table[k]` belongs to the time `origin_us + (k << shift)`."""

    origin_us: Any
    shift: Any
    table: Ints
    last: Any = None
    """Where tables of several parts are one, and the others are told for each record: its table's last step."""
    begin: Any = 0
    """Where tables of several parts are one: where each record's begins."""

    def foretell(self, start_us: Ints) -> Ints:
        """Return the place at which a record of each time is expected."""
        if self.last is not None:
            return self._foretell(start_us)
        result = np.empty(len(start_us), np.int64)
        for at in range(0, len(result), STRETCH_ROWS):
            result[at : at + STRETCH_ROWS] = self._foretell(start_us[at : at + STRETCH_ROWS])
        return result

    def _foretell(self, start_us: Ints) -> Ints:
        last = len(self.table) - 2 if self.last is None else self.last
        ahead = np.clip(start_us - self.origin_us, 0, ((last + 1) << self.shift) - 1)
        step = ahead >> self.shift
        low = self.table[self.begin + step]
        cut = np.maximum(self.shift - _FRACTION_BITS, 0)
        fraction = (ahead & ((1 << self.shift) - 1)) >> cut
        result: Ints = low + (((self.table[self.begin + step + 1] - low) * fraction) >> (self.shift - cut))
        return result

    def as_dict(self) -> dict[str, Any]:
        """Return the table as JSON-ready data."""
        return {"origin_us": self.origin_us, "shift": self.shift, "table": packed_ints(self.table)}

    @classmethod
    def parse(cls, data: dict[str, Any]) -> Timetable:
        """Read what `as_dict` wrote."""
        return cls(data["origin_us"], data["shift"], unpacked_ints(data["table"]))


def lay(positions: Ints, batches: Ints | None, keys: Ints, start_us: Ints) -> tuple[Ints, Batches] | None:
    """Return every record's place and the table of batches; None where the places would not be worth it.

    `batches` is None when the catalog knows the one batch of the part.
    """
    if batches is None:
        first = int(positions.argmin())
        base = int(positions[first])
        if int(positions.max()) - base > PLACE_MAX:
            return None
        zero = np.zeros(1, np.int64)
        return positions - base, Batches(zero, zero + base, zero, zero + _ahead(keys, positions, first))
    numbers, codes = _coded(batches)
    if len(numbers) > len(positions) * BATCHES_PER_ROW_MAX:
        return None
    low, high = _extremes(positions, codes, len(numbers))
    begun, _ = _extremes(start_us, codes, len(numbers))
    order = np.argsort(begun, kind="stable")
    sizes = [int(high[at]) - int(low[at]) + 1 for at in order]
    if sum(sizes) > PLACE_MAX:
        return None
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    codes = rank[codes]
    places = np.concatenate([[0], np.cumsum(sizes[:-1])]).astype(np.int64)
    some = np.zeros(len(order), np.int64)
    some[codes] = np.arange(len(codes))
    ahead = keys[some] - positions[some]
    return positions - low[order][codes] + places[codes], Batches(numbers[order], low[order], places, ahead)


def _ahead(keys: Ints, positions: Ints, row: int) -> np.int64:
    ahead: Ints = keys[row : row + 1] - positions[row : row + 1]  # arrays wrap around in silence
    return np.int64(ahead[0])


def batch_of(places: Ints, batches: Batches) -> Ints:
    """Return the index in `batches` of the batch in which each place lies."""
    if len(batches.numbers) == 1:
        return np.zeros(len(places), np.int64)
    return np.searchsorted(batches.places, places + batches.ahead, side="right").astype(np.int64) - 1


def position_of(places: Ints, batches: Batches, index: Ints) -> Ints:
    """Return the positions within their batches."""
    result: Ints = places + batches.ahead - batches.places[index] + batches.positions[index]
    return result


def timetable(start_us: Ints, places: Ints) -> Timetable:
    """Return a timetable of records in any order."""
    some = start_us[:: max(len(start_us) // _SAMPLE, 1)]
    origin, newest = (int(value) for value in np.quantile(some, (0.0005, 0.9995), method="nearest"))
    steps = max(len(places) // (ROWS_PER_STEP if len(places) <= ROWS_LARGE else ROWS_PER_STEP_LARGE), 1)
    shift = max((newest - origin) // steps, 1).bit_length() - 1
    count = ((newest - origin) >> shift) + 1
    step = np.clip(start_us - origin, 0, (count << shift) - 1) >> shift
    table = np.full(count + 1, PLACE_MAX + 1, np.int64)
    np.minimum.at(table, step, places)
    table[count] = int(places.max()) + 1
    table = np.minimum.accumulate(table[::-1])[::-1]  # a step without records begins where the next one does
    return Timetable(origin, shift, np.ascontiguousarray(table))


def _coded(values: Ints) -> tuple[Ints, Ints]:
    """Return the distinct values, sorted, and which each is: by a table where they lie together."""
    low = int(values.min())
    if int(values.max()) - low >= _TABLE_MAX:
        numbers, codes = np.unique(values, return_inverse=True)
        return numbers, codes
    used = np.bincount(values - low) > 0
    return np.flatnonzero(used) + low, (np.cumsum(used) - 1)[values - low]


def _extremes(values: Ints, codes: Ints, count: int) -> tuple[Ints, Ints]:
    low = np.full(count, np.iinfo(np.int64).max)
    high = np.full(count, np.iinfo(np.int64).min)
    np.minimum.at(low, codes, values)
    np.maximum.at(high, codes, values)
    return low, high
