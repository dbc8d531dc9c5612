"""Finding entries of a log without decoding every one: a line is looked at as bytes first, decoded only then.

Whatever is found is checked against the tree before it is given out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from schemas.errors import IntegrityError
from store.audit.entries import LEAF_BYTES_MAX, StoredEntry, decode_leaf, open_entry
from store.audit.merkle import leaf_hash
from store.audit.segments import indexed_leaves, list_segments, nodes_reader


def last_time_us(directory: Path) -> int | None:
    """Return when the last entry was written, µs since 1970 UTC; None when the log shows none, or cannot be read."""
    with suppress(IntegrityError, OSError):  # of such a log nothing is erased, and deliveries do not wait for it
        for name in reversed(list_segments(directory)):
            path = name.path(directory)
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - LEAF_BYTES_MAX - 2))
                lines = file.read().rpartition(b"\n")[0].split(b"\n")
            with suppress(IntegrityError):
                return decode_leaf(lines[-1]).time_us
    return None


def find(directory: Path, size: int, kinds: Sequence[str], *, first: int = 0) -> Iterator[StoredEntry]:
    """Give the entries of these kinds among the first `size`, oldest first, without their secret parts.

    Nothing before the entry `first` is given, and no segment that ends before it is read.

    Raises:
        IntegrityError: one was changed.
    """
    needles = [f'"kind":"{kind}"' for kind in kinds]
    return (entry for entry in find_words(directory, size, needles, first=first) if entry.kind in kinds)


def find_words(directory: Path, size: int, words: Sequence[str], *, first: int = 0) -> Iterator[StoredEntry]:
    """Give the entries from `first` among the first `size` in whose octets one of the words stands, oldest first.

    Raises:
        IntegrityError: one was changed.
    """
    wanted = [word.encode() for word in words]
    with nodes_reader(directory) as read:
        for index, octets in lines(directory, size, first=first):
            if not any(word in octets for word in wanted):
                continue
            if leaf_hash(octets) != read(0, index):
                raise IntegrityError(f"entry {index} of the audit log was changed")
            yield open_entry(decode_leaf(octets), octets, store_id="", keyring=None)


def lines(directory: Path, size: int, *, first: int = 0) -> Iterator[tuple[int, bytes]]:
    """Give index and octets of the first `size` leaves from `first` on, unchecked."""
    names = list_segments(directory)
    ends = [name.first for name in names[1:]] + [size]
    for name, end in zip(names, ends, strict=False):
        if end <= first:
            continue
        for index, octets in indexed_leaves(directory, name):
            if index >= size:
                return
            if index >= first:
                yield index, octets
