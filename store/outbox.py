"""Audit entries travel with their cause: one transaction holds both, then the entry goes on to the audit log.

A crash between the two is mended at the next flush. Every entry carries a word of its own (`ref`), so one that reached
the log before the crash is recognised and not appended twice. The word is not the row's number: a catalog that is
restored from a backup counts again from where it was, and its new entries must not be taken for old ones.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from schemas.errors import AuditError, BusyError, IntegrityError
from store import files, locks
from store.audit import AuditEntry, AuditLog
from store.catalog import Catalog
from store.keys import KeyRef, Keyring, derive, seal, unseal
from store.layout import Layout

OUTBOX_REF = KeyRef("documents", "", "outbox", "shared")
REFERENCE = "ref"
REFERENCE_BYTES = 12
_ENTRIES_PER_ROUND = 1000


class Outbox:
    """The catalog's `outbox` table and its road to the audit log."""

    def __init__(self, catalog: Catalog, keyring: Keyring, audit: AuditLog, layout: Layout) -> None:
        self._catalog, self._keyring, self._audit = catalog, keyring, audit
        self._lock_path = layout.run / "outbox.lock"
        self._lock = threading.Lock()
        self._own: set[str] = set()  # words put by this process, of which no flush was tried yet

    def put(self, cursor: sqlite3.Cursor, entries: Sequence[AuditEntry]) -> None:
        """Add entries within the transaction that does what they tell."""
        key = derive(self._keyring.key(OUTBOX_REF), "outbox")
        for entry in entries:
            word = secrets.token_hex(REFERENCE_BYTES)
            self._own.add(word)
            public = {**entry.public, REFERENCE: word}
            plain = json.dumps({"kind": entry.kind, "public": public, "secret": entry.secret})
            cursor.execute(
                "INSERT INTO outbox (key_ref, sealed) VALUES (?, ?)",
                (str(OUTBOX_REF), seal(key, plain.encode(), b"outbox")),
            )

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Keep every process from handing entries to the log: it tells of what the catalog has, and of nothing else."""
        with self._alone():
            yield

    def flush(self) -> None:
        """Append everything that waits to the audit log; when it returns, it is durable there.

        Raises:
            AuditError: the log cannot take entries, or another process keeps them; they stay here.
        """
        try:
            self._flush()
        except BusyError as error:
            raise AuditError("audit entries wait for another process", hint=error.hint) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locks.within(self._lock, "outbox"), files.lock(self._lock_path, exclusive=True):
            yield

    def _flush(self) -> None:
        with self._alone():
            while waiting := self._waiting():
                words = {entry.public[REFERENCE] for _, entry in waiting}
                known: set[Any] = set()
                # A crash, a flush that failed, or another process that died may have left them in the log already.
                if self._refreshed() or not words <= self._own:
                    known = self._known(len(waiting))
                self._own -= words
                fresh = [entry for _, entry in waiting if entry.public[REFERENCE] not in known]
                if fresh:
                    self._audit.append(fresh)
                with self._catalog.transaction() as cursor:
                    cursor.executemany("DELETE FROM outbox WHERE entry_id = ?", [(number,) for number, _ in waiting])

    def _refreshed(self) -> bool:
        try:
            return self._audit.refresh()
        except IntegrityError as error:  # cut or changed: the entries stay here, and nothing leaves on their strength
            raise AuditError("the audit log is not as it was left") from error

    def _waiting(self) -> list[tuple[int, AuditEntry]]:
        key = derive(self._keyring.key(OUTBOX_REF), "outbox")
        rows = self._catalog.query(
            "SELECT entry_id, sealed FROM outbox ORDER BY entry_id LIMIT ?", (_ENTRIES_PER_ROUND,)
        )
        entries = []
        for number, blob in rows:
            item = json.loads(unseal(key, blob, b"outbox"))
            entries.append((number, AuditEntry(item["kind"], item["public"], item["secret"])))
        return entries

    def _known(self, count: int) -> set[Any]:
        """Return the words of the log's newest entries; a crash leaves at most one round there."""
        size = self._audit.size
        newest = self._audit.entries(max(0, size - count - _ENTRIES_PER_ROUND), size, reveal=False)
        return {entry.public.get(REFERENCE) for entry in newest}
