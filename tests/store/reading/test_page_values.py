"""Values of single pages come back by loop and by twin, and headers are read alike in two ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store.reading import page_values
from tests.examples import examples
from tests.store.reading.test_pages import INT64, by, page_kernels


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=3_000), st.integers(1, 9))
def test_a_frame_tells_what_it_holds(data: bytes, level: int) -> None:
    frame = pa.Codec("zstd", level).compress(data, asbytes=True)
    assert page_values.frame_bytes(frame) == len(data)
    assert page_values.frame_bytes(b"none" + frame[4:]) == -1
    with pytest.raises(IndexError):
        page_values.frame_bytes(frame[:4])


@examples(70)
@given(st.lists(INT64, max_size=700), st.integers(0, 3))
def test_differences_come_back_by_loop_and_twin(values: list[int], torn: int) -> None:
    data = _packed(values)
    for kernels in (page_kernels(), None):
        found, end = by(kernels, lambda: page_values.deltas(data))
        assert found.tolist() == values
        assert end == len(data)
        if torn and len(values) > 1:
            with pytest.raises((ValueError, IndexError)):
                by(kernels, lambda: page_values.deltas(data[:-torn].copy()))


@examples(70)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 60)), min_size=1, max_size=40))
def test_levels_come_back_by_loop_and_twin(runs: list[tuple[bool, int]]) -> None:
    flags = np.concatenate([np.full(count, value) for value, count in runs])
    data, encoded = pa.BufferOutputStream(), pa.array(np.zeros(len(flags), np.int64), mask=~flags)
    options: dict[str, Any] = {"use_dictionary": False, "compression": "none", "write_statistics": False}
    pq.write_table(pa.table({"x": encoded}), data, **options)
    levels = _first_page(data.getvalue())
    for kernels in (page_kernels(), None):
        found = by(kernels, lambda: page_values.levels(levels, len(flags)))
        assert (found is None) == flags.all()
        assert found is None or (found == flags).all()
        with pytest.raises(ValueError, match="torn"):
            by(kernels, lambda: page_values.levels(levels[:-1].copy(), len(flags)))


def _packed(values: list[int]) -> Any:
    sink = pa.BufferOutputStream()
    made = pa.table([pa.array(values, pa.int64())], schema=pa.schema([pa.field("x", pa.int64(), nullable=False)]))
    encodings: dict[str, Any] = {"column_encoding": {"x": "DELTA_BINARY_PACKED"}, "compression": "none"}
    with pq.ParquetWriter(sink, made.schema, use_dictionary=False, write_statistics=False, **encodings) as writer:
        writer.write_table(made, row_group_size=max(len(values), 1))
    if not values:
        return np.array([128, 1, 4, 0, 0], np.uint8)
    return _page(sink.getvalue())


def _first_page(data: pa.Buffer) -> Any:
    page = _page(data)
    return page[4 : 4 + int.from_bytes(page[:4].tobytes(), "little")].copy()


def _page(data: pa.Buffer) -> Any:
    """Return the first page of a plain file of one column, without its header."""
    from store.reading import thrift

    raw = data.to_pybytes()
    told = pq.ParquetFile(pa.BufferReader(raw)).metadata.row_group(0).column(0)
    header, end = thrift.struct(raw, told.data_page_offset)
    return np.frombuffer(raw[end : end + header[3]], np.uint8)


def number(value: int) -> bytes:
    """Return a whole number of a structure in Thrift's compact protocol."""
    value, out = (value << 1) ^ (value >> 63), bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


@given(st.lists(st.integers(0, 2**31 - 1), min_size=4, max_size=4), st.sampled_from([0, 2, 3]), st.integers(0, 40))
def test_a_header_is_read_alike_at_a_glance_and_field_by_field(told: list[int], kind: int, torn: int) -> None:
    size, squeezed, rows, encoding = map(number, told)
    own = b"\x15" + rows + b"\x15" + encoding + b"\x15\x06\x15\x06\x00"
    whole = b"\x15" + number(kind) + b"\x15" + size + b"\x15" + squeezed + b"\x2c" + own + b"\x00"
    found = page_values._any(whole)
    assert page_values.header(whole) == found
    assert found == (None if kind else page_values.Header(told[2], told[0], told[3]))
    assert page_values._short(whole) == found
    if torn < len(whole) - len(own):
        with pytest.raises(IndexError):
            page_values.header(whole[:torn])
