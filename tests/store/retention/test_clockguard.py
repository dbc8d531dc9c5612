"""A store whose clock is wrong: nothing is erased early, nothing is called "none found", and it makes noise."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from schemas.errors import BusyError, ClockError, ProcedureError
from store import ScanQuery, Store
from store.partitions import PartitionKey
from store.retention.clockguard import HEARTBEAT, TRUSTED, UNTRUSTED, Watch
from store.retention.clocktrust import GAP_MAX_US
from tests.conftest import FixedClock, ends_us
from tests.store.conftest import deliver
from tests.store.records import records

EVER = ScanQuery(0, 2**60)
DAY_US = 86_400_000_000


def stored(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(EVER))


def kinds(store: Store) -> list[str]:
    store.flush_outbox()
    store.audit.refresh()
    return [entry.kind for entry in store.audit.entries() if entry.kind.startswith("clock.")]


def young(store: Store) -> PartitionKey:
    deliver(store, records(20))
    return store.partitions()[0].key


@pytest.mark.parametrize("days", [1 / 24, 1, 731, 365 * 20])
def test_a_clock_set_forward_erases_nothing_and_alarms(store: Store, clock: FixedClock, days: float) -> None:
    key = young(store)
    clock.value_us = ends_us(key) - 1_800_000_000
    store.clock_guard.observe()
    clock.jump(days=days)
    with pytest.raises(ClockError):
        store.expire()
    with pytest.raises(ClockError):
        store.expire(dry_run=True)
    assert kinds(store) == [UNTRUSTED]
    with pytest.raises(ClockError):
        stored(store)
    clock.jump(days=-days)
    assert store.expire().partitions == ()
    assert (stored(store), kinds(store)) == (20, [UNTRUSTED, TRUSTED])
    clock.advance(seconds=1801)
    assert store.expire().partitions == (key,)


def test_an_alarm_is_logged_once(store: Store, clock: FixedClock) -> None:
    clock.jump(days=2)
    for _ in range(3):
        clock.advance(seconds=600)
        store.clock_guard.beat()
    assert kinds(store).count(UNTRUSTED) == 1


def test_a_partition_that_may_be_over_is_an_error_and_the_others_are_read(store: Store, clock: FixedClock) -> None:
    deliver(store, records(10, days_ago=600))
    deliver(store, records(20, first_key=500))
    clock.jump(days=300)
    with pytest.raises(ClockError):
        stored(store)
    since = ScanQuery(clock.value_us - 320 * DAY_US, clock.value_us)
    assert sum(batch.num_rows for batch in store.scan(since)) == 20


@pytest.mark.parametrize("days", [-1 / 24, -1, -731])
def test_a_clock_set_back_makes_nothing_readable_again(store: Store, clock: FixedClock, days: float) -> None:
    key = young(store)
    clock.value_us = ends_us(key)
    assert stored(store) == 0
    store.clock_guard.observe()
    clock.jump(days=days)
    assert stored(store) == 0
    with pytest.raises(ClockError):
        store.expire()
    with Store.open(store.root, clock=clock) as other:
        assert stored(other) == 0


def test_records_that_may_be_over_are_sent_back_and_not_counted_as_expired(store: Store, clock: FixedClock) -> None:
    clock.jump(days=731)
    with pytest.raises(BusyError):
        deliver(store, records(10, days_ago=10))
    clock.jump(days=-731)
    assert deliver(store, records(10)).accepted == 10


def test_an_idle_store_whose_service_runs_is_trusted(store: Store, clock: FixedClock) -> None:
    for _ in range(30):
        clock.advance(days=1)
        store.clock_guard.beat()
    clock.restart(off_days=0.01)
    verdict = store.clock_guard.observe(beat=True)
    assert verdict.is_trusted
    assert kinds(store).count(HEARTBEAT) == 31


def test_heartbeats_are_hourly(store: Store, clock: FixedClock) -> None:
    for _ in range(181):
        store.clock_guard.beat()
        clock.advance(seconds=60)
    assert kinds(store) == [HEARTBEAT] * 4


def test_after_days_without_power_erasure_waits_for_the_sources(store: Store, clock: FixedClock) -> None:
    key = young(store)
    clock.value_us = ends_us(key) - DAY_US
    store.clock_guard.observe()
    clock.restart(off_days=3)
    clock.advance(seconds=60)
    assert store.expire().partitions == (), "nobody watched: it may be a day early"
    with pytest.raises(ClockError):
        stored(store)
    now_days = (clock.value_us - 1_795_348_800_000_000) / DAY_US
    deliver(store, records(5, first_key=700, days_ago=-int(now_days)))
    assert store.expire().partitions == (key,)


@pytest.mark.parametrize("forged", ["x'00'", "(SELECT sealed FROM clock_sources WHERE source = 'ahead')"])
def test_no_edit_of_what_sources_said_makes_a_day_that_nobody_watched_count(
    store: Store, clock: FixedClock, forged: str
) -> None:
    key = young(store)
    clock.value_us = ends_us(key) - 10 * DAY_US
    store.clock_guard.observe()
    clock.restart()
    clock.jump(days=13)
    with store.catalog.transaction() as cursor:
        store.clock_guard.note_arrival(cursor, "ahead", clock.value_us, clock.value_us)
        cursor.execute(f"INSERT INTO clock_sources VALUES ('forged', {forged})")
        cursor.execute("UPDATE clock_sources SET sealed = (SELECT sealed FROM clock_sources WHERE source = 'forged')")
    with Store.open(store.root, clock=clock) as other:
        told = {problem.where for problem in other.verify()}
        assert {"clock of source east", "clock of source forged"} <= told
        assert other.expire().partitions == (), "two of three were changed: none counts"
        assert other.keyring.has(key.ref)


def test_after_weeks_without_power_two_persons_confirm_and_one_does_not(store: Store, clock: FixedClock) -> None:
    key = young(store)
    clock.value_us = ends_us(key)
    store.clock_guard.observe()
    clock.value_us -= 5 * DAY_US
    clock.restart(off_days=GAP_MAX_US / DAY_US + 6)
    with pytest.raises(ClockError):
        store.expire()
    seen_us = clock.value_us
    with pytest.raises(ProcedureError):
        store.clock_guard.confirm(seen_us, reason="r", actors=["a", "a"])
    with pytest.raises(ProcedureError):
        store.clock_guard.confirm(seen_us + 1, reason="r", actors=["a", "b"])
    store.clock_guard.confirm(seen_us, reason="r", actors=["a", "b"])
    assert store.expire().partitions == (key,)


def test_what_two_persons_confirm_reaches_no_further_than_the_instant_they_saw(store: Store, clock: FixedClock) -> None:
    key = young(store)
    clock.value_us = ends_us(key) - DAY_US
    store.clock_guard.observe()
    clock.jump(days=-5)
    store.clock_guard.confirm(clock.value_us, reason="r", actors=["a", "b"])
    clock.jump(days=30)
    with pytest.raises(ClockError):
        store.expire()
    assert store.keyring.has(key.ref)


def test_without_its_mark_the_guard_goes_back_to_the_log(store: Store, clock: FixedClock) -> None:
    key = young(store)
    clock.advance(days=100)
    store.clock_guard.beat()
    for statement in ("DELETE FROM clock_mark", "INSERT OR REPLACE INTO clock_mark VALUES (1, x'00')"):
        with store.catalog.transaction() as cursor:
            cursor.execute(statement)
        clock.advance(days=631)
        with Store.open(store.root, clock=clock) as other:
            with pytest.raises(ClockError):
                other.expire()
            assert other.keyring.has(key.ref)
        clock.advance(days=-631)


def test_a_reading_judges_the_clock_again_when_it_has_moved_or_is_set(store: Store, clock: FixedClock) -> None:
    key = young(store)
    clock.value_us = ends_us(key) - 1_500_000
    store.clock_guard.observe()
    watch = Watch(store.clock_guard, clock)
    first = watch.verdict
    clock.advance(seconds=0.4)
    assert not watch.is_over(key)
    assert watch.verdict is first
    clock.advance(seconds=1.1)
    assert watch.is_over(key)
    clock.jump(days=-1)
    assert watch.is_over(key)  # what was over stays over
    clock.jump(days=2)
    other = PartitionKey(key.end_date + timedelta(days=1), key.retention_class)
    with pytest.raises(ClockError):
        watch.is_over(other)


def test_a_period_that_ends_while_it_is_read_ends_the_reading(store: Store, clock: FixedClock) -> None:
    deliver(store, records(20, days_ago=2))
    key = young(store)
    clock.value_us = ends_us(key) - 1_500_000
    store.clock_guard.observe()
    batches = store.scan(EVER)
    kept = next(batches).num_rows
    clock.advance(seconds=2)
    assert kept + sum(batch.num_rows for batch in batches) < 40


def test_verify_tells_of_a_mark_that_was_changed(store: Store) -> None:
    with store.catalog.transaction() as cursor:
        cursor.execute("UPDATE clock_mark SET sealed = x'00'")
    assert [problem.where for problem in store.verify()] == ["clock"]


def test_an_erasure_whose_key_is_destroyed_is_finished_without_a_clock(
    tmp_path: Path, store: Store, clock: FixedClock
) -> None:
    from store.retention import expiry

    key = young(store)
    clock.value_us = ends_us(key)

    def stop(step: str) -> None:
        if step == "destroyed":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        expiry.expire(store, step=stop)
    clock.jump(days=100)
    with Store.open(store.root, clock=clock) as other:
        assert not other.layout.partition(key).exists()
        assert other.verify() == []
