"""+46 070... is read as +46 70... wherever it is certain, by every road; a zero that belongs to a number stays."""

from __future__ import annotations

import itertools
from collections import defaultdict
from unittest import mock

import numpy as np
import phonenumbers
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import packing
from schemas.misplaced_prefixes import PREFIXES, fewest_digits, rows_to_look_at, without_misplaced_prefix
from schemas.numbers import normalise_number, normalise_numbers, normalise_packed, rules
from schemas.packing import pack_identifier
from store import native

KERNELS = native.load("schemas.number_kernels")
COUNTRIES = ["SE", "NO", "US", "IT", "RU", "HU", None]


@pytest.mark.parametrize("country", COUNTRIES)
@pytest.mark.parametrize(
    ("written", "number"),
    [
        *[(form, "46701234567") for form in ("+460701234567", "+46 070-123 45 67", "tel:+46-070-1234567")],
        ("+46 08 123 456 78", "46812345678"),
        ("+49 030 123456", "4930123456"),
        ("+44 07911 123456", "447911123456"),
        ("+36 06 20 123 4567", "36201234567"),
        ("+7 8 916 123 45 67", "79161234567"),
        ("+375 8 29 491 19 11", "375294911911"),
    ],
)
def test_a_misplaced_prefix_is_removed_and_what_was_delivered_is_told(
    country: str | None, written: str, number: str
) -> None:
    assert normalise_number(written, rules(country)) == number
    column = pa.array([written, None, "112"])
    assert normalise_numbers(column, rules(country)).to_pylist() == [number, None, "112"]
    *_, changed = normalise_packed(*pack_identifier(column), rules(country))
    assert changed.tolist() == [True, False, False]


@pytest.mark.parametrize(
    "number",
    [
        *("390612345678", "39061234567", "3780549123456", "22507012345", "2250701234567", "24107412345"),  # zeros stay
        *("78001234567", "78121234567", "79161234567"),  # Russia: 8 begins areas
        *("80001234567", "46701234567", "4607", "460123456", "46000000000000", "4607012345678901", "0701234567"),
        *("12425551234", "5999123456", "", "4", "46", "460", "anonymous", "460\uff1701234567", "46070123456x"),
    ],
)
def test_where_it_is_not_certain_the_digits_stay(number: str) -> None:
    assert without_misplaced_prefix(number) is None
    assert normalise_number(number, rules(None)) == number


def test_prefixes_are_those_of_the_package() -> None:
    """A number that its table does not look at would be found by no order."""
    told: dict[int, tuple[str, int]] = {}
    for prefix, fewest, codes in PREFIXES:
        told |= {int(code): (prefix, fewest) for code in codes.split()}
    known: dict[int, set[str]] = defaultdict(set)
    shortest: dict[int, int] = defaultdict(lambda: 99)
    for code, regions in phonenumbers.COUNTRY_CODE_TO_REGION_CODE.items():
        for region in filter(str.isalpha, regions):
            metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
            if metadata.national_prefix not in (None, str(code)):
                known[code].add(metadata.national_prefix)
                shortest[code] = min(shortest[code], *metadata.general_desc.possible_length)
    assert {code: {prefix} for code, (prefix, _) in told.items()} == known
    for code, (prefix, fewest) in told.items():
        assert fewest <= max(10, len(f"{code}{prefix}") + shortest[code])


def test_no_number_that_somebody_has_is_changed() -> None:
    kinds = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE)
    for region, kind in itertools.product(sorted(phonenumbers.SUPPORTED_REGIONS), kinds):
        number = phonenumbers.example_number_for_type(region, kind)
        if number is not None:
            digits = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
            assert without_misplaced_prefix(digits) is None, region
            assert normalise_number("+" + digits, rules(None)) == digits, region


LED = st.builds(
    str.__add__,
    st.sampled_from(["460", "4607", "3606", "78", "3758", "39", "4930", "44", "6921"]),
    st.text("0123456789"),
)


@given(st.lists(LED | st.text("0123456789", min_size=1, max_size=18), min_size=1, max_size=40))
@example(["460701234567"])
@example(["1" * length for length in range(1, 19)])
def test_the_compiled_look_misses_no_number_that_the_plain_one_finds(texts: list[str]) -> None:
    values = np.array([int("1" + text[:18]) for text in texts], np.int64)
    values.flags.writeable = False
    with mock.patch.object(packing, "_kernels", []):
        plain = rows_to_look_at(values)
    short = [row for row in plain if len(str(values[row])) <= 16]
    if short:
        assert KERNELS.may_have_prefix(values, fewest_digits())
    if not len(plain) and max(map(len, texts)) <= 15:
        assert not KERNELS.may_have_prefix(values, fewest_digits())
    with mock.patch.object(packing, "_kernels", [KERNELS]), mock.patch.object(packing, "KERNEL_ROWS_MIN", 1):
        looked = normalise_numbers(pa.array(texts), rules(None)).to_pylist()
    assert looked == [normalise_number(text, rules(None)) for text in texts]
