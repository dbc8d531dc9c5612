"""What the service does for pushes every few seconds: every delivery that is due goes on, and the metrics tell.

Each authority has a line of its own, at most `LINES_MAX` at once; on it its deliveries go one after the other, oldest
release first. An authority that hangs or fails keeps its own deliveries waiting and nobody else's: while its line is
busy the outbox is looked through again, and after a failure its others are not tried at once. What cannot be read is
told, once a start, and passed over. A round ends when the service stops: connections are cut, and tried again later.
"""

from __future__ import annotations

import logging
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.disclosure.casebook import Casebook
from api.disclosure.push_key import PushKey
from api.disclosure.push_outbox import outbox
from api.disclosure.pushes import KIND, Push
from api.disclosure.pushing import Pushing
from api.handover.push_line import Limits, Line, PushError
from api.people.authorities import Authority
from schemas.errors import IntegrityError, KeyUnavailableError, NotFoundError, ProcedureError
from store import AuditEntry

if TYPE_CHECKING:
    from store import Store

logger = logging.getLogger("lagrum.push")

LINES_MAX: Final = 4
"""Authorities that are pushed to at once; each holds one envelope in memory while it is sent."""
AGAIN_SECONDS: Final = 5.0
"""How often the outbox is looked through while a line is busy."""
_UNREADABLE: Final = (IntegrityError, KeyUnavailableError, NotFoundError, LookupError, TypeError, ValueError)


class Pusher(Collector):
    """Pushes of one store."""

    def __init__(self, store: Store, limits: Limits | None = None) -> None:
        self._store, self._limits = store, limits or Limits()
        self._key = PushKey(store)
        self._stopped = threading.Event()
        self._lines: set[Line] = set()
        self._since_us: list[int] = []
        self._passed: set[str] = set()
        """Deliveries that this round passes over; what is not damaged any more is pushed by the next."""
        self._told: set[str] = set()

    def look(self) -> int:
        """Push what is due; return how many envelopes were taken.

        Raises:
            AuditError: the log cannot take an entry; nothing leaves without one.
        """
        taken = 0
        self._passed.clear()
        failed: set[str] = set()
        busy: dict[Future[tuple[int, bool]], str] = {}
        with ThreadPoolExecutor(LINES_MAX, "lagrum-push") as lines:
            while not self._stopped.is_set():
                for authority, deliveries in self._due().items():
                    if authority not in failed and authority not in busy.values() and len(busy) < LINES_MAX:
                        busy[lines.submit(self._bring, deliveries)] = authority
                if not busy:
                    break
                ended, _ = wait(busy, AGAIN_SECONDS, FIRST_COMPLETED)
                if not ended:
                    failed.clear()  # somebody's line is slow: for the others this is another round
                for line in ended:
                    authority = busy.pop(line)
                    count, is_open = line.result()
                    taken += count
                    if not is_open:
                        failed.add(authority)
            return taken + sum(line.result()[0] for line in busy)

    def _due(self) -> dict[str, list[str]]:
        """Return by authority the deliveries that are due, oldest release first, as is the order of authorities."""
        now_us = self._store.clock.now_us()
        pushes, illegible = outbox(self._store)
        for delivery_id in illegible:
            self._tell_damaged(delivery_id, "push")
        self._since_us = [push.since_us for push, _ in pushes]
        found: dict[str, list[str]] = {}
        casebook = Casebook(self._store)
        for push, _ in pushes:
            if push.next_us <= now_us and push.delivery_id not in self._passed:
                try:
                    authority = casebook.delivery(push.delivery_id)[0].authority
                except _UNREADABLE:
                    self._tell_damaged(push.delivery_id, "delivery")
                    continue
                found.setdefault(authority, []).append(push.delivery_id)
        return found

    def _bring(self, deliveries: Sequence[str]) -> tuple[int, bool]:
        """Push deliveries of one authority; return how many envelopes were taken, and whether to go on with it."""
        taken = 0
        for delivery_id in deliveries:
            try:
                for is_taken in self._envelopes(delivery_id):
                    if not is_taken:
                        return taken, False
                    taken += 1
            except ProcedureError:
                return taken, False  # somebody acts on the case just now; the next round finds it as it is then
            except _UNREADABLE as error:
                logger.warning("a delivery is not pushed: %s", type(error).__name__)
                self._tell_damaged(delivery_id, "case")
        return taken, True

    def _envelopes(self, delivery_id: str) -> Iterator[bool]:
        """Push what of a delivery is due, an envelope at a time; yield whether it was taken."""
        while not self._stopped.is_set():
            try:
                found = self._store.documents.get(KIND, delivery_id)
            except NotFoundError:
                return
            push = Push.from_body(found.body)
            if push.next_us > self._store.clock.now_us():
                return
            yield Pushing(self._store).push(push, found.revision, self._send)

    def _tell_damaged(self, delivery_id: str, what: str) -> None:
        """Tell once that a delivery cannot be pushed, because what is on file of it cannot be read."""
        self._passed.add(delivery_id)
        if delivery_id in self._told:
            return
        logger.error("a delivery is not pushed: its %s cannot be read", what)
        self._store.log(AuditEntry("disclosure.push-damaged", {"delivery": delivery_id, "what": what}))
        self._told.add(delivery_id)

    def _send(self, authority: Authority, message: Callable[[], bytes]) -> bytes:
        terms = authority.terms
        issued = None if terms.endpoint_client is None else b64decode(terms.endpoint_client)

        def present(context: ssl.SSLContext) -> None:
            self._key.load_into(context, issued)

        try:
            with Line(terms.endpoint or "", terms.endpoint_ca or "", present, self._limits) as line:
                self._lines.add(line)
                try:
                    line.connect()
                    if self._stopped.is_set():
                        raise PushError("cut")
                    return line.send(message())
                finally:
                    self._lines.discard(line)
        except PushError as failure:
            logger.warning("a delivery is not pushed: %s", failure.word)
            raise

    def stop(self) -> None:
        """Cut what runs; nothing is begun any more."""
        self._stopped.set()
        for line in tuple(self._lines):
            line.abort()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Describe nothing before the first look."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges of the last look."""
        since_us = self._since_us
        oldest_us = max(0, self._store.clock.now_us() - min(since_us)) if since_us else 0
        yield GaugeMetricFamily(
            "lagrum_disclosure_pushes", "Released deliveries that wait for their push.", float(len(since_us))
        )
        yield GaugeMetricFamily(
            "lagrum_disclosure_push_oldest_seconds", "For how long the oldest of them waits.", oldest_us / 1e6
        )
        yield GaugeMetricFamily(
            "lagrum_disclosure_pushes_damaged",
            "Released deliveries that are not pushed because what is on file of them cannot be read.",
            float(len(self._passed)),
        )
