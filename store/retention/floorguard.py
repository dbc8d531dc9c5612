"""Which data files may go: the audit log decides, because the catalog can be edited.

A crash leaves files that no catalog names; so does somebody who deletes rows of the catalog. The log tells them apart:
what it says was published stays on the disk until the log says that it was merged or that its partition is erased.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING, Final

from store import files
from store.audit.search import find, lines
from store.layout import LOCATION_SUFFIX
from store.partitions import PartitionKey

if TYPE_CHECKING:
    from store.store import Store

DataFile = tuple[PartitionKey, str, str]
"""Partition, file id and suffix, as `Layout.parse` gives them."""
_FILE: Final = re.compile(rb'"file":"([0-9a-f]{32})"')


def sweep(store: Store) -> None:
    """Unlink the data files of batches that were never published; the caller knows that nobody writes."""
    known = store.catalog.file_ids()
    lost = {
        parsed: path
        for path in _strangers(store.layout.parts, known)
        if (parsed := store.layout.parse(path)) is not None
    }
    kept = published(store, lost.keys())
    for file, path in lost.items():
        if file not in kept:  # else somebody edited the catalog: `verify` tells
            files.unlink_durable(path, missing_ok=True)


def _strangers(folder: Path, known: Container[str]) -> Iterator[Path]:
    """Yield the files whose id is not known; names are looked at before paths are made of them: there are many."""
    for directory, _, names in os.walk(folder):
        for name in names:
            if name.partition(".")[0] not in known:
                yield Path(directory, name)


def published(store: Store, unknown: Set[DataFile]) -> set[DataFile]:
    """Return those files, of which the catalog knows nothing, that the log holds as published and not as gone."""
    wanted = {file[1]: file for file in unknown}
    if not wanted:
        return set()
    store.audit.refresh()
    directory, size = store.layout.audit, store.audit.size
    named = {found.decode() for _, octets in lines(directory, size) for found in _FILE.findall(octets)}
    if named.isdisjoint(wanted):
        return set()
    named -= removed(store)
    erased = {entry.public["partition"] for entry in find(directory, size, ("erasure.intended",))}
    return {file for file in unknown if file[1] in named and erased.isdisjoint(_names(file))}


def _names(file: DataFile) -> set[str]:
    """Return the names under which the file's erasure is logged: a location goes with its partition, or before it."""
    key, _, suffix = file
    return {str(key), str(key.location)} if suffix == LOCATION_SUFFIX else {str(key)}


def removed(store: Store) -> set[str]:
    """Return the file ids that the log holds as merged into others; who asks again and again asks `store.log_state`."""
    store.audit.refresh()
    gone: set[str] = set()
    for entry in find(store.layout.audit, store.audit.size, ("compaction",)):
        gone.update(entry.public["removed"])
    return gone
