"""Blocks of a delivery decoded side by side, where no record asks for what stands in another block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decoders.base import Decoded
from ingest.decoders.plain_rows import shifted
from ingest.decoders.slices import Block
from ingest.parallel_map import in_order

STRETCH_ROWS: Final = 16_384
"""Fewer records cost as much again for each stretch that is normalised and stored."""
STRETCH_PARTS_MAX: Final = 4
"""So many blocks at the most are held as one stretch, however large their records."""


def side_by_side(blocks: Iterable[Block], work: Callable[[Block], tuple[int, Decoded]]) -> Iterator[Decoded]:
    """Return in order what `work` makes of each block, two blocks at once, a few blocks together.

    `work` returns how many records a block has, the refused ones among them, and what it decoded, positions from 1; it
    is called in several threads. Offsets are the delivery's. Of blocks without a record nothing is yielded.
    """
    return gathered(_in_place(blocks, work))


def _in_place(blocks: Iterable[Block], work: Callable[[Block], tuple[int, Decoded]]) -> Iterator[Decoded]:
    position = 0
    for _, (count, decoded) in in_order(blocks, work):
        if count:
            yield from shifted([decoded], position) if position else (decoded,)
            position += count


def gathered(parts: Iterable[Decoded]) -> Iterator[Decoded]:
    """Yield parts of a delivery in their order, small ones as one stretch; none says anything of the file.

    Parts stay apart where a column has another form: identifiers are packed in one part, and texts in the next.
    """
    held: list[Decoded] = []
    rows = 0
    try:
        for part in parts:
            assert part.series is None and not part.is_nothing
            if any(not _are_alike(part.table.schema, one.table.schema) for one in held):
                yield _as_one(held)
                held, rows = [], 0
            held.append(part)
            rows += part.table.num_rows
            if rows >= STRETCH_ROWS or len(held) >= STRETCH_PARTS_MAX:
                yield _as_one(held)
                held, rows = [], 0
    except Exception:
        if held:  # what came before is told first
            yield _as_one(held)
        raise
    if held:
        yield _as_one(held)


def _are_alike(schema: pa.Schema, other: pa.Schema) -> bool:
    """Tell whether every column that both have is of one type, or null in one of them."""
    kinds = ({field.type, other.field(field.name).type} for field in schema if field.name in other.names)
    return all(len(both - {pa.null()}) < 2 for both in kinds)


def _as_one(parts: Sequence[Decoded]) -> Decoded:
    """Return parts as one, which needs none of them again."""
    if len(parts) == 1:
        return parts[0]
    filled = [part for part in parts if part.table.num_rows] or parts[:1]
    table = pa.concat_tables([part.table for part in filled], promote_options="default")
    rejects = [reject for part in parts for reject in part.rejects]
    raw_of = None if all(part.raw_of is None for part in filled) else partial(_raw_of, filled)
    return Decoded(table, rejects, raw_of)


def _raw_of(parts: Sequence[Decoded], asked: Sequence[int]) -> list[bytes | None]:
    """Return what is kept of records of several parts."""
    last = [part.table.column("position")[-1].as_py() for part in parts]
    owners = np.searchsorted(last, asked)
    kept: list[bytes | None] = []
    for owner, position in zip(owners.tolist(), asked, strict=True):
        raw_of = parts[owner].raw_of
        kept += [None] if raw_of is None else raw_of([position])
    return kept
