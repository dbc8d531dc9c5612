"""The store's verdicts against a simple model, over random deliveries, batches, withdrawals and restarts."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import ScanQuery, Store
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import NOW_US, records, with_column

Row = tuple[int, int, int | None]  # record key, end day, cell (None: not delivered)

rows = st.tuples(st.integers(1, 6), st.integers(2, 4), st.sampled_from([None, 1, 2]))
steps = st.lists(
    st.one_of(
        st.lists(rows, min_size=1, max_size=8),
        st.just("reopen"),
        st.just("withdraw"),
    ),
    min_size=1,
    max_size=8,
)


class Model:
    """What the promise says, record by record."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[Row, bool]]] = []

    def deliver(self, table: list[Row]) -> tuple[int, int, int]:
        kept: list[tuple[Row, bool]] = []
        before = [row for batch in self.batches for row, _ in batch]
        duplicates = 0
        for row in table:
            same = [other for other in before + [item for item, _ in kept] if other[0] == row[0]]
            if any(agree(row, other) for other in same):
                duplicates += 1
            else:
                kept.append((row, bool(same)))
        self.batches.append(kept)
        conflicts = sum(flag for _, flag in kept)
        return len(kept) - conflicts, duplicates, conflicts


def agree(left: Row, right: Row) -> bool:
    return left[1] == right[1] and (left[2] is None or right[2] is None or left[2] == right[2])


def packed(table: list[Row]) -> pa.Table:
    count = len(table)
    result = records(count, days_ago=2)
    day_us = 86_400_000_000
    midnight = NOW_US - NOW_US % day_us
    times = [midnight - day * day_us + 3_600_000_000 for _, day, _ in table]
    for name in ("start_time", "end_time"):
        result = with_column(result, name, times)
    constant = {"duration_ms": 0, "calling_number": 10**11, "called_number": 10**11, "source_ip": 1, "imsi": 10**15}
    for name, value in constant.items():
        result = with_column(result, name, [value] * count)
    for name in ("switch", "service_type"):
        column = pa.array(["voice"] * count).dictionary_encode()
        result = result.set_column(result.column_names.index(name), name, column)
    result = with_column(result, "record_key", [100 + key for key, _, _ in table])
    return with_column(result, "cell_id", [None if cell is None else 10 + cell for _, _, cell in table])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_every_verdict_equals_the_models(history: list[list[Row] | str]) -> None:
    clock = FixedClock(NOW_US)
    model = Model()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "root"
        store = Store.create(root, clock=clock)
        identities: list[int] = []
        for step in history:
            if step == "reopen":
                store.close()
                store = Store.open(root, clock=clock)
            elif step == "withdraw":
                if identities:
                    store.withdraw_batch(identities.pop(), reason="test", actors=("a", "b"))
                    model.batches.pop()
            else:
                assert not isinstance(step, str)
                receipt = deliver(store, packed(step))
                identities.append(receipt.batch_id)
                assert (receipt.accepted, receipt.duplicates, receipt.conflicts) == model.deliver(step)
        stored = sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60)))
        assert stored == sum(len(batch) for batch in model.batches)
        assert store.verify() == []
        store.close()
