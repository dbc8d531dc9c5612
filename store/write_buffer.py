"""New rows of a batch that are in memory until they are parts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.identities.dedup import Chunk, Fate
from store.identities.identity import Tags


@dataclass(slots=True)
class Held:
    """A stretch of new rows that is in memory until all its slots are on disk."""

    chunk: Chunk
    slots: set[int]


@dataclass(slots=True)
class Buffer:
    """The new rows of one slot that wait to become a part."""

    tables: list[pa.Table] = field(default_factory=list)
    tags: list[Tags] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    rows: int = 0

    def add(self, records: pa.Table, tags: Tags, held: Held) -> None:
        """Take rows in, which are those, or some, of a stretch."""
        self.tables.append(records)
        self.tags.append(tags)
        self.held.append(held)
        self.rows += records.num_rows

    def halves(self) -> list[Buffer]:
        """Return the first half of the rows, and the others."""
        table, tags, middle = pa.concat_tables(self.tables, promote_options="default"), self.tags, self.rows // 2
        own = tags[0] if len(tags) == 1 else np.concatenate(tags)
        return [
            Buffer([table.slice(start, stop - start)], [own[start:stop]], self.held, stop - start)
            for start, stop in ((0, middle), (middle, self.rows))
        ]


def without_duplicates(
    records: pa.Table, tags: Tags, slots: npt.NDArray[np.int64], fates: npt.NDArray[np.int8]
) -> tuple[pa.Table, Tags, npt.NDArray[np.int64]]:
    """Drop the duplicates and flag the conflicts."""
    conflict = records.column_names.index("conflict")
    records = records.set_column(conflict, "conflict", pa.array(fates == Fate.CONFLICT))
    keep = fates != Fate.DUPLICATE
    if keep.all():
        return records, tags, slots
    return records.filter(pa.array(keep)), tags[keep], slots[keep]
