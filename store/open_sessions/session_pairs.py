"""Sessions that begin and end within one stretch, and of which nothing else is known: an opening and an end. Pure.

Whatever is known of a session, and every third event of it, is for `store.open_sessions.session_fates`: what is found
here would come out of it the same, by more work.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.buffers import Column
from store.open_sessions.session_numbers import NO_TIME, RANK

PAIRS_MIN: Final = 16
"""Fewer pairs of a stretch are folded with the rest."""

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


def pairs(local: Ints, unknown: Flags, kinds: Ints, starts: Ints, ends: Ints) -> tuple[Ints, Ints]:
    """Return the rows of openings and those of their ends, a pair each, where a session has nothing besides.

    By session: whether it is `unknown`. By row: its session's place there, rank of the event, start and end in µs. The
    opening has a start, and the end a time that is not before it and no start of its own.
    """
    begins = (kinds == RANK["open"]) & (starts != NO_TIME)
    closes = (kinds == RANK["close"]) & (ends != NO_TIME) & (starts == NO_TIME)
    opening, closing = np.full(len(unknown), -1), np.full(len(unknown), -1)
    for found, some in ((opening, begins), (closing, closes)):
        rows = np.flatnonzero(some)
        found[local[rows]] = rows
    both = unknown & (opening >= 0) & (closing >= 0) & (np.bincount(local, minlength=len(unknown)) == 2)
    opening, closing = opening[both], closing[both]
    ordered = starts[opening] <= ends[closing]
    return opening[ordered], closing[ordered]


def paired(fields: pa.Table, opening: Ints, closing: Ints) -> pa.Table:
    """Return a row of each pair: of each field the end's value, else the opening's."""
    if any(column.num_chunks != 1 for column in fields.columns):
        fields = fields.unify_dictionaries().combine_chunks()
    alike: dict[bytes, Any] = {}
    return pa.table({name: _told(fields.column(name), opening, closing, alike) for name in fields.column_names})


def _told(column: Any, opening: Ints, closing: Ints, alike: dict[bytes, Any]) -> Column:
    """Return the values of one field; `alike` keeps the rows by where the ends have none."""
    if column.null_count == len(column):
        return pa.nulls(len(closing), column.type)
    valid = np.asarray(column.is_valid())[closing] if column.null_count else np.ones(1, np.bool_)
    pattern = b"" if valid.all() else valid.tobytes()
    if pattern not in alike:
        alike[pattern] = pa.array(np.where(valid, closing, opening))
    told: Column = column.take(alike[pattern])
    return told
