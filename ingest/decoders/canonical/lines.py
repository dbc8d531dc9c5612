"""What the canonical formats of lines share: length checks, and finding refused lines again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from ingest.decoders.base import RECORD_BYTES_MAX, Decoded
from ingest.decoders.padded import Padded
from ingest.decoders.slices import Block, Lines
from schemas.rejects import Reject, RejectReason

BLOCK_BYTES: Final = 6 << 20
"""How much is read at once, some 40 000 records: less costs calls, more costs page faults."""

_WINDOW: Final = RECORD_BYTES_MAX // 2


@dataclass(frozen=True, slots=True)
class RawLines:
    """Finds the lines of records again that are refused after decoding; `first` is the position of the first line."""

    block: Block | Padded
    first: int
    heading: bytes = b""
    """Put before each line, so that it is a delivery by itself."""

    def __call__(self, positions: Sequence[int]) -> Sequence[bytes | None]:
        """Return the lines at these positions."""
        lines = Lines(self.block.data)
        lines.select(~lines.blank())
        return [self.heading + lines.line(position - self.first) for position in positions]


def lines_are_short(data: bytes) -> bool:
    """Tell whether a line end comes at least every half record limit: then no line is too long."""
    starts = range(0, len(data) - _WINDOW, _WINDOW)
    return all(data.find(b"\n", start, start + _WINDOW) >= 0 for start in starts)


def no_records() -> pa.Table:
    """Return a table of no records."""
    return pa.table({"position": pa.array([], pa.int64())})


def overlong(block: Block | Padded, position: int) -> Decoded:
    """Return the reject of a line that was read past."""
    reject = Reject(position, RejectReason.TOO_LONG, None, block.offset, block.overlong_bytes)
    return Decoded(no_records(), [reject])
