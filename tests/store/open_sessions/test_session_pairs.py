"""Which sessions are an opening and its end and nothing besides, against a reading of one session after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.open_sessions.session_numbers import NO_TIME, RANK
from store.open_sessions.session_pairs import paired, pairs

OPEN, CLOSE, UPDATE = RANK["open"], RANK["close"], RANK["update"]
SESSIONS = 4
TIMES = st.one_of(st.just(NO_TIME), st.integers(1, 6))
EVENTS = st.lists(st.tuples(st.integers(0, SESSIONS - 1), st.integers(-1, 2), TIMES, TIMES), max_size=12)


def found(events: list[tuple[int, int, int, int]], unknown: list[bool]) -> list[tuple[int, int]]:
    columns = np.array(events, np.int64).reshape(-1, 4).T
    local, kinds, starts, ends = (np.ascontiguousarray(column) for column in columns)
    opening, closing = pairs(local, np.array(unknown), kinds, starts, ends)
    return list(zip(opening.tolist(), closing.tolist(), strict=True))


def expected(events: list[tuple[int, int, int, int]], unknown: list[bool]) -> list[tuple[int, int]]:
    told = []
    for session in range(len(unknown)):
        own = [row for row, event in enumerate(events) if event[0] == session]
        opens = [row for row in own if events[row][1] == OPEN and events[row][2] != NO_TIME]
        closes = [row for row in own if events[row][1] == CLOSE and events[row][2:] > (NO_TIME, NO_TIME)]
        closes = [row for row in closes if events[row][2] == NO_TIME]
        if not unknown[session] or len(own) != 2 or not (opens and closes):
            continue
        if events[opens[0]][2] <= events[closes[0]][3]:
            told.append((opens[0], closes[0]))
    return told


@given(EVENTS, st.lists(st.booleans(), min_size=SESSIONS, max_size=SESSIONS))
def test_pairs_are_what_a_plain_reading_finds(events: list[tuple[int, int, int, int]], unknown: list[bool]) -> None:
    assert found(events, unknown) == expected(events, unknown)


@pytest.mark.parametrize(
    ("events", "is_pair"),
    [
        ([(0, OPEN, 1, NO_TIME), (0, CLOSE, NO_TIME, 2)], True),
        ([(0, CLOSE, NO_TIME, 2), (0, OPEN, 1, NO_TIME)], True),  # in any order
        ([(0, OPEN, 2, NO_TIME), (0, CLOSE, NO_TIME, 2)], True),  # within one second
        ([(0, OPEN, 3, NO_TIME), (0, CLOSE, NO_TIME, 2)], False),  # the end of another use
        ([(0, OPEN, 1, NO_TIME), (0, CLOSE, 1, 2)], False),  # an end that is whole by itself
        ([(0, OPEN, NO_TIME, NO_TIME), (0, CLOSE, NO_TIME, 2)], False),
        ([(0, OPEN, 1, NO_TIME), (0, CLOSE, NO_TIME, NO_TIME)], False),
        ([(0, OPEN, 1, NO_TIME), (0, CLOSE, NO_TIME, 2), (0, CLOSE, NO_TIME, 2)], False),  # it came again
        ([(0, OPEN, 1, NO_TIME), (0, UPDATE, NO_TIME, NO_TIME), (0, CLOSE, NO_TIME, 2)], False),
        ([(0, OPEN, 1, NO_TIME), (0, OPEN, 1, NO_TIME)], False),
        ([(0, OPEN, 1, NO_TIME), (1, CLOSE, NO_TIME, 2)], False),
    ],
)
def test_anything_besides_an_opening_and_its_end_is_left(events: list[Any], is_pair: bool) -> None:
    assert bool(found(events, [True, True])) is is_pair
    assert found(events, [False, False]) == []


def test_of_a_pair_the_value_of_the_end_counts_else_that_of_the_opening() -> None:
    labels = pa.array(["a", "b", None, "d"]).dictionary_encode()
    fields = pa.table(
        {
            "whole": pa.array([1, 2, 3, 4]),
            "none": pa.nulls(4, pa.int64()),
            "first": pa.array([1, None, 3, None]),
            "second": pa.array([None, 2, None, 4]),
            "mixed": pa.array([1, 2, 3, None]),
            "label": labels,
        }
    )
    pieces = pa.concat_tables([fields.slice(0, 1), fields.slice(1)])
    for given_fields in (fields, pieces):
        told = paired(given_fields, np.array([0, 2]), np.array([1, 3])).to_pydict()
        assert told == {
            "whole": [2, 4], "none": [None, None], "first": [1, 3], "second": [2, 4], "mixed": [2, 3],
            "label": ["b", "d"],
        }  # fmt: skip
