"""Some FreeSWITCH legs of a delivery on their way to Arrow: rows made one by one, and columns made by the kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest.decoders.base import Decoded
from ingest.decoders.freeswitch.bodies import Body
from ingest.decoders.freeswitch.values import kept
from ingest.decoders.freeswitch.walk import Legs, columns_of
from ingest.decoders.slices import compute, empty_to_null
from ingest.source_config import SourceConfig
from schemas.arrow import DELIVERED
from schemas.buffers import Column
from schemas.rejects import Reject, RejectReason

__all__ = ["COLUMNS", "DISPOSITIONS", "TEXT_COLUMNS", "Row", "Stretch", "texts_of"]

Row = tuple[Any, ...]

_BODIES_MAX: Final = 16_384
_BYTES_MAX: Final = 16 << 20

COLUMNS: Final = (
    "position",
    "switch",
    "record_key",
    "service_type",
    "calling_number",
    "called_number",
    "dialled_number",
    "forwarded_number",
    "start_time",
    "answer_time",
    "end_time",
    "end_inferred",
    "utc_offset_s",
    "time_ambiguous",
    "duration_ms",
    "billable_duration_ms",
    "source_ip",
    "source_port",
    "destination_ip",
    "user_agent",
    "disposition",
    "cause",
    "trunk_in",
    "trunk_out",
    "call_link",
    "tenant",
    "account",
)
_TYPES: Final = tuple(pa.int64() if name == "position" else DELIVERED.field(name).type for name in COLUMNS)
_STRUCT: Final = pa.struct(list(zip(COLUMNS, _TYPES, strict=True)))
_FEW_ROWS: Final = 32
TEXT_COLUMNS: Final = tuple(index for index, kind in enumerate(_TYPES) if pa.types.is_string(kind))

texts_of: Final = itemgetter(*TEXT_COLUMNS)

DISPOSITIONS: Final = {
    "USER_BUSY": "busy",
    "NO_ANSWER": "no-answer",
    "NO_USER_RESPONSE": "no-answer",
    "ALLOTTED_TIMEOUT": "no-answer",
    "ORIGINATOR_CANCEL": "cancelled",
    "LOSE_RACE": "cancelled",
    "PICKED_OFF": "cancelled",
}


class Stretch:
    """Some bodies of a delivery, held as texts for what is refused later; documents would slow the collector down.

    `load` makes a document of a body's text once more.
    """

    def __init__(self, source: SourceConfig, load: Callable[[bytes], dict[str, Any]]) -> None:
        self._source, self._load = source, load
        self._rows: list[Row] = []
        self._rejects: list[Reject] = []
        self._texts: dict[int, bytes] = {}
        self._walked: list[Legs] = []
        self._count, self._size_bytes = 0, 0

    def take(self, row: Row, body: Body) -> None:
        """Take the row of one body."""
        self._rows.append(row)
        self._texts[body.position] = body.text
        self._count += 1
        self._size_bytes += body.length_bytes

    def refuse(self, body: Body, reason: RejectReason, field: str | None) -> None:
        """Take a body that makes no row."""
        raw = kept(body.document) if body.document is not None else None
        self._rejects.append(Reject(body.position, reason, field, body.offset, body.length_bytes, raw))
        self._count += 1
        self._size_bytes += body.length_bytes

    def take_walked(self, legs: Legs) -> None:
        """Take legs that the kernels made."""
        self._walked.append(legs)
        self._count += len(legs.figures["position"])
        self._size_bytes += int((legs.figures["end"] - legs.figures["begin"]).sum())

    @property
    def is_full(self) -> bool:
        """Whether it is time to hand over."""
        return self._size_bytes >= _BYTES_MAX or self._count >= _BODIES_MAX

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to hand over."""
        return not self._count

    def decoded(self) -> Decoded:
        """Return the stretch, its rows in the order of their positions."""
        if not self._walked:
            return Decoded(_table(self._rows), self._rejects, self._raw_of)
        tables = [_walked_table(legs, self._source) for legs in self._walked]
        if self._rows:
            tables.append(_table(self._rows))
        whole = pa.concat_tables(tables).combine_chunks()
        if self._rows:
            order: Column = np.argsort(np.asarray(whole.column("position")), kind="stable")
            whole = whole.take(order)
        return Decoded(whole, self._rejects, self._raw_of)

    def _raw_of(self, positions: Sequence[int]) -> list[bytes | None]:
        return [kept(self._load(self._text(position))) for position in positions]

    def _text(self, position: int) -> bytes:
        """Return the bytes of a body by its position."""
        for legs in self._walked:
            row = int(np.searchsorted(legs.figures["position"], position))
            if row < len(legs.figures["position"]) and legs.figures["position"][row] == position:
                return legs.text(row)
        return self._texts[position]


def _table(rows: list[Row]) -> pa.Table:
    if len(rows) < _FEW_ROWS:  # a posted body: one conversion instead of one per column, five times faster
        few: Any = pa.array([dict(zip(COLUMNS, row, strict=True)) for row in rows], _STRUCT)
        return pa.Table.from_batches([pa.RecordBatch.from_struct_array(few)])
    arrays = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), _TYPES, strict=True)]
    return pa.Table.from_arrays(arrays, names=list(COLUMNS))


def _walked_table(legs: Legs, source: SourceConfig) -> pa.Table:
    """Return legs that the kernels made as the table that their rows would make."""
    made = columns_of(legs, source)
    made["forwarded_number"] = compute.if_else(
        compute.is_valid(made["dialled_number"]), made["called_number"], pa.scalar(None, pa.string())
    )
    made["end_inferred"] = made["time_ambiguous"] = pa.repeat(False, len(legs.figures["position"]))
    told = made["cause"].dictionary_encode()
    words = pa.array([DISPOSITIONS.get(word, "failed") for word in told.dictionary.to_pylist()], pa.string())
    unanswered = words.take(told.indices)
    made["disposition"] = compute.if_else(compute.is_valid(made["answer_time"]), "answered", unanswered)
    made["cause"] = empty_to_null(made["cause"])
    return pa.Table.from_arrays([made[name] for name in COLUMNS], names=list(COLUMNS))
