"""The compiled loops over sessions against their twins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import native
from store.open_sessions import session_numbers
from store.open_sessions.session_numbers import NO_TIME, SessionNumbers, fresh, gather, turns

KERNELS = native.load("store.open_sessions.session_kernels")
TIMES = st.one_of(st.just(NO_TIME), st.integers(1, 6))
EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 2), TIMES, TIMES), max_size=30)


@contextmanager
def road(loops: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_numbers, "kernels", lambda rows: loops)
        yield


def both(work: Callable[[], Any]) -> Any:
    """Return what both roads say, once they agree."""
    with road(None):
        plain = work()
    with road(KERNELS):
        compiled = work()
    assert repr(plain) == repr(compiled)
    return plain


@given(st.lists(st.lists(st.integers(0, 40), max_size=60), max_size=5), st.lists(st.booleans(), min_size=5, max_size=5))
def test_tags_are_numbered_as_they_come_whichever_road_a_stretch_takes(
    stretches: list[list[int]], compiled: list[bool]
) -> None:
    known, expected = SessionNumbers(), dict[int, int]()
    for stretch, loops in zip(stretches, compiled, strict=False):
        tags = np.array([[one * 64 % 128, one] for one in stretch], np.uint64).reshape(-1, 2)
        with road(KERNELS if loops else None):
            numbers = known.of(tags)
        assert numbers.tolist() == [expected.setdefault(one, len(expected)) for one in stretch]
    assert known.tags[:, 1].tolist() == list(expected)
    assert len(known) == len(expected)


def test_tables_of_places_grow_with_their_tags() -> None:
    known = SessionNumbers()
    with road(KERNELS):
        for more in (1, 5000, 3, 20_000):
            tags = np.arange(2 * more, dtype=np.uint64).reshape(-1, 2) + np.uint64(1_000_003 * more)
            assert len(set(known.of(tags).tolist())) == more
            assert known.of(tags).max() == len(known) - 1
    assert len(known) == 25_004


@given(st.lists(st.integers(0, 9), max_size=40))
def test_distinct_numbers_are_gathered_in_the_order_of_their_first_row(values: list[int]) -> None:
    numbers, scratch = np.array(values, np.int64), np.full(10, -1, np.int64)
    local, distinct = both(lambda: gather(numbers, scratch))
    assert distinct.tolist() == list(dict.fromkeys(values))
    assert distinct[local].tolist() == values
    assert (scratch == -1).all()


@given(EVENTS, st.lists(st.tuples(TIMES, TIMES, TIMES), min_size=4, max_size=4))
def test_sessions_begin_anew_at_the_same_events(
    events: list[tuple[int, int, int, int]], known: list[tuple[int, int, int]]
) -> None:
    sessions, kinds, starts, ends = np.array(events, np.int64).reshape(-1, 4).T.copy()
    opened, waits, last = np.array([*known, 3 * (NO_TIME,)], np.int64).T.copy()
    of = opened, waits, last
    found = both(lambda: turns(sessions, of, kinds, starts, ends))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(events)))
    beside = [np.append(column, more) for column, more in ((sessions, 4), (kinds, 1), (starts, 9), (ends, NO_TIME))]
    among_others = both(lambda: turns(beside[0], of, *beside[1:]))
    assert [rows.tolist() for rows in found] == [rows[rows < len(events)].tolist() for rows in among_others]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=40))
def test_a_mark_is_fresh_once_to_each_owner(pairs: list[tuple[int, int]]) -> None:
    owners = np.array([owner for owner, _ in pairs], np.int64)
    marks = np.array([mark for _, mark in pairs], np.uint64)
    first = both(lambda: fresh(owners, marks))
    assert first.tolist() == [pair not in pairs[:row] for row, pair in enumerate(pairs)]
