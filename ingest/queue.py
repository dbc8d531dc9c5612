"""What a message queue is to Lagrum: numbered messages that stay there until they are acknowledged.

JetStream is behind it (`ingest.jetstream`); any log whose messages keep their number when they come again can be, such
as a partition of Kafka with its offsets. `tests/ingest/test_queue.py` says how each has to behave.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    `queue` names one consumer's view of one log, and nothing in it names a person; (`queue`, `sequence`) is the same
    whenever the message comes again, and never another message's. `delivered` counts how often it came, from 1.
    """

    queue: str
    sequence: int
    body: bytes = field(repr=False)
    delivered: int = 1
    handle: Any = field(default=None, repr=False, compare=False)
    """The adapter's own."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far behind the consumer is.

    `waiting` messages were not delivered yet, `unacknowledged` were and are not acknowledged. Every message of `queue`
    up to `floor` is acknowledged or not the consumer's. `first` is the oldest number that the log still has; None where
    that tells nothing (the consumer takes a part of the log).
    """

    queue: str
    waiting: int
    unacknowledged: int
    floor: int
    first: int | None = None


class Queue(Protocol):
    """A durable queue, used by one thread.

    Every method raises `BusyError` when the broker is away, and `ConfigurationError` when it refuses for good.
    """

    def fetch(self, *, messages_max: int, bytes_max: int, wait_s: float) -> list[Message]:
        """Return what is there, within both bounds, after at most `wait_s`; one message may pass `bytes_max`."""
        ...

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Say that messages need not come again; one whose acknowledgement is lost comes again."""
        ...

    def nack(self, messages: Sequence[Message], *, delay_s: float) -> None:
        """Give messages back; they come again after `delay_s`."""
        ...

    def terminate(self, messages: Sequence[Message]) -> None:
        """Say that messages are refused for good; they do not come again."""
        ...

    def lag(self) -> Lag:
        """Return how far behind the consumer is."""
        ...

    def close(self) -> None:
        """Leave the broker; what is not acknowledged comes again."""
        ...
