"""What listeners count: kept as a document, so that the service's metrics and `lagrum listen status` can tell it.

What should not happen (drops of the kernel, strangers, forgeries, gaps) is also an event of the audit log, at most
one of a kind in `EVENT_S`, with how many there were since.
"""

from __future__ import annotations

import logging
from collections import Counter
from time import monotonic
from typing import Final

from ingest.events import event
from ingest.listeners import groups
from store import Put, Store

KIND: Final = "listener"
TOLD: Final = "told_us"
"""When the counts were kept, in µs since 1970 UTC."""
EVENT_S: Final = 10.0
ALARMS: Final = {
    "kernel-dropped": "udp-dropped",
    "dropped-at-stop": "udp-dropped-at-stop",
    "stranger": "udp-stranger",
    "forged": "radius-forged",
    "malformed": "udp-malformed",
    "missing": "flow-gap",
    "lost": "flow-lost",
}
"""Counts that are events when they grow, and the word of each."""
_log = logging.getLogger("lagrum.intake")


class Tallies:
    """The counts of one listener since it started."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self.counts: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._next = 0.0

    def tell(self, *, at_once: bool = False) -> None:
        """Keep the counts and tell of alarms, when it is time; a failure is tried again the next time."""
        if not at_once and monotonic() < self._next:
            return
        if self.counts == self._kept:
            return
        self._next = monotonic() + EVENT_S
        grown = {name: self.counts[name] - self._told[name] for name in ALARMS if self.counts[name] > self._told[name]}
        entries = [event(ALARMS[name], self._name, count=count) for name, count in grown.items()]
        now_us = self._store.clock.now_us()
        try:
            self._store.documents.commit([Put(KIND, self._name, {**self.counts, TOLD: now_us})], entries)
        except groups.FAILURES as error:
            _log.error("the counts of listener %s cannot be kept: %s", self._name, type(error).__name__)
            return
        self._told, self._kept = self.counts.copy(), self.counts.copy()


def all_of(store: Store) -> dict[str, dict[str, int]]:
    """Return the last kept counts of every listener."""
    return {one.id: {name: int(count) for name, count in one.body.items()} for one in store.documents.list(KIND)}
