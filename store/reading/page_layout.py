"""Where the pages of a file's columns lie, and of what kind they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

CODECS: Final[dict[str, Any]] = {"UNCOMPRESSED": None, "ZSTD": pa.Codec("zstd"), "LZ4": pa.Codec("lz4_raw")}

Window = tuple[int, int]
"""Rows [first, last) of a file, all in one row group."""


@dataclass(frozen=True, slots=True)
class Paging:
    """Where the pages of a file lie, by its authenticated footer: none of them need be looked for."""

    rows: int
    """Of every page but the last of a row group's column."""
    ends: npt.NDArray[np.int64]
    """Where pages end and the next begin, one after another; before them where the first begins."""
    halved: Mapping[str, int] = field(default_factory=dict)
    """Columns whose pages have fewer rows, and how many."""

    def rows_of(self, name: str) -> int:
        """Return the rows of a column's pages."""
        return self.halved.get(name, self.rows)

    def of(self, start: int, end: int) -> npt.NDArray[np.int64]:
        """Return where the pages within a stretch of the file begin, and where the last one ends.

        Raises:
            ValueError: the stretch does not begin and end with a page.
        """
        first, last = np.searchsorted(self.ends, (start, end)).tolist()
        if last >= len(self.ends) or self.ends[first] != start or self.ends[last] != end:
            raise ValueError("a column's pages do not lie where its file says")
        return self.ends[first : last + 1]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One column of one row group, page by page."""

    offsets: Any
    """Whole numbers: where each page begins, and where the last one ends."""
    page_rows: int
    """Rows of every page but the last."""
    rows: int
    codec: Any
    """What decompresses a page, or None."""
    kind: Any
    """Arrow's type of the values."""
    nullable: bool
    width: int
    """Bytes of a row in a page without its codec; 0 where only the page's header tells."""

    @property
    def is_bounded(self) -> bool:
        """Tell whether a page's bytes are at most so many a row: those of differences behind LZ4 tell no number."""
        return self.codec is CODECS["LZ4"] and bool(pa.types.is_int64(self.kind))

    def rows_of(self, page: int) -> int:
        """Return the rows of a page."""
        return min(self.page_rows, self.rows - page * self.page_rows)


@dataclass(frozen=True, slots=True)
class Grid:
    """The pages of a file whose columns have no more than their rows need."""

    rows: int
    """Of a row group but the last."""
    last_rows: int
    others: int
    """Row groups before the last."""
    full: Sequence[int]
    """Pages of a row group before each column, and of all."""
    last: Sequence[int]
    """The same of the last row group."""
