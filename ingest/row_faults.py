"""Which rows of a stretch are refused, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from schemas.buffers import Ints, Mask
from schemas.rejects import Reject, RejectReason

RawOf: TypeAlias = Callable[[Sequence[int]], Sequence[bytes | None]]
"""Returns the bytes of records by position, as they may be kept (content cut out); None for one that may not."""


class RowFaults:
    """Collects faults; the first fault of a row is the one that is told."""

    def __init__(self, rows: int) -> None:
        self.mask: Mask = np.zeros(rows, np.bool_)
        self._reasons: dict[int, tuple[RejectReason, str | None]] = {}

    def add(self, mask: Mask, reason: RejectReason, field: str | None = None) -> None:
        """Refuse the rows where the mask is set, unless they are refused already."""
        if not mask.any():
            return
        for row in np.flatnonzero(mask & ~self.mask).tolist():
            self._reasons[row] = (reason, field)
        self.mask = self.mask | mask

    def rejects(self, positions: Ints, raw_of: RawOf | None = None) -> list[Reject]:
        """Return the refused rows in order of their place in the stretch."""
        if not self._reasons:
            return []
        rows = sorted(self._reasons)
        places = [int(positions[row]) for row in rows]
        raw = raw_of(places) if raw_of is not None else [None] * len(rows)
        return [
            Reject(place, *self._reasons[row], length_bytes=None if data is None else len(data), raw=data)
            for row, place, data in zip(rows, places, raw, strict=True)
        ]
