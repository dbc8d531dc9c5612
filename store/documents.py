"""Small encrypted documents for the layers above: persons, credentials, sources, authorisations, tasks, deliveries."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from schemas.errors import IntegrityError, KeyUnavailableError, LagrumError, NotFoundError, ProcedureError
from store.audit import AuditEntry
from store.audit_context import note
from store.catalog import Catalog
from store.keys import KeyRef, Keyring, derive, seal, unseal
from store.model import Problem
from store.outbox import Outbox

if TYPE_CHECKING:
    from store.log_state import LogState

GUARDED: Final = ("person", "person-binding", "credential", "authority")
"""Kinds whose earlier revisions must not come back: who was revoked stays so, whoever edits the catalog.

Each change of one is told in an entry whose kind begins with the same word.
"""
_WITHOUT_LOG: Final = ("credential",)
"""Of the guarded kinds those that count though the log could never be read: who has one delivers, and reads nothing."""
NOTED: Final = "documents"
"""Member of an audit entry: digests of the guarded documents that it tells of, by kind/id; None of one that is gone."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document at one revision (1-based)."""

    kind: str
    id: str
    revision: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Put:
    """A document's next state; None as body removes it.

    `expect` is the revision that it must have now (0: it must not exist).
    """

    kind: str
    id: str
    body: dict[str, Any] | None
    expect: int | None = None


class Documents:
    """The catalog's documents; kind and id are in the clear and name nobody."""

    def __init__(self, catalog: Catalog, keyring: Keyring, outbox: Outbox) -> None:
        self._catalog, self._keyring, self._outbox = catalog, keyring, outbox
        self.log_state: LogState | None = None
        """What the audit log tells of guarded documents; the store gives it."""

    def get(self, kind: str, id: str) -> Document:
        """Return a document.

        Raises:
            NotFoundError: there is none of that kind and id.
            IntegrityError: it was changed by somebody who has no key, or brought back after it had changed or ended.
        """
        row = self._row(kind, id)
        if kind in GUARDED and not self._is_told(row):
            with suppress(LagrumError, OSError):  # its entry may still wait, and another process may have changed it
                self._outbox.flush()
            row = self._row(kind, id)
            if not self._is_told(row):
                raise IntegrityError(f"the {kind} is not the one that the audit log says is in force")
        return self._open(row)

    def nearest(self, kind: str, id: str) -> Document | None:
        """Return the document of that kind and id, else another of the kind, by the same steps; None: there is none.

        For callers who must not learn by the work whether a document is there: they compare the id.
        """
        columns = "SELECT kind, id, revision, key_ref, sealed FROM documents"
        rows = self._catalog.query(
            f"SELECT * FROM ({columns} WHERE kind = ? AND id >= ? ORDER BY id LIMIT 1) "  # noqa: S608 (fixed words)
            f"UNION ALL SELECT * FROM ({columns} WHERE kind = ? ORDER BY id LIMIT 1) LIMIT 1",
            (kind, id, kind),
        )
        if not rows or kind not in GUARDED or self._is_told(rows[0]):
            return self._open(rows[0]) if rows else None
        with suppress(IntegrityError, NotFoundError):
            return self.get(kind, rows[0][1])
        return None

    def legible(self, kind: str) -> tuple[list[Document], list[str]]:
        """Return the documents of a kind that can be read, by id, and the ids of those that cannot.

        For work that goes on beside what is damaged; whoever needs all of them takes `list`.
        """
        rows = self._catalog.query(
            "SELECT kind, id, revision, key_ref, sealed FROM documents WHERE kind = ? ORDER BY id", (kind,)
        )
        found: list[Document] = []
        damaged: list[str] = []
        for row in rows:
            try:
                found.append(self._open(row))
            except (IntegrityError, KeyUnavailableError, ValueError):
                damaged.append(row[1])
        return found, damaged

    def list(self, kind: str) -> list[Document]:
        """Return all documents of a kind, by id; a guarded one that was brought back is left out."""
        rows = self._catalog.query(
            "SELECT kind, id, revision, key_ref, sealed FROM documents WHERE kind = ? ORDER BY id", (kind,)
        )
        found = []
        for row in rows:
            if kind not in GUARDED or self._is_told(row):
                found.append(self._open(row))
                continue
            with suppress(IntegrityError, NotFoundError):  # `verify` tells
                found.append(self.get(kind, row[1]))
        return found

    def commit(self, puts: Sequence[Put], entries: Sequence[AuditEntry] = ()) -> None:
        """Store documents and log entries in one transaction; return when both are durable.

        Raises:
            ProcedureError: a document has another revision than expected (reason `stale`); nothing is stored.
            AuditError: the log cannot take the entries now; the change stands and its entries follow, but the caller
                must not let anything out.
        """
        self.prepare(puts)
        with self._catalog.transaction() as cursor:
            entries = _telling(entries, self.put(cursor, puts))
            self._outbox.put(cursor, entries)
        note(entries)
        if entries:
            self._outbox.flush()

    def prepare(self, puts: Sequence[Put]) -> None:
        """Make the keys that documents need, before the transaction of `put`."""
        self._keyring.ensure([_ref(put.kind) for put in puts])

    def put(self, cursor: sqlite3.Cursor, puts: Sequence[Put]) -> dict[str, str | None]:
        """Store documents in somebody's transaction; return what its audit entry tells of guarded ones (`NOTED`).

        Raises:
            ProcedureError: a document has another revision than expected (reason `stale`).
        """
        noted: dict[str, str | None] = {}
        for put in puts:
            row = cursor.execute(
                "SELECT revision FROM documents WHERE kind = ? AND id = ?", (put.kind, put.id)
            ).fetchone()
            current = row[0] if row else 0
            if put.expect is not None and put.expect != current:
                raise ProcedureError(
                    f"the {put.kind} was changed by somebody else", reason="stale", hint="read it again"
                )
            if put.body is None:
                cursor.execute("DELETE FROM documents WHERE kind = ? AND id = ?", (put.kind, put.id))
                noted[_name(put.kind, put.id)] = None
                continue
            key = derive(self._keyring.key(_ref(put.kind)), "document")
            blob = seal(key, json.dumps(put.body).encode(), _aad(put.kind, put.id, current + 1))
            cursor.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET "
                "revision = excluded.revision, key_ref = excluded.key_ref, sealed = excluded.sealed",
                (put.kind, put.id, current + 1, str(_ref(put.kind)), blob),
            )
            noted[_name(put.kind, put.id)] = _digest(blob)
        return {name: digest for name, digest in noted.items() if name.partition("/")[0] in GUARDED}

    def flush(self) -> None:
        """Hand over to the log what waits; raises as `store.outbox.Outbox.flush`."""
        self._outbox.flush()

    def digest(self, name: str) -> str | None:
        """Return the digest of the stored document that a log entry names as kind/id; None: there is none."""
        with suppress(NotFoundError):
            return _digest(self._row(*name.split("/", 1))[4])
        return None

    def _is_told(self, row: tuple[Any, ...]) -> bool:
        """Tell whether the log has nothing to say against a row.

        Of a log that cannot be read what was read before counts. Where that is nothing, no person acts; deliveries,
        whose credentials read nothing, go on.
        """
        if self.log_state is None:
            return True
        name = _name(row[0], row[1])
        try:
            said: tuple[bool, str | None] | None = self.log_state.document(name)
        except (LagrumError, OSError):
            said = self.log_state.remembered(name)
        if said is None:
            return row[0] in _WITHOUT_LOG
        known, digest = said
        return not known or digest == _digest(row[4])

    def _row(self, kind: str, id: str) -> tuple[Any, ...]:
        rows = self._catalog.query(
            "SELECT kind, id, revision, key_ref, sealed FROM documents WHERE kind = ? AND id = ?", (kind, id)
        )
        if not rows:
            raise NotFoundError(f"there is no such {kind}")
        return rows[0]

    def _open(self, row: tuple[Any, ...]) -> Document:
        kind, id, revision, ref, blob = row
        key = derive(self._keyring.key(KeyRef.parse(ref)), "document")
        return Document(kind, id, revision, json.loads(unseal(key, blob, _aad(kind, id, revision))))


def problems(documents: Documents, log_state: LogState) -> list[Problem]:
    """Return every guarded document that is not the one of which the audit log told last.

    Raises:
        LagrumError: the log cannot take what waits for it, or is not as it was left.
    """
    for _ in range(2):  # they may change meanwhile: what looks wrong is looked at again
        documents.flush()
        said = log_state.documents()
        found = [name for name, digest in sorted(said.items()) if documents.digest(name) != digest]
        if not found:
            break
    return [Problem(f"document {name}", "it is not the one that the audit log says is in force") for name in found]


def _telling(entries: Sequence[AuditEntry], noted: dict[str, str | None]) -> list[AuditEntry]:
    """Return the entries, one of which tells what the guarded documents are now."""
    told = list(entries)
    if noted:
        word = min(noted).partition("/")[0].partition("-")[0]
        place = next((place for place, entry in enumerate(told) if entry.kind.startswith(f"{word}.")), len(told))
        told[place:place] = [] if place < len(told) else [AuditEntry(f"{word}.changed", {})]
        told[place] = replace(told[place], public={**told[place].public, NOTED: noted})
    return told


def _name(kind: str, id: str) -> str:
    return f"{kind}/{id}"


def _digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def _ref(kind: str) -> KeyRef:
    return KeyRef("documents", "", kind, "shared")


def _aad(kind: str, id: str, revision: int) -> bytes:
    return f"{kind}|{id}|{revision}".encode()
