"""The compiled road of translations in syslog: usual lines as columns, all at once (ADR 38).

What is read here reads `ingest.decoders.cgnat.messages` the same; every other line is left to it: CEF in another order,
sessions as text, a name of a message inside another word, a port beyond 65 535.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from ingest.decoders import shapes as of
from ingest.decoders.base import Event
from ingest.decoders.cgnat.line_shapes import (
    CAUSE,
    DESTINATION,
    DESTINATION_PORT,
    DOWN,
    ELAPSED,
    EPOCH,
    FAR,
    FIRST,
    IDENTIFIER,
    IDENTIFIER_32,
    IS_HEXADECIMAL,
    KINDS,
    LAST,
    LETTER,
    MESSAGES,
    PROTOCOL,
    PUBLIC,
    SOURCE,
    SOURCE_PORT,
    STAMP,
    UP,
)
from ingest.decoders.cgnat.messages import BINDING, BLOCK, PORT_MAX, SESSION
from ingest.decoders.cgnat.prefix import PrefixReader
from ingest.decoders.event_rows import Walked
from ingest.decoders.shapes import Found, Shapes, shape
from ingest.decoders.slices import Column, Flags, Ints, Lines, compute, gather
from ingest.source_config import SourceConfig
from schemas.arrow import TIME_TYPE
from schemas.buffers import Bytes, text_views

_HOST, _TIME, _MICROS, _OFFSET, _LOCAL, _PREFIX_SLOTS = range(6)
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


_EVENTS: Final = (Event.OPEN, Event.UPDATE, Event.CLOSE)
_OPENS, _UPDATES, _CLOSES = range(3)
_EVENT_OF: Final = np.array([-1 if one.event is None else _EVENTS.index(one.event) for one in KINDS])
_IS_BINDING: Final = np.array([one.kind == BINDING for one in KINDS])
_IS_SESSION: Final = np.array([one.kind == SESSION for one in KINDS])
_LETTERS: Final = np.full(256, -1)
for _letters, _code in ((b"CNAB", _OPENS), (b"DF", _CLOSES), (b"UI", _UPDATES)):
    _LETTERS[list(_letters)] = _code
_WORDS: Final = b"nudblock binding session"
_KIND_WORDS: Final = {BLOCK: (3, 8), BINDING: (9, 16), SESSION: (17, 24)}
_KIND_SLICE: Final = np.array([_KIND_WORDS[one.kind] for one in KINDS])
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
        body = MESSAGES.match(lines.bytes, np.where(head.which >= 0, head.stops, -1), lines.ends)
        times = self._times(lines.bytes, head, body)
        good = times.known & _sound(lines.bytes, head, body, times.event)
        data = _spelled(lines.bytes, body, np.flatnonzero(good & IS_HEXADECIMAL[body.which]))
        rows = np.flatnonzero(good)
        if not len(rows):
            return Walked(good, pa.table({"position": pa.array([], pa.int64())}))
        return Walked(good, self._table(data, head, body, times.of(rows), rows, positions[rows]))

    def _times(self, data: Bytes, head: Found, body: Found) -> _Times:
        event = _EVENT_OF[body.which]
        lettered = (body.which >= 0) & (event < 0)
        event[lettered] = _LETTERS[data[body.begins[LETTER][lettered]]]
        time = head.values[_TIME] + head.values[_MICROS] - head.values[_OFFSET] * _SECOND_US
        offset = head.values[_OFFSET].copy()
        ambiguous, known = np.zeros(len(time), np.bool_), (body.which >= 0) & (event >= 0)
        local = np.flatnonzero((head.begins[_LOCAL] >= 0) & known)
        stamped = np.flatnonzero((body.begins[STAMP] >= 0) & known)
        for rows, found, slot in ((local, head, _LOCAL), (stamped, body, STAMP)):
            if len(rows):
                told = self._local(of.texts(data, found, slot, rows))
                time[rows], offset[rows], ambiguous[rows] = told[:, 0], told[:, 1], told[:, 2]
                known[rows] &= told[:, 3] != 0
        epoch = body.values[EPOCH]
        own = (epoch > 0) & (epoch < _EPOCH_MAX)
        at = own & (event != _UPDATES)
        time, ambiguous = np.where(at, epoch * _SECOND_US, time), ambiguous & ~at
        start, started = time.copy(), event == _OPENS
        begun = np.where(own & (event == _UPDATES), epoch * _SECOND_US, -1)
        elapsed = (body.begins[ELAPSED] >= 0) & (body.values[ELAPSED] < _ELAPSED_MAX)
        begun = np.where(elapsed, time - body.values[ELAPSED] * _SECOND_US, begun)
        known &= (time >= 0) & ((body.begins[ELAPSED] < 0) | (elapsed & (begun >= 0)))
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
        both = _IS_SESSION[which] & (body.begins[IDENTIFIER_32][rows] >= 0)
        both &= body.ends[IDENTIFIER_32][rows] > body.begins[IDENTIFIER_32][rows]
        number_of = [
            np.where(both, found[IDENTIFIER_32][rows], found[IDENTIFIER][rows]) for found in (body.begins, body.ends)
        ]
        nat = ~(_IS_SESSION[which] & _same(data, body, rows))
        parts: list[tuple[int, Ints, Ints | None]] = [
            (of.TEXT, word[:, 0], word[:, 1]),
            part(of.LOWER, PROTOCOL),
            (of.TEXT, number_of[0], number_of[1]),
            part(of.TEXT, SOURCE),
            part(of.TEXT, SOURCE_PORT),
            part(of.TEXT, PUBLIC, nat),
            part(of.TEXT, FIRST, nat),
        ]
        ends = ~_IS_BINDING[which]
        first = base + times.event
        keys = self._keys(data, parts, [part(of.TEXT, slot) for slot in FAR], ends, (host, first, times.time))
        closes = times.event == _CLOSES
        public_last = np.where(body.begins[LAST] >= 0, body.values[LAST], body.values[FIRST])[rows]

        public_begin = np.where(nat, body.begins[PUBLIC][rows], -1)

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
            "source_ip": of.texts(data, body, SOURCE, rows),
            "source_port": figures(SOURCE_PORT).cast(pa.int32()),
            "destination_ip": of.texts(data, body, DESTINATION, rows),
            "destination_port": figures(DESTINATION_PORT).cast(pa.int32()),
            "nat_ip": gather(data, public_begin, body.ends[PUBLIC][rows]),
            "nat_port_first": pa.array(body.values[FIRST][rows].astype(np.int32), mask=~nat),
            "nat_port_last": pa.array(public_last.astype(np.int32), mask=~nat),
            "volume_up_bytes": figures(UP),
            "volume_down_bytes": figures(DOWN),
            "disposition": compute.if_else(pa.array(closes), "closed", pa.scalar(None, pa.string())),
            "cause": of.texts(data, body, CAUSE, rows),
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


def _spelled(data: Bytes, body: Found, rows: Ints) -> Bytes:
    """Write addresses and ports of some hexadecimal lines as text behind the data, where they stand then."""
    for slot in (SOURCE, PUBLIC, DESTINATION, SOURCE_PORT, FIRST, DESTINATION_PORT) if len(rows) else ():
        some = rows[body.begins[slot][rows] >= 0]
        if len(some):
            kind = of.QUAD if slot in (SOURCE, PUBLIC, DESTINATION) else of.NUMBER
            places, text = text_views(of.joined(data, [(kind, body.values[slot][some], None)]))
            body.begins[slot][some], body.ends[slot][some] = places[:-1] + len(data), places[1:] + len(data)
            data = np.concatenate([data, text])
    return data


def _same(data: Bytes, body: Found, rows: Ints) -> Flags:
    """Tell which ends inside and public are the same: there is no translation."""
    same: Flags = (body.values[SOURCE] == body.values[PUBLIC]) & (body.values[SOURCE_PORT] == body.values[FIRST])
    same = same[rows]
    long = np.flatnonzero(same & (body.values[SOURCE][rows] < 0))  # numbers of IPv4 alone tell
    if len(long):
        ends = [of.texts(data, body, slot, rows[long]) for slot in (SOURCE, PUBLIC)]
        same[long] = np.asarray(compute.equal(*ends))
    return same


def _sound(data: Bytes, head: Found, body: Found, event: Ints) -> Flags:
    """Tell which lines have all that their kind needs, and ports that are ports."""
    begins, values = body.begins, body.values
    good = (body.which >= 0) & (event >= 0)
    for slot in (SOURCE, PUBLIC, FIRST):
        good &= begins[slot] >= 0
    good &= (values[FIRST] <= PORT_MAX) & (values[SOURCE_PORT] <= PORT_MAX) & (values[DESTINATION_PORT] <= PORT_MAX)
    good &= (begins[LAST] < 0) | ((values[LAST] <= PORT_MAX) & (values[FIRST] <= values[LAST]))
    blocks = ~(_IS_BINDING | _IS_SESSION)[body.which]
    good &= ~blocks | (begins[LAST] >= 0)
    sessions = _IS_SESSION[body.which]
    for slot in (SOURCE_PORT, DESTINATION, DESTINATION_PORT):
        good &= ~sessions | (begins[slot] >= 0)
    # `1234 host`: a year may stand before the host, and a number be the host
    size = head.ends[_HOST] - head.begins[_HOST]
    first = data[np.maximum(head.begins[_HOST], 0)]
    yearlike = (head.begins[_LOCAL] >= 0) & (size == 4) & (first >= ord("0")) & (first <= ord("9"))
    sound: Flags = good & ~yearlike
    return sound
