"""Which audit entries the work at hand has made: the door asks it, so that no request goes without one.

What one context and the threads that it starts put on file or log is collected; others' entries are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from store.audit import AuditEntry

_noted: ContextVar[list[AuditEntry] | None] = ContextVar("noted", default=None)


@contextmanager
def noting() -> Iterator[list[AuditEntry]]:
    """Give the list to which every entry of this context is added, once it cannot be lost any more."""
    found: list[AuditEntry] = []
    token = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(token)


def note(entries: Sequence[AuditEntry]) -> None:
    """Add entries that are committed with their cause, or in the log."""
    found = _noted.get()
    if found is not None:
        found.extend(entries)
