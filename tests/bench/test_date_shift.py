"""Fixtures move by whole days and in nothing else."""

from __future__ import annotations

from datetime import date

import pytest

from bench.date_shift import RECORDED_ON, shifted

LINES = {
    b"INVITE|x|1795313227|821045|33612345603|": b"INVITE|x|2110932427|821045|33612345603|",
    b'{"start_time": "1795313226.115048"}': b'{"start_time": "2110932426.115048"}',
    b"2026-11-22 02:23:05 Receive SMS": b"2036-11-22 02:23:05 Receive SMS",
    b"Sun Nov 22 02:12:31 2026": b"Sat Nov 22 02:12:31 2036",
    b'"Nov 22 2026 00:12:29 UTC"': b'"Nov 22 2036 00:12:29 UTC"',
    b"[1795314234.683987]\t [NEW] id=3765381819": b"[2110933434.683987]\t [NEW] id=3765381819",
}


@pytest.mark.parametrize("line", LINES)
def test_ten_years_later_every_date_has_moved_and_no_number(line: bytes) -> None:
    assert shifted(line, date(2036, 11, 22)) == LINES[line]


@pytest.mark.parametrize("line", LINES)
def test_moving_to_the_same_day_changes_nothing(line: bytes) -> None:
    assert shifted(line, RECORDED_ON) == line


def test_a_day_of_one_digit_keeps_the_layout() -> None:
    assert shifted(b"Sun Nov 22 02:12:31 2026", date(2026, 12, 6)) == b"Sun Dec  6 02:12:31 2026"
