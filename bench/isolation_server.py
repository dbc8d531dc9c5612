"""The service of `bench.isolation`, with something heavy beside it on demand.

`python -m bench.isolation_server ROOT [threads]` serves as `lagrum serve` does; with `threads` it merges in a thread of
the service, not in a process beside it. A line on standard input begins work where the service itself would do it:
`search`, `compact`, `expire`; `quiet` ends it and answers with how often something was done, and when. A round that
finds nothing to do is followed by a pause: the service looks once a minute. Only this program's clock
can be told to be later, so that a partition is due.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from api import server, settings
from api.cli.memory import keep_freed_memory
from api.merger import Merger
from api.scheduling import stand_back, take_short_turns
from schemas.arrow import PACKED
from store import ScanQuery, Store, SystemClock
from store.clock import Uptime

DAY_US: Final = 86_400_000_000
AHEAD_DAYS: Final = 45
PAUSE_SECONDS: Final = 0.25


class LaterClock(SystemClock):
    """A machine that has run on."""

    def __init__(self, ahead_us: int = 0) -> None:
        self.ahead_us = ahead_us

    def now_us(self) -> int:
        """Return microseconds since 1970-01-01T00:00:00Z."""
        return super().now_us() + self.ahead_us

    def uptime(self) -> Uptime:
        """Return the machine's counter."""
        now = super().uptime()
        return replace(now, counter_us=now.counter_us + self.ahead_us)


class Noise:
    """Work that goes on until it is told to end."""

    def __init__(self, store: Store, clock: LaterClock, merger: Merger | None) -> None:
        self._store, self._clock, self._merger = store, clock, merger
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._spans: list[tuple[float, float]] = []
        self._failures: list[str] = []

    def begin(self, name: str) -> dict[str, object]:
        """Begin."""
        works: dict[str, Callable[[], object]] = {
            "search": self._search,
            "compact": self._compact,
            "expire": lambda: self._store.expire().partitions,
        }
        if name == "expire":
            self._clock.ahead_us = AHEAD_DAYS * DAY_US
        self._stop.clear()
        self._spans, self._failures = [], []
        self._thread = threading.Thread(target=self._work, args=(works[name],), daemon=True)
        self._thread.start()
        return {"begun": name}

    def end(self) -> dict[str, object]:
        """End, and tell when something was done, by the machine's monotonic clock."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        return {"spans": self._spans, "failures": self._failures}

    def _work(self, work: Callable[[], object]) -> None:
        stand_back()
        while not self._stop.is_set():
            begin = time.monotonic()
            try:
                done = work()
            except Exception as error:
                self._failures.append(type(error).__name__)
                done = None
            if done:
                self._spans.append((begin, time.monotonic()))
            else:
                self._stop.wait(PAUSE_SECONDS)

    def _compact(self) -> int:
        return self._store.compact(everything=True).merged if self._merger is None else self._merger.look()

    def _search(self) -> bool:
        """Read every column of everything, as a search for something that cannot be looked up would."""
        for _ in self._store.scan(ScanQuery(0, 2**60, columns=tuple(PACKED.names), by_end=True)):
            if self._stop.is_set():
                break
        return True


def main() -> None:
    """Serve until a signal comes."""
    root, clock = Path(sys.argv[1]), LaterClock()
    keep_freed_memory()
    take_short_turns()
    with Store.open(root, clock=clock) as store:
        threads = sys.argv[2:] == ["threads"]
        noise = Noise(store, clock, None if threads else Merger(store, None, everything=True))

        def listen() -> None:
            for line in sys.stdin:
                name = line.strip()
                told = noise.end() if name == "quiet" else noise.begin(name)
                sys.stdout.write(json.dumps(told) + "\n")
                sys.stdout.flush()

        threading.Thread(target=listen, daemon=True).start()
        server.run(store, settings.load(root), merger=None if threads else Merger(store, None))


if __name__ == "__main__":
    main()
