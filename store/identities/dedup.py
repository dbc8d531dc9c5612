"""Which rows are new: the decision on the identities and fields of rows that may be known.

1. The screen tells which rows may be known (`store.identities.screen`); most rows of most deliveries are new, and done
   with here.
2. A suspect is looked up in the runs of the parts near in time, and among the batch's rows that are still in memory.
3. Where its tag is found, the records of that row group decide: equal tag and digest are a duplicate, else the full
   identity and the fields are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.errors import InputError
from store.identities.identity import IDENTITY_COLUMNS, IdentityHasher, Keyed, Tags, same_identity, same_record
from store.identities.identity_lookup import PartSource, Stored
from store.identities.lone_ends import with_starts
from store.identities.runs import Asked, cut
from store.identities.screen import Screened
from store.partitions import end_days

HORIZON_DAYS: Final = 35
"""The same identity with another end date is looked for so many days before and after."""

CONTENTS_PER_IDENTITY_MAX: Final = 100
"""So many records of one identity in one stretch, each contradicting the others, mean that it is no identity."""

_MARK_BITS: Final = np.uint64(18)

NOT_SCREENED: Final = Screened(None, frozenset(), -1, -1)
"""Any row may be in any part."""


class Fate(IntEnum):
    """What becomes of a row."""

    NEW = 0
    DUPLICATE = 1
    CONFLICT = 2


EXPIRED: Final = -1
"""In `Told`, beside the values of `Fate`: the record's period is over."""

Fates = npt.NDArray[np.int8]
Rows = npt.NDArray[np.int64]
Told = tuple[Rows, Fates]
"""Positions of records of a delivery, and the fate of each."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a batch's new rows that is still in memory."""

    table: pa.Table
    tags: Tags
    epoch: int
    """The screen's contents that hold these rows; -1 for none."""

    def find(self, tags: Tags) -> Rows:
        """Return the numbers of its rows, ascending, that have one of these tags: uint64, sorted, at least one."""
        marks = np.zeros(1 << int(_MARK_BITS), np.bool_)
        marks[tags >> (np.uint64(64) - _MARK_BITS)] = True
        some = np.flatnonzero(marks[self.tags >> (np.uint64(64) - _MARK_BITS)])
        place = np.minimum(np.searchsorted(tags, self.tags[some]), len(tags) - 1)
        found: Rows = some[tags[place] == self.tags[some]]
        return found


def classify(
    table: pa.Table,
    tags: Tags,
    hasher: IdentityHasher,
    parts: Sequence[PartSource],
    *,
    screened: Screened = NOT_SCREENED,
    chunks: Sequence[Chunk] = (),
    within: bool = True,
) -> Fates:
    """Return the fate of every row of `table`, given the roads to all records that it may repeat.

    `within` compares the rows with each other too.

    A row is a DUPLICATE when a known or an earlier row has its identity and compatible content, a CONFLICT when the
    identity is known and no known record of it is compatible, otherwise NEW. Earlier is what has a lower
    `batch_position`: folded sessions are in no order. What ended further away than the horizon is not known, whether it
    comes in the same delivery or in another.
    A row without a start, an end alone, agrees with any; what comes after it meets the start that is inferred of it.

    Raises:
        InputError: far too many contradictory records share one identity.
    """
    decision = _Decision(table, tags, hasher)
    aside = [part for part in parts if screened.suspects is None or part.file_id in screened.aside]
    apart = [chunk for chunk in chunks if screened.suspects is None or chunk.epoch != screened.seen]
    suspects = decision.in_order(screened.suspects)
    held = screened.suspects is not None and screened.epoch >= 0  # else a row does not make its own repetition suspect
    if held and not len(suspects) and not aside and not apart:
        return decision.fates
    every = suspects if held and not aside and not apart else decision.in_order(None)
    repeated = decision.repeated(suspects if held else every) if within else np.zeros(0, np.int64)
    _refuse_no_identity(tags[repeated], decision.digests(repeated))
    beside = {part.file_id for part in aside}
    for rows, some in ((suspects, [part for part in parts if part.file_id not in beside]), (every, aside)):
        decision.ask_about(rows)
        _against_small(decision, rows, [part for part in some if part.is_small])
        for day, of_day in _by_day([part for part in some if not part.is_small]).items():
            near = decision.near(day)
            for part in of_day:
                _against_part(decision, near, part)
    for chunk in chunks:
        _against_chunk(decision, every if any(chunk is other for other in apart) else suspects, chunk)
    _within(decision, repeated)
    return decision.fates


class _Decision:
    """The rows under decision, their fates, and the digests of those that need one."""

    def __init__(self, table: pa.Table, tags: Tags, hasher: IdentityHasher) -> None:
        self.table, self.tags, self.hasher = table, tags, hasher
        self.fates: Fates = np.zeros(table.num_rows, dtype=np.int8)
        self._days = _days(table)
        self._span = (int(self._days.min()), int(self._days.max())) if len(tags) else (0, 0)
        self._among = np.zeros(0, np.int64)
        self._dated: tuple[Rows, Rows] | None = None
        self._keyed: tuple[Rows, Keyed | None] | None = None
        self._asked: tuple[Rows, Asked] | None = None
        self._digests: Tags | None = None
        self._made = np.zeros(0, np.bool_)

    def in_order(self, rows: Rows | None) -> Rows:
        """Return rows (None: all) in the order of their tags, equal tags in their own."""
        tags = self.tags if rows is None else self.tags[rows]
        order: Rows = np.argsort(tags, kind="stable")
        chosen: Rows = order if rows is None else rows[order]
        return chosen

    def ask_about(self, rows: Rows) -> None:
        """Name the rows, in the order of their tags, of which `near` chooses and `asked` tells."""
        self._among, self._dated, self._keyed = rows, None, None

    def days(self, rows: Rows) -> Rows:
        """Return the day numbers of rows."""
        found: Rows = self._days[rows]
        return found

    def near(self, day: int) -> Rows:
        """Return the rows that end within the horizon of a day, in the order of their tags."""
        first, last = day - HORIZON_DAYS, day + HORIZON_DAYS
        if first <= self._span[0] and self._span[1] <= last:
            return self._among
        if self._dated is None:
            days = self._days[self._among]
            places = np.argsort(days, kind="stable")
            self._dated = places, days[places]
        places, days = self._dated
        within = places[np.searchsorted(days, first, side="left") : np.searchsorted(days, last, side="right")]
        chosen: Rows = self._among[np.sort(within)]
        return chosen

    def open(self, rows: Rows) -> Rows:
        """Return the rows that are not known for duplicates yet."""
        left: Rows = rows[self.fates[rows] != Fate.DUPLICATE]
        return left

    def asked(self, rows: Rows) -> Asked:
        """Return the identities of rows in the order of their tags, to look for them in parts."""
        latest = self._asked
        if latest is None or not np.array_equal(latest[0], rows):
            if self._keyed is None:
                names = [name for name in self.table.column_names if name in IDENTITY_COLUMNS]
                places = np.empty(len(self.tags), np.int64)
                places[self._among] = np.arange(len(self._among))
                self._keyed = places, self.hasher.keyed(self.table.select(names).take(self._among))
            places, keyed = self._keyed
            self._asked = latest = rows, Asked(cut(self.tags[rows]), keyed and keyed.take(places[rows]))
        return latest[1]

    def digests(self, rows: Rows) -> Tags:
        """Return digests of rows; each is made once."""
        if self._digests is None:
            self._digests = np.zeros(len(self.tags), np.uint64)
            self._made = np.zeros(len(self.tags), np.bool_)
        missing = np.unique(rows[~self._made[rows]])
        if len(missing):
            self._digests[missing] = self.hasher.identities(self.table.take(missing)).digests
            self._made[missing] = True
        found: Tags = self._digests[rows]
        return found

    def repeated(self, suspects: Rows) -> Rows:
        """Return rows whose tag stands here more than once, by tag and position; all but one of a tag are suspects."""
        if len(suspects) < len(self.tags):
            tags = self.tags[suspects]
            suspects = self.in_order(np.sort(Chunk(self.table, self.tags, -1).find(tags)) if len(tags) else suspects)
        tags = self.tags[suspects]
        same = tags[1:] == tags[:-1]
        twice = np.zeros(len(tags), np.bool_)
        twice[1:] |= same
        twice[:-1] |= same
        found: Rows = suspects[twice]
        positions = self.table.column("batch_position").take(found).to_numpy()
        by_arrival: Rows = found[np.lexsort((positions, self.tags[found]))]
        return by_arrival


def _refuse_no_identity(tags: Tags, digests: Tags) -> None:
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


def _by_day(parts: Sequence[PartSource]) -> dict[int, list[PartSource]]:
    """Return parts by their days, in the order in which the days come first."""
    found: dict[int, list[PartSource]] = {}
    for part in parts:
        found.setdefault(part.day, []).append(part)
    return found


def _against_small(decision: _Decision, rows: Rows, parts: Sequence[PartSource]) -> None:
    """Ask small parts together, a lot at a time, about the rows within the horizon of their days."""
    if not parts or not len(rows):
        return
    days = np.fromiter((part.day for part in parts), np.int64, len(parts))
    asked = np.unique(decision.days(rows))
    near = np.searchsorted(asked, days - HORIZON_DAYS) < np.searchsorted(asked, days + HORIZON_DAYS, side="right")
    known = parts[0].known
    for lot in known.small.lots([parts[at] for at in np.flatnonzero(near).tolist()]):
        rows = decision.open(rows)
        if not len(rows):
            return
        met = known.find_small(lot, cut(decision.tags[rows]))
        of_part = np.fromiter((part.day for part in lot), np.int64, len(lot))[met.parts]
        within = np.abs(decision.days(rows)[met.tags] - of_part) <= HORIZON_DAYS
        places, owners, groups = met.tags[within], met.parts[within], met.groups[within]
        order = np.argsort(owners, kind="stable")
        starts = np.flatnonzero(np.diff(owners[order], prepend=-1))
        for some in np.split(order, starts[1:]) if len(order) else ():
            _in_groups(decision, rows, lot[owners[some].tolist()[0]], places[some], groups[some])


def _against_part(decision: _Decision, rows: Rows, part: PartSource) -> None:
    rows = decision.open(rows)
    if len(rows) == 0:
        return
    places, groups = part.find(decision.asked(rows))
    if len(places):
        _in_groups(decision, rows, part, places, groups)


def _in_groups(decision: _Decision, rows: Rows, part: PartSource, places: Rows, groups: Rows) -> None:
    """Decide on the rows at these places, each of which may stand in a row group of the part."""
    for number, stored in part.groups(np.unique(groups).tolist()):
        _settle(decision, np.unique(places[groups == number]), rows, stored)


def _against_chunk(decision: _Decision, rows: Rows, chunk: Chunk) -> None:
    rows = decision.open(rows)
    if len(rows) == 0:
        return
    theirs = chunk.find(decision.tags[rows])
    if len(theirs):
        records = chunk.table.take(theirs)
        stored = Stored.of(decision.hasher.identities(records), partial(lambda same: same, records))
        _settle(decision, np.arange(len(rows)), rows, stored)


def _settle(decision: _Decision, places: Rows, among: Rows, stored: Stored) -> None:
    """Decide on the rows `among[places]`, in the order of their tags, against some stored records."""
    rows = decision.open(among[places])
    tags = decision.tags[rows]
    first = np.searchsorted(stored.tags, tags, side="left")
    last = np.searchsorted(stored.tags, tags, side="right")
    hits = np.flatnonzero(last > first)
    if len(hits) == 0:
        return
    rows, first, last = rows[hits], first[hits], last[hits]
    digests = decision.digests(rows)
    equal = np.zeros(len(rows), dtype=bool)
    for step in range(int((last - first).max())):
        equal |= stored.digests[np.minimum(first + step, last - 1)] == digests
    decision.fates[rows[equal]] = Fate.DUPLICATE
    if not equal.all():
        _compare(decision, rows[~equal], first[~equal], last[~equal], stored)


def _compare(decision: _Decision, rows: Rows, first: Rows, last: Rows, stored: Stored) -> None:
    """Decide on full keys and fields, for rows whose tag is known with another digest."""
    counts = last - first
    mine = np.repeat(np.arange(len(rows)), counts)
    theirs = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(len(mine))
    left, right = decision.table.take(rows[mine]), stored.read().take(stored.places[theirs])
    days, other_days = _days(left), _days(right)
    identity = same_identity(left, right) & (np.abs(days - other_days) <= HORIZON_DAYS)
    agree = identity & same_record(left, right) & (days == other_days)
    known = np.zeros(len(rows), dtype=bool)
    duplicate = np.zeros(len(rows), dtype=bool)
    np.logical_or.at(known, mine, identity)
    np.logical_or.at(duplicate, mine, agree)
    decision.fates[rows[known & ~duplicate]] = Fate.CONFLICT
    decision.fates[rows[duplicate]] = Fate.DUPLICATE


def _within(decision: _Decision, order: Rows) -> None:
    """Decide between rows of the same table that share tags, given in the order of tags; the first stays."""
    if len(order) == 0:
        return
    table, fates = decision.table, decision.fates
    tags, digests = decision.tags[order], decision.digests(order)
    repeated = np.flatnonzero(tags[1:] == tags[:-1]) + 1
    same_as_before = digests[repeated] == digests[repeated - 1]
    fates[order[repeated[same_as_before]]] = Fate.DUPLICATE
    starts = np.unique(np.searchsorted(tags, tags[repeated[~same_as_before]], side="left"))
    for start in starts:
        stop = int(np.searchsorted(tags, tags[start], side="right"))
        rows = order[start:stop]
        _, firsts = np.unique(digests[start:stop], return_index=True)
        repeats = np.ones(len(rows), dtype=bool)
        repeats[firsts] = False
        fates[rows[repeats]] = Fate.DUPLICATE
        _within_group(table, rows, _days(table.take(rows)), fates)


def _within_group(table: pa.Table, rows: Rows, days: npt.NDArray[np.int64], fates: Fates) -> None:
    kept: list[int] = []
    for place, row in enumerate(rows):
        if fates[row] == Fate.DUPLICATE:
            continue
        ours = table.slice(int(row), 1)
        for earlier in kept:
            theirs = with_starts(table.slice(int(rows[earlier]), 1))
            if abs(days[place] - days[earlier]) > HORIZON_DAYS or not same_identity(ours, theirs)[0]:
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
