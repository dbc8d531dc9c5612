"""The spool under crashes, I/O errors and power loss at durable step n of an append and of a drain, for every n.

The records have no key of the switch that a repetition could be recognised by: whatever is counted twice, shows.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from schemas.errors import LagrumError
from store import PushId, ScanQuery, Store, files
from tests.conftest import FixedClock
from tests.fault.disk import Disk, run_until
from tests.store.spooling.test_spool import group

EVER = ScanQuery(0, 2**60)


@dataclass
class Told:
    """What was acknowledged: ids, and how many records."""

    ids: list[PushId] = field(default_factory=list)
    records: int = 0

    def push(self, store: Store, *keys: int, rejected: int = 0) -> None:
        (ids,) = store.spool.append([group(store, *keys, rejected=rejected)])
        self.ids += ids
        self.records += len(keys) + rejected


def appends(told: Told, store: Store) -> None:
    for key in (10, 20, 30):
        told.push(store, key, key + 1, rejected=1)


def drains(told: Told, store: Store) -> None:
    store.spool.drain()


def appends_and_drains(told: Told, store: Store) -> None:
    told.push(store, 10)
    store.spool.drain()
    told.push(store, 20, rejected=2)
    store.spool.drain()


def whole(root: Path, clock: FixedClock, told: Told, step: object, *, refused_too: bool) -> None:
    """Everything that was acknowledged is stored once, counted once, and its receipt says so."""
    with Store.open(root, clock=clock) as store:
        keys = [key for batch in store.scan(EVER) for key in batch.column("record_key").to_pylist()]
        assert len(keys) == len(set(keys)), step
        delivered = sum(row["delivered"] for row in store.reconcile())
        assert delivered == store.catalog.query("SELECT coalesce(sum(records), 0) FROM batches")[0][0]
        assert delivered >= told.records if refused_too else delivered == told.records, (step, delivered)
        for push in told.ids:
            found = store.spool.receipt(push)
            assert found is not None and found.accepted + found.rejected == 1, step
            assert found.batch_id is not None
        assert store.verify() == [], step
        assert store.spool.drain() == []
    assert [path for path in (root / "spool").iterdir() if path.suffix != ".segment"] == []


@pytest.mark.parametrize("kind", ["crash", "power", "io-error"])
@pytest.mark.parametrize("action", [appends, drains, pytest.param(appends_and_drains, marks=pytest.mark.torture)])
def test_what_is_acknowledged_is_stored_once_whatever_happens(
    tmp_path: Path,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    action: Callable[[Told, Store], None],
    kind: str,
) -> None:
    step, ended = 0, set()
    Store.create(tmp_path / "empty", clock=clock).close()
    while True:
        step += 1
        root, told = tmp_path / f"root-{step}", Told()
        shutil.copytree(tmp_path / "empty", root)
        disk = Disk(fail_at=step, io_error=kind == "io-error")
        with Store.open(root, clock=clock) as store:
            told.push(store, 1, 2, rejected=1)
            before = told.records
            try:
                finished = run_until(monkeypatch, disk, partial(action, told, store))
            except (LagrumError, OSError) as error:
                assert kind == "io-error", error
                finished = False
        if not finished and kind == "power":
            disk.lose_power()
        ended.add((finished, told.records > before))
        whole(root, clock, told, (step, disk.steps[-1:]), refused_too=not finished)
        shutil.rmtree(root)
        if finished and len(disk.steps) < step:
            break
    assert (False, False) in ended


def test_without_a_sync_what_was_acknowledged_is_lost(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same power loss, with the sync left out."""
    root, told = tmp_path / "root", Told()
    disk = Disk(fail_at=None)

    def careless(file: int, data: bytes) -> None:
        files._perform("write", Path(f"/proc/self/fd/{file}"), lambda: files._write_all(file, data))

    with Store.create(root, clock=clock) as store:
        told.push(store, 1)
        with monkeypatch.context() as patch:
            patch.setattr(files, "append_durable", careless)
            assert run_until(monkeypatch, disk, partial(appends, told, store))
    disk.lose_power()
    with pytest.raises(AssertionError):
        whole(root, clock, told, "control", refused_too=False)
