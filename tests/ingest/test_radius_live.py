"""RADIUS accounting by UDP: who is heard, what an answer promises, and what radclient says."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders.radius.detail import RadiusDetail
from ingest.listeners import groups, peers
from ingest.listeners import radius_packets as packets
from ingest.listeners.radius import RadiusListener
from ingest.listeners.udp import UdpPort
from ingest.source_config import SourceConfig
from schemas.errors import BusyError, ConfigurationError
from schemas.packing import unpack_table
from store import ScanQuery, Store, SystemClock
from tests.conftest import FixedClock
from tests.examples import examples
from tests.patience import PATIENCE_S

SECRET = b"a secret of many octets"
NOW_S = 1_795_348_800
HERE = Path(__file__).parents[2]
START, STOP, INTERIM, ON = 1, 2, 3, 7


def attribute(kind: int, value: bytes | int | str) -> bytes:
    if isinstance(value, int):
        value = struct.pack(">I", value)
    data = value.encode() if isinstance(value, str) else value
    return bytes([kind, 2 + len(data)]) + data


def request(*attributes: bytes, identifier: int = 1, secret: bytes = SECRET, signed: bool = False) -> bytes:
    body = b"".join(attributes) + (attribute(80, bytes(16)) if signed else b"")
    head = struct.pack(">BBH", 4, identifier, 20 + len(body))
    if signed:
        body = body[:-16] + hmac.new(secret, head + bytes(16) + body, "md5").digest()
    return head + hashlib.md5(head + bytes(16) + body + secret).digest() + body


def session(
    status: int, at_s: int = NOW_S - 3600, *more: bytes, name: str = "s1", delay: int = 0, **other: Any
) -> bytes:
    common = (attribute(40, status), attribute(44, name), attribute(4, b"\x0a\x14\x1e\x28"), attribute(1, "anna@x.se"))
    return request(*common, attribute(31, "46701740605"), attribute(55, at_s), attribute(41, delay), *more, **other)


class World:
    """A store, a listener in the test's own thread, and a client's socket."""

    def __init__(self, store: Store) -> None:
        self.store = store
        peers.register(store, "bras1", "radius", "127.0.0.1", "bras", SECRET, actor="test")
        self.port = UdpPort("127.0.0.1", 0)
        self.listener = RadiusListener(store, self.port, gather_s=0.02)
        self.client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.client.settimeout(0.05)

    def say(self, *datagrams: bytes) -> list[bytes]:
        """Send, let the listener work, and return the answers."""
        for one in datagrams:
            self.client.sendto(one, ("127.0.0.1", self.port.number))
        came = 0
        while came < len(datagrams):
            came += self.listener.step(wait_s=5.0)
        answers = []
        while True:
            try:
                answers.append(self.client.recv(4096))
            except TimeoutError:
                return answers

    def rows(self) -> list[dict[str, Any]]:
        batches = list(self.store.scan(ScanQuery(0, 2**60)))
        return [row for batch in batches for row in unpack_table(pa.Table.from_batches([batch])).to_pylist()]

    def count(self, name: str) -> int:
        return self.listener.counts[name]


@pytest.fixture
def world(tmp_path: Path, clock: FixedClock) -> Iterator[World]:
    with Store.create(tmp_path / "root", clock=clock) as store:
        made = World(store)
        yield made
        made.client.close()
        made.port.close()


def test_start_interim_and_stop_become_one_session_with_gigawords(world: World) -> None:
    used = (attribute(42, 5), attribute(52, 2), attribute(43, 7), attribute(46, 600), attribute(49, 1))
    answers = world.say(session(START), session(INTERIM, NOW_S - 3300, attribute(46, 300), identifier=2))
    assert len(answers) == 2 and world.rows() == []
    answers = world.say(session(STOP, NOW_S - 3000, *used, identifier=3))
    (row,) = world.rows()
    assert [one[:2] for one in answers] == [bytes([5, 3])]
    assert (row["calling_number"], row["account"], row["cause"]) == ("46701740605", "anna@x.se", "User-Request")
    assert (row["volume_up_bytes"], row["volume_down_bytes"]) == (2 * 2**32 + 5, 7)
    assert (row["start_time"].timestamp(), row["end_time"].timestamp()) == (NOW_S - 3600, NOW_S - 3000)
    assert (row["switch"], row["end_inferred"]) == ("10.20.30.40", False)


def test_an_answer_is_made_with_the_secret_and_returns_proxy_state(world: World) -> None:
    sent = request(attribute(40, START), attribute(44, "s"), attribute(33, b"one"), attribute(33, b"two"))
    (answer,) = world.say(sent)
    expected = hashlib.md5(answer[:4] + sent[4:20] + answer[20:] + SECRET).digest()
    assert answer[4:20] == expected
    assert answer[20:] == attribute(33, b"one") + attribute(33, b"two")


def test_a_repetition_is_recognised_though_its_identifier_and_delay_differ(world: World) -> None:
    stop = (attribute(46, 600),)
    world.say(session(START), session(STOP, NOW_S - 3000, *stop))
    again = [session(STOP, NOW_S - 3000, *stop, identifier=9, delay=7), session(START, identifier=8, delay=3)]
    assert len(world.say(*again)) == 2
    assert (world.count("accepted"), world.count("duplicates"), len(world.rows())) == (2, 2, 1)


def test_a_repetition_without_a_time_of_its_own_keeps_the_first_ones(world: World, clock: FixedClock) -> None:
    def stop(identifier: int, delay: int) -> bytes:
        return request(
            attribute(40, STOP), attribute(44, "s9"), attribute(46, 60), attribute(41, delay), identifier=identifier
        )

    world.say(stop(1, 0))
    clock.advance(seconds=6)
    world.say(stop(2, 5))
    assert (world.count("accepted"), world.count("duplicates"), world.count("conflicts")) == (1, 1, 0)


@pytest.mark.parametrize(
    "datagram,counted",
    [
        (session(START, secret=b"another secret"), "forged"),
        (session(START)[:-1] + b"\x01", "forged"),
        (session(START, signed=True, secret=b"another secret"), "forged"),
        (session(START)[:30], "malformed"),
        (b"\x01" + session(START)[1:], "malformed"),
        (request(b"\x2c\x01"), "malformed"),
        (b"", "malformed"),
    ],
)
def test_what_no_client_made_gets_no_answer_and_is_counted(world: World, datagram: bytes, counted: str) -> None:
    assert world.say(datagram) == []
    assert world.count(counted) == 1 and world.rows() == [] and world.count("accepted") == 0
    assert len(world.say(session(START, signed=True))) == 1, "and the next one is heard"


def test_a_message_authenticator_must_agree_where_there_is_one() -> None:
    good = packets.read(session(START, signed=True))
    assert good is not None and packets.is_authentic(good, SECRET)
    body = session(START, signed=True)[20:-1] + b"\x00"
    head = struct.pack(">BBH", 4, 1, 20 + len(body))
    resealed = head + hashlib.md5(head + bytes(16) + body + SECRET).digest() + body
    bad = packets.read(resealed)
    assert bad is not None and not packets.is_authentic(bad, SECRET)


def test_strangers_are_not_heard_and_are_an_event(tmp_path: Path, clock: FixedClock) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        peers.register(store, "other", "radius", "192.0.2.0/24", "bras", SECRET, actor="test")
        with UdpPort("127.0.0.1", 0) as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(session(START), ("127.0.0.1", port.number))
            listener = RadiusListener(store, port, gather_s=0)
            assert listener.step(wait_s=5.0) == 1
            listener.tallies.tell(at_once=True)
        assert listener.counts["stranger"] == 1
        kinds = [entry.kind for entry in store.audit.entries()]
        assert kinds.count("intake.udp-stranger") == 1


def test_without_a_commit_there_is_no_answer_and_the_repetition_gets_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise BusyError("the disk is full")

    monkeypatch.setattr("ingest.listeners.radius.RETRY_S", 0)
    with monkeypatch.context() as patch:
        patch.setattr(groups, "commit", full)
        assert world.say(session(START)) == []
    assert world.count("unanswered") == 1
    assert len(world.say(session(START, delay=5))) == 1


def test_who_dies_between_commit_and_answer_knows_the_repetition(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(BaseException):
        pass

    def killed(*_: Any) -> bool:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(UdpPort, "send", killed)
        with pytest.raises(KilledError):
            world.say(session(STOP, NOW_S - 60, attribute(46, 600)))
    assert len(world.rows()) == 1
    world.listener = RadiusListener(world.store, world.port, gather_s=0.02)
    assert len(world.say(session(STOP, NOW_S - 60, attribute(46, 600), identifier=7, delay=4))) == 1
    assert (world.count("duplicates"), len(world.rows())) == (1, 1)


def test_a_packet_that_meets_a_bug_does_not_cost_its_neighbours(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned: list[bytes] = []

    def commit(store: Store, source: Any, format: str, parts: Any, datagrams: Any) -> Any:
        if any(b"poison" in one for one in datagrams):
            poisoned.append(b"")
            raise ValueError
        return groups_commit(store, source, format, parts, datagrams)

    groups_commit = groups.commit
    monkeypatch.setattr("ingest.listeners.radius.RETRY_S", 0)
    monkeypatch.setattr(groups, "commit", commit)
    sent = [session(START, name=name, identifier=number) for number, name in enumerate(["a", "poison", "c", "d"])]
    assert sorted(one[1] for one in world.say(*sent)) == [0, 2, 3]
    assert poisoned


def test_a_refused_packet_is_kept_and_answered(world: World) -> None:
    assert len(world.say(request(attribute(40, 14), attribute(44, "t")), request(attribute(40, START)))) == 2
    assert (world.count("rejected"), world.count("accepted")) == (2, 0)


def test_accounting_on_ends_what_its_client_forgot_and_marks_it(world: World) -> None:
    other = request(attribute(40, START), attribute(44, "far"), attribute(32, "bras2"), attribute(55, NOW_S - 3600))
    world.say(session(START), session(START, name="777"), session(INTERIM, NOW_S - 3000, attribute(46, 9)), other)
    on = request(attribute(40, ON), attribute(4, b"\x0a\x14\x1e\x28"), attribute(55, NOW_S - 100))
    assert len(world.say(on)) == 1
    rows = world.rows()
    assert {(row["record_key"], row["cause"], row["end_inferred"]) for row in rows} == {
        ("s1", "NAS-Reboot", True),
        ("777", "NAS-Reboot", True),
    }
    assert {row["end_time"].timestamp() for row in rows} == {NOW_S - 100}
    assert len(world.say(session(START, NOW_S - 100, name="new"))) == 1
    assert len(world.say(on)) == 1 and len(world.rows()) == 2, "what began in that second is new"
    assert sum(batch.num_rows for batch in world.store.open_sessions()) == 2


def test_a_lost_stop_is_closed_by_timeout_and_marked(world: World, clock: FixedClock) -> None:
    world.say(session(START), session(INTERIM, NOW_S - 3000, attribute(46, 600)))
    clock.advance(days=3)
    assert world.store.close_silent_sessions() == 1
    (row,) = world.rows()
    assert row["end_inferred"] and row["end_time"].timestamp() == NOW_S - 3000


def test_a_secret_is_nowhere_in_the_clear_and_a_short_one_is_refused(world: World) -> None:
    world.store.flush_outbox()
    for path in world.store.root.rglob("*"):
        if path.is_file():
            assert SECRET not in path.read_bytes() and SECRET.hex().encode() not in path.read_bytes()
    assert "secret of" not in repr(peers.registered(world.store))
    with pytest.raises(ConfigurationError):
        peers.register(world.store, "x", "radius", "127.0.0.1", "bras", b"short", actor="test")
    with pytest.raises(ConfigurationError):
        peers.register(world.store, "x", "radius", "no address", "bras", SECRET, actor="test")


def test_passwords_and_unknown_attributes_go_no_further() -> None:
    packet = packets.read(
        request(attribute(2, "hunter2"), attribute(44, "s"), attribute(26, b"\0\0\x37\x2a\x01\x09hunter"))
    )
    assert packet is not None
    assert b"hunter" not in packets.detail(packet, "127.0.0.1", 1)


def test_a_flood_of_forgeries_does_not_keep_a_client_out(world: World) -> None:
    for number in range(2000):
        forged = session(START, identifier=number % 256, secret=b"another secret")
        world.client.sendto(forged, ("127.0.0.1", world.port.number))
    answers: list[bytes] = []
    for _ in range(50):  # as a client does
        answers += world.say(session(START))
        if answers:
            break
    assert answers and world.count("answered") >= 1 and world.count("accepted") == 1
    drops = world.port.kernel_drops()
    assert world.count("forged") + drops >= 2000 and world.count("forged") <= 2000


@examples(50)
@given(
    attributes=st.lists(st.builds(attribute, st.integers(0, 255), st.binary(max_size=20)), max_size=8),
    cut=st.binary(max_size=9),
)
def test_any_packet_is_one_record_or_one_refusal(attributes: list[bytes], cut: bytes) -> None:
    packets.read(cut)
    packet = packets.read(request(*attributes))
    assert packet is not None
    assert packets.is_authentic(packet, SECRET) or packet.first(80) is not None
    block = packets.detail(packet, "192.0.2.1", NOW_S)
    parts = list(RadiusDetail().decode(io.BytesIO(block * 2), SourceConfig("bras")))
    assert sum(part.table.num_rows + len(part.rejects) for part in parts) == 2
    packet_or_none = packets.read(request(*attributes)[:-1] + cut)
    assert packet_or_none is None or packet_or_none.identifier == 1


@contextlib.contextmanager
def listening(root: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run a listener in a process of its own; yield it and its port."""
    command = [sys.executable, "-c", "from api.cli import main; main()", "--root", str(root), "listen", "radius"]
    with subprocess.Popen(
        [*command, "--port", "0"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd=HERE
    ) as process:
        try:
            assert process.stderr is not None
            line = next((line for line in process.stderr if "listening on UDP port" in line), "")
            yield process, int(line.rsplit(" ", 1)[1])
        finally:
            process.kill()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with Store.create(tmp_path / "root", clock=SystemClock()) as store:
        peers.register(store, "local", "radius", "127.0.0.0/8", "bras", SECRET, actor="test")
    return tmp_path / "root"


def test_radclients_packets_are_answered_and_a_kill_loses_nothing_that_was(root: Path) -> None:
    if shutil.which("radclient") is None:
        pytest.skip("radclient is not installed (Debian: freeradius-utils)")
    now_s = int(time.time()) - 5000
    lines = []
    for number in range(30):
        for status, at_s, seconds in (("Start", now_s, 0), ("Stop", now_s + 60 + number, 60 + number)):
            lines.append(
                f'User-Name = "u{number}"\nNAS-IP-Address = 10.20.30.40\nCalling-Station-Id = "4670174{number:04d}"\n'
                f'Acct-Session-Id = "id{number}"\nAcct-Status-Type = {status}\nEvent-Timestamp = {at_s}\n'
                f"Acct-Session-Time = {seconds}\nAcct-Delay-Time = 0\n"
            )
    secret = root.parent / "secret"
    secret.write_bytes(SECRET + b"\n")

    def send(port: int, some: list[str]) -> None:
        client = ["radclient", "-q", "-S", str(secret), "-p", "20", "-r", "100", "-t", "3", f"127.0.0.1:{port}", "acct"]
        done = subprocess.run(
            client, check=False, input="\n".join(some), text=True, capture_output=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr + done.stdout

    with listening(root) as (process, port):
        send(port, lines[: len(lines) // 2])
        process.send_signal(signal.SIGKILL)
    with listening(root) as (process, port):
        send(port, lines)  # what was answered before the kill comes again, and the rest
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=PATIENCE_S) == 0
    with Store.open(root, clock=SystemClock()) as store:
        rows = [row for batch in store.scan(ScanQuery(0, 2**60)) for row in batch.to_pylist()]
        assert len(rows) == 30 and not any(row["conflict"] for row in rows)
        assert sum(batch.num_rows for batch in store.open_sessions()) == 0
