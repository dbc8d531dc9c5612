"""What a part's file keeps of its columns comes back as it was, whatever the columns hold."""

from __future__ import annotations

from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.arrow import PACKED
from schemas.errors import IntegrityError
from store import parquet, parts
from store.binding import FileBinding
from store.encoding import bit_packing, columns, derivations, forms
from store.encoding.figures import Figures
from store.part_reader import PartReader
from store.partitions import PartitionKey
from tests.store.records import records, with_column

KEY = b"k" * 32
BINDING = FileBinding("0" * 32, PartitionKey(date(2026, 11, 1), "standard"), "1" * 32, "records")
INT64 = st.integers(-(2**63), 2**63 - 1)
SMALL = st.integers(-3, 3)
SLOW = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def stored_and_read(path: Path, table: pa.Table, group_rows: int = 4_096) -> PartReader:
    path.unlink(missing_ok=True)
    parquet.write_stored(path, columns.encode(table, group_rows, parquet.size_of), BINDING, KEY)
    return PartReader(path, BINDING, KEY)


def assert_same(table: pa.Table, found: pa.Table) -> None:
    assert found.column_names == table.column_names
    for name in table.column_names:
        assert found.column(name).type == PACKED.field(name).type
        assert plain(found.column(name)) == plain(table.column(name)), name


def plain(column: Any) -> list[Any]:
    """Return a column's values; times as integers, for Python does not know them all."""
    values: list[Any] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return values


def assert_bounded(table: pa.Table, reader: PartReader) -> None:
    for name in columns.BOUNDED:
        if name not in table.column_names:
            continue
        for group, bounds in enumerate(reader.bounds(name)):
            column: Any = table.column(name).slice(group * reader.group_size, reader.group_size)
            values = [value for value in column.cast(pa.int64()).to_pylist() if value is not None]
            assert not values or (bounds is not None and bounds[0] <= min(values) and bounds[1] >= max(values))


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Tables of packed columns: figures from narrow to all of 64 bits, nulls, labels, texts, flags."""
    rows = draw(st.integers(1, 40))

    def column(name: str, values: st.SearchStrategy[Any], *, nulls: bool) -> Any:
        one = st.none() | values if nulls else values
        pool = draw(st.lists(one, min_size=1, max_size=5))
        return pa.array(draw(st.lists(st.sampled_from(pool), min_size=rows, max_size=rows)), PACKED.field(name).type)

    imei = st.integers(10**15, 2 * 10**15 - 1) | st.integers(10**14, 10**17)
    made = {
        "start_time": column("start_time", st.integers(0, 10**15) | INT64, nulls=False),
        "end_time": column("end_time", st.integers(0, 10**15) | INT64, nulls=False),
        "batch_position": column("batch_position", st.integers(1, 2**40), nulls=False),
        "record_key": column("record_key", INT64, nulls=draw(st.booleans())),
        "conflict": column("conflict", st.booleans(), nulls=draw(st.booleans())),
    }
    optional = {
        "batch_id": (SMALL, False),
        "duration_ms": (st.sampled_from([0, 1000, -1000, 1500, 90_000]) | INT64, True),
        "billable_duration_ms": (st.sampled_from([0, 1000, -1000, 1500, 90_000]), True),
        "answer_time": (st.integers(0, 10**15), True),
        "calling_number": (INT64, True),
        "imei": (imei, True),
        "source_ip": (st.integers(0, 2**32 - 1), True),
        "source_port": (st.integers(0, 65_535), True),
        "utc_offset_s": (st.integers(-43_200, 50_400), True),
        "switch": (st.text(max_size=3), True),
        "calling_number_text": (st.text(max_size=5), True),
        "source_ip_v6": (st.binary(min_size=16, max_size=16), True),
    }
    for name, (values, nulls) in optional.items():
        if draw(st.booleans()):
            made[name] = column(name, values, nulls=nulls and draw(st.booleans()))
    table = pa.table(made)
    return table.select([name for name in PACKED.names if name in made])


def assert_same_in_pages(table: pa.Table, reader: PartReader) -> None:
    """Column by column, of all groups, then of every third row, and of one group's last: the same records."""
    pages = reader.pages(range(reader.groups))
    names = table.column_names
    for name in names[::2]:
        assert_same(table.select([name]), pages.read([name]))
    rows = np.arange(0, table.num_rows, 3)
    assert_same(table.take(pa.array(rows)).select(names[::-1]), pages.of(rows).read(names[::-1]))
    size = reader.group_rows(reader.groups - 1)
    last = reader.pages([reader.groups - 1])
    assert_same(table.slice(table.num_rows - size).select(names[:1]), last.read(names[:1]))
    assert_same(table.slice(table.num_rows - 1), last.of(np.array([size - 1])).read(names))
    assert_same(table, pages.read(names))


@SLOW
@given(table=tables(), group_rows=st.sampled_from([7, 16, 4_096]))
def test_any_columns_come_back(tmp_path: Path, table: pa.Table, group_rows: int) -> None:
    with stored_and_read(tmp_path / "part", table, group_rows) as reader:
        assert reader.group_size == group_rows
        assert_same(table, reader.read())
        assert_bounded(table, reader)
        for name in table.column_names:
            assert_same(table.select([name]), reader.read(None, [name]))
        last = reader.groups - 1
        assert_same(table.slice(last * group_rows), reader.read([last]))
        assert_same_in_pages(table, reader)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(INT64 | SMALL, min_size=1, max_size=60),
    st.booleans(),
    st.sampled_from(["word", "bytes", "repeat", "delta"]),
    st.data(),
)
def test_every_form_keeps_every_figure(values: list[int], nulls: bool, kind: str, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, bit_packing.SLOT_BITS_MAX))
    array = np.array([value % 2 ** (bits - 1) for value in values], np.int64)
    valid = np.array(data.draw(st.lists(st.booleans(), min_size=len(array), max_size=len(array))))
    nulls = nulls and kind != "repeat"
    column = Figures(np.where(valid, array, 0), valid) if nulls else Figures(array)
    form = forms.Form(kind, int(array.min()), bits, data.draw(st.integers(0, 20)), nulls)
    if kind == "word":
        packed = bit_packing.pack([form.slot], [partial(forms.codes_between, column, form)], 10, len(array))
        found = forms.values_of(bit_packing.unpack(packed, form.slot), form)
    else:
        found = forms.read(form, forms.write(column, form, 7), len(array))
    assert found.values.tolist() == column.values.tolist()
    if nulls and found.valid is not None:
        assert found.valid.tolist() == valid.tolist()


def test_the_reference_columns_take_their_forms(tmp_path: Path) -> None:
    table = parts.sort(records(20_000))
    stored = columns.encode(table, 4_096, parquet.size_of)
    assert {"end_time", "record_key", "conflict", "end_inferred"}.isdisjoint(stored.table.column_names)
    with stored_and_read(tmp_path / "part", table) as reader:
        assert_same(table, reader.read())
        assert_bounded(table, reader)


@pytest.mark.parametrize("ahead", [0, 3, None])
def test_handsets_keep_every_digit(ahead: int | None) -> None:
    body = np.repeat(np.arange(35_000_000_000_000, 35_000_000_000_200), 20)
    told = np.arange(len(body)) % 10 if ahead is None else ahead
    imei = 10**15 + body * 10 + (derivations.luhn_digit(body) + told) % 10
    found = derivations.equipment(Figures(imei))
    assert found is not None
    assert found[1]["ahead"] == ahead
    assert derivations.unequipment(*found).values.tolist() == imei.tolist()
    assert derivations.equipment(Figures(imei * 10)) is None  # sixteen digits are another form


def test_a_known_handset_has_its_check_digit() -> None:
    assert derivations.luhn_digit(np.array([49_015_420_323_751])).tolist() == [8]  # 3GPP TS 23.003, annex B


def test_files_of_earlier_versions_stay_readable(tmp_path: Path) -> None:
    table = parts.sort(records(500))
    parquet.write(tmp_path / "part", table, BINDING, KEY)
    with PartReader(tmp_path / "part", BINDING, KEY) as reader:
        found = reader.read()
        assert set(reader.names) == set(table.column_names)
        for name in table.column_names:
            assert found.column(name).to_pylist() == table.column(name).to_pylist()
        assert reader.group_size >= 500


def test_labels_of_other_partitions_stay_out(tmp_path: Path) -> None:
    table = records(100)
    labels = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100, np.int32)), pa.array(["here", "elsewhere"]))
    table = table.drop_columns(["switch"]).append_column("switch", labels)
    with stored_and_read(tmp_path / "part", parts.sort(table)) as reader:
        assert reader.read(None, ["switch"]).column("switch").chunk(0).dictionary.to_pylist() == ["here"]


def test_a_merged_part_keeps_batches_and_positions(tmp_path: Path) -> None:
    tables = [
        with_column(records(3_000, seed=seed, first_key=seed * 10_000), "batch_id", [seed] * 3_000)
        for seed in (3, 1, 2)
    ]
    table = parts.sort(pa.concat_tables(tables))
    assert "batch_id" not in columns.encode(table, 4_096, parquet.size_of).table.column_names
    with stored_and_read(tmp_path / "part", table) as reader:
        assert_same(table, reader.read())
        assert_same_in_pages(table, reader)


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part"
    stored_and_read(path, parts.sort(records(500))).close()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError), PartReader(path, BINDING, KEY) as reader:
        reader.read()


def test_what_is_left_of_the_words_last_byte_takes_a_squeezed_column() -> None:
    chosen = {
        "a": forms.Form("word", 0, 37),
        "b": forms.Form("bytes", 0, 3, codec="zstd"),
        "c": forms.Form("bytes", 0, 2, codec="zstd"),
        "d": forms.Form("delta"),
    }
    placed, width = columns._with_slots(chosen)
    assert [placed[name].kind for name in "abcd"] == ["word", "word", "bytes", "delta"]
    assert (width, placed["b"].at) == (5, 37)
    full, width = columns._with_slots({**chosen, "a": forms.Form("word", 0, 40)})
    assert (full["b"].kind, width) == ("bytes", 5)
    none, width = columns._with_slots({"b": chosen["b"]})
    assert (none["b"].kind, width) == ("bytes", 0)


@pytest.mark.parametrize("low", [-500, -(2**63)])
def test_figures_around_one_value_do_not_straddle_two_bytes(low: int) -> None:
    values = np.random.default_rng(0).normal(12, 5, 5000).astype(np.int64)
    values[7] = low
    form = forms.choose(Figures(values), parquet.size_of)
    column = forms.write(Figures(values), form, 4096)
    assert np.array_equal(forms.read(form, column, len(values)).values, values)
    if low == -500:
        assert form.kind == "bytes"
        assert len(np.unique((values - form.base) >> 8)) == 2  # the outlier's, and all the others'
    else:
        assert form.kind == "delta"


def test_differences_in_small_pages_are_squeezed_by_what_begins_at_once() -> None:
    values = np.tile([1, 1, 1, 2**24], 1250).cumsum()
    values[0] = -(2**59)
    column = Figures(values)
    for own_bits, codec in ((0.0, "zstd"), (1.4, "lz4")):
        form = forms.choose(column, parquet.size_of, own_bits)
        assert (form.kind, form.codec) == ("delta", codec)


def test_bytes_of_small_pages_must_earn_a_frame_for_each() -> None:
    values = np.random.default_rng(2).geometric(0.3, 5000).astype(np.int64)
    assert forms.choose(Figures(values), parquet.size_of).kind == "bytes"
    assert forms.choose(Figures(values), parquet.size_of, 1.4).kind == "word"
