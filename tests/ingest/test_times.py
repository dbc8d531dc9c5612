from __future__ import annotations

import calendar
import string
from datetime import UTC, datetime, timedelta
from unittest import mock
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import times
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError
from tests.examples import examples

STOCKHOLM = times.ZoneTimes("Europe/Stockholm")


def naive(*figures: int) -> datetime:
    return datetime(*figures)  # noqa: DTZ001 (wall-clock times have no zone of their own)


def utc_us(*figures: int) -> int:
    return calendar.timegm((*figures, 0, 0, 0)) * 1_000_000


def test_a_winter_and_a_summer_time_lose_their_offset():
    assert STOCKHOLM.convert("2026-01-15 12:00:00") == (utc_us(2026, 1, 15, 11, 0, 0), 3600, False)
    assert STOCKHOLM.convert("2026-07-15 12:00:00.25") == (utc_us(2026, 7, 15, 10, 0, 0) + 250_000, 7200, False)


def test_the_hour_that_occurs_twice_is_its_first_occurrence_and_marked():
    assert STOCKHOLM.convert("2026-10-25 02:30:00") == (utc_us(2026, 10, 25, 0, 30, 0), 7200, True)
    assert STOCKHOLM.convert("2026-10-25 01:59:59") == (utc_us(2026, 10, 24, 23, 59, 59), 7200, False)
    assert STOCKHOLM.convert("2026-10-25 03:00:00") == (utc_us(2026, 10, 25, 2, 0, 0), 3600, False)


def test_the_hour_that_never_occurs_moves_forward_by_the_gap():
    skipped = STOCKHOLM.convert("2026-03-29 02:30:00")
    assert skipped == (utc_us(2026, 3, 29, 1, 30, 0), 3600, False)
    assert skipped is not None
    assert datetime.fromtimestamp(skipped.time_us / 1e6, ZoneInfo("Europe/Stockholm")).hour == 3


def test_a_zone_that_changes_by_half_an_hour_follows_the_same_rule():
    lord_howe = times.ZoneTimes("Australia/Lord_Howe")
    assert lord_howe.convert("2026-04-05 01:45:00") == (utc_us(2026, 4, 4, 14, 45, 0), 39_600, True)
    assert lord_howe.convert("2026-10-04 02:15:00") == (utc_us(2026, 10, 3, 15, 45, 0), 37_800, False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-02-29 00:00:00",
        "2026-13-01 00:00:00",
        "2026-11-22T02:23:02",
        "2026-11-22 02:23",
        "2026-11-22 24:00:00",
        "2026-11-22 02:23:60",
        "2026-11-22 02:23:02Z",
        " 2026-11-22 02:23:02",
        "2026-11-22 02:23:02\n",
        "0001-01-01 00:00:00",
        "9999-12-31 23:59:59",
        "٢٠٢٦-11-22 02:23:02",
    ],
)
def test_anything_but_the_exact_form_is_none(text):
    assert STOCKHOLM.convert(text) is None


def test_an_abbreviation_settles_the_hour_that_occurs_twice():
    wall = naive(2026, 10, 25, 2, 30)
    assert times.offset_s(wall, "CEST", STOCKHOLM) == 7200
    assert times.offset_s(wall, "CET", STOCKHOLM) == 3600


def test_the_source_zone_decides_between_meanings_of_an_abbreviation():
    wall = naive(2026, 1, 1, 12, 0)
    assert times.offset_s(wall, "IST", times.ZoneTimes("Asia/Kolkata")) == 19_800
    assert times.offset_s(wall, "IST") is None
    assert times.offset_s(wall, "CST", times.ZoneTimes("Asia/Shanghai")) == 28_800
    assert times.offset_s(wall, "-0330") == -12_600
    assert times.offset_s(wall, "+03") == 10_800
    assert times.offset_s(wall, "+99") is None
    assert times.offset_s(wall, "UTC") == 0


def test_a_source_without_a_zone_is_refused_and_so_is_a_zone_that_does_not_exist():
    with pytest.raises(ConfigurationError, match="no time zone"):
        times.zone_times(SourceConfig("s", zone=None), "kannel")
    for zone in ("Europe/Nowhere", "../etc/passwd", "", "/etc/passwd"):
        with pytest.raises(ConfigurationError, match="no time zone"):
            times.zone_times(SourceConfig("s", zone=zone), "kannel")


def test_a_column_is_converted_like_its_single_texts():
    texts = ["2026-10-25 02:30:00", None, "no time", "2026-03-29 02:30:00", "2026-10-25 02:30:00"]
    column = STOCKHOLM.convert_column(pa.array(texts, pa.string()))
    singles = [None if text is None else STOCKHOLM.convert(text) for text in texts]
    assert column.times.cast(pa.int64()).to_pylist() == [one and one.time_us for one in singles]
    assert column.offsets_s.to_pylist() == [one and one.offset_s for one in singles]
    assert column.ambiguous.to_pylist() == [None if one is None else one.ambiguous for one in singles]
    assert column.bad.tolist() == [False, False, True, False, False]


WALLS = st.datetimes(naive(1969, 12, 1), naive(2031, 1, 1)) | st.datetimes(
    naive(2026, 10, 25, 0, 0), naive(2026, 10, 25, 5, 0)
)
TEXTS = WALLS.map(lambda wall: wall.replace(microsecond=0).isoformat(" ")) | st.sampled_from(
    ["2026-02-29 00:00:00", "2026-13-01 00:00:00", "2026-11-22 24:00:00", "2026-11-22 00:60:00", "2026-11-22 00:00:60",
     "2026-11-22T00:00:00", "2026-11-22 00:00:0x", "2026-11-22 00:00:00.5", "9998-12-31 23:59:59", "é026-11-22 00:00:0",
     "9999-12-31 23:00:00", "2006-10-29 00:00:30", "2006-10-29 00:01:30", ""]
)  # fmt: skip


@given(
    texts=st.lists(st.none() | TEXTS), zone=st.sampled_from(["Europe/Stockholm", "America/St_Johns", "Africa/Cairo"])
)
def test_a_column_of_hours_is_converted_like_its_texts(texts: list[str | None], zone: str):
    zoned = times.ZoneTimes(zone)
    column = zoned.convert_column(pa.array(["", *texts], pa.string()).slice(1))
    singles = [None if text is None else times.ZoneTimes(zone).convert(text) for text in texts]
    found = (column.times.cast(pa.int64()), column.offsets_s, column.ambiguous)
    assert list(zip(*(one.to_pylist() for one in found), strict=True)) == [one or (None,) * 3 for one in singles]
    assert column.bad.tolist() == [one is None and text is not None for text, one in zip(texts, singles, strict=True)]


def test_an_empty_column_stays_empty():
    column = STOCKHOLM.convert_column(pa.array([], pa.string()))
    assert len(column.times) == len(column.bad) == 0


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(times, "CACHE_TIMES_MAX", 3)
    zone = times.ZoneTimes("UTC")
    for second in range(10):
        assert zone.convert(f"2026-11-22 00:00:0{second}") == (utc_us(2026, 11, 22, 0, 0, second), 0, False)
    assert len(zone._cache) <= 3


@given(
    st.datetimes(naive(1971, 1, 1), naive(2100, 1, 1)),
    st.sampled_from(["Europe/Stockholm", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
)
def test_every_time_comes_back_except_in_the_doubled_hour(moment, zone):
    wall = moment.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)
    result = times.ZoneTimes(zone).convert(wall.isoformat(" ", "microseconds"))
    assert result is not None
    difference = moment - (naive(1970, 1, 1) + timedelta(microseconds=result.time_us))
    assert difference == timedelta(0) or (result.ambiguous and timedelta(0) < difference <= timedelta(hours=1))


@given(st.text(string.printable, max_size=30))
def test_no_text_raises(text):
    assert times.parse_iso(text) is None or times.parse_iso(text) is not None
    times.offset_s(naive(2026, 1, 1), text, STOCKHOLM)


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Stockholm", "Australia/Lord_Howe", "Africa/Monrovia", "Asia/Kathmandu"]
)
@examples(50)
@given(
    moments=st.lists(st.integers(-(10**6), 2 * 10**9), max_size=8),
    odd=st.lists(
        st.sampled_from(
            ["2026-10-25 02:30:60", "2026-02-30 10:00:01", "2026-03-29 02:30:59", "x" * 19, "1971-12-31 23:59:59"]
        )
    ),
)
def test_a_minute_read_once_gives_the_times_that_each_text_gives(zone: str, moments: list[int], odd: list[str]) -> None:
    texts = [f"{datetime.fromtimestamp(one, UTC):%Y-%m-%d %H:%M:%S}" for one in moments] + odd
    at_once = times.ZoneTimes(zone)
    for text in texts * 2:
        wall = times.parse_iso(text)
        assert at_once.convert(text) == (None if wall is None else times.ZoneTimes(zone).resolve(wall))


CLOCKS = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.datetimes(naive(1960, 1, 1), naive(2100, 1, 1)).map(lambda one: f"{one:%Y-%m-%d %H:%M:%S}"),
    st.sampled_from(["2026-10-25 02:30:00", "2026-03-29 02:30:00", "2026-02-30 00:00:00", "2026-11-22 24:00:00"]),
    st.sampled_from(["2026-11-22 10:60:00", "2026-11-22 10:00:60", "2026-11-22T10:00:00", "0000-00-00 00:00:00"]),
    st.sampled_from(["2026-11-22 10:00:0/", "2026-11-22 10:00:0:", "2026-11-22 10:00:0\x7f", "2026-11-22 10:00:é"]),
)


@examples(70)
@given(texts=st.lists(CLOCKS, max_size=8), first=st.integers(0, 2))
def test_columns_of_times_are_read_alike(texts: list[str | None], first: int) -> None:
    column = pa.array(texts, pa.string()).slice(min(first, len(texts)))
    found = []
    for clocks_min in (0, 1 << 40):
        with mock.patch.multiple(times, CLOCKS_MIN=clocks_min, LOAD_CLOCKS_MIN=0):
            told = times.ZoneTimes("Europe/Stockholm").convert_column(column)
        found.append(
            [told.times.to_pylist(), told.offsets_s.to_pylist(), told.ambiguous.to_pylist(), told.bad.tolist()]
        )
    assert found[0] == found[1]
    single = times.ZoneTimes("Europe/Stockholm")
    expected = [None if text is None else single.convert(text) for text in column.to_pylist()]
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert found[0][0] == [one and epoch + timedelta(microseconds=one.time_us) for one in expected]
