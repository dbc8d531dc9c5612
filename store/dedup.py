"""Which rows are new: the decision is pure, the runs it looks at come through a bounded cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import InputError
from store.identity import Identities, IdentityHasher, same_identity, same_record
from store.partitions import end_days
from store.runs import Run

HORIZON_DAYS: Final = 35
"""The same identity with another end date is looked for so many days before and after."""

CONTENTS_PER_IDENTITY_MAX: Final = 100
"""So many records of one identity in one stretch, each contradicting the others, mean that it is no identity."""

RUN_CACHE_BYTES_MAX: Final = 512 << 20


class Fate(IntEnum):
    """What becomes of a row."""

    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2


Fates = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class KnownRun:
    """The road to a run, and to its full rows, which are only fetched when tags agree and digests do not."""

    run: Callable[[], Run]
    rows: Callable[[], pa.Table]


class RunCache:
    """Runs of published parts, least recently used out first; bounded in bytes; safe for threads."""

    def __init__(self, bytes_max: int = RUN_CACHE_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, file_id: str, load: Callable[[], Run]) -> Run:
        """Return the run, loading it when it is not held."""
        with self._lock:
            run = self._runs.get(file_id)
            if run is not None:
                self._runs.move_to_end(file_id)
                return run
        run = load()
        with self._lock:
            if file_id not in self._runs:
                self._runs[file_id] = run
                self._bytes += run.nbytes
            while self._bytes > self._bytes_max and len(self._runs) > 1:
                self._bytes -= self._runs.popitem(last=False)[1].nbytes
        return run

    def __len__(self) -> int:
        """Return how many runs are held."""
        with self._lock:
            return len(self._runs)

    def clear(self) -> None:
        """Drop every run."""
        with self._lock:
            self._runs.clear()
            self._bytes = 0

    def forget(self, file_ids: Iterable[str]) -> None:
        """Drop runs whose key is destroyed."""
        with self._lock:
            for file_id in file_ids:
                run = self._runs.pop(file_id, None)
                if run is not None:
                    self._bytes -= run.nbytes


def classify(
    table: pa.Table, identities: Identities, known: Iterable[KnownRun], hasher: IdentityHasher, *, within: bool = True
) -> tuple[Fates, npt.NDArray[np.int64]]:
    """Return the fate of every row of `table`, given the runs of all records that it may repeat, and its order by tag.

    `within` compares the rows with each other too.

    A row is a DUPLICATE when a known or an earlier row has its identity and compatible content, a CONFLICT when the
    identity is known and no known record of it is compatible, otherwise NEW.

    Raises:
        InputError: far too many contradictory records share one identity.
    """
    fates = np.zeros(table.num_rows, dtype=np.int8)
    order = np.argsort(identities.tags, kind="stable")
    tags, digests = identities.tags[order], identities.digests[order]
    _refuse_no_identity(tags, digests)
    for item in known:
        _against_run(table, order, tags, digests, item, hasher, fates)
    if within:
        _within(table, order, tags, digests, fates)
    return fates, order


def _refuse_no_identity(tags: npt.NDArray[np.uint64], digests: npt.NDArray[np.uint64]) -> None:
    """Refuse rows whose key is none (a constant, say): to compare each with each would never end."""
    later, earlier = tags[CONTENTS_PER_IDENTITY_MAX:], tags[:-CONTENTS_PER_IDENTITY_MAX]
    crowded = np.unique(later[later == earlier])
    for tag in crowded:
        first, last = np.searchsorted(tags, tag, side="left"), np.searchsorted(tags, tag, side="right")
        if len(np.unique(digests[first:last])) > CONTENTS_PER_IDENTITY_MAX:
            raise InputError(
                "too many different records share one identity",
                hint="the source's record key or network element is not what tells its records apart",
            )


def _against_run(
    table: pa.Table,
    order: npt.NDArray[np.int64],
    tags: npt.NDArray[np.uint64],
    digests: npt.NDArray[np.uint64],
    known: KnownRun,
    hasher: IdentityHasher,
    fates: Fates,
) -> None:
    run = known.run()
    if len(run.tags) == 0:
        return
    first = np.searchsorted(run.tags, tags, side="left")
    hits = np.flatnonzero(run.tags[np.minimum(first, len(run.tags) - 1)] == tags)
    if len(hits) == 0:
        return
    hits = hits[fates[order[hits]] != Fate.DUPLICATE]
    last = np.searchsorted(run.tags, tags[hits], side="right")
    spread = int((last - first[hits]).max(initial=0))
    equal = np.zeros(len(hits), dtype=bool)
    for step in range(spread):
        place = np.minimum(first[hits] + step, last - 1)
        equal |= run.digests[place] == digests[hits]
    fates[order[hits[equal]]] = Fate.DUPLICATE
    unsettled = hits[~equal]
    if len(unsettled):
        _settle(table, order[unsettled], tags[unsettled], known.rows(), hasher, fates)


def _settle(
    table: pa.Table,
    rows: npt.NDArray[np.int64],
    tags: npt.NDArray[np.uint64],
    stored: pa.Table,
    hasher: IdentityHasher,
    fates: Fates,
) -> None:
    """Decide on full keys and fields, for rows whose tag is known with another digest."""
    stored_tags = hasher.identities(stored).tags
    stored_order = np.argsort(stored_tags, kind="stable")
    sorted_tags = stored_tags[stored_order]
    first = np.searchsorted(sorted_tags, tags, side="left")
    last = np.searchsorted(sorted_tags, tags, side="right")
    mine = np.repeat(np.arange(len(rows)), last - first)
    theirs = np.concatenate([stored_order[a:b] for a, b in zip(first, last, strict=True)] or [np.zeros(0, np.int64)])
    left, right = table.take(rows[mine]), stored.take(theirs)
    identity = same_identity(left, right)
    agree = identity & same_record(left, right) & (_days(left) == _days(right))
    known = np.zeros(len(rows), dtype=bool)
    duplicate = np.zeros(len(rows), dtype=bool)
    np.logical_or.at(known, mine, identity)
    np.logical_or.at(duplicate, mine, agree)
    fates[rows[known & ~duplicate]] = Fate.CONFLICT
    fates[rows[duplicate]] = Fate.DUPLICATE


def _within(
    table: pa.Table,
    order: npt.NDArray[np.int64],
    tags: npt.NDArray[np.uint64],
    digests: npt.NDArray[np.uint64],
    fates: Fates,
) -> None:
    """Decide between rows of the same table; the earlier row stays."""
    repeated = np.flatnonzero(tags[1:] == tags[:-1]) + 1
    if len(repeated) == 0:
        return
    same_as_before = digests[repeated] == digests[repeated - 1]
    fates[order[repeated[same_as_before]]] = Fate.DUPLICATE
    groups: dict[int, list[int]] = {}
    for place in repeated[~same_as_before]:
        start = int(np.searchsorted(tags, tags[place], side="left"))
        groups.setdefault(start, []).append(int(place))
    for start in groups:
        stop = int(np.searchsorted(tags, tags[start], side="right"))
        rows = order[start:stop]
        _, firsts = np.unique(digests[start:stop], return_index=True)
        repeats = np.ones(len(rows), dtype=bool)
        repeats[firsts] = False
        fates[rows[repeats]] = Fate.DUPLICATE
        _within_group(table, rows, _days(table.take(rows)), fates)


def _within_group(table: pa.Table, rows: npt.NDArray[np.int64], days: npt.NDArray[np.int64], fates: Fates) -> None:
    kept: list[int] = []
    for place, row in enumerate(rows):
        if fates[row] == Fate.DUPLICATE:
            continue
        ours = table.slice(int(row), 1)
        for earlier in kept:
            theirs = table.slice(int(rows[earlier]), 1)
            if not same_identity(ours, theirs)[0]:
                continue
            if same_record(ours, theirs)[0] and days[place] == days[earlier]:
                fates[row] = Fate.DUPLICATE
                break
            fates[row] = Fate.CONFLICT
        if fates[row] != Fate.DUPLICATE:
            kept.append(place)


def _days(table: pa.Table) -> npt.NDArray[np.int64]:
    ends = table.column("end_time").cast(pa.int64()).to_numpy()
    return end_days(ends)
