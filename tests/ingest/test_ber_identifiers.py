"""Identifiers that are packed where they stand are those that texts of them pack to."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders.ber import identifiers as packing
from ingest.decoders.ber import values
from ingest.decoders.ber.values import Numbers
from ingest.source_config import SourceConfig
from schemas.packing import pack_identifier
from tests.examples import examples
from tests.ingest import ber_encoder as ber
from tests.ingest.test_ber_kernels import DIGITS, TBCD, by_kernels, spans_of
from tests.ingest.threegpp_made import SOURCE, decoded, mo, pgw

PLAIN = st.integers(0, 10**17).map(lambda value: ber.tbcd(str(value)))
FIGURES = st.integers(0, 10**18 - 1) | st.integers(0, 18).map(lambda power: 10**power - 1)


@examples(100)
@given(st.lists(st.none() | PLAIN, min_size=1, max_size=12), st.none() | TBCD | DIGITS, st.booleans())
def test_digits_are_packed_as_their_texts_are(contents: list[Any], odd: bytes | None, high_first: bool) -> None:
    data, span = spans_of([*contents, odd])
    with by_kernels(wanted=True):
        found = packing.identifiers(data, span, high_first=high_first)
    with by_kernels(wanted=False):
        assert packing.identifiers(data, span, high_first=high_first) is None
        chars, bad = values.digit_chars(data, span, high_first=high_first)
        digits, text = pack_identifier(values.strings(chars, chars[:, 0] == 0))
    if found is None:
        assert text.null_count < len(text) or bad[-1], "only what is no digit is left to texts"
        return
    assert found.bad.tolist() == bad.tolist()
    assert (found.column.to_pylist(), text.null_count) == (digits.to_pylist(), len(text))


NUMBERS = [
    b"\x91" + ber.tbcd("46709876543"), b"\xa1" + ber.tbcd("0709876543"), b"\xa1" + ber.tbcd("2125550123"),
    b"\x81" + ber.tbcd("*21#"), b"\x81" + ber.tbcd("112"), b"\x81" + ber.tbcd("0046709876543"), b"\x81", b"",
    b"\xd1\xcc\x70\xbb\x1d\x0e", b"\x11\x80" + ber.tbcd("46709876543"), b"\x11\x80", b"\x91" + ber.tbcd("1" * 19),
    b"\x91\xf1\x21", b"\x91" + bytes(33), b"\x91" + ber.tbcd("12125550123"),
]  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS)), min_size=1, max_size=4),
    st.sampled_from(["SE", "US", "HU", "ES", None]),
)
def test_numbers_are_the_same_by_either_road(numbers: list[tuple[bytes, bytes]], country: str | None) -> None:
    source = SourceConfig("msc", zone=None, country=country)
    data = b"".join(
        mo(f4=calling, f5=called, f6=calling, f7=called, f32=bytes([row]))
        for row, (calling, called) in enumerate(numbers)
    )
    with by_kernels(wanted=True):
        found = decoded(data, source)
    with by_kernels(wanted=False):
        assert found == decoded(data, source)


@given(st.lists(FIGURES, max_size=5))
def test_figures_become_identifiers_of_their_digits(figures: list[int]) -> None:
    assert packing.packed(np.array(figures, np.int64)).tolist() == [int(f"1{value}") for value in figures]


def test_a_figure_that_does_not_pack_stays_text() -> None:
    there, none = np.ones(2, np.bool_), np.zeros(2, np.bool_)
    assert packing.in_digits(Numbers(np.array([7, 10**18]), there, none)).to_pylist() == ["7", str(10**18)]
    assert packing.in_digits(Numbers(np.array([7, 0]), np.array([True, False]), none)).to_pylist() == [17, None]


def test_columns_of_both_forms_become_texts() -> None:
    digits, words = pa.array([10046, None]), pa.array([None, "Lagrum"])
    assert packing.first_told(digits, words).to_pylist() == ["0046", "Lagrum"]
    assert packing.first_told(digits, pa.nulls(2, pa.string())).to_pylist() == [10046, None]
    assert packing.alike(pa.nulls(2, pa.string()))[0].type == pa.string()


@pytest.mark.parametrize("wanted", [True, False])
def test_the_first_of_two_addresses_is_the_bearer_s(wanted: bool) -> None:
    six = [ber.context(0, [ber.ip("2001:db8:0:7::1")])]
    four = [ber.context(0, [ber.ip("10.11.12.14")])]
    with by_kernels(wanted=wanted):
        rows = decoded(pgw(f9=six, f45=four) + pgw(f9=four, f45=six) + pgw(f9=None, f45=four), SOURCE)[0]
    assert [row["source_ip"] for row in rows] == ["2001:db8:0:7::1", "10.11.12.14", "10.11.12.14"]
