"""Syslog of carrier-grade NAT: Juniper's MX and SRX, A10's Thunder; sessions, ports and blocks of ports.

* What is allocated is OPEN, what is released CLOSE, an interim line UPDATE. They meet by `session_key`: host, kind,
  protocol, inside and public address and port (and the destination of a session).
* `record_key` is the event's letter, the same and the time in µs; interim lines repeat by design, each is one event.
* A session that closes tells how long it was, and is a record without its opening. A block whose allocation was lost
  is one too when its interim line tells the epoch at which it began.
* A line that tells of no translation (an alarm, a rule that matched, a refusal) is `unsupported`.

Messages: `ingest.decoders.cgnat.messages`. Times: `ingest.decoders.cgnat.prefix`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, ClassVar, Final

from ingest.decoders import shapes
from ingest.decoders.base import Decoded, Event
from ingest.decoders.cgnat.messages import (
    BINDING,
    MalformedMessageError,
    Translation,
    UnsupportedMessageError,
    read_message,
)
from ingest.decoders.cgnat.prefix import PrefixReader
from ingest.decoders.cgnat.walk import Walk
from ingest.decoders.event_rows import EventRows, Walked
from ingest.decoders.slices import Ints, Lines
from ingest.lines import Line
from ingest.source_config import SourceConfig
from ingest.times import LocalTime
from schemas.rejects import RejectReason

LINE_BYTES_MAX: Final = 8192
"""A structured line has some 1 000 bytes. Longer ones are refused before a pattern sees them."""

_LETTERS: Final = {Event.OPEN: "n", Event.UPDATE: "u", Event.CLOSE: "d"}
_NAMES: Final = (
    "position",
    "event",
    "session_key",
    "record_key",
    "switch",
    "start_time",
    "end_time",
    "utc_offset_s",
    "time_ambiguous",
    "source_ip",
    "source_port",
    "destination_ip",
    "destination_port",
    "nat_ip",
    "nat_port_first",
    "nat_port_last",
    "volume_up_bytes",
    "volume_down_bytes",
    "disposition",
    "cause",
)


class CgnatSyslog:
    """Syslog of Juniper's and A10's translations."""

    name: ClassVar = "cgnat-syslog"
    summary: ClassVar = "CGNAT syslog of Juniper MX/SRX and A10; RFC 3164 lines need a zone"
    zoned: ClassVar = True
    options: ClassVar[tuple[str, ...]] = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Return the events in order.

        Raises:
            InputError: the stream is UTF-16.
            ConfigurationError: a line's time has no offset, and the source has no zone.
        """
        return _Reader(source).read(stream)


class _Reader(EventRows):
    """Events on their way into columns."""

    names: ClassVar = _NAMES
    service_type: ClassVar = "nat"
    line_bytes_max: ClassVar = LINE_BYTES_MAX

    def __init__(self, source: SourceConfig) -> None:
        super().__init__(source)
        self._prefixes = PrefixReader(source, CgnatSyslog.name)
        self._walk: Walk | None = None

    def walk(self, lines: Lines, positions: Ints) -> Walked | None:
        """Return the events of usual lines; None where there are too few of them."""
        if not shapes.takes(len(lines.data)):
            return None
        if self._walk is None:
            self._walk = Walk(self._source, self._prefixes, self.service_type, self.line_bytes_max)
        return self._walk.read(lines, positions)

    def take(self, line: Line) -> None:
        """Take one line in, as an event or a reject."""
        reason, field = self._read(line)
        if reason is not None:
            self.rejects.append(line.reject(reason, field=field, raw=line.data or None))

    def _read(self, line: Line) -> tuple[RejectReason | None, str | None]:
        if line.reason is not None:
            return line.reason, None
        try:
            line.data.decode()
        except UnicodeDecodeError:
            return RejectReason.ENCODING, None
        if b"\0" in line.data:
            return RejectReason.ENCODING, None
        prefix = self._prefixes.read(line.data) if line.terminated else None
        if prefix is None:
            return RejectReason.MALFORMED, None
        try:
            one = read_message(line.data[prefix.end :].decode())
        except UnsupportedMessageError:
            return RejectReason.UNSUPPORTED, None
        except MalformedMessageError:
            return RejectReason.MALFORMED, None
        time = self._time(one, prefix.time)
        if time is None:
            return RejectReason.BAD_TIME, "end_time" if one.event is Event.CLOSE else "start_time"
        self._add(line.position, one, self._source.switch or prefix.host, time)
        return None, None

    def _time(self, one: Translation, prefix: LocalTime | None) -> LocalTime | None:
        if one.at_s is not None:  # the device's own clock, in UTC: no zone, no missing year
            return LocalTime(one.at_s * 1_000_000, 0 if prefix is None else prefix.offset_s, False)
        if one.stamp is not None:
            year, *rest = int(one.stamp[:4]), *(int(one.stamp[at : at + 2]) for at in range(4, 14, 2))
            month, day, hour, minute, second = rest
            return self._prefixes.local(year or 1, (month, day), (hour, minute, second))
        return prefix

    def _add(self, position: int, one: Translation, host: str, time: LocalTime) -> None:
        source, public = one.source, one.public or (None, None, None)
        destination = one.destination or (None, None)
        parts = (one.kind, one.protocol, one.identifier, *source, *public[:2])
        parts += destination if one.kind != BINDING else ()
        key = " ".join("-" if part in (None, "") else str(part) for part in parts)
        closes = one.event is Event.CLOSE
        start_us = time.time_us if one.event is Event.OPEN else None
        if one.begun_s is not None and one.begun_s * 1_000_000 <= time.time_us:
            start_us = one.begun_s * 1_000_000
        if closes and one.elapsed_s is not None and one.elapsed_s * 1_000_000 <= time.time_us:
            start_us = time.time_us - one.elapsed_s * 1_000_000
        self.rows.append(
            (
                position,
                one.event.value,
                f"{host} {key}",
                f"{_LETTERS[one.event]} {key} {time.time_us}",
                host,
                start_us,
                time.time_us if closes else None,
                time.offset_s,
                time.ambiguous,
                *source,
                *destination,
                *public,
                one.up_bytes,
                one.down_bytes,
                "closed" if closes else None,
                one.cause,
            )
        )
