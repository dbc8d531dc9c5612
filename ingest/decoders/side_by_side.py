"""Blocks of a delivery decoded side by side, where no record asks for what stands in another block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from ingest.ahead import in_order
from ingest.decoders.base import Decoded
from ingest.decoders.plain_rows import shifted
from ingest.decoders.slices import Block


def side_by_side(blocks: Iterable[Block], work: Callable[[Block], tuple[int, Decoded]]) -> Iterator[Decoded]:
    """Yield in order what `work` makes of each block, two blocks at once.

    `work` returns how many records a block has, the refused ones among them, and what it decoded, positions from 1; it
    is called in several threads. Offsets are the delivery's. Of a block without a record nothing is yielded.
    """
    position = 0
    for _, (count, decoded) in in_order(blocks, work):
        if count:
            yield from shifted([decoded], position) if position else (decoded,)
            position += count
