"""Blocks of whole lines in memory of their own, read without copies, with padding around them for compiled loops."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, BinaryIO, Final, cast

import numpy as np
import pyarrow as pa

from ingest.decoders.base import RECORD_BYTES_MAX
from ingest.decoders.slices import BLOCK_BYTES, UTF8_BOM, Block, read_blocks, refuse_utf16
from ingest.streams import read_into
from schemas.buffers import Bytes

PAD_BYTES: Final = 64
"""A load of so many bytes may begin at any byte of a block, or end there."""

_FIRST_BYTES: Final = 1 << 20
_TAIL_BYTES: Final = 1 << 16
_NEWLINE: Final = 0x0A


class Padded:
    """Whole lines of a delivery, `offset` bytes from its beginning; what `Block` says of its attributes holds here.

    The bytes are `memory[start : start + size]`; before and behind them are `PAD_BYTES` more, a line feed first.
    """

    def __init__(self, memory: Bytes, start: int, size: int, offset: int, overlong_bytes: int = 0) -> None:
        self.memory, self.start, self.size, self.offset = memory, start, size, offset
        self.overlong_bytes = overlong_bytes
        if not self.terminated:  # only at the end of a delivery: there is nothing behind it
            memory[start + size] = _NEWLINE

    @classmethod
    def of(cls, block: Block) -> Padded:
        """Return a block with padding around it."""
        memory = _memory(len(block.data))
        memory[PAD_BYTES : PAD_BYTES + len(block.data)] = np.frombuffer(block.data, np.uint8)
        return cls(memory, PAD_BYTES, len(block.data), block.offset, block.overlong_bytes)

    @property
    def address(self) -> int:
        """Where the first byte is."""
        return int(self.memory.ctypes.data) + self.start

    @property
    def terminated(self) -> bool:
        """Whether the last line has its line end."""
        return self.ends_with(_NEWLINE)

    def ends_with(self, byte: int) -> bool:
        """Tell whether the last byte is this one."""
        return self.size > 0 and int(self.memory[self.start + self.size - 1]) == byte

    @cached_property
    def data(self) -> bytes:
        """The bytes, as a copy."""
        return self.memory[self.start : self.start + self.size].tobytes()

    def head(self, size: int) -> bytes:
        """Return the first bytes, at most so many."""
        return self.memory[self.start : self.start + min(size, self.size)].tobytes()

    def pieces(self, size: int) -> Iterator[Padded]:
        """Yield the same lines in blocks of about so many bytes."""
        view, at = memoryview(cast(Any, self.memory)), self.start
        end = self.start + self.size
        while end - at > size:
            cut = _behind_last_line(view, at, at + size)
            if cut == at:
                break
            yield Padded(self.memory, at, cut - at, self.offset + at - self.start)
            at = cut
        yield self if at == self.start else self.behind(at - self.start)

    def behind(self, size: int) -> Padded:
        """Return what is left behind the first bytes; the memory is shared."""
        return Padded(self.memory, self.start + size, self.size - size, self.offset + size)


class _Resumed:
    """A stream of which some bytes were read already."""

    def __init__(self, head: bytes, stream: BinaryIO) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._stream.read(size)


def read_padded(stream: BinaryIO, *, block_bytes: int) -> Iterator[Padded]:
    """Yield what `read_blocks` yields, each block in memory of its own.

    Behind a line that is longer than a record may be, the rest of the delivery comes by way of `read_blocks`.

    Raises:
        InputError: the stream is UTF-16.
    """
    rest, offset, first = b"", 0, True
    while True:
        wanted = max(min(block_bytes, _FIRST_BYTES), len(UTF8_BOM)) if first else block_bytes
        memory = _memory(len(rest) + wanted)
        view = memoryview(cast(Any, memory))
        view[PAD_BYTES : PAD_BYTES + len(rest)] = rest
        start, end = PAD_BYTES, PAD_BYTES + len(rest)
        end += _fill(stream, view[end : end + wanted])
        ended = end < PAD_BYTES + len(rest) + wanted
        if first:
            head = bytes(view[start : min(end, start + 3)])
            refuse_utf16(head)
            start += len(UTF8_BOM) if head == UTF8_BOM else 0
            offset, first = start - PAD_BYTES, False
            if not ended and wanted < block_bytes:  # not a small delivery: begin with a whole block
                rest = bytes(view[start:end])
                continue
        if ended:
            yield Padded(memory, start, end - start, offset)
            return
        cut = _behind_last_line(view, start, end)
        rest = bytes(view[cut:end])
        if cut > start:
            yield Padded(memory, start, cut - start, offset)
        offset += cut - start
        if len(rest) > RECORD_BYTES_MAX:
            resumed = cast(BinaryIO, _Resumed(rest, stream))
            for block in read_blocks(resumed, block_bytes=min(block_bytes, BLOCK_BYTES), offset=offset):
                yield Padded.of(block)
            return


def _memory(size: int) -> Bytes:
    """Return memory for so many bytes and the padding; from Arrow's pool, which keeps it for the next block."""
    held: Any = pa.allocate_buffer(size + 2 * PAD_BYTES)
    memory: Bytes = np.frombuffer(held, np.uint8)
    memory[:PAD_BYTES] = 0
    return memory


def _fill(stream: BinaryIO, view: memoryview) -> int:
    """Read until the memory is full or the stream ends, whatever the size of the stream's own pieces."""
    size = 0
    while size < len(view):
        got = read_into(stream, view[size:])
        if not got:
            break
        size += got
    return size


def _behind_last_line(view: memoryview, start: int, end: int) -> int:
    """Return the index behind the last line feed; `start` when there is none."""
    at = end
    while at > start:
        low = max(start, at - _TAIL_BYTES)
        found = bytes(view[low:at]).rfind(b"\n")
        if found >= 0:
            return low + found + 1
        at = low
    return start
