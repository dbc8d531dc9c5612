"""Sessions that never end, end late, or run while somebody asks for them."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from schemas.errors import ConfigurationError, IntegrityError
from store import Store, TargetIdentifier
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.open_sessions import session_racer
from tests.store.open_sessions.test_sessions import HOUR_US, START, closed, counts, event, opened, rows


def running(store: Store, *targets: TargetIdentifier) -> list[dict[str, Any]]:
    return [row for batch in store.open_sessions(targets) for row in batch.to_pylist()]


def test_a_running_session_is_found_by_its_targets_until_it_ends(store: Store) -> None:
    deliver(store, opened())
    deliver(store, event("open", "s2", 21, start_time=START, imsi=1240010000000002, source_ip=0xC0000201))
    deliver(store, event("update", "s1", 13, volume_up_bytes=5))
    mine = TargetIdentifier("imsi", "240010000000001")
    (row,) = running(store, mine)
    assert (row["volume_up_bytes"], row["end_time"], row["batch_id"]) == (5, None, 3)
    assert len(running(store)) == 2
    assert len(running(store, mine, TargetIdentifier("ip", "192.0.2.0/24"))) == 2
    assert running(store, TargetIdentifier("ip", "198.51.100.1")) == []
    deliver(store, closed())
    assert running(store, mine) == []
    with pytest.raises(ConfigurationError):
        running(store, TargetIdentifier("mac", "nothing"))


def test_many_running_sessions_come_in_stretches(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from store.open_sessions import session_reading

    monkeypatch.setattr(session_reading, "_SESSIONS_A_BATCH", 7)
    starts = [event("open", f"s{number}", 100 + number, start_time=START + number) for number in range(50)]
    deliver(store, pa.concat_tables(starts))
    found = sorted(row["start_time"].microsecond for row in running(store))
    assert found == list(range(50))


def test_a_stop_whose_start_never_came_becomes_a_record_in_the_end(store: Store, clock: FixedClock) -> None:
    deliver(store, closed(duration_ms=3_600_000))
    clock.advance(days=3)
    assert store.close_stale_sessions(clock.now_us()) == 1
    (row,) = rows(store)
    assert row["start_time"].timestamp() * 1e6 == START
    assert running(store) == []


def test_interim_figures_without_any_time_become_a_record_of_when_they_came(store: Store, clock: FixedClock) -> None:
    came_us = clock.now_us()
    deliver(store, event("update", "s1", 13, volume_up_bytes=5))
    clock.advance(days=3)
    assert store.close_stale_sessions(clock.now_us()) == 1
    (row,) = rows(store)
    assert row["end_inferred"] and row["end_time"].timestamp() * 1e6 == came_us
    assert store.verify() == []


def test_a_true_end_after_the_timeout_is_kept_beside_the_inferred_one(store: Store, clock: FixedClock) -> None:
    deliver(store, event("open", "s1", 11, start_time=START, imsi=1240010000000001))
    clock.advance(days=3)
    assert store.close_stale_sessions(clock.now_us()) == 1
    late = event("close", "s1", 11, end_time=START + 50 * HOUR_US, volume_up_bytes=77)
    receipt = deliver(store, late)
    assert (receipt.records, receipt.conflicts, receipt.rows) == (1, 1, 1)
    inferred, true = sorted(rows(store), key=lambda row: row["conflict"])
    assert (inferred["end_inferred"], true["end_inferred"]) == (True, False)
    assert (true["start_time"], true["volume_up_bytes"]) == (inferred["start_time"], 77)
    assert counts(deliver(store, late)) == (1, 0, 1, 0)
    assert store.verify() == []


def test_the_memory_of_closed_sessions_is_swept_though_nothing_else_is_due(store: Store, clock: FixedClock) -> None:
    deliver(store, opened())
    deliver(store, closed())
    clock.advance(days=40)
    store.expire()
    for table in ("sessions", "ended_sessions"):
        assert store.catalog.query(f"SELECT count(*) FROM {table}") == [(0,)]


@pytest.mark.parametrize(
    "edit",
    ["sieve = 0", "element = element + 1", "state = 'closed'", "source = 'west'", "seen_us = 0", "batch_id = 1"],
)
def test_a_session_that_somebody_hides_in_the_catalog_is_told(store: Store, edit: str) -> None:
    """Whoever has no key can change what lookups and the timeout go by; the fields are bound to it."""
    deliver(store, opened("s0", 9))
    deliver(store, opened())
    assert store.verify() == []
    with store.catalog.transaction() as cursor:
        cursor.execute(f"UPDATE sessions SET {edit} WHERE batch_id = 2")
        assert cursor.rowcount == 1
    assert [problem.where for problem in store.verify()] == ["an open session"]
    with pytest.raises(IntegrityError):
        deliver(store, closed())


def test_a_sieve_that_is_not_of_its_fields_is_told_though_it_authenticates(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is wrong, or has the key, hides a session as well as somebody who edits."""
    deliver(store, opened("s0", 9))
    with monkeypatch.context() as patch:
        patch.setattr("store.open_sessions.session_sieve.SessionSieve.of_rows", lambda _, rows: [0] * rows.num_rows)
        deliver(store, event("open", "s1", 11, start_time=START, imsi=1240010000000009))
    assert running(store, TargetIdentifier("imsi", "240010000000009")) == []
    (problem,) = store.verify()
    assert problem.where == "an open session" and "sieve" in problem.what


def test_two_processes_that_deliver_the_same_events_make_one_record_of_each_session(
    store: Store, clock: FixedClock
) -> None:
    numbers = list(range(5))
    argv = [sys.executable, "-m", "tests.store.open_sessions.session_racer", str(store.root), str(clock.now_us())]
    sides = [
        subprocess.Popen([*argv, *map(str, order)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for order in (numbers, numbers[2:] + numbers[:2])
    ]
    for side in sides:
        assert side.stdout is not None and side.stdout.readline() == "ready\n"
    for side in sides:
        assert side.stdin is not None
        side.stdin.write("go\n")
        side.stdin.flush()
    said = [[int(word) for word in side.communicate()[0].split()] for side in sides]
    assert [side.returncode for side in sides] == [0, 0]
    sessions = len(numbers) * session_racer.SESSIONS
    assert [sum(counts) for counts in zip(*said, strict=True)] == [2 * sessions, 2 * sessions]
    ends = Counter(row["record_key"] for row in rows(store))
    assert set(ends.values()) == {1} and len(ends) == sessions
    assert store.verify() == [] and running(store) == []
