"""Parts: a sorted, encrypted file of records, and beside it the run of their identities and their postings."""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED
from schemas.buffers import Column, flat
from schemas.fields import SCHEMA_VERSION
from store import blocks, files, parquet, siblings
from store.binding import FileBinding
from store.encoding import figures, texts
from store.encoding.choices import Choices
from store.encoding.columns import encode, group_rows_of
from store.encoding.texts import Packed
from store.identities import runs
from store.identities.identity import IdentityHasher, Tags
from store.index import postings
from store.layout import Layout
from store.model import PartFiles, RetiredPart, WrittenPart
from store.part_reader import PartReader
from store.partitions import PartitionKey
from store.siblings import LocatedReader, LocationKey
from store.syncing import Syncs

_log = logging.getLogger("lagrum.store")
pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type


BESIDE_ROWS_MIN: Final = 655_360
"""What finds so many records is made in a thread of its own while they are encoded and written: merged parts, mostly.

A delivery's parts are smaller; its two writers keep both cores busy as it is.
"""


class PartStore:
    """Writes and reads the parts of one store."""

    def __init__(self, layout: Layout, store_id: str, hasher: IdentityHasher, *, immutable: bool = False) -> None:
        """Take the layout and what makes identities; `immutable` parts are marked so where the disk allows that."""
        self._layout = layout
        self._store_id = store_id
        self._hasher = hasher
        self._immutable = immutable
        self._named: set[Path] = set()
        self._choices = Choices()

    def write(
        self,
        partition: PartitionKey,
        key: bytes,
        records: pa.Table,
        tags: Tags | None,
        *,
        location_key: bytes | None,
        syncs: Syncs | None = None,
    ) -> WrittenPart:
        """Write records (any order); durable but for the directory entry. Who has their tags already gives them.

        With `syncs` the part is durable once these are finished. `sync_names` makes directory entries durable; either
        raises BusyError when the partition was erased meanwhile.

        `records` has packed columns; `batch_id` only in a merged part, else the catalog keeps it for the whole part.
        Their location goes to the sibling under `location_key`; without that key it is not kept.
        """
        own = Syncs() if syncs is None else syncs
        try:
            with siblings.unless_ended(self._layout):
                part = self._write(partition, key, records, tags, location_key, own)
            if syncs is None:
                own.finish()
        finally:
            if syncs is None:
                own.drop()
        return part

    def _write(
        self,
        partition: PartitionKey,
        key: bytes,
        records: pa.Table,
        tags: Tags | None,
        location_key: bytes | None,
        syncs: Syncs,
    ) -> WrittenPart:
        file_id = secrets.token_hex(16)
        directory = self._layout.partition(partition)
        if not directory.is_dir():
            self._named.discard(directory)
            files.make_dir_unsynced(directory)
        order = order_of(records)
        # Whose tags are not known is still asked for its texts.
        packed = None if tags is None else texts.of(records, order, parquet.size_of)
        table = arranged(records.drop_columns(list(packed or ())), order)
        group_rows = group_rows_of(table.num_rows)
        table, location = siblings.split(table)

        def known() -> Tags | None:
            return tags if tags is None or order is None else tags[order]

        def about() -> dict[str, Any]:
            told = self._write_about(partition, file_id, key, table, known, syncs)
            if location is not None:
                told |= self._write_location(partition, file_id, location, group_rows, location_key, syncs)
            return told

        if table.num_rows < BESIDE_ROWS_MIN:
            size, digest = self._write_records(partition, file_id, key, table, packed, location, syncs)
            told = about()
        else:
            with ThreadPoolExecutor(1, thread_name_prefix="lagrum-index") as pool:
                waiting = pool.submit(about)
                size, digest = self._write_records(partition, file_id, key, table, packed, location, syncs)
                told = waiting.result()
        if self._immutable:
            self._protect(partition, file_id)
        starts = pc.min(table.column("start_time").cast(pa.int64())).as_py()
        ends = pc.min_max(table.column("end_time").cast(pa.int64())).as_py()
        return WrittenPart(
            file_id=file_id,
            partition=partition,
            rows=table.num_rows,
            bytes=size,
            sha256=digest,
            **told,
            start_us_min=starts,
            end_us_min=ends["min"],
            end_us_max=ends["max"],
            schema_version=SCHEMA_VERSION,
            services=json.dumps(by_service(table), sort_keys=True),
        )

    def _write_records(
        self,
        partition: PartitionKey,
        file_id: str,
        key: bytes,
        table: pa.Table,
        packed: Mapping[str, Packed] | None,
        location: pa.Table | None,
        syncs: Syncs,
    ) -> tuple[int, str]:
        stored = encode(table, group_rows_of(table.num_rows), parquet.size_of, self._choices, packed)
        path, binding = self._layout.part(partition, file_id), self.binding(partition, file_id, "records")
        return parquet.write_stored(path, siblings.marked(stored, location), binding, key, syncs)

    def _write_about(
        self,
        partition: PartitionKey,
        file_id: str,
        key: bytes,
        table: pa.Table,
        known_tags: Callable[[], Tags | None],
        syncs: Syncs,
    ) -> dict[str, Any]:
        """Write what finds a part's records: the run of their identities, and their postings."""
        group_rows = group_rows_of(table.num_rows)

        def tags() -> Tags:
            known = known_tags()
            return self._hasher.tags(table) if known is None else known

        keyed = self._hasher.keyed(table) if "record_key" in table.column_names else None
        run = runs.run_of(tags, keyed, table.num_rows, group_rows)
        path, binding = self._layout.identities(partition, file_id), self.binding(partition, file_id, "identities")
        run_size, run_digest = runs.write(path, run, group_rows, binding, key, syncs)
        path, binding = self._layout.index(partition, file_id), self.binding(partition, file_id, "index")
        index_size, index = blocks.write(path, postings(table, group_rows), binding, key, syncs)
        return {
            "identities_bytes": run_size,
            "identities_sha256": run_digest,
            "index_bytes": index_size,
            "index_sha256": hashlib.sha256(index).hexdigest(),
        }

    def _protect(self, partition: PartitionKey, file_id: str) -> None:
        written = self._layout.partition(partition).glob(f"{file_id}.*")
        if not all(list(map(files.protect, written))):
            self._immutable = False
            _log.warning("parts are not immutable: the file system or the service's rights do not allow it")

    def _write_location(
        self,
        partition: PartitionKey,
        file_id: str,
        location: pa.Table,
        group_rows: int,
        key: bytes | None,
        syncs: Syncs,
    ) -> dict[str, Any]:
        """Write a part's location; return what the part says of it."""
        rows = siblings.located(location).num_rows
        if key is None:
            return {"location_over": rows}
        size, digest = parquet.write_stored(
            self._layout.location(partition, file_id),
            siblings.encoded(location, group_rows, parquet.size_of, self._choices),
            self.binding(partition.location, file_id, "records"),
            key,
            syncs,
        )
        return {"location_rows": rows, "location_bytes": size, "location_sha256": digest}

    def open_run(self, partition: PartitionKey, file_id: str, key: bytes) -> runs.RunReader:
        """Open a part's identities.

        Raises:
            IntegrityError: the file is missing or does not authenticate.
        """
        binding = self.binding(partition, file_id, "identities")
        return runs.RunReader(self._layout.identities(partition, file_id), binding, key, self._hasher)

    def read_run(self, partition: PartitionKey, file_id: str, key: bytes) -> tuple[runs.Head, runs.Words]:
        """Read a part's identities whole, at once.

        Raises:
            IntegrityError: the file is missing or does not authenticate.
        """
        binding = self.binding(partition, file_id, "identities")
        return runs.load(self._layout.identities_text(partition, file_id), binding, key)

    def open(
        self, partition: PartitionKey, file_id: str, key: bytes, location: LocationKey | None = None
    ) -> PartReader:
        """Open a part's records; with their location when the road to its key is given.

        Raises:
            IntegrityError: the file is missing or does not authenticate.
        """
        path, binding = self._layout.part(partition, file_id), self.binding(partition, file_id, "records")
        if location is None:
            return PartReader(path, binding, key)

        def beside(road: LocationKey = location) -> PartReader:
            bound = self.binding(partition.location, file_id, "records")
            return PartReader(self._layout.location(partition, file_id), bound, road())

        return LocatedReader(path, binding, key, beside)

    def read_records(
        self,
        partition: PartitionKey,
        file_id: str,
        key: bytes,
        columns: list[str] | None = None,
        location: LocationKey | None = None,
    ) -> pa.Table:
        """Read a part's records whole, in their stored order, without columns that it left out.

        Raises:
            IntegrityError: the file is missing or does not authenticate.
        """
        with self.open(partition, file_id, key, location) as reader:
            return reader.read(columns=columns)

    def binding(self, partition: PartitionKey, file_id: str, role: str) -> FileBinding:
        """Return what binds a file to its place."""
        return FileBinding(self._store_id, partition, file_id, role)

    def sync_names(self, *partitions: PartitionKey) -> None:
        """Make the directory entries of partitions' files durable, and, once in a process, of their directories.

        Each directory is synced once, however many partitions lie in it. An earlier process may have made one just
        before a crash, its name never synced.
        """
        wanted: dict[Path, None] = {}
        for directory in sorted(map(self._layout.partition, partitions)):
            wanted[directory] = None
            if directory not in self._named:
                wanted |= dict.fromkeys(directory.parents[:3])  # the class, the date, and all parts
        with siblings.unless_ended(self._layout):
            for directory in wanted:
                files.fsync_dir(directory)
        self._named.update(map(self._layout.partition, partitions))

    def is_published(self, partition: PartitionKey) -> None:
        """Note that the directories of a partition are durable: parts in it are published."""
        self._named.add(self._layout.partition(partition))

    def discard(self, *parts: PartFiles | RetiredPart) -> None:
        """Remove the files of parts that no catalog knows (an aborted batch, or rows replaced before publication)."""
        roles = (self._layout.part, self._layout.identities, self._layout.index, self._layout.location)
        files.unlink_all(role(part.partition, part.file_id) for part in parts for role in roles)


def order_of(records: pa.Table) -> npt.NDArray[np.int64] | None:
    """Return the order of records by calling party and time; None when they lie in it."""
    times = records.column("start_time").cast(pa.int64()).to_numpy()
    parties = _parties(records)
    return None if _is_sorted(parties, times) else _party_order(parties, times)


def arranged(records: pa.Table, order: npt.NDArray[np.int64] | None) -> pa.Table:
    """Drop columns in which every row is null, order the rest as the schema does, and take the rows in an order.

    Row i of the result is row order[i] of `records`.
    """
    names = [name for name in PACKED.names if name in records.schema.names]
    names = [name for name in names if records.column(name).null_count < records.num_rows]
    table = records.select(names).combine_chunks()
    if order is None:
        return table
    indices = pa.array(order.astype(np.int32) if len(order) < 2**31 else order)
    columns = [reordered(flat(table.column(name)), indices) for name in names]
    return pa.table(columns, schema=table.schema)


def sort(records: pa.Table) -> pa.Table:
    """Return records as a part has them: sorted by calling party and time."""
    return arranged(records, order_of(records))


def by_service(records: pa.Table) -> dict[str, int]:
    """Return how many packed records each category of service has."""
    if "service_type" not in records.column_names:
        return {}
    codes, names = figures.of_labels(records.column("service_type"))
    if codes.valid is None and len(names) == 1:
        return {names[0]: len(codes)}
    values = codes.values if codes.valid is None else codes.values[codes.valid]
    counts = np.bincount(values, minlength=len(names)).tolist()
    return {name: count for name, count in zip(names, counts, strict=True) if count}


def _parties(table: pa.Table) -> npt.NDArray[np.int64]:
    if "calling_number" not in table.column_names:
        return np.zeros(table.num_rows, np.int64)
    column: Column = table.column("calling_number")
    return np.asarray(column.fill_null(0).to_numpy())


def _is_sorted(parties: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> bool:
    """Tell whether records lie by calling party and time already, as those of a merge do."""
    left, right = parties[:-1], parties[1:]
    return bool(np.all(left <= right)) and bool(np.all((left < right) | (times[:-1] <= times[1:])))


def reordered(column: Column, indices: Any) -> Column:
    """Return rows of a column in another order, all of them; a column of one value is the same in any.

    The indices are a permutation that was made here: they are not checked against the column's length.
    """
    if column.null_count == 0:
        if isinstance(column, pa.DictionaryArray) and len(column.dictionary) == 1:
            return column
        if pa.types.is_boolean(column.type) and column.true_count in (0, len(column)):
            return column
    return pc.take(column, indices, boundscheck=False)


def _party_order(parties: npt.NDArray[np.int64], times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    index_bits = max(len(parties) - 1, 1).bit_length()
    lowest = int(parties.min())
    span_bits = (int(parties.max()) - lowest).bit_length()
    if index_bits + span_bits > 64 or not np.all(times[1:] >= times[:-1]):
        return np.asarray(np.lexsort((times, parties)))
    # Rows that come in time order need only the party: one unstable sort of (party, row) in a word does it.
    words = ((parties - lowest).astype(np.uint64) << np.uint64(index_bits)) | np.arange(len(parties), dtype=np.uint64)
    words.sort()
    return np.asarray(words & np.uint64((1 << index_bits) - 1), dtype=np.int64)
