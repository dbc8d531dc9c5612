"""The compiled road of translations in syslog: usual lines as columns, all at once (ADR 38).

What is read here reads `ingest.decoders.cgnat.messages` the same; every other line is left to it: IPv6, CEF, sessions
as text, a name of a message inside another word, a port beyond 65 535.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from ingest.decoders import shapes as of
from ingest.decoders.base import Event
from ingest.decoders.cgnat.messages import BINDING, BLOCK, PORT_MAX, SESSION
from ingest.decoders.cgnat.prefix import PrefixReader
from ingest.decoders.event_rows import Walked
from ingest.decoders.shapes import Found, Shapes, Steps, shape
from ingest.decoders.slices import Column, Flags, Ints, Lines, compute, gather
from ingest.source import SourceConfig
from schemas.arrow import TIME_TYPE
from schemas.buffers import Bytes

_HOST, _TIME, _MICROS, _OFFSET, _LOCAL, _PREFIX_SLOTS = range(6)
_NAMES: Final = (
    "source", "source_port", "public", "first", "last", "destination", "destination_port", "protocol", "identifier",
    "identifier_32", "epoch", "stamp", "letter", "elapsed", "up", "down", "cause",
)  # fmt: skip
(
    _SOURCE, _SOURCE_PORT, _PUBLIC, _FIRST, _LAST, _DESTINATION, _DESTINATION_PORT, _PROTOCOL, _IDENTIFIER,
    _IDENTIFIER_32, _EPOCH, _STAMP, _LETTER, _ELAPSED, _UP, _DOWN, _CAUSE,
) = range(len(_NAMES))  # fmt: skip

_PRIORITY: Final = shape(of.option("<", of.span(of.FIGURE, most=3), ">"), of.option("1 "))
_HOST_OF: Final = shape(of.span(of.BLANK), of.span(of.NAME, _HOST), of.span(of.BLANK))
_FRACTION_OF: Final = of.option(".", of.fraction(_MICROS))
_TWO: Final = of.span(of.FIGURE, least=2, most=2)
_PREFIXES: Final = Shapes(
    _PREFIX_SLOTS,
    shape(_PRIORITY, of.stamp("T", _TIME), _FRACTION_OF, of.offset(_OFFSET), _HOST_OF),
    *(
        shape(
            of.option("<", of.span(of.FIGURE, most=3), ">"),
            of.opened(_LOCAL),
            *(of.span(of.UPPER, most=1), of.span(of.SMALL, least=2, most=2), of.span(of.BLANK)),
            *(of.span(of.FIGURE, most=2), " ", _TWO, ":", _TWO, ":", _TWO),
            *(of.option(".", of.span(of.FIGURE, most=6)), *year, of.closed(_LOCAL), _HOST_OF),
        )
        for year in ((" ", of.span(of.FIGURE, least=4, most=4)), ())
    ),
)
_WITH_YEAR: Final = 1


class _Kind(NamedTuple):
    """What a shape's message is; `event` is None where a letter tells it."""

    kind: str
    event: Event | None
    steps: Steps


def _ends(slots: tuple[int, int], between: str = ":") -> Steps:
    return shape(of.quad(slots[0]), between, of.figures(5, slots[1]))


_OWN: Final = (_SOURCE, _SOURCE_PORT)
_NAT: Final = (_PUBLIC, _FIRST)
_FAR: Final = (_DESTINATION, _DESTINATION_PORT)
_REST: Final = of.option(" ", of.span(of.ANY, least=0))
_STRUCTURED: Final = shape(" [junos@", of.span(of.NAME))
_TAIL: Final = shape("]", of.span(of.PLAIN, least=0), of.END)
_PORTS: Final = shape(of.figures(5, _FIRST), "-", of.figures(5, _LAST))


def _tag(name: str) -> Steps:
    """Return the program's name before a message, as text or as a structured line has it."""
    return shape(of.option(f"{name}: "), of.option(f"{name} - "), of.upto("_", 2))


def _pba(word: str, event: Event) -> list[_Kind]:
    head = shape(_tag("RT_NAT"), f"RT_SRC_NAT_PBA_{word}")
    text = shape(
        *(": Subscriber ", of.quad(_SOURCE), " used/maximum [", of.figures(9), "/", of.figures(9), "] blocks, "),
        *(of.span(of.SMALL), " port block [", _PORTS, "] from ", of.quad(_PUBLIC)),
        of.option(" in source pool ", of.span(of.SOLID)),
        of.option(" lsys_id: ", of.figures(9)),
        of.option(" epoch ", of.option("0x"), of.hexadecimal(8, 15, _EPOCH)),
    )
    structured = of.pairs(
        ("internal-ip", of.ADDRESS, _SOURCE),
        ("reflexive-ip", of.ADDRESS, _PUBLIC),
        ("block-port-low", of.FIGURES, _FIRST),
        ("block-port-high", of.FIGURES, _LAST),
        ("epoch-time-64", of.HEXADECIMAL, _EPOCH),
    )
    return [
        _Kind(BLOCK, event, shape(head, text, of.END)),
        _Kind(BLOCK, event, shape(head, _STRUCTURED, structured, _TAIL)),
    ]


def _port_blocks(word: str, event: Event) -> list[_Kind]:
    text = shape(f"_NAT_PORT_BLOCK_{word}: ", of.quad(_SOURCE), " -> ", of.quad(_PUBLIC), ":", _PORTS, _REST, of.END)
    heads = (shape(of.upto("_", len(name)), name) for name in ("JSERVICES", "ASP"))
    return [_Kind(BLOCK, event, shape(head, text)) for head in heads]


def _flows(word: str, event: Event) -> list[_Kind]:
    ends: list[tuple[str, int, int]] = []
    for name, (address, port) in (("source", _OWN), ("nat-source", _NAT), ("destination", _FAR)):
        ends += [(f"{name}-address", of.ADDRESS, address), (f"{name}-port", of.FIGURES, port)]
    told = [("protocol-id", of.SLICE, _PROTOCOL), ("session-id", of.SLICE, _IDENTIFIER)]
    told += [("session-id-32", of.SLICE, _IDENTIFIER_32)]
    if event is Event.CLOSE:
        told += [("elapsed-time", of.FIGURES, _ELAPSED), ("bytes-from-client", of.FIGURES, _UP)]
        told += [("bytes-from-server", of.FIGURES, _DOWN), ("reason", of.SLICE, _CAUSE)]
    heads = (shape(_tag("RT_FLOW"), f"RT_FLOW_SESSION_{word}{edition}") for edition in ("", "_USF", "_LS"))
    return [_Kind(SESSION, event, shape(head, _STRUCTURED, of.pairs(*ends, *told), _TAIL)) for head in heads]


def _services(word: str, event: Event) -> list[_Kind]:
    text = shape(
        *(f"_SESSION_{word}: application:", of.span(of.NAME), " ", of.span(of.SMALL), of.span(of.NAME), " "),
        *(_ends(_OWN), " [", _ends(_NAT), "] -> ", _ends(_FAR), " (", of.span(of.WORD, _PROTOCOL), ")", of.END),
    )
    heads = (shape(of.upto("_", back), name) for name, back in (("JSERVICES", 9), ("MSVCS_LOG", 5)))
    return [_Kind(SESSION, event, shape(head, text)) for head in heads]


def _batches(word: str, event: Event) -> list[_Kind]:
    text = shape(
        *("NAT:", of.span(of.FIGURE, _STAMP, least=14, most=14), " ", of.hexadecimal(1, 15), " PortBatch"),
        *(of.option("V2"), f"{word}: [", of.quad(_SOURCE), " ", of.quad(_PUBLIC), " "),
        *(of.figures(5, _FIRST), " ", of.figures(5, _LAST), "]", of.END),
    )
    return [_Kind(BLOCK, event, text)]


def _ports() -> list[_Kind]:
    head = shape("NAT-", of.span(of.UPPER, _PROTOCOL), "-", of.span(of.UPPER, _LETTER, most=1), ": ", _ends(_OWN))
    ends, beyond = _ends(_FAR), shape(of.quad(of.NOWHERE), ":", of.figures(5))
    return [
        _Kind(BINDING, None, shape(head, "<-->", _ends(_NAT), of.option(" to ", ends), of.END)),
        _Kind(SESSION, None, shape(head, "<->", ends, ", ", _ends(_NAT), "<-->", beyond, of.END)),
    ]


def _kinds() -> list[_Kind]:
    """Return all kinds of messages, the events of one kind side by side."""
    of_events = [
        [*_pba(block, event), *_port_blocks(active, event), *_batches(batch, event)]
        for event, block, active, batch in (
            (Event.OPEN, "ALLOC", "ALLOC", "Allocated"),
            (Event.CLOSE, "RELEASE", "RELEASE", "Freed"),
            (Event.UPDATE, "INTERIM", "ACTIVE", "InterimUpdate"),
        )
    ]
    of_sessions = [
        [*_flows(flow, event), *_services(word, event)]
        for event, flow, word in ((Event.OPEN, "CREATE", "OPEN"), (Event.CLOSE, "CLOSE", "CLOSE"))
    ]
    families = (*zip(*of_events, strict=True), *zip(*of_sessions, strict=True))
    return [one for family in families for one in family] + _ports()


_KINDS: Final = _kinds()
_MESSAGES: Final = Shapes(len(_NAMES), *(one.steps for one in _KINDS))
_EVENTS: Final = (Event.OPEN, Event.UPDATE, Event.CLOSE)
_OPENS, _UPDATES, _CLOSES = range(3)
_EVENT_OF: Final = np.array([-1 if one.event is None else _EVENTS.index(one.event) for one in _KINDS])
_IS_BINDING: Final = np.array([one.kind == BINDING for one in _KINDS])
_IS_SESSION: Final = np.array([one.kind == SESSION for one in _KINDS])
_LETTERS: Final = np.full(256, -1)
for _letters, _code in ((b"CNAB", _OPENS), (b"DF", _CLOSES), (b"UI", _UPDATES)):
    _LETTERS[list(_letters)] = _code
_WORDS: Final = b"nudblock binding session"
_KIND_WORDS: Final = {BLOCK: (3, 8), BINDING: (9, 16), SESSION: (17, 24)}
_KIND_SLICE: Final = np.array([_KIND_WORDS[one.kind] for one in _KINDS])
_SECOND_US: Final = 1_000_000
_EPOCH_MAX: Final = 1 << 33
_ELAPSED_MAX: Final = 1 << 40


class Walk:
    """Reads the usual lines of one delivery."""

    def __init__(self, source: SourceConfig, prefixes: PrefixReader, service_type: str, bytes_max: int) -> None:
        self._switch = (source.switch or "").encode()
        self._prefixes, self._bytes_max = prefixes, bytes_max
        self._service = source.service_type or service_type

    def read(self, lines: Lines, positions: Ints) -> Walked:
        """Return the events of the lines that are usual."""
        whole = lines.terminated & (lines.ends - lines.starts < self._bytes_max)
        head = _PREFIXES.match(lines.bytes, np.where(whole, lines.starts, -1), lines.ends)
        body = _MESSAGES.match(lines.bytes, np.where(head.which >= 0, head.stops, -1), lines.ends)
        times = self._times(lines.bytes, head, body)
        good = times.known & _sound(lines.bytes, head, body, times.event)
        rows = np.flatnonzero(good)
        if not len(rows):
            return Walked(good, pa.table({"position": pa.array([], pa.int64())}))
        return Walked(good, self._table(lines.bytes, head, body, times.of(rows), rows, positions[rows]))

    def _times(self, data: Bytes, head: Found, body: Found) -> _Times:
        event = _EVENT_OF[body.which]
        lettered = (body.which >= 0) & (event < 0)
        event[lettered] = _LETTERS[data[body.begins[_LETTER][lettered]]]
        time = head.values[_TIME] + head.values[_MICROS] - head.values[_OFFSET] * _SECOND_US
        offset = head.values[_OFFSET].copy()
        ambiguous, known = np.zeros(len(time), np.bool_), (body.which >= 0) & (event >= 0)
        local = np.flatnonzero((head.begins[_LOCAL] >= 0) & known)
        stamped = np.flatnonzero((body.begins[_STAMP] >= 0) & known)
        for rows, found, slot in ((local, head, _LOCAL), (stamped, body, _STAMP)):
            if len(rows):
                told = self._local(of.texts(data, found, slot, rows))
                time[rows], offset[rows], ambiguous[rows] = told[:, 0], told[:, 1], told[:, 2]
                known[rows] &= told[:, 3] != 0
        epoch = body.values[_EPOCH]
        own = (epoch > 0) & (epoch < _EPOCH_MAX)
        at = own & (event != _UPDATES)
        time, ambiguous = np.where(at, epoch * _SECOND_US, time), ambiguous & ~at
        start, started = time.copy(), event == _OPENS
        begun = np.where(own & (event == _UPDATES), epoch * _SECOND_US, -1)
        elapsed = (body.begins[_ELAPSED] >= 0) & (body.values[_ELAPSED] < _ELAPSED_MAX)
        begun = np.where(elapsed, time - body.values[_ELAPSED] * _SECOND_US, begun)
        known &= (time >= 0) & ((body.begins[_ELAPSED] < 0) | (elapsed & (begun >= 0)))
        earlier = (begun >= 0) & (begun <= time)
        start[earlier] = begun[earlier]
        return _Times(event, time, offset, ambiguous, start, started | earlier, known)

    def _local(self, texts: Column) -> Ints:
        """Return time, offset, whether it is ambiguous, and whether there is one, of local times as written."""
        encoded = texts.dictionary_encode()
        found = np.zeros((len(encoded.dictionary), 4), np.int64)
        for index, text in enumerate(encoded.dictionary.to_pylist()):
            if text.isdigit():
                clock = int(text[8:10]), int(text[10:12]), int(text[12:14])
                time = self._prefixes.local(int(text[:4]) or 1, (int(text[4:6]), int(text[6:8])), clock)
            else:
                prefix = self._prefixes.read(text.encode() + b" - ")
                time = None if prefix is None else prefix.time
            if time is not None:
                found[index] = (*time, 1)
        told: Ints = found[np.asarray(encoded.indices)]
        return told

    def _table(self, data: Bytes, head: Found, body: Found, times: _Times, rows: Ints, positions: Ints) -> pa.Table:
        words = np.frombuffer(_WORDS + self._switch, np.uint8)
        base, data = len(data), np.concatenate([data, words])
        which, number = body.which[rows], len(rows)

        def part(kind: int, slot: int, where: Flags | None = None) -> tuple[int, Ints, Ints | None]:
            begin, end = body.begins[slot][rows], body.ends[slot][rows]
            return kind, begin if where is None else np.where(where, begin, -1), end

        if self._switch:
            host = np.full(number, base + len(_WORDS)), np.full(number, len(data))
        else:
            host = head.begins[_HOST][rows], head.ends[_HOST][rows]
        word = base + _KIND_SLICE[which]
        both = _IS_SESSION[which] & (body.begins[_IDENTIFIER_32][rows] >= 0)
        both &= body.ends[_IDENTIFIER_32][rows] > body.begins[_IDENTIFIER_32][rows]
        number_of = [
            np.where(both, found[_IDENTIFIER_32][rows], found[_IDENTIFIER][rows]) for found in (body.begins, body.ends)
        ]
        nat = ~(_IS_SESSION[which] & _same(body, rows))
        parts: list[tuple[int, Ints, Ints | None]] = [
            (of.TEXT, word[:, 0], word[:, 1]),
            part(of.LOWER, _PROTOCOL),
            (of.TEXT, number_of[0], number_of[1]),
            part(of.TEXT, _SOURCE),
            part(of.TEXT, _SOURCE_PORT),
            part(of.TEXT, _PUBLIC, nat),
            part(of.TEXT, _FIRST, nat),
        ]
        ends = ~_IS_BINDING[which]
        first = base + times.event
        keys = self._keys(data, parts, [part(of.TEXT, slot) for slot in _FAR], ends, (host, first, times.time))
        closes = times.event == _CLOSES
        public_last = np.where(body.begins[_LAST] >= 0, body.values[_LAST], body.values[_FIRST])[rows]

        public_begin = np.where(nat, body.begins[_PUBLIC][rows], -1)

        def figures(slot: int) -> Column:
            return pa.array(body.values[slot][rows], mask=body.begins[slot][rows] < 0)

        columns = {
            "position": pa.array(positions),
            "event": compute.take(pa.array([one.value for one in _EVENTS]), pa.array(times.event)),
            "session_key": keys[0],
            "record_key": keys[1],
            "switch": gather(data, *host),
            "start_time": pa.array(times.start, mask=~times.started).view(TIME_TYPE),
            "end_time": pa.array(times.time, mask=~closes).view(TIME_TYPE),
            "utc_offset_s": pa.array(times.offset.astype(np.int32)),
            "time_ambiguous": pa.array(times.ambiguous),
            "source_ip": of.texts(data, body, _SOURCE, rows),
            "source_port": figures(_SOURCE_PORT).cast(pa.int32()),
            "destination_ip": of.texts(data, body, _DESTINATION, rows),
            "destination_port": figures(_DESTINATION_PORT).cast(pa.int32()),
            "nat_ip": gather(data, public_begin, body.ends[_PUBLIC][rows]),
            "nat_port_first": pa.array(body.values[_FIRST][rows].astype(np.int32), mask=~nat),
            "nat_port_last": pa.array(public_last.astype(np.int32), mask=~nat),
            "volume_up_bytes": figures(_UP),
            "volume_down_bytes": figures(_DOWN),
            "disposition": compute.if_else(pa.array(closes), "closed", pa.scalar(None, pa.string())),
            "cause": of.texts(data, body, _CAUSE, rows),
            "service_type": pa.repeat(self._service, number),
        }
        return pa.table(columns)

    def _keys(
        self,
        data: Bytes,
        parts: list[tuple[int, Ints, Ints | None]],
        far: list[tuple[int, Ints, Ints | None]],
        ends: Flags,
        heads: tuple[tuple[Ints, Ints], Ints, Ints],
    ) -> tuple[Column, Column]:
        """Return the keys of session and record; a port alone has no destination in its key."""
        (host, host_end), letter, time = heads
        whole: list[Column] = []
        for first, last in (
            ([(of.TEXT, host, host_end)], []),
            ([(of.TEXT, letter, letter + 1)], [(of.NUMBER, time, None)]),
        ):
            long = _chosen([*first, *parts, *far, *last], ends)
            short = _chosen([*first, *parts, *last], ~ends)
            if ends.all():
                whole.append(of.joined(data, long))
            elif not ends.any():
                whole.append(of.joined(data, short))
            else:
                both = pa.concat_arrays([of.joined(data, long), of.joined(data, short)])
                order = np.argsort(np.concatenate([np.flatnonzero(ends), np.flatnonzero(~ends)]))
                whole.append(both.take(pa.array(order)))
        return whole[0], whole[1]


class _Times(NamedTuple):
    """By line: event, when, offset, whether it is ambiguous, when it began and whether that is known; all known."""

    event: Ints
    time: Ints
    offset: Ints
    ambiguous: Flags
    start: Ints
    started: Flags
    known: Flags

    def of(self, rows: Ints) -> _Times:
        """Return some lines'."""
        begun = self.start[rows], self.started[rows]
        whole = self.event[rows], self.time[rows], self.offset[rows], self.ambiguous[rows]
        return _Times(*whole, *begun, self.known[rows])


def _chosen(parts: list[tuple[int, Ints, Ints | None]], rows: Flags) -> list[tuple[int, Ints, Ints | None]]:
    return [(kind, begin[rows], None if end is None else end[rows]) for kind, begin, end in parts]


def _same(body: Found, rows: Ints) -> Flags:
    """Tell which ends inside and public are the same: there is no translation."""
    same: Flags = (body.values[_SOURCE] == body.values[_PUBLIC]) & (body.values[_SOURCE_PORT] == body.values[_FIRST])
    return same[rows]


def _sound(data: Bytes, head: Found, body: Found, event: Ints) -> Flags:
    """Tell which lines have all that their kind needs, and ports that are ports."""
    begins, values = body.begins, body.values
    good = (body.which >= 0) & (event >= 0)
    for slot in (_SOURCE, _PUBLIC, _FIRST):
        good &= begins[slot] >= 0
    good &= (values[_FIRST] <= PORT_MAX) & (values[_SOURCE_PORT] <= PORT_MAX) & (values[_DESTINATION_PORT] <= PORT_MAX)
    good &= (begins[_LAST] < 0) | ((values[_LAST] <= PORT_MAX) & (values[_FIRST] <= values[_LAST]))
    blocks = ~(_IS_BINDING | _IS_SESSION)[body.which]
    good &= ~blocks | (begins[_LAST] >= 0)
    sessions = _IS_SESSION[body.which]
    for slot in (_SOURCE_PORT, _DESTINATION, _DESTINATION_PORT):
        good &= ~sessions | (begins[slot] >= 0)
    # `1234 host`: a year may stand before the host, and a number be the host
    size = head.ends[_HOST] - head.begins[_HOST]
    first = data[np.maximum(head.begins[_HOST], 0)]
    yearlike = (head.begins[_LOCAL] >= 0) & (size == 4) & (first >= ord("0")) & (first <= ord("9"))
    sound: Flags = good & ~yearlike
    return sound
