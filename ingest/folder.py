"""Looking into a folder that others write into: which files are whole, and whether one stays as it is when read."""

from __future__ import annotations

import heapq
import io
import os
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ingest.watch import Verdict, WatchRules, companions, is_delivery, judge
from store.clock import Clock


class ChangedError(Exception):
    """The file changed while it was read, or the work stops: nothing of it is kept, and it is read later."""


class Folder:
    """One folder; remembers only the files that are not still yet."""

    def __init__(self, directory: Path, rules: WatchRules, clock: Clock) -> None:
        self.directory = directory.absolute()
        self._rules, self._clock = rules, clock
        self._seen: dict[str, tuple[int, int, float]] = {}
        self.waiting = 0
        """Deliveries that were not ready at the last look."""
        self.unsettled = 0
        """Those of them that only need time."""

    def ready(self, files_max: int, leave: Collection[str] = ()) -> list[str]:
        """Return the first `files_max` names that are ready, in their order."""
        self.waiting = self.unsettled = 0
        seen: dict[str, tuple[int, int, float]] = {}
        now, now_us = time.monotonic(), self._clock.now_us()

        def names() -> Iterator[str]:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if not is_delivery(entry.name) or entry.name in leave:
                        continue
                    if entry.is_file(follow_symlinks=False) and self._is_ready(entry, seen, now, now_us):
                        yield entry.name

        found = heapq.nsmallest(files_max, names())
        self._seen = seen
        return found

    def _is_ready(
        self, entry: os.DirEntry[str], seen: dict[str, tuple[int, int, float]], now: float, now_us: int
    ) -> bool:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        state = (status.st_size, status.st_mtime_ns)
        before = self._seen.get(entry.name)
        since = before[2] if before is not None and before[:2] == state else now
        still_s = max(now - since, (now_us - status.st_mtime_ns // 1000) / 1e6)
        settled = still_s >= self._rules.settle_s
        require = self._rules.require
        verdict = judge(
            entry.name,
            still_s=still_s,
            has_done=not settled and self.has(entry.name, ".done"),
            has_required=require is None or self.has(entry.name, f".{require}"),
            rules=self._rules,
        )
        if verdict is not Verdict.READY:
            self.waiting += 1
            if not settled:
                self.unsettled += 1
                seen[entry.name] = (*state, since)
        return verdict is Verdict.READY

    def has(self, name: str, suffix: str) -> bool:
        """Tell whether a companion lies beside a file."""
        return any((self.directory / one).is_file() for one in companions(name, suffix))

    def identity(self, name: str) -> str:
        """Return what tells the state of one of its files from another (`Steady.identity`).

        Raises:
            FileNotFoundError: it is gone.
        """
        return _identity((self.directory / name).stat(follow_symlinks=False))

    def open(self, name: str) -> BinaryIO:
        """Open one of its files, no link and nothing that blocks.

        Raises:
            OSError: it is gone, or may not be read.
        """
        fd = os.open(self.directory / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        return os.fdopen(fd, "rb", buffering=0)


def _identity(status: os.stat_result) -> str:
    parts = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return "-".join(map(str, parts))


class Steady(io.RawIOBase):
    """Reads a file, and makes sure at its end that it is the file that was opened."""

    def __init__(self, file: BinaryIO, stop: threading.Event) -> None:
        self._file, self._stop = file, stop
        self._opened = os.fstat(file.fileno())
        self._before = self._state()

    @property
    def size_bytes(self) -> int:
        """The file's size as it was opened."""
        return self._before[0]

    @property
    def identity(self) -> str:
        """What tells the state in which it was opened from another: inode, size, times."""
        return _identity(self._opened)

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def again(self) -> None:
        """Go back to the beginning."""
        self._file.seek(0)

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`.

        Raises:
            ChangedError: the file is another one at its end than at its beginning, or the work stops.
        """
        data = self._file.read(len(buffer))
        if self._stop.is_set() or (not data and self._state() != self._before):
            raise ChangedError
        buffer[: len(data)] = data
        return len(data)

    def _state(self) -> tuple[int, int, int]:
        status = os.fstat(self._file.fileno())
        return status.st_size, status.st_mtime_ns, status.st_ctime_ns
