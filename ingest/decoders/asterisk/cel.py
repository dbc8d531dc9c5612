"""Asterisk channel event logging (CEL) by cel_custom: events, folded to one record per call.

A call is all that shares a `linkedid`. Each event is one input record and one event of the call's session
(`session_key` is the linkedid):

* CHAN_START of the channel whose uniqueid is the linkedid opens the call: parties, start, incoming channel.
* CHAN_START and ANSWER of another channel tell the outgoing channel; the latest counts, so it is the one that answered.
* The first ANSWER of the calling channel in a delivery is the answer.
* HANGUP of the calling channel tells the cause and, unless the call was answered, the disposition.
* CHAN_END tells when a channel ended; the latest counts if the call's end never comes.
* LINKEDID_END closes the call.
* Any other event, user-defined ones included, tells only that the call is alive.

Identity (`record_key`): the call's record is known by its linkedid; an event between open and close by linkedid,
uniqueid, event type and event time. So rows that are delivered twice are duplicates. The network element is the system
name in front of the linkedid, else the source's.

Times are epoch seconds with microseconds; `dateformat` of cel.conf may make them local times, then the source needs a
zone. Both quoted layouts of cel_custom are read: quotes doubled (`CSV_QUOTE`), and quotes as they are, where the last
column, `eventextra`, is JSON with quotes of its own.

Option `template`: the line of cel_custom.conf, or the columns' names separated by commas; else the sample's 20 columns.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

import orjson

from ingest.decoders.asterisk.rows import trunk_of
from ingest.decoders.base import Decoded, Event
from ingest.decoders.row_stretch import Columns, Refusal, RowStretch
from ingest.lines import Line, read_records
from ingest.source_config import SourceConfig
from ingest.times import ZoneTimes
from schemas.errors import ConfigurationError
from schemas.rejects import RejectReason

CALLS_REMEMBERED_MAX: Final = 100_000
"""So many running calls of a delivery are remembered as opened or answered; then the oldest is forgotten."""

_SAMPLE: Final = (
    "eventtype", "eventtime", "cidname", "cidnum", "ani", "rdnis", "dnid", "exten", "context", "channame", "appname",
    "appdata", "amaflags", "accountcode", "uniqueid", "linkedid", "bridgepeer", "userfield", "userdeftype",
    "eventextra",
)  # fmt: skip
_USED: Final = (
    "eventtype", "eventtime", "cidnum", "ani", "rdnis", "dnid", "exten", "channame", "accountcode", "uniqueid",
    "linkedid", "eventextra",
)  # fmt: skip
_NEEDED: Final = ("eventtype", "eventtime", "uniqueid", "linkedid")
_ALIASES: Final = {"num": "cidnum", "name": "cidname"}
_VARIABLE: Final = re.compile(r"\$\{(?:CALLERID|CHANNEL)\((\w+)\)\}|\$\{([A-Za-z]\w*)\}")
_EPOCH: Final = re.compile(r"([0-9]{9,11})\.([0-9]{1,6})|([0-9]{9,11})")
_CHANNEL_ID: Final = re.compile(r"(?:(.+)-)?[0-9]{9,11}\.[0-9]+")
_NO_NUMBER: Final = frozenset({"", "s", "h", "i", "t", "T", "o", "a", "e"})
"""Extensions that are steps of the dialplan, not what somebody dialled."""

_COLUMNS: Final = Columns(
    (
        "position", "event", "session_key", "switch", "record_key", "service_type", "calling_number", "called_number",
        "dialled_number", "forwarded_number", "start_time", "answer_time", "end_time", "utc_offset_s", "time_ambiguous",
        "disposition", "cause", "trunk_in", "trunk_out", "call_link", "account",
    )
)  # fmt: skip
_DIAL_STATUS: Final = {
    "ANSWER": "answered",
    "BUSY": "busy",
    "NOANSWER": "no-answer",
    "CANCEL": "cancelled",
    "CONGESTION": "failed",
    "CHANUNAVAIL": "failed",
    "INVALIDARGS": "failed",
}
_CAUSES: Final = {"16": "cancelled", "17": "busy", "18": "no-answer", "19": "no-answer"}


class AsteriskCel:
    """Events of cel_custom."""

    name = "asterisk-cel"
    summary = "Asterisk channel events (cel_custom), folded to calls"
    zoned = True
    options = ("template",)

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the delivery's events in order.

        Raises:
            ConfigurationError: the template lacks a column that events are known by; the zone does not exist.
            InputError: the delivery is UTF-16.
        """
        template = source.options.get("template")
        names = _SAMPLE if template is None else _names_of(template)
        calls = _Calls(source, names)
        stretch = RowStretch(_COLUMNS, lambda row: _kept(names, row))

        def accept(data: bytes) -> bool:
            return _split(data, names) is not None

        for line in read_records(stream, accept):
            row = _split(line.data, names) if line.reason is None else None
            if row is None:
                reason = line.reason or RejectReason.MALFORMED
                stretch.refuse(line.reject(RejectReason.COLUMN_COUNT if _is_csv(line) else reason))
            else:
                try:
                    stretch.take(calls.event(line.position, row), row, line.length_bytes)
                except Refusal as refusal:
                    stretch.refuse(line.reject(refusal.reason, field=refusal.field, raw=_kept(names, row)))
            if stretch.is_full:
                yield stretch.decoded()
                stretch = RowStretch(_COLUMNS, lambda row: _kept(names, row))
        if not stretch.is_empty:
            yield stretch.decoded()


class _Calls:
    """Makes events of rows; remembers which calls of this delivery were opened and answered."""

    def __init__(self, source: SourceConfig, names: tuple[str, ...]) -> None:
        self._element = source.element
        self._service = source.service_type or "voice"
        self._zone = None if source.zone is None else ZoneTimes(source.zone)
        self._places = tuple(names.index(name) if name in names else -1 for name in _USED)
        self._answered: dict[str, bool] = {}  # by linkedid, for calls whose opening was seen

    def event(self, position: int, row: list[str]) -> tuple[Any, ...]:
        """Return one event as a tuple of `_COLUMNS`.

        Raises:
            Refusal: a field is missing or has not its form.
        """
        values = [row[place] if place >= 0 else "" for place in self._places]
        kind, stamp, number, ani, rdnis, dnid, exten, channel, account, uniqueid, linkedid, extra = values
        if not kind:
            raise Refusal(RejectReason.MISSING_FIELD, "eventtype")
        if not linkedid:
            raise Refusal(RejectReason.MISSING_FIELD, "linkedid")
        if kind.startswith("\ufeff"):  # the byte order mark of a file that was put behind another
            raise Refusal(RejectReason.ENCODING, "eventtype")
        time_us, offset_s, ambiguous = self._time(stamp)
        calling = uniqueid == linkedid
        event, key = Event.UPDATE, f"{linkedid} {uniqueid} {kind} {stamp}"
        start = answer = end = party = called = dialled = forwarded = word = cause = trunk_in = trunk_out = None
        if kind == "CHAN_START" and calling:
            event, key, start = Event.OPEN, linkedid, time_us
            party = number or ani or None
            called = next((one for one in (exten, dnid) if one not in _NO_NUMBER), None)
            if rdnis and called and rdnis != called:
                dialled, forwarded = rdnis, called
            trunk_in = trunk_of(channel)
            self._remember(linkedid)
        elif kind == "LINKEDID_END":
            event, key, end = Event.CLOSE, linkedid, time_us
            self._answered.pop(linkedid, None)
        elif kind == "ANSWER" and calling:
            if not self._answered.get(linkedid):
                answer, word = time_us, "answered"
                if linkedid in self._answered:
                    self._answered[linkedid] = True
        elif kind in ("CHAN_START", "ANSWER") and not channel.startswith("Local/"):
            trunk_out = trunk_of(channel)
        elif kind == "HANGUP" and calling:
            cause, status = _hangup(extra)
            word = self._disposition(linkedid, cause, status)
        elif kind == "CHAN_END":
            end = time_us
        system = _CHANNEL_ID.fullmatch(linkedid)
        record = (
            position, event.value, linkedid, (system.group(1) if system else None) or self._element, key, self._service,
            party, called, dialled, forwarded, start, answer, end, offset_s, ambiguous, word, cause, trunk_in,
            trunk_out, linkedid, account or None if event is Event.OPEN else None,
        )  # fmt: skip
        _COLUMNS.check_texts(record)
        return record

    def _remember(self, linkedid: str) -> None:
        if len(self._answered) >= CALLS_REMEMBERED_MAX:
            del self._answered[next(iter(self._answered))]
        self._answered[linkedid] = False

    def _disposition(self, linkedid: str, cause: str | None, status: str) -> str | None:
        """Return how an unanswered call ended; None where an ANSWER told it, or the opening was not seen here."""
        answered = self._answered.get(linkedid)
        if answered:
            return None
        word = _DIAL_STATUS.get(status)
        if word is None and answered is not None:
            word = _CAUSES.get(cause or "", "failed")
        return word

    def _time(self, stamp: str) -> tuple[int, int | None, bool]:
        """Return µs since 1970 UTC, and of a local time its offset and whether it occurs twice."""
        epoch = _EPOCH.fullmatch(stamp)
        if epoch is not None:
            seconds, fraction = epoch.group(1) or epoch.group(3), epoch.group(2) or ""
            return int(seconds) * 1_000_000 + int(fraction.ljust(6, "0")), None, False
        local = self._zone.convert(stamp) if self._zone is not None else None
        if local is None:
            raise Refusal(RejectReason.BAD_TIME if stamp else RejectReason.MISSING_FIELD, "eventtime")
        return local


def _names_of(template: str) -> tuple[str, ...]:
    """Return the columns that a line of cel_custom.conf writes; "" for what is no field of an event.

    Raises:
        ConfigurationError: it does not write what events are known by, or one column twice.
    """
    names = []
    for item in (template.partition("=>")[2] or template).split(","):
        plain = item.strip().lower()
        found = _VARIABLE.findall(item)
        name = (found[0][0] or found[0][1]).lower() if len(found) == 1 else ""
        name = plain if re.fullmatch(r"[a-z]\w*", plain) else name
        names.append(_ALIASES.get(name, name))
    used = [name for name in names if name in _USED]
    if len(used) != len(set(used)):
        raise ConfigurationError("the template names one column twice")
    if not set(_NEEDED) <= set(used):
        raise ConfigurationError(f"the template does not write all of {', '.join(_NEEDED)}")
    return tuple(names)


def _split(data: bytes, names: tuple[str, ...]) -> list[str] | None:
    """Return the columns of a row, None when it has not as many as the template."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        row = next(csv.reader([text], strict=True))
    except (csv.Error, StopIteration):
        row = _split_bare(text, len(names)) if names[-1] == "eventextra" else []
    return row if len(row) == len(names) else None


def _split_bare(text: str, count: int) -> list[str]:
    """Split a row whose values are in quotes that nothing escapes, and whose last one may be JSON.

    A value that holds `","` shifts the columns. Then there is one too many, or the last one does not begin where JSON
    does: no row.
    """
    if not (text.startswith('"') and text.endswith('"') and len(text) > 1):
        return []
    row = text[1:-1].split('","', count - 1)
    if '"' not in row[-1]:
        return row
    try:
        return row if type(orjson.loads(row[-1].encode("utf-8", "replace"))) is dict else []
    except orjson.JSONDecodeError:
        return []


def _is_csv(line: Line) -> bool:
    """Tell whether a line that is no row is still CSV: then its number of columns is what is wrong."""
    if line.reason is not None or b"\x00" in line.data:
        return False
    try:
        next(csv.reader([line.data.decode("utf-8", "surrogateescape")], strict=True))
    except (csv.Error, StopIteration):
        return False
    return True


def _hangup(extra: str) -> tuple[str | None, str]:
    """Return cause and dial status of a HANGUP: JSON, or `cause,source,status` as older versions write it."""
    if extra.startswith("{"):
        try:
            told = orjson.loads(extra.encode("utf-8", "replace"))
        except orjson.JSONDecodeError:
            return None, ""
        cause, status = str(told.get("hangupcause", "")), str(told.get("dialstatus", ""))
    else:
        cause, _, rest = extra.partition(",")
        status = rest.rpartition(",")[2]
    return (cause if re.fullmatch(r"[0-9]{1,3}", cause) else None), status.strip().upper()


def _kept(names: tuple[str, ...], row: list[str]) -> bytes:
    """Return a row in which every column that is not read is empty, since it may hold what was said."""
    values = [value if name in _USED else "" for name, value in zip(names, row, strict=True)]
    if "eventextra" in names and values[names.index("eventtype")] != "HANGUP":
        values[names.index("eventextra")] = ""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="").writerow(values)
    return text.getvalue().encode("utf-8", "surrogateescape")
