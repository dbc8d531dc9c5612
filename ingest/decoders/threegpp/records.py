"""Records of TS 32.298 in one stretch of a delivery: told apart by type, walked, made columns.

The record's CHOICE tag tells its type. Where TS 32.298 gives one tag to two types (20 to 22), or a switch writes the
record as a plain SET, its RecordType tells. A record that uses indefinite lengths is rewritten and read with the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from ingest.decoders.base import Decoded
from ingest.decoders.ber.elements import definite
from ingest.decoders.ber.values import integers
from ingest.decoders.ber.walk import CONTEXT, SEQUENCE, SET, Level, headers, padded, slots_of, walk
from ingest.decoders.slices import Faults
from ingest.decoders.threegpp.calls import calls, messages
from ingest.decoders.threegpp.columns import Columns, Readers
from ingest.decoders.threegpp.data import bearers
from ingest.decoders.threegpp.ims import charging_records, sessions
from ingest.decoders.threegpp.tables import CONTENT_FREE_CHOICES, RECORD_TYPES, SHARED_CHOICES, Family
from schemas.buffers import Bytes, Ints, Mask
from schemas.rejects import Reject, RejectReason

GROUP_ROWS_MAX: Final = 65_536
"""So many records are walked at once, mostly those of a block: each group costs a few ms on its way to the store."""

_MAKERS: Final[dict[Family, Callable[[Columns], None]]] = {
    Family.CALL: calls,
    Family.MESSAGE: messages,
    Family.DATA: bearers,
    Family.IMS: sessions,
    Family.CHARGING: charging_records,
}
_UNKNOWN: Final = len(RECORD_TYPES)
_BY_CHOICE: Final = slots_of([CONTEXT | one.choice for one in RECORD_TYPES])
_BY_NUMBER: Final = {one.number: index for index, one in enumerate(RECORD_TYPES)}
_ASK: Final = [*(CONTEXT | choice for choice in SHARED_CHOICES), SET, SEQUENCE]
_TYPE_ONLY: Final = Level({CONTEXT | 0: "type"})


@dataclass(frozen=True, slots=True)
class Stretch:
    """Records of a delivery: `starts[i]:ends[i]` are places in `data`, which begins `offset` bytes into the delivery.

    `refused` are records that their framing refuses. Positions are `first_position` and the following numbers.
    """

    data: bytes
    starts: Ints
    ends: Ints
    first_position: int
    offset: int
    refused: Faults

    def raw(self, index: int) -> bytes | None:
        """Return the bytes of a record, unless it may hold content."""
        record = self.data[int(self.starts[index]) : int(self.ends[index])]
        return record if _content_free(record) else None

    def raw_of(self, positions: Sequence[int]) -> list[bytes | None]:
        """Return the bytes of records by position."""
        return [self.raw(position - self.first_position) for position in positions]

    def reject(self, index: int, reason: RejectReason, field: str | None) -> Reject:
        """Return a refused record."""
        start, end = int(self.starts[index]), int(self.ends[index])
        position = self.first_position + index
        return Reject(position, reason, field, self.offset + start, end - start, self.raw(index))


def _content_free(record: bytes) -> bool:
    """Tell whether a record's type is known to have no field for content."""
    if len(record) < 4:
        return True
    if record[0] in (0x30, 0x31):
        return False
    found = headers(padded(record), np.zeros(1, np.int64))
    return int(found.tags[0]) - CONTEXT in CONTENT_FREE_CHOICES


def decode_stretch(stretch: Stretch, readers: Readers) -> Iterator[Decoded]:
    """Yield the records of a stretch, type by type, then its rejects."""
    data = padded(stretch.data)
    rejects = [stretch.reject(index, reason, field) for index, reason, field in stretch.refused.found()]
    rows = np.flatnonzero(~stretch.refused.mask)
    pending: list[Ints] = []
    for part, faults, again in _decode(data, stretch.starts[rows], stretch.ends[rows], readers):
        if part is not None:
            yield _decoded(part, rows, stretch)
        rejects += [stretch.reject(int(rows[index]), reason, field) for index, reason, field in faults]
        pending.append(rows[again])
    rewritten = np.concatenate(pending) if pending else rows[:0]
    if len(rewritten):
        yield from _decode_rewritten(rewritten, stretch, readers, rejects)
    if rejects:
        yield Decoded(pa.table({"position": pa.array([], pa.int64())}), rejects, stretch.raw_of)


def _decoded(table: pa.Table, rows: Ints, stretch: Stretch) -> Decoded:
    indices = np.asarray(table.column("position"))
    positions = pa.array(rows[indices] + stretch.first_position)
    return Decoded(table.set_column(0, "position", positions), (), stretch.raw_of)


def _decode_rewritten(rows: Ints, stretch: Stretch, readers: Readers, rejects: list[Reject]) -> Iterator[Decoded]:
    """Decode records with their indefinite lengths made definite."""
    starts, ends = stretch.starts[rows].tolist(), stretch.ends[rows].tolist()
    made = [definite(stretch.data[start:end]) for start, end in zip(starts, ends, strict=True)]
    for row, record in zip(rows.tolist(), made, strict=True):
        if record is None:
            rejects.append(stretch.reject(row, RejectReason.MALFORMED, None))
    rows = rows[np.array([record is not None for record in made], np.bool_)]
    records = [record for record in made if record is not None]
    stops = np.cumsum(np.array([len(record) for record in records], np.int64))
    begins = np.concatenate([np.zeros(1, np.int64), stops[:-1]])[: len(records)]
    for part, faults, again in _decode(padded(b"".join(records)), begins, stops, readers):
        if part is not None:
            yield _decoded(part, rows, stretch)
        rejects += [stretch.reject(int(rows[index]), reason, field) for index, reason, field in faults]
        rejects += [stretch.reject(int(rows[index]), RejectReason.MALFORMED, None) for index in again]


_Part = tuple[pa.Table | None, list[tuple[int, RejectReason, str | None]], Ints]


def _decode(data: Bytes, starts: Ints, ends: Ints, readers: Readers) -> Iterator[_Part]:
    """Yield, group by group: a table whose `position` is an index, faults by index, indices to be rewritten."""
    if not len(starts):
        return
    outer = headers(data, starts)
    stops = np.where(outer.indefinite, ends, outer.values + outer.lengths)
    bad = (outer.bad | (stops > ends)) & ~outer.indefinite
    for index in np.flatnonzero((stops < ends) & ~bad & ~outer.indefinite).tolist():
        bad[index] = bool(data[int(stops[index]) : int(ends[index])].tobytes().strip(b"\0\xff"))
    types, unclear = _types(data, outer.tags, outer.values, stops, bad | outer.indefinite)
    malformed = RejectReason.MALFORMED
    faults: list[tuple[int, RejectReason, str | None]] = [
        (index, malformed, None) for index in np.flatnonzero(bad).tolist()
    ]
    known = ~bad & ~outer.indefinite
    faults += [
        (index, RejectReason.UNSUPPORTED, None)
        for index in np.flatnonzero(known & ~unclear & (types == _UNKNOWN)).tolist()
    ]
    yield None, faults, np.flatnonzero(outer.indefinite | (known & unclear))
    known &= ~unclear
    for index in np.flatnonzero(np.bincount(types[known], minlength=_UNKNOWN)[:_UNKNOWN]).tolist():
        rows = np.flatnonzero(known & (types == index))
        for at in range(0, len(rows), GROUP_ROWS_MAX):
            group = rows[at : at + GROUP_ROWS_MAX]
            yield _group(data, outer.values[group], stops[group], group, index, readers)


def _types(data: Bytes, tags: Ints, values: Ints, stops: Ints, skip: Mask) -> tuple[Ints, Mask]:
    """Return indices of RECORD_TYPES, and which records must be rewritten before their type can be told."""
    types = _BY_CHOICE[tags]
    unclear = np.zeros(len(tags), np.bool_)
    ask = np.flatnonzero(np.isin(tags, _ASK) & ~skip)
    if len(ask):
        found = walk(data, values[ask], stops[ask], _TYPE_ONLY)
        numbers = integers(data, found["type"])
        chosen = [_BY_NUMBER.get(number, _UNKNOWN) for number in numbers.values.tolist()]
        types[ask] = np.where(numbers.present & ~numbers.bad, np.array(chosen, np.int64), types[ask])
        unclear[ask] = found.indefinite & ~numbers.present
    return types, unclear


def _group(data: Bytes, starts: Ints, ends: Ints, rows: Ints, index: int, readers: Readers) -> _Part:
    """Decode records of one type."""
    kind = RECORD_TYPES[index]
    fields = walk(data, starts, ends, kind.fields)
    work = Columns(data, fields, kind, readers)
    _MAKERS[kind.family](work)
    work.faults.add(fields.bad, RejectReason.MALFORMED)
    table = work.table(rows, fields.indefinite)
    faults = [
        (int(rows[row]), reason, field) for row, reason, field in work.faults.found() if not fields.indefinite[row]
    ]
    return table if table.num_rows else None, faults, rows[fields.indefinite]
