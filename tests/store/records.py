"""Packed records for tests of the store: small, seeded, of any day."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from schemas.arrow import PACKED

NOW_US = 1_795_348_800_000_000  # 2026-11-22T12:00:00Z
DAY_US = 86_400_000_000
CALLING = 146_701_740_000  # packed: a 1, then digits of a range that Sweden keeps for examples


def records(
    rows: int, *, seed: int = 0, first_key: int = 0, days_ago: int = 2, days: int = 1, **columns: Any
) -> pa.Table:
    """Return `rows` packed records of unique keys that end within `days` days from `days_ago` before NOW_US."""
    random = np.random.default_rng(seed)
    midnight = NOW_US - NOW_US % DAY_US - days_ago * DAY_US
    start = np.sort(midnight + random.integers(0, days * DAY_US - 300_000_000, rows))
    duration_ms = random.integers(0, 200, rows) * 1000
    table = {
        "switch": _labels(random, rows, ["switch-a", "switch-b"]),
        "record_key": pa.array(10**11 + first_key + np.arange(rows), pa.int64()),
        "record_key_text": pa.nulls(rows, pa.string()),
        "batch_position": pa.array(np.arange(1, rows + 1), pa.int64()),
        "service_type": _labels(random, rows, ["voice", "sms", "data"]),
        "calling_number": pa.array(CALLING + random.integers(0, 100, rows), pa.int64()),
        "called_number": pa.array(CALLING + random.integers(0, 100, rows), pa.int64()),
        "start_time": pa.array(start).cast(PACKED.field("start_time").type),
        "end_time": pa.array(start + duration_ms * 1000).cast(PACKED.field("end_time").type),
        "end_inferred": pa.array(np.ones(rows, bool)),
        "time_ambiguous": pa.array(np.zeros(rows, bool)),
        "duration_ms": pa.array(duration_ms, pa.int64()),
        "source_ip": pa.array(random.integers(0, 2**32, rows).astype(np.uint32)),
        "imsi": pa.array(10**15 + 240_010_000_000_000 + random.integers(0, 1000, rows), pa.int64()),
        "cell_id": pa.array(10**5 + random.integers(0, 400, rows), pa.int64()),
    }
    table.update(columns)
    return pa.table(table)


def with_column(table: pa.Table, name: str, values: Any) -> pa.Table:
    """Return the table with one column set."""
    array = pa.array(values, PACKED.field(name).type)
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, array)
    return table.append_column(name, array)


def _labels(random: np.random.Generator, rows: int, names: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        pa.array(random.integers(0, len(names), rows, dtype=np.int32)), pa.array(names)
    )
