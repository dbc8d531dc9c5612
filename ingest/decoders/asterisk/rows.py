"""Rows of Asterisk call records, by column name, made records: keys, parties, times, trunks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import product
from operator import itemgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.source_config import SourceConfig
from ingest.times import LocalTime, ZoneTimes, zone_times
from schemas.arrow import DELIVERED
from schemas.errors import ConfigurationError
from schemas.rejects import RejectReason

USED: Final = (
    "accountcode", "src", "dst", "clid", "channel", "dstchannel", "start", "answer", "end", "duration", "billsec",
    "disposition", "uniqueid", "linkedid", "sequence", "hangupcause",
)  # fmt: skip
"""Columns that are read. Of a refused row only these are kept; any other may hold what was said."""

OPTIONAL: Final = ("uniqueid", "userfield", "peeraccount", "linkedid", "sequence")

COLUMNS: Final = (
    "position", "switch", "record_key", "service_type", "calling_number", "called_number", "start_time", "answer_time",
    "end_time", "end_inferred", "utc_offset_s", "time_ambiguous", "duration_ms", "billable_duration_ms", "disposition",
    "cause", "trunk_in", "trunk_out", "call_link", "account",
)  # fmt: skip
KINDS: Final = tuple(pa.int64() if name == "position" else DELIVERED.field(name).type for name in COLUMNS)
_KEY: Final = COLUMNS.index("record_key")
_TEXTS: Final = tuple(index for index, kind in enumerate(KINDS) if pa.types.is_string(kind))
_texts_of: Final = itemgetter(*_TEXTS)

_UNIQUEID: Final = re.compile(r"(?:(.+)-)?[0-9]{9,11}\.[0-9]+")
_EXPONENT: Final = re.compile(r"[0-9](?:[.,][0-9]+)?E\+[0-9]{2}")
_EPOCH: Final = re.compile(r"([0-9]{9,11})\.([0-9]{1,6})")
_ZERO: Final = re.compile(r"0000-00-00 00:00:00(?:\.0{1,6})?|0\.0{1,6}")
"""How a database (MySQL) and `${CDR(answer,u)}` write a time that is not there."""
_SECONDS: Final = re.compile(r"([0-9]{1,9})(?:\.([0-9]{1,9}))?")
_CALLER_ID: Final = re.compile(r"<([^<>]*)>\s*\Z|\A\s*([+0-9][0-9]*)\s*\Z")
_SERIAL: Final = re.compile(r"-[0-9a-f]+(?:;[12])?\Z")
_TEMPLATE_NAME: Final = re.compile(r"\$\{CDR\(([A-Za-z_]+)(?:,[a-z]*)?\)\}|\$\{(HANGUPCAUSE)\}")
_TOLERANCE_US: Final = 2_000_000
"""Start, end and duration are each cut to whole seconds."""

# Words, and the numbers that `${CDR(disposition,u)}` writes.
DISPOSITIONS: Final = {
    "ANSWERED": "answered", "NO ANSWER": "no-answer", "BUSY": "busy", "FAILED": "failed", "CONGESTION": "failed",
    "0": "no-answer", "1": "no-answer", "2": "failed", "4": "busy", "8": "answered", "16": "failed",
}  # fmt: skip


class Refusal(Exception):  # noqa: N818 (it never leaves the decoder)
    """One row cannot become a record; it carries what the reject will say."""

    def __init__(self, reason: RejectReason, field: str | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.field = field


def optional_columns(text: str) -> tuple[str, ...]:
    """Return the optional columns of cdr-csv that option `columns` names, in order; an empty text names none.

    Raises:
        ConfigurationError: one of them is no optional column, or they are not in cdr-csv's order.
    """
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    places = [OPTIONAL.index(name) for name in names if name in OPTIONAL]
    if len(places) != len(names) or places != sorted(set(places)):
        raise ConfigurationError(
            "option columns does not name optional columns of cdr-csv in their order",
            hint=f"it may name {', '.join(OPTIONAL)}",
        )
    return names


def names_of_template(template: str) -> tuple[str, ...]:
    """Return the columns' names that a line of cdr_custom.conf writes; "" for what is no CDR field.

    It takes the line itself (`Master.csv => ${CSV_QUOTE(${CDR(clid)})},…`) or names separated by commas.

    Raises:
        ConfigurationError: the template has no start, no party, or one column twice.
    """
    items = _split_template(template.partition("=>")[2] or template)
    names = tuple(_template_name(item.strip()) for item in items)
    used = [name for name in names if name in USED]
    if len(used) != len(set(used)):
        raise ConfigurationError("the template names one column twice")
    if "start" not in used or not {"src", "clid", "dst"} & set(used):
        raise ConfigurationError("the template writes no start time, or no party")
    if not {"end", "duration"} & set(used):
        raise ConfigurationError("the template writes neither an end time nor a duration")
    return names


def _split_template(template: str) -> list[str]:
    """Split at commas outside braces and brackets."""
    items, depth = [""], 0
    for character in template:
        depth += (character in "{(") - (character in "})")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return items


def _template_name(item: str) -> str:
    if re.fullmatch(r"[A-Za-z_]+", item):
        return item.lower()
    found = _TEMPLATE_NAME.search(item)
    if found is None or "${" in _TEMPLATE_NAME.sub("", item).removeprefix("${CSV_QUOTE("):
        return ""
    return (found.group(1) or found.group(2)).lower()


def is_uniqueid(text: str) -> bool:
    """Tell whether a text has the form of a uniqueid: `<epoch>.<n>`, or with a system name and a dash in front."""
    return _UNIQUEID.fullmatch(text) is not None


def places(names: Sequence[str]) -> tuple[int, ...]:
    """Return where each of `USED` stands in a row; -1, an empty text put behind rows, for what is not there."""
    return tuple(names.index(name) if name in names else -1 for name in USED)


class Rows:
    """Makes records of rows; what the source settles is read once. Used for one delivery."""

    def __init__(self, source: SourceConfig, format_name: str) -> None:
        """Take the source.

        Raises:
            ConfigurationError: the source has neither zone nor `usegmtime`, or `usegmtime` is neither yes nor no.
        """
        option = source.options.get("usegmtime", "no").lower()
        if option not in ("yes", "no", "true", "false"):
            raise ConfigurationError("option usegmtime is neither yes nor no")
        utc = option in ("yes", "true")
        self.zone = ZoneTimes("UTC") if utc else zone_times(source, format_name)
        self.element = source.element
        self.service = source.service_type or "voice"

    def record(self, position: int, values: tuple[str, ...], line: bytes) -> tuple[Any, ...]:
        """Return one record as a tuple of `COLUMNS`; `values` are those of `USED`, `line` is the row as delivered.

        Raises:
            Refusal: a field is missing or has not its form.
        """
        account, src, dst, clid, channel, dstchannel = values[:6]
        start_text, answer_text, end_text, duration_text, billsec_text, word, uniqueid, linkedid = values[6:14]
        sequence, hangupcause = values[14:]
        if sequence and not (sequence.isascii() and sequence.isdecimal()):
            raise Refusal(RejectReason.BAD_FIELD, "sequence")  # other columns than the layout's
        if "E+" in uniqueid and _EXPONENT.fullmatch(uniqueid):
            raise Refusal(RejectReason.BAD_FIELD, "uniqueid")  # a spreadsheet's
        duration, billsec = _milliseconds(duration_text, "duration"), _milliseconds(billsec_text, "billsec")
        start, end = self._time(start_text, "start"), self._time(end_text, "end")
        answer = self._time(answer_text, "answer")
        if start is None and start_text and end and not end.ambiguous and duration is not None:
            start = LocalTime(end.time_us - duration * 1000, end.offset_s, False)
        if start is None:
            raise Refusal(RejectReason.MISSING_FIELD, "start")
        if end is None and duration is None:
            raise Refusal(RejectReason.MISSING_FIELD, "end")
        times = (start.time_us, end.time_us if end else None, answer.time_us if answer else None)
        offset: int | None = start.offset_s
        ambiguous = False
        if start.ambiguous or (end and end.ambiguous) or (answer and answer.ambiguous):
            choices = (self.zone.choices(start, start_text), self.zone.choices(end, end_text))
            times, ambiguous = settle(choices, self.zone.choices(answer, answer_text), duration, billsec)
            offset = start.offset_s - (times[0] - start.time_us) // 1_000_000
        if _EPOCH.fullmatch(start_text):
            offset = None  # an epoch tells no local time
        start_us, end_us, answer_us = times
        inferred = end_us is None
        if end_us is None:
            end_us = start_us + (duration or 0) * 1000
        if end_us < start_us:
            raise Refusal(RejectReason.BAD_TIME, "end")
        system = _UNIQUEID.fullmatch(uniqueid or linkedid)
        record = (
            position,
            (system.group(1) if system else None) or self.element,
            key_of(uniqueid, linkedid, sequence, (channel, dstchannel, start_text)) or row_digest(line),
            self.service,
            src or _clid_number(clid),
            dst or None,
            start_us,
            answer_us,
            end_us,
            inferred,
            offset,
            ambiguous,
            duration,
            billsec,
            DISPOSITIONS.get(word.upper()),
            hangupcause or word or None,
            trunk_of(channel),
            trunk_of(dstchannel),
            linkedid or uniqueid or None,
            account or None,
        )
        _check_texts(record)
        return record

    def _time(self, text: str, field: str) -> LocalTime | None:
        if not text:
            return None
        found = self.zone.convert(text)
        if found is None and _ZERO.fullmatch(text):
            return None
        if found is None:
            epoch = _EPOCH.fullmatch(text)  # ${CDR(start,u)}
            if epoch is None:
                raise Refusal(RejectReason.BAD_TIME, field)
            time_us = int(epoch.group(1)) * 1_000_000 + int(epoch.group(2).ljust(6, "0"))
            found = LocalTime(time_us, 0, False)
        return found


def settle(
    choices: tuple[tuple[int, ...], tuple[int, ...]],
    answers: tuple[int, ...],
    duration_ms: int | None,
    billable_ms: int | None,
) -> tuple[tuple[int, int | None, int | None], bool]:
    """Return (start, end, answer) where the autumn hour leaves several readings, and whether it still does.

    Only readings in which the call ends no earlier than it starts, and lasts as long as the row says, are possible.
    Of several, the earliest is taken.
    """
    starts, ends = choices
    pairs: list[tuple[int, int | None]] = list(product(starts, ends)) if ends else [(start, None) for start in starts]
    fitting = [pair for pair in pairs if pair[1] is None or pair[1] >= pair[0]] or pairs
    if duration_ms is not None:
        length = duration_ms * 1000
        exact = [pair for pair in fitting if pair[1] is None or abs(pair[1] - pair[0] - length) <= _TOLERANCE_US]
        fitting = exact or fitting
    start, end = min(fitting)
    unsure = len(fitting) > 1
    possible = [one for one in answers if one >= start and (end is None or one <= end)] or list(answers)
    if billable_ms is not None and end is not None and billable_ms:
        exact_answers = [one for one in possible if abs(end - one - billable_ms * 1000) <= _TOLERANCE_US]
        possible = exact_answers or possible
    return (start, end, possible[0] if possible else None), unsure or len(possible) > 1


def key_of(uniqueid: str, linkedid: str, sequence: str, rest: tuple[str, ...]) -> str | None:
    """Return the best key that these columns allow, `rest` being channel, dstchannel and start; None: there is none."""
    if sequence and (uniqueid or linkedid):
        return f"{uniqueid}/{sequence}" if uniqueid else f"{linkedid}//{sequence}"
    if uniqueid:
        digest = blake2b("\0".join(rest).encode("utf-8", "surrogateescape"), digest_size=8)
        return f"{uniqueid}:{digest.hexdigest()}"
    return None


ROW_DIGEST: Final = "row:[0-9a-f]{32}"
"""What `row_digest` returns, as a pattern; no key of a uniqueid looks like it."""

_ROW_PREFIX: Final = "row:"
_ROW_DIGEST: Final = re.compile(ROW_DIGEST)


def row_digest(line: bytes) -> str:
    """Return the key of a row that has none, for `Occurrences` to number."""
    return _ROW_PREFIX + blake2b(line, digest_size=16).hexdigest()


@lru_cache(65_536)
def trunk_of(channel: str) -> str | None:
    """Return technology and peer or span: not the serial, and not the numbers in names of Local and DAHDI channels."""
    if channel.startswith("Local/"):
        return "Local"
    return "/".join(_SERIAL.sub("", channel).split("/", 2)[:2]) or None


def _clid_number(clid: str) -> str | None:
    found = _CALLER_ID.search(clid)
    return (found.group(1) or found.group(2) or None) if found else None


def _milliseconds(text: str, field: str) -> int | None:
    if not text:
        return None
    if text.isdecimal() and len(text) <= 9 and text.isascii():
        return int(text) * 1000
    found = _SECONDS.fullmatch(text)
    if found is None:
        raise Refusal(RejectReason.BAD_FIELD, field)
    return int(found.group(1)) * 1000 + int((found.group(2) or "")[:3].ljust(3, "0"))


def _check_texts(record: tuple[Any, ...]) -> None:
    """Refuse a stored text whose bytes are not UTF-8; what is not stored may be in any encoding."""
    if "".join(filter(None, _texts_of(record))).isascii():
        return
    for index in _TEXTS:
        try:
            (record[index] or "").encode("utf-8")
        except UnicodeEncodeError:
            raise Refusal(RejectReason.ENCODING, COLUMNS[index]) from None


class Occurrences:
    """Numbers equal rows of one delivery, 8 bytes per distinct row."""

    def __init__(self) -> None:
        self._seen = np.empty(0, np.uint64)
        self._repeated: dict[int, int] = {}

    def number(self, keys: Iterable[str]) -> list[str]:
        """Return the keys of a stretch of rows; each row digest gets `:<occurrence>` behind it, counted from 1."""
        keys = list(keys)
        digests = [int(key[4:20], 16) if _ROW_DIGEST.fullmatch(key) else None for key in keys]
        fresh = np.unique(np.array([digest for digest in digests if digest is not None], np.uint64))
        known = set(fresh[np.isin(fresh, self._seen, assume_unique=True)].tolist()) if self._seen.size else set()
        counts: dict[int, int] = {}
        for index, digest in enumerate(digests):
            if digest is None:
                continue
            before = counts.get(digest)
            if before is None:
                before = self._repeated.get(digest, int(digest in known))
            counts[digest] = before + 1
            keys[index] = f"{keys[index]}:{before + 1}"
        self._repeated.update((digest, count) for digest, count in counts.items() if count > 1)
        self._seen = np.union1d(self._seen, fresh)
        return keys


def table_of(records: list[tuple[Any, ...]], occurrences: Occurrences) -> pa.Table:
    """Return records as a table of `COLUMNS`, with the occurrence in keys that are row digests."""
    columns: list[Sequence[Any]] = list(zip(*records, strict=True)) if records else [()] * len(COLUMNS)
    columns[_KEY] = occurrences.number(columns[_KEY])
    arrays = [pa.array(column, kind) for column, kind in zip(columns, KINDS, strict=True)]
    return pa.Table.from_arrays(arrays, names=list(COLUMNS))
