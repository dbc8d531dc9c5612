"""A part's index is the same whoever made it: the compiled loops, or their twins before they were loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from store import native
from store.index import coding, entries, postings
from store.parts import group_rows_of, sort
from tests.store.records import CALLING, records, with_column

kernels: Any = native.load("store.index.kernels")


@pytest.mark.parametrize("rows", [1, 511, 512, 513, 2_047, 2_049, 4_095, 4_096, 5_000, 8_191, 8_192, 16_385])
@pytest.mark.parametrize("callers", [1, 7, 3_000])
def test_postings_do_not_depend_on_whether_kernels_are_loaded(
    rows: int, callers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = with_column(records(rows), "called_number", CALLING + np.arange(rows) // max(rows // callers, 1))
    table = sort(with_column(table, "imei", [10**15 + 350_000_000_000_000 + row // 9 for row in range(rows)]))
    made = []
    for compiled in (kernels, None):
        for module in (coding, entries):
            monkeypatch.setattr(module, "kernels", lambda _, compiled=compiled: compiled)
        made.append([bytes(block) for block in postings(table, group_rows_of(rows), b"\x07" * 16)])
    assert made[0] == made[1]
