"""Merging sorted parts as a stream: row group by row group, so memory does not grow with the partition.

Every part is sorted by calling party and start, so the records of all parts up to the nearest end of what is read can
be handed on: nothing that comes later sorts before them. What comes out is cut into stretches, each of a range of
parties of its own: the parts of a merged partition do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from store.part_reader import PartReader

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

FAN_IN_MAX: Final = 32
"""So many parts are merged at once; each has a row group or two in memory."""
NO_PARTY: Final = 0
"""Records without a calling party of digits sort first."""

Ints = npt.NDArray[np.int64]
Prepare = Callable[[pa.Table], pa.Table]
"""What is done to the records of a part on their way: the batch is named, what is withdrawn is left out."""


class _Cursor:
    """One part on its way through a merge."""

    def __init__(self, reader: PartReader, prepare: Prepare) -> None:
        self._reader, self._prepare = reader, prepare
        self._group = 0
        self.table = pa.table({})
        self.parties: Ints = np.zeros(0, np.int64)
        self.starts: Ints = np.zeros(0, np.int64)

    def fill(self) -> bool:
        """Have records at hand; tell whether there are any."""
        while not len(self.parties) and self._group < self._reader.groups:
            self.table = self._prepare(self._reader.read([self._group])).combine_chunks()
            self._group += 1
            self.parties, self.starts = sort_keys(self.table)
        return len(self.parties) > 0

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after the records at hand."""
        return self._group >= self._reader.groups

    @property
    def end(self) -> tuple[int, int]:
        """Party and start of the last record at hand."""
        return int(self.parties[-1]), int(self.starts[-1])

    def take(self, upto: tuple[int, int] | None) -> pa.Table:
        """Hand on the records up to a party and start, or all at hand."""
        count = len(self.parties)
        if upto is not None:
            low, high = (int(np.searchsorted(self.parties, upto[0], side)) for side in ("left", "right"))
            count = low + int(np.searchsorted(self.starts[low:high], upto[1], "right"))
        taken = self.table.slice(0, count)
        self.table = self.table.slice(count)
        self.parties, self.starts = self.parties[count:], self.starts[count:]
        return taken


def merged(readers: Sequence[PartReader], prepares: Sequence[Prepare], rows_max: int) -> Iterator[pa.Table]:
    """Yield the records of sorted parts, in stretches of `rows_max` at most; no stretch overlaps the next.

    Within a stretch the records are in any order.

    Raises:
        IntegrityError: a part does not authenticate.
    """
    cursors = [_Cursor(reader, prepare) for reader, prepare in zip(readers, prepares, strict=True)]
    waiting: list[pa.Table] = []
    rows = 0
    while cursors := [cursor for cursor in cursors if cursor.fill()]:
        ends = [cursor.end for cursor in cursors if not cursor.is_last]
        upto = min(ends) if ends else None
        taken = pa.concat_tables([cursor.take(upto) for cursor in cursors], promote_options="default")
        if rows and rows + taken.num_rows > rows_max:
            yield pa.concat_tables(waiting, promote_options="default")
            waiting, rows = [], 0
        while taken.num_rows > rows_max:
            taken = in_order(taken)
            yield taken.slice(0, rows_max)
            taken = taken.slice(rows_max)
        waiting.append(taken)
        rows += taken.num_rows
    if rows:
        yield pa.concat_tables(waiting, promote_options="default")


def sort_keys(table: pa.Table) -> tuple[Ints, Ints]:
    """Return the calling parties and the starts by which parts are sorted."""
    starts = table.column("start_time").cast(pa.int64()).to_numpy()
    if "calling_number" not in table.column_names:
        return np.full(len(starts), NO_PARTY, np.int64), starts
    return pc.fill_null(table.column("calling_number"), NO_PARTY).to_numpy(), starts


def in_order(table: pa.Table) -> pa.Table:
    """Return records sorted by calling party and start."""
    parties, starts = sort_keys(table)
    order: Any = pa.array(np.lexsort((starts, parties)))
    return table.take(order)


def is_settled(readers: Sequence[PartReader], rows_max: int) -> bool:
    """Tell whether parts are as `merged` leaves them: of parties of their own, and no two neighbours fit into one."""
    known = sorted((*_parties(reader), sum(map(reader.group_rows, range(reader.groups)))) for reader in readers)
    return not any(after[0] < before[1] or before[2] + after[2] <= rows_max for before, after in pairwise(known))


def _parties(reader: PartReader) -> tuple[int, int]:
    """Return the lowest and the highest calling party of a part."""
    told = reader.bounds("calling_number") if "calling_number" in reader.names else []
    known = [bounds for bounds in told if bounds is not None]
    return (min(known)[0], max(high for _, high in known)) if known else (NO_PARTY, NO_PARTY)
