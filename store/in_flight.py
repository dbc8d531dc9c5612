"""A batch whose records are in and whose commit may fail yet, as the batch after it sees it.

The one after is compared with its rows, in memory or in parts that nobody else knows, and publishes nothing before it.
When it is not published, or not as it was written (another process stored some of the same records meanwhile), what
was told by its rows does not hold: the one after is void, and its records are compared anew.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from schemas.errors import BusyError
from store.identities.dedup import Chunk
from store.identities.identity_lookup import Known, PartSource

if TYPE_CHECKING:
    from store.model import WrittenPart


class VoidError(BusyError):
    """A batch was compared with one before it that did not become what it was; nothing of it is visible."""

    def __init__(self) -> None:
        super().__init__("the batch before this one was not stored as it was", hint="deliver the batch again")


class InFlightBatch:
    """All new rows of a batch: those that are in memory, and the parts that are written already. Safe for threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._ended = threading.Event()
        self._chunks: Sequence[Chunk] = ()
        self._parts: Sequence[WrittenPart] = ()
        self._is_published = False

    def begin(self, chunks: Sequence[Chunk], parts: Sequence[WrittenPart]) -> Self:
        """Say which rows the batch has, before its commit begins."""
        self._chunks, self._parts = chunks, parts
        return self

    def end(self, published: Sequence[WrittenPart] | None) -> None:
        """Say in which parts the batch was published as it was written, or None: it was not."""
        with self._guard:
            self._chunks, self._parts = (), published or ()
            self._is_published = published is not None
        self._ended.set()

    def rows(self) -> tuple[Sequence[Chunk], Sequence[WrittenPart]]:
        """Return the rows in memory and the parts; of a batch that is published, the parts."""
        with self._guard:
            return self._chunks, self._parts

    def published(self) -> Sequence[WrittenPart]:
        """Wait until the batch is published; return its parts.

        Raises:
            VoidError: it was not published as it was written.
        """
        self._ended.wait()
        if not self._is_published:
            raise VoidError
        return self._parts


def sources(known: Known, parts: Sequence[WrittenPart]) -> list[PartSource]:
    """Return the records of another batch's parts; once they are published, they may be merged away at any time."""
    return [PartSource(known, part, unpublished=False) for part in parts]
