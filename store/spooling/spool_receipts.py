"""What became of each push: kept with the batch that it is in, for some days; counts only.

A push is named `SEGMENT-ENTRY-PLACE`. While it lies in the spool its receipt says `durable`; once it is in a batch,
`committed`, with its own share of the batch's counts. A row of `spool_batches` tells of all pushes of one segment that
one batch holds, and is written in that batch's transaction: so it also says how far the segment is consumed.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from store.catalog import Catalog

RECEIPT_DAYS: Final = 7
"""What became of a push can be asked for so long after it came."""

COUNTS: Final = ("records", "accepted", "duplicates", "conflicts", "rejected")
_ID: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,9})-([0-9]{1,9})")
_HEAD: Final = struct.Struct("<II")

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, order=True)
class PushId:
    """Where a push lies, or lay: segment, entry of the segment, place in the entry."""

    segment: int
    entry: int
    place: int

    def __str__(self) -> str:
        return f"{self.segment}-{self.entry}-{self.place}"

    @classmethod
    def parse(cls, text: str) -> PushId | None:
        """Return the id, None when the text is none."""
        found = _ID.fullmatch(text)
        return None if found is None else cls(*map(int, found.groups()))


@dataclass(frozen=True, slots=True)
class PushReceipt:
    """What is known of one acknowledged push; `batch_id` and what follows it once it is in a batch."""

    push: PushId
    source: str
    records: int
    batch_id: int | None = None
    accepted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the receipt as JSON-ready data."""
        told: dict[str, Any] = {"id": str(self.push), "source": self.source, "records": self.records}
        if self.batch_id is None:
            return told | {"state": "durable"}
        counts = {name: getattr(self, name) for name in COUNTS[1:]}
        return told | {"state": "committed", "batch_id": self.batch_id} | counts


def pack(entries: Sequence[int], pushes: Sequence[int], counts: Counts) -> bytes:
    """Return a row's `outcomes`: entry numbers, pushes per entry, and per push the five `COUNTS` (shape 5 x pushes)."""
    numbers = np.concatenate([np.array([entries, pushes], "<u4").ravel(), counts.astype("<u4").ravel()])
    return zlib.compress(_HEAD.pack(len(entries), counts.shape[1]) + numbers.astype("<u4").tobytes(), 1)


def unpack(blob: bytes) -> tuple[Counts, Counts, Counts]:
    """Return entry numbers, pushes per entry, and counts of `pack`."""
    data = zlib.decompress(blob)
    entries, pushes = _HEAD.unpack_from(data)
    numbers = np.frombuffer(data, "<u4", offset=_HEAD.size).astype(np.int64)
    return numbers[:entries], numbers[entries : 2 * entries], numbers[2 * entries :].reshape(len(COUNTS), pushes)


def consumed(catalog: Catalog, segment: int) -> set[int]:
    """Return the entries of a segment that are in batches."""
    rows = catalog.query("SELECT outcomes FROM spool_batches WHERE segment = ?", (segment,))
    return {entry for (blob,) in rows for entry in unpack(blob)[0].tolist()}


def committed(catalog: Catalog, push: PushId) -> PushReceipt | None:
    """Return what became of a push that is in a batch; None when it is in none, or was too long ago."""
    rows = catalog.query("SELECT batch_id, source, outcomes FROM spool_batches WHERE segment = ?", (push.segment,))
    for batch_id, source, blob in rows:
        entries, pushes, counts = unpack(blob)
        found = np.flatnonzero(entries == push.entry)
        if len(found) and push.place < pushes[found[0]]:
            own = counts[:, int(pushes[: found[0]].sum()) + push.place].tolist()
            return PushReceipt(push, source, own[0], batch_id, *own[1:])
    return None


def forget_old(cursor: Any, now_us: int) -> None:
    """Delete the rows that nobody may ask for any more, within the open transaction."""
    cursor.execute(
        "DELETE FROM spool_batches WHERE until_us < ? AND segment NOT IN (SELECT segment FROM spool_segments)",
        (now_us,),
    )
