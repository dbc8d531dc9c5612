"""Blocks of FreeSWITCH's bodies, read side by side as long as every body of a block is whole.

A block ends where a body seems to. Whether it does is known once its bodies are read: from the first block with one
that cannot be cut, the delivery is read on in order, as a stream again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from typing import BinaryIO, Final, NamedTuple

from ingest.decoders.base import Decoded
from ingest.decoders.freeswitch.bodies import Body
from ingest.decoders.freeswitch.walk import Legs
from ingest.decoders.parallel_blocks import gathered
from ingest.decoders.plain_rows import PlainBlocks, shifted
from ingest.decoders.slices import UTF8_BOM, Block, last_end, read_full, refuse_utf16
from ingest.window import WINDOW_BYTES

BLOCK_BYTES: Final = WINDOW_BYTES - 1
"""A window holds the whole of a block, and sees its end."""
_MARKS: Final = 0x80
"""A block that begins with such a byte might be taken for a stream with a mark of its encoding."""

See = Callable[[Iterable[Body | Legs]], Iterable[Body | Legs]]
Read = Callable[[BinaryIO, See], Iterator[Decoded]]
"""Decodes a stream, and lets a function see its bodies and legs."""


def in_blocks(stream: BinaryIO, ends: tuple[bytes, ...], read: Read) -> Iterator[Decoded]:
    """Return what `read` decodes of a stream, two blocks of it at once.

    Args:
        stream: where from.
        ends: how a body ends on a line of its own.
        read: called in several threads.

    Raises:
        InputError: the stream is UTF-16.
    """

    return gathered(_in_blocks(stream, ends, read))


def _in_blocks(stream: BinaryIO, ends: tuple[bytes, ...], read: Read) -> Iterator[Decoded]:
    def make(block: Block) -> _Made | None:
        if not block.data.endswith(ends) or block.data[0] >= _MARKS:
            return None
        seen = _Seen()
        made = list(read(BytesIO(block.data), seen))
        return None if seen.spoilt else _Made(block.offset, made)

    blocks, position = PlainBlocks(_read_blocks(stream, ends), make), 0
    for one in blocks:
        yield from shifted(one.parts, position, one.offset)
        position += sum(part.table.num_rows + len(part.rejects) for part in one.parts)
    if blocks.rest is not None:
        rest, offset = blocks.rest
        yield from shifted(read(rest, iter), position, offset)


class _Made(NamedTuple):
    """What was decoded of a block."""

    offset: int
    parts: list[Decoded]


class _Seen:
    """Passes bodies on; `spoilt` tells that one is no document, or declares what may hold for those behind it."""

    def __init__(self) -> None:
        self.spoilt = False

    def __call__(self, bodies: Iterable[Body | Legs]) -> Iterator[Body | Legs]:
        for one in bodies:
            self.spoilt |= isinstance(one, Body) and (one.document is None or one.is_recoded)
            yield one


def _read_blocks(stream: BinaryIO, ends: tuple[bytes, ...]) -> Iterator[Block]:
    """Yield a stream in blocks, cut behind the last end; one without an end is as it was read."""
    size, offset, pending = max(BLOCK_BYTES, len(UTF8_BOM)), 0, b""
    while True:
        data = read_full(stream, size - len(pending))
        ended = len(data) < size - len(pending)
        if not offset:
            refuse_utf16(data)
            offset = len(UTF8_BOM) if data.startswith(UTF8_BOM) else 0
            data = data[offset:]
        cut = 0 if ended else last_end(data, ends)
        if not cut:  # an end may stand partly in each
            data, pending = pending + data, b""
            cut = len(data) if ended else last_end(data, ends) or len(data)
        whole = not pending and cut == len(data)
        block = data if whole else b"".join((pending, memoryview(data)[:cut]))
        pending, data = data[cut:], b""
        if block:
            yield Block(block, offset, last=ended)
        if ended:
            return
        offset += len(block)
