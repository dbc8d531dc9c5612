"""Kannel's bearerbox `access.log`: short messages sent and received, and their delivery reports.

`TIME WORDS [SMSC:] [SVC:] [ACT:] [BINF:] [FID:] [META:] [from:] [to:] [flags:] [msg:LENGTH:TEXT] [udh:LENGTH:HEX]`

* The text is skipped by its length in bytes, so it may hold `]`, line ends and any bytes. Where `flags` says 8-bit or
  UCS-2, Kannel writes it in hexadecimal, twice as long. Text never leaves this module: no column, no reject has it,
  and no digest is made of it. A reject keeps what stands before `[msg:`, and nothing when that cannot be told.
* Times are local, so the source must have a zone.
* Identity: `WORD SMSC FID` when the SMS centre gave an id. Most do not; then `WORD`, a digest of everything in the line
  but the text, and the occurrence number of that digest in the delivery: equal lines of one delivery are several
  messages, the same delivery again is the same messages. Deliver whole files: a file that begins within a
  second counts that second's occurrences anew.
* A delivery report (`DLR`) is kept as a record of its own with disposition `delivery-report`: no message to bill.
* "Log begins" and "Log ends" are no records. Other lines of Kannel's logs (smsbox) are `unsupported`: they quote texts.
"""

from __future__ import annotations

import re
from binascii import hexlify
from collections.abc import Iterator
from hashlib import blake2b
from typing import BinaryIO, ClassVar, Final

import numpy as np
import pyarrow as pa

from ingest.decoders import shapes
from ingest.decoders.base import RECORD_BYTES_MAX, Decoded, or_nothing
from ingest.decoders.kannel_walk import Usual
from ingest.decoders.slices import Block, Column, compute, empty_to_null, fill, is_utf8, read_blocks
from ingest.source_config import SourceConfig
from ingest.times import ZoneTimes, zone_times
from schemas.arrow import TIME_TYPE
from schemas.rejects import Reject, RejectReason

OCCURRENCES_MAX: Final = 4_000_000
"""So many digests are counted before counting starts again under a new series (memory: about 100 B each)."""

_STAMP: Final = rb"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} "


def _head(field: bytes) -> re.Pattern[bytes]:
    """Return the pattern of everything before the text; `field` is what a value may hold."""
    pattern = (
        rb"(" + _STAMP[:-1] + rb") ([A-Za-z ]{3,40}) \[SMSC:(@)\] \[SVC:(@)\] \[ACT:(@)\] \[BINF:(@)\] "
        rb"(?:\[FID:(@)\] )?(?:\[META:(@)\] )?\[from:(@)\] \[to:(@)\] "
        rb"\[flags:([-0-9]+):([-0-9]+):([-0-9:]+)\] \[msg:([0-9]{1,7}):"
    )
    return re.compile(pattern.replace(b"@", field))


_PLAIN_HEAD = _head(rb"[^]\n]{0,4096}")
_BRACKETED_HEAD = _head(rb"[^\n]{0,256}?")  # a sender or META may hold brackets
_TAIL = re.compile(rb"\](?: \[udh:[0-9]{1,5}:([0-9A-Fa-f]*)\])?\r?(?=\n|\Z)")
_START = re.compile(rb"^" + _STAMP, re.MULTILINE)
_BEGINNINGS = (b"Sent", b"Receive", b"DLR", b"FAILED", b"DISCARDED", b"Rejected", b"REJECTED")
_IDLE = re.compile(rb"(?:" + _STAMP + rb"Log (?:begins|ends))?[ \t]*\r?(?:\n|\Z)")
_HEX = re.compile(rb"[0-9A-F]*")
_BINARY: Final = (b"1", b"2")  # coding: 8-bit and UCS-2, written in hexadecimal
_LABELS: Final = (b"SMSC:", b"SVC:", b"ACT:", b"BINF:", b"from:", b"to:", b"flags:", b"msg:")
_TAIL_BYTES_MAX: Final = 1024


class Kannel:
    """Kannel's access log."""

    name: ClassVar = "kannel"
    summary: ClassVar = "Kannel bearerbox access.log (message text is dropped)"
    zoned: ClassVar = False
    options: ClassVar[tuple[str, ...]] = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the messages in order.

        Raises:
            InputError: the stream is UTF-16.
            ConfigurationError: the source has no zone.
        """
        reader = _Reader(source, zone_times(source, self.name))
        return or_nothing(_stretches(stream, reader), lambda: reader.is_headed)


def _stretches(stream: BinaryIO, reader: _Reader) -> Iterator[Decoded]:
    carry, carried_at = b"", 0
    for block in read_blocks(stream):
        if block.overlong_bytes:
            # What waited may be whole, and only lack the bytes in which its end is looked for.
            reader.read(Block(carry, carried_at, 0, last=True))
            reader.refuse(RejectReason.TOO_LONG, block.offset, None, block.overlong_bytes)
            carry = b""
        else:
            offset = carried_at if carry else block.offset
            data = carry + block.data
            used = reader.read(Block(data, offset, 0, block.last))
            carry, carried_at = data[used:], offset + used
        yield reader.take()


class _Reader:
    """Records of one delivery on their way into columns; `is_headed` tells whether a log began or ended in it."""

    def __init__(self, source: SourceConfig, zone: ZoneTimes) -> None:
        self._source, self._zone = source, zone
        self.is_headed = False
        self._position = 0
        self._rejects: list[Reject] = []
        self._rows: list[tuple[object, ...]] = []
        self._tables: list[pa.Table] = []
        self._seen: dict[bytes, int] = {}
        self._series = 0

    def read(self, block: Block) -> int:
        """Read the block's records; return how many bytes are done with. The rest needs what comes after."""
        usual = Usual(block.data, self._zone) if shapes.takes(len(block.data)) else None
        at = self._read(block, usual)
        if usual is not None and usual.taken:
            self._tables.append(_table(self._source, *usual.columns()))
        return at

    def _read(self, block: Block, usual: Usual | None) -> int:
        data, at = block.data, 0
        places = {} if usual is None else usual.places
        while at < len(data):
            if usual is not None and (row := places.get(at)) is not None:
                self._position += 1
                digest = None if usual.identified[row] else self._digest_key(*usual.said(row))
                at = usual.take(row, self._position, digest)
                continue
            head = _PLAIN_HEAD.match(data, at) or _BRACKETED_HEAD.match(data, at)
            if head is None:
                idle = _IDLE.match(data, at)
                if idle is not None and idle.end() > at:
                    self.is_headed |= idle[0].endswith(b"\n") and not idle[0].isspace()
                    at = idle.end()
                    continue
            elif not _is_clear(head):
                head = None
            end = self._read_one(data, at, head, block)
            if end < 0:
                return at
            at = end
        return at

    def _read_one(self, data: bytes, at: int, head: re.Match[bytes] | None, block: Block) -> int:
        """Read the record at `at`; return where the next may begin, or -1 when its end is not in the block."""
        if head is None:
            return self._skip(data, at, block, None)
        length = int(head[14]) * (2 if head[12] in _BINARY else 1)
        text = head.end()
        if length > RECORD_BYTES_MAX:
            return self._skip(data, at, block, head[0], RejectReason.TOO_LONG)
        if len(data) < text + length + _TAIL_BYTES_MAX and not block.last:
            return -1
        tail = _TAIL.match(data, text + length)
        if tail is None and length > int(head[14]):  # coding says binary, yet the text stands as it is
            length = int(head[14])
            tail = _TAIL.match(data, text + length)
        elif tail is not None and length > int(head[14]) and not _HEX.fullmatch(data, text, text + length):
            tail = None
        if tail is None:
            return self._skip(data, at, block, head[0])
        self._accept(head, tail[1] or b"", block.offset + at)
        return min(tail.end() + 1, len(data))

    def _skip(
        self, data: bytes, at: int, block: Block, kept: bytes | None, reason: RejectReason = RejectReason.MALFORMED
    ) -> int:
        """Refuse what stands at `at`, up to the next line that begins with a time."""
        following = _START.search(data, at + 1)
        if following is None and not block.last:
            if len(data) - at <= RECORD_BYTES_MAX:
                return -1
            reason = RejectReason.TOO_LONG
        end = following.start() if following is not None else len(data)
        if kept is None and reason is RejectReason.MALFORMED and _START.match(data, at):
            line_end = data.find(b"\n", at, end)
            if b"[SMSC:" not in data[at : end if line_end < 0 else line_end] and line_end >= 0:
                reason = RejectReason.UNSUPPORTED
        self.refuse(reason, block.offset + at, kept, end - at)
        return end

    def refuse(self, reason: RejectReason, offset: int, kept: bytes | None, length: int | None = None) -> None:
        """Count a reject; `kept` is what of it holds no text."""
        self._position += 1
        self._rejects.append(Reject(self._position, reason, None, offset, length, kept))

    def _accept(self, head: re.Match[bytes], udh: bytes, offset: int) -> None:
        raw, stamp, words, smsc, account, fid, sender, receiver = head.group(0, 1, 2, 3, 5, 7, 9, 10)
        if b"\0" in raw or not (raw.isascii() or is_utf8(raw)):
            self.refuse(RejectReason.ENCODING, offset, raw)
            return
        time = self._zone.convert(stamp.decode())
        if time is None:
            self.refuse(RejectReason.BAD_TIME, offset, raw)
            return
        meaning = _meaning(words)
        if meaning is None:
            self.refuse(RejectReason.UNSUPPORTED, offset, raw)
            return
        self._position += 1
        disposition, letter = meaning
        if fid:
            key = b"%b %b %b" % (letter, smsc, fid)
        else:
            key = self._digest_key(letter, raw, udh)
        self._rows.append((self._position, key, sender, receiver, *time, disposition, smsc, account))

    def _digest_key(self, letter: bytes, raw: bytes, udh: bytes) -> bytes:
        digest = blake2b(raw + b" " + udh, digest_size=12).digest()
        return b"%b %b %b" % (letter, hexlify(digest), self._occurrence(digest))

    def _occurrence(self, digest: bytes) -> bytes:
        """Return the occurrence number of a digest; a new series, told in the number, when too many are counted."""
        seen = self._seen
        if len(seen) >= OCCURRENCES_MAX:
            seen.clear()
            self._series += 1
        number = seen[digest] = seen.get(digest, 0) + 1
        return b"%d.%d" % (self._series, number) if self._series else b"%d" % number

    def take(self) -> Decoded:
        """Return what was read since the last call."""
        rows, rejects, tables = self._rows, self._rejects, self._tables
        self._rows, self._rejects, self._tables = [], [], []
        if rows:
            columns = [list(column) for column in zip(*rows, strict=True)]
            position, key, sender, receiver, times, offsets, ambiguous, disposition, smsc, account = columns
            texts = (_texts(one) for one in (key, sender, receiver, smsc, account))
            local = pa.array(times, pa.int64()).cast(TIME_TYPE), pa.array(offsets, pa.int32()), pa.array(ambiguous)
            told = pa.array(disposition, pa.string())
            tables.append(_table(self._source, pa.array(position, pa.int64()), (*texts,), local, told))
        if not tables:
            return Decoded(pa.table({"position": pa.array([], pa.int64())}), rejects)
        table = tables[0]
        if len(tables) > 1:
            both = pa.concat_tables(tables)
            table = both.take(compute.sort_indices(both.column("position")))
        return Decoded(table, rejects)


def _table(
    source: SourceConfig, position: Column, texts: tuple[Column, ...], time: tuple[Column, ...], disposition: Column
) -> pa.Table:
    """Return messages as columns: key, sender, receiver, centre, account; time, offset, whether it is ambiguous."""
    key, sender, receiver, smsc, account = texts
    names, centres = empty_to_null(account), empty_to_null(smsc)
    inbound = np.asarray(compute.equal(disposition, "received"))
    table = {
        "position": position,
        "record_key": key,
        "service_type": pa.repeat(source.service_type or "sms", len(position)),
        "calling_number": empty_to_null(sender),
        "called_number": empty_to_null(receiver),
        "start_time": time[0],
        "end_time": time[0],
        "utc_offset_s": time[1],
        "time_ambiguous": time[2],
        "disposition": disposition,
        "trunk_in": fill(centres, None, ~inbound),
        "trunk_out": fill(centres, None, inbound),
        "account": names,
    }
    if source.tenant is None:
        table["tenant"] = names
    return pa.table(table)


def _is_clear(head: re.Match[bytes]) -> bool:
    """Tell whether each label stands in the head once: a torn line may have a text before the `[msg:` of the next."""
    text = head[0]
    if text.count(b"[") == len(_LABELS) + (head[7] is not None) + (head[8] is not None):
        return True
    return all(text.count(label) == 1 for label in _LABELS)


def _texts(values: list[object]) -> Column:
    return pa.array(values, pa.binary()).cast(pa.string())


def _meaning(words: bytes) -> tuple[str, bytes] | None:
    """Return disposition and key letter of `Sent SMS`, `Receive SMS`, `DLR SMS`, `FAILED Send SMS`, `DISCARDED SMS`."""
    if not words.startswith(_BEGINNINGS):
        return None
    if b"DLR" in words:
        return "delivery-report", b"D"
    if words.startswith(b"Sent"):
        return "sent", b"S"
    if words.startswith(b"Receive"):
        return "received", b"R"
    return "failed", b"F"
