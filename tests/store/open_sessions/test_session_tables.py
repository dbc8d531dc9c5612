"""What is remembered of sessions that ended: small, exact between deliveries at once, and forgotten in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import BusyError
from store import Receipt, SourceRef, Store
from store.open_sessions import session_tables
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.open_sessions.test_sessions import HOUR_US, START, closed, counts, event, opened, rows


def whole(session: str = "s1", key: int = 12) -> pa.Table:
    """Return an end that tells its start."""
    return closed(session, key, start_time=START)


def remembered(store: Store) -> tuple[int, int]:
    """Return how many sessions run or were closed by timeout, and how many are known to have ended."""
    return tuple(store.catalog.query(f"SELECT count(*) FROM {table}")[0][0] for table in ("sessions", "ended_sessions"))


def meanwhile(store: Store, first: pa.Table, second: pa.Table) -> None:
    """Deliver `second` while a batch with `first` is on its way; that batch is refused."""
    with store.begin_batch(SourceRef("east", "east"), format="radius-detail") as batch:
        batch.add(first)
        deliver(store, second)
        with pytest.raises(BusyError):
            batch.commit()


def test_a_session_that_ended_is_remembered_in_the_small_table_alone(store: Store) -> None:
    deliver(store, opened())
    assert remembered(store) == (1, 0)
    deliver(store, closed())
    assert remembered(store) == (0, 1)
    assert counts(deliver(store, event("update", "s1", 13, volume_up_bytes=5))) == (1, 0, 1, 0)
    assert remembered(store) == (0, 1)


def test_a_session_that_was_closed_by_timeout_keeps_its_fields_until_its_true_end(
    store: Store, clock: FixedClock
) -> None:
    deliver(store, opened())
    clock.advance(days=3)
    store.close_silent_sessions()
    assert remembered(store) == (1, 0)
    deliver(store, closed())
    assert remembered(store) == (0, 1)
    assert len(rows(store)) == 2


def test_a_key_that_is_used_anew_is_forgotten_as_ended_and_remembered_again(store: Store) -> None:
    deliver(store, whole())
    later = START + 2 * HOUR_US
    deliver(store, event("open", "s1", 21, start_time=later))
    assert remembered(store) == (1, 0)
    deliver(store, event("close", "s1", 22, end_time=later + HOUR_US))
    assert remembered(store) == (0, 1)
    last = later + 2 * HOUR_US
    both = [event("open", "s1", 31, start_time=last), event("close", "s1", 32, end_time=last + HOUR_US)]
    deliver(store, pa.concat_tables(both, promote_options="default"))
    assert remembered(store) == (0, 1)
    assert counts(deliver(store, event("open", "s1", 31, start_time=last))) == (1, 0, 1, 0)
    assert len(rows(store)) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [(opened(), whole()), (whole(), opened()), (whole(), whole()), (opened(), opened())],
    ids=["opens-ends", "ends-opens", "ends-ends", "opens-opens"],
)
def test_of_two_deliveries_at_once_that_meet_in_a_new_session_one_is_refused(
    store: Store, first: pa.Table, second: pa.Table
) -> None:
    meanwhile(store, first, second)
    deliver(store, first)
    deliver(store, closed())
    assert len(rows(store)) == 1
    assert remembered(store) == (0, 1)


def test_of_two_deliveries_at_once_that_use_an_ended_key_anew_one_is_refused(store: Store) -> None:
    deliver(store, whole())
    anew = event("open", "s1", 21, start_time=START + 2 * HOUR_US)
    meanwhile(store, anew, event("open", "s1", 23, start_time=START + 3 * HOUR_US))
    assert remembered(store) == (1, 0)


def test_of_two_deliveries_at_once_that_end_a_running_session_one_is_refused(store: Store) -> None:
    deliver(store, opened())
    meanwhile(store, closed(), closed(key=14))
    assert len(rows(store)) == 1
    assert remembered(store) == (0, 1)


def test_what_a_withdrawn_batch_ended_can_be_opened_and_ended_again(store: Store) -> None:
    first = deliver(store, whole())
    store.withdraw_batch(first.batch_id, reason="wrong zone", actors=("a", "b"))
    assert counts(deliver(store, opened())) == (1, 1, 0, 0)
    assert remembered(store) == (1, 0)
    assert counts(deliver(store, closed())) == (1, 1, 0, 1)
    assert counts(deliver(store, opened())) == (1, 0, 1, 0)


@pytest.mark.parametrize("at_once", [2, 500])
def test_many_sessions_are_found_again_whether_running_or_ended(
    store: Store, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(session_tables, "_TAGS_A_QUERY", at_once)
    monkeypatch.setattr(session_tables, "_ROWS_AN_INSERT", 100)
    ended = pa.concat_tables([whole(f"s{number}", 1000 + number) for number in range(230)])
    running = pa.concat_tables([opened(f"r{number}", 2000 + number) for number in range(20)])
    both = pa.concat_tables([ended, running], promote_options="default")
    assert counts(deliver(store, both)) == (250, 250, 0, 230)
    assert remembered(store) == (20, 230)
    assert counts(deliver(store, both)) == (250, 0, 250, 0)
    some = pa.concat_tables([ended.slice(0, 10), running.slice(0, 2), opened("new", 3000)], promote_options="default")
    assert counts(deliver(store, some)) == (13, 1, 12, 0)
    assert remembered(store) == (21, 230)


def test_memory_is_swept_in_stretches_when_the_horizon_is_over(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_tables, "_SWEPT_AT_ONCE", 7)
    deliver(store, pa.concat_tables([whole(f"s{number}", 100 + number) for number in range(50)]))
    clock.advance(days=34)
    deliver(store, pa.concat_tables([whole(f"t{number}", 200 + number) for number in range(20)]))
    store.expire()
    assert remembered(store) == (0, 70)
    clock.advance(days=2)
    store.expire()
    assert remembered(store) == (0, 20)
    assert counts(deliver(store, opened("t3", 203))) == (1, 0, 1, 0)


def test_a_sweep_is_not_made_again_within_a_day(store: Store, clock: FixedClock) -> None:
    deliver(store, whole())
    clock.advance(days=34, seconds=20 * 3600)
    store.expire()
    clock.advance(seconds=10 * 3600)
    store.expire()
    assert remembered(store) == (0, 1)
    clock.advance(seconds=15 * 3600)
    store.expire()
    assert remembered(store) == (0, 0)


def test_no_memory_of_a_session_outlives_the_partition_of_its_day(tmp_path: Path, clock: FixedClock) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        clock.advance(days=728)
        deliver(store, whole())
        deliver(store, event("close", "s2", 15, end_time=clock.now_us() - HOUR_US, start_time=START))
        assert remembered(store) == (0, 2)
        clock.advance(days=5)
        assert store.expire().partitions
        assert remembered(store) == (0, 1)


def test_the_sessions_of_one_network_element_are_found_by_it(store: Store) -> None:
    deliver(store, opened())
    other: Any = event("open", "s2", 21, start_time=START)
    place = other.column_names.index("switch")
    deliver(store, other.set_column(place, "switch", pa.array(["nas2"]).dictionary_encode()))
    deliver(store, opened("s3", 31), source="west")
    for source, element in (("east", "nas"), ("east", "nas2"), ("west", "nas")):
        (batch,) = store.open_sessions(of=(source, element))
        assert batch.num_rows == 1
        assert batch.column("switch").to_pylist() == [element]
        assert batch.column("source").to_pylist() == [source]
    assert list(store.open_sessions(of=("west", "nas2"))) == []
    deliver(store, closed())
    assert list(store.open_sessions(of=("east", "nas"))) == []


def test_two_sources_of_one_domain_carry_one_session(store: Store) -> None:
    """One platform that delivers by two roads is one domain, and each of them may bring the next event."""

    def brought(source: str, *tables: pa.Table) -> Receipt:
        with store.begin_batch(SourceRef(source, "east"), format="radius-detail") as batch:
            for table in tables:
                batch.add(table)
            batch.finish_input(b"\x11" * 32, 1)
            return batch.commit()

    brought("east", opened())
    brought("west", event("update", "s1", 13, volume_up_bytes=5))
    assert remembered(store) == (1, 0)
    assert brought("west", closed()).rows == 1
    assert remembered(store) == (0, 1)
