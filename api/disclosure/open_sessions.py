"""Open sessions: what a switch said so far of what has no end yet, or no beginning, leaves with the records.

A session of hours or days is no record before it ends, and who had an address yesterday is not known without it. Those
that may reach into the order's window are compared with the order like records. They have no place in a batch yet, and
so they are known among records. The manifest counts them: nothing of them is in a part, so no part proves that they
are all there. A session that ended before the snapshot is a record of it.

Source: the design's *Open sessions*.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from api.disclosure.model import Window
from api.disclosure.selection import Mask, overlaps
from api.disclosure.sliced_scan import SLICE_ROWS_MAX, too_many
from schemas.packing import unpack_table

if TYPE_CHECKING:
    from store import ScanQuery

_PLACE: Final = "batch_position"


def within(batches: Iterable[pa.RecordBatch], query: ScanQuery) -> Sequence[pa.Table]:
    """Return of a query's open sessions those that may reach into its window, as logical columns: one table or none.

    Raises:
        ProcedureError: reason `too-many-records`.
    """
    window, names = Window(query.start_us, query.end_us), list(query.columns or ())
    found: list[pa.Table] = []
    for batch in batches:
        table = unpack_table(pa.Table.from_batches([batch.select(names)]))
        found.append(table.filter(pa.array(overlaps(table, window))))
        if sum(table.num_rows for table in found) > SLICE_ROWS_MAX:
            raise too_many()
    if not any(table.num_rows for table in found):
        return []
    table = pa.concat_tables(found, promote_options="default")
    field = table.schema.field(_PLACE)
    return [table.set_column(table.column_names.index(_PLACE), field, pa.nulls(table.num_rows, field.type))]


def are_open(records: pa.Table) -> Mask:
    """Tell row by row which of a result's records are open sessions."""
    return np.asarray(records[_PLACE].is_null())
