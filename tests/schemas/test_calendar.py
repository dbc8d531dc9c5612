"""Every day from 2000 to 2100 against a calendar told again: by day numbers, without a library's months."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.policy import DEFAULT_POLICY
from schemas.retention import CEILING_MONTHS, FLOOR_MONTHS, RetentionClass, add_months, expires_at, floor_until
from store.partitions import DAY_US, PartitionKey, date_to_day, end_days, is_above_floor, is_expired, to_us

LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
Day = tuple[int, int, int]


def is_leap(year: int) -> bool:
    return year % 400 == 0 or (year % 4 == 0 and year % 100 != 0)


def length(year: int, month: int) -> int:
    return 29 if month == 2 and is_leap(year) else LENGTHS[month - 1]


def every_day() -> dict[Day, int]:
    """Return the day number, from 2000-01-01 as day 10957 after 1970-01-01, of every day of 2000 to 2103."""
    numbers, number = {}, 10_957
    for year in range(2000, 2104):
        for month in range(1, 13):
            for day in range(1, length(year, month) + 1):
                numbers[year, month, day] = number
                number += 1
    return numbers


NUMBERS = every_day()
DAYS = [day for day in NUMBERS if day[0] <= 2100]


def later(day: Day, months: int) -> Day:
    """Return the same day so many months on, step by step, or that month's last day."""
    year, month, in_month = day
    for _ in range(months):
        month += 1
        if month == 13:
            year, month = year + 1, 1
    return year, month, min(in_month, length(year, month))


def test_the_table_told_again_has_every_day() -> None:
    assert len(DAYS) == 36_890
    assert NUMBERS[2100, 3, 1] - NUMBERS[2100, 2, 28] == 1, "2100 is no leap year"
    assert NUMBERS[2000, 3, 1] - NUMBERS[2000, 2, 28] == 2


@pytest.mark.parametrize("months", range(FLOOR_MONTHS, CEILING_MONTHS + 1))
def test_every_day_of_a_century_goes_on_to_the_day_that_the_calendar_says(months: int) -> None:
    for day in DAYS:
        assert date_to_day(add_months(date(*day), months)) == NUMBERS[later(day, months)]


@pytest.mark.parametrize("months", [FLOOR_MONTHS, 10, CEILING_MONTHS])
def test_every_day_of_a_century_has_its_floor_and_its_end(months: int) -> None:
    policy = RetentionClass("class", months, "basis", "citation")
    for day in DAYS:
        at = date(*day)
        assert to_us(expires_at(at, policy)) == NUMBERS[later(day, months)] * DAY_US
        assert to_us(floor_until(at)) == (NUMBERS[later(day, FLOOR_MONTHS)] + 1) * DAY_US


def test_the_end_of_a_day_never_comes_before_that_of_the_day_before() -> None:
    for months in (FLOOR_MONTHS, 10, CEILING_MONTHS):
        ends = [NUMBERS[later(day, months)] for day in DAYS]
        assert all(first <= second <= first + 4 for first, second in pairwise(ends))


@given(
    st.integers(NUMBERS[2000, 1, 1] * 86_400, NUMBERS[2100, 12, 31] * 86_400),
    st.integers(0, 40 * 86_400),
    st.integers(-14 * 60, 14 * 60),
)
def test_a_record_counts_from_the_utc_day_on_which_it_ended_whatever_its_offset(
    start_s: int, duration_s: int, offset_minutes: int
) -> None:
    """Over midnight, a month's end, for weeks, told with any offset: only the UTC day of its end counts."""
    end = datetime.fromtimestamp(start_s, UTC) + timedelta(seconds=duration_s)
    told = end.astimezone(timezone(timedelta(minutes=offset_minutes)))
    day = int(end_days(np.array([to_us(told)], np.int64))[0])
    assert day == NUMBERS[end.year, end.month, end.day]
    key = PartitionKey(date(end.year, end.month, end.day), "standard")
    six, two_years = later((end.year, end.month, end.day), 6), later((end.year, end.month, end.day), 24)
    # to the microsecond: kept while it is younger than six months, gone before the first of its day is over 24
    assert not is_above_floor(key, NUMBERS[six] * DAY_US + to_us(end) % DAY_US)
    assert not is_expired(key, NUMBERS[two_years] * DAY_US - 1, DEFAULT_POLICY)
    assert is_expired(key, NUMBERS[two_years] * DAY_US, DEFAULT_POLICY)


@pytest.mark.parametrize(
    ("ended", "months", "over"),
    [
        ("2027-08-31", 6, "2028-02-29"),
        ("2026-08-31", 6, "2027-02-28"),
        ("2024-02-29", 24, "2026-02-28"),
        ("2022-02-28", 24, "2024-02-28"),
        ("2098-02-28", 24, "2100-02-28"),
        ("2096-02-29", 24, "2098-02-28"),
        ("2026-12-31", 10, "2027-10-31"),
        ("2026-03-29", 24, "2028-03-29"),
        ("2026-10-25", 6, "2027-04-25"),
    ],
)
def test_days_that_people_ask_about(ended: str, months: int, over: str) -> None:
    """Month ends, leap days, years without one, the days on which European clocks change."""
    assert add_months(date.fromisoformat(ended), months).isoformat() == over
