"""Plain transactions of Kamailio by compiled walks (ADR 38): places of values, what they say, and columns of that.

The law is `ingest.decoders.kamailio.records`; what a walk leaves goes there.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ingest.decoders.base import Event
from ingest.decoders.freeswitch.walk import Names, names_of
from ingest.decoders.kamailio import records
from ingest.decoders.slices import Column, Flags, Ints, Lines, gather
from schemas.arrow import LABEL_TYPE, TIME_TYPE
from store import native

WALK_BYTES_MIN = 1 << 12
"""Fewer bytes are left to the twin."""

LOAD_BYTES_MIN = 1 << 18
"""Fewer bytes are no reason to load the kernels; when they are there, they are used."""

_KERNELS: Final = "ingest.decoders.kamailio.walk_kernels"
_ENDED: Final = "ingest.decoders.kamailio.ended_kernels"
_PAD_BYTES: Final = 64
_EVENTS: Final = (Event.RECORD.value, Event.OPEN.value, Event.CLOSE.value)
_CODES_MAX: Final = 700
_SESSION_KEY, _RECORD_KEY = range(2)


class Said(NamedTuple):
    """What the rows of a block say: by column and row; those that are left to the twin are not `good`."""

    starts: Ints
    ends: Ints
    good: Flags
    told: Ints
    keys: tuple[Column, Column]
    octets: npt.NDArray[np.uint8]


class Walk:
    """The lines of one block on their way through the kernels."""

    def __init__(self, lines: Lines, good: Flags, *, ended: bool = False) -> None:
        """Begin; `ended` leaves room for what calls that ended tell besides."""
        self._kernels = native.load(_KERNELS)
        values = native.load(_ENDED).VALUES if ended else self._kernels.VALUES
        size, rows = len(lines.data), len(lines)
        self._memory = np.zeros(size + 2 * _PAD_BYTES, np.uint8)
        self._memory[_PAD_BYTES : _PAD_BYTES + size] = lines.bytes
        self._base = int(self._memory.ctypes.data) + _PAD_BYTES
        self._begins, self._behind = (np.ascontiguousarray(ends, np.int64) for ends in (lines.starts, lines.ends))
        self._good = good.copy()
        self._starts = np.empty((values, rows), np.int64)
        self._ends = np.empty((values, rows), np.int64)
        self._ranks = np.zeros(values, np.int64)
        self._bytes = lines.bytes

    def rows(self, shapes: Mapping[int, tuple[str, ...]], chosen: records.Settings) -> Said:
        """Read rows with pipes between their columns; a shape is the names of so many columns."""
        self._cut(shapes, _codes())
        return self._said(chosen)

    def ended(self, shapes: Mapping[int, tuple[str, ...]], chosen: records.Settings) -> Said:
        """Read OpenSIPS's rows of calls that have ended, with pipes between their columns."""
        self._cut(shapes, _ended_codes())
        rows = len(self._good)
        told = np.zeros((self._kernels.TOLD, rows), np.int64)
        text, places = np.empty(len(self._memory) + 16 * rows, np.uint8), np.zeros(rows + 1, np.int32)
        found = (self._starts, self._ends, self._good, told)
        native.load(_ENDED).ended(self._base, chosen.identity == "dialog", *found, int(text.ctypes.data), places)
        record = pa.StringArray.from_buffers(rows, _buffer(places), _buffer(text))
        return Said(*found, (pa.nulls(rows, pa.string()), record), self._bytes)

    def _cut(self, shapes: Mapping[int, tuple[str, ...]], codes: Mapping[str, int]) -> None:
        wide = self._kernels.COLUMNS_MAX
        plan = np.full((wide, wide), -2, np.int64)
        for width, names in shapes.items():
            if width < wide:
                plan[width, :width] = [codes.get(name, -1) for name in names]
        stops = np.empty(wide, np.int64)
        places = (self._begins, self._behind, plan, stops, self._starts, self._ends, self._ranks)
        self._kernels.rows(self._base, *places, self._good)

    def bodies(self, chosen: records.Settings) -> Said:
        """Read flat JSON objects, one a line."""
        names = _names()
        places = (self._starts, self._ends, self._ranks, self._good)
        held = int(names.held.ctypes.data)
        self._kernels.bodies(self._base, self._begins, self._behind, names.table, held, *places)
        return self._said(chosen)

    def _said(self, chosen: records.Settings) -> Said:
        rows = len(self._good)
        told = np.zeros((self._kernels.TOLD, rows), np.int64)
        room = len(self._memory) + 16 * rows
        texts = [np.empty(room, np.uint8) for _ in range(2)]
        offsets = [np.zeros(rows + 1, np.int32) for _ in range(2)]
        self._kernels.transactions(
            self._base,
            chosen.identity == "dialog",
            self._starts,
            self._ends,
            self._good,
            told,
            int(texts[_SESSION_KEY].ctypes.data),
            offsets[_SESSION_KEY],
            int(texts[_RECORD_KEY].ctypes.data),
            offsets[_RECORD_KEY],
        )
        opens = np.packbits(told[self._kernels.EVENT] != self._kernels.RECORD, bitorder="little")
        session, record = (
            pa.StringArray.from_buffers(rows, _buffer(places), _buffer(text), valid)
            for text, places, valid in zip(texts, offsets, (_buffer(opens), None), strict=True)
        )
        return Said(self._starts, self._ends, self._good, told, (session, record), self._bytes)


def loaded(size_bytes: int) -> bool:
    """Tell whether so many bytes are worth a walk."""
    return size_bytes >= WALK_BYTES_MIN and (native.is_loaded(_KERNELS) or size_bytes >= LOAD_BYTES_MIN)


def table_of(said: Said, chosen: records.Settings) -> pa.Table:
    """Return the delivered columns of the good rows; packed ones when all are good, else texts as the twin's."""
    kernels = native.load(_KERNELS)
    told, packed = said.told, bool(said.good.all())
    event = told[kernels.EVENT]
    session, record = said.keys
    failed = told[kernels.FAILED] != 0
    columns: dict[str, Column] = {
        "event": _labels(event, _EVENTS).dictionary_decode(),
        "session_key": session,
        "record_key": record,
        "service_type": _labels(told[kernels.MESSAGE], (chosen.service_type, "sms")),
    }
    for place, name in enumerate(records.SHARED_NAMES):
        columns |= _shared(said, kernels, place, name, packed=packed)
    columns["start_time"] = _times(told[kernels.START])
    columns["answer_time"] = _times(told[kernels.ANSWER])
    columns["end_time"] = _times(told[kernels.END])
    zeros = pa.array(np.zeros(len(failed), np.int64), mask=~failed)
    columns["duration_ms"] = columns["billable_duration_ms"] = zeros
    columns["disposition"] = _labels(
        told[kernels.DISPOSITION], ("answered", "sent", "no-answer", "busy", "cancelled", "failed")
    )
    columns["cause"] = _statuses(told[kernels.STATUS])
    columns["call_link"] = gather(said.octets, said.starts[kernels.CALLID], said.ends[kernels.CALLID])
    return _settled(pa.table(columns), said)


def ended_table_of(said: Said, chosen: records.Settings) -> pa.Table:
    """Return the delivered columns of the good rows, all calls that have ended, as `table_of` does."""
    kernels, ended = native.load(_KERNELS), native.load(_ENDED)
    told, packed = said.told, bool(said.good.all())
    rows = len(said.good)
    session, record = said.keys
    columns: dict[str, Column] = {
        "event": pa.repeat(Event.RECORD.value, rows),
        "session_key": session,
        "record_key": record,
        "service_type": _labels(np.zeros(rows, np.int64), (chosen.service_type,)),
    }
    for place, name in enumerate(records.SHARED_NAMES):
        columns |= _shared(said, kernels, place, name, packed=packed)
    for name, what in (("start_time", kernels.START), ("answer_time", kernels.ANSWER), ("end_time", kernels.END)):
        columns[name] = pa.array(told[what]).view(TIME_TYPE)
    columns["duration_ms"] = pa.array(told[ended.DURATION_MS])
    columns["billable_duration_ms"] = pa.array(told[ended.BILLABLE_MS])
    columns["disposition"] = _labels(np.zeros(rows, np.int64), ("answered",))
    columns["cause"] = _statuses(told[kernels.STATUS])
    columns["call_link"] = gather(said.octets, said.starts[kernels.CALLID], said.ends[kernels.CALLID])
    return _settled(pa.table(columns), said)


def _settled(table: pa.Table, said: Said) -> pa.Table:
    """Return the good rows: as they are when all are good, else with texts as the twin's."""
    if said.good.all():
        return table
    plain = [field.with_type(pa.string()) if field.type == LABEL_TYPE else field for field in table.schema]
    return table.filter(pa.array(said.good)).cast(pa.schema(plain))


def _shared(said: Said, kernels: Any, place: int, name: str, *, packed: bool) -> dict[str, Column]:
    """Return the columns of one party, address or trunk."""
    what = kernels.SHARED + place
    starts, ends = said.starts[what], said.ends[what]
    rows = len(starts)
    if not packed or not (place < kernels.IDENTIFIERS or what == kernels.SOURCE):
        return {name: _texts(said.octets, starts, ends)}
    values = said.told[kernels.ADDRESS if what == kernels.SOURCE else kernels.DIGITS + place]
    known = values >= 0 if what == kernels.SOURCE else values > 0
    kind: Any = pa.uint32() if what == kernels.SOURCE else pa.int64()
    if not known.any():
        return {name: _texts(said.octets, starts, ends)}
    columns = {name: pa.array(values.astype(kind.to_pandas_dtype()), mask=None if known.all() else ~known)}
    rest = np.where(known, -1, starts)
    if rows and rest.max() >= 0:
        columns[name + "_text"] = gather(said.octets, rest, ends)
    return columns


def _texts(octets: npt.NDArray[np.uint8], starts: Ints, ends: Ints) -> Column:
    return gather(octets, starts, ends) if len(starts) and starts.max() >= 0 else pa.nulls(len(starts), pa.string())


def _labels(codes: Ints, words: tuple[str, ...]) -> Any:
    indices: Any = pa.array(codes.astype(np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, pa.string()))


def _statuses(codes: Ints) -> Column:
    """Return response codes as labels; 0 is none."""
    present = np.flatnonzero(np.bincount(codes, minlength=_CODES_MAX))
    place = np.zeros(_CODES_MAX, np.int32)
    words = present[present > 0]
    place[words] = np.arange(len(words))
    indices: Any = pa.array(place[codes], mask=codes == 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words).cast(pa.string()))


def _buffer(values: Any) -> pa.Buffer:
    return pa.py_buffer(values)


def _times(values: Ints) -> Column:
    absent = values < 0
    return pa.array(values, mask=absent if absent.any() else None).view(TIME_TYPE)


@cache
def _codes() -> dict[str, int]:
    """Return the code of each name that transactions have: what it is, and its rank among the names of that."""
    kernels = native.load(_KERNELS)
    return {
        name: what * kernels.RANKS + rank
        for what, names in enumerate(records.TRANSACTION_NAMES)
        for rank, name in enumerate(names)
    }


@cache
def _ended_codes() -> dict[str, int]:
    """Return the code of each name that calls that have ended have."""
    kernels, ended = native.load(_KERNELS), native.load(_ENDED)
    whats = {
        kernels.METHOD: "method", kernels.FROM_TAG: "from_tag", kernels.TO_TAG: "to_tag", kernels.CALLID: "callid",
        kernels.CODE: "code", kernels.SECONDS: "answered", ended.DURATION: "duration",
        ended.MS_DURATION: "ms_duration", ended.CREATED: "created",
    }  # fmt: skip
    named = {what: records.NAMES[name] for what, name in whats.items()}
    named |= {kernels.SHARED + place: names for place, names in enumerate(records.SHARED.values())}
    return {name: what * kernels.RANKS + rank for what, names in named.items() for rank, name in enumerate(names)}


@cache
def _names() -> Names:
    """Return the names that are read; those of calls that ended leave their bodies to the twin."""
    left = native.load(_KERNELS).LEFT
    return names_of([(0, name, _codes().get(name, left)) for name in records.COLUMN_NAMES])
