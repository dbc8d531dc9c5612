"""A collector of IPFIX and NetFlow v9: NAT events by UDP.

Nobody answers an exporter, and it sends nothing twice. So what was received stays in memory until the store takes it,
while the port's memory and then the kernel's buffer fill; only what the kernel drops is lost, and it is counted. What
the network lost shows in the sequence numbers.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final

from ingest import sources
from ingest.decoders.base import Decoded
from ingest.decoders.cgnat.ipfix import Chunk, Ipfix
from ingest.decoders.cgnat.ipfix_messages import Exporters
from ingest.listeners import groups, peers
from ingest.listeners.peers import Peers
from ingest.listeners.tallies import Tallies
from ingest.listeners.udp import Datagram, UdpPort
from ingest.normalise import Normalised, normalise
from ingest.source import SourceConfig
from store import Store

GROUP_MAX: Final = 5000
GATHER_S: Final = 1.0
RETRY_S: Final = 1.0
STOP_TRIES: Final = 3
"""When the listener stops, a store that takes nothing is asked so often before what is in memory is counted as lost."""
_log = logging.getLogger("lagrum.intake")


class FlowCollector:
    """Takes flow messages from a port until it is stopped."""

    def __init__(self, store: Store, port: UdpPort, *, gather_s: float = GATHER_S) -> None:
        self._store, self._port, self._gather_s = store, port, gather_s
        self._peers = Peers(peers.registered(store, peers.FLOW))
        self._exporters: dict[str, Exporters] = {}
        self.stop = threading.Event()
        self.tallies = Tallies(store, f"flow-{port.number}")
        self.counts = self.tallies.counts

    def run(self) -> None:
        """Listen until `stop` is set; then finish what came, and give up what waits for a template."""
        while not self.stop.is_set():
            self.step()
        self._port.stop_receiving()
        while self.step(wait_s=0.0):
            pass
        for name, exporters in self._exporters.items():
            chunk = Chunk(name)
            chunk.take(exporters.give_up())
            self._commit(name, chunk, [])
        self._tell_gaps()
        self.tallies.tell(at_once=True)

    def step(self, wait_s: float = 0.5) -> int:
        """Take one group in; return how many datagrams came."""
        datagrams = self._port.take(GROUP_MAX, wait_s=wait_s, gather_s=self._gather_s)
        self.counts["kernel-dropped"] = self._port.kernel_drops()
        if datagrams:
            self._renew()
            self.counts["received"] += len(datagrams)
            by_source: dict[str, list[Datagram]] = {}
            for datagram in datagrams:
                peer = self._peers.of(datagram.address)
                if peer is None:
                    self.counts["stranger"] += 1
                else:
                    by_source.setdefault(peer.source, []).append(datagram)
            for name, own in by_source.items():
                self._take(name, own)
        self._tell_gaps()
        self.counts["waiting-octets"] = sum(one.waiting_octets for one in self._exporters.values())
        self.tallies.tell()
        self._store.renew_leases()
        return len(datagrams)

    def _renew(self) -> None:
        """Look who may send, from time to time; who cannot be asked for stays as known."""
        try:
            peers_now = self._peers.renewed(self._store, peers.FLOW)
        except groups.FAILURES:
            return
        self._peers = peers_now

    def _tell_gaps(self) -> None:
        """Count what did not come, once it had time to come late."""
        for exporters in self._exporters.values():
            for gap in exporters.sequences.take_gaps():
                self.counts["gaps"] += 1
                self.counts["missing"] += gap.missing
        self.counts["late"] = sum(one.sequences.late for one in self._exporters.values())

    def _take(self, name: str, datagrams: Sequence[Datagram]) -> None:
        exporters = self._exporters.setdefault(name, Exporters())
        chunk = Chunk(name)
        for datagram in datagrams:
            chunk.take(exporters.read(datagram.address, datagram.data))
        self._commit(name, chunk, [one.data for one in datagrams])

    def _commit(self, name: str, chunk: Chunk, datagrams: Sequence[bytes]) -> None:
        """Make a group durable, however long it takes; on the way out only a few times."""
        now_us = self._store.clock.now_us()
        decoded = list(chunk.flush())
        if not decoded:
            return
        tries = 0
        source: SourceConfig | None = None
        parts: list[Normalised] = []
        while True:
            try:
                self._store.renew_leases()
                if source is None:
                    source = sources.get_or_create(self._store, name)
                    parts = [normalise(part, source, now_us) for part in decoded]
                self._keep(source, parts, datagrams)
                return
            except groups.FAILURES as error:
                _log.error("a group of flows waits for the store: %s", type(error).__name__)
                self.counts["retries"] += 1
            except Exception as error:  # a bug that comes again with the same bytes: what comes next is worth more
                _log.error("a group of flows is lost: %s", type(error).__name__)
                self._lose(decoded)
                return
            tries += 1
            if self.stop.is_set() and tries >= STOP_TRIES:
                self._lose(decoded)
                return
            self.stop.wait(RETRY_S)

    def _lose(self, decoded: Sequence[Decoded]) -> None:
        self.counts["lost"] += sum(part.table.num_rows + len(part.rejects) for part in decoded)

    def _keep(self, source: SourceConfig, parts: Sequence[Normalised], datagrams: Sequence[bytes]) -> None:
        receipt = groups.commit(self._store, source, Ipfix.name, parts, datagrams)
        for outcome in ("accepted", "duplicates", "conflicts", "rejected"):
            self.counts[outcome] += getattr(receipt, outcome)
