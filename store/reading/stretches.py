"""One stretch of a scan: some row groups of one part, read in two steps.

First the columns that tell whose record it is; the others only of row groups in which a row is selected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from schemas.arrow import PACKED
from schemas.errors import IntegrityError
from store.encoding.code_search import Range
from store.encoding.figure_batch import FigureBatch
from store.encoding.figures import Figures
from store.model import PartRow, ScanQuery, TargetIdentifier
from store.part_reader import Pages
from store.reading.bulk_decoding import Taken, as_batches, restored
from store.reading.lookup import TARGETS_MAX, Found, account_targets
from store.reading.page_layout import Window
from store.reading.reader_cache import OpenPart
from store.reading.selection import (
    Mask,
    Numbers,
    as_numpy,
    deciding,
    identity_columns,
    identity_mask,
    is_outside,
    is_selective,
    other_columns,
    other_mask,
    ranges_of,
    rows_of,
)
from store.siblings import LOCATION_COLUMNS

if TYPE_CHECKING:
    from store.retention.clockguard import Watch
    from store.store import Store

TOGETHER_ROWS: Final = 8_192
"""With so many records a part by itself costs little more, and all of them at once would be held twice."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Row groups of one part, with the fields to compare in each; None: all that the postings found."""

    part: PartRow
    found: Found | None
    groups: dict[int, set[str]] | None
    watch: Watch
    rows: int
    """No more than so many are looked at."""

    def readable(self, columns: Sequence[str]) -> Sequence[str]:
        """Return these columns, the same where all are readable: without the location when its period is over.

        Raises:
            ClockError: nobody can tell.
        """
        located = self.part.location_bytes and not LOCATION_COLUMNS.isdisjoint(columns)
        gone = located and self.watch.is_over(self.part.partition.location)
        return [name for name in columns if name not in LOCATION_COLUMNS] if gone else columns


def asked(query: ScanQuery) -> Sequence[TargetIdentifier]:
    """Return what the postings are asked for; nothing when they would not save work."""
    wanted = query.targets or account_targets(query.accounts)
    return wanted if len(wanted) <= TARGETS_MAX else ()


def groups_of(opened: OpenPart, part: PartRow, query: ScanQuery, found: Found | None) -> dict[int, set[str]]:
    """Return the row groups of a part that a query reads, with the fields to compare.

    Raises:
        IntegrityError: the index tells of row groups that the part does not have.
    """
    count = opened.reader.groups
    chosen = {group: set[str]() for group in range(count)} if found is None else found.groups(count, opened.bounds)
    if any(group >= count for group in chosen):
        raise IntegrityError(f"the index of part {part.file_id} tells of row groups that it does not have")
    if part.start_us_min >= query.start_us and part.end_us_max < query.end_us:
        return chosen
    starts, ends = opened.bounds("start_time"), opened.bounds("end_time")
    outside = {
        group
        for group in chosen
        if (start := starts[group]) and (end := ends[group]) and is_outside(query, start[0], end[0], end[1])
    }
    return {group: fields for group, fields in chosen.items() if group not in outside}


def windows_of(opened: OpenPart, groups: Mapping[int, set[str]], found: Found | None) -> list[Window]:
    """Return the rows to look at in some groups: of those that the postings found by piece, the pieces."""
    reader = opened.reader
    return reader.windows(groups) if found is None else found.windows(groups, reader.group_size, reader.rows)


def read(store: Store, query: ScanQuery, stretch: Stretch) -> list[pa.RecordBatch]:
    """Read a stretch and return the selected records.

    Raises:
        IntegrityError: the part is missing or does not authenticate.
        KeyUnavailableError: its key is gone.
    """
    part = stretch.part
    if stretch.watch.is_over(part.partition):
        return []
    asked_for = PACKED.names if query.columns is None else query.columns
    if is_selective(query):
        return read_together(store, query, [stretch])[0]
    with store.readers.part(part) as opened:
        groups = stretch.groups
        if groups is None:
            groups = groups_of(opened, part, query, stretch.found)
        return _all(opened, query, stretch, list(groups), asked_for) if groups else []


def read_together(store: Store, query: ScanQuery, stretches: Sequence[Stretch]) -> list[list[pa.RecordBatch]]:
    """Read stretches of a selective query as `read` does each; records of parts that are alike are restored together.

    Raises:
        IntegrityError, KeyUnavailableError: as `read`.
    """
    asking = _Asking(query)
    wanted = asking.columns
    answers: list[list[pa.RecordBatch]] = [[] for _ in stretches]
    alike: dict[Any, list[tuple[int, Taken]]] = {}
    for number, stretch in enumerate(stretches):
        if stretch.watch.is_over(stretch.part.partition):
            continue
        with store.readers.part(stretch.part) as opened:
            groups = groups_of(opened, stretch.part, query, stretch.found) if stretch.groups is None else stretch.groups
            taken = _taken_of(opened, asking, stretch, groups) if groups else None
        if taken is None:
            continue
        some = alike.setdefault(likeness := taken.likeness(query), [])
        some.append((number, taken))
        if sum(item.rows for _, item in some) >= TOGETHER_ROWS:
            _answer(alike.pop(likeness), query, wanted, answers)
    for some in alike.values():
        _answer(some, query, wanted, answers)
    return answers


def _answer(
    some: list[tuple[int, Taken]], query: ScanQuery, wanted: Sequence[str], answers: list[list[pa.RecordBatch]]
) -> None:
    """Restore records of parts that are alike, and put them where their stretches' answers are."""
    for (number, _), batch in zip(some, restored([taken for _, taken in some], query, wanted), strict=True):
        if batch.num_rows:
            answers[number].append(batch)


def read_figures(store: Store, query: ScanQuery, stretch: Stretch) -> list[FigureBatch]:
    """Read a stretch of a query that asks for nobody in particular, as figures: its rows, and which are selected.

    Raises:
        IntegrityError: the part is missing or does not authenticate.
        KeyUnavailableError: its key is gone.
    """
    part = stretch.part
    if stretch.watch.is_over(part.partition):
        return []
    with store.readers.part(part) as opened:
        groups = list(stretch.groups if stretch.groups is not None else groups_of(opened, part, query, None))
        if not groups:
            return []
        gone = stretch.watch.gone(part)
        others = other_columns(query, part, gone)
        if opened.reader.constant("conflict") == 0:
            others.discard("conflict")
        names = _present(opened, {*stretch.readable(query.columns or PACKED.names), *others})
        batch = opened.reader.figures(groups, names)
    if part.batch_id is not None and (query.columns is None or "batch_id" in query.columns):
        batch.figures["batch_id"] = Figures(np.full(batch.rows, part.batch_id))
    mask = other_mask(batch.table(others), query, part, gone) if others else None
    return [batch if mask is None else replace(batch, kept=as_numpy(mask))]


def _all(
    opened: OpenPart, query: ScanQuery, stretch: Stretch, groups: list[int], asked_for: Sequence[str]
) -> list[pa.RecordBatch]:
    """Read without looking for anybody, all columns at once."""
    part, gone = stretch.part, stretch.watch.gone(stretch.part)
    names = _present(opened, {*stretch.readable(asked_for), *other_columns(query, part, gone)})
    table = opened.reader.read(groups, names)
    rows = sum(opened.reader.group_rows(group) for group in groups)
    mask = other_mask(table, query, part, gone) if names else None
    if mask is not None:
        chosen = rows_of(mask)
        if len(chosen) < rows:
            table, rows = _taken(table, mask, chosen), len(chosen)
    return _batches(table, part.batch_id, asked_for, rows)


class _Asking:
    """What a selective query asks of parts; parts that are alike are asked the same, which is worked out once."""

    def __init__(self, query: ScanQuery) -> None:
        self.query = query
        self.columns: Sequence[str] = PACKED.names if query.columns is None else query.columns
        self._ranges: dict[Any, dict[str, list[Range]] | None] = {}
        self._names: dict[Any, list[str]] = {}

    def ranges(self, fields: frozenset[str] | None, there: frozenset[str]) -> dict[str, list[Range]] | None:
        """Return `ranges_of` the query, given the fields to compare and the part's columns."""
        asked = (fields, there)
        if asked not in self._ranges:
            self._ranges[asked] = ranges_of(self.query, fields, there)
        return self._ranges[asked]

    def names(self, opened: OpenPart, stretch: Stretch, gone: frozenset[str]) -> list[str]:
        """Return the columns to read of records that are the query's, in their order.

        Raises:
            ClockError: as `Stretch.readable`.
        """
        readable = stretch.readable(self.columns)
        alike = (readable is self.columns, opened.reader.names, deciding(self.query, stretch.part, gone))
        found = self._names.get(alike)
        if found is None:
            deciding_names = other_columns(self.query, stretch.part, gone)
            found = self._names[alike] = _present(opened, {*readable, *deciding_names})
        return found


def _taken_of(opened: OpenPart, asking: _Asking, stretch: Stretch, groups: dict[int, set[str]]) -> Taken | None:
    """Return what the file keeps of the records of a query's targets; None where there are none."""
    part, gone = stretch.part, stretch.watch.gone(stretch.part)
    found = stretch.found if asking.query.targets else None
    fields = None if found is None else frozenset[str]().union(*groups.values())
    pages = opened.reader.at(windows_of(opened, groups, found))
    rows = _rows(opened, pages, asking, fields)
    if not len(rows):
        return None
    wanted = asking.names(opened, stretch, gone)
    return Taken(part, gone, pages.of(rows).kept(wanted), wanted, len(rows))


def _rows(opened: OpenPart, pages: Pages, asking: _Asking, fields: frozenset[str] | None) -> Numbers:
    """Return which rows of some pages are those of the query's targets, accounts and tenant."""
    ranges = asking.ranges(fields, opened.reader.names)
    mask = None if ranges is None else pages.matching(ranges)
    if mask is not None:
        return np.flatnonzero(mask)
    names = _present(opened, identity_columns(asking.query, fields))
    if not names:
        return np.zeros(0, np.int64)  # no row has such an identifier
    return rows_of(identity_mask(pages.read(names), asking.query, fields))


def _present(opened: OpenPart, names: set[str]) -> list[str]:
    return [name for name in PACKED.names if name in names and name in opened.reader.names]


def _taken(table: pa.Table, mask: Mask, rows: Numbers) -> pa.Table:
    return table.take(rows) if 8 * len(rows) < table.num_rows else table.filter(mask)


def _batches(table: pa.Table, batch_id: int | None, wanted: Sequence[str], rows: int) -> list[pa.RecordBatch]:
    return as_batches(table, None if batch_id is None else np.full(rows, batch_id), wanted, rows)
