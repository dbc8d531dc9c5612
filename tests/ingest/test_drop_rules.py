"""Decisions about a drop folder."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.drop_rules import (
    Sequence,
    Verdict,
    WatchRules,
    checksum,
    companions,
    follow,
    is_delivery,
    is_due,
    judge,
    span_of,
)
from schemas.errors import ConfigurationError

RULES = WatchRules(settle_s=5)
DAY_US = 86_400_000_000


@pytest.mark.parametrize(
    "name",
    [
        "_cdr_1",
        ".hidden",
        "a.tmp",
        "a.TMP",
        "a.csv.part",
        "a.filepart",
        "a~",
        "a.md5",
        "a.csv.sha256",
        "a.done",
        "a.reason",
    ],
)
def test_temporary_names_companions_and_notes_are_no_deliveries(name: str) -> None:
    assert not is_delivery(name)
    assert judge(name, still_s=99, has_done=True, has_required=True, rules=RULES) is Verdict.IGNORE


def test_a_file_is_ready_when_it_has_been_still_or_its_done_companion_is_there() -> None:
    def verdict(still_s: float, *, has_done: bool = False, has_required: bool = True) -> Verdict:
        return judge("cdr_1", still_s=still_s, has_done=has_done, has_required=has_required, rules=RULES)

    assert verdict(4.9) is Verdict.WAIT
    assert verdict(5) is Verdict.READY
    assert verdict(0, has_done=True) is Verdict.READY
    assert verdict(99, has_required=False) is Verdict.WAIT


def test_companions_stand_beside_the_whole_name_or_its_stem() -> None:
    assert companions("a.csv", ".done") == ("a.csv.done", "a.done")
    assert companions("cdr_1", ".md5") == ("cdr_1.md5",)


@pytest.mark.parametrize(
    ("text", "suffix", "expected"),
    [
        ("D41D8CD98F00B204E9800998ECF8427E  a.csv\n", ".md5", "d41d8cd98f00b204e9800998ecf8427e"),
        ("MD5 (a.csv) = d41d8cd98f00b204e9800998ecf8427e", ".md5", "d41d8cd98f00b204e9800998ecf8427e"),
        ("d41d8cd98f00b204e9800998ecf8427e", ".sha256", None),
        ("", ".md5", None),
    ],
)
def test_checksum_files_are_read_in_their_usual_forms(text: str, suffix: str, expected: str | None) -> None:
    assert checksum(text, suffix) == expected


def test_done_files_are_due_after_their_days_and_never_without_a_number() -> None:
    assert not is_due(0, 7 * DAY_US - 1, 7)
    assert is_due(0, 7 * DAY_US, 7)
    assert not is_due(0, 10_000 * DAY_US, None)


def numbers(*found: int, digits: int = 4) -> tuple[list[int], Sequence]:
    sequence, gaps = Sequence(), []
    for number in found:
        step = follow(sequence, number, span_of(digits, sequence))
        sequence = step.sequence
        gaps.append(step.gap_files)
    return gaps, sequence


def test_a_missing_number_is_a_gap_and_coming_late_fills_it() -> None:
    assert numbers(5, 6, 9) == ([0, 0, 2], Sequence(9, frozenset({7, 8})))
    assert numbers(5, 6, 9, 7)[1].missing == {8}
    assert follow(numbers(5, 6, 9)[1], 8, 10**4).fills


def test_a_number_that_came_before_says_nothing() -> None:
    assert numbers(5, 6, 6, 5) == ([0] * 4, Sequence(6))


def test_a_series_that_begins_anew_is_no_gap_but_what_it_lacks_is() -> None:
    assert numbers(9998, 9999, 0, 1) == ([0] * 4, Sequence(1))
    assert numbers(9998, 1)[1].missing == {9999, 0}


def test_names_that_are_not_padded_raise_no_alarm_when_an_old_one_comes_again() -> None:
    assert numbers(*range(5, 13), 7, 13, digits=1) == ([0] * 10, Sequence(13))
    assert numbers(*range(1, 121), 3, 121, digits=1) == ([0] * 122, Sequence(121))
    assert numbers(8, 9, 10, 12, digits=1)[1].missing == {11}


def test_a_number_of_four_octets_begins_anew_behind_its_last() -> None:
    sequence, gaps = Sequence(), []
    for number in (2**32 - 2, 2**32 - 1, 0, 1, 4, 2**32 - 1):
        step = follow(sequence, number, 2**32)
        sequence = step.sequence
        gaps.append(step.gap_files)
    assert (gaps, sequence) == ([0, 0, 0, 0, 2, 0], Sequence(4, frozenset({2, 3})))


def test_numbers_of_more_digits_than_any_series_never_begin_anew() -> None:
    assert numbers(10**19, 10**19 + 3, 10**19 + 1, 5, digits=20)[1] == Sequence(10**19 + 3, frozenset({10**19 + 2}))


def test_a_huge_gap_is_counted_and_bounded() -> None:
    gaps, sequence = numbers(1, 400_000, digits=6)
    assert gaps[1] == 399_998
    assert len(sequence.missing) + sequence.lost == 399_998


def test_rules_that_cannot_work_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="seq"):
        WatchRules(sequence=re.compile("x"))
    with pytest.raises(ConfigurationError, match="companion"):
        WatchRules(require="ok")


@given(st.sets(st.integers(0, 300), min_size=1), st.integers(0, 9999))
def test_in_order_exactly_the_numbers_that_did_not_come_are_missing(found: set[int], start: int) -> None:
    series = [(start + one) % 10_000 for one in sorted(found)]
    sequence = numbers(*series)[1]
    expected = frozenset((start + one) % 10_000 for one in range(min(found), max(found) + 1) if one not in found)
    assert (sequence.missing, sequence.lost) == (expected, 0)
    assert Sequence.from_dict(sequence.as_dict()) == sequence
