"""A commit that crashes, fails or loses power at durable step n, for every n."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from store import ScanQuery, Store
from tests.conftest import FixedClock
from tests.fault.disk import Disk, run_until
from tests.store.conftest import deliver
from tests.store.records import records

EVER = ScanQuery(0, 2**60)


def _deliver_into(receipts: list[object], store: Store, table: pa.Table) -> None:
    receipts.append(deliver(store, table))


@pytest.mark.parametrize("kind", ["crash", "power", "io-error"])
def test_a_commit_that_ends_at_any_durable_step_is_whole_or_absent(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    first, second = records(30, days_ago=4), records(60, first_key=500, days_ago=3, days=2)
    with Store.create(tmp_path / "made", clock=clock) as store:
        deliver(store, first)
    step = 0
    outcomes = set()
    while True:
        step += 1
        root = shutil.copytree(tmp_path / "made", tmp_path / f"root-{step}")
        with Store.open(root, clock=clock) as store:
            receipts: list[object] = []
            disk = Disk(fail_at=step, io_error=kind == "io-error")
            try:
                finished = run_until(monkeypatch, disk, partial(_deliver_into, receipts, store, second))
            except Exception as error:  # an injected fault shows in whatever form it reaches the caller
                assert kind == "io-error", error
                finished = False
        if not finished and kind == "power":
            disk.lose_power()
        with Store.open(root, clock=clock) as store:
            stored = sum(batch.num_rows for batch in store.scan(EVER))
            assert stored in ({90} if receipts else {30, 90}), (step, stored)
            outcomes.add((bool(receipts), stored))
            assert store.verify() == [], step
            again = deliver(store, second)
            assert again.accepted + again.duplicates == 60
            assert sum(batch.num_rows for batch in store.scan(EVER)) == 90
            assert store.verify() == [], step
        if finished and len(disk.steps) < step:
            break
    assert (False, 30) in outcomes and (True, 90) in outcomes
