"""Forms that are taken over from a part before lose nothing, and are given up where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import parquet, parts
from store.encoding import bit_packing, choices, columns, derivations, forms
from store.encoding.choices import Choices, fitting
from store.encoding.figures import Figures
from store.encoding.forms import Form
from store.part_reader import PartReader
from tests.examples import examples
from tests.store.encoding.test_columns import BINDING, INT64, KEY, SMALL, assert_same, tables
from tests.store.records import records

KINDS = ("constant", "word", "bytes", "repeat", "delta")


def trial(array: object, encoding: str, codec: str) -> int:
    raise AssertionError("a form was chosen anew")


def written(path: Path, stored: columns.Stored) -> PartReader:
    path.unlink(missing_ok=True)
    parquet.write_stored(path, stored, BINDING, KEY)
    return PartReader(path, BINDING, KEY)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(several=st.lists(tables(), min_size=2, max_size=4))
def test_any_parts_one_after_the_other_come_back(tmp_path: Path, several: list[object]) -> None:
    shared = Choices()
    for table in several:
        stored = columns.encode(table, 16, parquet.size_of, shared)
        with written(tmp_path / "part", stored) as reader:
            assert_same(table, reader.read())


@examples(70)
@given(
    st.lists(INT64 | SMALL | st.integers(0, 70_000), min_size=1, max_size=40),
    st.one_of(st.none(), st.integers(0, 2**32)),
    st.sampled_from(KINDS),
    st.integers(-(2**40), 2**40),
    st.integers(1, bit_packing.SLOT_BITS_MAX),
)
def test_a_form_that_fits_keeps_every_figure(
    values: list[int], nulls: int | None, kind: str, base: int, bits: int
) -> None:
    array = np.array(values, np.int64)
    valid = None if nulls is None else np.array([nulls >> at & 1 == 1 for at in range(len(array))])
    column = Figures(array if valid is None else np.where(valid, array, 0), valid)
    form = fitting(column, Form(kind, base, min(bits, 32) if kind == "bytes" else bits, nulls=valid is not None))
    if form is None:
        return
    if form.kind == "word":
        packed = bit_packing.pack([form.slot], [lambda a, b: forms.codes_between(column, form, a, b)], 8, len(array))
        found = forms.values_of(bit_packing.unpack(packed, form.slot), form)
    else:
        found = forms.read(form, forms.write(column, form, 7), len(array))
    assert found.values.tolist() == column.values.tolist()
    assert valid is None or found.valid is None or found.valid.tolist() == valid.tolist()


def test_parts_that_are_alike_take_the_same_forms_untried() -> None:
    shared = Choices()
    first, second = (parts.sort(records(4_000, seed=seed, first_key=4_000 * seed)) for seed in (0, 1))
    before = columns.encode(first, 4_096, parquet.size_of, shared)
    after = columns.encode(second, 4_096, trial, shared)
    assert after.table.schema.names == before.table.schema.names


def test_a_column_of_another_span_or_with_nulls_is_chosen_anew() -> None:
    values = np.arange(1_000, dtype=np.int64) % 200
    like = Form("word", 0, 8)
    assert fitting(Figures(values), like) == like
    assert fitting(Figures(values * 1_000), like) is None
    assert fitting(Figures(values, values > 0), like) is None
    assert fitting(Figures(values), Form("constant", 7)) is None
    assert fitting(Figures(values + np.iinfo(np.int64).min), like) is None
    assert fitting(Figures(values * 0 + 5), like) == Form("constant", 5)


def test_bytes_begin_where_those_before_began() -> None:
    values = np.arange(-300, 300, dtype=np.int64)
    form = fitting(Figures(values), Form("bytes", -640, 11, codec="zstd"))
    assert form is not None
    assert (form.base % 256, form.width) == (-640 % 256, 2)
    assert form.base <= -300 < form.base + 256


@pytest.mark.parametrize("rows", [50, choices.ROWS_MAX + 1])
def test_a_large_part_and_one_after_many_choose_for_themselves(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "USES_MAX", 2)
    asked: list[str] = []
    monkeypatch.setattr(choices, "choose", lambda *_: asked.append("") or Form("word", 0, 6))
    shared = Choices()
    for _ in range(5):
        shared.choose({"a": Figures(np.arange(rows) % 50)}, rows, trial, 0.0)
    assert len(asked) == (2 if rows == 50 else 5)


def test_types_of_handsets_are_numbered_alike_in_small_and_large_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    body = np.repeat(np.random.default_rng(1).integers(35_000_000, 35_000_200, 400), 3) * 10**6 + 123
    column = Figures(10**15 + body * 10 + derivations.luhn_digit(body))
    few = derivations.equipment(column)
    monkeypatch.setattr(derivations, "_SORTED_MAX", 0)
    many = derivations.equipment(column)
    assert few is not None
    assert many is not None
    assert few[1] == many[1]
    assert few[0].values.tolist() == many[0].values.tolist()
