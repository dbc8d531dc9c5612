"""A real NATS server of the tests' own, on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nats
from nats.aio.client import Client
from nats.js.api import StorageType, StreamConfig

from tests.patience import PATIENCE_S, until
from tests.ports import free_port

STREAM = "CDR"
CONNECT_S = int(PATIENCE_S)


class Broker:
    """One broker, which can be killed and comes back with its files."""

    def __init__(self, directory: Path, more: str = "") -> None:
        self.port = free_port()
        directory.mkdir(mode=0o700)
        self._config = directory / "nats.conf"
        self._config.write_text(
            f'host: "127.0.0.1"\nport: {self.port}\n'
            f'jetstream {{ store_dir: "{directory / "data"}", sync_interval: always }}\n{more}\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = Path(sys.executable).with_name("nats-server")
        self._process = subprocess.Popen(
            [program, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(self._answers, "the broker does not start")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), PATIENCE_S) as made:
            return made.recv(4) == b"INFO"
        return False

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
            self._process.wait(PATIENCE_S)
            self._process = None

    def publish(
        self,
        bodies: Sequence[bytes],
        subject: str = "cdr.a",
        client: Client | None = None,
        wait_s: float = PATIENCE_S,
        **login: Any,
    ) -> None:
        """Publish messages, each acknowledged by the broker; by a client that is not connected yet, or a plain one."""

        async def work() -> None:
            publisher = client or Client()
            await publisher.connect(self.url, allow_reconnect=False, connect_timeout=CONNECT_S, **login)
            try:
                stream = publisher.jetstream(timeout=wait_s)
                await stream.add_stream(StreamConfig(name=STREAM, subjects=["cdr.>"], storage=StorageType.FILE))
                for start in range(0, len(bodies), 200):
                    step = bodies[start : start + 200]
                    done = await asyncio.gather(
                        *(stream.publish(subject, body) for body in step), return_exceptions=True
                    )
                    for failure in done:
                        if isinstance(failure, BaseException):
                            raise failure
            finally:
                await publisher.close()

        asyncio.run(work())

    def consumer(self, durable: str = "lagrum") -> Any:
        """Return what the broker says of a consumer."""

        async def work() -> Any:
            client = await nats.connect(self.url, connect_timeout=CONNECT_S)
            try:
                return await client.jetstream(timeout=PATIENCE_S).consumer_info(STREAM, durable)
            finally:
                await client.close()

        return asyncio.run(work())

    def manage(self, call: str, *given: Any, **named: Any) -> Any:
        """Call the broker's management."""

        async def work() -> Any:
            client = await nats.connect(self.url, connect_timeout=CONNECT_S)
            try:
                return await getattr(client.jetstream(timeout=PATIENCE_S), call)(*given, **named)
            finally:
                await client.close()

        return asyncio.run(work())


@contextlib.contextmanager
def running(directory: Path, more: str = "") -> Iterator[Broker]:
    broker = Broker(directory, more)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop(signal.SIGKILL)
