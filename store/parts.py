"""Parts: a sorted, encrypted file of records and beside it the run of their identities.

The run is what duplicates are found by: tags sorted, each with its content digest. It is a file under the partition's
key, so no keyed hash of a record outlives its partition.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from schemas.arrow import PACKED
from schemas.buffers import Column
from schemas.fields import SCHEMA_VERSION
from store import files, parquet
from store.binding import FileBinding
from store.identity import Identities, Tags
from store.layout import Layout
from store.model import PartRow, RetiredPart
from store.partitions import PartitionKey

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

RUN_SCHEMA = pa.schema([("tag", pa.int64()), ("digest", pa.int64())])
_SIGN = np.uint64(1 << 63)


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """A part on disk that the catalog does not know yet."""

    file_id: str
    partition: PartitionKey
    rows: int
    bytes: int
    sha256: str
    identities_bytes: int
    identities_sha256: str
    start_us_min: int
    end_us_min: int
    end_us_max: int
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Run:
    """Identities of one part or one stretch of a batch, sorted by tag."""

    tags: Tags
    digests: Tags

    @classmethod
    def of(cls, identities: Identities, order: npt.NDArray[np.int64] | None = None) -> Run:
        """Sort identities by tag, equal tags in their order; `order` when that is known already."""
        if order is None:
            order = np.argsort(identities.tags, kind="stable")
        return cls(identities.tags[order], identities.digests[order])

    @classmethod
    def empty(cls) -> Run:
        """Return a run of nothing."""
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint64))

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self.tags.nbytes + self.digests.nbytes


class PartStore:
    """Writes and reads the parts of one store."""

    def __init__(self, layout: Layout, store_id: str) -> None:
        self._layout = layout
        self._store_id = store_id

    def write(self, partition: PartitionKey, key: bytes, records: pa.Table, identities: Identities) -> WrittenPart:
        """Write records (any order) and their identities; durable but for the directory entry.

        `records` has packed columns; `batch_id` only in a merged part, else the catalog keeps it for the whole part.
        """
        file_id = secrets.token_hex(16)
        directory = self._layout.partition(partition)
        if not directory.is_dir():
            files.make_dir(directory)
        table = sort(records)
        size, digest = parquet.write(
            self._layout.part(partition, file_id), table, self.binding(partition, file_id, "records"), key
        )
        run = Run.of(identities)
        run_table = pa.table(
            [pa.array((run.tags ^ _SIGN).view(np.int64)), pa.array(run.digests.view(np.int64))], schema=RUN_SCHEMA
        )
        run_size, run_digest = parquet.write(
            self._layout.identities(partition, file_id), run_table, self.binding(partition, file_id, "identities"), key
        )
        starts = pc.min(table.column("start_time").cast(pa.int64())).as_py()
        ends = pc.min_max(table.column("end_time").cast(pa.int64())).as_py()
        return WrittenPart(
            file_id, partition, table.num_rows, size, digest, run_size, run_digest, starts, ends["min"], ends["max"]
        )

    def read_run(self, partition: PartitionKey, file_id: str, key: bytes) -> Run:
        """Read a part's identities.

        Raises:
            IntegrityError: the file is missing or does not authenticate.
        """
        binding = self.binding(partition, file_id, "identities")
        file = parquet.open_file(self._layout.identities(partition, file_id), binding, key)
        table = parquet.read_groups(file, list(range(file.metadata.num_row_groups)), None, binding)
        tags = table.column("tag").to_numpy().view(np.uint64) ^ _SIGN
        return Run(tags, table.column("digest").to_numpy().view(np.uint64))

    def read_records(
        self, partition: PartitionKey, file_id: str, key: bytes, columns: list[str] | None = None
    ) -> pa.Table:
        """Read a part's records whole, in their stored order, without columns that it left out.

        Raises:
            IntegrityError: the file is missing or does not authenticate.
        """
        binding = self.binding(partition, file_id, "records")
        file = parquet.open_file(self._layout.part(partition, file_id), binding, key)
        if columns is not None:
            columns = [name for name in columns if name in file.schema_arrow.names]
        return parquet.read_groups(file, list(range(file.metadata.num_row_groups)), columns, binding)

    def binding(self, partition: PartitionKey, file_id: str, role: str) -> FileBinding:
        """Return what binds a file to its place."""
        return FileBinding(self._store_id, partition, file_id, role)

    def sync_directory(self, partition: PartitionKey) -> None:
        """Make the directory entries of a partition's files durable."""
        files.fsync_dir(self._layout.partition(partition))

    def discard(self, part: WrittenPart | PartRow | RetiredPart) -> None:
        """Remove the files of a part that no catalog knows (an aborted batch, or rows replaced before publication)."""
        files.unlink_durable(self._layout.part(part.partition, part.file_id), missing_ok=True)
        files.unlink_durable(self._layout.identities(part.partition, part.file_id), missing_ok=True)


def sort(records: pa.Table) -> pa.Table:
    """Drop columns in which every row is null, order the rest as the schema does, sort by calling party and time."""
    names = [name for name in PACKED.names if name in records.schema.names]
    names = [name for name in names if records.column(name).null_count < records.num_rows]
    table = records.select(names).combine_chunks()
    return table.take(_party_order(table))


def _party_order(table: pa.Table) -> npt.NDArray[np.int64]:
    times = table.column("start_time").cast(pa.int64()).to_numpy()
    if "calling_number" not in table.column_names:
        return np.argsort(times, kind="stable")
    column: Column = table.column("calling_number")
    parties = column.fill_null(0).to_numpy()
    index_bits = max(len(parties) - 1, 1).bit_length()
    lowest = int(parties.min())
    span_bits = (int(parties.max()) - lowest).bit_length()
    if index_bits + span_bits > 64 or not np.all(times[1:] >= times[:-1]):
        return np.asarray(np.lexsort((times, parties)))
    # Rows that come in time order need only the party: one unstable sort of (party, row) in a word does it.
    words = ((parties - lowest).astype(np.uint64) << np.uint64(index_bits)) | np.arange(len(parties), dtype=np.uint64)
    words.sort()
    return np.asarray(words & np.uint64((1 << index_bits) - 1), dtype=np.int64)
