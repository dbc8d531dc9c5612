"""What the catalog knows of a source's drop folders: counts, numbers of files, and what is on its way to the audit log.

A source may deliver into several folders, each watched by a process of its own; all write one journal, so each adds
what it counted and puts the series that it has seen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ingest.drop_rules import Sequence, follow, span_of
from ingest.events import event
from schemas.errors import AuditError, BusyError, NotFoundError, ProcedureError
from store import AuditEntry, Put, Store

KIND: Final = "watch"
TRIES_MAX: Final = 20
_COUNTS: Final = ("files", "redelivered", "failed")


class DropJournal:
    """One folder's share in its source's journal."""

    def __init__(self, store: Store, source: str, format: str, numbers: re.Pattern[str] | None) -> None:
        """Write for a source; `numbers` finds the number of a file in its name, as `WatchRules.sequence`."""
        self._store, self._source, self._format = store, source, format
        self._pattern = numbers
        self._entries: list[AuditEntry] = []
        self._sequences: dict[str, Sequence] = {}
        self._numbered: set[str] = set()
        self._counted: dict[str, int] = {}  # what of this run is in the journal
        self.waiting: int | None = None
        """How many files waited when it was written last."""

    @property
    def has_news(self) -> bool:
        """Whether something is to be written besides counts."""
        return bool(self._entries or self._numbered)

    def read(self) -> None:
        """Read which numbers came before."""
        stored, _ = self._stored()
        self.waiting = stored.get("waiting")
        self._sequences = {group: Sequence.from_dict(one) for group, one in stored.get("sequences", {}).items()}

    def tell(self, kind: str, **public: Any) -> None:
        """Have an event, which is logged at once, go to the audit log with the next writing."""
        self._entries.append(event(kind, self._source, **public))

    def number(self, name: str) -> None:
        """Take a file's number into its sequence; a gap is an event."""
        found = self._pattern.search(name) if self._pattern is not None else None
        if found is None or not found["seq"].isdecimal():
            return
        group = found["group"] if "group" in found.re.groupindex and found["group"] is not None else ""
        before = self._sequences.get(group, Sequence())
        step = follow(before, int(found["seq"]), span_of(len(found["seq"]), before))
        self._sequences[group] = step.sequence
        self._numbered.add(group)
        if step.gap is not None:
            secret = {"group": group, "first": step.gap[0], "last": step.gap[1]}
            self._entries.append(event("sequence-gap", self._source, secret=secret, missing=step.gap_files))
        elif step.fills:
            self._entries.append(event("sequence-gap-filled", self._source, secret={"group": group}))

    def write(self, counts: Mapping[str, int], waiting: int) -> None:
        """Make durable what this run has counted, the numbers that came, and the events.

        Raises:
            BusyError, OSError: nothing of it is; it goes with the next writing.
            AuditError: it is, but the log takes no entries now; they follow.
        """
        for _ in range(TRIES_MAX):
            stored, revision = self._stored()
            body = {
                **{name: int(stored.get(name, 0)) + counts[name] - self._counted.get(name, 0) for name in _COUNTS},
                "format": self._format,
                "waiting": waiting,
                "seen_us": self._store.clock.now_us(),
                "sequences": {
                    **stored.get("sequences", {}),
                    **{group: self._sequences[group].as_dict() for group in self._numbered},
                },
            }
            try:
                self._store.documents.commit([Put(KIND, self._source, body, revision)], self._entries)
            except ProcedureError:
                continue  # another folder of the source wrote meanwhile
            except AuditError:
                self._wrote(counts, waiting)
                raise
            self._wrote(counts, waiting)
            return
        raise BusyError("other folders of the source write its journal all the time", hint="try again")

    def _wrote(self, counts: Mapping[str, int], waiting: int) -> None:
        self._counted = {name: counts[name] for name in _COUNTS}
        self.waiting = waiting
        self._entries, self._numbered = [], set()

    def _stored(self) -> tuple[dict[str, Any], int]:
        try:
            document = self._store.documents.get(KIND, self._source)
        except NotFoundError:
            return {}, 0
        return document.body, document.revision
