"""The sending side of `bench.pushes`: FreeSWITCH documents over keep-alive connections, one call outstanding on each.

Run as a process of its own: a task as one JSON object on stdin (the token is in it, so it is in no argument), the
outcome as one JSON object on stdout.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from dataclasses import dataclass
from typing import Any, Final, cast

import uvloop

KEY: Final = "0f6a1b2c-0001-4d00-9c00-46aa00000001"
"""The `uuid` of the template, replaced in every document."""


@dataclass(slots=True)
class Task:
    """What to send, where to, for how long."""

    host: str
    port: int
    path: str
    token: str
    connections: int
    seconds: float
    first: int
    template: str


class Load:
    """Documents in order of their number, and what came of them."""

    def __init__(self, task: Task) -> None:
        pieces = task.template.encode().split(KEY.encode())
        size = len(task.template)
        self._head = (
            f"POST {task.path} HTTP/1.1\r\nHost: {task.host}\r\nAuthorization: Bearer {task.token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        ).encode()
        self._pieces = pieces
        self._next = task.first
        self.ends = 0.0
        self.acknowledged: list[int] = []
        self.latencies: list[float] = []
        self.refused: dict[int, int] = {}

    def document(self) -> tuple[int, bytes]:
        """Return the next request."""
        number, self._next = self._next, self._next + 1
        key = b"%08x-0001-4d00-9c00-%012x" % (number & 0xFFFFFFFF, number)
        return number, self._head + key.join(self._pieces)


class Connection(asyncio.Protocol):
    """One caller."""

    def __init__(self, load: Load, done: asyncio.Future[None]) -> None:
        self._load, self._done = load, done
        self._buffer = b""
        self._number, self._sent = 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take an answer; when it is whole, send the next document."""
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.lower().find(b"content-length:", 0, head)
        length = int(self._buffer[at + 15 : self._buffer.find(b"\r\n", at)])
        if len(self._buffer) < head + 4 + length:
            return
        now, status = time.perf_counter(), int(self._buffer[9:12])
        self._buffer = b""
        if status in (200, 202):
            self._load.acknowledged.append(self._number)
            self._load.latencies.append(now - self._sent)
        else:
            self._load.refused[status] = self._load.refused.get(status, 0) + 1
        if now < self._load.ends:
            self._send()
        else:
            self._finish()

    def connection_lost(self, _: Exception | None) -> None:
        """End."""
        self._finish()

    def _send(self) -> None:
        self._number, request = self._load.document()
        self._sent = time.perf_counter()
        self._transport.write(request)

    def _finish(self) -> None:
        if not self._done.done():
            self._done.set_result(None)
            self._transport.close()


async def run(task: Task) -> dict[str, Any]:
    """Send for so long; return counts, latencies in ms and this process's CPU time."""
    loop = asyncio.get_running_loop()
    load = Load(task)
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.perf_counter()
    load.ends = began + task.seconds
    ends = [loop.create_future() for _ in range(task.connections)]
    for done in ends:
        await loop.create_connection(lambda done=done: Connection(load, done), task.host, task.port)  # type: ignore[misc]
    await asyncio.gather(*ends)
    elapsed = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF)
    ranked = sorted(load.latencies)
    return {
        "acknowledged": load.acknowledged,
        "refused": load.refused,
        "seconds": elapsed,
        "cpu_seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "latency_ms": {
            name: 1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))]
            for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
        }
        if ranked
        else {},
    }


def main() -> None:
    """Do what stdin says."""
    task = Task(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        json.dump(runner.run(run(task)), sys.stdout)


if __name__ == "__main__":
    main()
