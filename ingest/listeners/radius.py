"""RADIUS accounting over UDP: an answer is sent only when what it answers is durable.

Packets that come at the same time share one batch. A client that gets no answer sends its packet again, so whatever
goes wrong here (a full disk, a slow store, a crash between commit and answer) costs a repetition; the repetition is
recognised by its session, kind and time of the event, whatever its identifier and delay.

Source: RFC 2866, RFC 2869, RFC 5080 §2.2.
"""

from __future__ import annotations

import hashlib
import io
import logging
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from ingest import sources
from ingest.decoders.radius.detail import RadiusDetail
from ingest.events import event
from ingest.listeners import groups, peers
from ingest.listeners import radius_packets as packets
from ingest.listeners.listener import Listener
from ingest.listeners.peers import Peer
from ingest.listeners.radius_packets import OFF, ON, Packet
from ingest.listeners.udp import Datagram, UdpPort
from ingest.normalise import Normalised, normalise
from ingest.source_config import SourceConfig
from schemas.packing import unpack_table
from store import Store

RETRY_S: Final = 0.5
"""After a group that could not be made durable, the next one waits so long."""
REMEMBERED_MAX: Final = 100_000
"""Packets without a time of their own whose first receipt is remembered."""
FORMAT: Final = RadiusDetail.name
RESTART_FORMAT: Final = "nas-restart"
_SECOND_US: Final = 1_000_000
_TIMED: Final = re.compile(r"(.+) [0-9]{1,11}", re.DOTALL)
_log = logging.getLogger("lagrum.intake")


@dataclass(frozen=True, slots=True)
class Request:
    """An authenticated packet, and whom to answer."""

    packet: Packet
    datagram: Datagram
    peer: Peer
    event_s: int


class RadiusListener(Listener[Request]):
    """Takes accounting packets from a port, and answers those that are durable, until it is stopped."""

    role = peers.RADIUS
    group_max = 2000

    def __init__(self, store: Store, port: UdpPort, *, gather_s: float = groups.GATHER_S) -> None:
        super().__init__(store, port, gather_s=gather_s)
        self._sources: dict[str, SourceConfig] = {}
        self._first: OrderedDict[bytes, int] = OrderedDict()

    def _renew(self) -> None:
        known = self._peers
        super()._renew()
        if self._peers is not known:
            self._sources = {}

    def _accepted(self, datagrams: Sequence[Datagram]) -> Iterator[tuple[str, Request]]:
        """Yield what clients sent; strangers and forgeries get no answer (RFC 2865 §3), and are counted."""
        received_s = self._store.clock.now_us() // _SECOND_US
        for datagram in datagrams:
            peer = self._peers.of(datagram.address)
            if peer is None:
                self.counts["stranger"] += 1
                continue
            packet = packets.read(datagram.data)
            if packet is None:
                self.counts["malformed"] += 1
            elif not packets.is_authentic(packet, peer.secret):
                self.counts["forged"] += 1
            else:
                yield peer.source, Request(packet, datagram, peer, self._event_s(packet, peer, received_s))

    def _event_s(self, packet: Packet, peer: Peer, received_s: int) -> int:
        """Return a packet's time; a repetition of one that tells none gets that of its first receipt."""
        told = packet.event_s(received_s)
        if packet.has_time:
            return told
        content = hashlib.blake2b(packet.content(), digest_size=16, person=peer.name.encode()[:16]).digest()
        first = self._first.setdefault(content, told)
        self._first.move_to_end(content)
        if len(self._first) > REMEMBERED_MAX:
            self._first.popitem(last=False)
        return first

    def _take(self, name: str, requests: Sequence[Request]) -> None:
        restarts = [one for one in requests if one.packet.status in (ON, OFF)]
        events = [one for one in requests if one.packet.status not in (ON, OFF)]
        try:
            source = self._source(name)
            done = self._events(source, events) if events else []
            for request in restarts:
                self._restart(source, request)
                done.append(request)
        except groups.FAILURES as error:
            self._failed(error, len(requests))
            return
        for request in done:
            if self._port.send(request.datagram.peer, packets.answer(request.packet, request.peer.secret)):
                self.counts["answered"] += 1
            else:
                self.counts["unsent"] += 1

    def _leave(self, number: int) -> None:
        self.counts["unanswered"] += number  # they are sent again

    def _failed(self, error: Exception, number: int) -> None:
        """Leave packets unanswered: their clients send them again."""
        _log.error("%d packets were not made durable: %s", number, type(error).__name__)
        self.counts["unanswered"] += number
        self.stop.wait(RETRY_S)

    def _events(self, source: SourceConfig, requests: Sequence[Request]) -> list[Request]:
        """Make packets durable; return those that are."""
        blocks = [packets.detail(one.packet, one.datagram.address, one.event_s) for one in requests]
        try:
            parts = self._decoded(source, b"".join(blocks))
            receipt = groups.commit(self._store, source, FORMAT, parts, [one.packet.octets for one in requests])
        except groups.FAILURES:
            raise
        except Exception as error:  # a bug that one packet meets: a sound one does not suffer for it
            if len(requests) == 1:
                self._failed(error, 1)
                return []
            half = len(requests) // 2
            return self._events(source, requests[:half]) + self._events(source, requests[half:])
        self._count(receipt)
        return list(requests)

    def _decoded(self, source: SourceConfig, blocks: bytes) -> list[Normalised]:
        now_us = self._store.clock.now_us()
        return [normalise(part, source, now_us) for part in RadiusDetail().decode(io.BytesIO(blocks), source)]

    def _restart(self, source: SourceConfig, request: Request) -> None:
        """End the sessions that a client forgot when it began anew, with that moment as their inferred end.

        Source: RFC 2866 §5.1 (Accounting-On, Accounting-Off).
        """
        nas = request.packet.nas or request.datagram.address
        sessions = list(self._running(source, nas, request.event_s))
        self.counts["restarts"] += 1
        if not sessions:
            return
        blocks = b"".join(packets.end_of(nas, session, request.event_s) for session in sessions)
        parts = [_inferred(part) for part in self._decoded(source, blocks)]
        groups.commit(self._store, source, RESTART_FORMAT, parts, [request.packet.octets])
        self.counts["ended-by-restart"] += len(sessions)
        self._store.log(event("nas-restarted", source.name, secret={"nas": nas}, sessions=len(sessions)))

    def _running(self, source: SourceConfig, nas: str, before_s: int) -> Iterator[str]:
        """Yield the ids of a client's sessions that began before a moment and have no end."""
        for batch in self._store.open_sessions(of=(source.name, nas)):
            table = unpack_table(pa.Table.from_batches([batch]))
            for row in table.select(["source", "switch", "record_key", "start_time", "end_time"]).to_pylist():
                if (row["source"], row["switch"]) != (source.name, nas) or row["end_time"] is not None:
                    continue
                begun = row["start_time"]
                if begun is None or begun.timestamp() < before_s:  # what begins in the same second is new
                    # Interim figures, and ids that a client uses again, carry their time in the key.
                    timed = _TIMED.fullmatch(row["record_key"])
                    yield timed[1] if timed is not None else row["record_key"]

    def _source(self, name: str) -> SourceConfig:
        if name not in self._sources:
            self._sources[name] = sources.get_or_create(self._store, name)
        return self._sources[name]


def _inferred(part: Normalised) -> Normalised:
    """Mark ends that no client told."""
    table = part.table
    flags = pa.array([True] * table.num_rows)
    return Normalised(table.set_column(table.column_names.index("end_inferred"), "end_inferred", flags), part.rejects)
