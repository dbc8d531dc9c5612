"""What a log tells: its head, entries checked against the tree, proofs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from schemas.errors import IntegrityError
from store.audit import merkle
from store.audit.checkpoint import VerifierKey
from store.audit.entries import StoredEntry
from store.audit.epochs import Epoch
from store.audit.reading import read_entries
from store.audit.segments import nodes_reader
from store.audit.tail import EMPTY, Tail
from store.keys import Keyring


class LogView:
    """The reading half of `store.audit.log.AuditLog`."""

    def __init__(self, directory: Path, keyring: Keyring) -> None:
        self._directory = directory
        self._keyring = keyring
        self._tail: Tail = EMPTY
        self._epoch: Epoch
        self._origin: VerifierKey
        self._store_id: str

    @property
    def directory(self) -> Path:
        """Where its files lie."""
        return self._directory

    @property
    def store_id(self) -> str:
        """The store that the log belongs to."""
        return self._store_id

    @property
    def origin(self) -> VerifierKey:
        """The pinned origin key; its name is the origin line of every checkpoint."""
        return self._origin

    @property
    def epoch(self) -> int:
        """The number of the epoch that signs now."""
        return self._epoch.number

    @property
    def size(self) -> int:
        """How many entries are durable, as far as this process knows."""
        return self._tail.size

    @property
    def tail(self) -> Tail:
        """Where the log ends, as far as this process knows."""
        return self._tail

    def root_hash(self) -> bytes:
        """Return the tree head over `size` entries."""
        return self._tail.frontier.root()

    def checkpoint(self) -> str:
        """Return the signed checkpoint over `size` entries."""
        return self._tail.note

    def entries(self, start: int = 0, stop: int | None = None, *, reveal: bool = False) -> Iterator[StoredEntry]:
        """Give the entries [start, stop), each checked against the tree; `reveal` opens their secret parts.

        Raises:
            IntegrityError: an entry is missing, changed, or its secret part does not authenticate.
        """
        stop = self.size if stop is None else min(stop, self.size)
        keyring = self._keyring if reveal else None
        if keyring is not None:
            keyring.refresh()
        return read_entries(self._directory, max(start, 0), stop, store_id=self._store_id, keyring=keyring)

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the audit path of an entry in the tree of `size` entries (by default all).

        Raises:
            IntegrityError: there is no such entry in that tree.
        """
        with nodes_reader(self._directory) as read:
            return merkle.inclusion_proof(read, index, self._known(size))

    def consistency_proof(self, first: int, second: int | None = None) -> list[bytes]:
        """Return the proof that the tree of `first` entries is the beginning of that of `second` (by default all).

        Raises:
            IntegrityError: not 0 <= first <= second <= size.
        """
        with nodes_reader(self._directory) as read:
            return merkle.consistency_proof(read, first, self._known(second))

    def _known(self, size: int | None) -> int:
        if size is None:
            return self.size
        if size > self.size:
            raise IntegrityError("the audit log has no tree of that size")
        return size
