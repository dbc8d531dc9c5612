"""Identity runs: what duplicates are found by. Tags sorted, each with its content digest.

A run is a file under the partition's key, so no keyed hash of a record outlives its partition.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store import parquet
from store.binding import FileBinding
from store.identity import Identities, Tags

RUN_SCHEMA = pa.schema([("tag", pa.int64()), ("digest", pa.int64())])
_SIGN = np.uint64(1 << 63)


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


def write(path: Path, identities: Identities, binding: FileBinding, partition_key: bytes) -> tuple[int, str]:
    """Write a part's identities (in the order of its rows) as a run; return its size in bytes and its SHA-256."""
    run = Run.of(identities)
    table = pa.table(
        [pa.array((run.tags ^ _SIGN).view(np.int64)), pa.array(run.digests.view(np.int64))], schema=RUN_SCHEMA
    )
    return parquet.write(path, table, binding, partition_key)


def read(path: Path, binding: FileBinding, partition_key: bytes) -> Run:
    """Read a run whole.

    Raises:
        IntegrityError: the file is missing or does not authenticate.
    """
    file = parquet.open_file(path, binding, partition_key)
    table = parquet.read_groups(file, list(range(file.metadata.num_row_groups)), None, binding)
    tags = table.column("tag").to_numpy().view(np.uint64) ^ _SIGN
    return Run(tags, table.column("digest").to_numpy().view(np.uint64))
