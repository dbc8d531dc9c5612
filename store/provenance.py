"""What the store adds to delivered records before it looks at them. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from store.model import SourceRef


def complete(source: SourceRef, records: pa.Table) -> pa.Table:
    """Return packed records with their domain, their source and a flag that they contradict nothing yet."""
    rows = records.num_rows
    for name, value in (("dedup_domain", source.dedup_domain), ("source", source.name)):
        column = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([value]))
        if name in records.column_names:
            records = records.drop_columns([name])
        records = records.append_column(name, column)
    records = _nulls_outside_dictionaries(records)
    if "conflict" not in records.column_names:
        records = records.append_column("conflict", pa.array(np.zeros(rows, bool)))
    return records


def _nulls_outside_dictionaries(records: Any) -> pa.Table:
    """Encode labels anew whose dictionary holds a null: Parquet has no such form, and a null has no tag."""
    for place, column in enumerate(records.columns):
        if pa.types.is_dictionary(column.type) and any(chunk.dictionary.null_count for chunk in column.chunks):
            plain = column.cast(pa.string()).dictionary_encode().cast(column.type)
            records = records.set_column(place, records.field(place).name, plain)
    table: pa.Table = records
    return table
