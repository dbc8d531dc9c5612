"""Callers who hold what others need: a connection that says nothing any more, a request whose body never comes."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from api.client import Client
from api.people.bootstrap import create_custodians
from api.people.signing import read_key_file
from api.settings import Settings
from store import Store
from tests.api.world import running
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S

HEALTH = b"GET /v1/health HTTP/1.1\r\nHost: a\r\n\r\n"
UNKNOWN = b"POST /v1/holds HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        create_custodians(made, tmp_path / "keys")
        yield made


def answered(address: tuple[str, int], said: bytes) -> socket.socket:
    """Ask, and return the connection with the answer read; who was closed before he came to ask does it again."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        one = socket.create_connection(address, timeout=PATIENCE_S)
        with contextlib.suppress(ConnectionError):
            one.sendall(said)
            if answer := one.recv(1 << 16):
                assert answer.startswith(b"HTTP/1.1 ")
                return one
        one.close()
    raise AssertionError("nobody is answered")


@pytest.mark.parametrize(
    ("said", "more"),
    [
        (HEALTH, b"\r\n"),
        (UNKNOWN, b"x"),
        (HEALTH.replace(b"\r\n\r\n", b"\r\nContent-Length: 9\r\n\r\n"), b"x"),
    ],
    ids=["an empty line", "a body that nobody reads", "a body of what has none"],
)
def test_who_was_answered_and_asks_for_nothing_more_keeps_nobody_out(store: Store, said: bytes, more: bytes) -> None:
    settings = Settings(port=0, keep_alive_seconds=1, connections_max=8)
    with running(store, settings) as listening, contextlib.ExitStack() as stack:
        address = (listening.host, listening.port)
        silent = [stack.enter_context(answered(address, said)) for _ in range(7)]
        for one in silent:
            with contextlib.suppress(ConnectionError):
                one.sendall(more)
                assert b"HTTP/1.1" not in b"".join(iter(partial(one.recv, 1 << 16), b""))  # the answer may come in two
        assert httpx.get(f"http://{listening.host}:{listening.port}/v1/health", timeout=PATIENCE_S).status_code == 200


def test_a_request_whose_body_never_comes_gives_its_place_back(store: Store, tmp_path: Path) -> None:
    settings = Settings(port=0, body_idle_seconds=2, search_workers=1, search_queue_max=1)
    with running(store, settings) as listening, contextlib.ExitStack() as stack:
        client = stack.enter_context(Client.local(store.root, store.clock))
        token = client.log_in(read_key_file(tmp_path / "keys" / "custodian-1.key.json"))["token"]
        head = UNKNOWN.replace(b"/holds", b"/credentials").replace(
            b"\r\n\r\n", f"\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        address = (listening.host, listening.port)
        waiting = [stack.enter_context(socket.create_connection(address, timeout=PATIENCE_S)) for _ in range(2)]
        for one in waiting:
            one.sendall(head)
        for one in waiting:
            assert one.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
        assert client.get("/v1/persons")["persons"]


def test_garbage_behind_a_delivery_is_no_answer_to_it(store: Store) -> None:
    """4xx says that nothing was kept: what follows a request must not answer it."""
    with running(store, Settings(port=0)) as listening:
        with socket.create_connection((listening.host, listening.port), timeout=PATIENCE_S) as one:
            one.sendall(UNKNOWN + b"x" * 100 + b"GARBAGE\r\n\r\n")
            assert b"HTTP/1.1 400" not in b"".join(iter(lambda: one.recv(1 << 16), b""))
        with socket.create_connection((listening.host, listening.port), timeout=PATIENCE_S) as one:
            one.sendall(b"GARBAGE\r\n\r\n")
            assert one.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
