"""The pushing side of `bench.isolation`: batches of records over HTTP, at a given pace, each answered when durable.

A task as one JSON object on standard input, the outcome on standard output. A push that waits for a free connection
waits on the clock too: its latency counts from the moment at which it was due.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

KEY_MARK: Final = b"9@@@@@@"
"""What stands before the row's five digits in every record key of the template; @ becomes the batch's number."""


@dataclass(slots=True)
class Task:
    """What to send, where to, at which pace, for how long."""

    port: int
    path: str
    token: str
    template: str
    connections: int
    batches_per_second: float
    seconds: float
    first: int


class Pusher:
    """Some connections that take turns."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._template = Path(task.template).read_bytes()
        self._lock = threading.Lock()
        self._next = 0
        self._begin = time.monotonic()
        self.latencies: list[float] = []
        self.dues: list[float] = []
        self.acknowledged: list[int] = []
        self.refused: dict[str, int] = {}

    def run(self) -> None:
        """Send until the time is over."""
        threads = [threading.Thread(target=self._connection) for _ in range(self._task.connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _due(self) -> tuple[int, float] | None:
        with self._lock:
            place, self._next = self._next, self._next + 1
        after = place / self._task.batches_per_second
        return None if after >= self._task.seconds else (self._task.first + place, self._begin + after)

    def _connection(self) -> None:
        task = self._task
        connection = http.client.HTTPConnection("127.0.0.1", task.port, timeout=120)
        headers = {"Authorization": f"Bearer {task.token}", "Content-Type": "text/csv"}
        while (turn := self._due()) is not None:
            number, due = turn
            body = self._template.replace(KEY_MARK, b"9%06d" % number)
            time.sleep(max(0.0, due - time.monotonic()))
            connection.request("POST", task.path, body, headers)
            answer = connection.getresponse()
            answer.read()
            took = time.monotonic() - due
            with self._lock:
                if answer.status in (200, 202):
                    self.latencies.append(took)
                    self.dues.append(due)
                    self.acknowledged.append(number)
                else:
                    self.refused[str(answer.status)] = self.refused.get(str(answer.status), 0) + 1
        connection.close()


def main() -> None:
    """Send."""
    pusher = Pusher(Task(**json.loads(sys.stdin.read())))
    pusher.run()
    told: dict[str, Any] = {
        "latencies": pusher.latencies,
        "dues": pusher.dues,
        "acknowledged": pusher.acknowledged,
        "refused": pusher.refused,
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
