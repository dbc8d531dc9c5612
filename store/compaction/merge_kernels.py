"""The compiled merge of sorted runs (ADR 7, 21); the twin in NumPy is `store.compaction.merging.order_of`."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

numba: Any = importlib.import_module("numba")


def _before(parties: Any, starts: Any, left: Any, right: Any) -> Any:
    """Tell whether the record at one place comes before that at another; of equals the one that stands first."""
    if parties[left] != parties[right]:
        return parties[left] < parties[right]
    if starts[left] != starts[right]:
        return starts[left] < starts[right]
    return left < right


_before_of: Any = numba.njit(nogil=True, inline="always")(_before)


def _merge_of(parties: Any, starts: Any, heads: Any, ends: Any, heap: Any, order: Any) -> None:
    """Write the order of records that lie in sorted runs, one after the other, to `order`.

    `heads` and `ends` are the runs' bounds, none of them empty; `heads` move on. `heap` has room for the runs.
    """
    size = len(heads)
    for run in range(size):
        at = run
        while at > 0 and _before_of(parties, starts, heads[run], heads[heap[(at - 1) >> 1]]):
            heap[at] = heap[(at - 1) >> 1]
            at = (at - 1) >> 1
        heap[at] = run
    for place in range(len(order)):
        run = heap[0]
        order[place] = np.int32(heads[run])
        heads[run] += 1
        if heads[run] == ends[run]:
            size -= 1
            run = heap[size]
        at = 0
        while 2 * at + 1 < size:
            child = 2 * at + 1
            if child + 1 < size and _before_of(parties, starts, heads[heap[child + 1]], heads[heap[child]]):
                child += 1
            if _before_of(parties, starts, heads[run], heads[heap[child]]):
                break
            heap[at] = heap[child]
            at = child
        heap[at] = run


_READ: Final = numba.types.Array(numba.int64, 1, "C", readonly=True)
_WRITTEN: Final = numba.types.Array(numba.int64, 1, "C")
_ORDER: Final = numba.types.Array(numba.int32, 1, "C")

merge: Any = numba.njit(numba.void(_READ, _READ, _WRITTEN, _READ, _WRITTEN, _ORDER), nogil=True)(_merge_of)
