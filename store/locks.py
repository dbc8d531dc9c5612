"""Waiting for a lock that somebody else holds: told after a while, and not for ever.

(1) A lock that is free is taken at once. (2) Who has waited `TELL_AFTER_S` says so in one warning: for which lock, and
which process holds it, if the kernel tells. (3) After `LIMIT_S` the waiting ends in a `BusyError`, unless the caller is
`patient`. Whoever waits can be asked for at any time (`waiting`): the metrics show it.

A lock of the kernel is asked for again and again, for the kernel's own waiting cannot end.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from schemas.errors import BusyError

TELL_AFTER_S: Final = 3.0
LIMIT_S: Final = 60.0
PAUSE_S_MIN: Final = 0.0005
PAUSE_S_MAX: Final = 0.002
"""Of who has not waited long: an acknowledgement may hang on it."""
LONG_PAUSE_S: Final = 0.05
LONG_S: Final = 1.0
HOLDERS_MAX: Final = 3
"""Of those that hold a shared lock, as many are told."""
_KERNEL: Final = Path("/proc")
_STATES: Final = {"T": "is stopped", "t": "is being debugged", "D": "waits for a disk"}
_log = logging.getLogger("lagrum.store")
_waits: dict[object, tuple[str, float]] = {}


def waiting() -> dict[str, float]:
    """Return for how many seconds this process has waited for each lock that it waits for: the longest wait of each."""
    now_s, longest = time.monotonic(), dict[str, float]()
    for name, since_s in list(_waits.values()):
        longest[name] = max(longest.get(name, 0.0), now_s - since_s)
    return longest


def name_of(path: Path) -> str:
    """Return by what name a lock is told of: its own, or that of what it guards; never the name of a data file."""
    if path.suffix == ".lock":
        return path.stem
    return path.parent.name if path.name == "lock" else path.suffix.lstrip(".")


def take(fd: int, path: Path, *, exclusive: bool, blocking: bool, patient: bool) -> None:
    """Take the advisory lock of an open file.

    Raises:
        BusyError: Somebody else holds it, and `blocking` is not set, or the limit has passed.
    """
    operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB

    def tried(pause_s: float) -> bool:
        if pause_s:
            time.sleep(pause_s)
        try:
            fcntl.flock(fd, operation)
        except BlockingIOError:
            return False
        return True

    if tried(0):
        return
    if not blocking:
        raise BusyError("another process holds the lock", hint="try again when it has finished")
    wait(name_of(path), tried, lambda: holders(os.fstat(fd)), patient=patient)


@contextmanager
def within(lock: threading.Lock, name: str) -> Iterator[None]:
    """Hold the lock that threads of this process take before a lock between processes, which one of them may await.

    Raises:
        BusyError: the limit has passed.
    """
    if not lock.acquire(blocking=False):
        wait(name, lambda pause_s: lock.acquire(timeout=pause_s), lambda: "another thread of this process holds it")
    try:
        yield
    finally:
        lock.release()


def wait(name: str, tried: Callable[[float], bool], held: Callable[[], str], *, patient: bool = False) -> None:
    """Wait until `tried`, which is told for how long to pause, succeeds; `held` says in words who stands in the way.

    Raises:
        BusyError: it did not within the limit.
    """
    me, since_s, pause_s, told = object(), time.monotonic(), PAUSE_S_MIN, False
    _waits[me] = (name, since_s)
    try:
        while not tried(pause_s):
            waited_s = time.monotonic() - since_s
            if waited_s >= TELL_AFTER_S and not told:
                told = True
                _log.warning("waiting for the %s lock; %s", name, held())
            if waited_s >= LIMIT_S and not patient:
                raise BusyError(f"the {name} lock was not free in {LIMIT_S:.0f} s", hint=f"{held()}; then try again")
            pause_s = min(2 * pause_s, PAUSE_S_MAX if waited_s < LONG_S else LONG_PAUSE_S)
    finally:
        del _waits[me]


def holders(status: os.stat_result, first_byte: int = 0) -> str:
    """Say which processes hold locks of a file from a byte on, and what keeps them, as far as the kernel tells."""
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    found = set[int]()
    with suppress(OSError, ValueError):
        for line in (_KERNEL / "locks").read_text("ascii").splitlines():
            words = line.split()
            if words[1] != "->" and words[5:7] == [place, str(first_byte)]:
                found.add(int(words[4]))
    told = [f"process {number}{_state(number)} holds it" for number in sorted(found) if number > 0]
    return ", ".join(told[:HOLDERS_MAX]) or "which process holds it the system does not tell"


def _state(number: int) -> str:
    if number == os.getpid():
        return " (this one)"
    with suppress(OSError, IndexError):
        letter = (_KERNEL / str(number) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0]
        if letter in _STATES:
            return f", which {_STATES[letter]},"
    return ""
