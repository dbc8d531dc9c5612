"""CDR files of TS 32.297: a file header, then records, each with a header of its own.

The header's times have no year: `HeaderTime.nearest` takes the one that brings it closest to a time that is known, such
as that of the file's records. `read_header` is public for transports, which watch sequence numbers and lost records.

What does not agree is told, never mended: with the option `framing` = `strict` (the default) a file that is shorter or
longer than its header says, or holds another number of records, is refused as a whole, so that it can be delivered
again. With `lenient` its records are taken, and what cannot be read of it is one reject.

Source: 3GPP TS 32.297 §6.1 (file format), V17.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import BinaryIO, ClassVar, Final

import numpy as np
import pyarrow as pa

from ingest.decoders.base import Decoded, FileSeries, nothing
from ingest.decoders.ber.walk import compiled
from ingest.decoders.slices import Faults
from ingest.decoders.threegpp.bare import ByteReader
from ingest.decoders.threegpp.columns import Readers
from ingest.decoders.threegpp.records import Stretch, decode_stretch
from ingest.parallel_map import in_order
from ingest.source_config import SourceConfig
from schemas.buffers import Ints
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import Reject, RejectReason

HEADER_OCTETS_MIN: Final = 50
HEADER_OCTETS_MAX: Final = 54 + 2 * 0xFFFF
UNKNOWN: Final = 0xFFFF_FFFF
"""A length or count of a file that was not closed properly."""

BER: Final = 1
_BEYOND_RELEASE_9: Final = 7
_RECORD_HEADER_MIN: Final = 4
_RELEASE_7: Final = 0xE0
"""From so high an octet on, a record's header has one octet more."""
_FIXED: Final = struct.Struct(">IIBBIIIIB20sBH")


class Closure(IntEnum):
    """Why the file was closed. Source: TS 32.297 §6.1.1.9."""

    NORMAL = 0
    SIZE = 1
    OPEN_TIME = 2
    RECORDS = 3
    MANUAL = 4
    FORMAT_CHANGE = 5
    ABNORMAL = 128
    FILE_SYSTEM_ERROR = 129
    STORAGE_EXHAUSTED = 130
    INTEGRITY_ERROR = 131


@dataclass(frozen=True, slots=True)
class HeaderTime:
    """A time of the header, in local time with its offset; the year is not written. Source: TS 32.297 §6.1.1.5."""

    month: int
    day: int
    hour: int
    minute: int
    offset_minutes: int

    def nearest(self, known: datetime) -> datetime | None:
        """Return this time in the year that brings it closest to a time that is known; None if no calendar has it."""
        found = []
        for year in range(known.year - 1, known.year + 2):
            try:
                wall = datetime(year, self.month, self.day, self.hour, self.minute, tzinfo=UTC)
            except ValueError:
                continue
            found.append(wall - timedelta(minutes=self.offset_minutes))
        return min(found, key=lambda one: abs(one - known), default=None)


@dataclass(frozen=True, slots=True)
class FileHeader:
    """A file's header.

    `file_octets` and `records` are None when the file was not closed properly. `lost_records` counts records that the
    node lost before it could write them; at least so many when `lost_at_least` is set.
    """

    file_octets: int | None
    header_octets: int
    opened: HeaderTime
    appended: HeaderTime
    records: int | None
    sequence: int
    closure: int
    node: bytes
    lost_records: int
    lost_at_least: bool

    @property
    def abnormal(self) -> bool:
        """Tell whether the node says that the file did not end as it should."""
        return self.closure >= Closure.ABNORMAL


def read_header(data: bytes) -> FileHeader:
    """Read the header at the beginning of a file.

    Raises:
        InputError: these bytes are no header of TS 32.297.
    """
    if len(data) < HEADER_OCTETS_MIN:
        raise InputError(f"a CDR file's header has {HEADER_OCTETS_MIN} octets or more, this delivery fewer")
    fields = _FIXED.unpack_from(data)
    total, size, high, low, opened, appended, count, sequence, closure, node, lost, filter_octets = fields
    if not HEADER_OCTETS_MIN <= size <= HEADER_OCTETS_MAX or (total != UNKNOWN and size > total):
        raise InputError("the lengths in the file header cannot be", hint="is it a TS 32.297 file? bare: 3gpp-ber")
    at = 50 + filter_octets
    if at + 2 <= size:  # nodes of early releases end their header with the routeing filter
        if len(data) < at + 2:
            raise InputError("the file header is cut off")
        at += 2 + int.from_bytes(data[at : at + 2], "big")
    extensions = (high >> 5 == _BEYOND_RELEASE_9) + (low >> 5 == _BEYOND_RELEASE_9)
    if not at <= size <= at + extensions:
        raise InputError("the parts of the file header do not add up to its length")
    at_least, number = _lost(lost)
    return FileHeader(
        file_octets=None if total == UNKNOWN else total,
        header_octets=size,
        opened=_header_time(opened),
        appended=_header_time(appended),
        records=None if count == UNKNOWN else count,
        sequence=sequence,
        closure=closure,
        node=node,
        lost_records=number,
        lost_at_least=at_least,
    )


def _header_time(packed: int) -> HeaderTime:
    offset = (packed >> 6 & 31) * 60 + (packed & 63)
    return HeaderTime(
        month=packed >> 28,
        day=packed >> 23 & 31,
        hour=packed >> 18 & 31,
        minute=packed >> 12 & 63,
        offset_minutes=offset if packed >> 11 & 1 else -offset,
    )


def _lost(octet: int) -> tuple[bool, int]:
    """Return whether at least so many records were lost, and how many. Source: TS 32.297 §6.1.1.11."""
    if octet == 0:
        return False, 0
    if octet < 128:
        return True, octet
    return (True, 1) if octet == 128 else (octet == 255, octet - 128)


class Threegpp32297:
    """CDR files with file and record headers."""

    name: ClassVar = "3gpp-32297"
    summary: ClassVar = "3GPP TS 32.297 CDR files (file header, then BER records of TS 32.298)"
    zoned: ClassVar = True
    options: ClassVar[tuple[str, ...]] = ("framing",)
    replay_format: ClassVar = "3gpp-ber"
    """Refused records are kept without their file and its headers."""

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the records; times carry their offset, so no zone is needed.

        Raises:
            InputError: no TS 32.297 file, or (strict) one that disagrees with its own header; `position` is the number
                of the record at which it shows.
            ConfigurationError: an option cannot be understood.
        """
        framing = source.options.get("framing", "strict")
        if framing not in ("strict", "lenient"):
            raise ConfigurationError("option framing is `strict` or `lenient`")
        reader = ByteReader(stream)
        header = read_header(reader.data)
        walk = _FileWalk(reader, header, framing == "strict")
        readers = Readers(source)
        series = FileSeries(header.node.hex(), header.sequence, header.lost_records, header.lost_at_least)
        yield Decoded(pa.table({"position": pa.array([], pa.int64())}), series=series)
        for _, parts in in_order(walk.stretches(), lambda stretch: list(decode_stretch(stretch, readers))):
            yield from parts
        if walk.rest is not None:
            yield Decoded(pa.table({"position": pa.array([], pa.int64())}), [walk.rest])
        elif header.records == 0 and not walk.records:
            yield nothing()


class _FileWalk:
    """Finds the records of one file, and sees to it that they agree with its header."""

    def __init__(self, reader: ByteReader, header: FileHeader, strict: bool) -> None:
        self._reader = reader
        self._header = header
        self._strict = strict
        self.records = 0
        """How many were found."""
        self.rest: Reject | None = None
        """What is left behind the last record that could be read (lenient)."""

    def stretches(self) -> Iterator[Stretch]:
        """Yield the records, block by block.

        Raises:
            InputError: (strict) the file disagrees with its header.
        """
        reader, header = self._reader, self._header
        if len(reader.data) < header.header_octets:
            raise InputError("the file header is cut off")
        reader.consume(header.header_octets)
        while True:
            left = None if header.file_octets is None else header.file_octets - reader.offset
            framed = _frame(reader.data if left is None else reader.data[:left])
            if len(framed.starts):
                yield self._stretch(framed)
                self.records += len(framed.starts)
            reader.consume(framed.at)
            whole = left is not None and framed.at + len(reader.data) >= left
            if whole or reader.ended:
                break
            reader.more()
        self._finish()

    def _stretch(self, framed: _Frames) -> Stretch:
        faults = Faults(len(framed.starts))
        faults.add(framed.encodings != BER, RejectReason.UNSUPPORTED, "data_record_format")
        ends = framed.ends.copy()
        return Stretch(self._reader.data, framed.starts, ends, self.records + 1, self._reader.offset, faults)

    def _finish(self) -> None:
        reader, header = self._reader, self._header
        total = header.file_octets
        behind = 0 if total is None else max(len(reader.data) - max(total - reader.offset, 0), 0)
        cut = len(reader.data) - behind
        offset = reader.offset
        short = total is not None and offset + cut < total
        position = self.records + 1
        if cut:
            self.rest = Reject(position, RejectReason.MALFORMED, None, offset, cut)
        reader.consume(cut)
        extra = self._behind()
        if extra and not self._strict:
            self.rest = Reject(position, RejectReason.MALFORMED, None, offset, cut + extra)
        if not self._strict:
            return
        if short:
            raise InputError(
                "the file is shorter than its header says", position=position, hint="deliver the file again"
            )
        if cut:
            raise InputError("the file's last record runs beyond its end", position=position)
        if extra:
            raise InputError("the file is longer than its header says", position=position)
        if header.records is not None and header.records != self.records:
            raise InputError(
                f"the file header counts {header.records} records, the file holds {self.records}",
                position=position,
                hint="source option framing=lenient takes such files",
            )

    def _behind(self) -> int:
        """Read what is behind the file; return how much it is, unless it is padding."""
        count, padding = 0, True
        while True:
            padding = padding and not self._reader.data.strip(b"\0\xff")
            count += self._reader.skip(len(self._reader.data))
            if self._reader.ended:
                return 0 if padding else count
            self._reader.more()


@dataclass(frozen=True, slots=True)
class _Frames:
    """Whole records in a block, without their headers; `at` is behind the last of them."""

    starts: Ints
    ends: Ints
    encodings: Ints
    at: int


def _frame(data: bytes) -> _Frames:
    """Find records by their headers. Source: TS 32.297 §6.1.2 (length, release, format and TS number)."""
    octets = np.frombuffer(data, np.uint8)
    kernels = compiled(len(data))
    if kernels is None:
        begins, stops = _frame_one_by_one(data)
    else:
        most = len(data) // _RECORD_HEADER_MIN + 1
        begins, stops = np.empty(most, np.int64), np.empty(most, np.int64)
        count = kernels.frame_file(octets, begins, stops)
        begins, stops = begins[:count], stops[:count]
    at = int(stops[-1]) if len(stops) else 0
    heads = np.concatenate([np.zeros(1, np.int64), stops])[: len(stops)]
    encodings = octets[heads + 3].astype(np.int64) >> 5 if len(stops) else stops
    return _Frames(begins, stops, encodings, at)


def _frame_one_by_one(data: bytes) -> tuple[Ints, Ints]:
    starts: list[int] = []
    ends: list[int] = []
    at, limit = 0, len(data) - _RECORD_HEADER_MIN
    while at <= limit:
        start = at + _RECORD_HEADER_MIN + (data[at + 2] >= _RELEASE_7)
        end = start + (data[at] << 8 | data[at + 1])
        if end > limit + _RECORD_HEADER_MIN:
            break
        starts.append(start)
        ends.append(end)
        at = end
    return np.array(starts, np.int64), np.array(ends, np.int64)
