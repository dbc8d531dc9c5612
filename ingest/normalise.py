"""Delivered records to packed ones: numbers in their normal form, ends and durations filled in, bad rows told apart.

Pure and vectorised: a stretch without faults costs no Python per row. Which rows are refused, and why, is in
`ingest.validate`; a row has one reason, the first in the order in which the steps below look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.decoders.base import Decoded, Event
from ingest.row_faults import RowFaults
from ingest.source_config import SourceConfig
from ingest.validate import Times, check_labels, check_public_ports, check_ranges, fill_times
from schemas.arrow import LABEL_TYPE, TIME_TYPE, delivered_type
from schemas.buffers import Column, Ints, Mask, as_text, flat, map_unique, pc, text_views, valid_mask, values_int64
from schemas.fields import BY_NAME, FIELDS, NUMBER_FIELDS, STORE_FIELDS, Field, Kind
from schemas.numbers import normalise_packed, rules, spoiled
from schemas.packing import look_with, pack_address, pack_identifier, pack_mac, unpack_identifier
from schemas.rejects import Reject, RejectReason
from store import native

LOAD_ROWS_MIN: Final = 8_192
"""Fewer rows of a process are no reason to load the kernels; when they are there, they are used."""

_KERNELS: Final = "schemas.number_kernels"
_DIALLED: Final = frozenset((*NUMBER_FIELDS, "imsi", "imei", "called_imsi", "called_imei"))
_MARK: Final = b"\xef\xbb\xbf"
_TIME_FIELDS: Final = ("start_time", "answer_time", "end_time", "end_inferred", "duration_ms")


@dataclass(frozen=True, slots=True)
class Normalised:
    """One stretch, ready for the store.

    `table` has packed columns (those in which every row is null are left out), `batch_position`, and `event` and
    `session_key` where the stretch holds events of sessions. `rejects` are the decoder's and the normaliser's.
    """

    table: pa.Table
    rejects: Sequence[Reject]


def normalise(decoded: Decoded, source: SourceConfig, now_us: int) -> Normalised:
    """Normalise, validate and pack one stretch of a delivery.

    Args:
        decoded: what a decoder yields; labels and identifiers may be dictionary-encoded.
        source: country, tenant, accounts and defaults.
        now_us: the time of the delivery, µs since 1970 UTC; records of the future are refused.
    """
    if native.pays(_KERNELS, decoded.table.num_rows, LOAD_ROWS_MIN):
        look_with(native.load(_KERNELS))
    work = _Work(decoded.table, source)
    work.events()
    work.labels()
    work.identifiers()
    work.times(now_us)
    work.addresses()
    work.others()
    positions = values_int64(work.column("position"))
    refused = work.faults.rejects(positions, decoded.raw_of)
    table = work.result()
    if refused:
        table = table.filter(pa.array(~work.faults.mask))
    rejects = [*decoded.rejects, *refused] if refused else decoded.rejects
    return Normalised(table, rejects)


class _Work:
    """The columns of one stretch on their way from delivered to packed."""

    def __init__(self, table: pa.Table, source: SourceConfig) -> None:
        self.source = source
        self.rows = table.num_rows
        self.faults = RowFaults(self.rows)
        self._given = {name: flat(table.column(name)) for name in table.column_names}
        self._made: dict[str, Column] = {}
        self._complete = np.ones(self.rows, np.bool_)  # rows that are records by themselves, or close one
        self._opens = np.zeros(self.rows, np.bool_)

    def column(self, name: str) -> Column:
        """Return a delivered column; nulls where the decoder has none."""
        if name in self._given:
            return self._given[name]
        kind: Any = delivered_type(BY_NAME[name])
        return pa.nulls(self.rows, kind)

    def has(self, name: str) -> bool:
        """Tell whether the decoder delivers a column that is not all null."""
        column = self._given.get(name)
        return column is not None and column.null_count < self.rows

    def keep(self, name: str, column: Column) -> None:
        """Keep a packed column, unless it says nothing."""
        if column.null_count < self.rows or self.rows == 0:
            self._made[name] = column

    def result(self) -> pa.Table:
        """Return the packed columns in the order of the table of fields."""
        order = [name for field in FIELDS for name in _columns_of(field)] + ["event", "session_key"]
        self._made["batch_position"] = self.column("position").cast(pa.int64())
        return pa.table({name: self._made[name] for name in order if name in self._made})

    def events(self) -> None:
        """Tell records from events of sessions; an event without a session is refused."""
        if not self.has("event"):
            return
        event = pc.fill_null(as_text(self._given["event"]), Event.RECORD.value)
        if pc.all(pc.equal(event, Event.RECORD.value)).as_py():
            return
        whole = np.asarray(pc.equal(event, Event.RECORD.value))
        self._complete = whole | np.asarray(pc.equal(event, Event.CLOSE.value))
        self._opens = np.asarray(pc.equal(event, Event.OPEN.value))
        known = np.asarray(pc.is_in(event, pa.array([one.value for one in Event])))
        self.faults.add(~known, RejectReason.UNSUPPORTED)
        session = as_text(self._given.get("session_key", pa.nulls(self.rows)))
        self.faults.add(~whole & ~valid_mask(session), RejectReason.MISSING_FIELD, "session_key")
        self._made["event"] = event
        self._made["session_key"] = session

    def labels(self) -> None:
        """Encode labels; fill in the source's switch, service type and tenant."""
        defaults = {
            "switch": self.source.element,
            "service_type": self.source.service_type,
            "tenant": self.source.tenant,
        }
        for field in FIELDS:
            if field.kind is not Kind.LABEL or field.name in STORE_FIELDS:
                continue
            column = self._given.get(field.name)
            default = defaults.get(field.name)
            if column is None or column.null_count == self.rows:
                if default is not None:
                    self._made[field.name] = _constant(default, self.rows)
                continue
            encoded = _encoded(column)
            if default is not None and encoded.null_count:
                encoded = pc.fill_null(as_text(encoded), default).dictionary_encode()
            self._made[field.name] = encoded
        check_labels(self._made, self.faults)

    def identifiers(self) -> None:
        """Pack identifiers; bring numbers to their normal form and keep what was delivered where it differs."""
        for field in FIELDS:
            if field.kind is not Kind.IDENTIFIER or not (self.has(field.name) or self.has(field.name + "_text")):
                continue
            packed, text = self._packed(field)
            if text is not None:
                self._check_text(field.name, text)
            if field.name in NUMBER_FIELDS:
                packed, text = self._number(field.name, packed, text)
            self.keep(field.name, packed)
            if text is not None:
                self.keep(field.name + "_text", text)
        key, text = self._made.get("record_key"), self._made.get("record_key_text")
        if key is not None and not key.null_count:
            return
        missing = np.ones(self.rows, np.bool_)
        for part in (key, text):
            if part is not None:
                missing &= ~valid_mask(part) if part.null_count else False
        # Only what becomes a record needs its key: an open session is known by its own.
        self.faults.add(missing & self._complete, RejectReason.MISSING_FIELD, "record_key")

    def _check_text(self, name: str, text: Column) -> None:
        """Refuse what a spreadsheet made of digits, and a text that begins with another file's byte order mark."""
        wrong = spoiled(text, exponents_only=name not in _DIALLED)
        if wrong is not None:
            self.faults.add(wrong, RejectReason.BAD_FIELD, name)
        _, data = text_views(text)
        if (data == _MARK[0]).any():
            marked = pc.fill_null(pc.starts_with(text, _MARK.decode()), False)
            self.faults.add(np.asarray(marked), RejectReason.ENCODING, name)

    def _packed(self, field: Field) -> tuple[Column, Column | None]:
        """Return an identifier's digits, and what is text; a decoder may have packed it already."""
        column, rest = self._given.get(field.name), self._given.get(field.name + "_text")
        mapped = field.name == "account" and bool(self.source.accounts)
        if column is not None and column.type == pa.int64():
            if not mapped:
                return column, rest
            column = unpack_identifier(column, rest)
        if mapped:
            column = map_unique(as_text(column), self._account, pa.string())
        packed, text = pack_identifier(column)
        if text.null_count < self.rows:  # an empty text is no identifier
            text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        return packed, text if text.null_count < self.rows else None

    def _account(self, code: str) -> str:
        return self.source.accounts.get(code, code)

    def _number(self, name: str, packed: Column, text: Column | None) -> tuple[Column, Column | None]:
        law = rules(self.source.country)
        normal, normal_text, changed = normalise_packed(packed, text, law)
        delivered_name = name + "_delivered"
        if self.has(delivered_name):
            self._made[delivered_name] = as_text(self._given[delivered_name])
        if changed.any():
            mask = pa.array(changed)
            digits = pc.if_else(mask, packed, pa.scalar(None, pa.int64()))
            other = None if text is None else pc.if_else(mask, text, pa.scalar(None, pa.string()))
            before = unpack_identifier(digits, other)
            told = self._made.get(delivered_name)
            self._made[delivered_name] = before if told is None else pc.coalesce(told, before)
        return normal, normal_text

    def times(self, now_us: int) -> None:
        """Fill in end and duration; refuse absurd times and records of the future."""
        times = Times(
            start=self._numbers("start_time"),
            answer=self._numbers("answer_time"),
            end=self._numbers("end_time"),
            duration=self._numbers("duration_ms"),
            complete=self._complete,
            opens=self._opens,
        )
        filled = fill_times(times, now_us, self.faults)
        self._made["start_time"] = _time_column(*filled.start)
        self._made["end_time"] = _time_column(*filled.end)
        self.keep("duration_ms", _masked(*filled.duration))
        if self.has("answer_time"):
            self._made["answer_time"] = self.column("answer_time").cast(TIME_TYPE)
        inferred = filled.inferred
        if self.has("end_inferred"):
            inferred = inferred | np.asarray(pc.fill_null(self._given["end_inferred"], False))
        self._made["end_inferred"] = pa.array(inferred)
        ambiguous = filled.uncertain
        if self.has("time_ambiguous"):
            ambiguous = ambiguous | np.asarray(pc.fill_null(self._given["time_ambiguous"], False))
        self._made["time_ambiguous"] = pa.array(ambiguous)

    def _numbers(self, name: str) -> tuple[Ints, Any]:
        """Return a column's 64-bit values and which are valid (None: all)."""
        if not self.has(name):
            return np.zeros(self.rows, np.int64), np.zeros(self.rows, np.bool_)
        column = self._given[name]
        wanted = TIME_TYPE if BY_NAME[name].kind is Kind.TIME else pa.int64()
        if column.type != wanted:
            column = column.cast(wanted, safe=False)
        return values_int64(column), valid_mask(column) if column.null_count else None

    def addresses(self) -> None:
        """Pack IP and MAC addresses and prefixes; what is none refuses its row."""
        for field in FIELDS:
            if not (self.has(field.name) or self.has(field.name + "_text")):
                continue
            column = self._given[field.name]
            if field.kind is Kind.ADDRESS:
                bad = self._address(field.name, column, self._given.get(field.name + "_text"))
            elif field.kind is Kind.MAC:
                mac, bad = pack_mac(column)
                self.keep(field.name, mac)
            elif field.name == "ipv6_prefix":
                text = as_text(column)
                prefix = map_unique(text, _prefix, pa.string())
                bad = valid_mask(text) & ~valid_mask(prefix) & ~np.asarray(pc.fill_null(pc.equal(text, ""), False))
                self.keep(field.name, prefix)
            else:
                continue
            if bad is not None:
                self.faults.add(bad, RejectReason.BAD_FIELD, field.name)

    def _address(self, name: str, column: Column, rest: Column | None) -> Mask | None:
        """Keep the addresses of a column, and return which rows have none; a decoder may have packed it already."""
        if column.type != pa.uint32():
            v4, v6, bad = pack_address(column)
        elif rest is None:
            v4, v6, bad = column, None, None
        else:
            v4, v6, bad = pack_address(rest)
            v4 = pc.coalesce(column, v4)
        self.keep(name, v4)
        if v6 is not None:
            self.keep(name + "_v6", v6)
        return bad

    def others(self) -> None:
        """Take over whole numbers, texts and flags; refuse those out of their range."""
        for field in FIELDS:
            if field.name in self._made or field.name in _TIME_FIELDS or field.name in STORE_FIELDS:
                continue
            if field.kind in (Kind.INTEGER, Kind.SMALL, Kind.TEXT, Kind.FLAG) and self.has(field.name):
                if field.name.endswith("_delivered"):
                    self._made[field.name] = as_text(self._given[field.name])
                    continue
                column = self._given[field.name]
                if field.kind in (Kind.INTEGER, Kind.SMALL):
                    check_ranges(field, column, self.faults)
                wanted = delivered_type(field)
                self._made[field.name] = column if column.type == wanted else column.cast(wanted, safe=False)
        check_public_ports(self._made, self.faults)


def _columns_of(field: Field) -> tuple[str, ...]:
    suffix = {Kind.IDENTIFIER: "_text", Kind.ADDRESS: "_v6"}.get(field.kind)
    return (field.name,) if suffix is None else (field.name, field.name + suffix)


def _constant(value: str, rows: int) -> Column:
    indices: Column = pa.array(np.zeros(rows, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([value]))


def _encoded(column: Column) -> Column:
    """Return a label column in its packed type, nulls in the indices alone; an empty text is no label."""
    encoded: Column = column if isinstance(column, pa.DictionaryArray) else as_text(column).dictionary_encode()
    if encoded.type != LABEL_TYPE:
        encoded = encoded.cast(LABEL_TYPE)
    if {"", None} & set(encoded.dictionary.to_pylist()):
        text = as_text(encoded)
        return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text).dictionary_encode()
    return encoded


def _masked(values: Ints, valid: Any) -> Column:
    return pa.array(values) if valid is None else pa.array(values, mask=~valid)


def _time_column(values: Ints, valid: Any) -> Column:
    return _masked(values, valid).view(TIME_TYPE)


def _prefix(text: str) -> str | None:
    """Return address/length in its normal form; None when it is none."""
    try:
        return str(ip_network(text, strict=False)) if ":" in text and "/" in text else None
    except ValueError:
        return None
