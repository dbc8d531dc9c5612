"""A queue into the store, with a real broker: what is committed, quarantined, given back, and told."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest import messages, pushes, sources
from ingest.consumer import KIND, Consumed, Consumer, ConsumeRules
from ingest.jetstream import JetStream, JetStreamSettings
from ingest.source_config import SourceConfig
from schemas.errors import BusyError, ConfigurationError
from store import ScanQuery, Store
from store.queue_offsets import runs, settle, settle_up_to, settled_of
from tests.conftest import FixedClock
from tests.ingest.broker import STREAM, Broker, running
from tests.patience import PATIENCE_S

HEAD = b"record_key,switch,service_type,calling_number,called_number,start_time,duration_s\n"
RULES = ConsumeRules(messages_max=500, wait_s=0.5)


def packet(status: str, minute: int, seconds: int) -> bytes:
    """One packet of a RADIUS session as the detail writer writes it."""
    return (
        'Sun Nov 22 10:00:00 2026\n\tUser-Name = "u"\n\tNAS-IP-Address = 192.0.2.1\n\tAcct-Session-Id = "S1"\n'
        f'\tAcct-Status-Type = {status}\n\tEvent-Timestamp = "Nov 22 2026 10:{minute:02}:00 UTC"\n'
        f"\tAcct-Session-Time = {seconds}\n\n"
    ).encode()


def record(key: int, duration_s: int = 61) -> bytes:
    return HEAD + b"%011d,pbx,voice,46700000001,46700000002,2026-11-22T10:00:00Z,%d\n" % (key, duration_s)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running(tmp_path_factory.mktemp("queue") / "broker") as broker:
        yield broker


@pytest.fixture
def broker(shared: Broker) -> Iterator[Broker]:
    shared.publish([])
    yield shared
    shared.manage("delete_stream", STREAM)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as store:
        yield store


def consume(store: Store, broker: Broker, format: str = "csv", source: str = "east", **more: Any) -> Consumed:
    queue = JetStream(JetStreamSettings(broker.url, STREAM, "lagrum", **more))
    try:
        return Consumer(store, source, format, queue, RULES).run(once=True)
    finally:
        queue.close()


def stored(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60)))


def test_messages_become_batches_and_are_acknowledged(store: Store, broker: Broker) -> None:
    broker.publish([record(key) for key in range(700)])
    totals = consume(store, broker)
    assert (totals.messages, totals.accepted, totals.redelivered, totals.refused) == (700, 700, 0, 0)
    assert totals.batches <= 4
    about = broker.consumer()
    assert (about.num_pending, about.num_ack_pending, about.ack_floor.stream_seq) == (0, 0, 700)
    assert stored(store) == 700
    assert store.verify() == []


def test_the_same_record_in_another_message_is_a_duplicate_and_another_duration_a_conflict(
    store: Store, broker: Broker
) -> None:
    broker.publish([record(1), record(1), record(1, 62), gzip.compress(record(2)), b""])
    totals = consume(store, broker)
    counts = (totals.messages, totals.records, totals.accepted, totals.duplicates, totals.conflicts, totals.rejected)
    assert counts == (5, 4, 2, 1, 1, 0)


def test_what_cannot_be_read_is_quarantined_told_and_does_not_come_again(store: Store, broker: Broker) -> None:
    broker.publish([record(1), b"\x00\x01nonsense 46700000009", record(2), b"\x1f\x8bcut off", record(3)])
    totals = consume(store, broker)
    assert (totals.messages, totals.accepted, totals.rejected, totals.refused) == (5, 3, 2, 2)
    assert broker.consumer().num_ack_pending == 0
    assert consume(store, broker).messages == 0
    (entry,) = store.quarantine_entries()
    assert entry.rejects == 2
    (told,) = [one for one in store.audit.entries() if one.kind == "intake.messages-refused"]
    assert told.public["messages"] == 2


def test_a_record_that_is_refused_does_not_spoil_its_message(store: Store, broker: Broker) -> None:
    body = record(1) + b"00000000002,pbx,voice,46700000001,46700000002,never,61\n"
    broker.publish([body])
    totals = consume(store, broker)
    assert (totals.accepted, totals.rejected, totals.refused) == (1, 1, 0)


def test_an_expanding_message_is_refused(store: Store, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "EXPANDED_BYTES_MAX", 1000)
    broker.publish([gzip.compress(b"x" * 1001)])
    assert consume(store, broker).refused == 1


def test_a_fault_of_a_decoder_refuses_the_message_and_not_its_neighbours(
    store: Store, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = messages.normalise

    def faulty(part: Any, source: SourceConfig, now_us: int) -> Any:
        raise ZeroDivisionError

    broker.publish([packet("Start", 0, 0), record(1)])
    monkeypatch.setattr(messages, "normalise", faulty)
    monkeypatch.setattr(pushes, "normalise", faulty)
    assert consume(store, broker, "radius-detail").refused == 2
    monkeypatch.setattr(messages, "normalise", plain)


def test_events_of_sessions_fold_over_messages(store: Store, broker: Broker) -> None:
    broker.publish([packet("Start", 0, 0), packet("Stop", 10, 600)])
    totals = consume(store, broker, "radius-detail")
    assert (totals.messages, totals.rejected, totals.refused) == (2, 0, 0)
    assert stored(store) == 1


def test_a_busy_store_acknowledges_nothing(store: Store, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    broker.publish([record(1), record(2)])
    for error in (BusyError("full"), OSError(28, "no space")):

        def fail(*_given: Any, error: Exception = error, **_named: Any) -> Any:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(store, "begin_batch", fail)
            with pytest.raises(type(error)):
                while True:
                    consume(store, broker)
        assert broker.consumer().ack_floor.stream_seq == 0
    found = 0
    for _ in range(20):
        found += consume(store, broker).accepted
        if found == 2:
            break
    assert (found, stored(store)) == (2, 2)


def test_what_was_committed_and_not_acknowledged_is_recognised(
    store: Store, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.publish([record(1), record(2)])
    with monkeypatch.context() as patch:
        patch.setattr(JetStream, "acknowledge", lambda *_given: (_ for _ in ()).throw(BusyError("away")))
        with pytest.raises(BusyError):
            consume(store, broker, ack_wait_s=1.0)
    redelivered = sum(consume(store, broker).redelivered for _ in range(6))
    assert redelivered == 2
    (row,) = store.reconcile()
    assert (row["delivered"], row["stored"], row["duplicates"]) == (2, 2, 0)


def test_a_source_that_lacks_its_zone_stops_the_consumer_and_keeps_the_messages(store: Store, broker: Broker) -> None:
    sources.register(store, SourceConfig("sms", zone=None), actor="test")
    broker.publish([b"2026-11-22 10:00:00 Sent SMS\n"])
    with pytest.raises(ConfigurationError, match="zone"):
        consume(store, broker, "kannel", "sms")
    assert broker.consumer().num_ack_pending == 1


def test_the_lag_is_written_down_and_dropped_messages_are_an_event(store: Store, broker: Broker) -> None:
    broker.publish([record(1)])
    consume(store, broker)
    broker.publish([record(key) for key in range(2, 6)])
    broker.manage("purge_stream", STREAM, seq=4)
    consume(store, broker)
    body = store.documents.get(KIND, "east").body
    assert (body["waiting"], body["dropped"]) == (0, 2)
    assert [one.public["dropped"] for one in store.audit.entries() if one.kind == "intake.queue-gap"] == [2]
    consume(store, broker)
    assert store.documents.get(KIND, "east").body["dropped"] == 2


def test_what_the_stream_had_dropped_before_the_consumer_came_is_no_gap(store: Store, broker: Broker) -> None:
    broker.publish([record(key) for key in range(1, 6)])
    broker.manage("purge_stream", STREAM, seq=4)
    assert consume(store, broker).accepted == 2
    assert store.documents.get(KIND, "east").body["dropped"] == 0


def test_a_consumer_of_one_subject_knows_of_no_gaps(store: Store, broker: Broker) -> None:
    broker.publish([record(1)], "cdr.other")
    broker.publish([record(2)])
    assert consume(store, broker, subject="cdr.a").accepted == 1
    assert store.documents.get(KIND, "east").body["dropped"] == 0


def test_nothing_of_a_message_is_logged(store: Store, broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    broker.publish([record(1), b"nonsense 46700000009"])
    consume(store, broker)
    assert "46700000" not in caplog.text


def test_ranges_join_and_a_number_is_settled_once(store: Store) -> None:
    assert runs([5, 1, 2, 9, 3]) == [(1, 3), (5, 5), (9, 9)]
    with store.catalog.transaction() as cursor:
        settle(cursor, "q", [1, 2, 3, 5])
        settle(cursor, "q", [4, 7])
        settle(cursor, "other", [4])
    assert store.catalog.query("SELECT first, last FROM queue_settled WHERE queue = 'q'") == [(1, 5), (7, 7)]
    assert settled_of(store.catalog, "q", [3, 6, 7, 8]) == {3, 7}
    with pytest.raises(BusyError), store.catalog.transaction() as cursor:
        settle(cursor, "q", [6, 7])
    assert settled_of(store.catalog, "q", [6]) == set()
    for floor, lost in ((6, 1), (6, 0), (3, 0)):
        with store.catalog.transaction() as cursor:
            assert settle_up_to(cursor, "q", floor) == lost
        assert store.catalog.query("SELECT first, last FROM queue_settled WHERE queue = 'q'") == [(1, 7)]


def test_a_batch_in_which_a_message_is_already_is_not_committed(store: Store, broker: Broker) -> None:
    broker.publish([record(1)])
    queue = JetStream(JetStreamSettings(broker.url, STREAM, "lagrum"))
    try:
        found = queue.fetch(messages_max=1, bytes_max=1 << 20, wait_s=PATIENCE_S)
    finally:
        queue.close()
    source = sources.get_or_create(store, "east")
    messages.ingest_messages(store, source, "csv", found)
    with pytest.raises(BusyError):
        messages.ingest_messages(store, source, "csv", found)
    assert len(store.catalog.query("SELECT 1 FROM batches")) == 1
