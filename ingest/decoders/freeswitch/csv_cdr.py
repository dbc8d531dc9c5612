"""FreeSWITCH mod_cdr_csv: one row per leg, by one of the six templates of its configuration, or a template of its own.

Every value stands in quotes, and nothing escapes a quote inside one: a row is split where `","` or `", "` stands. A
value that holds just that gives a column too many, and the row is refused. Where that gives no row, as when a
spreadsheet saved the file again, it is read as CSV.

Without option `template`, the number of columns and the place of the uuid tell which of the module's own templates
wrote a row; both must agree.

Identity (`record_key`): `uuid`, one record per leg. The row has no name of its switch: it is the source's `switch`.
Where that is the `switchname`, a leg that is delivered by mod_json_cdr too is the same record.

Times are local, in the source's zone. The hour that occurs twice in autumn is settled by the row's own durations where
they allow only one reading. Template `opencdrrate` writes no start: it is the answer, or the end of an unanswered leg.

Option `template`: sql, example, snom, linksys, asterisk, opencdrrate, default (the module's own), or the template.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa

from ingest.decoders.asterisk.rows import settle
from ingest.decoders.base import Decoded
from ingest.decoders.freeswitch.csv_columns import LEGS, NEVER_US, PLAIN, UUID, plain_legs
from ingest.decoders.freeswitch.json_cdr import address_of, profile_name
from ingest.decoders.freeswitch.stretch import DISPOSITIONS
from ingest.decoders.plain_rows import PlainBlocks, PlainRows, plain_rows, shifted
from ingest.decoders.row_stretch import Refusal, RowStretch, kept_values
from ingest.decoders.slices import Block, read_blocks
from ingest.lines import Line, read_lines
from ingest.source_config import SourceConfig
from ingest.times import LocalTime, zone_times
from schemas.buffers import Mask
from schemas.errors import ConfigurationError
from schemas.rejects import RejectReason

_DEFAULT: Final = (
    "caller_id_name", "caller_id_number", "destination_number", "context", "start_stamp", "answer_stamp", "end_stamp",
    "duration", "billsec", "hangup_cause", "uuid", "bleg_uuid", "accountcode",
)  # fmt: skip
_EXAMPLE: Final = (*_DEFAULT, "read_codec", "write_codec")
TEMPLATES: Final[dict[str, tuple[str, ...]]] = {
    "default": _DEFAULT,
    "sql": _DEFAULT,
    "example": _EXAMPLE,
    "linksys": (*_EXAMPLE, "sip_user_agent", "sip_p_rtp_stat"),
    "snom": (
        *_EXAMPLE, "sip_user_agent", "call_clientcode", "sip_rtp_rxstat", "sip_rtp_txstat", "sofia_record_file",
    ),
    "asterisk": (
        "accountcode", "caller_id_number", "destination_number", "context", "caller_id", "channel_name",
        "bridge_channel", "last_app", "last_arg", "start_stamp", "answer_stamp", "end_stamp", "duration", "billsec",
        "hangup_cause", "amaflags", "uuid", "userfield",
    ),
    "opencdrrate": (
        "uuid", "signal_bond", "direction", "ani", "destination_number", "answer_stamp", "end_stamp", "billsec",
        "accountcode", "userfield", "network_addr", "original_caller_id_name", "sip_gateway_name",
    ),
}  # fmt: skip
_SNIFFED: Final = ("default", "opencdrrate", "example", "linksys", "asterisk", "snom")
_EPOCHS: Final = ("start_epoch", "answer_epoch", "end_epoch")
_USED: Final = (*PLAIN, *_EPOCHS)
_FIRST_LINES: Final = 20
_HEAD_BYTES: Final = 1 << 16
_SQL: Final = re.compile(r"INSERT\s+INTO\s+\w+\s+VALUES\s*\((.*)\)\s*;?", re.IGNORECASE | re.DOTALL)
_BETWEEN: Final = re.compile(r'" ?, ?"')
_UUID: Final = re.compile(UUID)
_NAME: Final = re.compile(r"\$\{(?:regex\('?\$\{)?([A-Za-z_][\w-]*)")


class FreeswitchCsv:
    """`Master.csv` and files per account of mod_cdr_csv."""

    name = "freeswitch-csv"
    summary = "FreeSWITCH mod_cdr_csv: its six templates, or one of your own"
    zoned = False
    options = ("template",)

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the delivery's legs in order.

        Raises:
            ConfigurationError: the source has no zone; `template` writes no uuid, no party or no time.
            InputError: the delivery is UTF-16.
        """
        rows = _Rows(_template(source.options.get("template")), _Legs(source))
        blocks = PlainBlocks(read_blocks(stream), rows.plain)
        position = 0
        for plain in blocks:
            yield from shifted([rows.whole(plain)], position)
            position += plain.rows.count
        if blocks.rest is not None:
            rest, offset = blocks.rest
            yield from shifted(rows.decoded(read_lines(rest)), position, offset)


class _Plain(NamedTuple):
    """The legs of a block's plain rows, and which rows are understood."""

    rows: PlainRows
    table: pa.Table
    understood: Mask


class _Rows:
    """The rows of one delivery: those of a plain block at once, all others one by one."""

    def __init__(self, chosen: tuple[str, ...] | None, legs: _Legs) -> None:
        self._chosen, self._legs = chosen, legs

    def decoded(self, lines: Iterable[Line]) -> Iterator[Decoded]:
        """Yield the legs of lines."""
        stretch = RowStretch(LEGS, kept_values)
        for line in lines:
            found = None if line.reason is not None else _read(line.data, self._chosen)
            if found is None:
                stretch.refuse(line.reject(line.reason or RejectReason.COLUMN_COUNT))
            elif b"\x00" in line.data:
                stretch.refuse(line.reject(RejectReason.ENCODING))
            else:
                values = _values(*found)
                try:
                    stretch.take(self._legs.record(line.position, values), values, line.length_bytes)
                except Refusal as refusal:
                    stretch.refuse(line.reject(refusal.reason, field=refusal.field, raw=kept_values(values)))
            if stretch.is_full:
                yield stretch.decoded()
                stretch = RowStretch(LEGS, kept_values)
        if not stretch.is_empty:
            yield stretch.decoded()

    def names(self, block: Block) -> tuple[str, ...] | None:
        """Return the columns of a block, by its first row that a template writes; None where each has to be asked."""
        if self._chosen is not None:
            return None if set(self._chosen) & set(_EPOCHS) else self._chosen
        head = block.data[:_HEAD_BYTES]
        for line in head[: head.rfind(b"\n") + 1].split(b"\n", _FIRST_LINES)[:_FIRST_LINES]:
            found = _read(line, None)
            if found is not None:
                return found[0]
        return None

    def plain(self, block: Block) -> _Plain | None:
        """Return the legs of a block's plain rows; None when it has to be read row by row."""
        names = self.names(block)
        rows = None if names is None else plain_rows(block, len(names), _places(names), quoted=True)
        if names is None or rows is None:
            return None
        starts = "start_stamp" in names
        made = plain_legs(rows.columns, rows.positions, self._legs.zone, self._legs.names, starts=starts)
        return _Plain(rows, *made)

    def whole(self, plain: _Plain) -> Decoded:
        """Return the legs of a block; only rows in which something is in doubt are read one by one."""
        rows, table, understood = plain
        parts = list(self.decoded(rows.odd_lines(understood)))

        def raw_of(asked: Sequence[int]) -> list[bytes | None]:
            found = (_read(rows.line(rows.at(position)).data, self._chosen) for position in asked)
            return [None if one is None else kept_values(_values(*one)) for one in found]

        if not parts:
            return Decoded(table, [], raw_of)
        table = pa.concat_tables([LEGS.delivered(table), *(part.table for part in parts)]).sort_by("position")
        return Decoded(table, [reject for part in parts for reject in part.rejects], raw_of)


def _values(names: tuple[str, ...], row: list[str]) -> dict[str, str]:
    return {name: value for name, value in zip(names, row, strict=True) if name in _USED}


@lru_cache(64)
def _places(names: tuple[str, ...]) -> dict[str, int | None]:
    """Return where each column of `PLAIN` stands: the last of a name, as everywhere here."""
    found = {name: place for place, name in enumerate(names)}
    return {name: found.get(name) for name in PLAIN}


def _template(text: str | None) -> tuple[str, ...] | None:
    """Return the columns of option `template`; None without one.

    Raises:
        ConfigurationError: it writes no uuid, no party or no time.
    """
    if text is None:
        return None
    if text in TEMPLATES:
        return TEMPLATES[text]
    items = text.split(",")
    names = []
    for item in items:
        found = _NAME.search(item)
        names.append(found.group(1) if found else item.strip() if item.strip() in _USED else "")
    if "uuid" not in names or not {"caller_id_number", "ani", "destination_number"} & set(names):
        raise ConfigurationError(
            "option template is none of mod_cdr_csv's and writes no uuid or no party",
            hint=f"it may be {', '.join(TEMPLATES)}, or the template itself",
        )
    if not {"start_stamp", "start_epoch", "answer_stamp", "end_stamp", "end_epoch"} & set(names):
        raise ConfigurationError("option template writes no time")
    return tuple(names)


def _read(data: bytes, chosen: tuple[str, ...] | None) -> tuple[tuple[str, ...], list[str]] | None:
    """Return the names and values of a row; None when no template writes such a one."""
    text = data.decode("utf-8", "surrogateescape").strip()
    statement = _SQL.fullmatch(text)
    if statement is not None:
        text = statement.group(1).strip()
    if text.startswith('"') and text.endswith('"') and len(text) > 1:
        row = _BETWEEN.split(text[1:-1])
        names = _names(row) if chosen is None else chosen
        if names is not None and len(names) == len(row):
            return names, row
    try:
        row = next(csv.reader([text], strict=True, skipinitialspace=True), [])
    except csv.Error:
        return None
    names = _names(row) if chosen is None else chosen
    return None if names is None or len(names) != len(row) else (names, row)


def _names(row: list[str]) -> tuple[str, ...] | None:
    """Return the columns of the module's own template that wrote a row: by their number, and where the uuid stands."""
    for name in _SNIFFED:
        names = TEMPLATES[name]
        if len(row) == len(names) and _UUID.fullmatch(row[names.index("uuid")]):
            return names
    return None


class _Legs:
    """Makes records of rows; what the source settles is read once."""

    def __init__(self, source: SourceConfig) -> None:
        self.zone = zone_times(source, FreeswitchCsv.name)
        self.names = source.element, source.service_type or "voice"

    def record(self, position: int, values: dict[str, str]) -> tuple[Any, ...]:
        """Return one leg as a tuple of `_COLUMNS`.

        Raises:
            Refusal: a field is missing or has not its form.
        """
        get = values.get
        key = get("uuid")
        if not key:
            raise Refusal(RejectReason.MISSING_FIELD, "uuid")
        if not _UUID.fullmatch(key):
            raise Refusal(RejectReason.BAD_FIELD, "uuid")
        duration, billable = _milliseconds(values, "duration"), _milliseconds(values, "billsec")
        start, answer, end, ambiguous, offset_s = self._times(values, duration, billable)
        inferred = end is None
        if end is None:
            if duration is None:
                raise Refusal(RejectReason.MISSING_FIELD, "end_stamp")
            end = start + duration * 1000
        if end < start:
            raise Refusal(RejectReason.BAD_TIME, "end_stamp")
        cause = get("hangup_cause") or None
        gateway = get("sip_gateway_name") or None
        outbound = get("direction") == "outbound"
        address = address_of(get("network_addr"))
        record = (
            position,
            self.names[0],
            key.lower(),
            self.names[1],
            get("caller_id_number") or get("ani") or None,
            get("destination_number") or None,
            start,
            answer,
            end,
            inferred,
            offset_s,
            ambiguous,
            duration,
            billable,
            address,
            get("sip_user_agent") or None,
            "answered" if answer else DISPOSITIONS.get(cause, "failed") if cause else None,
            cause,
            profile_name(get("channel_name") or None) or (None if outbound else gateway),
            profile_name(get("bridge_channel") or None) or (gateway if outbound else None),
            key.lower(),
            get("accountcode") or None,
        )
        LEGS.check_texts(record)
        return record

    def _times(
        self, values: dict[str, str], duration: int | None, billable: int | None
    ) -> tuple[int, int | None, int | None, bool, int | None]:
        """Return start, answer and end in µs, UTC, whether a local time is ambiguous, and the offset of the start."""
        start, start_text = self._time(values, "start")
        answer, answer_text = self._time(values, "answer")
        end, end_text = self._time(values, "end")
        if answer is not None and answer.time_us < NEVER_US:
            answer = None
        if start is None and "start_stamp" not in values and "start_epoch" not in values:
            start, start_text = (answer, answer_text) if answer is not None else (end, end_text)
        if start is None:
            raise Refusal(RejectReason.MISSING_FIELD, "start_stamp")
        found = (start.time_us, end.time_us if end else None, answer.time_us if answer else None)
        ambiguous = start.ambiguous or bool(end and end.ambiguous) or bool(answer and answer.ambiguous)
        if ambiguous:
            choices = (self.zone.choices(start, start_text), self.zone.choices(end, end_text))
            found, ambiguous = settle(choices, self.zone.choices(answer, answer_text), duration, billable)
        offset = None if start_text.isdecimal() else start.offset_s - (found[0] - start.time_us) // 1_000_000
        return found[0], found[2], found[1], ambiguous, offset

    def _time(self, values: dict[str, str], word: str) -> tuple[LocalTime | None, str]:
        epoch, stamp = values.get(f"{word}_epoch"), values.get(f"{word}_stamp")
        if epoch:
            if not (epoch.isascii() and epoch.isdecimal() and len(epoch) <= 10):
                raise Refusal(RejectReason.BAD_TIME, f"{word}_epoch")
            return (LocalTime(int(epoch) * 1_000_000, 0, False) if int(epoch) else None), epoch
        if not stamp:
            return None, ""
        local = self.zone.convert(stamp)
        if local is None:
            raise Refusal(RejectReason.BAD_TIME, f"{word}_stamp")
        return local, stamp


def _milliseconds(values: dict[str, str], name: str) -> int | None:
    text = values.get(name)
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9):
        raise Refusal(RejectReason.BAD_FIELD, name)
    return int(text) * 1000
