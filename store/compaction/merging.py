"""Merging sorted parts as a stream: some row groups at a time, so memory does not grow with the partition.

Every part is sorted by calling party and start, so the records of all parts up to the nearest end of what is read can
be handed on: nothing that comes later sorts before them. What comes out is sorted, and cut into stretches, each of a
range of parties of its own: the parts of a merged partition do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
AT_HAND_ROWS: Final = 1_048_576
"""So many rows are at hand, of all parts together, and as many read ahead: a read of few costs more than its rows."""
AT_HAND_BYTES: Final = 112 << 20
"""The same in memory: of records with many long texts fewer are read at once."""
READ_ROWS_MAX: Final = 65_536
READERS: Final = 2
"""Threads that read ahead."""
KERNEL_ROWS_MIN: Final = 8_192
"""Fewer rows are no reason to load the compiled kernel; when it is there, it is used."""
NO_PARTY: Final = 0
"""Records without a calling party of digits sort first."""
_KERNELS: Final = "store.compaction.merge_kernels"

Ints = npt.NDArray[np.int64]
Prepare = Callable[[pa.Table], pa.Table]
"""What is done to the records of a part on their way: the batch is named, what is withdrawn is left out."""


class _Cursor:
    """One part on its way through a merge: what is read of it and not handed on, in pieces; the next one is on its way.

    The last piece may reach beyond what all parts have read; the ones before do not.
    """

    def __init__(self, reader: PartReader, prepare: Prepare, rows: int, nbytes: int, pool: ThreadPoolExecutor) -> None:
        self._nbytes = nbytes
        self._reader, self._prepare, self._pool = reader, prepare, pool
        self._next = 0
        self._groups = self._groups_of(rows)
        self._coming = self._read_ahead()
        self._pieces: list[pa.Table] = []
        self._parties: Ints = np.zeros(0, np.int64)
        self._times: Ints = np.zeros(0, np.int64)

    def _groups_of(self, rows: int) -> int:
        groups, together = max(1, rows // max(1, self._reader.group_size)), self._reader.groups_together
        return groups - groups % together if groups > together else groups

    def _read_ahead(self) -> Future[pa.Table] | None:
        if self._next >= self._reader.groups:
            return None
        start, self._next = self._next, min(self._next + self._groups, self._reader.groups)
        return self._pool.submit(self._read, range(start, self._next))

    def _read(self, groups: range) -> pa.Table:
        return self._reader.read(groups).combine_chunks()

    def advance(self) -> int:
        """Take what was read next; return its rows, which are none only at the part's end."""
        while self._coming is not None:
            table = self._coming.result()
            if table.nbytes > self._nbytes:  # its records are larger than most: the next pieces have fewer
                self._groups = min(self._groups, self._groups_of(table.num_rows * self._nbytes // table.nbytes))
            self._coming = self._read_ahead()
            table = self._prepare(table).combine_chunks()
            if table.num_rows:
                self._pieces.append(table)
                self._parties, self._times = sort_keys(table)
                return table.num_rows
        return 0

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after what is at hand."""
        return self._coming is None

    @property
    def end(self) -> tuple[int, int]:
        """Party and start of the last record at hand."""
        return int(self._parties[-1]), int(self._times[-1])

    def beyond(self, upto: tuple[int, int] | None) -> int:
        """Return how many records at hand come after a party and start; all are within None."""
        if upto is None or not self._pieces:
            return 0
        low, high = (int(np.searchsorted(self._parties, upto[0], side)) for side in ("left", "right"))
        return len(self._parties) - low - int(np.searchsorted(self._times[low:high], upto[1], "right"))

    def take(self, upto: tuple[int, int] | None) -> list[pa.Table]:
        """Hand on the records up to a party and start, or all at hand."""
        taken, left = self._pieces, self.beyond(upto)
        self._pieces = []
        if left:
            last = taken.pop()
            count = last.num_rows - left
            taken.append(last.slice(0, count))
            self._pieces.append(last.slice(count))
            self._parties, self._times = self._parties[count:], self._times[count:]
        return taken


def merged(
    readers: Sequence[PartReader], prepares: Sequence[Prepare], rows_max: int
) -> Generator[pa.Table, None, None]:
    """Yield the records of sorted parts, in stretches of `rows_max` at most; no stretch overlaps the next.

    Within a stretch the records are sorted by calling party and start. Threads read ahead, a piece of every part; who
    does not take all stretches closes the generator before the readers.

    Raises:
        IntegrityError: a part does not authenticate.
    """
    some = max(1, len(readers))
    rows, nbytes = min(READ_ROWS_MAX, AT_HAND_ROWS // some), AT_HAND_BYTES // some
    with ThreadPoolExecutor(READERS, thread_name_prefix="lagrum-read") as pool:
        pairs = zip(readers, prepares, strict=True)
        cursors = [_Cursor(reader, prepare, rows, nbytes, pool) for reader, prepare in pairs]
        held = sum(cursor.advance() for cursor in cursors)
        left: list[pa.Table] = []  # of the last stretch
        while True:
            reading = [cursor for cursor in cursors if not cursor.is_last]
            nearest = min(reading, key=lambda cursor: cursor.end, default=None)
            upto = None if nearest is None else nearest.end
            if nearest is None or held - sum(cursor.beyond(upto) for cursor in cursors) > rows_max:
                records = in_order([left, *(cursor.take(upto) for cursor in cursors)])
                held -= records.num_rows
                while records.num_rows > rows_max:
                    yield records.slice(0, rows_max)
                    records = records.slice(rows_max)
                if nearest is None:
                    if records.num_rows:
                        yield records
                    return
                held += records.num_rows
                left = [records]
            held += nearest.advance()


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
