"""Sources that fall silent, and numbers that do not come.

A source with `expect_every_s` is silent when nothing came from it for longer, by whatever road; one that never
delivered counts from when it was first looked at. `check` compares with what was known before: each silence is one
event, and so is its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ingest import numbering, sources
from ingest.drop_rules import Sequence
from ingest.events import event
from ingest.source_config import SourceConfig
from schemas.errors import NotFoundError, ProcedureError
from store import AuditEntry, Put, Store
from store.arrivals import last_received_us
from store.clock import to_text

KIND: Final = "source-state"
WATCH_KIND: Final = "watch"
_SECOND_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class SourceState:
    """What is known of a source's deliveries now; times in µs since 1970 UTC."""

    source: str
    expect_every_s: int | None
    last_us: int | None
    silent_s: int
    """For how long it has been silent beyond its interval, in s; 0 when it is not."""
    missing: int = 0
    """Numbers of files that did not come."""
    waiting: int = 0
    failed: int = 0
    records_lost: int = 0
    """Records that the source's nodes say they lost."""

    @property
    def silent(self) -> bool:
        """Whether it is overdue."""
        return self.silent_s > 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "source": self.source,
            "expect_every_s": self.expect_every_s,
            "last": None if self.last_us is None else to_text(self.last_us),
            "silent": self.silent,
            "silent_s": self.silent_s,
            "missing_files": self.missing,
            "waiting_files": self.waiting,
            "failed_files": self.failed,
            "records_lost": self.records_lost,
        }


def overdue_s(expect_every_s: int | None, since_us: int, now_us: int) -> int:
    """Return for how long a source is overdue that was last heard of at `since_us`; 0 when it is not."""
    if expect_every_s is None:
        return 0
    late_us = now_us - since_us - expect_every_s * _SECOND_US
    return max(0, -(-late_us // _SECOND_US)) if late_us > 0 else 0


def states(store: Store) -> list[SourceState]:
    """Return every registered source's state, by name."""
    return [_state(store, source, _known(store, source.name)) for source in sources.registered(store)]


def check(store: Store) -> list[SourceState]:
    """Look at every source; tell of those that fell silent, and of those that are heard again.

    Raises:
        AuditError: the log cannot take the events.
    """
    found = []
    for source in sources.registered(store):
        known = _known(store, source.name)
        if source.expect_every_s is not None and known is None:
            known = {"since_us": store.clock.now_us(), "silent": False}
            _note(store, source.name, known, 0, [])
        state = _state(store, source, known)
        found.append(state)
        if known is not None and known["silent"] != state.silent:
            kind = "source-silent" if state.silent else "source-heard"
            entry = event(kind, source.name, expect_every_s=source.expect_every_s)
            _note(store, source.name, {**known, "silent": state.silent}, None, [entry])
    return found


def _note(store: Store, name: str, body: dict[str, Any], expect: int | None, entries: list[AuditEntry]) -> None:
    try:
        store.documents.commit([Put(KIND, name, body, expect)], entries)
    except ProcedureError:
        return  # another process looked at the same time


def _known(store: Store, name: str) -> dict[str, Any] | None:
    try:
        return store.documents.get(KIND, name).body
    except NotFoundError:
        return None


def _state(store: Store, source: SourceConfig, known: dict[str, Any] | None) -> SourceState:
    last_us = last_received_us(store.catalog, source.name)
    now_us = store.clock.now_us()
    since_us = last_us if last_us is not None else known["since_us"] if known is not None else now_us
    try:
        journal = store.documents.get(WATCH_KIND, source.name).body
    except NotFoundError:
        journal = {}
    series = [Sequence.from_dict(body) for body in journal.get("sequences", {}).values()]
    missing, records_lost = numbering.counts(store, source.name)
    return SourceState(
        source.name,
        source.expect_every_s,
        last_us,
        overdue_s(source.expect_every_s, since_us, now_us),
        missing=max(
            missing, sum(len(one.missing) + one.lost for one in series)
        ),  # names and headers tell the same files
        waiting=int(journal.get("waiting", 0)),
        failed=int(journal.get("failed", 0)),
        records_lost=records_lost,
    )
