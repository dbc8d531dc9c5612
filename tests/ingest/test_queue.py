"""How a queue behaves: every adapter passes these. Another one joins by its fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from ingest.jetstream import JetStream, JetStreamSettings
from ingest.queue import Message, Queue
from schemas.errors import BusyError
from tests.ingest.broker import STREAM, running
from tests.patience import PATIENCE_S

ACK_WAIT_S = 2.0
"""What is not acknowledged for so long comes again: longer than a busy machine needs from one call to the next."""


class Made:
    """A queue's broker, as the tests work with it."""

    def __init__(self, publish: Callable[[Sequence[bytes]], None], connect: Callable[[], Queue]) -> None:
        self.publish, self._connect = publish, connect
        self._open: list[Queue] = []

    def connect(self) -> Queue:
        self._open.append(self._connect())
        return self._open[-1]

    def close(self) -> None:
        for queue in self._open:
            queue.close()


@pytest.fixture(params=["jetstream"])
def made(tmp_path: Path) -> Iterator[Made]:
    with running(tmp_path / "broker") as broker:
        settings = JetStreamSettings(broker.url, STREAM, "lagrum", ack_wait_s=ACK_WAIT_S)
        queues = Made(broker.publish, lambda: JetStream(settings))
        queues.publish([])
        yield queues
        queues.close()


def fetch(queue: Queue, messages_max: int, bytes_max: int = 1 << 20, wait_s: float = PATIENCE_S) -> list[Message]:
    """Fetch so many messages; it waits for the last of them only."""
    return queue.fetch(messages_max=messages_max, bytes_max=bytes_max, wait_s=wait_s)


def test_messages_come_in_order_with_numbers_of_their_own(made: Made) -> None:
    made.publish([b"a", b"b", b"c"])
    found = fetch(made.connect(), 3)
    assert [message.body for message in found] == [b"a", b"b", b"c"]
    assert [message.delivered for message in found] == [1, 1, 1]
    assert len({(message.queue, message.sequence) for message in found}) == 3
    assert "b'a'" not in repr(found)


def test_an_empty_queue_gives_nothing(made: Made) -> None:
    assert fetch(made.connect(), 1, wait_s=0.2) == []


def test_both_bounds_hold(made: Made) -> None:
    made.publish([b"x" * 1000] * 60)
    queue = made.connect()
    assert len(fetch(queue, 7)) == 7
    few = fetch(queue, 100, bytes_max=20_000)
    assert 20 <= len(few) <= 22


def test_what_is_acknowledged_does_not_come_again(made: Made) -> None:
    made.publish([b"a", b"b"])
    queue = made.connect()
    queue.acknowledge(fetch(queue, 2))
    assert fetch(queue, 1, wait_s=1.25 * ACK_WAIT_S) == []
    lag = queue.lag()
    assert (lag.waiting, lag.unacknowledged, lag.floor) == (0, 0, 2)


def test_what_is_not_acknowledged_comes_again_under_its_number(made: Made) -> None:
    made.publish([b"a", b"b"])
    queue = made.connect()
    first = fetch(queue, 2)
    assert queue.lag().unacknowledged == 2
    again = fetch(queue, 2)
    assert sorted(again, key=lambda message: message.sequence) == [
        Message(one.queue, one.sequence, one.body, 2) for one in first
    ]


def test_another_consumer_of_the_same_name_gets_what_the_first_left(made: Made) -> None:
    made.publish([b"a", b"b"])
    first = made.connect()
    left = fetch(first, 2)
    first.acknowledge(left[:1])
    second = made.connect()
    again = fetch(second, 1)
    assert [(message.queue, message.sequence) for message in again] == [(left[1].queue, left[1].sequence)]


def test_what_is_given_back_comes_after_its_delay(made: Made) -> None:
    made.publish([b"a"])
    queue = made.connect()
    queue.nack(fetch(queue, 1), delay_s=0.1)
    (again,) = fetch(queue, 1)
    assert again.delivered == 2


def test_what_is_terminated_does_not_come_again(made: Made) -> None:
    made.publish([b"a", b"b"])
    queue = made.connect()
    found = fetch(queue, 2)
    queue.terminate(found[:1])
    queue.acknowledge(found[1:])
    assert fetch(queue, 1, wait_s=1.25 * ACK_WAIT_S) == []
    assert queue.lag().floor == 2


def test_lag_tells_what_waits(made: Made) -> None:
    made.publish([b"x"] * 30)
    queue = made.connect()
    taken = fetch(queue, 10)
    lag = queue.lag()
    assert (lag.waiting, lag.unacknowledged, lag.first) == (20, 10, 1)
    assert lag.queue == taken[0].queue


def test_a_broker_that_is_away_is_busy_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.jetstream.CONNECT_S", 0.5)
    queue = JetStream(JetStreamSettings("nats://127.0.0.1:1", STREAM, "lagrum"))
    try:
        with pytest.raises(BusyError):
            fetch(queue, 1, wait_s=0.1)
    finally:
        queue.close()
