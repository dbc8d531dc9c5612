"""Small encrypted documents for the layers above: persons, credentials, sources, authorisations, tasks, deliveries."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from schemas.errors import IntegrityError, KeyUnavailableError, NotFoundError, ProcedureError
from store.audit import AuditEntry
from store.catalog import Catalog
from store.keys import KeyRef, Keyring, derive, seal, unseal
from store.noted import note
from store.outbox import Outbox

GUARDED: Final = ("person", "credential", "authority")
"""Kinds whose earlier revisions must not come back: who was revoked stays so, whoever edits the catalog."""
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

    def get(self, kind: str, id: str) -> Document:
        """Return a document.

        Raises:
            NotFoundError: there is none of that kind and id.
        """
        rows = self._catalog.query(
            "SELECT kind, id, revision, key_ref, sealed FROM documents WHERE kind = ? AND id = ?", (kind, id)
        )
        if not rows:
            raise NotFoundError(f"there is no such {kind}")
        return self._open(rows[0])

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
        return self._open(rows[0]) if rows else None

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
        """Return all documents of a kind, by id."""
        rows = self._catalog.query(
            "SELECT kind, id, revision, key_ref, sealed FROM documents WHERE kind = ? ORDER BY id", (kind,)
        )
        return [self._open(row) for row in rows]

    def commit(self, puts: Sequence[Put], entries: Sequence[AuditEntry] = ()) -> None:
        """Store documents and log entries in one transaction; return when both are durable.

        Raises:
            ProcedureError: a document has another revision than expected (reason `stale`); nothing is stored.
            AuditError: the log cannot take the entries now; the change stands and its entries follow, but the caller
                must not let anything out.
        """
        self.prepare(puts)
        with self._catalog.transaction() as cursor:
            self.put(cursor, puts)
            self._outbox.put(cursor, entries)
        note(entries)
        if entries:
            self._outbox.flush()

    def prepare(self, puts: Sequence[Put]) -> None:
        """Make the keys that documents need, before the transaction of `put`."""
        self._keyring.ensure([_ref(put.kind) for put in puts])

    def put(self, cursor: sqlite3.Cursor, puts: Sequence[Put]) -> None:
        """Store documents in somebody's transaction.

        Raises:
            ProcedureError: a document has another revision than expected (reason `stale`).
        """
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
                continue
            key = derive(self._keyring.key(_ref(put.kind)), "document")
            blob = seal(key, json.dumps(put.body).encode(), _aad(put.kind, put.id, current + 1))
            cursor.execute(
                "INSERT INTO documents VALUES (?, ?, ?, ?, ?) ON CONFLICT (kind, id) DO UPDATE SET "
                "revision = excluded.revision, key_ref = excluded.key_ref, sealed = excluded.sealed",
                (put.kind, put.id, current + 1, str(_ref(put.kind)), blob),
            )

    def _open(self, row: tuple[Any, ...]) -> Document:
        kind, id, revision, ref, blob = row
        key = derive(self._keyring.key(KeyRef.parse(ref)), "document")
        return Document(kind, id, revision, json.loads(unseal(key, blob, _aad(kind, id, revision))))


def _ref(kind: str) -> KeyRef:
    return KeyRef("documents", "", kind, "shared")


def _aad(kind: str, id: str, revision: int) -> bytes:
    return f"{kind}|{id}|{revision}".encode()
