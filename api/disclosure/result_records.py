"""Which stored records a result has: batch and position of each, so that it can be told when one is not right any more.

By batch: the positions in ascending order, as zlib of 64-bit differences, in base64. They name nobody, and stay with
the result's evidence: to tell what became of a record nobody is searched for a second time.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.correcting.overlay import PLACE


class Places:
    """Collects the places of the records of one result."""

    def __init__(self) -> None:
        self._found: list[npt.NDArray[np.int64]] = []

    def add(self, kept: pa.Table) -> None:
        """Take records that leave, with `batch_id` and `batch_position`."""
        columns = [np.asarray(kept[name].cast(pa.int64()).to_numpy()) for name in PLACE]
        self._found.append(np.stack(columns, axis=1))

    def as_body(self) -> dict[str, str]:
        """Return the JSON form."""
        if not self._found:
            return {}
        every = np.unique(np.concatenate(self._found), axis=0)
        return {str(batch): _packed(every[every[:, 0] == batch, 1]) for batch in np.unique(every[:, 0])}


def has_batch(body: Mapping[str, str], batch_id: int) -> bool:
    """Tell whether a record of the result came in that batch."""
    return str(batch_id) in body


def has_place(body: Mapping[str, str], batch_id: int, position: int) -> bool:
    """Tell whether the result has that record."""
    packed = body.get(str(batch_id))
    return packed is not None and position in _unpacked(packed)


def _packed(positions: npt.NDArray[np.int64]) -> str:
    return b64encode(zlib.compress(np.diff(positions, prepend=0).astype("<i8").tobytes())).decode("ascii")


def _unpacked(text: str) -> npt.NDArray[np.int64]:
    return np.cumsum(np.frombuffer(zlib.decompress(b64decode(text)), "<i8"))
