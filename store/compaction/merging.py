"""Merging sorted parts as a stream: some row groups at a time, so memory does not grow with the partition.

Every part is sorted by calling party and start, so the records of all parts up to the nearest end of what is read can
be handed on: nothing that comes later sorts before them. What comes out is sorted, and cut into stretches, each of a
range of parties of its own: the parts of a merged partition do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.buffers import flat
from store import native
from store.part_reader import PartReader
from store.parts import reordered

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

FAN_IN_MAX: Final = 32
"""So many parts are merged at once; each has its share of `AT_HAND_ROWS` in memory."""
AT_HAND_ROWS: Final = 524_288
"""So many rows are read ahead of the merge, of all parts together: a read of few rows costs more than its rows."""
READ_ROWS_MAX: Final = 65_536
KERNEL_ROWS_MIN: Final = 8_192
"""Fewer rows are no reason to load the compiled kernel; when it is there, it is used."""
NO_PARTY: Final = 0
"""Records without a calling party of digits sort first."""
_KERNELS: Final = "store.compaction.merge_kernels"

Ints = npt.NDArray[np.int64]
Prepare = Callable[[pa.Table], pa.Table]
"""What is done to the records of a part on their way: the batch is named, what is withdrawn is left out."""


class _Cursor:
    """One part on its way through a merge."""

    def __init__(self, reader: PartReader, prepare: Prepare, rows: int) -> None:
        self._reader, self._prepare = reader, prepare
        self._group = 0
        groups, together = max(1, rows // max(1, reader.group_size)), reader.groups_together
        self._groups = groups - groups % together if groups > together else groups
        self.table = pa.table({})
        self.parties: Ints = np.zeros(0, np.int64)
        self.starts: Ints = np.zeros(0, np.int64)

    def fill(self) -> bool:
        """Have records at hand; tell whether there are any."""
        while not len(self.parties) and self._group < self._reader.groups:
            upto = min(self._group + self._groups, self._reader.groups)
            self.table = self._prepare(self._reader.read(range(self._group, upto))).combine_chunks()
            self._group = upto
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

    Within a stretch the records are sorted by calling party and start.

    Raises:
        IntegrityError: a part does not authenticate.
    """
    rows = min(READ_ROWS_MAX, AT_HAND_ROWS // max(1, len(readers)))
    every = [_Cursor(reader, prepare, rows) for reader, prepare in zip(readers, prepares, strict=True)]
    waiting: list[list[pa.Table]] = [[] for _ in range(len(every) + 1)]  # the first is left of the last stretch
    cursors = every
    while cursors := [cursor for cursor in cursors if cursor.fill()]:
        ends = [cursor.end for cursor in cursors if not cursor.is_last]
        upto = min(ends) if ends else None
        for run, cursor in zip(waiting[1:], every, strict=True):
            run.append(cursor.take(upto))
        if sum(table.num_rows for run in waiting for table in run) > rows_max:
            records = in_order(waiting)
            while records.num_rows > rows_max:
                yield records.slice(0, rows_max)
                records = records.slice(rows_max)
            waiting = [[records], *([] for _ in every)]
    records = in_order(waiting)
    if records.num_rows:
        yield records


def sort_keys(table: pa.Table) -> tuple[Ints, Ints]:
    """Return the calling parties and the starts by which parts are sorted."""
    starts = table.column("start_time").cast(pa.int64()).to_numpy()
    if "calling_number" not in table.column_names:
        return np.full(len(starts), NO_PARTY, np.int64), starts
    return pc.fill_null(table.column("calling_number"), NO_PARTY).to_numpy(), starts


def in_order(runs: Sequence[Sequence[pa.Table]]) -> pa.Table:
    """Return the records of sorted runs, each in pieces, sorted by calling party and start."""
    found = [[piece for piece in run if piece.num_rows] for run in runs]
    counts = [sum(piece.num_rows for piece in run) for run in found if run]
    if not counts:
        return pa.table({})
    table = pa.concat_tables([piece for run in found for piece in run], promote_options="default")
    if len(counts) == 1:
        return table.combine_chunks()
    order = pa.array(order_of(*sort_keys(table), counts))
    return pa.table([reordered(flat(column), order) for column in table.columns], schema=table.schema)


def order_of(parties: Ints, starts: Ints, counts: Sequence[int]) -> npt.NDArray[np.int32]:
    """Return the order of records that lie in sorted runs of so many rows (at least one), one after the other."""
    if len(parties) < KERNEL_ROWS_MIN and not native.is_loaded(_KERNELS):
        return np.lexsort((starts, parties)).astype(np.int32)
    ends = np.cumsum(counts, dtype=np.int64)
    order = np.empty(len(parties), np.int32)
    heads, heap = ends - counts, np.empty(len(counts), np.int64)
    native.load(_KERNELS).merge(*map(np.ascontiguousarray, (parties, starts)), heads, ends, heap, order)
    return order


def is_settled(readers: Sequence[PartReader], rows_max: int) -> bool:
    """Tell whether parts are as `merged` leaves them: of parties of their own, and no two neighbours fit into one."""
    known = sorted((*_parties(reader), sum(map(reader.group_rows, range(reader.groups)))) for reader in readers)
    return not any(after[0] < before[1] or before[2] + after[2] <= rows_max for before, after in pairwise(known))


def _parties(reader: PartReader) -> tuple[int, int]:
    """Return the lowest and the highest calling party of a part."""
    told = reader.bounds("calling_number") if "calling_number" in reader.names else []
    known = [bounds for bounds in told if bounds is not None]
    return (min(known)[0], max(high for _, high in known)) if known else (NO_PARTY, NO_PARTY)
