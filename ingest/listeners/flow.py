"""A collector of IPFIX and NetFlow v9: NAT events by UDP.

Nobody answers an exporter, and it sends nothing twice. So what was received stays in memory until the store takes it,
while the port's memory and then the kernel's buffer fill; only what the kernel drops is lost, and it is counted. So is
what an overloaded collector still holds when it has to end. What the network lost shows in the sequence numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Final

from ingest import sources
from ingest.decoders.base import Decoded
from ingest.decoders.cgnat.ipfix import Chunk, Ipfix
from ingest.decoders.cgnat.ipfix_messages import Exporters
from ingest.listeners import groups, peers
from ingest.listeners.listener import Listener
from ingest.listeners.udp import Datagram, UdpPort
from ingest.normalise import Normalised, normalise
from ingest.source_config import SourceConfig
from store import Store

GATHER_S: Final = 1.0
RETRY_S: Final = 1.0
STOP_TRIES: Final = 3
"""When the listener stops, a store that takes nothing is asked so often before what is in memory is counted as lost."""
_log = logging.getLogger("lagrum.intake")


class FlowCollector(Listener[Datagram]):
    """Takes flow messages from a port until it is stopped; then it gives up what waits for a template."""

    role = peers.FLOW
    group_max = 5000

    def __init__(self, store: Store, port: UdpPort, *, gather_s: float = GATHER_S) -> None:
        super().__init__(store, port, gather_s=gather_s)
        self._exporters: dict[str, Exporters] = {}

    def _accepted(self, datagrams: Sequence[Datagram]) -> Iterator[tuple[str, Datagram]]:
        for datagram in datagrams:
            peer = self._peers.of(datagram.address)
            if peer is None:
                self.counts["stranger"] += 1
            else:
                yield peer.source, datagram

    def _refresh_counts(self) -> None:
        """Count what did not come, once it had time to come late, and what waits for a template."""
        for exporters in self._exporters.values():
            for gap in exporters.sequences.take_gaps():
                self.counts["gaps"] += 1
                self.counts["missing"] += gap.missing
        self.counts["late"] = sum(one.sequences.late for one in self._exporters.values())
        self.counts["waiting-octets"] = sum(one.waiting_octets for one in self._exporters.values())

    def _leave(self, number: int) -> None:
        self.counts["dropped-at-stop"] += number

    def _finish(self) -> None:
        for name, exporters in self._exporters.items():
            chunk = Chunk(name)
            chunk.take(exporters.give_up())
            self._commit(name, chunk, [])
        self._refresh_counts()

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
                self._count(groups.commit(self._store, source, Ipfix.name, parts, datagrams))
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
