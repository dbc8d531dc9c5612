"""Batches on their way out of a scan: small ones of parts that follow each other are handed out as one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

import pyarrow as pa

from store.encoding.figure_batch import FigureBatch
from store.model import PartRow

Batch = TypeVar("Batch", pa.RecordBatch, FigureBatch)

BATCH_ROWS: Final = 8_192
"""What is smaller is put together, up to so many rows."""


def grouped(lot: Sequence[tuple[PartRow, list[Batch]]]) -> Iterator[list[tuple[PartRow, Batch]]]:
    """Yield what was read, small batches that follow each other together: whoever takes them pays for each."""
    few: list[tuple[PartRow, Batch]] = []
    rows = 0
    for part, batches in lot:
        for batch in batches:
            size = batch.num_rows if isinstance(batch, pa.RecordBatch) else BATCH_ROWS
            if few and rows + size > BATCH_ROWS:
                yield few
                few, rows = [], 0
            few.append((part, batch))
            rows += size
    if few:
        yield few


def as_one(batches: list[Batch]) -> Batch:
    """Return batches of records as one; there is more than one only of records."""
    if len(batches) == 1:
        return batches[0]
    concat: Any = pa.concat_batches  # type: ignore[attr-defined]  # its stubs are older
    whole: Batch = concat(batches)
    return whole
