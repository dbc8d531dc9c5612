"""FreeRADIUS `detail` files: accounting packets (RFC 2866), one block of lines each.

A block is a header line (local time of receipt, not used), lines `TAB Name = value`, and a blank line. Which packet
becomes what is told in `ingest.decoders.radius.records`.

Only the attributes named there are ever looked at; all others, `User-Password` and its like among them, are passed over
and stand in no reject. A block at the end of the delivery counts only when it is whole: a blank line follows it, or its
last line is the `Timestamp` that FreeRADIUS writes last.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, ClassVar, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decoders.base import RECORD_BYTES_MAX, Decoded
from ingest.decoders.coalescing import Together, joined
from ingest.decoders.parallel_blocks import side_by_side
from ingest.decoders.radius import records
from ingest.decoders.radius.walk import Walked, kept, walked
from ingest.decoders.slices import (
    BLANK_LINE,
    Block,
    Column,
    Faults,
    Flags,
    Ints,
    Lines,
    gather,
    read_blocks,
)
from ingest.source_config import SourceConfig
from schemas.rejects import Reject, RejectReason

_PAD: Final = 32  # bytes before and after the block, so that words of a name can be read without looking at bounds
_TAB, _SPACE, _EQUALS, _QUOTE = 0x09, 0x20, 0x3D, 0x22
_EMPTY: Final = pa.table({"position": pa.array([], pa.int64())})
_NOTHING: Final = Decoded(_EMPTY, [])
_WHOLE: Final = re.compile(rb"\n(?:\n|\tTimestamp = [0-9]+\n)\Z")
_HEADER: Final = re.compile(rb"^[^ \t\r\n]", re.MULTILINE)
_ESCAPE = re.compile(rb'\\([0-7]{3}|[\\"nrt])')
_ESCAPES: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b'"': b'"', b"\\": b"\\"}

Words = npt.NDArray[np.uint64]


class RadiusDetail:
    """Accounting packets in FreeRADIUS's detail format."""

    name: ClassVar = "radius-detail"
    summary: ClassVar = "FreeRADIUS detail files (RADIUS accounting)"
    zoned: ClassVar = True
    options: ClassVar = records.OPTIONS

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Return the packets in order.

        Raises:
            InputError: the stream is UTF-16.
            ConfigurationError: the source's zone does not exist, or an option cannot be understood.
        """
        chosen = records.settings(source)
        return side_by_side(read_blocks(stream, terminators=BLANK_LINE), lambda block: _decoded(block, chosen))

    def decode_bodies(self, bodies: Sequence[bytes], source: SourceConfig) -> Together:
        """Return the packets of all bodies, and each body's last position; None when they are read one by one."""
        if not all(_WHOLE.search(body) for body in bodies):
            return None
        return joined(
            self.decode, [body + b"\n" for body in bodies], [len(_HEADER.findall(body)) for body in bodies], source
        )


def _decoded(block: Block, chosen: records.Settings) -> tuple[int, Decoded]:
    """Return how many packets a block has, and their records and rejects."""
    if block.overlong_bytes:
        return 1, Decoded(_EMPTY, [Reject(1, RejectReason.TOO_LONG, None, block.offset, block.overlong_bytes)])
    if (found := walked(block)) is not None:
        return len(found.begins), _walked(block, found, chosen) if len(found.begins) else _NOTHING
    packets = _Packets(block)
    return packets.count, packets.decoded(chosen) if packets.count else _NOTHING


def _walked(block: Block, found: Walked, chosen: records.Settings) -> Decoded:
    """Return the records and rejects of a block that was walked."""
    columns, count = found.columns, len(found.begins)
    if b"\\" in block.data:
        columns = columns | {name: _plain(columns[name]) for name in found.quoted}
    table, faults = records.packets(columns, count, chosen)
    table = table.append_column("position", pa.array(np.arange(1, 1 + count, dtype=np.int64)))
    rejects = []
    for index, reason, field in faults.found():
        begin, end = int(found.begins[index]), int(found.ends[index])
        header, *lines = kept(block.data[begin:end])
        raw = _raw(header, lines, headed=True)
        rejects.append(Reject(1 + index, reason, field, block.offset + begin, end - begin, raw))
    return Decoded(table.filter(pa.array(~faults.mask)) if rejects else table, rejects)


class _Packets:
    """The packets of one block: lines, and which packet each belongs to."""

    def __init__(self, block: Block) -> None:
        self._offset = block.offset - _PAD
        self._escaped = b"\\" in block.data
        padding = b"\n" * _PAD
        self._lines = lines = Lines(padding + block.data + padding)
        begin, limit = _PAD, _PAD + len(block.data)
        lines.select((lines.starts >= begin) & (lines.starts < limit))
        # The padding ends the last line; whether the delivery did is asked of the block.
        unterminated = bool(block.data) and not block.data.endswith(b"\n")
        blank = lines.blank()
        initial = lines.bytes[lines.starts]
        indented = (initial == _TAB) | (initial == _SPACE)
        after_blank = np.concatenate([[True], blank[:-1]])[: len(lines)].astype(np.bool_)
        begins = ~blank & (~indented | after_blank)
        self.count = int(begins.sum())
        self._packet: Ints = np.cumsum(begins) - 1
        self._header = ~blank & ~indented
        self._attribute = ~blank & indented & (self._packet >= 0)
        lines_kept = ~blank
        lines.select(lines_kept)
        self._packet, self._header = self._packet[lines_kept], self._header[lines_kept]
        self._attribute = self._attribute[lines_kept]
        self.first: Ints = np.flatnonzero(begins[lines_kept])
        self.positions: Ints = np.arange(1, 1 + self.count, dtype=np.int64)
        # Spaces without a line end are no blank line: the first bytes of an attribute look the same.
        filled = np.flatnonzero(~blank)
        behind = len(blank) - 1 - int(filled[-1]) if len(filled) else 0
        self._cut_off = block.last and behind - int(unterminated and bool(blank[-1])) <= 0
        self._unterminated = unterminated

    def decoded(self, chosen: records.Settings) -> Decoded:
        """Return the block's records and rejects."""
        lines, faults = self._lines, Faults(self.count)
        self._last: Ints = np.append(self.first[1:], len(lines)) - 1
        sizes = lines.ends[self._last] - lines.starts[self.first]
        faults.add(sizes > RECORD_BYTES_MAX, RejectReason.TOO_LONG)
        faults.add(self._any(lines.encoding_faults()), RejectReason.ENCODING)
        equals, codes = self._names()
        broken = self._attribute & (equals < 0)
        faults.add(self._any(broken) | ~self._header[self.first], RejectReason.MALFORMED)
        self._codes = codes
        starts, ends, quoted = self._values(equals)
        faults.add(self._any((codes >= 0) & quoted & (ends < starts)), RejectReason.MALFORMED)
        self._refuse_cut_off(faults)
        order = np.argsort(codes.astype(np.int8), kind="stable")  # so short that NumPy sorts by their digits
        bounds = np.searchsorted(codes[order], np.arange(len(records.ATTRIBUTES) + 1))
        columns = {}
        for code, name in enumerate(records.ATTRIBUTES):
            where = order[bounds[code] : bounds[code + 1]]
            if len(where):
                columns[name] = self._column(where, starts, ends, quoted, ~faults.mask)
        table, wrong = records.packets(columns, self.count, chosen)
        faults.include(wrong)
        kept = ~faults.mask
        table = table.append_column("position", pa.array(self.positions)).filter(pa.array(kept))
        return Decoded(table, [self._reject(*one) for one in faults.found()])

    def _any(self, lines: Flags) -> Flags:
        """Return which packets have a line of the mask."""
        packets = np.zeros(self.count, np.bool_)
        packets[self._packet[lines]] = True
        return packets

    def _names(self) -> tuple[Ints, Ints]:
        """Return where ` = ` stands in each line, -1 where it does not, and which wanted attribute it names."""
        lines = self._lines
        equals = self._equals()
        codes = _codes(lines.bytes, lines.starts + 1, equals - 1)
        codes[~self._attribute] = -1
        return equals, codes

    def _equals(self) -> Ints:
        """Return where ` = ` stands in each line, -1 where it does not."""
        data, lines = self._lines.bytes, self._lines
        signs = np.flatnonzero(data == _EQUALS)
        signs = signs[(data[signs - 1] == _SPACE) & (data[np.minimum(signs + 1, len(data) - 1)] == _SPACE)]
        signs = np.append(signs, len(data))
        places: Ints = signs[np.searchsorted(signs, lines.starts)]
        # `Name = ` with nothing behind may have lost its last space to an editor; it has no value either way.
        return np.where(places < lines.ends, places, -1)

    def _values(self, equals: Ints) -> tuple[Ints, Ints, Flags]:
        """Return where values start and end without their quotes; end before start when a quote is not closed."""
        data, lines = self._lines.bytes, self._lines
        starts, ends = np.minimum(equals + 2, lines.ends), lines.ends
        quoted = (starts < ends) & (data[starts] == _QUOTE)
        closed = quoted & (ends - starts >= 2) & (data[ends - 1] == _QUOTE)
        return starts + quoted, np.where(quoted, np.where(closed, ends - 1, starts), ends), quoted

    def _column(self, where: Ints, starts: Ints, ends: Ints, quoted: Flags, good: Flags) -> Column:
        """Return one attribute (the lines `where`) of every packet, null where it is absent; of several, the first."""
        packets = self._packet[where]
        where, packets = where[good[packets]], packets[good[packets]]
        first = np.concatenate([[True], packets[1:] != packets[:-1]])[: len(packets)].astype(np.bool_)
        where, packets = where[first], packets[first]
        from_, to = np.full(self.count, -1, np.int64), np.full(self.count, -1, np.int64)
        from_[packets], to[packets] = starts[where], ends[where]
        column = gather(self._lines.bytes, from_, to)
        return _plain(column) if self._escaped and quoted[where].any() else column

    def _refuse_cut_off(self, faults: Faults) -> None:
        if not self._cut_off:
            return
        last = int(self._last[-1])
        whole = not self._unterminated and self._codes[last] == records.ATTRIBUTES.index("Timestamp")
        faults.add((np.arange(self.count) == self.count - 1) & (not whole), RejectReason.MALFORMED)

    def _reject(self, index: int, reason: RejectReason, field: str | None) -> Reject:
        """Return a reject whose `raw` has the header and the known attributes only: no secret is among them."""
        lines, begin, end = self._lines, int(self.first[index]), int(self._last[index])
        offset = int(lines.starts[begin])
        length = int(lines.ends[end]) - offset
        raw = None
        if length <= RECORD_BYTES_MAX:
            known = [lines.line(at) for at in range(begin, end + 1) if self._codes[at] >= 0]
            raw = _raw(lines.line(begin), known, headed=bool(self._header[begin]))
        return Reject(int(self.positions[index]), reason, field, offset + self._offset, length, raw)


def _raw(header: bytes, lines: list[bytes], *, headed: bool) -> bytes:
    """Return what is kept of a refused packet: its header, if it can be one, and lines that are read."""
    head = [header] if headed and b"=" not in header and len(header) <= _PAD else []
    return b"\n".join([*head, *lines, b"", b""])


def _plain(column: Column) -> Column:
    """Return texts that stood in quotes without their escapes."""
    values = [value if value is None or "\\" not in value else _unescaped(value) for value in column.to_pylist()]
    return pa.array(values, pa.string())


def _unescaped(text: str) -> str:
    r"""Undo `\"`, `\\`, `\n`, `\r`, `\t` and `\ooo`; a value that is not UTF-8 then stays as it is written."""

    def replace(found: re.Match[bytes]) -> bytes:
        escape = found[1]
        return _ESCAPES[escape] if escape in _ESCAPES else bytes([int(escape, 8) & 0xFF])

    try:
        return _ESCAPE.sub(replace, text.encode()).decode()
    except UnicodeDecodeError:
        return text


def _words(data: Any, starts: Ints, ends: Ints) -> Words:
    """Return four words of each name that hold all of it, if it has 8 to 32 bytes; one row per word."""
    whole = np.ndarray((len(data) - 7,), np.dtype("<u8"), data, 0, (1,))
    places = (starts, np.minimum(starts + 8, ends - 8), np.maximum(ends - 16, starts), ends - 8)
    limit = len(data) - 8
    return np.stack([whole[np.clip(place, 0, limit)] for place in places])


def _wanted() -> tuple[Ints, Words]:
    lengths = np.array([len(name) for name in records.ATTRIBUTES], np.int64)
    joined = "".join(records.ATTRIBUTES).encode() + bytes(8)
    ends = np.cumsum(lengths)
    return lengths, _words(np.frombuffer(joined, np.uint8), ends - lengths, ends)


_LENGTHS, _NAMES = _wanted()
_FACTORS: Final = np.array(
    [[0x9E3779B97F4A7C15], [0xC2B2AE3D27D4EB4F], [0x165667B19E3779F9], [0x27D4EB2F165667C5]], np.uint64
)


def _mixed(words: Words, lengths: Ints) -> Words:
    with np.errstate(over="ignore"):
        mixed: Words = (words * _FACTORS).sum(axis=0, dtype=np.uint64) + lengths.astype(np.uint64)
    return mixed


_ORDER: Final = np.argsort(_mixed(_NAMES, _LENGTHS))
_MIXED: Final = _mixed(_NAMES, _LENGTHS)[_ORDER]


def _codes(data: npt.NDArray[np.uint8], starts: Ints, ends: Ints) -> Ints:
    """Return which wanted attribute each name is, -1 for none. Exact: the mix only finds the candidate."""
    lengths = ends - starts
    words = _words(data, starts, ends)
    places = np.minimum(np.searchsorted(_MIXED, _mixed(words, lengths)), len(_MIXED) - 1)
    candidates = _ORDER[places]
    same = (lengths == _LENGTHS[candidates]) & (words == _NAMES[:, candidates]).all(axis=0)
    return np.where(same, candidates, -1)
