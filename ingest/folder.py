"""A folder that others write into: which files are whole, whether one stays as it is when read, and moving it away.

Whatever lies there, one name never keeps the others from being looked at: what is no plain file, what has too long a
name for a companion, what may not be read.
"""

from __future__ import annotations

import hashlib
import heapq
import io
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from ingest.drop_rules import (
    CHECKSUMS,
    COMPANIONS,
    FAILED,
    REASON_SUFFIX,
    Verdict,
    WatchRules,
    checksum,
    companions,
    is_delivery,
    judge,
    suffixed,
)
from schemas.errors import ConfigurationError, InputError
from store import files
from store.clock import Clock

_READ_BYTES: Final = 1 << 20
_CHECKSUM_BYTES_MAX: Final = 4096
_TEMPORARY_BYTES: Final = 24
"""What a file's temporary name is longer by."""


class ChangedError(Exception):
    """The file changed while it was read, or the work stops: nothing of it is kept, and it is read later."""


class Folder:
    """One folder; remembers only the files that are not still yet."""

    def __init__(self, directory: Path, rules: WatchRules, clock: Clock) -> None:
        self.directory = directory.absolute()
        self._rules, self._clock = rules, clock
        self._seen: dict[str, tuple[int, int, float]] = {}
        self._left: dict[str, int] = {}
        self.waiting = 0
        """Deliveries that were not ready at the last look."""
        self.unsettled = 0
        """Those of them that only need time."""

    def prepare(self, *folders: str) -> None:
        """Make the folders in it to which files are moved.

        Raises:
            ConfigurationError: one lies on another file system: nothing can be moved there at once.
        """
        for folder in folders:
            files.make_dir(self.directory / folder)
            if (self.directory / folder).stat().st_dev != self.directory.stat().st_dev:
                raise ConfigurationError(
                    f"{folder}/ lies on another file system than the folder", hint="files are moved there by renaming"
                )

    def ready(self, files_max: int) -> list[str]:
        """Return the first `files_max` names that are ready, in their order."""
        self.waiting = self.unsettled = 0
        seen: dict[str, tuple[int, int, float]] = {}
        now, now_us = time.monotonic(), self._clock.now_us()

        def names() -> Iterator[str]:
            with os.scandir(self.directory) as entries:
                for entry in entries:
                    if not is_delivery(entry.name):
                        continue
                    if entry.is_file(follow_symlinks=False) and self._is_ready(entry, seen, now, now_us):
                        yield entry.name

        found = heapq.nsmallest(files_max, names())
        self._seen = seen
        return found

    def leave(self, name: str) -> None:
        """Leave a file that may not be read alone, waiting, until its rights change."""
        with suppress(FileNotFoundError):
            self._left[name] = (self.directory / name).stat(follow_symlinks=False).st_ctime_ns

    def _is_ready(
        self, entry: os.DirEntry[str], seen: dict[str, tuple[int, int, float]], now: float, now_us: int
    ) -> bool:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return False
        if self._left.get(entry.name) == status.st_ctime_ns:
            self.waiting += 1
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
            has_done=not settled and self._is_ended(entry.name, status.st_mtime_ns),
            has_required=require is None or self.companion(entry.name, f".{require}") is not None,
            rules=self._rules,
        )
        if verdict is not Verdict.READY:
            self.waiting += 1
            if not settled:
                self.unsettled += 1
                seen[entry.name] = (*state, since)
        return verdict is Verdict.READY

    def companion(self, name: str, suffix: str) -> str | None:
        """Return the name of the companion that lies beside a file, if there is one."""
        return next((one for one in companions(name, suffix) if self._plain(one) is not None), None)

    def _is_ended(self, name: str, changed_ns: int) -> bool:
        """Tell whether `.done` says so; one that is older than the file's last change speaks of an earlier state."""
        found = (self._plain(one) for one in companions(name, ".done"))
        return any(status is not None and status.st_mtime_ns >= changed_ns for status in found)

    def _plain(self, name: str) -> os.stat_result | None:
        """Return the status of a plain file; None for all else, and for a name that cannot be."""
        try:
            status = (self.directory / name).stat(follow_symlinks=False)
        except OSError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

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

    def name_in(self, folder: str, name: str, suffix: str) -> str:
        """Return the name that a file gets in another folder: its own, with the suffix where that is taken."""
        return suffixed(name, suffix) if os.path.lexists(self.directory / folder / name) else name

    def take_away(self, folder: str, taken: Iterable[tuple[str, str, str]]) -> None:
        """Move files to another folder: of each its name, the state in which it was read, and `name_in`'s suffix.

        Where a file is gone, or another has its name by now, nothing is moved.
        """
        self._prepare(folder)
        files.replace_all(
            move
            for name, identity, suffix in taken
            for move in self._moves(name, folder, self.name_in(folder, name, suffix), identity)
        )

    def _prepare(self, folder: str) -> None:
        if not (self.directory / folder).is_dir():
            files.make_dir(self.directory / folder)

    def _moves(self, name: str, folder: str, goal: str, identity: str) -> list[tuple[Path, Path]]:
        """Return the renames that move a file in the state `identity`, with its companions; now becomes their time.

        The file goes first: `ingest.orphans` has companions follow that a crash left.

        None when it is gone, or another file has its name by now.
        """
        try:
            if self.identity(name) != identity:
                return []
        except FileNotFoundError:
            return []
        moves = [(name, goal)]
        for suffix in COMPANIONS:
            pairs = zip(companions(name, suffix), companions(goal, suffix), strict=False)
            moves += [(one, suffixed(other, "")) for one, other in pairs if self._plain(one) is not None]
        now_ns = self._clock.now_us() * 1000
        for one, _ in moves:
            with suppress(PermissionError):  # the file of another user keeps its own time
                os.utime(self.directory / one, ns=(now_ns, now_ns))
        return [(self.directory / one, self.directory / folder / other) for one, other in moves]

    def fail(self, name: str, identity: str, reason: str) -> bool:
        """Move a file in the state `identity` to failed/, with the reason beside it; see `take_away`."""
        goal = self.name_in(FAILED, name, f".{self._clock.now_us()}")
        self._prepare(FAILED)
        moves = self._moves(name, FAILED, goal, identity)
        if not moves:
            return False
        # First, so that a crash leaves no file there without its reason; the file is read and refused again.
        beside = suffixed(goal, REASON_SUFFIX, spare_bytes=_TEMPORARY_BYTES)
        files.write_atomic(self.directory / FAILED / beside, reason.encode())
        files.replace_all(moves)
        return True

    def digest(self, stream: Steady, name: str) -> str:
        """Return the file's SHA-256, and compare the checksums that lie beside it.

        Raises:
            InputError: a checksum differs.
        """
        told = self._checksums(name)
        hashes = {word: hashlib.new(word, usedforsecurity=False) for word in {"sha256", *told}}
        while data := stream.read(_READ_BYTES):
            for one in hashes.values():
                one.update(data)
        for word, expected in told.items():
            if hashes[word].hexdigest() != expected:
                raise InputError(f"the file's {word} checksum is another", hint="deliver the file again")
        return hashes["sha256"].hexdigest()

    def _checksums(self, name: str) -> dict[str, str]:
        told = {}
        for suffix, word in CHECKSUMS.items():
            one = self.companion(name, suffix)
            if one is None:
                continue
            try:
                with self.open(one) as file:
                    expected = checksum(file.read(_CHECKSUM_BYTES_MAX).decode("utf-8", "replace"), suffix)
            except OSError as error:
                raise InputError(f"the file's {word} companion cannot be read") from error
            if expected is None:
                raise InputError(f"the file's {word} companion holds no checksum")
            told[word] = expected
        return told


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
