"""TAP3: the events of a TransferBatch, which one roaming partner sends another.

A batch is read from front to back: control and network information first, then the events, then the audit. Only what
the events need is held. A Notification, an NRTRDE or a RAP file is told as what it is; a batch without events, one that
is cut off, and one whose audit counts other events than it holds, are refused as a whole.

Source: GSMA TD.57 (TAP 3.12), the ASN.1 of TransferBatch and AuditControlInformation.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, ClassVar, Final, NamedTuple

import numpy as np

from ingest.decoders.base import RECORD_BYTES_MAX, Decoded, nothing
from ingest.decoders.ber.elements import CUT, INDEFINITE, end_of, header
from ingest.decoders.ber.walk import compiled
from ingest.decoders.tap3.events import decode_events
from ingest.decoders.tap3.partner import Partner
from ingest.decoders.threegpp.bare import ByteReader
from ingest.decoders.threegpp.columns import Readers
from ingest.parallel_map import in_order
from ingest.source_config import SourceConfig
from schemas.buffers import Ints
from schemas.errors import InputError

_BATCH, _NOTIFICATION, _EVENTS, _CONTROL, _NETWORK, _AUDIT = 0x61, 0x62, 0x63, 0x64, 0x66, 0x6F
_COUNT: Final = b"\x5f\x2b"  # [APPLICATION 43] CallEventDetailsCount
_SPECIFICATION: Final = b"\x5f\x81\x49"  # [APPLICATION 201], the first element of an NRTRDE
_RETURNS: Final = (b"\x7f\x84\x16", b"\x7f\x84\x17")  # [APPLICATION 534] ReturnBatch, 535 Acknowledgement
_PADDING: Final = b"\x00\xff"
PART_BYTES_MAX: Final = 16 << 20
"""Control, accounting and network information are held whole, up to so much."""


class Tap3:
    """TAP3 files."""

    name: ClassVar = "tap3"
    summary: ClassVar = "GSMA TAP3 roaming files (TransferBatch: calls, messages, data)"
    zoned: ClassVar = True
    options: ClassVar[tuple[str, ...]] = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the events; local times are made UTC with the batch's own table of offsets.

        Raises:
            InputError: not a TransferBatch, or one that is cut off, damaged, without events, or miscounted.
            ConfigurationError: the source's country does not exist.
        """
        readers = Readers(source)
        reader = ByteReader(stream)
        if _is_notification(reader):
            yield nothing()
            return
        batch = _Batch(reader)
        batch.open()
        partner = batch.read_front()

        def work(events: _Events) -> list[Decoded]:
            return list(decode_events(*events, partner, readers))

        position = 0
        for events, parts in in_order(batch.events(), work):
            yield from parts
            position += len(events.starts)
        batch.close(position)


def _is_notification(reader: ByteReader) -> bool:
    """Tell whether the delivery is a whole Notification: the partner's word that there is nothing to tell.

    Raises:
        InputError: it begins like one, and is cut off, damaged, or something follows it.
    """
    if reader.data[:1] != bytes((_NOTIFICATION,)):
        return False
    while (end := end_of(reader.data, 0)) == CUT and not reader.ended and len(reader.data) < PART_BYTES_MAX:
        reader.more()
    if end < 0 or not reader.ended or reader.data[end:].strip(b"\0\xff"):
        raise InputError("the TAP notification is cut off, damaged, or not alone")
    return True


class _Events(NamedTuple):
    """Whole events of a batch: where they lie in `data`, which begins `offset` bytes into the delivery."""

    data: bytes
    starts: Ints
    ends: Ints
    first_position: int
    offset: int


class _Batch:
    """A TransferBatch, read from front to back."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._end: int | None = None  # of the batch, in the delivery; None when its length is indefinite
        self._events_end: int | None = None

    def open(self) -> None:
        """Enter the batch.

        Raises:
            InputError: this is no TransferBatch.
        """
        data = self._reader.data
        if data.startswith(_RETURNS):
            raise InputError("this is a RAP file, not a TAP batch", hint="RAP files hold no events of their own")
        if data[:1] != bytes((_BATCH,)):
            raise InputError("this is no TAP file: it does not begin with a TransferBatch")
        at, length = header(data, 0, len(data))
        if at < 0:
            raise InputError("the TAP file is cut off within its first octets")
        if data[at : at + 3] == _SPECIFICATION:
            raise InputError("this is an NRTRDE file, not a TAP batch", hint="its calls come again, rated, in TAP")
        self._end = None if length == INDEFINITE else at + length
        self._reader.consume(at)

    def read_front(self) -> Partner:
        """Read what stands before the events, and enter them.

        Raises:
            InputError: the batch has no events, or is damaged before them.
        """
        control = network = b""
        while True:
            first, at, length = self._next()
            if first == _EVENTS:
                self._events_end = None if length == INDEFINITE else self._reader.offset + at + length
                self._reader.consume(at)
                return Partner.read(control, network)
            part = self._take()
            if first == _CONTROL:
                control = part
            elif first == _NETWORK:
                network = part
            elif first in (0, _AUDIT):
                raise InputError("the TAP batch holds no events")

    def _next(self) -> tuple[int, int, int]:
        """Return first octet, place of the content and length of the next element of the batch."""
        reader = self._reader
        while len(reader.data) < 16 and not reader.ended:
            reader.more()
        if not reader.data or (self._end is not None and reader.offset >= self._end):
            raise InputError("the TAP batch holds no events")
        at, length = header(reader.data, 0, len(reader.data))
        if at < 0:
            raise InputError("the TAP batch is damaged")
        return reader.data[0], at, length

    def _take(self) -> bytes:
        """Read the next element whole."""
        reader = self._reader
        while (end := end_of(reader.data, 0)) == CUT and not reader.ended and len(reader.data) < PART_BYTES_MAX:
            reader.more()
        if end < 0:
            raise InputError("the TAP batch is cut off or damaged before its events")
        part = reader.data[:end]
        reader.consume(end)
        return part

    def events(self) -> Iterator[_Events]:
        """Yield the events, block by block.

        Raises:
            InputError: the events are cut off or damaged.
        """
        reader, position = self._reader, 1
        while True:
            starts, ends, at, done = self._frame(reader.data)
            if len(starts):
                yield _Events(reader.data, starts, ends, position, reader.offset)
                position += len(starts)
            reader.consume(at)
            if done:
                return
            if reader.ended or len(reader.data) > 2 * RECORD_BYTES_MAX:
                raise InputError("the TAP batch is cut off or damaged within its events", hint="deliver it again")
            reader.more()

    def _frame(self, data: bytes) -> tuple[Ints, Ints, int, bool]:
        """Return where events begin, where they end, the place behind the last one, and whether there are no more."""
        kernels, octets = compiled(len(data)), np.frombuffer(data, np.uint8)
        starts, ends = np.empty(len(data) // 2 + 1, np.int64), np.empty(len(data) // 2 + 1, np.int64)
        count, at, size, done = 0, 0, len(data), False
        stop = None if self._events_end is None else self._events_end - self._reader.offset
        while at < size and at != stop:
            if kernels is not None:
                limit = size if stop is None else min(size, stop)
                count += kernels.frame_events(octets, at, limit, starts[count:], ends[count:])
                at = int(ends[count - 1]) if count else at
                if at >= size or at == stop:
                    break
            if stop is None and data[at : at + 2] == b"\0\0":
                at, done = at + 2, True
                break
            if stop is None and data[at : at + 1] == b"\0":
                break
            end = end_of(data, at)
            if end == CUT:
                break
            if end < 0 or data[at] & 0xE0 != 0x60 or (stop is not None and end > stop):
                raise InputError("the TAP batch is damaged within its events")
            starts[count], ends[count] = at, end
            count, at = count + 1, end
        return starts[:count], ends[:count], at, done or at == stop

    def close(self, events: int) -> None:
        """Read what is behind the events.

        Raises:
            InputError: there were none, the batch is cut off, or its audit counts others.
        """
        if not events:
            raise InputError("the TAP batch holds no events")
        reader = self._reader
        while not reader.ended and len(reader.data) < PART_BYTES_MAX:
            reader.more()
        if reader.ended and self._end is not None and reader.offset + len(reader.data) < self._end:
            raise InputError("the TAP batch is shorter than it says", hint="deliver it again")
        if self._end is not None and reader.data[max(self._end - reader.offset, 0) :].strip(_PADDING):
            raise InputError("the delivery goes on behind the TAP batch", hint="deliver each TAP file by itself")
        at, length = header(reader.data, 0, len(reader.data))
        if reader.data[:1] != bytes((_AUDIT,)) or at < 0:
            return
        counted = _count(reader.data[at : len(reader.data) if length == INDEFINITE else at + length])
        if counted is not None and counted != events:
            raise InputError(f"the TAP batch's audit counts {counted} events, the batch holds {events}")


def _count(audit: bytes) -> int | None:
    """Return the number of events that an audit tells."""
    at = 0
    while at < len(audit):
        start, length = header(audit, at, len(audit))
        if start < 0 or length == INDEFINITE:
            return None
        if audit[at : at + 2] == _COUNT:
            return int.from_bytes(audit[start : start + length], "big")
        at = start + length
    return None
