"""Looking among codes finds what restoring and comparing finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.compute
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.imei import imei_match_ranges
from store.encoding import bit_packing, derivations, forms
from store.encoding.code_search import Range, sought
from store.encoding.figures import Figures
from store.encoding.forms import Form
from tests.examples import examples

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type
Values = st.lists(st.one_of(st.none(), st.integers(-40, 300)), min_size=1, max_size=40)


def found(column: Figures, kind: str, ranges: list[Range], rule: dict[str, Any] | None = None) -> Any:
    """Return which rows are told by codes, for a column as a part would keep it."""
    low, high = column.span
    nulls = column.valid is not None
    form = Form(kind, 0 if kind == "delta" else low, (high - low + nulls).bit_length() or 1, 3, nulls)
    told = sought(form, rule, ranges)
    if told is None:
        return None
    if kind == "delta":
        return told.among_values(column.values)
    if kind == "repeat":
        (repeated,) = forms.write(column, form, 7)
        return told.among_bytes(forms.bytes_of(pc.fill_null_forward(repeated)))
    packed = bit_packing.pack([form.slot], [lambda a, b: forms.codes_between(column, form, a, b)], 9, len(column))
    return told.among(packed)


@examples(70)
@given(Values, st.lists(st.tuples(st.integers(-60, 320), st.integers(0, 9)), min_size=1, max_size=4))
def test_codes_of_ranges_are_those_of_values_in_them(values: list[int | None], asked: list[tuple[int, int]]) -> None:
    valid = np.array([item is not None for item in values])
    column = Figures(np.array([item or 0 for item in values]), None if valid.all() else valid)
    ranges = [(first, first + size) for first, size in asked]
    expected = [item is not None and any(a <= item < b for a, b in ranges) for item in values]
    assert found(column, "word", ranges).tolist() == expected
    by_delta = found(column, "delta", ranges)
    assert by_delta is None if column.valid is not None else by_delta.tolist() == expected
    if column.valid is None:  # what has nulls is never kept so
        assert found(column, "repeat", ranges).tolist() == expected


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 9)), min_size=20, max_size=60),
    st.booleans(),
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.sampled_from(["", "0", "77"])),
)
def test_equipment_is_found_by_its_body_whatever_its_last_digit(
    drawn: list[tuple[int, int, int]], same: bool, asked: tuple[int, int, str]
) -> None:
    bodies = [35_209_900_000_000 + kind * 10**6 + serial for kind, serial, _ in drawn]
    digits = [0 if same else last for _, _, last in drawn]
    whole = np.array([10**15 + body * 10 + digit for body, digit in zip(bodies, digits, strict=True)])
    laid = derivations.equipment(Figures(whole))
    assert laid is not None
    kept, rule = laid
    body = 35_209_900_000_000 + asked[0] * 10**6 + asked[1]
    ranges = imei_match_ranges(f"{body}{asked[2]}")
    expected = [one == body for one in bodies]
    for kind in ("word", "repeat"):
        assert found(kept, kind, ranges, {"rule": "equipment", **rule}).tolist() == expected
    assert derivations.unequipment(kept, {"rule": "equipment", **rule}).values.tolist() == whole.tolist()


def test_what_codes_do_not_tell_is_left_to_reading() -> None:
    word = Form("word", bits=8)
    assert sought(word, {"rule": "sum"}, [(1, 2)]) is None
    assert sought(replace(word, kind="constant"), None, [(1, 2)]) is None
    assert sought(replace(word, kind="bytes"), None, [(1, 2)]) is None
    types = derivations.equipment(Figures(np.full(40, 10**15 + 352_099_000_000_011)))
    assert types is not None
    rule = {"rule": "equipment", **types[1]}
    one_imei = 10**15 + 352_099_000_000_011
    assert sought(word, rule, [(one_imei, one_imei + 1)]) is None
