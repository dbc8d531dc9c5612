"""Sequence numbers of flows: what is lost is told, what was only overtaken, repeated or begun anew is not."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders.cgnat import sequences
from ingest.decoders.cgnat.sequences import LATE_MAX, Sequences, Stream

STREAM = Stream("192.0.2.1", 10, 0)


def missing(found: Sequences) -> int:
    return sum(gap.missing for _ in range(2) for gap in found.take_gaps())


def test_messages_that_overtake_each_other_raise_no_alarm() -> None:
    found = Sequences()
    for number in (0, 20, 10, 30, 50, 40, 60):
        found.follow(STREAM, number, 10, 1)
        if number == 50:
            assert found.take_gaps() == []  # the late one comes with the next group
    assert (missing(found), found.late) == (0, 2)


def test_what_does_not_come_is_told_once_and_a_late_part_of_it_is_not() -> None:
    found = Sequences()
    for number in (0, 40, 20, 50):
        found.follow(STREAM, number, 10, 1)
    assert missing(found) == 20
    found.follow(STREAM, 60, 10, 1)
    assert missing(found) == 0


def test_an_exporter_that_begins_anew_is_no_gap_and_is_followed_from_there() -> None:
    found = Sequences()
    for second, number in enumerate((5_000, 5_010, 0, 10, 30)):
        found.follow(STREAM, number, 10, second)
    assert missing(found) == 10


def test_one_that_begins_anew_with_an_old_clock_is_followed_soon() -> None:
    found = Sequences()
    found.follow(STREAM, 5_000, 10, 1_000)
    for number in range(LATE_MAX + 1):
        found.follow(STREAM, 10 * number, 10, number)
    found.follow(STREAM, 10 * (LATE_MAX + 3), 10, LATE_MAX)
    assert missing(found) == 20


def test_the_wrap_and_several_domains_of_one_exporter_are_no_gaps() -> None:
    found = Sequences()
    for number in ((1 << 32) - 15, (1 << 32) - 5, 5, 15):
        found.follow(STREAM, number, 10, 1)
        found.follow(STREAM._replace(domain=1), 7 * (number + 15) % (1 << 32) // 10, 7, 1)
        found.follow(STREAM._replace(protocol=9), (number + 15) % (1 << 32) // 10, 1, 1)
    assert missing(found) == 0


def test_memory_is_bounded() -> None:
    found = Sequences()
    for domain in range(sequences.STREAMS_MAX + 10):
        found.follow(STREAM._replace(domain=domain), 0, 1, 1)
        found.follow(STREAM._replace(domain=domain), 5, 1, 1)
    assert len(found._followed) == len(found._holes) == sequences.STREAMS_MAX


@given(st.lists(st.integers(1, 30), min_size=2, max_size=40), st.sets(st.integers(1, 39)), st.integers(0, 99))
def test_in_whatever_order_exactly_what_was_lost_is_missing(steps: list[int], lost: set[int], seed: int) -> None:
    starts = [sum(steps[:place]) for place in range(len(steps))]
    kept = [place for place in range(len(steps) - 1) if place not in lost]
    rest = kept[1:]
    order = sorted(rest, key=lambda place: place + random.Random(seed * 100 + place).uniform(0, 6))
    found = Sequences()
    for place in (kept[0], *order, len(steps) - 1):
        found.follow(STREAM, starts[place], steps[place], 1)
    dropped = [place for place in range(len(steps) - 1) if place in lost]
    assert missing(found) == sum(steps[place] for place in dropped)
