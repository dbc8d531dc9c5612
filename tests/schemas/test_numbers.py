"""Every writing of a number finds the same rows; what is no number stays."""

from __future__ import annotations

import numpy as np
import phonenumbers
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigurationError, InputError
from schemas.imei import imei_match_ranges
from schemas.numbers import (
    normalise_number,
    normalise_numbers,
    normalise_packed,
    rules,
    spoiled,
)
from schemas.packing import KERNEL_ROWS_MIN, pack_identifier, pack_identifier_value, unpack_identifier
from store import native

COUNTRIES = ["SE", "NO", "US", "GB", "IT", "RU", "HU", "BR", "JP", "AU", "FI", "CN", "AR", "KR", "BY", "GA", "AG", None]


@pytest.mark.parametrize(
    "text",
    [
        *("46701234567", "+46701234567", "0046701234567", "0701234567", "070-123 45 67", "+46 70 123 45 67"),
        *("+46 (0)70-123 45 67", "tel:+46-70-1234567", "TEL:+46701234567;phone-context=example.org", "(070) 123.45.67"),
        *("00 46 70 1234567", "0046 (0)70-123 45 67", "46(0)701234567", "(0)70-123 45 67"),
    ],
)
def test_every_writing_of_a_swedish_number_is_one_number(text: str) -> None:
    assert normalise_number(text, rules("SE")) == "46701234567"
    assert normalise_numbers(pa.array([text, "112"]), rules("SE")).to_pylist() == ["46701234567", "112"]


@pytest.mark.parametrize(
    ("country", "text", "expected"),
    [
        ("SE", "08123456", "468123456"),
        ("SE", "4520123456", "4520123456"),
        ("NO", "22334455", "4722334455"),
        ("NO", "4722334455", "4722334455"),
        ("NO", "46701234567", "46701234567"),
        ("US", "2125551234", "12125551234"),
        ("US", "12125551234", "12125551234"),
        ("US", "01146701234567", "46701234567"),
        ("IT", "0612345678", "390612345678"),
        ("IT", "3331234567", "393331234567"),
        ("IT", "393331234567", "393331234567"),
        ("RU", "89161234567", "79161234567"),
        ("RU", "79161234567", "79161234567"),
        ("RU", "81046701234567", "46701234567"),
        ("HU", "06201234567", "36201234567"),
        ("BR", "01511987654321", "5511987654321"),
        ("BR", "011987654321", "5511987654321"),
        ("GB", "07911123456", "447911123456"),
        ("AU", "001146701234567", "46701234567"),
        ("AU", "0412345678", "61412345678"),
        ("FI", "994501234567", "994501234567"),
        ("FI", "0401234567", "358401234567"),
        ("JP", "01046701234567", "46701234567"),
        ("JP", "09012345678", "819012345678"),
        ("AR", "91123456789", "91123456789"),
        (None, "0046701234567", "46701234567"),
        (None, "0701234567", "0701234567"),
        (None, "+46701234567", "46701234567"),
    ],
)
def test_countries_write_numbers_their_own_way(country: str | None, text: str, expected: str) -> None:
    assert normalise_number(text, rules(country)) == expected
    assert normalise_numbers(pa.array([text]), rules(country)).to_pylist() == [expected]


@pytest.mark.parametrize(
    "text",
    [
        *("", "112", "071456", "90510", "Anna", "TELIA 1", "sip:+46701234567@example.org;user=phone", "sip:alice@host"),
        *("tel:0701234567;phone-context=+46", "*21*0701234567#", "10.20.30.40", "+", "+112", "+0701234567", "0" * 12),
        *("anonymous", "+46701234567890123", "1" * 19, "\uff14\uff16701234567", "+46 70 abc", "1-800", "unknown@x"),
    ],
)
@pytest.mark.parametrize("country", [None, "SE"])
def test_what_is_no_number_stays_as_it_is(text: str, country: str | None) -> None:
    assert normalise_number(text, rules(country)) == text
    assert normalise_numbers(pa.array([text, None]), rules(country)).to_pylist() == [text, None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("112 ", "112"), ("  ACME\t", "ACME"), (" +46701234567 ", "46701234567"), ("sip:a@b.c\u00a0", "sip:a@b.c")),
        *(("TELIA 1 ", "TELIA 1"), ("*21# ", "*21#"), ("   ", "   ")),
    ],
)
@pytest.mark.parametrize("country", [None, "SE", "US"])
def test_what_pads_a_value_is_no_part_of_it(text: str, expected: str, country: str | None) -> None:
    law = rules(country)
    assert normalise_number(text, law) == expected
    packed, texts = pack_identifier(pa.array([text, None, "Anna"]))
    packed, texts, changed = normalise_packed(packed, texts, law)
    assert unpack_identifier(packed, texts).to_pylist() == [expected, None, "Anna"]
    assert changed.tolist() == [text != expected, False, False]


@pytest.mark.parametrize("text", ["4.67E+10 ", " 46701740605.0", "######## "])
def test_padding_hides_no_spoiled_number(text: str) -> None:
    found = spoiled(pa.array([text, "46701740605 "]))
    assert found is not None
    assert found.tolist() == [True, False]


DIGITS = st.text("0123456789", max_size=19)
PREFIXED = st.builds(
    str.__add__, st.sampled_from(["0", "00", "+", "+46", "011", "8", "810", "1", "06", "39", "47"]), DIGITS
)
WRITTEN = st.text("0123456789+ -./()", max_size=20)


@pytest.mark.parametrize("country", COUNTRIES)
@given(st.lists(st.none() | DIGITS | PREFIXED | WRITTEN | st.text(max_size=5), max_size=20))
@example(["46701234567", None, "0701234567"])
@settings(max_examples=60)
def test_columns_and_single_values_agree(country: str | None, values: list[str | None]) -> None:
    law = rules(country)
    expected = [None if value is None else normalise_number(value, law) for value in values]
    column = pa.array(values, pa.string())
    assert normalise_numbers(column, law).to_pylist() == expected
    *_, changed = normalise_packed(*pack_identifier(column), law)
    assert changed.tolist() == [before != after for before, after in zip(values, expected, strict=True)]


@pytest.mark.parametrize("country", ["SE", "NO", "DE", "GB", "FR", "ES", "IT", "PL", "US", "DK", "FI", "NL", "MX"])
def test_all_writings_agree_for_the_example_numbers_of_countries(country: str) -> None:
    law = rules(country)
    for kind in (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE):
        number = phonenumbers.example_number_for_type(country, kind)
        expected = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:]
        national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
        away = phonenumbers.format_out_of_country_calling_number(number, country)
        abroad = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
        for text in (expected, "+" + expected, national, abroad, away):
            assert normalise_number(text, law) == expected


def test_a_normal_form_is_its_own_normal_form() -> None:
    law = rules("SE")
    for text in ("46701234567", "4681234567", "112", "sip:a@b"):
        assert normalise_number(normalise_number(text, law), law) == normalise_number(text, law)


def test_an_unknown_country_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        rules("XX")


@pytest.mark.parametrize("text", ["35209900176148", "352099001761481", "3520990017614823", "35-209900-176148-1"])
def test_an_imei_matches_on_fourteen_digits(text: str) -> None:
    ranges = imei_match_ranges(text)
    for delivered in ("35209900176148", "352099001761480", "352099001761489", "3520990017614899"):
        value, _ = pack_identifier_value(delivered)
        assert value is not None
        assert sum(low <= value < high for low, high in ranges) == 1
    for other in ("35209900176149", "352099001761471", "3520990017614700", "3520990017614", "35209900176148000"):
        value, _ = pack_identifier_value(other)
        assert value is not None
        assert not any(low <= value < high for low, high in ranges)
    assert all(high < 2**63 for _, high in ranges)


@pytest.mark.parametrize("text", ["", "3520990017614", "35209900176148234", "35209900176148x", "\uff13" * 15])
def test_what_is_no_imei_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(InputError) as caught:
        imei_match_ranges(text)
    assert not text or text not in str(caught.value)


def test_lengths_are_counted_right_at_every_power_of_ten() -> None:
    texts = [digit * length for length in range(1, 19) for digit in "019"]
    law = rules(None)
    assert normalise_numbers(pa.array(texts), law).to_pylist() == [normalise_number(text, law) for text in texts]
    assert np.array_equal(normalise_packed(*pack_identifier(pa.array(["1"])), law)[2], [False])


@given(st.lists(st.text("0123456789", max_size=18), min_size=1, max_size=30))
@example(["1" * length for length in range(1, 19)])
@example(["9" * 18, "0" * 18])
def test_the_compiled_look_for_leading_zeros_sees_what_the_digits_say(texts: list[str]) -> None:
    values = np.array([int("1" + text) for text in texts], np.int64)
    values.flags.writeable = False
    kernels = native.load("schemas.number_kernels")
    assert kernels.zero_led(values, 6) == any(text.startswith("0") and len(text) > 6 for text in texts)


def test_many_numbers_are_normalised_as_few_are() -> None:
    texts = ["46701234567", "112112", "0701234567", "070123", "0046701234567", "", "0"] * KERNEL_ROWS_MIN
    for some in (texts, [text for text in texts if not text.startswith("0")]):
        for law in (rules("SE"), rules(None)):
            expected = [normalise_number(text, law) for text in some]
            assert normalise_numbers(pa.array(some), law).to_pylist() == expected
