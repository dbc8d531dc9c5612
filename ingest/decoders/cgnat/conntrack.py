"""Linux `conntrack -E -o timestamp,id` (with `extended` or without): address translations as they begin and end.

* `[NEW]` is OPEN, `[UPDATE]` is UPDATE, `[DESTROY]` is CLOSE. They meet by `session_key`: conntrack's id, protocol and
  original tuple.
* `record_key` is the event's letter, id and time in µs (`n`, `u`, `d`): the kernel gives ids out again, the time does
  not come back. Without `-o id` the tuple stands for the id.
* A DESTROY is complete by itself when the kernel keeps time (`net.netfilter.nf_conntrack_timestamp=1`): conntrack
  writes `delta-time` as the difference of whole seconds, so the second of the start is the second of the end less
  `delta-time`. Without it, the start is that of the NEW.
* The original direction gives source and destination; the answer direction's destination is the public address and
  port, told in the `nat_*` columns where it differs from the source. For ICMP the echo id stands for the port.
* A line of `conntrack -L` is a snapshot without event or time of its own: refused as `unsupported`. The sessions in it
  are told by their events.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, ClassVar, Final

import numpy as np
import pyarrow as pa

from ingest.decoders import shapes
from ingest.decoders import shapes as of
from ingest.decoders.base import Decoded, Event
from ingest.decoders.parallel_blocks import side_by_side
from ingest.decoders.shapes import Shapes, Steps, shape
from ingest.decoders.slices import Block, Column, Faults, Flags, Ints, Lines, compute, fill, read_blocks
from ingest.source_config import SourceConfig
from schemas.arrow import TIME_TYPE
from schemas.rejects import Reject, RejectReason

LINE_BYTES_MAX: Final = 4096
"""A line has some 300 bytes. Longer ones are refused before the pattern sees them."""

PORT_MAX: Final = 65_535

_TUPLE: Final = (
    rb" src=(\S+) dst=(\S+)"
    rb"(?: sport=([0-9]{1,5}) dport=([0-9]{1,5})| type=[0-9]+ code=[0-9]+ id=([0-9]{1,5})|(?: srckey=\S+ dstkey=\S+)?)"
    rb"(?: packets=[0-9]+ bytes=([0-9]{1,18}))?"
)
# No possessive repeat: Python before 3.11.5, Debian 12's among them, matches those of groups with choices wrongly.
_LINE = re.compile(
    rb"\[([0-9]{9,11})\.(?=.{6}\])([0-9]{1,6}) *\]\s+\[(NEW|UPDATE|DESTROY)\] (?:ipv[46] +[0-9]+ )?"
    rb"(\w+) +[0-9]+(?: [0-9]+)?(?: [A-Z0-9_]+)?"  # protocol, its number, timeout, state
    + _TUPLE
    + rb"(?: \[UNREPLIED\])?"
    + _TUPLE
    + rb"(?: delta-time=([0-9]{1,9})| \[(?:start|stop)=[^\]]*\]| \[[A-Z_]+\]"
    rb"| (?:mark|zone|secmark|secctx|use|labels)=\S+)*"
    rb"(?: id=([0-9]{1,10}))?(?: \[USERSPACE\])?(?: portid=[0-9]+)?(?: progname=\S+)? *"
)
_LISTING = re.compile(rb"(?:ipv[46] +[0-9]+ )?[a-z]\w* +[0-9]+ .*src=\S+ dst=")
_WORDS: Final = ("UPDATE", "NEW", "DESTROY")
_EVENTS: Final = (Event.UPDATE.value, Event.OPEN.value, Event.CLOSE.value)
_LETTERS: Final = ("u", "n", "d")
_SLOTS: Final = 17
"""Groups of the pattern without the event's word."""


def _tuple(first: int, *, ports: bool) -> Steps:
    """Return one direction, whose groups begin with slot `first`."""
    source, destination, here, there, icmp, sent = range(first, first + 6)
    ends = shape(" sport=", of.figures(5, here), " dport=", of.figures(5, there))
    echo = shape(" type=", of.figures(3), " code=", of.figures(3), " id=", of.figures(5, icmp))
    octets = of.option(" packets=", of.figures(18), " bytes=", of.figures(18, sent))
    return shape(" src=", of.quad(source), " dst=", of.quad(destination), ends if ports else echo, octets)


def _shape(word: str, *, ports: bool) -> Steps:
    """Return a usual line of IPv4, its numbers without zeros before them."""
    told = (of.option(f" {name}=", of.figures(10)) for name in ("mark", "zone", "use"))
    kept = (of.option(f" [{name}=", of.span(of.FIELD), "]") for name in ("start", "stop"))
    return shape(
        *("[", of.figures(11, 0, least=9), ".", of.span(of.FIGURE, 1, least=6, most=6), "]", of.span(of.SPACING)),
        *(f"[{word}] ", of.option("ipv4", of.span(of.BLANK), of.figures(3), " ")),
        *(of.span(of.WORD, 2), of.span(of.BLANK), of.span(of.FIGURE)),
        *(of.when(of.FIGURE, 1, " ", of.span(of.FIGURE)), of.when(of.CAPITAL, 1, " ", of.span(of.CAPITAL))),
        *(_tuple(3, ports=ports), of.option(" [UNREPLIED]"), _tuple(9, ports=ports)),
        *(of.option(" [ASSURED]"), of.option(" [OFFLOAD]"), *told, *kept),
        *(of.option(" delta-time=", of.figures(9, 15)), of.option(" id=", of.figures(10, 16)), of.END),
    )


_SHAPES: Final = Shapes(_SLOTS, *(_shape(word, ports=ports) for ports in (True, False) for word in _WORDS))
_BANNER: Final = b"conntrack v"  # "conntrack v1.4.7 (conntrack-tools): 120 flow events have been shown."


class Conntrack:
    """Events of Linux's connection tracking."""

    name: ClassVar = "conntrack"
    summary: ClassVar = "Linux NAT events (conntrack -E -o timestamp,id)"
    zoned: ClassVar = True
    options: ClassVar[tuple[str, ...]] = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Return the events in order; times are epoch, so no zone is needed.

        Raises:
            InputError: the stream is UTF-16.
        """
        return side_by_side(read_blocks(stream), lambda block: _decoded(block, source))


_EMPTY: Final = pa.table({"position": pa.array([], pa.int64())})


def _decoded(block: Block, source: SourceConfig) -> tuple[int, Decoded]:
    """Return how many lines of a block count, and what they tell."""
    if block.overlong_bytes:
        return 1, Decoded(_EMPTY, [Reject(1, RejectReason.TOO_LONG, None, block.offset, block.overlong_bytes)])
    lines = Lines(block.data)
    lines.select(~(lines.blank() | _banners(lines)))
    return len(lines), _decode(lines, block.offset, source) if len(lines) else Decoded(_EMPTY, [])


def _banners(lines: Lines) -> Flags:
    if _BANNER not in lines.data:
        return np.zeros(len(lines), np.bool_)
    return np.array([lines.line(index).startswith(_BANNER) for index in range(len(lines))], np.bool_)


def _decode(lines: Lines, offset: int, source: SourceConfig) -> Decoded:
    """Read the lines of one block."""
    positions: Ints = np.arange(1, 1 + len(lines), dtype=np.int64)
    faults = Faults(len(lines))
    faults.add(lines.ends - lines.starts > LINE_BYTES_MAX, RejectReason.TOO_LONG)
    faults.add(lines.encoding_faults(), RejectReason.ENCODING)
    faults.add(~lines.terminated, RejectReason.MALFORMED)
    sound = ~faults.mask
    usual, columns = _usual(lines, sound)
    odd = np.flatnonzero(sound & ~usual)
    spans = zip(lines.starts[odd].tolist(), lines.ends[odd].tolist(), strict=True)
    found = [_LINE.fullmatch(lines.data, start, end) for start, end in spans]
    matched, listed = usual.copy(), np.zeros(len(lines), np.bool_)
    matched[odd] = [one is not None for one in found]
    for index in np.flatnonzero(sound & ~matched):
        listed[index] = _LISTING.match(lines.line(int(index))) is not None
    faults.add(listed, RejectReason.UNSUPPORTED)
    faults.add(~matched, RejectReason.MALFORMED)
    groups = list(zip(*[one.groups() for one in found if one is not None], strict=True))
    where = np.flatnonzero(matched)
    if groups:
        columns = _among(columns, _texts(groups), usual[where])
    table = _EMPTY
    if len(where):
        table = _table(columns, source)
        for name in ("source_port", "destination_port", "nat_port_first"):
            absurd = np.zeros(len(lines), np.bool_)
            absurd[where] = np.asarray(compute.fill_null(compute.greater(table[name], PORT_MAX), False))
            faults.add(absurd, RejectReason.BAD_FIELD, name)
        kept = ~faults.mask[where]
        table = table.append_column("position", pa.array(positions[where])).filter(pa.array(kept))
    return Decoded(table, faults.rejects(positions, lines, offset))


def _usual(lines: Lines, sound: Flags) -> tuple[Flags, list[Column]]:
    """Return which lines the compiled walk reads, and their groups."""
    if not shapes.takes(len(lines.data)):
        return np.zeros(len(lines), np.bool_), []
    found = _SHAPES.match(lines.bytes, np.where(sound, lines.starts, -1), lines.ends)
    rows = np.flatnonzero(found.which >= 0)
    event = compute.take(pa.array(_WORDS), pa.array(found.which[rows] % len(_WORDS)))
    columns = [shapes.texts(lines.bytes, found, slot, rows) for slot in range(_SLOTS)]
    return found.which >= 0, [*columns[:2], event, *columns[2:]]


def _texts(groups: list[tuple[bytes | None, ...]]) -> list[Column]:
    return [pa.array(group, pa.binary()).cast(pa.string()) for group in groups]


def _among(usual: list[Column], odd: list[Column], mask: Flags) -> list[Column]:
    """Return both kinds of lines in their order; the mask tells the usual ones."""
    if not usual or not len(usual[0]):
        return odd
    order = np.argsort(np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)]))
    return [pa.concat_arrays(both).take(pa.array(order)) for both in zip(usual, odd, strict=True)]


def _table(columns: list[Column], source: SourceConfig) -> pa.Table:
    """Return matched lines as delivered columns; there is a column of texts for each group of the pattern."""
    seconds, micros, word, protocol = columns[:4]
    src, dst, sport, dport, icmp, sent = columns[4:10]
    _, back_dst, _, back_dport, back_icmp, received = columns[10:16]
    delta, identifier = columns[16:]
    kind = compute.index_in(word, pa.array(_WORDS))
    event, letters = (compute.take(pa.array(told), kind) for told in (_EVENTS, _LETTERS))
    closes, opens = compute.equal(event, Event.CLOSE.value), compute.equal(event, Event.OPEN.value)
    second = compute.cast(seconds, pa.int64())
    time = compute.add(compute.multiply(second, 1_000_000), compute.cast(micros, pa.int64()))
    begun = compute.multiply(compute.subtract(second, compute.cast(delta, pa.int64())), 1_000_000)
    first_port, public_port = compute.coalesce(sport, icmp), compute.coalesce(back_dport, back_icmp)
    tuple_text = _joined(protocol, src, first_port, dst, dport)
    known = compute.coalesce(identifier, tuple_text)
    translated = compute.or_(
        compute.not_equal(back_dst, src), compute.fill_null(compute.not_equal(public_port, first_port), False)
    )
    port = compute.cast(public_port, pa.int32())
    nat_port = fill(port, None, compute.invert(translated))
    return pa.table(
        {
            "event": event,
            "session_key": _joined(identifier, tuple_text),
            "record_key": _joined(letters, known, compute.cast(time, pa.string())),
            "service_type": pa.repeat(source.service_type or "nat", len(event)),
            "start_time": _time(compute.if_else(opens, time, fill(begun, None, compute.invert(closes)))),
            "end_time": _time(fill(time, None, compute.invert(closes))),
            "duration_ms": compute.multiply(fill(compute.cast(delta, pa.int64()), None, compute.invert(closes)), 1000),
            "source_ip": src,
            "source_port": compute.cast(sport, pa.int32()),
            "destination_ip": dst,
            "destination_port": compute.cast(dport, pa.int32()),
            "nat_ip": fill(back_dst, None, compute.invert(translated)),
            "nat_port_first": nat_port,
            "nat_port_last": nat_port,
            "volume_up_bytes": compute.cast(sent, pa.int64()),
            "volume_down_bytes": compute.cast(received, pa.int64()),
            "disposition": fill(pa.repeat("closed", len(event)), None, compute.invert(closes)),
        }
    )


def _joined(*parts: Column) -> Column:
    return compute.binary_join_element_wise(*parts, " ", null_handling="replace", null_replacement="-")


def _time(microseconds: Column) -> Column:
    return compute.cast(microseconds, TIME_TYPE)
