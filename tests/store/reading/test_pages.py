"""Single pages are what was written; the loops equal their twins; pages that were touched are refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import IntegrityError
from store import native, parquet
from store.binding import FileBinding
from store.encoding import columns
from store.encoding.columns import Encoding, Stored
from store.encoding.restoring import LAYOUT_KEY, WORD
from store.partitions import PartitionKey
from store.reading import cuts, page_values
from store.reading.page_layout import Paging
from store.reading.pages import PageFile, _walk

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type
KEY = b"k" * 32
BINDING = FileBinding("0" * 32, PartitionKey(date(2026, 11, 1), "standard"), "1" * 32, "records")
OTHER = FileBinding("0" * 32, PartitionKey(date(2026, 11, 1), "standard"), "2" * 32, "records")
ROWS, GROUP_ROWS = 40_000, 4_096
INT64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 5)


def table(seed: int = 1) -> tuple[pa.Table, dict[str, Encoding]]:
    rng = np.random.default_rng(seed)
    holes: Any = rng.random(ROWS) < 0.3
    make: dict[str, tuple[Any, Encoding]] = {
        WORD: (pa.array([row.tobytes() for row in rng.integers(0, 256, (ROWS, 16), np.uint8)]), Encoding()),
        "byte~0": (pa.array([bytes([n]) for n in rng.integers(0, 5, ROWS)]), Encoding(codec="zstd")),
        "repeat": (
            pa.array([row.tobytes() for row in rng.integers(0, 256, (ROWS, 3), np.uint8)], mask=holes),
            Encoding(),
        ),
        "delta": (pa.array(np.sort(rng.integers(0, 2**60, ROWS))), Encoding("DELTA_BINARY_PACKED", "zstd")),
        "quick": (pa.array(rng.integers(0, 9, ROWS).cumsum()), Encoding("DELTA_BINARY_PACKED", "lz4")),
        "holes": (pa.array(rng.integers(-(2**62), 2**62, ROWS), mask=holes), Encoding("DELTA_BINARY_PACKED")),
        "text": (
            pa.array([f"sip:{n}" for n in rng.integers(0, 99, ROWS)], mask=holes),
            Encoding("DELTA_LENGTH_BYTE_ARRAY", "zstd"),
        ),
        "label": (pa.array(["a", "b"] * (ROWS // 2)), Encoding(codec="zstd", dictionary=True)),
    }
    widths = {WORD: 16, "byte~0": 1, "repeat": 3}
    arrays = {
        name: array.cast(pa.binary(widths[name])) if name in widths else array for name, (array, _) in make.items()
    }
    fields = [pa.field(name, array.type, nullable=array.null_count > 0) for name, array in arrays.items()]
    encodings = {name: encoding for name, (_, encoding) in make.items()}
    return pa.table(list(arrays.values()), schema=pa.schema(fields)), encodings


def written(path: Path, binding: FileBinding = BINDING, seed: int = 1) -> pa.Table:
    made, encodings = table(seed)
    parquet.write_stored(path, Stored(made, encodings, GROUP_ROWS, {LAYOUT_KEY: "{}"}), binding, KEY)
    return made


def opened(path: Path) -> tuple[PageFile, pq.ParquetFile]:
    file = parquet.open_file(path, BINDING, KEY)
    return parquet.pages_of(path, file, BINDING, KEY), file


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, pa.Table]:
    path = tmp_path_factory.mktemp("pages") / "part"
    return path, written(path)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_pages_are_what_was_written(part: tuple[Path, pa.Table], data: st.DataObject) -> None:
    path, made = part
    pages, file = opened(path)
    rows = columns.ROW_GROUP_ROWS
    group = data.draw(st.integers(0, file.metadata.num_row_groups - 1))
    held = min(rows, ROWS - group * rows)
    first = data.draw(st.integers(0, held - 1))
    last = data.draw(st.integers(first + 1, min(held, first + 5_000)))
    for name in made.column_names[:-1]:
        expected = made.column(name).slice(group * rows + first, last - first)
        assert pages.read(group, name, first, last).equals(expected.combine_chunks()), name


def test_pages_of_uneven_rows_are_left_to_arrow(tmp_path: Path) -> None:
    """As many pages as there were if all had the rows of the first, and yet their values stand elsewhere."""
    batch = columns.PAGE_ROWS
    sizes = [10, 10, 18, 10, 10, 6, 6, 6, *[10] * 24]  # pages of 2, 1, 2, 3 and then 2 batches
    texts = pa.array([f"{number:0{size}}" for size in sizes for number in range(batch)])
    words = pa.array([number.to_bytes(16, "big") for number in range(len(texts))], pa.binary(16))
    made = pa.table({WORD: words, "text": texts})
    made = made.cast(pa.schema([field.with_nullable(False) for field in made.schema]))
    encodings = {WORD: Encoding(), "text": Encoding("DELTA_LENGTH_BYTE_ARRAY")}
    parquet.write_stored(tmp_path / "part", Stored(made, encodings, GROUP_ROWS, {LAYOUT_KEY: "{}"}), BINDING, KEY)
    pages, _ = opened(tmp_path / "part")
    for first in range(0, len(texts), batch):
        found = pages.read(0, "text", first, first + batch)
        assert found is None or found.equals(texts.slice(first, batch)), first


def test_where_pages_lie_is_written_down_as_their_lengths_tell(part: tuple[Path, pa.Table]) -> None:
    pages, file = opened(part[0])
    assert pages.page_rows == columns.PAGE_ROWS
    with part[0].open("rb") as stream:
        for number, name in enumerate(part[1].column_names[:-1]):
            told = file.metadata.row_group(1).column(number)
            start, end = told.data_page_offset, told.data_page_offset + told.total_compressed_size
            assert pages._paging is not None
            assert pages._paging.of(start, end).tolist() == _walk(stream.fileno(), start, end), name
            if name != "text":  # texts may end a page sooner
                assert len(pages._paging.of(start, end)) == columns.ROW_GROUP_ROWS // columns.PAGE_ROWS + 1


def test_pages_that_do_not_lie_where_the_file_says_are_refused(part: tuple[Path, pa.Table]) -> None:
    pages, _ = opened(part[0])
    assert pages._paging is not None
    for wrong in (pages._paging.ends + 1, pages._paging.ends[:5], np.delete(pages._paging.ends, 3)):
        pages, _ = opened(part[0])
        pages._paging = Paging(columns.PAGE_ROWS, wrong)
        with pytest.raises(IntegrityError):
            assert pages.read(0, WORD, 1_600, 1_601) is None  # as many pages as there are not: Arrow reads them
            raise IntegrityError("left to Arrow")


def test_two_pieces_of_a_page_read_it_once(part: tuple[Path, pa.Table], monkeypatch: pytest.MonkeyPatch) -> None:
    path, made = part
    pages, _ = opened(path)
    opens: list[int] = []
    monkeypatch.setattr(PageFile, "_page", _counted(PageFile._page, opens))
    found = pages.cuts([(0, WORD, 3, 4), (0, "delta", 3, 4), (0, WORD, 9, 12), (0, WORD, 500, 600)])
    assert len(opens) == 3  # two pages of the word, one of the other
    for cut, name, first, rows in zip(found, (WORD, "delta", WORD, WORD), (3, 3, 9, 500), (1, 1, 3, 100), strict=True):
        assert cut is not None
        assert cuts.decoded([cut]).equals(made.column(name).slice(first, rows).combine_chunks())


def _counted(real: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        calls.append(1)
        return real(*arguments)

    return call


def test_a_dictionary_is_left_to_arrow(part: tuple[Path, pa.Table]) -> None:
    pages, _ = opened(part[0])
    assert pages.read(0, "label", 0, 10) is None


def test_one_row_reads_little_of_the_file(part: tuple[Path, pa.Table], monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    pages, _ = opened(part[0])
    read: list[int] = []
    real = os.pread

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        read.append(size)
        return real(descriptor, size, offset)

    monkeypatch.setattr("store.reading.pages.os.pread", counted)
    pages.read(1, WORD, 700, 701)
    assert sum(read) < columns.PAGE_ROWS * 16 + 600


def spoil(path: Path, name: str, change: Callable[[bytearray, int, int], None]) -> None:
    """Change the bytes of a file, given where a column's second page begins, and the third."""
    _, file = opened(path)
    data = bytearray(path.read_bytes())
    start = file.metadata.row_group(0).column(file.schema_arrow.names.index(name)).data_page_offset
    ends = [start]
    for _ in range(2):
        middle = ends[-1] + 4 + _length(data, ends[-1])
        ends.append(middle + 4 + _length(data, middle))
    change(data, *ends[1:])
    path.write_bytes(data)


def _length(data: bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def swap(data: bytearray, second: int, third: int) -> None:
    size = third - second
    data[second:third], data[third : third + size] = data[third : third + size], data[second:third]


def flip(data: bytearray, second: int, third: int) -> None:
    data[third - 20] ^= 1


def flip_header(data: bytearray, second: int, third: int) -> None:
    data[second + 20] ^= 1


def stretch(data: bytearray, second: int, third: int) -> None:
    data[second] += 1


def overrun(data: bytearray, second: int, third: int) -> None:
    data[second : second + 4] = b"\xff" * 4


@pytest.mark.parametrize("change", [swap, flip, stretch, overrun])
def test_a_page_that_was_touched_is_refused(tmp_path: Path, change: Callable[[bytearray, int, int], None]) -> None:
    path = tmp_path / "part"
    written(path)
    spoil(path, WORD, change)
    pages, _ = opened(path)
    assert len(pages.read(0, WORD, 0, 10)) == 10  # the first page is as it was
    with pytest.raises(IntegrityError, match="does not authenticate"):
        pages.read(0, WORD, columns.PAGE_ROWS, columns.PAGE_ROWS + 1)


def test_a_header_that_was_touched_is_refused_where_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "part"
    written(path)
    spoil(path, "text", flip_header)
    pages, _ = opened(path)
    with pytest.raises(IntegrityError, match="does not authenticate"):
        pages.read(0, "text", 0, 2 * GROUP_ROWS)


def test_pages_of_another_file_are_refused(tmp_path: Path) -> None:
    path, other = tmp_path / "part", tmp_path / "other"
    written(path)
    written(other, OTHER)
    pages, file = opened(path)
    told = file.metadata.row_group(0).column(0)
    start, end = told.data_page_offset, told.data_page_offset + told.total_compressed_size
    data = bytearray(path.read_bytes())
    data[start:end] = other.read_bytes()[start:end]
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match="does not authenticate"):
        pages.read(0, WORD, 0, 1)


def test_a_file_that_went_away_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "part"
    written(path)
    pages, _ = opened(path)
    path.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        pages.read(0, WORD, 0, 1)


def test_memory_that_ran_out_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "part"
    written(path)
    pages, file = opened(path)

    def full(*_: Any, **__: Any) -> Any:
        raise pa.ArrowMemoryError("malloc of size 1 failed")

    monkeypatch.setattr("store.reading.page_values.values", full)
    with pytest.raises(MemoryError):
        pages.read(0, "text", 0, 1)
    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", full)
    with pytest.raises(MemoryError):
        parquet.read_groups(file, [0], None, BINDING)
    monkeypatch.setattr(pq, "ParquetFile", full)
    with pytest.raises(MemoryError):
        parquet.open_file(path, BINDING, KEY)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_cuts_of_many_pages_are_decoded_by_loop_and_twin(part: tuple[Path, pa.Table], data: st.DataObject) -> None:
    path, made = part
    pages, _ = opened(path)
    row, size = st.integers(0, columns.ROW_GROUP_ROWS - 1), st.integers(1, 1_200)
    pieces = [
        (group, min(first, columns.ROW_GROUP_ROWS - rows), rows)
        for group, first, rows in data.draw(st.lists(st.tuples(st.integers(0, 1), row, size), min_size=1, max_size=6))
    ]
    few = np.array(sorted(data.draw(st.sets(st.integers(0, sum(rows for _, _, rows in pieces) - 1), max_size=20))), int)
    for name in made.column_names[:-1]:
        found = [
            cut for cut in pages.cuts([(group, name, first, first + rows) for group, first, rows in pieces]) if cut
        ]
        expected: Any = made.column(name).combine_chunks()
        fills = name == "repeat"
        starts = [group * columns.ROW_GROUP_ROWS + first for group, first, _ in pieces]
        if fills:
            filled = [
                pc.fill_null_forward(expected.slice(at, columns.PAGE_ROWS)) for at in range(0, ROWS, columns.PAGE_ROWS)
            ]
            expected = pa.concat_arrays(filled)
        expected = pa.concat_arrays([expected.slice(at, rows) for at, (_, _, rows) in zip(starts, pieces, strict=True)])
        for cut in found:
            cut.fills = fills
        whole = cuts.Cut(found[0].kind, found[0].nullable, [page for cut in found for page in cut.pages], fills)
        for kernels in (page_kernels(), None):
            assert by(kernels, partial(cuts.decoded, found)).equals(expected), name
            assert by(kernels, partial(cuts.decoded, [whole.of(few)])).equals(expected.take(few)) if len(few) else True


@pytest.mark.parametrize("name", ["delta", "holes", "repeat", WORD])
def test_a_page_that_holds_other_rows_is_refused(part: tuple[Path, pa.Table], name: str) -> None:
    pages, _ = opened(part[0])
    (cut,) = pages.cuts([(0, name, 3, 9)])
    assert cut is not None
    (page, rows, first, last), *_ = cut.pages
    for torn in ((page[:-1], rows, first, rows), (page, rows + 1, first, rows + 1), (page[:3], rows, first, last)):
        for kernels in (page_kernels(), None):
            with pytest.raises(IntegrityError, match="does not hold"):
                by(kernels, partial(cuts.decoded, [cuts.Cut(cut.kind, cut.nullable, [torn])]))


def page_kernels() -> Any:
    return native.load("store.reading.page_kernels")


def by(kernels: Any, work: Callable[[], Any]) -> Any:
    kept, page_values.kernels = page_values.kernels, lambda rows: kernels
    try:
        return work()
    finally:
        page_values.kernels = kept
