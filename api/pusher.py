"""What the service does for pushes every few seconds: every delivery that is due goes on, and the metrics tell.

An authority that does not answer keeps its own deliveries waiting and nobody else's: after a failure its others are not
tried in the same round. A round ends when the service stops: the connection at hand is cut, and tried again later.
"""

from __future__ import annotations

import logging
import ssl
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.disclosure.casebook import Casebook
from api.disclosure.outgoing import waiting
from api.disclosure.push_key import PushKey
from api.disclosure.pushes import Push
from api.disclosure.pushing import Pushing
from api.handover.push_line import Limits, Line, PushError
from api.people.authorities import Authority
from schemas.errors import ProcedureError

if TYPE_CHECKING:
    from store import Store

logger = logging.getLogger("lagrum.push")


class Pusher(Collector):
    """Pushes of one store."""

    def __init__(self, store: Store, limits: Limits | None = None) -> None:
        self._store, self._limits = store, limits or Limits()
        self._key = PushKey(store)
        self._stopped = threading.Event()
        self._line: Line | None = None
        self._since_us: list[int] = []

    def look(self) -> int:
        """Push what is due, oldest release first; return how many envelopes were taken.

        Raises:
            AuditError: the log cannot take an entry; nothing leaves without one.
        """
        taken = 0
        stuck: set[str] = set()
        while not self._stopped.is_set():
            due = self._due(stuck)
            if due is None:
                break
            push, revision, authority = due
            try:
                is_taken = Pushing(self._store).push(push, revision, self._send)
            except ProcedureError:
                is_taken = False  # somebody acts on the case just now; the next round finds it as it is then
            taken += is_taken
            if not is_taken:
                stuck.add(authority)
        return taken

    def _due(self, stuck: set[str]) -> tuple[Push, int, str] | None:
        """Return the oldest push that is due, of an authority that has not failed in this round."""
        now_us = self._store.clock.now_us()
        found = waiting(self._store)
        self._since_us = [push.since_us for push, _ in found]
        casebook = Casebook(self._store)
        for push, revision in found:
            if push.next_us <= now_us:
                authority = casebook.delivery(push.delivery_id)[0].authority
                if authority not in stuck:
                    return push, revision, authority
        return None

    def _send(self, authority: Authority, message: Callable[[], bytes]) -> bytes:
        terms = authority.terms
        issued = None if terms.endpoint_client is None else b64decode(terms.endpoint_client)

        def present(context: ssl.SSLContext) -> None:
            self._key.load_into(context, issued)

        try:
            with Line(terms.endpoint or "", terms.endpoint_ca or "", present, self._limits) as line:
                self._line = line
                line.connect()
                if self._stopped.is_set():
                    raise PushError("cut")
                return line.send(message())
        except PushError as failure:
            logger.warning("a delivery is not pushed: %s", failure.word)
            raise
        finally:
            self._line = None

    def stop(self) -> None:
        """Cut what runs; nothing is begun any more."""
        self._stopped.set()
        line = self._line
        if line is not None:
            line.abort()

    def describe(self) -> list[GaugeMetricFamily]:
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
