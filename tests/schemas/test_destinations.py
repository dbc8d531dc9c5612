"""Destination classes: one meaning in Python and in SQL."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.destinations import Destination, country_code, destination, destination_sql
from schemas.errors import ConfigurationError
from schemas.packing import pack_identifier_value


@pytest.mark.parametrize(
    ("number", "code", "expected"),
    [
        ("46701740007", "46", Destination.NATIONAL),
        ("4915112345678", "46", Destination.INTERNATIONAL),
        ("112", "46", Destination.SHORT_CODE),
        ("123456", "46", Destination.SHORT_CODE),
        ("1234567", "1", Destination.NATIONAL),
        ("sip:bob@example.net", "46", Destination.OTHER),
        ("ACME", "46", Destination.OTHER),
        (None, "46", Destination.OTHER),
        ("", "46", Destination.OTHER),
        ("46701740007", None, Destination.OTHER),
        ("1234567890123456", "46", Destination.OTHER),
    ],
)
def test_a_called_number_has_its_class(number: str | None, code: str | None, expected: Destination) -> None:
    assert destination(number, code) is expected


def test_countries_have_codes_and_strangers_none() -> None:
    assert country_code("SE") == "46"
    assert country_code("us") == "1"
    assert country_code(None) is None
    with pytest.raises(ConfigurationError):
        country_code("XX")


@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.text("0123456789", min_size=1, max_size=18), st.sampled_from(["sip:a@b", "ACME"])),
            st.sampled_from([None, "1", "46", "358"]),
        ),
        max_size=60,
    )
)
@settings(max_examples=50, deadline=None)
def test_sql_and_python_say_the_same(rows: list[tuple[str | None, str | None]]) -> None:
    packed = [None if number is None else pack_identifier_value(number)[0] for number, _ in rows]
    records = pa.table({"n": pa.array(packed, pa.int64()), "c": pa.array([code for _, code in rows], pa.string())})
    with duckdb.connect(":memory:") as connection:
        connection.register("records", records)
        found = connection.sql(f"SELECT {destination_sql('n', 'c')} FROM records").fetchall()
    assert [value for (value,) in found] == [str(destination(number, code)) for number, code in rows]
