"""Flows by UDP: nothing that was received is lost but by a count, and what the kernel drops is counted."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.telemetry.source_metrics import SourceMetrics
from ingest.listeners import groups, listener, peers, tallies, udp
from ingest.listeners.flow import FlowCollector
from ingest.listeners.udp import UdpPort
from schemas.errors import BusyError, ConfigurationError
from store import Store
from tests.conftest import FixedClock
from tests.ingest.ipfix_made import BLOCK, NAT44, block, ipfix, nat44, netflow, one_set, template
from tests.ingest.test_ipfix_lookup import HOUR_MS, NOON_MS, who
from tests.patience import PATIENCE_S

TEMPLATES = one_set(2, template(256, NAT44) + template(257, BLOCK))


class World:
    def __init__(self, store: Store) -> None:
        self.store = store
        peers.register(store, "cgn1", "flow", "127.0.0.1", "cgn", b"", actor="test")
        self.port = UdpPort("127.0.0.1", 0)
        self.collector = FlowCollector(store, self.port, gather_s=0.02)
        self.exporter = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port.number)

    def say(self, *datagrams: bytes) -> None:
        for one in datagrams:
            self.exporter.sendto(one, self.address)
        came = 0
        while came < len(datagrams):
            came += self.collector.step(wait_s=5.0)

    def events(self) -> list[str]:
        self.collector.tallies.tell(at_once=True)
        return [entry.kind for entry in self.store.audit.entries() if entry.kind.startswith("intake.")]


@pytest.fixture
def world(tmp_path: Path, clock: FixedClock) -> Iterator[World]:
    with Store.create(tmp_path / "root", clock=clock) as store:
        made = World(store)
        yield made
        made.exporter.close()
        made.port.close()


def test_a_block_is_found_while_it_is_held_and_when_it_was_given_back(world: World) -> None:
    world.say(ipfix(TEMPLATES, one_set(257, block(16, NOON_MS))))
    assert who(world.store, "203.0.113.7", 1500, NOON_MS + 1000) == {"100.64.0.3"}
    world.say(ipfix(one_set(257, block(17, NOON_MS + HOUR_MS)), sequence=1))
    assert who(world.store, "203.0.113.7", 1500, NOON_MS + 1000) == {"100.64.0.3"}
    assert who(world.store, "203.0.113.7", 1500, NOON_MS + 2 * HOUR_MS) == set()
    assert world.collector.counts["accepted"] == 2 and world.collector.counts["gaps"] == 0


def test_templates_come_late_and_in_another_datagram(world: World) -> None:
    world.say(netflow(one_set(256, nat44(4, NOON_MS)), sequence=1))
    assert world.collector.counts["accepted"] == 0 and world.collector.counts["waiting-octets"] > 0
    world.say(netflow(one_set(0, template(256, NAT44)), sequence=2))
    assert world.collector.counts["accepted"] == 1 and world.collector.counts["waiting-octets"] == 0


def test_gaps_and_strangers_are_counted_events_and_metrics(world: World) -> None:
    data = one_set(257, block(16, NOON_MS))
    world.say(ipfix(TEMPLATES, sequence=5), ipfix(data, sequence=5), ipfix(data, sequence=16), b"noise")
    world.collector.step(wait_s=0)
    assert (world.collector.counts["gaps"], world.collector.counts["missing"]) == (1, 10)
    world.collector._peers = peers.Peers([])
    world.say(ipfix(data, sequence=17))
    events = world.events()
    assert {"intake.flow-gap", "intake.udp-stranger"} <= set(events)
    name = f"flow-{world.port.number}"
    assert tallies.all_of(world.store)[name]["missing"] == 10
    metrics = SourceMetrics(world.store)
    metrics.refresh()
    family = next(one for one in metrics.collect() if one.name == "lagrum_listener_events")
    told = {(one.labels["listener"], one.labels["kind"]): one.value for one in family.samples}
    assert told[name, "missing"] == 10 and told[name, "stranger"] == 1
    assert world.events() == events, "told once"


def test_a_peer_that_is_registered_later_is_heard_without_a_new_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.collector._peers = peers.Peers([])
    data = (ipfix(TEMPLATES, sequence=0), ipfix(one_set(257, block(16, NOON_MS)), sequence=0))
    world.say(*data)
    assert world.collector.counts["stranger"] == 2
    monkeypatch.setattr(world.collector._peers, "_until", 0.0)
    world.say(*data)
    assert (world.collector.counts["stranger"], world.collector.counts["accepted"]) == (2, 1)


def test_a_store_that_does_not_take_them_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []
    real = groups.commit

    def slow(*given: Any) -> Any:
        tries.append(1)
        if len(tries) < 4:
            raise BusyError("the disk is full")
        return real(*given)

    monkeypatch.setattr("ingest.listeners.flow.RETRY_S", 0)
    monkeypatch.setattr(groups, "commit", slow)
    world.say(ipfix(TEMPLATES, one_set(257, block(16, NOON_MS))))
    assert (len(tries), world.collector.counts["accepted"], world.collector.counts["lost"]) == (4, 1, 0)


def test_what_no_store_takes_before_the_end_is_counted_as_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise BusyError("the disk is full")

    monkeypatch.setattr("ingest.listeners.flow.RETRY_S", 0)
    with monkeypatch.context() as patch:
        patch.setattr(groups, "commit", full)
        world.collector.stop.set()
        world.say(ipfix(TEMPLATES, one_set(257, block(16, NOON_MS) + block(17, NOON_MS + 1))))
    assert world.collector.counts["lost"] == 2
    assert "intake.flow-lost" in world.events()


def test_at_the_end_a_set_without_its_template_is_kept_in_the_quarantine(world: World) -> None:
    world.say(ipfix(one_set(259, b"x" * 40)))
    world.collector.stop.set()
    world.collector.run()
    assert world.collector.counts["rejected"] == 1
    assert sum(entry.rejects for entry in world.store.quarantine_entries()) == 1


def test_what_there_is_no_time_for_at_the_end_is_counted_and_an_event(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.say(ipfix(TEMPLATES, one_set(257, block(16, NOON_MS))))
    for number in range(7):
        world.exporter.sendto(ipfix(one_set(257, block(16, NOON_MS + 1 + number)), sequence=1 + number), world.address)
    monkeypatch.setattr(listener, "STOP_S", 0.0)
    world.collector.stop.set()
    world.collector.run()
    counts = world.collector.counts
    assert (counts["received"], counts["accepted"], counts["dropped-at-stop"]) == (8, 1, 7)
    assert "intake.udp-dropped-at-stop" in world.events() and world.port.waiting == 0


def test_with_time_enough_nothing_is_dropped_at_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "GROUP_OCTETS_MAX", 1)
    for number in range(7):
        world.exporter.sendto(
            ipfix(TEMPLATES, one_set(257, block(16, NOON_MS + number)), sequence=number), world.address
        )
    monkeypatch.setattr(listener, "STOP_S", 600.0)
    world.collector.stop.set()
    world.collector.run()
    assert (world.collector.counts["accepted"], world.collector.counts["dropped-at-stop"]) == (7, 0)


def test_a_group_is_bounded_by_its_octets() -> None:
    size = udp.GROUP_OCTETS_MAX // 20
    with (
        UdpPort("127.0.0.1", 0) as port,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter,
    ):
        for _ in range(30):
            exporter.sendto(b"x" * size, ("127.0.0.1", port.number))
        groups_of = [len(port.take(5000, wait_s=5.0, gather_s=5.0))]
        while found := port.take(5000, wait_s=0.5, gather_s=0.0):
            groups_of.append(len(found))
        assert max(groups_of) <= 20 and sum(groups_of) + port.kernel_drops() == 30


@pytest.mark.parametrize("size", [1, 1200])
def test_a_flood_is_received_or_counted_as_dropped_and_memory_is_bounded(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(udp, "RECEIVE_BUFFER_OCTETS", 8192)
    sent = 3000
    with (
        UdpPort("127.0.0.1", 0, queue_octets_max=100_000) as port,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter,
    ):
        for _ in range(sent):
            exporter.sendto(b"x" * size, ("127.0.0.1", port.number))
        assert port.waiting * (size + 256) <= 100_000 + size + 256
        if not any(table.exists() for table in udp._TABLES):
            pytest.skip("no /proc/net/udp here: what the kernel drops cannot be told")
        assert port.kernel_drops() > 0, "memory is full, and so is the kernel's buffer"
        received = 0
        while received < sent - port.kernel_drops():
            received += len(port.take(500, wait_s=PATIENCE_S, gather_s=0.0))
        assert received + port.kernel_drops() == sent
        assert port.take(1, wait_s=0.0, gather_s=0.0) == []


def test_what_the_kernel_holds_when_a_listener_stops_is_taken_in() -> None:
    """Nobody sends a flow again: what came before the stop is kept, or counted as dropped."""
    sent = 3000
    with (
        UdpPort("127.0.0.1", 0, queue_octets_max=10_000) as port,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as exporter,
    ):
        for _ in range(sent):
            exporter.sendto(b"x", ("127.0.0.1", port.number))
        port.stop_receiving()
        received = len(port.take(sent, wait_s=0.0, gather_s=0.0))
        if not any(table.exists() for table in udp._TABLES):
            pytest.skip("no /proc/net/udp here: what the kernel drops cannot be told")
        assert received + port.kernel_drops() == sent
        exporter.sendto(b"late", ("127.0.0.1", port.number))
        assert port.take(1, wait_s=0.0, gather_s=0.0) == []


def test_a_taken_port_and_a_foreign_address_are_refused() -> None:
    with UdpPort("127.0.0.1", 0) as port, pytest.raises(ConfigurationError):
        UdpPort("127.0.0.1", port.number)
    with pytest.raises(ConfigurationError):
        UdpPort("192.0.2.77", 0)


def test_a_peer_is_found_by_its_smallest_network(world: World) -> None:
    for name, network in (("wide", "10.0.0.0/8"), ("narrow", "10.1.0.0/16"), ("six", "2001:db8::/32")):
        peers.register(world.store, name, "flow", network, name, b"", actor="test")
    found = peers.Peers(peers.registered(world.store, "flow"))
    told = [one and one.name for one in map(found.of, ("10.1.2.3", "10.2.0.1", "2001:db8::1", "192.0.2.1"))]
    assert told == ["narrow", "wide", "six", None]
