"""Records of ends whose openings never came: their starts are inferred once they are told from known records. Pure."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type


def with_starts(records: pa.Table) -> pa.Table:
    """Return records with the starts of those that are an end alone: the end less the duration.

    Until they are told from known records they have none, for what is not known contradicts nothing.
    """
    starts: Any = records.column("start_time")
    if not starts.null_count:
        return records
    kind, alone = starts.type, starts.is_null()
    known = "duration_ms" in records.column_names
    spans = records.column("duration_ms").cast(pa.int64()) if known else pa.nulls(len(records), pa.int64())
    spans = pc.if_else(pc.and_(alone, spans.is_null()), pa.scalar(0, pa.int64()), spans)
    begun = pc.subtract(records.column("end_time").cast(pa.int64()), pc.multiply(pc.fill_null(spans, 0), 1000)).cast(
        kind
    )
    records = records.drop_columns(["start_time", *(["duration_ms"] if known else [])])
    records = records.append_column("start_time", pc.if_else(alone, begun, starts))
    return records.append_column("duration_ms", spans.cast(PACKED.field("duration_ms").type))
