"""Events of sessions in any order, possible or not: what is stored does not hang on how they are cut."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import Store
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.open_sessions.session_model import FIELDS, Event, possible, table_of
from tests.store.open_sessions.test_first_by_arrival import BEGIN_US, ROADS, SECOND_US, cuts_of, outcome, said
from tests.store.open_sessions.test_sessions import rows
from tests.store.records import NOW_US

TIMES = st.one_of(st.none(), st.integers(1, 4).map(lambda second: BEGIN_US + second * SECOND_US))
EVENTS = st.builds(
    lambda kind, name, key, start, end, volume, trunk: possible(
        said(kind, name, key, start_time=start, end_time=end, volume_up_bytes=volume, trunk_in=trunk)
    ),
    st.sampled_from(["open", "close", "update"]),
    st.sampled_from("abb"),
    st.integers(11, 13),
    TIMES,
    TIMES,
    st.sampled_from([None, 1, 2]),
    st.sampled_from([None, "north"]),
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path: Path = tmp_path_factory.mktemp("order")
    with Store.create(path / "root", clock=FixedClock(NOW_US)) as made:
        yield made


@given(events=st.lists(EVENTS, min_size=2, max_size=7), data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_order_stores_the_same_however_it_is_cut(shared: Store, events: list[Event], data: st.DataObject) -> None:
    expected = outcome(shared, events, range(1, len(events)))
    assert len(expected[1]) == len(events), "every event has a fate"
    places = data.draw(st.sets(st.integers(1, len(events) - 1)))
    for cuts, pairs_min in itertools.product([(), sorted(places)], ROADS):
        assert outcome(shared, events, cuts, pairs_min) == expected


def opens(at: int) -> Event:
    return said("open", "a", 100 + at, start_time=BEGIN_US + at * SECOND_US)


def closes(at: int) -> Event:
    return said("close", "a", 200 + at, end_time=BEGIN_US + at * SECOND_US)


@pytest.mark.parametrize(
    ("events", "spans", "fates"),
    [
        # an earlier use, late: after one that runs, after one that ended
        ([opens(3), closes(4), opens(6), opens(1), closes(2)], [(1, 2), (3, 4)], "+++1+"),
        ([opens(3), closes(4), opens(1), closes(2)], [(1, 2), (3, 4)], "++1+"),
        ([opens(3), opens(1), closes(2), closes(4)], [(1, 2), (3, 4)], "++++"),
        ([opens(3), closes(4), closes(2)], [(2, 2), (3, 4)], "+++"),  # its opening is lost
        ([opens(3), closes(4), closes(6)], [(3, 4), (6, 6)], "+++"),
        # ... and the same again
        ([opens(3), closes(4), *(2 * [opens(1), closes(2)]), opens(3), closes(4)], [(1, 2), (3, 4)], "++1+1111"),
        ([opens(1), closes(2), opens(3), closes(4), closes(2), opens(1)], [(1, 2), (3, 4)], "++++11"),
        # two ends wait, and an opening between them
        ([closes(2), closes(4), opens(3)], [(3, 4)], "+++"),
        ([closes(2), closes(4), opens(1), opens(1)], [(1, 2)], "+++1"),
        # interim words behind the end
        ([opens(1), closes(2), said("update", "a", 300, volume_up_bytes=9)], [(1, 2)], "++1"),
    ],
)
def test_what_becomes_of_events_out_of_turn(
    shared: Store, events: list[Event], spans: list[tuple[int, int]], fates: str
) -> None:
    for cuts, pairs_min in itertools.product(cuts_of(events), ROADS):
        stored, told = outcome(shared, events, cuts, pairs_min)
        assert "".join("+12"[fate] for _, fate in told) == fates
        assert {row[1] for row in stored} == {"False"}
        assert sorted(row[3:5] for row in stored) == [text_of(span) for span in spans]


def text_of(span: tuple[int, int]) -> tuple[str, str]:
    table = table_of([said("record", None, start_time=at_us(span[0]), end_time=at_us(span[1]))]).to_pylist()[0]
    return str(table["start_time"]), str(table["end_time"])


def at_us(second: int) -> int:
    return BEGIN_US + second * SECOND_US


@given(events=st.lists(EVENTS, min_size=2, max_size=6))
@settings(max_examples=8, deadline=None)
def test_several_deliveries_and_a_timeout_store_what_one_does(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event]
) -> None:
    found = []
    for apart in (False, True):
        clock = FixedClock(NOW_US)
        with Store.create(tmp_path_factory.mktemp("apart") / "root", clock=clock) as store:
            table = table_of(events)
            for at in range(len(events)) if apart else [0]:
                deliver(store, table.slice(at, 1 if apart else len(events)))
            clock.advance(days=3)
            store.close_stale_sessions(clock.now_us())
            names = ("record_key", *FIELDS)
            found.append(sorted(tuple(str(row.get(name)) for name in names) for row in rows(store)))
            assert store.verify() == []
    assert found[0] == found[1]
