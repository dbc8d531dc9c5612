"""Who reads: files that were merged away go when everybody who may have planned with them has finished.

A reader holds the lock of its turn while it plans and reads. There are two such locks, and every `TURN_SECONDS` new
readers take the other one: so each is free now and then, however many searches follow one another, unless one of them
takes longer than a turn. A file may go when each lock was free at some moment since it was merged away: who read then
has finished, and who comes later plans without it. Which lock a reader takes decides how soon that is, never whether it
is right.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Final

from schemas.errors import BusyError
from store import files
from store.keys.view import boot_seconds
from store.layout import READER_LOCKS, Layout

TURN_SECONDS: Final = 20
_PAUSE_SECONDS: Final = 0.05


class ReadingTurns:
    """The locks of one store's readers, and what this process has seen of them; safe for threads."""

    def __init__(self, layout: Layout) -> None:
        self._locks = [layout.readers_lock(number) for number in range(READER_LOCKS)]
        self._guard = threading.Lock()
        self._outlived: list[set[str]] = [set() for _ in self._locks]
        """For each lock the files that were merged away before some moment at which it was free."""

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Plan and read within this: until it ends the files that the plan names stay.

        Somebody who unlinks, or was stopped while unlinking, has one lock: then the other one does as well.

        Raises:
            BusyError: no lock was free for `locks.LIMIT_S`.
        """
        turn = int(boot_seconds() // TURN_SECONDS) % len(self._locks)
        first, *others = [*self._locks[turn:], *self._locks[:turn]]
        with ExitStack() as stack:
            for path in (first, *others):
                with suppress(BusyError):
                    stack.enter_context(files.lock(path, exclusive=False, blocking=False))
                    break
            else:
                stack.enter_context(files.lock(first, exclusive=False))
            yield

    @contextmanager
    def nothing_goes(self) -> Iterator[None]:
        """Hold every lock: nothing that was merged away is unlinked, not even what no reader reads any more.

        Raises:
            BusyError: as `reading`.
        """
        with ExitStack() as stack:
            for path in self._locks:
                stack.enter_context(files.lock(path, exclusive=False))
            yield

    def let_go(self, retired: Collection[str], unlink: Callable[[Collection[str]], None]) -> None:
        """Call `unlink` with those of the retired files that no reader can read any more, if there are any."""
        left = set(retired)
        with self._guard:
            for number, path in enumerate(self._locks):
                with suppress(BusyError), files.lock(path, exclusive=True, blocking=False):
                    self._outlived[number] = set(left)
                    done = set.intersection(*self._outlived)
                    if done:
                        unlink(done)
                        left -= done

    def wait(self, seconds: float) -> bool:
        """Wait until everybody who reads now has finished; False when that takes longer."""
        left, until = list(self._locks), time.monotonic() + seconds
        while left:
            for path in tuple(left):
                with suppress(BusyError), files.lock(path, exclusive=True, blocking=False):
                    left.remove(path)
            if left and time.monotonic() >= until:
                return False
            if left:
                time.sleep(_PAUSE_SECONDS)
        return True
