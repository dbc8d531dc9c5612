"""The verdict on the clock: what is proven is never later than the truth, whatever the wall clock says."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ClockError
from store.clock import Uptime
from store.partitions import PartitionKey
from store.retention.clocktrust import GAP_MAX_US, STEP_MAX_US, Mark, Reading, confirmed, judge

HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
NOW_US = 1_795_348_800_000_000
MARK = Mark.first(NOW_US, Uptime("a", 0))
KEY = PartitionKey(date(2024, 11, 23), "standard")
"""Its period ends half a day after NOW_US."""


def read(wall_us: int, passed_us: int, boot: str = "a", **more: int) -> Reading:
    return Reading(wall_us, Uptime(boot, passed_us), **more)


def test_time_that_the_counter_has_counted_is_trusted_however_long_it_is() -> None:
    verdict, _ = judge(MARK, read(NOW_US + 800 * DAY_US, 800 * DAY_US))
    assert (verdict.is_trusted, verdict.doubt_us, verdict.erase_us) == (True, 0, NOW_US + 800 * DAY_US)


@pytest.mark.parametrize("ahead_us", [HOUR_US, DAY_US, 731 * DAY_US])
def test_a_clock_set_forward_is_a_step_and_proves_nothing(ahead_us: int) -> None:
    verdict, mark = judge(MARK, read(NOW_US + ahead_us, 0))
    assert (verdict.reason, verdict.erase_us) == ("stepped", NOW_US)
    assert mark.peak_us == NOW_US
    again, mark = judge(mark, read(NOW_US + ahead_us + HOUR_US, HOUR_US))
    assert (again.reason, again.erase_us) == ("stepped", NOW_US + HOUR_US)
    mended, _ = judge(mark, read(NOW_US + 2 * HOUR_US, 2 * HOUR_US))
    assert (mended.reason, mended.doubt_us) == (None, 0)


def test_small_steps_add_up() -> None:
    mark, wall_us = MARK, NOW_US
    for number in range(1, 8):
        wall_us += HOUR_US + STEP_MAX_US // 6
        verdict, mark = judge(mark, read(wall_us, number * HOUR_US))
        assert verdict.erase_us <= NOW_US + number * HOUR_US
    assert verdict.reason == "stepped"


@pytest.mark.parametrize("back_us", [HOUR_US, DAY_US, 731 * DAY_US])
@pytest.mark.parametrize("boot", ["a", "b"])
def test_a_clock_set_back_is_behind_and_what_was_over_stays_over(back_us: int, boot: str) -> None:
    _, mark = judge(MARK, read(NOW_US + DAY_US, DAY_US))
    verdict, _ = judge(mark, read(NOW_US + DAY_US - back_us, DAY_US + 1 if boot == "a" else 5, boot))
    assert (verdict.reason, verdict.standing(KEY)) == ("behind", "over")


def test_after_a_restart_only_records_of_sources_prove_the_time_that_nobody_watched() -> None:
    off, mark = judge(MARK, read(NOW_US + 3 * DAY_US, 60_000_000, "b"))
    assert (off.reason, off.erase_us, off.standing(KEY)) == (None, NOW_US, "doubtful")
    with pytest.raises(ClockError):
        off.is_over(KEY)
    ends_us = NOW_US + 3 * DAY_US - 1_000_000
    proven, _ = judge(mark, read(NOW_US + 3 * DAY_US + 60_000_000, 120_000_000, "b", sources_us=ends_us))
    assert (proven.erase_us, proven.standing(KEY)) == (NOW_US + 3 * DAY_US + 59_000_000 - 60_000_000, "over")


def test_a_machine_that_was_off_for_weeks_needs_two_persons_whatever_sources_say() -> None:
    wall_us = NOW_US + GAP_MAX_US + HOUR_US
    verdict, mark = judge(MARK, read(wall_us, 0, "b", sources_us=wall_us))
    assert (verdict.reason, verdict.erase_us) == ("gap", NOW_US)
    after, _ = judge(confirmed(mark, wall_us), read(wall_us + 60_000_000, 60_000_000, "b"))
    assert (after.reason, after.erase_us) == (None, wall_us + 60_000_000)


def test_records_do_not_excuse_a_clock_that_was_set_forward() -> None:
    verdict, _ = judge(MARK, read(NOW_US + DAY_US, 0, sources_us=NOW_US + DAY_US))
    assert (verdict.reason, verdict.erase_us) == ("stepped", NOW_US)


def test_records_of_the_future_prove_no_more_than_the_clock_says() -> None:
    verdict, _ = judge(MARK, read(NOW_US + DAY_US, 0, "b", sources_us=NOW_US + 900 * DAY_US))
    assert verdict.erase_us == NOW_US + DAY_US


def test_an_entry_of_the_log_from_later_contradicts_the_clock() -> None:
    verdict, _ = judge(MARK, read(NOW_US, 0, logged_us=NOW_US + STEP_MAX_US + 1))
    assert verdict.reason == "behind"
    verdict, _ = judge(MARK, read(NOW_US, 0, logged_us=NOW_US + 1))
    assert verdict.is_trusted


def test_while_the_clock_is_not_trusted_nobody_can_tell_what_may_be_over() -> None:
    verdict, _ = judge(MARK, read(NOW_US + 731 * DAY_US, 0))
    young = PartitionKey(date(2026, 11, 21), "standard")
    assert (verdict.standing(KEY), verdict.standing(young)) == ("doubtful", "doubtful")
    assert verdict.standing(PartitionKey(date(2024, 11, 21), "standard")) == "over"
    assert verdict.standing(PartitionKey(date(2027, 11, 21), "standard")) == "kept"


events = st.lists(
    st.tuples(
        st.sampled_from(["pass", "step", "restart", "mend"]),
        st.integers(1, 40 * 24).map(lambda hours: hours * HOUR_US),
        st.sampled_from([-1, 1]),
    ),
    max_size=20,
)


@given(events, st.booleans())
def test_what_is_proven_is_never_later_than_the_truth(history: list[tuple[str, int, int]], sources: bool) -> None:
    """The true time passes; the wall clock is set, the machine restarts. Sources tell the true time, a minute late."""
    mark, true_us, error_us, booted_us, boot = MARK, NOW_US, 0, NOW_US, 0
    peak_us = 0
    for what, amount_us, sign in history:
        if what == "step":
            error_us += sign * amount_us
        elif what == "mend":
            error_us = 0
        else:
            true_us += amount_us
            if what == "restart":
                boot, booted_us = boot + 1, true_us
        seen_us = true_us - 60_000_000 if sources else None
        uptime = Uptime(str(boot) if boot else "a", true_us - booted_us)
        verdict, mark = judge(mark, Reading(true_us + error_us, uptime, seen_us))
        assert verdict.erase_us <= true_us
        assert verdict.peak_us >= peak_us
        peak_us = verdict.peak_us
