"""Open sessions are durable before an end exists, and become one record each."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from schemas.arrow import PACKED
from schemas.errors import InputError
from store import Receipt, ScanQuery, Store
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import NOW_US

HOUR_US = 3_600_000_000
START = NOW_US - 5 * HOUR_US
POSITIONS = itertools.count(1)


def event(kind: str, session: str, key: int, **fields: Any) -> pa.Table:
    values: dict[str, Any] = {
        "switch": pa.array(["nas"]).dictionary_encode(),
        "record_key": pa.array([key], pa.int64()),
        "record_key_text": pa.nulls(1, pa.string()),
        "batch_position": pa.array([next(POSITIONS)], pa.int64()),
        "service_type": pa.array(["data"]).dictionary_encode(),
        "start_time": pa.nulls(1, PACKED.field("start_time").type),
        "end_time": pa.nulls(1, PACKED.field("end_time").type),
        "end_inferred": pa.array([False]),
        "time_ambiguous": pa.array([False]),
    }
    for name, value in fields.items():
        values[name] = pa.array([value], PACKED.field(name).type)
    return pa.table({**values, "event": pa.array([kind]), "session_key": pa.array([session])})


def opened(session: str = "s1", key: int = 11) -> pa.Table:
    return event("open", session, key, start_time=START, imsi=1240010000000001)


def closed(session: str = "s1", key: int = 12, **more: Any) -> pa.Table:
    return event("close", session, key, end_time=START + HOUR_US, volume_up_bytes=77, **more)


def rows(store: Store) -> list[dict[str, Any]]:
    return [row for batch in store.scan(ScanQuery(0, 2**60)) for row in batch.to_pylist()]


def counts(receipt: Receipt) -> tuple[int, int, int, int]:
    return receipt.records, receipt.accepted, receipt.duplicates, receipt.rows


def test_a_start_is_durable_and_stores_no_row_and_the_stop_makes_one(tmp_path: Path, clock: FixedClock) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        assert counts(deliver(store, opened())) == (1, 1, 0, 0)
        assert rows(store) == []
    with Store.open(tmp_path / "root", clock=clock) as store:
        assert counts(deliver(store, closed())) == (1, 1, 0, 1)
        (row,) = rows(store)
        assert row["imsi"] == 1240010000000001 and row["volume_up_bytes"] == 77
        assert row["start_time"].timestamp() * 1e6 == START
        assert store.verify() == []


def test_a_stop_before_its_start_waits_for_it(store: Store) -> None:
    assert counts(deliver(store, closed())) == (1, 1, 0, 0)
    assert counts(deliver(store, opened())) == (1, 1, 0, 1)
    assert len(rows(store)) == 1


def test_start_interim_and_stop_of_one_delivery_fold_to_one_row(store: Store) -> None:
    update = event("update", "s1", 13, volume_up_bytes=5, volume_down_bytes=9)
    assert counts(deliver(store, pa.concat_tables([opened(), update, closed()], promote_options="default"))) == (
        3,
        3,
        0,
        1,
    )
    (row,) = rows(store)
    assert (row["volume_up_bytes"], row["volume_down_bytes"]) == (77, 9)


def test_repeated_events_are_duplicates_before_and_after_the_end(store: Store) -> None:
    deliver(store, opened())
    assert counts(deliver(store, opened())) == (1, 0, 1, 0)
    deliver(store, closed())
    assert counts(deliver(store, opened())) == (1, 0, 1, 0)
    assert counts(deliver(store, closed())) == (1, 0, 1, 0)
    assert len(rows(store)) == 1


def test_a_stop_that_carries_everything_needs_no_start_and_repeats_are_duplicates(store: Store) -> None:
    whole = closed(start_time=START)
    assert counts(deliver(store, whole)) == (1, 1, 0, 1)
    assert counts(deliver(store, whole)) == (1, 0, 1, 0)
    assert counts(deliver(store, opened())) == (1, 0, 1, 0)
    assert len(rows(store)) == 1


def test_sessions_of_other_sources_are_not_mixed(store: Store) -> None:
    deliver(store, opened())
    assert deliver(store, closed(), source="west").rows == 0
    assert deliver(store, closed()).rows == 1


def test_a_session_without_a_stop_is_closed_by_timeout_with_an_inferred_end(store: Store, clock: FixedClock) -> None:
    deliver(store, opened())
    assert store.close_stale_sessions(clock.now_us()) == 0
    clock.advance(days=3)
    assert store.close_stale_sessions(clock.now_us() - 2 * 24 * HOUR_US) == 1
    (row,) = rows(store)
    assert row["end_inferred"] and row["end_time"] == row["start_time"]
    assert sum(hour["delivered"] for hour in store.reconcile()) == 1
    assert store.close_stale_sessions(clock.now_us()) == 0
    assert counts(deliver(store, opened())) == (1, 0, 1, 0)
    assert store.verify() == []


def test_open_sessions_show_nothing_in_the_clear(store: Store) -> None:
    deliver(store, opened("alice-session"))
    for path in store.root.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"alice-session" not in data and b"240010000000001" not in data


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_any_order_over_any_deliveries_gives_the_same_row(store: Store, order: tuple[int, ...]) -> None:
    events = [opened(), event("update", "s1", 13, cell_id=1007), closed()]
    for index in order:
        deliver(store, events[index])
    (row,) = rows(store)
    assert (row["cell_id"] == 1007) == (order.index(1) < 2)
    assert row["volume_up_bytes"] == 77


def test_the_sessions_of_a_withdrawn_batch_can_be_delivered_again(store: Store) -> None:
    whole = closed(start_time=START)
    first = deliver(store, whole)
    store.withdraw_batch(first.batch_id, reason="wrong zone", actors=("a", "b"))
    assert rows(store) == []
    assert counts(deliver(store, whole)) == (1, 1, 0, 1)
    assert len(rows(store)) == 1


def test_durations_that_no_event_said_follow_from_the_ends(store: Store) -> None:
    deliver(store, event("open", "s1", 11, start_time=START, answer_time=START + 2_000_000))
    deliver(store, closed())
    (row,) = rows(store)
    assert (row["duration_ms"], row["billable_duration_ms"]) == (3_600_000, 3_598_000)


def test_a_session_key_that_is_used_again_after_its_end_opens_a_new_session(store: Store) -> None:
    deliver(store, opened(), closed())
    later = START + 2 * HOUR_US
    assert counts(deliver(store, event("open", "s1", 21, start_time=later))) == (1, 1, 0, 0)
    assert counts(deliver(store, event("close", "s1", 22, end_time=later + HOUR_US))) == (1, 1, 0, 1)
    assert len(rows(store)) == 2


def test_a_stop_without_a_start_becomes_a_record_by_timeout(store: Store, clock: FixedClock) -> None:
    deliver(store, closed())
    clock.advance(days=3)
    assert store.close_stale_sessions(clock.now_us()) == 1
    (row,) = rows(store)
    assert row["start_time"] == row["end_time"] and not row["end_inferred"]


def test_the_closing_events_word_counts_more_than_an_interim_ones_that_came_later(store: Store) -> None:
    table = pa.concat_tables([opened(), closed()], promote_options="default")
    late = event("update", "s1", 13, volume_up_bytes=5)
    deliver(store, pa.concat_tables([late, closed()], promote_options="default"))
    deliver(store, opened())
    (row,) = rows(store)
    assert row["volume_up_bytes"] == 77 and row["record_key"] == table.column("record_key")[1].as_py()


def test_a_key_that_is_used_anew_within_one_stretch_is_another_session(store: Store) -> None:
    later = START + 2 * HOUR_US
    second = [event("open", "s1", 21, start_time=later), event("close", "s1", 22, end_time=later + HOUR_US)]
    stretch = pa.concat_tables([opened(), closed(), *second], promote_options="default")
    assert counts(deliver(store, stretch)) == (4, 4, 0, 2)
    assert sorted(row["start_time"].timestamp() * 1e6 for row in rows(store)) == [START, later]


def test_a_record_has_the_position_of_the_event_that_completed_it(store: Store) -> None:
    deliver(store, closed())
    start = opened()
    deliver(store, start)
    (row,) = rows(store)
    assert row["batch_position"] == start.column("batch_position")[0].as_py()


def test_a_record_without_an_end_is_refused_whole(store: Store) -> None:
    endless = event("record", "s1", 11, start_time=START)
    with pytest.raises(InputError, match="has no end"):
        deliver(store, pa.concat_tables([closed(), endless], promote_options="default"))
    assert rows(store) == [] and counts(deliver(store, closed())) == (1, 1, 0, 0)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_ends_without_an_opening_are_two_records(
    store: Store, clock: FixedClock, together: bool, order: tuple[int, ...]
) -> None:
    ends = [event("close", "s1", 12 + hour, end_time=START + hour * HOUR_US) for hour in (1, 2)]
    said = [ends[place] for place in order]
    for delivery in [pa.concat_tables(said)] if together else said:
        deliver(store, delivery)
    assert len(rows(store)) == order[0]  # a later one waits beside the first
    assert counts(deliver(store, opened())) == (1, 1, 0, 1)
    clock.advance(days=3)
    assert store.close_stale_sessions(clock.now_us()) == order[1]
    lengths = [(row["end_time"] - row["start_time"]).total_seconds() for row in rows(store)]
    assert sorted(lengths) == [0, (order[0] + 1) * 3600]
    assert store.verify() == []


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("order", [("close", "open"), ("open", "close")])
def test_an_opening_between_two_ends_finds_its_own(
    store: Store, clock: FixedClock, order: tuple[str, ...], together: bool
) -> None:
    deliver(store, event("close", "s1", 12, end_time=START, calling_number=46_701))
    said = {
        "close": event("close", "s1", 13, end_time=START + 2 * HOUR_US),
        "open": event("open", "s1", 11, start_time=START + HOUR_US),
    }
    events = [said[kind] for kind in order]
    for delivery in [pa.concat_tables(events, promote_options="default")] if together else events:
        deliver(store, delivery)
    clock.advance(days=3)
    store.close_stale_sessions(clock.now_us())
    assert sorted((row["end_time"] - row["start_time"]).total_seconds() for row in rows(store)) == [0, 3600]
    assert store.verify() == []
