"""Which of two records that contradict each other is stored, and which is the conflict: what was told first counts.

It counts however a delivery is cut into stretches, by which road it is folded, and whether the store is opened anew
between two events.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store import SourceRef, Store
from store.identities.dedup import Told
from store.open_sessions import sessions
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.open_sessions.session_model import FIELDS, NUMBERS, SECOND_US, Event, table_of
from tests.store.open_sessions.test_sessions import rows
from tests.store.records import NOW_US

BEGIN_US = NOW_US - 3600 * SECOND_US
KEY = 10**11 + 7
ROADS = (1, 1 << 30)
"""Of how many pairs on they are folded as pairs: always, never."""
Outcome = tuple[list[Any], list[Any]]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path: Path = tmp_path_factory.mktemp("arrival")
    with Store.create(path / "root", clock=FixedClock(NOW_US)) as made:
        yield made


def said(kind: str, session: str | None, key: int = KEY, **fields: Any) -> Event:
    nothing: Event = dict.fromkeys(FIELDS)
    return (
        nothing
        | {"event": kind, "session_key": session, "switch": "n1", "record_key": key, "end_inferred": False}
        | fields
    )


def session(name: str, volume: int | None, key: int = KEY, *, start: int = 0, end: int = 5) -> list[Event]:
    """Return an opening and its end; sessions of one key contradict each other by what they carried."""
    return [
        said("open", name, key, start_time=BEGIN_US + start * SECOND_US),
        said("close", name, key, end_time=BEGIN_US + end * SECOND_US, volume_up_bytes=volume),
    ]


def whole(volume: int) -> Event:
    times = {"start_time": BEGIN_US, "end_time": BEGIN_US + 5 * SECOND_US}
    return said("record", None, **times, volume_up_bytes=volume)


def outcome(store: Store, events: list[Event], cuts: Sequence[int], pairs_min: int = 1) -> Outcome:
    """Return what a delivery stores, and the fate of every event; it is not published."""
    name, table = f"arrival-{next(NUMBERS)}", table_of(events)
    with (
        pytest.MonkeyPatch.context() as patch,
        store.begin_batch(SourceRef(name, name, "files"), format="csv") as batch,
    ):
        patch.setattr(sessions, "PAIRS_MIN", pairs_min)
        told: list[Told] = batch.replay(NOW_US, 0, lambda cursor, receipt: None)
        for start, stop in itertools.pairwise([0, *cuts, len(events)]):
            batch.add(table.slice(start, stop - start))
        stored = [row for chunk in batch.precede().rows()[0] for row in chunk.table.to_pylist()]
    names = ("batch_position", "conflict", "record_key", *FIELDS)
    found = sorted(tuple(str(row.get(name)) for name in names) for row in stored)
    return found, sorted((int(at), int(fate)) for some in told for at, fate in zip(*some, strict=True))


def cuts_of(events: list[Event]) -> Iterator[tuple[int, ...]]:
    places = range(1, len(events))
    return itertools.chain.from_iterable(itertools.combinations(places, count) for count in range(len(events)))


@pytest.mark.parametrize("events", [[*session("a", 1), *session("b", 2)], [*session("a", 1), whole(2)]])
def test_the_first_to_be_whole_is_stored_however_a_delivery_is_cut(shared: Store, events: list[Event]) -> None:
    for order in itertools.permutations(range(len(events))):
        arriving = [events[place] for place in order]
        if arriving[0]["session_key"] == "b":
            continue  # as with the names exchanged
        expected = outcome(shared, arriving, range(1, len(events)))
        conflicts = [row[1] for row in expected[0]]
        assert conflicts[0] == "False" and set(conflicts[1:]) <= {"True"}, "the first position is no conflict"
        assert len(expected[1]) == len(events)
        for cuts, pairs_min in itertools.product(cuts_of(events), ROADS):
            assert outcome(shared, arriving, cuts, pairs_min) == expected


@st.composite
def arrivals(draw: st.DrawFn) -> list[Event]:
    """Return the events of some sessions and records, of few keys, as they come in one delivery."""
    waiting = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        start = draw(st.integers(0, 3))
        told = session(
            name,
            draw(st.sampled_from([None, 1, 2])),
            KEY + draw(st.integers(0, 1)),
            start=start,
            end=start + draw(st.integers(0, 2)),
        )
        if draw(st.booleans()):
            told.reverse()
        if draw(st.booleans()):
            told.insert(draw(st.integers(0, 1)), said("update", name, trunk_in="north"))
        waiting.append(told)
    waiting += [[whole(draw(st.integers(1, 2)))] for _ in range(draw(st.integers(0, 2)))]
    arriving = []
    while waiting := [some for some in waiting if some]:
        arriving.append(waiting[draw(st.integers(0, len(waiting) - 1))].pop(0))
    return arriving


@given(events=arrivals(), data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_cut_and_any_road_tell_the_same(shared: Store, events: list[Event], data: st.DataObject) -> None:
    expected = outcome(shared, events, range(1, len(events)))
    places = data.draw(st.sets(st.integers(1, len(events) - 1))) if len(events) > 1 else set()
    for cuts, pairs_min in itertools.product([(), sorted(places)], ROADS):
        assert outcome(shared, events, cuts, pairs_min) == expected


def test_among_many_pairs_of_a_stretch_the_first_end_counts(shared: Store) -> None:
    others = [event for number in range(sessions.PAIRS_MIN) for event in session(f"s{number}", 1, KEY + 1 + number)]
    early, late = session("early", 1), session("late", 2)
    events = [early[0], late[0], *others, late[1], early[1]]
    found, _ = outcome(shared, events, (), sessions.PAIRS_MIN)
    own = {(row[0], row[1]) for row in found if row[2] == str(KEY)}
    assert own == {(str(len(events) - 2), "False"), (str(len(events) - 1), "True")}


@pytest.mark.parametrize("order", [(0, 2, 1, 3), (0, 2, 3, 1), (1, 3, 2, 0)])
@pytest.mark.parametrize("apart", [(2,), (1, 2, 3)])
def test_a_restart_between_changes_nothing(tmp_path: Path, order: tuple[int, ...], apart: tuple[int, ...]) -> None:
    pairs = [*session("a", 1), *session("b", 2)]
    events = [pairs[place] for place in order]
    last = {name: max(place for place, one in enumerate(events) if one["session_key"] == name) for name in "ab"}
    first = 1 if last["a"] < last["b"] else 2
    table, clock = table_of(events), FixedClock(NOW_US)
    Store.create(tmp_path / "root", clock=clock).close()
    for start, stop in itertools.pairwise([0, *apart, len(events)]):
        with Store.open(tmp_path / "root", clock=clock) as store:
            deliver(store, table.slice(start, stop - start))
    with Store.open(tmp_path / "root", clock=clock) as store:
        told = {(row["volume_up_bytes"], row["conflict"]) for row in rows(store)}
        assert store.verify() == []
    assert told == {(first, False), (3 - first, True)}


def test_of_sessions_that_time_out_together_the_one_that_was_silent_first_counts(tmp_path: Path) -> None:
    clock = FixedClock(NOW_US)
    with Store.create(tmp_path / "root", clock=clock) as store:
        for place in range(6):
            event = said("open", f"s{place}", start_time=BEGIN_US, volume_up_bytes=place)
            deliver(store, table_of([event]))
            clock.advance(seconds=60)
        clock.advance(days=3)
        assert store.close_stale_sessions(clock.now_us()) == 6
        assert sorted((row["volume_up_bytes"], row["conflict"]) for row in rows(store)) == [
            (place, place > 0) for place in range(6)
        ]
        assert sorted(row["batch_position"] for row in rows(store)) == list(range(1, 7))
