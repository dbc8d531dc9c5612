"""What is known of stored records: the road from a tag to the records that may have it, through bounded caches."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.errors import IntegrityError, KeyUnavailableError
from store import siblings
from store.identities import runs
from store.identities.identity import DIGEST_COLUMNS, Identities
from store.identities.runs import Asked, RunReader, Tags, Words
from store.identities.screen import Screen
from store.identities.small_runs import SMALL_ROWS_MAX, Met, SmallRuns
from store.model import PartFiles, PartRow
from store.partitions import PartitionKey, date_to_day, day_to_date
from store.siblings import LocationKey

if TYPE_CHECKING:
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type
T = TypeVar("T")
Places = npt.NDArray[np.int64]

READERS_MAX: Final = 256
"""Runs that are kept open; each is a file descriptor and some 16 bytes for every 2048 records."""
SOURCES_MAX: Final = 65_536
"""Parts that are known by their rows in the catalog, at some 700 bytes each."""
DIGESTS_BYTES_MAX: Final = 192 << 20
"""Tags and digests of row groups that were read: 20 bytes a record, so that a file that comes again is read once."""
OF_DAYS: Final = "p.part_id > ? AND q.end_date BETWEEN ? AND ? AND b.withdrawn_us IS NULL"
"""Parts after one, of days, that are not withdrawn whole: what a delivery is compared with."""
RECORDS_BYTES_MAX: Final = 96 << 20
"""Records of row groups that were read."""
LOT_ROWS: Final = 65_536
"""So many rows of a part are read together, and their identities derived at once."""
COLUMNS: Final = (
    *("dedup_domain", "switch", "record_key", "record_key_text"),
    *(name for name, _ in DIGEST_COLUMNS),
    "batch_id",
)
"""What decides between duplicate and conflict."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Some stored records, sorted by tag, and the road to the records themselves."""

    tags: npt.NDArray[np.uint64]
    digests: npt.NDArray[np.uint64]
    places: npt.NDArray[np.int32]
    read: Callable[[], pa.Table]

    @classmethod
    def of(cls, found: Identities, read: Callable[[], pa.Table]) -> Stored:
        """Put the identities of records in order."""
        order = np.argsort(found.tags, kind="stable")
        return cls(found.tags[order], found.digests[order], order.astype(np.int32), read)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.tags.nbytes + self.digests.nbytes + self.places.nbytes


class PartSource:
    """The records of one part, but those of withdrawn batches.

    A part that was merged away meanwhile is empty here: the merged one is newer than the batch that asks, and what is
    newer is compared when the batch is published. So is one whose partition was erased.
    """

    def __init__(self, known: Known, part: PartFiles, *, unpublished: bool | None = None) -> None:
        """Take a part; `unpublished` ones cannot be gone, and a written one is such unless its batch is another."""
        self.known = known
        self.file_id = part.file_id
        self.partition: PartitionKey = part.partition
        self.day = date_to_day(part.partition.end_date)
        self.rows = part.rows
        self.unpublished = not isinstance(part, PartRow) if unpublished is None else unpublished
        self.hidden = part.withdrawn_batches if isinstance(part, PartRow) else ()
        self._part = part

    @property
    def location(self) -> LocationKey | None:
        """The road to its location."""
        return self.known.location_key(self._part)

    @property
    def is_small(self) -> bool:
        """Whether its run is asked together with others (`Known.find_small`)."""
        return self.rows <= SMALL_ROWS_MAX

    def words(self) -> Words:
        """Return the part's run."""
        return self.known.unless_gone(self, lambda: self.known.run(self).words(), np.zeros(0, np.uint64))

    def asked(self) -> Asked:
        """Return its identities, to look for them in another part."""
        nothing = Asked(np.zeros(0, np.uint64), None)
        return self.known.unless_gone(self, lambda: self.known.run(self).asked(), nothing)

    def find(self, asked: Asked) -> tuple[Places, Places]:
        """Return which of these identities the part may have, and in which row group."""
        nothing = np.zeros(0, np.int64)
        return self.known.unless_gone(self, lambda: self.known.run(self).find(asked), (nothing, nothing))

    def groups(self, numbers: Sequence[int]) -> Iterator[tuple[int, Stored]]:
        """Yield the identities of row groups; those that have to be read are read by the lot."""
        lot = self.known.unless_gone(self, lambda: self.known.lot(self), 1) if len(numbers) > 1 else 1
        for at in range(0, len(numbers), lot):
            some = numbers[at : at + lot]
            nothing: list[Stored] = []
            yield from zip(
                some, self.known.unless_gone(self, partial(self.known.groups, self, some), nothing), strict=False
            )


class Known:
    """What one process knows of the store's records. Safe for threads; emptied when keys are destroyed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._readers: _Cache[str, RunReader] = _Cache(READERS_MAX, lambda _: 1)
        self._groups: _Cache[tuple[Any, ...], Stored] = _Cache(DIGESTS_BYTES_MAX, lambda item: item.nbytes)
        self._records: _Cache[tuple[Any, ...], pa.Table] = _Cache(RECORDS_BYTES_MAX, lambda item: item.nbytes)
        self._sources: dict[int, PartSource] = {}
        self._epoch = 0
        self._lock = threading.Lock()
        self.small = SmallRuns()
        self.screen = Screen(self._words)

    def run(self, part: PartSource) -> RunReader:
        """Return a part's run, open.

        Raises:
            IntegrityError: the file is missing or does not authenticate.
        """
        return self._readers.get(part.file_id, lambda: self._open_run(part))

    def find_small(self, parts: Sequence[PartSource], tags: Tags) -> Met:
        """Return where some cut tags, sorted, stand in the runs of small parts.

        Raises:
            IntegrityError: a file is missing or does not authenticate.
        """
        return self.small.find(parts, tags, self._load_small)

    def sources(self, days: Iterable[int], newest: int) -> list[PartSource]:
        """Return the published parts of day numbers, not withdrawn, up to an id; what is known is not read anew."""
        wanted = set(days)
        if not wanted:
            return []
        first, last = (day_to_date(day).isoformat() for day in (min(wanted), max(wanted)))
        numbers, hiding = self._store.catalog.numbers_of_parts(OF_DAYS, (0, first, last))
        with self._lock:
            sources = {number: self._sources.get(number) for number in numbers if number <= newest}
            epoch = self._epoch
        new = [number for number, source in sources.items() if source is None or number in hiding]
        rows = (
            self._store.catalog.parts("p.part_id IN (SELECT value FROM json_each(?))", (json.dumps(new),))
            if new
            else []
        )
        read = {row.part_id: PartSource(self, row) for row in rows}
        with self._lock:
            if epoch == self._epoch:
                if len(self._sources) + len(read) > SOURCES_MAX:
                    self._sources.clear()
                self._sources.update(read)
        sources |= {number: read.get(number) for number in new}  # one may be gone since
        return [source for source in sources.values() if source is not None and source.day in wanted]

    def lot(self, part: PartSource) -> int:
        """Return how many row groups of a part are read together."""
        return 1 if part.hidden else max(1, LOT_ROWS // max(1, self.run(part).group_rows))

    def groups(self, part: PartSource, numbers: Sequence[int]) -> list[Stored]:
        """Return the identities of row groups: one, or as many as a lot has."""
        read: dict[int, pa.Table] = {}

        def derive(missing: Sequence[tuple[Any, ...]]) -> Iterator[Stored]:
            chosen = [number for _, _, number in missing]
            records, sizes = self._lot(part, chosen)
            found, start = self._store.hasher.identities(records), 0
            for number, size in zip(chosen, sizes, strict=True):
                rows = slice(start, start + size)
                read[number] = records.slice(start, size)
                own = Identities(found.tags[rows], found.digests[rows])
                yield Stored.of(own, partial(self.records, part, number))
                start += size

        stored = self._groups.get_all([(part.file_id, part.hidden, number) for number in numbers], derive)
        # Whoever asks now may have the records that were just read; what is kept must not hold a whole lot.
        return [
            replace(item, read=partial(read.__getitem__, number)) if number in read else item
            for number, item in zip(numbers, stored, strict=True)
        ]

    def records(self, part: PartSource, number: int) -> pa.Table:
        """Return the records of a row group, but those of withdrawn batches."""
        return self._records.get((part.file_id, part.hidden, number), lambda: self._read(part, [number])[0])

    def unless_gone(self, part: PartSource, read: Callable[[], T], empty: T) -> T:
        """Read, or return `empty` if the part is no part of the store any more."""
        try:
            return read()
        except (IntegrityError, KeyUnavailableError):
            if part.unpublished or self._store.catalog.parts("p.file_id = ?", (part.file_id,)):
                raise
            return empty

    def merged(self, file_ids: Iterable[str], into: Iterable[str]) -> None:
        """Note that parts became others; what the screen holds of them it holds of the new ones."""
        merged = list(file_ids)
        self.screen.merged(merged, list(into))
        self._drop(merged)

    def __len__(self) -> int:
        """Return how many runs, row groups and tags are held."""
        return len(self._readers) + len(self._groups) + len(self._records) + len(self.small) + self.screen.held

    def clear(self) -> None:
        """Drop everything: a key was destroyed."""
        with self._lock:
            self._sources.clear()
            self._epoch += 1
        self.screen.clear()
        self.small.clear()
        self._readers.clear()
        self._groups.clear()
        self._records.clear()

    def _drop(self, file_ids: Sequence[str]) -> None:
        gone = set(file_ids)
        self.small.drop(gone)
        self._readers.drop(lambda key: key in gone)
        self._groups.drop(lambda key: key[0] in gone)
        self._records.drop(lambda key: key[0] in gone)

    def _open_run(self, part: PartSource) -> RunReader:
        store = self._store
        return store.part_store.open_run(part.partition, part.file_id, store.keyring.key(part.partition.ref))

    def _load_small(self, parts: Sequence[PartSource]) -> list[Words | None]:
        """Read the runs of parts whole; None for one that is no part of the store any more."""
        read = [self.unless_gone(part, partial(self._read_run, part), None) for part in parts]
        there = [one for one in read if one is not None]
        words = runs.by_tags(there, self._store.hasher)
        pieces = iter(np.split(words, np.cumsum([len(own) for _, own in there])[:-1]) if there else ())
        return [None if one is None else next(pieces) for one in read]

    def _read_run(self, part: PartSource) -> tuple[runs.Head, Words] | None:
        store = self._store
        return store.part_store.read_run(part.partition, part.file_id, store.keyring.key(part.partition.ref))

    def _words(self, parts: Sequence[PartSource]) -> Words:
        """Return the words of parts, in no order: those of small ones come from what is asked together."""
        small = self.small.words([part for part in parts if part.is_small], self._load_small)
        return np.concatenate([small, *(part.words() for part in parts if not part.is_small)])

    def _lot(self, part: PartSource, numbers: Sequence[int]) -> tuple[pa.Table, list[int]]:
        """Return the records of row groups, one after another, and how many each has."""
        if len(numbers) > 1:
            return self._read(part, numbers)
        records = self.records(part, numbers[0])
        return records, [records.num_rows]

    def _read(self, part: PartSource, numbers: Sequence[int]) -> tuple[pa.Table, list[int]]:
        try:
            records, sizes = self._read_groups(part, numbers, part.location)
        except (IntegrityError, KeyUnavailableError):
            if part.location is None or part.unpublished or siblings.is_stored(self._store, part.file_id):
                raise
            records, sizes = self._read_groups(part, numbers, None)  # its location was erased meanwhile
        if part.hidden:
            seen = pc.invert(pc.is_in(records.column("batch_id"), pa.array(part.hidden, pa.int64())))
            records = records.filter(seen)
        return records.combine_chunks(), sizes

    def _read_groups(
        self, part: PartSource, numbers: Sequence[int], location: LocationKey | None
    ) -> tuple[pa.Table, list[int]]:
        store, key = self._store, self._store.keyring.key(part.partition.ref)
        with store.part_store.open(part.partition, part.file_id, key, location) as reader:
            return reader.read(numbers, COLUMNS), [reader.group_rows(number) for number in numbers]

    def location_key(self, part: PartFiles) -> LocationKey | None:
        """Return the road to a part's location."""
        return siblings.reading_key(self._store, part)


K = TypeVar("K")
V = TypeVar("V")


class _Cache(Generic[K, V]):
    """Values by key, the least recently used out first; bounded by their sizes, but always room for one."""

    def __init__(self, size_max: int, size: Callable[[V], int]) -> None:
        self._size_max, self._size_of = size_max, size
        self._items: OrderedDict[K, V] = OrderedDict()
        self._size = 0
        self._epoch = 0
        self._lock = threading.Lock()

    def get(self, key: K, load: Callable[[], V]) -> V:
        return self.get_all([key], lambda _: [load()])[0]

    def get_all(self, keys: Sequence[K], load: Callable[[Sequence[K]], Iterable[V]]) -> list[V]:
        """Return the values of keys; those that are missing are loaded together."""
        with self._lock:
            epoch = self._epoch
            found = {key: self._items[key] for key in keys if key in self._items}
            for key in found:
                self._items.move_to_end(key)
        missing = [key for key in keys if key not in found]
        if missing:
            loaded = dict(zip(missing, load(missing), strict=True))
            with self._lock:
                for key, value in loaded.items():
                    if key not in self._items and epoch == self._epoch:  # else it was loaded under keys that are gone
                        self._items[key] = value
                        self._size += self._size_of(value)
                while self._size > self._size_max and len(self._items) > 1:
                    self._size -= self._size_of(self._items.popitem(last=False)[1])
            found |= loaded
        return [found[key] for key in keys]

    def __len__(self) -> int:
        with self._lock:
            return len(self._items)

    def drop(self, gone: Callable[[K], bool]) -> None:
        with self._lock:
            for key in [key for key in self._items if gone(key)]:
                self._size -= self._size_of(self._items.pop(key))

    def clear(self) -> None:
        with self._lock:
            self._items.clear()
            self._size = 0
            self._epoch += 1
