"""Lines and quoted records of a byte stream, read in blocks, none of them ever larger than a bound.

Formats of lines stand on `read_lines`, CSV dialects with line ends inside quotes on `read_records`. Both count
records from 1, tell byte offsets, and report what is too long instead of holding it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple

from ingest.decoders.base import RECORD_BYTES_MAX
from schemas.errors import InputError
from schemas.rejects import Reject, RejectReason

BLOCK_BYTES: Final = 1 << 20
"""How much is read from the stream at once."""

QUOTED_LINES_MAX: Final = 100
"""A quoted record spans at most so many lines; an open quote looks ahead no further."""

_UTF8_BOM: Final = b"\xef\xbb\xbf"
_UTF16_BOMS: Final = (b"\xff\xfe", b"\xfe\xff")


class Line(NamedTuple):
    """One line or quoted record.

    `position` counts non-blank lines (or records) from 1; a blank line carries the position of the line before it.
    `offset` is the byte offset of its first byte in the stream. `data` has no line end (LF or CR LF).
    `reason` is set on what cannot be used: a line beyond the bound (`data` is empty then), a quote that never closes.
    `terminated` is False on a last line without its line end: the writer may not have finished it.
    """

    position: int
    offset: int
    data: bytes
    length_bytes: int
    reason: RejectReason | None = None
    terminated: bool = True

    def reject(self, reason: RejectReason, *, field: str | None = None, raw: bytes | None = None) -> Reject:
        """Return this line as a reject; `raw` only when it holds no content."""
        return Reject(self.position, reason, field, self.offset, self.length_bytes, raw)


def read_lines(
    stream: BinaryIO,
    *,
    bytes_max: int = RECORD_BYTES_MAX,
    blank: bool = False,
    block_bytes: int = BLOCK_BYTES,
    begins: bool = True,
) -> Iterator[Line]:
    """Yield the stream's lines in order; blank lines only when `blank` is set.

    A line longer than `bytes_max` is read past, and yielded with reason TOO_LONG and its full length.
    A UTF-8 byte order mark is skipped where a delivery `begins` with it; the rest of one has none.

    Raises:
        InputError: the stream begins a delivery, and is UTF-16.
    """
    position = 0
    for offset, data, length, terminated in _split(stream, bytes_max, block_bytes, begins=begins):
        if data is None:
            position += 1
            yield Line(position, offset, b"", length, RejectReason.TOO_LONG, terminated)
        elif data and not data.isspace():
            position += 1
            yield Line(position, offset, data, length, None, terminated)
        elif blank:
            yield Line(position, offset, b"", length, None, terminated)


def read_records(
    stream: BinaryIO,
    accept: Callable[[bytes], bool],
    *,
    quote: bytes = b'"',
    bytes_max: int = RECORD_BYTES_MAX,
    lines_max: int = QUOTED_LINES_MAX,
    begins: bool = True,
) -> Iterator[Line]:
    """Yield records whose quoted fields may hold line ends; blank lines between records are skipped.

    A record goes on over line ends while its number of quotes is odd (doubled quotes keep the parity). What is joined
    from several lines counts only when `accept` says that it reads as a whole record. If it does not, or no closing
    quote comes within `lines_max` lines and `bytes_max` bytes, then the quote was never closed: the *first line* alone
    is yielded with reason MALFORMED, and reading starts again at the line after it. So one bad quote costs one record,
    and a forged record inside quotes of a good one is never taken for a record. For `begins` see `read_lines`.

    Raises:
        InputError: the stream begins a delivery, and is UTF-16.
    """
    source = read_lines(stream, bytes_max=bytes_max, blank=True, begins=begins)
    ahead: deque[Line] = deque()
    position = 0
    while (first := ahead.popleft() if ahead else next(source, None)) is not None:
        if not first.length_bytes or (not first.data and first.reason is None):
            continue
        position += 1
        if first.reason is not None or not first.data.count(quote) & 1:
            yield first if first.position == position else first._replace(position=position)
            continue
        joined = _join(first, source, ahead, quote, (bytes_max, lines_max))
        if joined is None or not accept(joined.data):
            yield first._replace(position=position, reason=RejectReason.MALFORMED)
            continue
        for _ in range(joined.data.count(b"\n")):
            ahead.popleft()
        yield joined._replace(position=position)


def _join(
    first: Line, source: Iterator[Line], ahead: deque[Line], quote: bytes, bounds: tuple[int, int]
) -> Line | None:
    """Return `first` with the lines that close its quote, or None; every line looked at stays in `ahead`."""
    bytes_max, lines_max = bounds
    pieces, size = [first.data], len(first.data)
    for index in range(lines_max - 1):
        if index == len(ahead):
            line = next(source, None)
            if line is None:
                return None
            ahead.append(line)
        line = ahead[index]
        size += len(line.data) + 1
        if line.reason is not None or size > bytes_max:
            return None
        pieces.append(line.data)
        if line.data.count(quote) & 1:
            length = line.offset + line.length_bytes - first.offset
            return Line(first.position, first.offset, b"\n".join(pieces), length, None, line.terminated)
    return None


def _split(
    stream: BinaryIO, bytes_max: int, block_bytes: int, *, begins: bool
) -> Iterator[tuple[int, bytes | None, int, bool]]:
    """Yield (offset, line or None when too long, length, terminated); a line's start is held only up to the bound."""
    offset = 0
    pieces: list[bytes] = []  # the start of a line that goes on in the next block
    held = 0
    block = _first_block(stream, block_bytes) if begins else stream.read(block_bytes)
    if begins and block.startswith(_UTF8_BOM):
        offset, block = len(_UTF8_BOM), block[len(_UTF8_BOM) :] or stream.read(block_bytes)
    while block:
        lines = block.split(b"\n")
        tail = lines.pop()
        if lines and held:
            length = held + len(lines[0])
            pieces.append(lines[0])
            lines[0] = b"".join(pieces) if length <= bytes_max else b""
            if length > bytes_max:
                yield offset, None, length, True
                offset += length + 1
                del lines[0]
            pieces, held = [], 0
        for line in lines:
            length = len(line)
            if length > bytes_max:
                yield offset, None, length, True
            else:
                yield offset, line[:-1] if line.endswith(b"\r") else line, length, True
            offset += length + 1
        if tail:
            held += len(tail)
            if held <= bytes_max:
                pieces.append(tail)
            else:
                pieces.clear()
        block = stream.read(block_bytes)
    if held:
        data = b"".join(pieces) if held <= bytes_max else None
        yield offset, data, held, False


def _first_block(stream: BinaryIO, block_bytes: int) -> bytes:
    """Return the first block, long enough to tell a byte order mark."""
    block = stream.read(block_bytes)
    while block and len(block) < len(_UTF8_BOM):
        more = stream.read(block_bytes)
        if not more:
            break
        block += more
    if block.startswith(_UTF16_BOMS):
        raise InputError("the delivery is UTF-16", hint="deliver it as UTF-8")
    return block
