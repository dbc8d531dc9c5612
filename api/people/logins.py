"""What the doors write into the authentication log (`store.logins`), and how it is kept small.

An entry names the account only when there is one of that id: what stands in the place of an unknown one may be a
password in the wrong field. It never holds a secret, a token or an address; of an address it has the day's keyed tag,
so that attempts from one place can be seen together on that day.

Refusals are gathered for a few seconds and counted, so that an attack costs a row and not a write for each attempt; who
opens a session is written at once.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Final

from store import logins
from store.clock import to_date, to_text

if TYPE_CHECKING:
    from store import Store

OPENED, CLOSED, RECOGNISED, REFUSED, LOCKED, RATE = "opened", "closed", "recognised", "refused", "locked", "rate"
WAITING_MAX: Final = 2_000
"""So many different refusals wait for the next write; further ones are counted without account and place."""
UNKNOWN: Final = ""


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of thing that happened; equal ones are counted together."""

    outcome: str
    way: str
    account: str
    host: str
    word: str = ""


class LoginLog:
    """Gathers events and writes them; one per application."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: Counter[Event] = Counter()
        self._since_us = 0
        self._lock = threading.Lock()

    def note(self, event: Event) -> None:
        """Remember an event for the next write."""
        with self._lock:
            if not self._waiting:
                self._since_us = self._store.clock.now_us()
            if event not in self._waiting and len(self._waiting) >= WAITING_MAX:
                event = Event(event.outcome, event.way, UNKNOWN, "")
            self._waiting[event] += 1

    def write(self, event: Event) -> None:
        """Write an event, and what waits, at once."""
        self.note(event)
        self.flush()

    def flush(self) -> None:
        """Write what waits; what cannot be written waits on.

        Raises:
            BusyError: the catalog does not take it.
        """
        with self._lock:
            waiting, since_us = self._waiting, self._since_us
            self._waiting = Counter()
        if not waiting:
            return
        day = to_date(since_us)
        try:
            logins.add(self._store, day, [self._entry(day, since_us, event, n) for event, n in waiting.items()])
        except BaseException:
            with self._lock:
                self._waiting.update(waiting)
                self._since_us = since_us
            raise

    def erase(self) -> None:
        """Erase the days that are over."""
        logins.erase(self._store)

    def _entry(self, day: date, since_us: int, event: Event, count: int) -> dict[str, Any]:
        return {
            "time": to_text(since_us),
            "outcome": event.outcome,
            "way": event.way,
            "account": event.account or None,
            "word": event.word or None,
            "place": logins.tag(self._store, day, event.host) if event.host else None,
            "count": count,
        }
