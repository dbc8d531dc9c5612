"""The straight way of a push: the same answers as by the door, over real connections."""

from __future__ import annotations

import base64
import json
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from api.intake.push_protocol import PushLine
from api.people import credentials
from api.people.credentials import Scope
from api.settings import Settings
from ingest import sources
from ingest.source_config import SourceConfig
from store import ScanQuery, Store
from tests.api.world import CSV, running
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S, until

FREE = Settings(port=0, shutdown_seconds=5, spool_drain_seconds=3600)
PATH = "/v1/cdrs?source=pbx-east&format=csv"
Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Line:
    """A running service, a switch's credential, and how many pushes came straight."""

    store: Store
    address: tuple[str, int]
    credential: str
    secret: str
    straight: list[float] = field(default_factory=list)

    @property
    def bearer(self) -> str:
        return f"Bearer {self.credential}.{self.secret}"

    @contextmanager
    def connection(self) -> Iterator[socket.socket]:
        with socket.create_connection(self.address, timeout=PATIENCE_S) as made:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield made

    def request(self, body: bytes = CSV, *, path: str = PATH, says: str | None = None, **headers: str) -> bytes:
        lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}"]
        lines += [f"Authorization: {self.bearer if says is None else says}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def both(self, request: bytes) -> tuple[Answer, Answer]:
        """Send a request by the door, its body behind its headers, and then whole."""
        head, gap, body = request.partition(b"\r\n\r\n")
        answers = []
        for pieces in ((head + gap, body), (request,)):
            with self.connection() as made:
                for piece in pieces:
                    made.sendall(piece)
                    until(lambda made=made: is_read(made, self.address), "the service does not read")  # type: ignore[misc]
                answers.append(read(made))
        return answers[0], answers[1]


def is_read(connection: socket.socket, service: tuple[str, int]) -> bool:
    """Tell whether the service has read what was sent: the kernel holds nothing for its end of the connection."""
    ends = [_as_listed(*service), _as_listed(*connection.getsockname())]
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return all(line[4].endswith(":00000000") for line in lines if line[1:3] == ends)


def _as_listed(host: str, port: int) -> str:
    return f"{int.from_bytes(socket.inet_aton(host), sys.byteorder):08X}:{port:04X}"


def read(connection: socket.socket, buffer: bytes = b"") -> Answer:
    """Return status, headers and body of one answer."""
    file = connection.makefile("rb", buffering=0)
    status = int(file.readline().split()[1])
    headers: dict[str, str] = {}
    for line in iter(file.readline, b"\r\n"):
        name, _, value = line.decode().strip().partition(": ")
        headers[name] = value
    body = b""
    while len(body) < int(headers["content-length"]):
        body += file.read(int(headers["content-length"]) - len(body))
    return status, headers, body


@pytest.fixture
def line(tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    with Store.create(tmp_path / "root", clock=clock) as store, serving(store, FREE, monkeypatch) as made:
        yield made


@contextmanager
def serving(store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    sources.register(store, SourceConfig("pbx-east", country="SE"), actor="test")
    made, secret = credentials.create(store, "test", scope=Scope.INGEST, sources=["pbx-east"])
    with running(store, settings) as listening:
        line = Line(store, (listening.host, listening.port), made.credential_id, str(secret))
        counted: Callable[[PushLine, float], None] = PushLine.answered

        def answered(self: PushLine, seconds: float) -> None:
            line.straight.append(seconds)
            counted(self, seconds)

        monkeypatch.setattr(PushLine, "answered", answered)
        with line.connection() as first:  # a secret is checked once by the door
            first.sendall(line.request())
            assert read(first)[0] == 202
        assert not line.straight
        yield line


def stored(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60)))


@pytest.mark.parametrize("scheme", ["bearer", "basic"])
def test_a_receipt_is_the_doors(line: Line, scheme: str) -> None:
    basic = "Basic " + base64.b64encode(f"{line.credential}:{line.secret}".encode()).decode()
    door, straight = line.both(line.request(says=line.bearer if scheme == "bearer" else basic))
    assert len(line.straight) == 1
    answers: list[Any] = []
    for status, headers, body in (door, straight):
        told = json.loads(body)
        assert told.pop("id")
        assert headers.pop("date")
        answers.append((status, headers, told))
    assert answers[0] == answers[1]
    assert answers[0][0] == 202
    assert line.store.verify() == []


@pytest.mark.parametrize(
    ("status", "body", "asked"),
    [
        (400, b"unknown,columns\n1,2\n", {}),
        (400, b"x", {"Upgrade": "h2c"}),
        (400, b"\x1f\x8b damaged", {"Content_Encoding": "gzip"}),
        (401, CSV, {"says": "Bearer c-nobody.nothing"}),
        (401, CSV, {"says": "Basic =="}),
        (401, CSV, {"Authorization": "Bearer a.b"}),
        (403, CSV, {"path": PATH.replace("east", "west")}),
        (415, CSV, {"Content_Type": "application/zip"}),
        (422, CSV, {"path": PATH.replace("csv", "nonsense")}),
    ],
)
def test_a_refusal_is_the_doors(line: Line, status: int, body: bytes, asked: dict[str, str]) -> None:
    door, straight = line.both(line.request(body, **asked))
    assert (door[0], door[2]) == (straight[0], straight[2])
    assert straight[0] == status
    assert not line.straight
    assert stored(line.store) == 2


def test_spaces_behind_a_length_are_none_of_it(line: Line) -> None:
    """RFC 9110 section 5.5: white space around a field's value is no part of it."""
    length = f"Content-Length: {len(CSV)}"
    request = line.request().replace(length.encode(), f"{length} \t ".encode())
    assert [answer[0] for answer in line.both(request)] == [202, 202]


def test_a_body_of_an_unfit_kind_is_not_decoded_twice(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    from api.intake import spooler

    decoded: list[int] = []
    decode = spooler.decode_pushes

    def counting(*args: Any) -> Any:
        decoded.append(1)
        return decode(*args)

    monkeypatch.setattr(spooler, "decode_pushes", counting)
    with line.connection() as made:
        made.sendall(line.request(b"unknown,columns\n1,2\n"))
        assert read(made)[0] == 400
        made.sendall(line.request())
        assert read(made)[0] == 202
    assert len(decoded) == 2


def test_pushes_behind_each_other_are_answered_in_their_order(line: Line) -> None:
    whole = line.request()
    with line.connection() as made:
        made.sendall(whole * 3 + whole[:40])
        made.sendall(whole[40:])
        assert [read(made)[0] for _ in range(4)] == [202] * 4
        made.sendall(line.request(Connection="close"))
        status, headers, _ = read(made)
        assert (status, headers["connection"]) == (202, "close")
        assert made.recv(1) == b""
    assert line.straight


def test_who_leaves_before_the_answer_left_his_push(line: Line) -> None:
    body = CSV.replace(b"0000000000", b"7770000000")
    with line.connection() as made:
        made.sendall(line.request(body))
    until(lambda: stored(line.store) > 2, "the push is not there")  # a reader drains the spool
    with line.connection() as made:
        made.sendall(line.request())
        assert read(made)[0] == 202


def test_a_revoked_secret_a_locked_one_and_a_full_spool_are_refused(line: Line) -> None:
    line.store.spool.bytes_max = 0
    (status, headers, _), straight = line.both(line.request())
    assert status == straight[0] == 503
    assert headers["retry-after"] == straight[1]["retry-after"]
    for _ in range(Settings().failures_max + 1):
        wrong = line.both(line.request(says=f"Bearer {line.credential}.wrong"))[1][0]
    assert wrong == 429
    assert line.both(line.request())[1][0] == 429
    assert not line.straight


def test_a_credential_ends_with_the_next_look(line: Line, clock: FixedClock) -> None:
    credentials.revoke(line.store, "test", line.credential)
    clock.advance(seconds=credentials.CACHE_SECONDS + 1)
    assert {answer[0] for answer in line.both(line.request())} == {401}


def test_what_counts_as_memory_goes_by_the_door(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(port=0, shutdown_seconds=5, small_body_bytes_max=10)
    with Store.create(tmp_path / "root", clock=clock) as store, serving(store, settings, monkeypatch) as line:
        assert {answer[0] for answer in line.both(line.request())} == {202}
        assert not line.straight
