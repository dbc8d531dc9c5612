"""Which number of an authority's own names which task: for requests that came as TS 102 657 messages.

A document's id stands in the clear in the catalog, and a number may name a case: the id is a keyed digest of it.
"""

from __future__ import annotations

import hashlib
from typing import Final

from store import Store
from store.keys import KeyRef, derive

KIND: Final = "rd-request"
_REF: Final = KeyRef("documents", "", KIND, "shared")


def document_id(store: Store, authority: str, number: str) -> str:
    """Return the id of the document that keeps an authority's number (32 hex digits)."""
    store.keyring.ensure([_REF])
    key = derive(store.keyring.key(_REF), "request number")
    return hashlib.blake2b(f"{authority}\x00{number}".encode(), key=key, digest_size=16).hexdigest()


def number_of(store: Store, task: str) -> str:
    """Return the number under which messages name a task: the authority's own, or the task's id."""
    chosen = [item.body["number"] for item in store.documents.list(KIND) if item.body["case"] == task]
    return str(chosen[0]) if chosen else task
