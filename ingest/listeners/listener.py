"""What listeners share: datagrams of a port, gathered into groups, and each group taken in for its source."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic
from typing import ClassVar, Final, Generic, TypeVar

from ingest.listeners import groups, peers
from ingest.listeners.peers import Peers
from ingest.listeners.tallies import Tallies
from ingest.listeners.udp import Datagram, UdpPort
from store import Receipt, Store

STOP_S: Final = 5.0
"""When a listener stops, what is in memory is taken in for so long; a service manager ends it by force later."""

Item = TypeVar("Item")


class Listener(ABC, Generic[Item]):
    """Takes datagrams from a port until it is stopped."""

    role: ClassVar[str]
    """The peers that may send (`peers.RADIUS`, `peers.FLOW`)."""
    group_max: ClassVar[int]
    """Datagrams of a group at most."""

    def __init__(self, store: Store, port: UdpPort, *, gather_s: float) -> None:
        self._store, self._port, self._gather_s = store, port, gather_s
        self._peers = Peers(peers.registered(store, self.role))
        self.stop = threading.Event()
        self.tallies = Tallies(store, f"{self.role}-{port.number}")
        self.counts = self.tallies.counts

    def run(self) -> None:
        """Listen until `stop` is set; then finish what came, and count what `STOP_S` is too short for."""
        while not self.stop.is_set():
            self.step()
        end = monotonic() + STOP_S
        self._port.stop_receiving()
        while monotonic() < end and self.step(wait_s=0.0):
            pass
        if left := self._port.drop():
            self.counts["received"] += left
            self._leave(left)
        self.counts["kernel-dropped"] = self._port.kernel_drops()
        self._finish()
        self.tallies.tell(at_once=True)

    def step(self, wait_s: float = 0.5) -> int:
        """Take one group in; return how many datagrams came."""
        datagrams = self._port.take(self.group_max, wait_s=wait_s, gather_s=self._gather_s)
        self.counts["kernel-dropped"] = self._port.kernel_drops()
        if datagrams:
            self._renew()
            self.counts["received"] += len(datagrams)
            by_source: dict[str, list[Item]] = {}
            for source, item in self._accepted(datagrams):
                by_source.setdefault(source, []).append(item)
            for source, items in by_source.items():
                self._take(source, items)
        self._refresh_counts()
        self.tallies.tell()
        self._store.renew_leases()
        return len(datagrams)

    def _renew(self) -> None:
        """Look from time to time who may send, and for which source; while the store cannot tell, those known may."""
        with suppress(*groups.FAILURES):
            self._peers = self._peers.renewed(self._store, self.role)

    def _count(self, receipt: Receipt) -> None:
        for outcome in ("accepted", "duplicates", "conflicts", "rejected"):
            self.counts[outcome] += getattr(receipt, outcome)

    @abstractmethod
    def _accepted(self, datagrams: Sequence[Datagram]) -> Iterator[tuple[str, Item]]:
        """Yield what registered peers sent, each behind the name of its source; count the rest."""

    @abstractmethod
    def _take(self, name: str, items: Sequence[Item]) -> None:
        """Take in the group of the source of this name."""

    @abstractmethod
    def _leave(self, number: int) -> None:
        """Count datagrams that were received and are not taken in: there was no time."""

    def _refresh_counts(self) -> None:
        """Bring the counts up to date that no group changes."""

    def _finish(self) -> None:
        """Take in, or give up, what was kept between groups."""
