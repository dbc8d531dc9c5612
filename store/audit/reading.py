"""Reading entries back, each checked against the tree."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from schemas.errors import IntegrityError
from store.audit.entries import StoredEntry, decode_leaf, open_entry
from store.audit.merkle import leaf_hash
from store.audit.segments import indexed_leaves, list_segments, nodes_reader
from store.keys import Keyring


def read_entries(
    directory: Path, start: int, stop: int, *, store_id: str, keyring: Keyring | None
) -> Iterator[StoredEntry]:
    """Give the entries [start, stop) that did not expire; with a keyring, their secret parts are opened.

    Raises:
        IntegrityError: an entry is missing, changed, or its secret part does not authenticate.
    """
    if start >= stop:
        return
    with nodes_reader(directory) as read:
        for index, octets in _leaves(directory, start, stop):
            if leaf_hash(octets) != read(0, index):
                raise IntegrityError(f"entry {index} of the audit log was changed")
            yield open_entry(decode_leaf(octets), octets, store_id=store_id, keyring=keyring)


def _leaves(directory: Path, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """Give index and octets of the leaves [start, stop); of expired segments, those that outlive them."""
    names = [name for name in list_segments(directory) if name.first < stop]
    ends = [name.first for name in names[1:]] + [stop]
    index = start
    for name, end in zip(names, ends, strict=True):
        if min(end, stop) <= start:
            continue
        for at, octets in indexed_leaves(directory, name):
            if at >= min(end, stop):
                break
            if name.expired and at >= start:
                yield at, octets
            elif not name.expired and at == index:
                yield index, octets
                index += 1
        if name.expired:
            index = max(index, end)
    if index < stop:
        raise IntegrityError("entries of the audit log are missing")
