from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigurationError
from schemas.policy import DEFAULT_POLICY
from schemas.retention import CEILING_MONTHS, DEFAULT_CLASS, FLOOR_MONTHS, RetentionClass, add_months
from store.partitions import PartitionKey, date_to_day, day_to_date, expires_at, is_above_floor, is_expired, to_us
from tests.conftest import ends_us

days = st.dates(date(2000, 1, 1), date(2100, 12, 31))


def test_the_bounds_are_six_and_twenty_four_months() -> None:
    assert (FLOOR_MONTHS, CEILING_MONTHS) == (6, 24)


@pytest.mark.parametrize("months", [0, 5, 25, 1200])
def test_a_class_outside_the_bounds_is_refused(months: int) -> None:
    with pytest.raises(ConfigurationError):
        RetentionClass("x", months, "basis", "citation")


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        (date(2026, 8, 31), 6, date(2027, 2, 28)),
        (date(2027, 8, 31), 6, date(2028, 2, 29)),
        (date(2024, 2, 29), 24, date(2026, 2, 28)),
        (date(2026, 12, 31), 2, date(2027, 2, 28)),
        (date(2026, 1, 15), 12, date(2027, 1, 15)),
    ],
)
def test_months_are_calendar_months_and_fall_on_the_last_day_when_the_day_is_missing(
    day: date, months: int, expected: date
) -> None:
    assert add_months(day, months) == expected


@given(days)
def test_the_last_record_of_a_day_is_six_months_old_at_the_floor_and_the_first_never_over_twenty_four(
    day: date,
) -> None:
    key = PartitionKey(day, DEFAULT_CLASS.name)
    assert key.floor_until == datetime.combine(add_months(day, 6) + timedelta(days=1), datetime.min.time(), UTC)
    assert expires_at(key, DEFAULT_POLICY) == datetime.combine(add_months(day, 24), datetime.min.time(), UTC)
    assert not is_above_floor(key, to_us(key.floor_until) - 1)
    assert is_above_floor(key, to_us(key.floor_until))
    assert not is_expired(key, ends_us(key) - 1, DEFAULT_POLICY)
    assert is_expired(key, ends_us(key), DEFAULT_POLICY)


@given(days)
def test_day_numbers_and_dates_are_each_others_inverse(day: date) -> None:
    assert day_to_date(date_to_day(day)) == day
