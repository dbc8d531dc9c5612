"""New rows of a batch that are in memory until they are parts."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from store.identities.dedup import Chunk
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

    def halves(self) -> list[Buffer]:
        """Return the first half of the rows, and the others."""
        table, tags, middle = pa.concat_tables(self.tables, promote_options="default"), self.tags, self.rows // 2
        own = tags[0] if len(tags) == 1 else np.concatenate(tags)
        return [
            Buffer([table.slice(start, stop - start)], [own[start:stop]], self.held, stop - start)
            for start, stop in ((0, middle), (middle, self.rows))
        ]
