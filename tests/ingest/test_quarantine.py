"""What was refused can be delivered again, and nothing is lost or doubled on the way."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest import sources
from ingest.pipeline import ingest_stream
from ingest.quarantine import replay_batch
from ingest.source_config import SourceConfig
from schemas.errors import NotFoundError
from store import Store
from tests.conftest import FixedClock

HEADER = b"record_key,switch,service_type,calling_number,called_number,start_time,duration_s\n"
GOOD = b"1,msc-1,voice,46700000001,46700000002,2026-11-20T10:00:00Z,61\n"
EARLY = b"2,msc-1,voice,46700000001,46700000002,2026-12-20T10:00:00Z,61\n"
BROKEN = b"3,msc-1,voice,46700000001,46700000002,yesterday,61\n"


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "store", clock=clock) as made:
        sources.register(made, SourceConfig("core"), actor="test")
        yield made


def deliver(store: Store, *lines: bytes) -> int:
    receipt = ingest_stream(store, sources.get(store, "core"), "csv", io.BytesIO(HEADER + b"".join(lines)))
    assert receipt.records == receipt.accepted + receipt.duplicates + receipt.conflicts + receipt.rejected
    return receipt.batch_id


def test_a_record_of_the_future_is_taken_once_its_time_has_come(store: Store, clock: FixedClock) -> None:
    batch = deliver(store, GOOD, EARLY)
    clock.advance(days=30)
    receipt = replay_batch(store, batch)
    assert (receipt.records, receipt.accepted, receipt.rejected) == (1, 1, 0)
    assert sum(item.records for item in store.partitions()) == 2


def test_what_is_refused_again_waits_under_the_new_batch(store: Store) -> None:
    batch = deliver(store, GOOD, EARLY, BROKEN)
    receipt = replay_batch(store, batch)
    assert (receipt.accepted, receipt.rejected) == (0, 2)
    waiting = [entry for entry in store.quarantine_entries() if entry.replayed_us is None]
    assert [(entry.batch_id, entry.rejects) for entry in waiting] == [(receipt.batch_id, 2)]


def test_a_replay_is_not_repeated(store: Store) -> None:
    batch = deliver(store, GOOD, BROKEN)
    replay_batch(store, batch)
    with pytest.raises(NotFoundError):
        replay_batch(store, batch)


def test_a_batch_without_rejects_has_nothing_to_replay(store: Store) -> None:
    with pytest.raises(NotFoundError):
        replay_batch(store, deliver(store, GOOD))


def test_the_store_verifies_afterwards(store: Store, clock: FixedClock) -> None:
    batch = deliver(store, GOOD, EARLY, BROKEN)
    clock.advance(days=30)
    replay_batch(store, batch)
    assert store.verify() == []
