"""Siblings: the location of a partition's records, in files and under a key of its own, so that it can end sooner.

A part whose records tell a location has a file more, `ID.loc`, with those columns row by row in the part's order. It is
written with the part, published with it and merged with it; it ends with the partition at the latest, and sooner where
the policy gives location a period (`schemas.policy`): expiry then destroys the sibling's key and unlinks its files, and
the records stay. A part without any location has no such file.

Readers get the location with the record as long as the sibling is kept, and nulls after it. What the store reads for
itself (duplicates, merging, holds) goes by what is stored, not by the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED, packed_columns
from schemas.errors import BusyError, ClockError, IntegrityError, KeyUnavailableError
from schemas.fields import FIELDS, Category
from store.binding import FileBinding
from store.encoding.choices import Choices
from store.encoding.code_search import Range
from store.encoding.columns import Encoding, Stored, encode
from store.encoding.figure_batch import FigureBatch
from store.encoding.forms import SizeOf
from store.part_reader import Kept, Pages, PartReader
from store.reading.page_layout import Window

if TYPE_CHECKING:
    from store.layout import Layout
    from store.model import PartFiles, PartRow, WrittenPart
    from store.partitions import PartitionKey
    from store.retention.clockguard import Watch
    from store.retention.clocktrust import Verdict
    from store.store import Store

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

LOCATION_FIELDS: Final = frozenset(field.name for field in FIELDS if field.category is Category.LOCATION)
LOCATION_COLUMNS: Final = frozenset(
    column.name for field in FIELDS if field.name in LOCATION_FIELDS for column in packed_columns(field)
)
MARK: Final = "lagrum.location"
"""Metadata of a part's records: the columns that lie in its sibling."""

LocationKey = Callable[[], bytes]
"""Gives the key of the sibling when its file is opened, which is when somebody asks for a location."""


class LocatedReader(PartReader):
    """A part's records with their location, for which a second file is opened once it is asked for."""

    def __init__(
        self, path: Any, binding: FileBinding, partition_key: bytes, open_location: Callable[[], PartReader]
    ) -> None:
        """Open the part; `open_location` opens its sibling.

        Raises:
            IntegrityError: it is missing, is not the file that the catalog means, or does not authenticate.
        """
        super().__init__(path, binding, partition_key)
        told = (self._file.metadata.metadata or {}).get(MARK.encode(), b"")
        self._located = frozenset(told.decode().split(",")) & LOCATION_COLUMNS
        self._open_location = open_location
        self._sibling: PartReader | None = None
        self.names = self.names | self._located

    def close(self) -> None:
        """Close both files."""
        super().close()
        if self._sibling is not None:
            self._sibling.close()

    def read(self, groups: Sequence[int] | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        """Return records of some row groups, as `PartReader.read`.

        Raises:
            IntegrityError: a page does not authenticate, or the sibling is not this part's.
            KeyUnavailableError: the sibling's key is gone.
        """
        names = [name for name in (PACKED.names if columns is None else columns) if name in self.names]
        own, theirs = self.divided(names)
        if not theirs:
            return super().read(groups, own)
        located = self.location().read(groups, theirs)
        return _joined(names, super().read(groups, own), located) if own else located

    def figures(self, groups: Sequence[int], columns: Sequence[str]) -> FigureBatch:
        """Return what `read` returns, as figures.

        Raises:
            IntegrityError, KeyUnavailableError: as `read`.
        """
        own, theirs = self.divided([name for name in columns if name in self.names])
        batch = super().figures(groups, own)
        if theirs:
            located = self.location().read(groups, theirs)
            for name in theirs:
                batch.take(name, located.column(name))
        return batch

    def at(self, windows: Sequence[Window]) -> Pages:
        """Return some rows, to be read column by column."""
        return _LocatedPages(super().at(windows), self)

    def divided(self, names: Sequence[str]) -> tuple[list[str], list[str]]:
        """Return which of these columns lie in the part, and which in its sibling."""
        own = [name for name in names if name not in self._located]
        return own, [name for name in names if name in self._located]

    def location(self) -> PartReader:
        """Return the sibling, open.

        Raises:
            IntegrityError: it is missing, does not authenticate, or is not this part's.
            KeyUnavailableError: its key is gone.
        """
        if self._sibling is None:
            sibling = self._open_location()
            last = self.groups - 1
            if sibling.groups != self.groups or sibling.group_rows(last) != self.group_rows(last):
                sibling.close()
                raise IntegrityError(f"the location beside {self._binding} is of other records")
            self._sibling = sibling
        return self._sibling


class _LocatedPages(Pages):
    """Rows of a part and of its sibling."""

    def __init__(self, own: Pages, reader: LocatedReader) -> None:
        super().__init__(reader, own.windows)
        self._own, self._located = own, reader
        self._theirs: Pages | None = None

    def read(self, names: Sequence[str]) -> pa.Table:
        tables = [item.restored() for item in self.kept(names)]
        return tables[0] if len(tables) == 1 else _joined(names, *tables)

    def kept(self, names: Sequence[str]) -> list[Kept]:
        own, theirs = self._located.divided(names)
        if not theirs:
            return self._own.kept(own)
        if self._theirs is None:
            self._theirs = Pages(self._located.location(), self.windows)
        located = self._theirs.kept(theirs)
        return [*self._own.kept(own), *located] if own else located

    def matching(self, wanted: Mapping[str, Sequence[Range]]) -> npt.NDArray[np.bool_] | None:
        return self._own.matching(wanted)

    def of(self, rows: npt.NDArray[np.int64]) -> Pages:
        return _LocatedPages(self._own.of(rows), self._located)


def _joined(names: Sequence[str], own: pa.Table, located: pa.Table) -> pa.Table:
    columns = dict(zip(located.column_names, located.columns, strict=True))
    columns |= zip(own.column_names, own.columns, strict=True)
    return pa.table({name: columns[name] for name in names})


def split(table: pa.Table) -> tuple[pa.Table, pa.Table | None]:
    """Return records without their location, and the columns of the location; None when no record has any."""
    names, told = [name for name in table.column_names if name in LOCATION_COLUMNS], _told(table)
    return table.drop_columns(names) if names else table, table.select(told) if told else None


def marked(stored: Stored, location: pa.Table | None) -> Stored:
    """Return a part's stored records with the mark that tells which columns its sibling has."""
    if location is None:
        return stored
    return replace(stored, metadata={**stored.metadata, MARK: ",".join(location.column_names)})


def encoded(location: pa.Table, group_rows: int, size_of: SizeOf, choices: Choices | None = None) -> Stored:
    """Return a location as its file keeps it; one that is the same in every row, so that no column is needed, plain."""
    stored = encode(location, group_rows, size_of, choices)
    if stored.table.num_columns:
        return stored
    plain = {name: Encoding(codec="zstd", dictionary=True) for name in location.column_names}
    return Stored(location, plain, group_rows, {})


def located(records: pa.Table) -> pa.Table:
    """Return the records that have a location."""
    names = [name for name in records.column_names if name in LOCATION_COLUMNS]
    if any(records.column(name).null_count == 0 for name in names):
        return records
    found: Any = pa.array(np.zeros(records.num_rows, np.bool_))
    for name in names:
        found = pc.or_(found, pc.is_valid(records.column(name)))
    return records.filter(found)


def has_location(records: pa.Table) -> bool:
    """Tell whether any of these packed records has a location."""
    return bool(_told(records))


def _told(records: pa.Table) -> list[str]:
    names = LOCATION_COLUMNS.intersection(records.column_names)
    return [name for name in records.column_names if name in names and records.column(name).null_count < len(records)]


# Reading


def over(columns: Sequence[str] | None, partitions: Iterable[PartitionKey], watch: Watch) -> list[PartitionKey]:
    """Return the partitions whose location is kept no longer, if these columns (None: all) ask for it.

    Raises:
        ClockError: nobody can tell.
    """
    if columns is not None and LOCATION_COLUMNS.isdisjoint(columns):
        return []
    return sorted(key for key in partitions if watch.is_over(key.location))


Batch = TypeVar("Batch")


def current(batch: Batch, part: PartRow, watch: Watch) -> Batch:
    """Return what was read of a part, without the location if its period ended while the reader took its time."""
    if not (part.location_bytes and isinstance(batch, pa.RecordBatch)):
        return batch
    if LOCATION_COLUMNS.isdisjoint(batch.schema.names) or not watch.is_over(part.partition.location):
        return batch
    columns = [
        pa.nulls(batch.num_rows, kind.type) if kind.name in LOCATION_COLUMNS else batch.column(kind.name)
        for kind in batch.schema
    ]
    return cast(Batch, pa.RecordBatch.from_arrays(columns, schema=batch.schema))


# Keys


def reading_key(store: Store, part: PartFiles) -> LocationKey | None:
    """Return the road to a part's location; None when none is stored, or not any more."""
    return partial(store.keyring.key, part.partition.location.ref) if part.location_bytes else None


def writing_key(store: Store, partition: PartitionKey) -> bytes:
    """Return the key under which a partition's new records, or their location, are written.

    Raises:
        BusyError: the partition was erased, or written anew, since the batch began.
    """
    try:
        return store.keyring.key(partition.ref)
    except KeyUnavailableError as error:
        raise BusyError("a partition of the batch ended meanwhile", hint="deliver the batch again") from error


@contextmanager
def unless_ended(layout: Layout) -> Iterator[None]:
    """Tell a partition's directory that went away from a disk that did.

    Raises:
        BusyError: the partition was erased, or written anew, while its files were written.
    """
    try:
        yield
    except FileNotFoundError as error:
        if not layout.parts.is_dir():
            raise
        raise BusyError("a partition ended meanwhile", hint="do it again: deliver the batch again") from error


def kept(store: Store, partitions: Sequence[PartitionKey], verdict: Verdict) -> list[PartitionKey]:
    """Return the siblings of those partitions of which the location of new records is kept.

    Raises:
        BusyError: nobody can tell whether a period is over.
    """
    states = store.catalog.location_states() if partitions else {}
    wanted = [key.location for key in partitions if states.get(key.location) in (None, "live")]
    try:
        return [key for key in wanted if not verdict.is_over(key)]
    except ClockError as error:  # to leave it out would lose it, if the clock is wrong
        raise BusyError(error.message, hint=error.hint) from error


def refuse_over(parts: Iterable[WrittenPart], verdict: Verdict) -> None:
    """Return if the location in these new parts may be published.

    Raises:
        BusyError: its period ended while the batch was written.
    """
    for part in parts:
        if part.location_bytes and verdict.standing(part.partition.location) != "kept":
            raise BusyError("the period of a location of the batch ended meanwhile", hint="deliver the batch again")


def problems(store: Store, part: PartRow) -> Iterator[str]:
    """Read a part's location and yield what is wrong with it.

    Raises:
        IntegrityError, KeyUnavailableError: it cannot be read.
    """
    key = store.keyring.key(part.partition.ref)
    with store.part_store.open(part.partition, part.file_id, key, reading_key(store, part)) as reader:
        location = reader.read(columns=sorted(LOCATION_COLUMNS))
    found = located(location).num_rows
    if found != part.location_rows:
        yield "holds the location of another number of records than the catalog says"


def forget(execute: Callable[[str, tuple[str, ...]], object], key: PartitionKey) -> None:
    """Take a sibling out of the catalog, its files and its key being gone: the records stay as if they had none."""
    name = (key.end_date.isoformat(), key.retention_class, key.key_domain)
    execute(
        "UPDATE partitions SET location_state = 'dropped', bytes = bytes - (SELECT coalesce(sum(location_bytes), 0) "
        "FROM parts WHERE parts.partition_id = partitions.partition_id) "
        "WHERE end_date = ? AND retention_class = ? AND key_domain = ?",
        name,
    )
    execute(
        "UPDATE parts SET location_rows = 0, location_bytes = 0, location_sha256 = '' WHERE partition_id = "
        "(SELECT partition_id FROM partitions WHERE end_date = ? AND retention_class = ? AND key_domain = ?)",
        name,
    )


def is_stored(store: Store, file_id: str) -> bool:
    """Tell whether a published part has its location still."""
    rows = store.catalog.query(
        "SELECT 1 FROM parts JOIN partitions USING (partition_id) "
        "WHERE file_id = ? AND location_bytes > 0 AND location_state = 'live'",
        (file_id,),
    )
    return bool(rows)
