"""Open parts and indexes, kept between searches: a footer costs more than what is looked up behind it.

What is kept holds a file's key, so it lives on the keyring's leases: every use asks the keyring, which looks at least
every `store.keys.LEASE_S` seconds whether a key was destroyed; after a destruction everything is dropped
(`Store.renew_leases`). Memory and open files are bounded; what was not used for longest goes first.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Generic, TypeVar

from schemas.errors import IntegrityError
from store import descriptors
from store.blocks import BlockFile
from store.catalog import Catalog
from store.index import PartIndex
from store.keys import LEASE_S, Keyring
from store.keys.view import boot_seconds
from store.layout import Layout
from store.model import PartRow
from store.part_reader import Bounds, PartReader
from store.parts import PartStore
from store.reading.turns import ReadingTurns

MEMORY_MAX_BYTES: Final = 512 * 1024 * 1024
FILES_MAX: Final = 2_048
_SHARE: Final = 4
"""No store's readers keep more than this part of the process's descriptors."""
_READER_BYTES: Final = 38_000
"""What a reader of one row group holds, its footer and layout, measured."""
_COLUMN_BYTES: Final = 850
"""What it holds besides of one of the file's columns of one row group, once its pages were asked for."""
_INDEX_BYTES: Final = 4_000


T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Held(Generic[T]):
    thing: T
    part: PartRow
    generation: int
    nbytes: int


@dataclass(slots=True)
class OpenPart:
    """A part's reader, with the bounds that were asked of it."""

    reader: PartReader
    _bounds: dict[str, list[Bounds | None]] = field(default_factory=dict)

    def bounds(self, name: str) -> list[Bounds | None]:
        """Return the reader's bounds of a column."""
        found = self._bounds.get(name)
        if found is None:
            found = self._bounds[name] = self.reader.bounds(name)
        return found

    def close(self) -> None:
        """Close the reader."""
        self.reader.close()


class Readers:
    """The open files of one store's parts; safe for threads."""

    def __init__(self, layout: Layout, part_store: PartStore, keyring: Keyring, catalog: Catalog) -> None:
        self._layout, self._parts, self._keyring, self._catalog = layout, part_store, keyring, catalog
        self.turns = ReadingTurns(layout)
        self._lock = threading.Lock()
        self._idle: dict[str, list[_Held[OpenPart]]] = {}
        self._order: OrderedDict[int, _Held[OpenPart]] = OrderedDict()
        self._indexes: OrderedDict[str, _Held[PartIndex]] = OrderedDict()
        self._nbytes = 0
        self._looked_s = boot_seconds()
        self.files_max = descriptors.share(_SHARE, FILES_MAX)

    @contextmanager
    def part(self, part: PartRow) -> Iterator[OpenPart]:
        """Lend a part's reader; nobody else has it meanwhile, a second one is opened for who asks too.

        Raises:
            IntegrityError: the file is missing or does not authenticate.
            KeyUnavailableError: the key is gone.
        """
        generation = self._keyring.leased_generation()
        held = self._take(part)
        if held is None:
            key = self._keyring.key(part.partition.ref)
            road = partial(self._keyring.key, part.partition.location.ref) if part.location_bytes else None
            opened = OpenPart(self._parts.open(part.partition, part.file_id, key, road))
            columns = opened.reader.file_groups * opened.reader.file_columns
            nbytes = _READER_BYTES + _COLUMN_BYTES * columns + opened.reader.page_table_bytes
            held = _Held(opened, part, generation, nbytes)
        try:
            yield held.thing
        except BaseException:
            held.thing.close()
            raise
        self._give_back(held)

    def index(self, part: PartRow) -> PartIndex:
        """Return a part's index; others may use it at the same time.

        Raises:
            IntegrityError: the file is missing or does not authenticate, or is not this part's.
            KeyUnavailableError: the key is gone.
        """
        return self.indexes([part])[0]

    def indexes(self, parts: Sequence[PartRow]) -> list[PartIndex]:
        """Return the indexes of some parts, as `index`; the lease is looked at once.

        Raises:
            IntegrityError, KeyUnavailableError: as `index`.
        """
        generation = self._keyring.leased_generation()
        found: list[PartIndex | None] = []
        with self._lock:
            for part in parts:
                held = self._indexes.get(part.file_id)
                if held is None or held.generation != generation:
                    found.append(None)
                    continue
                self._indexes.move_to_end(part.file_id)
                found.append(held.thing)
        return [
            self._open_index(part, generation) if index is None else index
            for part, index in zip(parts, found, strict=True)
        ]

    def _open_index(self, part: PartRow, generation: int) -> PartIndex:
        key = self._keyring.key(part.partition.ref)
        binding = self._parts.binding(part.partition, part.file_id, "index")
        file = BlockFile(self._layout.index(part.partition, part.file_id), binding, key, hold=False)
        index = PartIndex(file)
        if index.rows != part.rows:
            raise IntegrityError(f"{binding} is of another number of records than the catalog says")
        made = _Held(index, part, generation, _INDEX_BYTES + 8 * len(file))
        with self._lock:
            old = self._indexes.pop(part.file_id, None)
            self._nbytes += made.nbytes - (old.nbytes if old is not None else 0)
            self._indexes[part.file_id] = made
            self._shrink()
        return index

    def renew(self) -> None:
        """Drop what lies under another generation of the keyring, and now and then what was merged away meanwhile."""
        now_s = boot_seconds()
        with self._lock:
            made_under = [item.generation for item in self._order.values()]
            made_under += [item.generation for item in self._indexes.values()]
            stale = any(generation != self._keyring.generation for generation in made_under)
            due = bool(made_under) and now_s - self._looked_s >= LEASE_S / 2
        if stale:
            self.clear()
        elif due:
            self._looked_s = now_s
            known = self._catalog.file_homes()
            with self._lock:
                self._drop([key for key, item in self._order.items() if item.part.file_id not in known])
                self._drop_indexes([key for key in self._indexes if key not in known])

    def clear(self) -> None:
        """Close everything that nobody uses right now; what is in use is closed when it comes back."""
        with self._lock:
            self._drop(list(self._order))
            self._drop_indexes(list(self._indexes))

    @property
    def open_count(self) -> int:
        """How many files are kept."""
        return len(self._order) + len(self._indexes)

    def _take(self, part: PartRow) -> _Held[OpenPart] | None:
        with self._lock:
            idle = self._idle.get(part.file_id)
            if not idle:
                return None
            held = idle.pop()
            if not idle:
                del self._idle[part.file_id]
            del self._order[id(held)]
            self._nbytes -= held.nbytes
        if held.generation == self._keyring.generation:
            return held
        held.thing.close()
        return None

    def _give_back(self, held: _Held[OpenPart]) -> None:
        if held.generation != self._keyring.generation:
            held.thing.close()
            return
        with self._lock:
            self._idle.setdefault(held.part.file_id, []).append(held)
            self._order[id(held)] = held
            self._nbytes += held.nbytes
            self._shrink()

    def _shrink(self) -> None:
        while self._order and (self._nbytes > MEMORY_MAX_BYTES or len(self._order) > self.files_max):
            self._drop([next(iter(self._order))])
        while self._nbytes > MEMORY_MAX_BYTES and len(self._indexes) > 1:
            self._drop_indexes([next(iter(self._indexes))])

    def _drop(self, keys: list[int]) -> None:
        for key in keys:
            held = self._order.pop(key)
            idle = self._idle[held.part.file_id]
            idle.remove(held)
            if not idle:
                del self._idle[held.part.file_id]
            self._nbytes -= held.nbytes
            held.thing.close()

    def _drop_indexes(self, keys: list[str]) -> None:
        """Forget indexes; they are not closed, for others may ask them right now, and they hold no descriptor."""
        for key in keys:
            self._nbytes -= self._indexes.pop(key).nbytes
