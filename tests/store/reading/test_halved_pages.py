"""Pages of the word have half the rows of others where nothing else could end sooner, and the file tells which."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import IntegrityError
from store import parquet
from store.encoding import columns
from store.encoding.columns import Encoding, Stored
from store.encoding.restoring import LAYOUT_KEY, WORD
from store.reading import cuts
from store.reading.page_layout import Paging
from tests.store.reading.test_pages import BINDING, GROUP_ROWS, KEY, ROWS, opened


def wide(rows: int = ROWS, word: int = 21, **more: Any) -> Stored:
    """Return a part whose word is its widest column but one, with columns of every kind that may lie beside it."""
    rng = np.random.default_rng(3)

    def octets(width: int, mask: Any = None) -> Any:
        values = [row.tobytes() for row in rng.integers(0, 256, (rows, width), np.uint8)]
        return pa.array(values, pa.binary(width), mask=mask)

    holes: Any = rng.random(rows) < 0.3
    arrays = {
        WORD: octets(word),
        "wider": octets(24),
        "delta": pa.array(rng.integers(-(2**62), 2**62, rows)),
        "holes": pa.array(rng.integers(-(2**62), 2**62, rows), mask=holes),
        "quick": pa.array(rng.integers(0, 9, rows).cumsum()),
        "address": octets(16, holes),
        "byte~0": octets(1),
        **more,
    }
    encodings = dict.fromkeys(arrays, Encoding()) | {
        "delta": Encoding("DELTA_BINARY_PACKED", "lz4"),
        "holes": Encoding("DELTA_BINARY_PACKED", "lz4"),
        "quick": Encoding("DELTA_BINARY_PACKED", "lz4"),
        "text": Encoding("DELTA_LENGTH_BYTE_ARRAY", "zstd"),
    }
    fields = [pa.field(name, array.type, nullable=array.null_count > 0) for name, array in arrays.items()]
    made = pa.table(list(arrays.values()), schema=pa.schema(fields))
    return Stored(made, {name: encodings[name] for name in arrays}, GROUP_ROWS, {LAYOUT_KEY: "{}"})


def test_pages_of_the_word_have_half_the_rows_of_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored, half = wide(), columns.PAGE_ROWS // 2
    assert stored.halved == {WORD: half, "wider": half}
    parquet.write_stored(tmp_path / "part", stored, BINDING, KEY)
    pages, file = opened(tmp_path / "part")
    rng = np.random.default_rng(4)
    rows = np.unique([0, half - 1, half, ROWS - 1, *rng.integers(0, ROWS, 40).tolist()])
    windows = [(row, row + 1) for row in rows.tolist()]
    found = pages.columns(stored.table.column_names, windows)
    for name, cut in found.items():
        assert cut is not None and cuts.decoded([cut]).equals(stored.table.column(name).combine_chunks().take(rows)), (
            name
        )
        assert pages._paging is not None
        told = file.metadata.row_group(1).column(stored.table.column_names.index(name))
        start, end = told.data_page_offset, told.data_page_offset + told.total_compressed_size
        size = half if name in stored.halved else columns.PAGE_ROWS
        assert len(pages._paging.of(start, end)) == columns.ROW_GROUP_ROWS // size + 1, name
    for window in [(half - 3, half + 3), (0, 3 * half), (columns.ROW_GROUP_ROWS - 1, columns.ROW_GROUP_ROWS), (30, 31)]:
        for name, cut in pages.columns(stored.table.column_names, [window]).items():
            expected = stored.table.column(name).slice(window[0], window[1] - window[0]).combine_chunks()
            assert cut is not None and cuts.decoded([cut]).equals(expected), name
    read: list[int] = []
    real = os.pread
    monkeypatch.setattr("store.reading.pages.os.pread", lambda *asked: read.append(asked[1]) or real(*asked))
    pages.columns([WORD], [(700, 701)])
    assert sum(read) < half * 21 + 200


def test_pages_are_not_halved_where_others_might_end_sooner(tmp_path: Path) -> None:
    text = pa.array([f"sip:{number:040}" for number in range(ROWS)])
    few = columns.HALVED_GROUPS_MIN * GROUP_ROWS - GROUP_ROWS
    for stored in (wide(text=text), wide(word=16), wide(word=8), wide(few), wide(text=text.cast(pa.string()))):
        assert not stored.halved
    assert wide(few + 1).halved
    parquet.write_stored(tmp_path / "part", wide(text=text), BINDING, KEY)
    pages, _ = opened(tmp_path / "part")
    for name, cut in pages.columns([WORD, "text"], [(700, 702)]).items():
        assert cut is not None and cut.rows == 2, name


def test_halved_pages_that_the_file_tells_wrong_are_never_other_rows(tmp_path: Path) -> None:
    stored = wide()
    parquet.write_stored(tmp_path / "part", stored, BINDING, KEY)
    expected, found = stored.table.column(WORD).slice(700, 2).combine_chunks(), []
    for told in ({}, {WORD: 128, "wider": 256}, {WORD: 256}, {"delta": 256, "wider": 256}, {WORD: 256, "wider": 256}):
        pages, _ = opened(tmp_path / "part")
        assert pages._paging is not None
        pages._paging = Paging(columns.PAGE_ROWS, pages._paging.ends, told)
        try:
            cut = pages.columns([WORD], [(700, 702)])[WORD]
        except IntegrityError:
            cut = None
        found.append(cut is not None)
        assert cut is None or cuts.decoded([cut]).equals(expected)
    assert found == [False, False, True, False, True]  # None: Arrow reads them, by the lengths of pages
