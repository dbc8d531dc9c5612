"""A scan gives the same records as integers: windows, batches, conflicts and corrections included."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pytest

from schemas.arrow import PACKED
from store import ScanQuery, Store, parquet
from store.correcting.overlay import RECTIFIED, RESTRICTED, Correction
from store.partitions import PartitionKey
from tests.store.conftest import deliver
from tests.store.records import DAY_US, NOW_US, records, with_column

EVER = ScanQuery(0, 2**60, columns=tuple(PACKED.names))
MIDDLE_US = NOW_US - NOW_US % DAY_US - 3 * DAY_US // 2
QUERIES = {
    "ever": EVER,
    "cut": replace(EVER, start_us=MIDDLE_US - DAY_US // 4, end_us=MIDDLE_US + DAY_US // 8),
    "by end": replace(EVER, start_us=MIDDLE_US - DAY_US // 4, end_us=MIDDLE_US, by_end=True),
    "of the first batch": replace(EVER, batch_id_max=1),
    "without conflicts": replace(EVER, include_conflicts=False),
    "few columns": replace(EVER, columns=("service_type", "batch_id", "record_key"), include_conflicts=False),
}


def rows_of(table: pa.Table) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


def as_figures(store: Store, query: ScanQuery) -> list[str]:
    names = list(query.columns or ())
    found = []
    for batch in store.scan_figures(query):
        table = parquet.conform(batch.table(names), names)
        assert table.num_rows == batch.rows
        found += rows_of(table if batch.kept is None else table.filter(pa.array(batch.kept)))
    return sorted(found)


@pytest.mark.parametrize("is_merged", [False, True])
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_figures_are_the_records_of_a_scan(store: Store, query: ScanQuery, is_merged: bool) -> None:
    first = with_column(records(300, days_ago=2), "account_text", ["acme", None, "A-1"] * 100)
    first = with_column(first, "source_ip_v6", [b"\x20" * 16, None] * 150)
    deliver(store, first)
    deliver(store, records(200, seed=1, first_key=1000, days_ago=2))
    deliver(store, with_column(first, "duration_ms", [7] * 300))
    if is_merged:
        store.compact(everything=True)
    key = PartitionKey.parse("2026-11-20/standard/shared")
    corrected = [] if is_merged else [(RESTRICTED, {}), (RECTIFIED, {"called_number": "4670"})]
    for act, (kind, fields) in enumerate(corrected):
        wanted = Correction(f"{act:016x}", kind, key, 1, act + 1, fields, said={"reason": "wrong"})
        store.corrections.request(wanted, {"by": "one"})
        store.corrections.confirm(wanted.act, {}, ("one", "two"))
    expected = [row for batch in store.scan(query) for row in rows_of(pa.Table.from_batches([batch]))]
    assert as_figures(store, query) == sorted(expected)
    assert expected
