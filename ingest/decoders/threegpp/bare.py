"""3GPP charging data records: BER records one behind the other, bare, padded or in blocks.

Records are those of TS 32.298; which of their fields become what is in the modules of their families. Between records,
octets 0x00 and 0xFF are padding. A record whose length runs beyond the delivery's end is one reject; so is the rest of
a delivery in which no record begins where the one before it ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, ClassVar, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ingest.decoders.base import RECORD_BYTES_MAX, Decoded
from ingest.decoders.ber.elements import CUT, INDEFINITE, end_of, header
from ingest.decoders.ber.walk import compiled
from ingest.decoders.slices import Faults
from ingest.decoders.threegpp.columns import Readers
from ingest.decoders.threegpp.records import Stretch, decode_stretch
from ingest.parallel_map import in_order
from ingest.source_config import SourceConfig
from schemas.buffers import Ints
from schemas.errors import InputError
from schemas.rejects import Reject, RejectReason

BLOCK_BYTES: Final = 4 << 20
"""How much is read at once: some 40 000 records."""

_HEADER_MAX: Final = 5
"""Octets of the longest header that switches write: a tag of two, a length of three."""

_PADDING: Final = re.compile(rb"[\x00\xff]*")


class ThreegppBer:
    """Bare BER records."""

    name: ClassVar = "3gpp-ber"
    summary: ClassVar = "3GPP TS 32.298 records, bare or padded BER (MSC, SGSN, PGW, IMS, CHF)"
    zoned: ClassVar = True
    options: ClassVar[tuple[str, ...]] = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the records; times carry their offset, so no zone is needed.

        Raises:
            InputError: the delivery does not begin with a BER record.
            ConfigurationError: the source's country does not exist.
        """
        readers = Readers(source)

        def work(item: Stretch | Decoded) -> list[Decoded]:
            return [item] if isinstance(item, Decoded) else list(decode_stretch(item, readers))

        for _, parts in in_order(_items(ByteReader(stream)), work):
            yield from parts


def _items(reader: ByteReader) -> Iterator[Stretch | Decoded]:
    """Yield whole records, and what is refused between them."""
    position = 0
    while True:
        framed = frame(reader.data, last=reader.ended)
        starts, ends = framed.places
        count = len(starts)
        if framed.stop == LOST and not position and not count:
            raise InputError("the delivery does not begin with a BER record", hint="check the format of the source")
        if count:
            yield Stretch(reader.data, starts, ends, position + 1, reader.offset, Faults(count))
            position += count
        reader.consume(framed.at)
        if framed.stop == MORE:
            if reader.ended:
                return
            reader.more()
        elif framed.stop == TOO_LONG:
            position += 1
            yield _rejected(position, RejectReason.TOO_LONG, reader.offset, reader.skip(framed.length))
        else:
            position += 1
            yield _rest(position, reader)
            return


class ByteReader:
    """A delivery's bytes, block by block: `data` is what is at hand, and begins `offset` bytes into the delivery."""

    def __init__(self, stream: BinaryIO, block_bytes: int = BLOCK_BYTES) -> None:
        self._stream = stream
        self._block_bytes = block_bytes
        self.data = b""
        self.offset = 0
        self.ended = False
        self.more()

    def more(self) -> None:
        """Read one more block behind what is at hand."""
        pieces, wanted = [self.data], self._block_bytes
        while wanted > 0:
            piece = self._stream.read(wanted)
            if not piece:
                self.ended = True
                break
            pieces.append(piece)
            wanted -= len(piece)
        self.data = b"".join(pieces)

    def consume(self, count: int) -> None:
        """Let go of the first bytes at hand."""
        if count:
            self.data = self.data[count:]
            self.offset += count

    def skip(self, count: int | None) -> int:
        """Read past so many bytes, or past all, without holding them; return how many there were."""
        skipped = 0
        while count is None or skipped < count:
            if not self.data:
                if self.ended:
                    break
                self.more()
                continue
            step = len(self.data) if count is None else min(len(self.data), count - skipped)
            self.consume(step)
            skipped += step
        return skipped


MORE: Final = "more"  # the data at hand ends here, between records or within one
TOO_LONG: Final = "too long"
LOST: Final = "lost"  # no record begins here, or one is cut off by the delivery's end


class Framed(NamedTuple):
    """Records found one behind the other: where each begins and ends; and why and where the search stopped."""

    places: Ints
    at: int
    stop: str
    length: int = 0


def frame(data: bytes, *, last: bool) -> Framed:
    """Find the records in `data`; `last` tells that nothing follows it."""
    runs = [np.empty((2, 0), np.int64)]
    at, stop, length = _frame(data, runs, last=last)
    return Framed(np.concatenate(runs, axis=1), at, stop, length)


def _frame(data: bytes, runs: list[Ints], *, last: bool) -> tuple[int, str, int]:
    """Add the records to `runs`; return where the search stopped, why, and the length of what is too long."""
    at, size = 0, len(data)
    while at < size:
        run = _run(data, at)
        if run.size:
            runs.append(run)
            at = int(run[1, -1])
            continue
        first = data[at]
        if first in (0x00, 0xFF):
            at = _end_of_padding(data, at)
            continue
        if not _BEGINS_RECORD[first]:
            return at, LOST, 0
        end = _end(data, at)
        if end - at > RECORD_BYTES_MAX:
            return at, TOO_LONG, end - at
        if end > size or end == CUT:
            overlong = size - at > RECORD_BYTES_MAX
            return at, LOST if last or overlong else MORE, 0
        if end < 0:
            return at, LOST, 0
        runs.append(np.array([[at], [end]], np.int64))
        at = end
    return at, MORE, 0


_BEGINS_RECORD: Final = [0xA0 <= octet <= 0xBF or octet in (0x30, 0x31) for octet in range(256)]


def _run(data: bytes, at: int) -> Ints:
    """Return records that follow each other, with the headers that switches write: where each begins and ends."""
    size = len(data)
    limit = size - _HEADER_MAX + 1
    kernels = compiled(size - at)
    if kernels is not None:
        room = min((size - at) // 2, BLOCK_BYTES // 32) + 1
        found = np.empty((2, room), np.int64)
        count = kernels.frame(np.frombuffer(data, np.uint8), at, limit, size, found[0], found[1])
        return found[:, :count]
    starts: list[int] = []
    ends: list[int] = []
    while at < limit:
        first = data[at]
        if not _BEGINS_RECORD[first] or (first == 0xBF and data[at + 1] >= 0x80):
            break
        place = at + 1 if first != 0xBF else at + 2
        length = data[place]
        if length < 0x80:
            end = place + 1 + length
        elif length == 0x81:
            end = place + 2 + data[place + 1]
        elif length == 0x82:
            end = place + 3 + (data[place + 1] << 8 | data[place + 2])
        else:
            break
        if end > size:
            break
        starts.append(at)
        ends.append(end)
        at = end
    return np.array([starts, ends], np.int64)


def _end_of_padding(data: bytes, at: int) -> int:
    found = _PADDING.match(data, at)
    return len(data) if found is None else found.end()


def _end(data: bytes, at: int) -> int:
    """Return where a record ends, which may be behind the data; or CUT or MALFORMED."""
    start, length = header(data, at, len(data))
    if start < 0:
        return start
    return end_of(data, at) if length == INDEFINITE else start + length


def _rest(position: int, reader: ByteReader) -> Decoded:
    """Refuse what is left of a delivery as one record."""
    offset = reader.offset
    return _rejected(position, RejectReason.MALFORMED, offset, reader.skip(None))


def _rejected(position: int, reason: RejectReason, offset: int, length: int) -> Decoded:
    """Refuse one stretch of bytes; nobody knows what it holds, so it is not kept."""
    return Decoded(pa.table({"position": pa.array([], pa.int64())}), [Reject(position, reason, None, offset, length)])
