"""Postings: which row groups of a part hold an identifier."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

__all__ = ["postings"]


def postings(records: pa.Table, group_rows: int) -> Sequence[bytes]:  # noqa: ARG001
    """Return the blocks of a part's index, given its records in their stored order and the rows of a row group."""
    return ()
