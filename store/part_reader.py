"""One open part: the only road from a part's file to its records.

A *group* is what postings, identities and bounds tell of: so many rows of a part. A row group of the file has several
of them, and a page of each column for each. Whoever asks for few groups is given their pages; the others are read
together, as Arrow reads row groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED
from schemas.buffers import flat
from store import parquet
from store.binding import FileBinding
from store.encoding import forms
from store.encoding.code_search import Range, Sought
from store.encoding.columns import WORD_PAGE_ROWS_LARGE
from store.encoding.figure_batch import FigureBatch
from store.encoding.restoring import WORD, Layout
from store.reading.cuts import Cut, decoded
from store.reading.page_layout import Window
from store.reading.pages import Piece

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

Bounds = tuple[int, int]
"""Lowest and highest value; times in µs."""


class PartReader:
    """The records of one part by groups; it holds the file's key as long as it is open."""

    def __init__(self, path: Any, binding: FileBinding, partition_key: bytes) -> None:
        """Open the file and authenticate its footer.

        Raises:
            IntegrityError: it is missing, is not the file that the catalog means, or does not authenticate.
        """
        self._binding = binding
        self._file = parquet.open_file(path, binding, partition_key)
        self._pages = parquet.pages_of(path, self._file, binding, partition_key)
        self._layout = Layout.parse(self._file.metadata.metadata)
        names = self._file.schema_arrow.names if self._layout is None else self._layout.names
        self.names: frozenset[str] = frozenset(names)
        """Columns that the part has."""
        self.rows = int(self._file.metadata.num_rows)
        self._row_group_rows = int(self._file.metadata.row_group(0).num_rows) if self.file_groups else 1
        self.group_size = self._row_group_rows if self._layout is None else self._layout.group_rows
        """Rows of every group but the last: row i lies in group i // group_size."""

    def __enter__(self) -> PartReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def groups(self) -> int:
        """How many groups the part has."""
        return -(-self.rows // self.group_size)

    @property
    def groups_together(self) -> int:
        """How many groups lie in one row group of the file: read in whole, they are read once."""
        return max(1, self._row_group_rows // max(1, self.group_size))

    @property
    def file_groups(self) -> int:
        """How many row groups the file has."""
        return int(self._file.metadata.num_row_groups)

    @property
    def file_columns(self) -> int:
        """How many columns the file has; many of the record's lie in one."""
        return int(self._file.metadata.num_columns)

    @property
    def page_table_bytes(self) -> int:
        """What the reader holds to know where pages lie."""
        return self._pages.table_bytes

    def group_rows(self, group: int) -> int:
        """Return the number of records of a group."""
        return min(self.group_size, self.rows - group * self.group_size)

    def bounds(self, column: str) -> list[Bounds | None]:
        """Return (lowest, highest) of a column of figures or times for each group; None where it is not known."""
        if self._layout is not None:
            both = self._layout.bounds(column)
            if both is None:
                return [None] * self.groups
            return [(low, high) if low <= high else None for low, high in zip(*(x.tolist() for x in both), strict=True)]
        kind = PACKED.field(column).type
        times = pa.types.is_timestamp(kind)
        return [
            None if item is None else (_us(item[0]), _us(item[1])) if times else (int(item[0]), int(item[1]))
            for item in parquet.group_bounds(self._file, column)
        ]

    def read(self, groups: Sequence[int] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return records of some groups (all when None) in their stored order; absent columns are left out.

        Raises:
            IntegrityError: a page does not authenticate.
        """
        wanted = [name for name in (self._all_names() if columns is None else columns) if name in self.names]
        return self.pages(range(self.groups) if groups is None else groups).read(wanted)

    def figures(self, groups: Sequence[int], columns: Sequence[str]) -> FigureBatch:
        """Return what `read` returns, as figures.

        Raises:
            IntegrityError: a page does not authenticate.
        """
        wanted = [name for name in columns if name in self.names]
        if self._layout is None:
            rows = sum(self.group_rows(group) for group in groups)
            return FigureBatch.of(self.read(groups, wanted)) if wanted else FigureBatch(rows)
        pages = self.pages(groups)
        return self._layout.figures(pages.stored(self._layout.stored(wanted)), wanted, pages.rows)

    def pages(self, groups: Sequence[int]) -> Pages:
        """Return some groups, to be read column by column."""
        return self.at(self.windows(groups))

    def windows(self, groups: Iterable[int]) -> list[Window]:
        """Return the rows of some groups."""
        starts = [(group * self.group_size, self.group_rows(group)) for group in groups]
        return [(start, start + rows) for start, rows in starts]

    def at(self, windows: Sequence[Window]) -> Pages:
        """Return some rows, to be read column by column."""
        return Pages(self, windows)

    def constant(self, name: str) -> int | None:
        """Return the value that every row of a column has; None where it is not known without reading."""
        return None if self._layout is None else self._layout.constant(name)

    @property
    def layout(self) -> Layout | None:
        """How the file keeps its columns; None where they lie in it as they are."""
        return self._layout

    def repeats(self, name: str) -> bool:
        """Tell whether a null in a column of the file stands for the value before it."""
        return self._layout is not None and self._layout.repeats(name)

    def stored_names(self, names: Sequence[str]) -> Sequence[str]:
        """Return the file's columns that are needed for logical ones."""
        return names if self._layout is None else self._layout.stored(names)

    def sought(self, name: str, ranges: Sequence[Range]) -> Sought | None:
        """Return which codes of a column have values in half-open ranges; None where only reading tells."""
        return None if self._layout is None else self._layout.sought(name, ranges)

    def stored(self, windows: Sequence[Window], names: Sequence[str]) -> dict[str, Any]:
        """Return rows of columns of the file: cuts of their pages, or what Arrow read.

        Raises:
            IntegrityError: a page does not authenticate.
        """
        groups = sorted({first // self._row_group_rows for first, _ in windows})
        there = sum(min(self._row_group_rows, self.rows - group * self._row_group_rows) for group in groups)
        few = {rows: self._few(rows, windows, there) for rows in set(map(self._page_rows_of, names))}
        found = self._by_page([name for name in names if few[self._page_rows_of(name)]], windows)
        left = [name for name in names if found.get(name) is None]
        if left:
            found |= self._by_row_group(groups, windows, left)
        return found

    def _page_rows_of(self, name: str) -> int:
        return self._pages.page_rows_of(name) or (WORD_PAGE_ROWS_LARGE if name == WORD else self.group_size)

    def _few(self, rows: int, windows: Sequence[Window], there: int) -> bool:
        """Tell whether windows have few pages of so many rows, given the rows of their row groups."""
        return 2 * rows * sum(-(-last // rows) - first // rows for first, last in windows) <= there

    def _by_page(self, names: Sequence[str], windows: Sequence[Window]) -> dict[str, Any]:
        """Return rows of columns of the file, reading their pages only; None for one that Arrow has to read."""
        if self._pages.page_rows:
            found: dict[str, Any] = {**self._pages.columns(names, windows)} if names else {}
            for name, cut in found.items():
                if cut is not None and self.repeats(name):
                    cut.fills = True
            return found
        return self._by_large_page(names, windows)

    def _by_large_page(self, names: Sequence[str], windows: Sequence[Window]) -> dict[str, Any]:
        told_rows = self.group_size  # what repeats is told anew after so many rows
        wanted: list[Piece] = []
        heads: list[int] = []
        for name in names:
            fills = self.repeats(name)
            for first, last in windows:
                group = first // self._row_group_rows
                base = group * self._row_group_rows
                start = first // told_rows * told_rows if fills else first
                wanted.append((group, name, start - base, last - base))
                heads.append(first - start)
        cuts = self._pages.cuts(wanted)
        found: dict[str, Any] = {}
        for at, name in enumerate(names):
            own = slice(at * len(windows), (at + 1) * len(windows))
            pieces = [cut for cut in cuts[own] if cut is not None]
            if len(pieces) < len(windows):
                found[name] = None
            elif not self.repeats(name):
                found[name] = Cut(pieces[0].kind, pieces[0].nullable, [page for cut in pieces for page in cut.pages])
            else:
                arrays = [
                    pc.fill_null_forward(decoded([cut])).slice(head)
                    for cut, head in zip(pieces, heads[own], strict=True)
                ]
                found[name] = pa.concat_arrays(arrays)
        return found

    def _by_row_group(self, groups: list[int], windows: Sequence[Window], names: list[str]) -> dict[str, Any]:
        table = parquet.read_groups(self._file, groups, names, self._binding)
        starts = {group: at * self._row_group_rows for at, group in enumerate(groups)}
        runs: list[Window] = []
        for first, last in windows:
            group = first // self._row_group_rows
            start = starts[group] + first - group * self._row_group_rows
            if runs and runs[-1][1] == start:
                runs[-1] = (runs[-1][0], start + last - first)
            else:
                runs.append((start, start + last - first))
        if runs == [(0, table.num_rows)]:
            return dict(zip(names, table.select(names).columns, strict=True))
        found = {}
        for name in names:
            column: Any = table.column(name)
            if self.repeats(name):
                column = pc.fill_null_forward(column)
            chunks = [chunk for first, last in runs for chunk in column.slice(first, last - first).chunks]
            found[name] = pa.chunked_array(chunks, column.type)
        return found

    def _all_names(self) -> Sequence[str]:
        return self._file.schema_arrow.names if self._layout is None else self._layout.names


@dataclass(frozen=True, slots=True)
class Kept:
    """Rows of some columns as a file keeps them: `store.encoding.restoring` makes records of them."""

    layout: Layout | None
    columns: Mapping[str, Any]
    """Of the file: Arrow arrays, or cuts of pages that are not decoded yet."""
    names: Sequence[str]
    rows: int

    def restored(self) -> pa.Table:
        """Return the columns of the record.

        Raises:
            IntegrityError: a page does not hold what its part says.
        """
        table = pa.table({name: _array(column) for name, column in self.columns.items()})
        return table if self.layout is None else self.layout.restore(table, self.names, self.rows)


class Pages:
    """Rows of one part whose columns are read as they are asked for.

    Many columns lie in one column of the file: what was read for the first that was asked for is not read again.
    """

    def __init__(self, reader: PartReader, windows: Sequence[Window]) -> None:
        self._reader, self.windows = reader, list(windows)
        self.rows = sum(last - first for first, last in windows)
        self._stored: dict[str, Any] = {}

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return columns that the part has, its records in their stored order.

        Raises:
            IntegrityError: a page does not authenticate.
        """
        return self.kept(names)[0].restored()

    def kept(self, names: Sequence[str]) -> list[Kept]:
        """Return what `read` restores, of each file that has some of these columns.

        Raises:
            IntegrityError: a page does not authenticate.
        """
        return [Kept(self._reader.layout, self._columns(self._reader.stored_names(names)), names, self.rows)]

    def stored(self, needed: Sequence[str]) -> pa.Table:
        """Return columns of the file.

        Raises:
            IntegrityError: a page does not authenticate.
        """
        return pa.table({name: _array(column) for name, column in self._columns(needed).items()})

    def _columns(self, needed: Sequence[str]) -> dict[str, Any]:
        missing = [name for name in needed if name not in self._stored]
        if missing:
            self._stored.update(self._reader.stored(self.windows, missing))
        return {name: self._stored[name] for name in needed}

    def matching(self, wanted: Mapping[str, Sequence[Range]]) -> npt.NDArray[np.bool_] | None:
        """Return which rows have a value in half-open ranges in one of some columns; None where only `read` tells.

        Raises:
            IntegrityError: a page does not authenticate.
        """
        asked = {name: self._reader.sought(name, ranges) for name, ranges in wanted.items()}
        mask: Any = None
        for name, sought in asked.items():
            if sought is None:
                return None
            if not sought.codes:
                continue
            here = self._having(name, sought)
            if here is None:
                return None
            mask = here if mask is None else mask | here
        return np.zeros(self.rows, np.bool_) if mask is None else np.asarray(mask)

    def _having(self, name: str, sought: Sought) -> npt.NDArray[np.bool_] | None:
        """Return which rows have one of the codes of a column; None where it has nulls."""
        own = WORD if sought.form.kind == "word" else name
        held = self._columns([own])[own]
        if own == WORD:
            return sought.among(held.octets() if isinstance(held, Cut) else forms.bytes_of(_flat(held)))
        column = _flat(held)
        if column.null_count:
            return None
        if sought.form.kind == "repeat":
            return sought.among_bytes(forms.bytes_of(column))
        return sought.among_values(column.to_numpy())

    def of(self, rows: npt.NDArray[np.int64]) -> Pages:
        """Return some of these rows, by their numbers here, in their order."""
        some = Pages(self._reader, windows_of(self.windows, rows))
        for name, column in self._stored.items():
            if isinstance(column, Cut):
                some._stored[name] = column.of(rows)
                continue
            whole = _flat(column)
            whole = pc.fill_null_forward(whole) if self._reader.repeats(name) else whole
            some._stored[name] = whole.take(pa.array(rows))
        return some


def _array(column: Any) -> Any:
    return decoded([column]) if isinstance(column, Cut) else column


def _flat(column: Any) -> Any:
    array = _array(column)
    return flat(array) if isinstance(array, pa.ChunkedArray) else array


def windows_of(windows: Sequence[Window], rows: npt.NDArray[np.int64]) -> list[Window]:
    """Return where some rows of windows lie, given their ascending numbers within them."""
    found: list[Window] = []
    at, past, (first, last) = 0, 0, windows[0] if windows else (0, 0)
    for row in rows.tolist():
        while row - past >= last - first:
            past += last - first
            at += 1
            first, last = windows[at]
        found.append((first + row - past, first + row - past + 1))
    return found


def _us(moment: Any) -> int:
    return int(pa.scalar(moment, PACKED.field("start_time").type).cast(pa.int64()).as_py())
