"""The folding of sessions in columns against a model that takes event by event, over deliveries and timeouts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.arrow import PACKED
from store import SourceRef, Store, native
from store.identities.lone_ends import with_starts
from store.open_sessions import session_numbers, sessions
from store.open_sessions.sessions import SessionArea
from store.provenance import complete
from tests.conftest import FixedClock
from tests.store.open_sessions.session_model import (
    EVENTS,
    FIELDS,
    NUMBERS,
    SECOND_US,
    Event,
    Model,
    assert_in_order,
    plain,
    possible,
    table_of,
    told,
)
from tests.store.records import NOW_US


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path: Path = tmp_path_factory.mktemp("sessions")
    with Store.create(path / "root", clock=FixedClock(NOW_US)) as made:
        made.ensure_session_key(made.clock.now_us())
        yield made


def area_of(store: Store, name: str) -> SessionArea:
    return SessionArea(store.catalog, store.keyring, store.hasher, name, name)


@pytest.fixture(scope="module", params=["plain", "compiled", "paired"])
def road(request: pytest.FixtureRequest) -> Iterator[None]:
    loops = native.load("store.open_sessions.session_kernels") if request.param == "compiled" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_numbers, "kernels", lambda rows: loops)
        patch.setattr(sessions, "PAIRS_MIN", 1 if request.param == "paired" else 1 << 30)
        yield


@pytest.mark.usefixtures("road")
@given(deliveries=st.lists(st.one_of(st.none(), st.lists(st.lists(EVENTS, max_size=8), max_size=3)), max_size=5))
@settings(max_examples=60, deadline=None)
def test_events_fold_as_the_model_says(store: Store, deliveries: list[list[list[Event]] | None]) -> None:
    assert_as_the_model_says(store, deliveries)


BEFORE = [[], [("open", 3, None)], [("close", None, 3)], [("open", 2, None), ("close", None, 3)], [("update", 3, None)]]
WORDS = [
    *(("open", at, None) for at in (1, 3, 4)),
    *(("close", None, at) for at in (2, 3, 5)),
    *(("close", 1, 2), ("close", 4, 5)),
    *(("update", 1, None), ("update", 4, None), ("update", None, None)),
]
"""Kinds of events, with their starts and ends in seconds."""


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("times_out", [False, True])
def test_all_short_stretches_fold_as_the_model_says(store: Store, times_out: bool) -> None:
    everything: list[Any] = list(itertools.product(BEFORE, itertools.product(WORDS, repeat=2)))
    everything += itertools.product([BEFORE[2]], itertools.permutations(WORDS, 3))  # beside an end that waits
    for at in range(0, len(everything), 60):
        cases = everything[at : at + 60]
        named = [(str(place), before, said) for place, (before, said) in enumerate(cases)]
        first = [worded(name, word) | {"volume_up_bytes": 1} for name, before, _ in named for word in before]
        then = [worded(name, word) for name, _, said in named for word in said]
        assert_as_the_model_says(store, [[first], *([None] if times_out else []), [then]])


def worded(name: str, word: tuple[str, int | None, int | None]) -> Event:
    kind, start, end = (at * SECOND_US if isinstance(at, int) else at for at in word)
    return happened(str(kind), session_key=name, start_time=start, end_time=end, trunk_in=name)


@pytest.mark.usefixtures("road")
def test_a_use_before_one_that_ended_is_a_record_in_a_later_delivery(store: Store) -> None:
    first, again = happened("close", start_time=2 * SECOND_US), happened("close", end_time=2 * SECOND_US)
    before = [happened("open", start_time=SECOND_US), happened("close", end_time=SECOND_US)]
    assert_as_the_model_says(store, [[[first]], [[again, *before]]])


@pytest.mark.usefixtures("road")
def test_one_end_alone_is_told_from_what_began_after_it(store: Store) -> None:
    later, word = happened("open", start_time=4 * SECOND_US), happened("update", start_time=SECOND_US)
    assert_as_the_model_says(store, [[[later]], [[word, happened("close", end_time=2 * SECOND_US)]]])


@pytest.mark.usefixtures("road")
@pytest.mark.parametrize("times_out", [False, True])
@pytest.mark.parametrize(
    "before", [("update", {"start_time": SECOND_US}), ("close", {"end_time": 5 * SECOND_US, "volume_up_bytes": 1})]
)
def test_what_comes_before_an_opening_beside_an_end_that_waits_goes_where_it_belongs(
    store: Store, before: tuple[str, Any], times_out: bool
) -> None:
    waits = happened("close", end_time=3 * SECOND_US, trunk_in="north")
    stretch = [happened(before[0], **before[1]), happened("open", start_time=4 * SECOND_US)]
    assert_as_the_model_says(store, [[[waits]], *([None] if times_out else []), [stretch]])


def happened(kind: str, **fields: Any) -> Event:
    nothing = dict.fromkeys(("record_key", *FIELDS))
    return possible(nothing | {"event": kind, "session_key": "c", "switch": "n1", "end_inferred": False} | fields)


def assert_as_the_model_says(store: Store, deliveries: list[list[list[Event]] | None]) -> None:
    name, model = f"domain-{next(NUMBERS)}", Model()
    now_us = store.clock.now_us()
    for delivery in deliveries:  # None: everything that runs times out
        area = area_of(store, name)
        if delivery is None:
            closed = area.stale(now_us + 1)
            assert told(closed) == plain(model.stale(now_us))
            assert_in_order(closed)
        for events in delivery or []:
            if not events:
                continue
            folded = area.fold(complete(SourceRef(name, name, "files"), table_of(events)))
            records, accepted, duplicates = model.fold(events)
            some = None if folded.records is None else with_starts(folded.records)
            assert told(some) == plain(records)
            assert_in_order(some)
            assert (len(folded.accepted), len(folded.duplicates)) == (accepted, duplicates)
            positions = [] if folded.records is None else folded.records.column("batch_position").to_pylist()
            positions += [*folded.accepted.tolist(), *folded.duplicates.tolist()]
            assert sorted(positions) == list(range(len(events)))
        with store.catalog.transaction() as cursor:
            area.write(cursor, 1, now_us)
    everything = pa.Table.from_batches(list(store.open_sessions()), PACKED)
    own = everything.filter(pc.equal(everything.column("source").cast(pa.string()), name))
    running = [session.row for session in model.running() if session.row is not None]
    assert told(own) == plain(running)
