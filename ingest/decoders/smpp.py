"""Short messages in the log of an SMPP gateway: submits, and the delivery receipts of them.

* A receipt is `id:… sub:… dlvrd:… submit date:… done date:… stat:… err:… text:…` anywhere in its line. With a final
  state it is CLOSE and complete by itself; `ENROUTE`, `ACCEPTD` and `SCHEDULED` are UPDATE.
* A line that says `submit_sm` and has a `message_id` is OPEN. They meet by that id, or by the line's
  `receipted_message_id`.
* A receipt travels back: the message's sender is the receipt's destination.
* Text is cut before anything is kept: of a receipt, what stands behind `err`; of a submit, what stands behind the first
  name of a text. A reject keeps the receipt up to there, or nothing.

Source: SMPP 3.4 appendix B (delivery receipt), §5.2.12 (esm_class), §5.3.2.12 (receipted_message_id),
§5.2.28 (message_state).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import BinaryIO, ClassVar, Final

from ingest.decoders import shapes
from ingest.decoders.base import Decoded, Event
from ingest.decoders.cgnat.prefix import PrefixReader
from ingest.decoders.event_rows import EventRows, Walked
from ingest.decoders.slices import Ints, Lines
from ingest.decoders.smpp_walk import Walk
from ingest.lines import Line
from ingest.source_config import SourceConfig
from ingest.times import LocalTime, ZoneTimes, parse_iso, wall_time, zone_times
from schemas.rejects import RejectReason

LINE_BYTES_MAX: Final = 65_536
"""A message of 255 parts, in hexadecimal, with its headers."""

_RECEIPT: Final = re.compile(
    rb"\bid:([^\s:]{1,65})(?: +sub:([0-9]{0,4}))?(?: +dlvrd:([0-9]{0,4}))?(?: +submit date:([0-9]{1,14}))?"
    rb"(?: +done date:([0-9]{1,14}))? +stat:([A-Za-z]{2,12})(?: +err:([0-9A-Za-z]{0,8}))?(?![0-9A-Za-z])",
    re.IGNORECASE,
)
_SUBMIT: Final = re.compile(rb"\bsubmit_sm(?:_resp)?\b", re.IGNORECASE)
_DELIVER: Final = re.compile(rb"\bdeliver_sm(?:_resp)?\b", re.IGNORECASE)
_TEXT: Final = re.compile(
    rb"\b(?:short_message|message_payload|text|msg|message|content|body|udh)\b *[=:]", re.IGNORECASE
)
_PAIR: Final = re.compile(rb"\b([a-z_]{2,32})=\"?([^\s,;\"\]\[(){}]{1,65})")
_TIME: Final = re.compile(rb"([0-9]{4}-[0-9]{2}-[0-9]{2}) ([0-9]{2}:[0-9]{2}:[0-9]{2})(?:[.,]([0-9]{1,6}))?(?![0-9Z+])")
_WAITING: Final = {"ENROUTE", "ACCEPTD", "ACCEPTED", "SCHEDULED"}
_STATES: Final = {"DELIVRD": "delivered", "DELIVERED": "delivered", "UNKNOWN": "unknown"}
_FAILED: Final = "failed"
_NAMES: Final = (
    "position",
    "event",
    "session_key",
    "record_key",
    "calling_number",
    "called_number",
    "start_time",
    "end_time",
    "utc_offset_s",
    "time_ambiguous",
    "disposition",
    "cause",
    "trunk_out",
    "account",
)


class Smpp:
    """Submits and delivery receipts of an SMPP gateway's log."""

    name: ClassVar = "smpp"
    summary: ClassVar = "SMPP submits and delivery receipts in a log (message text is dropped)"
    zoned: ClassVar = False
    options: ClassVar[tuple[str, ...]] = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Return the events in order.

        Raises:
            InputError: the stream is UTF-16.
            ConfigurationError: the source has no zone.
        """
        return _Reader(source).read(stream)


class _Reader(EventRows):
    """Events on their way into columns."""

    names: ClassVar = _NAMES
    service_type: ClassVar = "sms"
    line_bytes_max: ClassVar = LINE_BYTES_MAX

    def __init__(self, source: SourceConfig) -> None:
        super().__init__(source)
        self._zone = zone_times(source, Smpp.name, _receipt_time)
        self._iso = ZoneTimes(source.zone or "UTC", parse_iso)
        self._prefixes = PrefixReader(source, Smpp.name)
        self._walk: Walk | None = None

    def walk(self, lines: Lines, positions: Ints) -> Walked | None:
        """Return the events of usual lines; None where there are too few of them."""
        if not shapes.takes(len(lines.data)):
            return None
        if self._walk is None:
            self._walk = Walk(self._source, self.service_type, self.line_bytes_max, _meaning, _is_receipt)
        return self._walk.read(lines, positions)

    def take(self, line: Line) -> None:
        """Take one line in, as an event or a reject."""
        reason, kept = self._read(line)
        if reason is not None:
            self.rejects.append(line.reject(reason, raw=kept))

    def _read(self, line: Line) -> tuple[RejectReason | None, bytes | None]:
        if line.reason is not None or not line.terminated:
            return line.reason or RejectReason.MALFORMED, None
        text = _TEXT.search(line.data)
        submit = _SUBMIT.search(line.data, 0, text.start() if text else len(line.data))
        if submit is not None:
            return self._submit(line, line.data[: text.start() if text else len(line.data)])
        found = _RECEIPT.search(line.data)
        if found is None:
            known = _DELIVER.search(line.data, 0, text.start() if text else len(line.data))
            return RejectReason.UNSUPPORTED if known else RejectReason.MALFORMED, None
        head = line.data[: min(found.start(), text.start() if text else found.start())]
        return self._receipt(line.position, head, found)

    def _submit(self, line: Line, head: bytes) -> tuple[RejectReason | None, bytes | None]:
        pairs = _pairs(head)
        if pairs is None:
            return RejectReason.ENCODING, None
        if "message_id" not in pairs:
            return RejectReason.UNSUPPORTED, None
        time = self._line_time(head)
        if time is None:
            return RejectReason.BAD_TIME, None
        key = pairs["message_id"]
        numbers = pairs.get("source_addr"), pairs.get("destination_addr")
        record_key = f"s {key} {time.time_us}"
        self._add(line.position, Event.OPEN, key, record_key, numbers, (time, None), (None, None), pairs)
        return None, None

    def _receipt(self, position: int, head: bytes, found: re.Match[bytes]) -> tuple[RejectReason | None, bytes | None]:
        pairs = _pairs(head)
        if pairs is None or not found[0].isascii() or b"\0" in found[0]:
            return RejectReason.ENCODING, None
        if not _is_receipt(pairs.get("esm_class")):
            return RejectReason.UNSUPPORTED, None  # a message in which somebody wrote what a receipt looks like
        own, _, _, submitted, done, state, error = (None if one is None else one.decode() for one in found.groups())
        assert own is not None and state is not None  # the pattern has both
        start = self._zone.convert(submitted) if submitted else None
        end = self._zone.convert(done) if done else self._line_time(head)
        word = state.upper()
        event, outcome = _meaning(word)
        if end is None or (submitted and start is None):
            return RejectReason.BAD_TIME, found[0]
        key = pairs.get("receipted_message_id", own)
        letter = "u" if event is Event.UPDATE else "r"
        numbers = pairs.get("destination_addr"), pairs.get("source_addr")
        cause = f"{word} {error}" if error else word
        times = (start, end) if event is Event.CLOSE else (start, None)
        record_key = f"{letter} {key} {word} {end.time_us}"
        self._add(position, event, key, record_key, numbers, times, (outcome, cause), pairs)
        return None, None

    def _line_time(self, head: bytes) -> LocalTime | None:
        prefix = self._prefixes.read(head)
        if prefix is not None:
            return prefix.time
        found = _TIME.search(head)
        if found is None:
            return None
        fraction = "" if found[3] is None else "." + found[3].decode()
        return self._iso.convert(f"{found[1].decode()} {found[2].decode()}{fraction}")

    def _add(
        self,
        position: int,
        event: Event,
        key: str,
        record_key: str,
        numbers: tuple[str | None, str | None],
        times: tuple[LocalTime | None, LocalTime | None],
        outcome: tuple[str | None, str | None],
        pairs: dict[str, str],
    ) -> None:
        start, end = times
        told = [one for one in times if one is not None]
        self.rows.append(
            (
                position,
                event.value,
                key,
                record_key,
                *numbers,
                None if start is None else start.time_us,
                None if end is None else end.time_us,
                told[0].offset_s if told else None,
                any(one.ambiguous for one in told),
                *outcome,
                pairs.get("smsc") or pairs.get("smsc_id"),
                pairs.get("system_id"),
            )
        )


def _meaning(word: str) -> tuple[Event, str | None]:
    """Return what a state is to its message, and how that ended."""
    return (Event.UPDATE, None) if word in _WAITING else (Event.CLOSE, _STATES.get(word, _FAILED))


def _is_receipt(esm_class: str | None) -> bool:
    """Tell whether the message type is a receipt or an intermediate notification, where the log has it."""
    try:
        return esm_class is None or int(esm_class, 0) >> 2 & 0xF in (1, 8)
    except ValueError:
        return False


def _pairs(head: bytes) -> dict[str, str] | None:
    """Return the `name=value` pairs before the text, or None where they are not UTF-8."""
    try:
        return {name.decode(): value.decode() for name, value in _PAIR.findall(head) if b"\0" not in value}
    except UnicodeDecodeError:
        return None


def _receipt_time(text: str) -> datetime | None:
    """Return the naive time of YYMMDDhhmm, YYMMDDhhmmss or YYYYMMDDhhmmss, or None."""
    if len(text) not in (10, 12, 14):
        return None
    year, rest = (int(text[:4]), text[4:]) if len(text) == 14 else (2000 + int(text[:2]), text[2:])
    month, day, hour, minute, second = (int(rest[at : at + 2] or "0") for at in range(0, 10, 2))
    return wall_time((year, month, day), (hour, minute, second))
