"""A queue into the store: fetch, commit as one batch, acknowledge; in this order, whatever is killed in between.

1. Messages that are in a batch already (`store.queue_offsets`) are acknowledged and not read again.
2. The others become one batch. Their numbers are written in its transaction, so a message is in one batch or in none.
3. After the commit they are acknowledged; those that could not be read are terminated, and lie in the quarantine.
4. A store that is busy, or a full disk: nothing is acknowledged. The messages go back with a delay, and the consumer
   pauses for as long. A broker that is away is waited for.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ingest import sources
from ingest.decoders import decoder
from ingest.events import event
from ingest.messages import ingest_messages
from ingest.queue import Message, Queue
from schemas.errors import BusyError, NotFoundError
from store import Put, Receipt, Store
from store.queue_offsets import settle_up_to, settled_of

KIND: Final = "queue"
PAUSE_S_MAX: Final = 60.0
LOOK_S: Final = 10.0
"""How often the lag is asked for and written down."""

_log = logging.getLogger("lagrum.consume")


@dataclass(frozen=True, slots=True)
class ConsumeRules:
    """What one batch takes: so many messages, so many bytes, or what came within so many seconds."""

    messages_max: int = 2_000
    bytes_max: int = 16 << 20
    wait_s: float = 1.0


@dataclass(slots=True)
class Consumed:
    """What one run has done; `waiting` is the lag as it was last told."""

    batches: int = 0
    messages: int = 0
    redelivered: int = 0
    refused: int = 0
    waiting: int = 0
    records: int = 0
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    reject_reasons: dict[str, int] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        """Count one receipt."""
        self.batches += 1
        for reason, count in receipt.reject_reasons.items():
            self.reject_reasons[reason] = self.reject_reasons.get(reason, 0) + count
        for name in ("records", "accepted", "duplicates", "conflicts", "rejected"):
            setattr(self, name, getattr(self, name) + getattr(receipt, name))


class Consumer:
    """One consumer of one queue, for one source in one format."""

    def __init__(self, store: Store, source: str, format: str, queue: Queue, rules: ConsumeRules | None = None) -> None:
        decoder(format)
        self._store, self._source, self._format, self._queue = store, source, format, queue
        self._rules = rules or ConsumeRules()
        self.stop = threading.Event()
        self.totals = Consumed()
        self._pause_s = 0.0
        self._looked = -LOOK_S
        self._base = self._journal()

    def run(self, *, once: bool = False) -> Consumed:
        """Take messages in until `stop` is set; with `once`, until the queue has none.

        Raises:
            ConfigurationError: the broker refuses, or the source lacks what the format needs.
            BusyError: with `once`, the store or the broker takes nothing now.
        """
        while not self.stop.is_set():
            try:
                self._look()
                found = self.take()
            except (BusyError, OSError) as error:
                if once:
                    raise
                self._pause_s = min(max(1.0, 2 * self._pause_s), PAUSE_S_MAX)
                _log.warning("consume pauses source=%s reason=%s", self._source, type(error).__name__)
                self.stop.wait(self._pause_s)
                continue
            self._pause_s = 0.0
            if once and not found:
                self._looked = -LOOK_S
                self._look()
                break
        return self.totals

    def take(self) -> int:
        """Take one batch of messages in; return how many came.

        Raises:
            BusyError: the store or the broker takes nothing now; what came is given back.
            OSError: the disk is full; what came is given back.
        """
        rules = self._rules
        messages = self._queue.fetch(messages_max=rules.messages_max, bytes_max=rules.bytes_max, wait_s=rules.wait_s)
        if not messages:
            self._store.renew_leases()
            return 0
        try:
            refused = self._commit(messages)
        except BaseException:
            self._give_back(messages)
            raise
        ended = {(message.queue, message.sequence) for message in refused}
        self._queue.acknowledge([one for one in messages if (one.queue, one.sequence) not in ended])
        self._queue.terminate(refused)
        return len(messages)

    def _commit(self, messages: Sequence[Message]) -> list[Message]:
        """Commit what is not in a batch yet; return what is refused."""
        known = {
            (queue, sequence)
            for queue in {message.queue for message in messages}
            for sequence in settled_of(
                self._store.catalog, queue, [one.sequence for one in messages if one.queue == queue]
            )
        }
        fresh = {(one.queue, one.sequence): one for one in messages if (one.queue, one.sequence) not in known}
        self.totals.redelivered += sum(message.delivered > 1 for message in messages)
        if not fresh:
            return []
        source = sources.get_or_create(self._store, self._source).arriving("queue")
        receipt, refused = ingest_messages(self._store, source, self._format, list(fresh.values()))
        self.totals.add(receipt)
        self.totals.messages += len(fresh)
        self.totals.refused += len(refused)
        return refused

    def _give_back(self, messages: Sequence[Message]) -> None:
        try:
            self._queue.nack(messages, delay_s=max(1.0, self._pause_s))
        except Exception as error:  # the broker gives them again by itself when their time is over
            _log.warning("messages are not given back: %s", type(error).__name__)

    def _look(self) -> None:
        """Write down how far behind the consumer is; messages that the log dropped unread are an event."""
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return
        self._looked = now
        lag = self._queue.lag()
        self.totals.waiting = lag.waiting
        before = self._journal()
        known = before.get("queue") == lag.queue
        with self._store.catalog.transaction() as cursor:
            if not known and lag.first is not None:
                settle_up_to(cursor, lag.queue, lag.first - 1)  # gone before the consumer was there
            lost = settle_up_to(cursor, lag.queue, lag.floor)
        if lag.first is None:
            lost = 0  # they are not ours
        body = {
            "queue": lag.queue,
            "waiting": lag.waiting,
            "unacknowledged": lag.unacknowledged,
            "dropped": before.get("dropped", 0) + lost,
            "redelivered": self._base.get("redelivered", 0) + self.totals.redelivered,
            "refused": self._base.get("refused", 0) + self.totals.refused,
        }
        if body != before:
            entries = [event("queue-gap", self._source, dropped=lost)] if lost else []
            self._store.documents.commit([Put(KIND, self._source, body)], entries)

    def _journal(self) -> dict[str, Any]:
        try:
            return self._store.documents.get(KIND, self._source).body
        except NotFoundError:
            return {}
