"""Never before the floor, never after the ceiling, and recovery rolls forward."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from schemas.errors import KeyUnavailableError, RetentionError
from schemas.policy import DEFAULT_POLICY
from store import ScanQuery, Store
from store.partitions import PartitionKey
from store.retention import expiry
from tests.conftest import FixedClock, ends_us
from tests.fault.disk import Disk, run_until
from tests.store.conftest import deliver
from tests.store.records import records

EVER = ScanQuery(0, 2**60)


def stored(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(EVER))


def test_a_partition_is_refused_from_the_instant_of_its_end_and_dropped_by_the_next_run(
    store: Store, clock: FixedClock
) -> None:
    deliver(store, records(100))
    deliver(store, records(100, first_key=1000, days_ago=1))
    key = store.partitions()[0].key
    clock.value_us = ends_us(key) - 1
    assert store.expire().partitions == ()
    assert stored(store) == 200
    clock.value_us += 1
    assert stored(store) == 100
    result = store.expire()
    assert (result.partitions, result.records) == ((key,), 100)
    assert not store.keyring.has(key.ref)
    with pytest.raises(KeyUnavailableError):
        store.keyring.key(key.ref)
    assert not store.layout.partition(key).exists()
    assert store.verify() == []
    assert store.expire().partitions == ()


def test_a_dry_run_tells_and_changes_nothing(store: Store, clock: FixedClock) -> None:
    deliver(store, records(10))
    clock.advance(days=731)
    assert store.expire(dry_run=True).records == 10
    assert store.partitions()[0].state == "live"
    assert store.expire().records == 10


def test_late_records_of_an_erased_partition_are_refused_and_not_kept(store: Store, clock: FixedClock) -> None:
    deliver(store, records(10))
    clock.advance(days=731)
    store.expire()
    clock.advance(days=-731)  # even when the clock goes back
    receipt = deliver(store, records(10, first_key=900))
    assert (receipt.rejected, receipt.rows) == (10, 0)
    assert receipt.reject_reasons == {"expired": 10}


@pytest.mark.parametrize("age_days", [0, 30, 180, 600, 729])
def test_the_last_check_refuses_a_partition_that_is_not_due_whoever_asks(age_days: int, clock: FixedClock) -> None:
    day = date.fromordinal(date(2026, 11, 22).toordinal() - age_days)
    with pytest.raises(RetentionError):
        expiry.refuse_below_floor([PartitionKey(day, "standard")], clock.now_us(), DEFAULT_POLICY)


def test_a_run_asks_the_last_check_whatever_it_took_for_due(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second lock: the look at what is due is taken out."""
    deliver(store, records(10))
    key = store.partitions()[0].key
    monkeypatch.setattr(expiry, "due", lambda partitions, *_: list(partitions))
    with pytest.raises(RetentionError, match="may not be erased before"):
        store.expire()
    assert (stored(store), store.keyring.has(key.ref), store.verify()) == (10, True, [])


def test_the_copied_data_of_an_erased_partition_cannot_be_opened(
    store: Store, clock: FixedClock, tmp_path: Path
) -> None:
    deliver(store, records(10))
    part = store.catalog.parts()[0]
    path = store.layout.part(part.partition, part.file_id)
    copy = path.read_bytes()
    clock.advance(days=731)
    store.expire()
    path.parent.mkdir(parents=True)
    path.write_bytes(copy)
    with pytest.raises(KeyUnavailableError):
        store.part_store.read_records(part.partition, part.file_id, store.keyring.key(part.partition.ref))


def test_quarantine_keys_go_at_the_floor(store: Store, clock: FixedClock) -> None:
    deliver(store, records(1))
    refs = [ref for ref in store.keyring.refs() if ref.kind == "quarantine"]
    clock.advance(days=150)
    assert store.expire().daily_keys == ()
    clock.advance(days=40)
    assert store.expire().daily_keys == tuple(refs)
    assert not [ref for ref in store.keyring.refs() if ref.kind == "quarantine"]
    assert stored(store) == 1


def test_a_crash_at_any_durable_step_of_an_erasure_rolls_forward(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail at step n for every n; after recovery no dropped partition has a key and no live one lacks it."""
    with Store.create(tmp_path / "made", clock=clock) as store:
        deliver(store, records(20))
        deliver(store, records(20, first_key=100, days_ago=1))
        victim = store.partitions()[0].key
    clock.value_us = ends_us(victim)
    step = 0
    while True:
        step += 1
        root = shutil.copytree(tmp_path / "made", tmp_path / f"root-{step}")
        with Store.open(root, clock=clock) as store:
            finished = run_until(monkeypatch, Disk(fail_at=step), store.expire)
        with Store.open(root, clock=clock) as store:
            store.expire()
            assert not store.keyring.has(victim.ref), step
            assert not store.layout.partition(victim).exists(), step
            assert stored(store) == 20, step
            assert store.verify() == [], step
        if finished:
            break
    assert step > 10
