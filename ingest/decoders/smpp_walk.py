"""The compiled road of an SMPP gateway's log: usual submits and receipts as columns (ADR 38).

What is read here reads `ingest.decoders.smpp` the same: a line that begins with `2026-11-20 09:00:00.250`, a level
perhaps, `submit_sm` or `deliver_sm`, `name=value` each behind one space, and `short_message` last. Others are its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.decoders import shapes as of
from ingest.decoders.base import Event
from ingest.decoders.event_rows import Walked
from ingest.decoders.shapes import Found, Shapes, Steps, shape
from ingest.decoders.slices import Column, Flags, Ints, Lines, compute
from ingest.source_config import SourceConfig
from ingest.times import ZoneTimes
from schemas.arrow import TIME_TYPE
from schemas.buffers import Bytes

_NAMES: Final = (
    "time", "micros", "message_id", "receipted_message_id", "source_addr", "destination_addr", "smsc", "smsc_id",
    "system_id", "esm_class", "id", "submitted", "done", "state", "error",
)  # fmt: skip
(
    _TIME, _MICROS, _MESSAGE, _RECEIPTED, _SOURCE, _DESTINATION, _CENTRE, _CENTRE_ID, _SYSTEM, _CLASS, _ID, _SUBMITTED,
    _DONE, _STATE, _ERROR,
) = range(len(_NAMES))  # fmt: skip
_KNOWN: Final = tuple((name, of.SLICE, slot) for slot, name in enumerate(_NAMES[: _CLASS + 1]) if slot >= _MESSAGE)
_TEXTS: Final = (
    "short_message", "message_payload", "text", "msg", "message", "content", "body", "udh",
)  # fmt: skip
_LAST: Final = tuple((name, of.LAST, of.NOWHERE) for name in _TEXTS)
_SUBMITS: Final = tuple((name, of.REFUSED, of.NOWHERE) for name in ("submit_sm", "submit_sm_resp"))
_HEAD: Final = shape(
    of.stamp(" ", _TIME),
    of.option(".", of.span(of.FIGURE, _MICROS, most=6)),
    of.when(of.UPPER, 1, " ", of.span(of.UPPER)),
)
_EVERY: Final = of.span(of.EVERY, least=0)


def _submit(word: str) -> Steps:
    told = of.fields(of.VALUE, *_KNOWN, *_LAST)
    return shape(_HEAD, f" {word}", told, of.option(" short_message=", _EVERY), of.END)


def _date(name: str, slot: int) -> Steps:
    return of.option(f" {name} date:", of.span(of.FIGURE, slot, most=14))


_RECEIPT: Final = shape(
    *(_HEAD, " deliver_sm", of.fields(of.JOINED, *_KNOWN, *_LAST, *_SUBMITS), " short_message=", of.option('"'), "id:"),
    of.span(of.NAME, _ID, most=65),
    *(of.option(f" {name}:", of.span(of.FIGURE, least=0, most=4)) for name in ("sub", "dlvrd")),
    *(_date("submit", _SUBMITTED), _date("done", _DONE)),
    *(" stat:", of.span(of.UPPER, _STATE, least=2, most=12)),
)
_ERRED: Final = shape(
    *(" err:", of.span(of.LETTER, _ERROR, least=0, most=8)),
    *(of.option(" ", _EVERY), of.option('"', _EVERY), of.END),
)
_SHAPES: Final = Shapes(
    len(_NAMES),
    *(_submit("submit_sm"), _submit("submit_sm_resp")),
    *(shape(_RECEIPT, _ERRED), shape(_RECEIPT, of.option('"', _EVERY), of.END)),
)
_RECEIPTS: Final = 2
"""The first shape of a receipt; those before are submits."""
_ISO: Final = np.frombuffer(b"2000-00-00 00:00:00", np.uint8)
_PLACES: Final = np.array([2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18])
_DIGITS: Final = (10, 12, 14)
_LETTERS: Final = b"sur"


class Walk:
    """Reads the usual lines of one delivery."""

    def __init__(
        self,
        source: SourceConfig,
        service_type: str,
        bytes_max: int,
        meaning: Callable[[str], tuple[Event, str | None]],
        is_receipt: Callable[[str | None], bool],
    ) -> None:
        """Take what a state means and which `esm_class` a receipt has."""
        self._zone = ZoneTimes(source.zone or "UTC")
        self._service = source.service_type or service_type
        self._bytes_max, self._meaning, self._is_receipt = bytes_max, meaning, is_receipt

    def read(self, lines: Lines, positions: Ints) -> Walked:
        """Return the events of the lines that are usual."""
        data = lines.bytes
        whole = lines.terminated & (lines.ends - lines.starts < self._bytes_max)
        found = _SHAPES.match(data, np.where(whole, lines.starts, -1), lines.ends)
        good = found.which >= 0
        receipt = found.which >= _RECEIPTS
        good &= receipt | (found.begins[_MESSAGE] >= 0)
        classed = np.flatnonzero(good & receipt & (found.begins[_CLASS] >= 0))
        if len(classed):
            encoded = of.texts(data, found, _CLASS, classed).dictionary_encode()
            known = np.array([self._is_receipt(one) for one in encoded.dictionary.to_pylist()], np.bool_)
            good[classed] = known[np.asarray(encoded.indices)]
        rows = np.flatnonzero(good)
        if not len(rows):
            return Walked(good, pa.table({"position": pa.array([], pa.int64())}))
        table, fine = self._table(data, found, rows, positions)
        good[rows] = fine
        return Walked(good, table.filter(pa.array(fine)))

    def _table(self, data: Bytes, found: Found, rows: Ints, positions: Ints) -> tuple[pa.Table, Flags]:
        """Return events, and which of them have the times that they need."""
        receipt = found.which[rows] >= _RECEIPTS
        encoded = of.texts(data, found, _STATE, rows).dictionary_encode()
        meanings = [self._meaning(one) for one in encoded.dictionary.to_pylist()]
        closing = np.array([event is Event.CLOSE for event, _ in meanings] + [False], np.bool_)
        codes = np.asarray(compute.fill_null(encoded.indices, len(meanings)))
        closes = closing[codes]
        outcomes = [outcome if event is Event.CLOSE else None for event, outcome in meanings] + [None]
        line, submitted, done = (self._times(data, found, slot, rows) for slot in (_TIME, _SUBMITTED, _DONE))
        last = done.over(line)
        start = submitted.where(receipt).over(line.where(~receipt))
        end = last.where(closes)
        first = start.over(end)
        fine = np.where(receipt, last.told & (submitted.told | (found.begins[_SUBMITTED][rows] < 0)), line.told)
        fine &= line.told | (done.told & receipt)
        fine &= done.told | (found.begins[_DONE][rows] < 0)
        at = np.where(receipt, last.time, line.time)
        fine &= at >= 0
        state, error = (of.texts(data, found, slot, rows) for slot in (_STATE, _ERROR))
        plain = compute.fill_null(compute.equal(compute.binary_length(error), 0), True)
        cause = compute.if_else(plain, state, compute.binary_join_element_wise(state, error, " "))
        texts = {slot: of.texts(data, found, slot, rows) for slot in (_SOURCE, _DESTINATION, _CENTRE, _CENTRE_ID)}
        sender, receiver = (
            compute.if_else(pa.array(receipt), texts[one], texts[other])
            for one, other in ((_DESTINATION, _SOURCE), (_SOURCE, _DESTINATION))
        )
        event = np.where(closes, 2, np.where(receipt, 1, 0))
        keys = self._keys(data, found, rows, (receipt, event, at))
        columns = {
            "position": pa.array(positions[rows]),
            "event": compute.take(pa.array([Event.OPEN.value, Event.UPDATE.value, Event.CLOSE.value]), pa.array(event)),
            "session_key": keys[0],
            "record_key": keys[1],
            "calling_number": sender,
            "called_number": receiver,
            "start_time": pa.array(start.time, mask=~start.told).view(TIME_TYPE),
            "end_time": pa.array(end.time, mask=~end.told).view(TIME_TYPE),
            "utc_offset_s": pa.array(first.offset.astype(np.int32), mask=~first.told),
            "time_ambiguous": pa.array(start.ambiguous | end.ambiguous),
            "disposition": compute.take(pa.array(outcomes, pa.string()), pa.array(codes)),
            "cause": cause,
            "trunk_out": compute.coalesce(texts[_CENTRE], texts[_CENTRE_ID]),
            "account": of.texts(data, found, _SYSTEM, rows),
            "service_type": pa.repeat(self._service, len(rows)),
        }
        return pa.table(columns), fine

    def _keys(self, data: Bytes, found: Found, rows: Ints, told: tuple[Flags, Ints, Ints]) -> tuple[Column, Column]:
        """Return the keys of session and record: a submit's has no state."""
        receipt, event, at = told
        own = np.where(receipt, _ID, _MESSAGE)
        own = np.where(receipt & (found.begins[_RECEIPTED][rows] >= 0), _RECEIPTED, own)
        key = found.begins[own, rows], found.ends[own, rows]
        more = np.concatenate([data, np.frombuffer(_LETTERS, np.uint8)])
        letter = len(data) + event
        state = found.begins[_STATE][rows], found.ends[_STATE][rows]
        session = of.joined(more, [(of.TEXT, *key)])
        long = of.joined(
            more, [(of.TEXT, letter, letter + 1), (of.TEXT, *key), (of.TEXT, *state), (of.NUMBER, at, None)]
        )
        short = of.joined(more, [(of.TEXT, letter, letter + 1), (of.TEXT, *key), (of.NUMBER, at, None)])
        return session, compute.if_else(pa.array(receipt), long, short)

    def _times(self, data: Bytes, found: Found, slot: int, rows: Ints) -> _Times:
        begins, ends = found.begins[slot][rows], found.ends[slot][rows]
        texts = of.texts(data, found, slot, rows) if slot == _TIME else _dates(data, begins, ends)
        local = self._zone.convert_column(texts)
        time, offset = (
            np.asarray(compute.fill_null(one.view(kind), 0))
            for one, kind in ((local.times, pa.int64()), (local.offsets_s, pa.int32()))
        )
        told = np.asarray(compute.is_valid(local.times))
        if slot == _TIME:
            time = time + self._micros(data, found, rows)
        return _Times(time, offset.astype(np.int64), np.asarray(compute.fill_null(local.ambiguous, False)), told)

    def _micros(self, data: Bytes, found: Found, rows: Ints) -> Ints:
        begins, ends = found.begins[_MICROS][rows], found.ends[_MICROS][rows]
        value = np.zeros(len(rows), np.int64)
        for place in range(6):
            there = (begins >= 0) & (begins + place < ends)
            digit = data[np.where(there, begins + place, 0)].astype(np.int64) - ord("0")
            value = value * 10 + np.where(there, digit, 0)
        return value


class _Times:
    """By row: a time in µs, its offset in s, whether it is ambiguous, whether there is one; 0 where there is none."""

    def __init__(self, time: Ints, offset: Ints, ambiguous: Flags, told: Flags) -> None:
        self.time, self.offset, self.ambiguous, self.told = time, offset, ambiguous, told

    def over(self, other: _Times) -> _Times:
        """Return this time, the other's where there is none."""
        own = self.told
        return _Times(
            np.where(own, self.time, other.time),
            np.where(own, self.offset, other.offset),
            np.where(own, self.ambiguous, other.ambiguous),
            own | other.told,
        )

    def where(self, mask: Flags) -> _Times:
        """Return the times of some rows."""
        return _Times(self.time * mask, self.offset * mask, self.ambiguous & mask, self.told & mask)


def _dates(data: Bytes, begins: Ints, ends: Ints) -> Column:
    """Return YYMMDDhhmm, YYMMDDhhmmss and YYYYMMDDhhmmss as `YYYY-MM-DD hh:mm:ss`; null where none stands."""
    sizes = np.where(begins >= 0, ends - begins, 0)
    text: Any = np.tile(_ISO, (len(begins), 1))
    for size in _DIGITS:
        rows = np.flatnonzero(sizes == size)
        if not len(rows):
            continue
        digits = data[begins[rows][:, None] + np.arange(size)]
        century = size - 12 if size == _DIGITS[-1] else 0
        text[rows[:, None], _PLACES[: size - century]] = digits[:, century:]
        if century:
            text[rows[:, None], np.arange(century)] = digits[:, :century]
    offsets: Any = np.arange(0, (len(begins) + 1) * len(_ISO), len(_ISO), dtype=np.int32)
    column = pa.StringArray.from_buffers(len(begins), pa.py_buffer(offsets), pa.py_buffer(text))
    return compute.if_else(pa.array(np.isin(sizes, _DIGITS)), column, pa.scalar(None, pa.string()))
