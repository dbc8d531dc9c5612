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

from schemas.arrow import PACKED, TIME_TYPE
from store import SourceRef, Store, native
from store.incoming import complete
from store.open_sessions import session_numbers
from store.open_sessions.session_numbers import RANK
from store.open_sessions.sessions import SessionArea
from tests.conftest import FixedClock
from tests.store.records import NOW_US

SECOND_US = 1_000_000
FIELDS = ("start_time", "end_time", "volume_up_bytes", "source_ip_v6", "end_inferred", "trunk_in")
TYPES = {name: PACKED.field(name).type for name in ("switch", "record_key", *FIELDS)}
Event = dict[str, Any]

NUMBERS = itertools.count()

EVENTS = st.fixed_dictionaries(
    {
        "event": st.sampled_from(["open", "update", "close"]),
        "session_key": st.sampled_from(["a", "b", "c"]),
        "switch": st.sampled_from(["n1", "n2"]),
        "record_key": st.one_of(st.none(), st.integers(11, 14)),
        "start_time": st.one_of(st.none(), st.integers(1, 6).map(lambda at: at * SECOND_US)),
        "end_time": st.one_of(st.none(), st.integers(1, 6).map(lambda at: at * SECOND_US)),
        "volume_up_bytes": st.one_of(st.none(), st.integers(0, 3)),
        "source_ip_v6": st.one_of(st.none(), st.just(bytes(15) + b"\x01")),
        "end_inferred": st.just(False),
        "trunk_in": st.one_of(st.none(), st.sampled_from(["", "north", "söder"])),
    }
)


class Session:
    def __init__(self) -> None:
        self.marks: set[Any] = set()
        self.row: Event | None = None
        self.rank = -1
        self.closed = False
        self.woken = False
        self.ended: int | None = None


class Model:
    """Sessions by key; a delivery is folded at its end, as the store does."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}

    def fold(self, events: list[Event]) -> tuple[list[Event], int, int]:
        """Fold a stretch; sessions that begin anew after an end, or end anew, are folded after those that ended."""
        turns: dict[int, list[Event]] = {}
        ends: dict[str, list[int]] = {}
        turn_of: dict[str, int] = {}
        for event in events:
            key, start = event["session_key"], event["start_time"]
            told = [end for end in ends.setdefault(key, []) if end]
            if event["event"] == "open" and start is not None and told and start > max(told):
                turn_of[key] = len(ends[key])
            if event["event"] == "close":
                if len(ends[key]) > turn_of.get(key, 0):
                    turn_of[key] = len(ends[key])
                ends[key].append(event["end_time"] or 0)
            turns.setdefault(turn_of.get(key, 0), []).append(event)
        folded = [self._fold(turns[turn]) for turn in sorted(turns)]
        return [row for rows, _, _ in folded for row in rows], sum(one[1] for one in folded), sum(o[2] for o in folded)

    def _fold(self, events: list[Event]) -> tuple[list[Event], int, int]:
        direct, taken, duplicates = [], [], 0
        for event in events:
            session = self.sessions.setdefault(event["session_key"], Session())
            start, closes = event["start_time"], event["event"] == "close"
            ended = session.closed and session.ended is not None and start is not None and start > session.ended
            if ended and event["event"] == "open":
                session = self.sessions[event["session_key"]] = Session()
            if session.closed and session.row is not None and closes:
                session.closed, session.woken = False, True
            if session.closed and closes and start is not None:
                direct.append({name: event[name] for name in FIELDS})
            elif session.closed or mark_of(event) in session.marks:
                duplicates += 1
            else:
                session.marks.add(mark_of(event))
                session.woken = False
                taken.append(event)
        complete = []
        for key in dict.fromkeys(event["session_key"] for event in taken):
            session, said = self.sessions[key], [event for event in taken if event["session_key"] == key]
            best = max(session.rank, *(RANK[event["event"]] for event in said))
            before = [] if session.row is None else [(2 if session.rank == 2 else -1, session.row)]
            words = before + [(RANK[event["event"]], event) for event in said]
            row = {}
            for name in FIELDS:
                told = [one[name] for _, one in sorted(words, key=lambda word: word[0]) if one[name] is not None]
                row[name] = told[-1] if told else None
            session.rank, session.row = best, row
            if best == RANK["close"] and row["start_time"] is not None:
                session.closed, session.row, session.ended = True, None, row["end_time"]
                complete.append(row)
        return direct + complete, len(taken) - len(complete), duplicates

    def end_delivery(self) -> None:
        """Let sessions sleep on that woke for an end that was told before."""
        for session in self.sessions.values():
            session.closed, session.woken = session.closed or session.woken, False

    def stale(self, seen_us: int) -> list[Event]:
        closed = []
        for session in self.sessions.values():
            if session.row is not None and not session.closed:
                row = dict(session.row)
                if row["end_time"] is None:
                    row["end_time"] = seen_us if row["start_time"] is None else row["start_time"]
                    row["end_inferred"] = True
                if row["start_time"] is None:
                    row["start_time"] = row["end_time"]
                session.closed, session.ended = True, row["end_time"]
                closed.append(row)
        return closed


def mark_of(event: Event) -> Any:
    if event["record_key"] is not None:
        return event["event"], event["switch"], event["record_key"]
    said = tuple(event[name] for name in FIELDS if name != "end_inferred")
    return event["event"], event["switch"], None, said


def table_of(events: list[Event]) -> pa.Table:
    columns: dict[str, Any] = {
        name: pa.array([event[name] for event in events], pa.int64()).cast(kind)
        if kind == TIME_TYPE
        else pa.array([event[name] for event in events], pa.string()).dictionary_encode()
        if pa.types.is_dictionary(kind)
        else pa.array([event[name] for event in events], kind)
        for name, kind in TYPES.items()
    }
    columns["batch_position"] = pa.array(range(len(events)), pa.int64())
    for name in ("event", "session_key"):
        columns[name] = pa.array([event[name] for event in events], pa.string())
    return pa.table(columns)


def told(records: pa.Table | None) -> list[Any]:
    """Return records in an order of their own, values as plain as can be."""
    if records is None:
        return []
    columns = []
    for name in FIELDS:
        column: Any = records.column(name) if name in records.column_names else pa.nulls(len(records))
        columns.append((column.cast(pa.int64()) if column.type == TIME_TYPE else column).to_pylist())
    return sorted(zip(*columns, strict=True), key=repr)


def plain(rows: list[Event]) -> list[Any]:
    return sorted((tuple(row[name] for name in FIELDS) for row in rows), key=repr)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    path: Path = tmp_path_factory.mktemp("sessions")
    with Store.create(path / "root", clock=FixedClock(NOW_US)) as made:
        made.ensure_session_key(made.clock.now_us())
        yield made


def area_of(store: Store, name: str) -> SessionArea:
    return SessionArea(store.catalog, store.keyring, store.hasher, name, name)


@pytest.fixture(scope="module", params=["plain", "compiled"])
def road(request: pytest.FixtureRequest) -> Iterator[None]:
    loops = native.load("store.open_sessions.session_kernels") if request.param == "compiled" else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_numbers, "kernels", lambda rows: loops)
        yield


@pytest.mark.usefixtures("road")
@given(deliveries=st.lists(st.one_of(st.none(), st.lists(st.lists(EVENTS, max_size=8), max_size=3)), max_size=5))
@settings(max_examples=60, deadline=None)
def test_events_fold_as_the_model_says(store: Store, deliveries: list[list[list[Event]] | None]) -> None:
    name, model = f"domain-{next(NUMBERS)}", Model()
    now_us = store.clock.now_us()
    for delivery in deliveries:  # None: everything that runs times out
        area = area_of(store, name)
        if delivery is None:
            assert told(area.stale(now_us + 1)) == plain(model.stale(now_us))
        for events in delivery or []:
            if not events:
                continue
            folded = area.fold(complete(SourceRef(name, name, "files"), table_of(events)))
            records, accepted, duplicates = model.fold(events)
            assert told(folded.records) == plain(records)
            assert (len(folded.accepted), len(folded.duplicates)) == (accepted, duplicates)
            positions = [] if folded.records is None else folded.records.column("batch_position").to_pylist()
            positions += [*folded.accepted.tolist(), *folded.duplicates.tolist()]
            assert sorted(positions) == list(range(len(events)))
        with store.catalog.transaction() as cursor:
            area.write(cursor, 1, now_us)
        model.end_delivery()
    everything = pa.Table.from_batches(list(store.open_sessions()), PACKED)
    own = everything.filter(pc.equal(everything.column("source").cast(pa.string()), name))
    running = [session.row for session in model.sessions.values() if session.row is not None and not session.closed]
    assert told(own) == plain(running)
