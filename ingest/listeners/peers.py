"""Who may send: clients of RADIUS with their secrets, exporters of flows, each bound to a source.

They are documents of the store, so a secret is sealed as everything else is. It must be kept as it is, not as a hash:
both sides compute digests over it (RFC 2866 §3).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from schemas.errors import ConfigurationError
from store import AuditEntry, Put, Store

KIND: Final = "udp-peer"
SECRET_OCTETS_MIN: Final = 8
SECRET_OCTETS_MAX: Final = 253
RADIUS, FLOW = "radius", "flow"
KNOWN_S: Final = 30.0
"""After so long a listener looks again who may send."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Peer:
    """One device, or a network of them."""

    name: str
    role: str
    network: Network
    source: str
    secret: bytes = field(default=b"", repr=False)


def register(store: Store, name: str, role: str, address: str, source: str, secret: bytes, *, actor: str) -> None:
    """Store a new or changed peer; it is an entry of the audit log, without its secret.

    Raises:
        ConfigurationError: name, address or secret cannot work.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError("a name has up to 63 small letters, digits, dots, hyphens and underscores")
    try:
        network = ipaddress.ip_network(address)
    except ValueError:
        raise ConfigurationError("the address is neither one nor a network, such as 192.0.2.0/28") from None
    if role == RADIUS and not SECRET_OCTETS_MIN <= len(secret) <= SECRET_OCTETS_MAX:
        raise ConfigurationError(
            f"a shared secret has {SECRET_OCTETS_MIN} to {SECRET_OCTETS_MAX} octets",
            hint="make a random one: openssl rand -hex 24",
        )
    body = {"role": role, "network": str(network), "source": source, "secret": secret.hex()}
    public = {"peer": name, "role": role, "source": source, "actor": actor}
    store.documents.commit([Put(KIND, name, body)], [AuditEntry("intake.peer-registered", public, None)])


def registered(store: Store, role: str | None = None) -> list[Peer]:
    """Return the peers of a role, or all."""
    found = [
        Peer(one.id, one.body["role"], ipaddress.ip_network(one.body["network"]), one.body["source"],
             bytes.fromhex(one.body["secret"]))
        for one in store.documents.list(KIND)
    ]  # fmt: skip
    return [peer for peer in found if role in (None, peer.role)]


class Peers:
    """Finds the peer of an address: of several, the one with the smallest network."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        self._peers = sorted(peers, key=lambda peer: peer.network.prefixlen, reverse=True)
        self._known: dict[str, Peer] = {}
        self._until = monotonic() + KNOWN_S

    def renewed(self, store: Store, role: str) -> Peers:
        """Return these, or, once they are known for `KNOWN_S`, those that are registered now."""
        return self if monotonic() < self._until else Peers(registered(store, role))

    def of(self, address: str) -> Peer | None:
        """Return the peer, or None for a stranger."""
        peer = self._known.get(address)
        if peer is None:
            place = ipaddress.ip_address(address)
            peer = next((one for one in self._peers if place in one.network), None)
            if peer is not None:
                if len(self._known) >= 10_000:
                    self._known.clear()
                self._known[address] = peer
        return peer
