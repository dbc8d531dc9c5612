"""The compiled loops over lines do what their twins in NumPy and Python do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders import slices
from ingest.decoders.radius import times as freeradius_times
from ingest.times import ZoneTimes

NEVER = 1 << 60
STOCKHOLM = ZoneTimes("Europe/Stockholm")


def by_kernels(*, wanted: bool) -> Any:
    return mock.patch.multiple(slices, KERNEL_BYTES_MIN=0 if wanted else NEVER, LOAD_BYTES_MIN=0)


@settings(deadline=None)
@given(
    data=st.binary(min_size=1, max_size=200),
    cuts=st.lists(st.tuples(st.integers(-1, 199), st.integers(0, 40)), min_size=1, max_size=30),
)
def test_slices_are_copied_alike(data: bytes, cuts: list[tuple[int, int]]) -> None:
    text = np.frombuffer(bytes(octet & 0x7F for octet in data), np.uint8)
    pairs = np.array(cuts, np.int64)
    pairs[:, 0] = np.minimum(pairs[:, 0], len(text))
    pairs[:, 1] = np.minimum(np.maximum(pairs[:, 0], 0) + pairs[:, 1], len(text))
    starts, ends = pairs[:, 0], pairs[:, 1]  # columns of a table: not contiguous
    with by_kernels(wanted=True):
        copied = slices.gather(text, starts, ends)
    with by_kernels(wanted=False):
        assert copied.equals(slices.gather(text, starts, ends))


def test_slices_of_which_none_is_there_are_nulls() -> None:
    starts, ends = np.full(20, -1, np.int64), np.zeros(20, np.int64)
    with by_kernels(wanted=True):
        column = slices.gather(np.zeros(1, np.uint8), starts, ends)
    assert column.equals(pa.nulls(20, pa.string()))


@pytest.mark.parametrize("zone", [None, STOCKHOLM, ZoneTimes("Australia/Lord_Howe")])
@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(
        st.one_of(
            st.integers(-315_619_200, 4_070_908_800)
            .map(lambda one: datetime.fromtimestamp(one, UTC))
            .flatmap(
                lambda at: st.builds(
                    "{:%b} {} {:%Y %H:%M:%S} {}".format,
                    st.just(at),
                    st.sampled_from([f"{at:%d}", f"{at.day:2}", str(at.day)]),
                    st.just(at),
                    st.sampled_from(["UTC", "CET", "CEST", "+03", "-0330", "NOPE", "X", "LHDT"]),
                )
            ),
            st.sampled_from(["", "1795313551", "Oct 25 2026 02:30:60 CET", "Nov 22 2026 00:12:2x UTC", "å" * 12]),
            st.none(),
        ),
        max_size=20,
    )
)
def test_times_are_read_minute_by_minute_like_one_by_one(zone: ZoneTimes | None, texts: list[str | None]) -> None:
    column = freeradius_times.moments_us(pa.array(texts, pa.string()), zone)
    assert column.to_pylist() == [None if not text else freeradius_times.moment_us(text, zone) for text in texts]


def test_the_autumn_hour_is_told_by_its_name() -> None:
    texts = ["Oct 25 2026 02:30:11 CEST", "Oct 25 2026 02:30:11 CET"]
    summer, winter = freeradius_times.moments_us(pa.array([None, *texts])[1:], STOCKHOLM).to_pylist()
    assert winter - summer == 3_600_000_000
    assert datetime.fromtimestamp(summer / 1e6, UTC) == datetime(2026, 10, 25, 0, 30, 11, tzinfo=UTC)
