"""Open sessions told once more, in plain Python and in one order: what the store must make of the same events."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from schemas.arrow import PACKED, TIME_TYPE
from store.open_sessions.session_numbers import RANK

SECOND_US = 1_000_000
FIELDS = ("start_time", "end_time", "volume_up_bytes", "source_ip_v6", "end_inferred", "trunk_in")
TYPES = {name: PACKED.field(name).type for name in ("switch", "record_key", *FIELDS)}
Event = dict[str, Any]

NUMBERS = itertools.count()


def possible(event: Event) -> Event:
    """Return an event as ingest lets it in: an opening has a start and an end its time; none ends before its start."""
    start, end = event["start_time"], event["end_time"]
    if event["event"] == "open" and start is None:
        return possible(event | {"start_time": SECOND_US})
    if event["event"] == "close" and end is None:
        return possible(event | {"end_time": start or SECOND_US, "end_inferred": start is not None})
    return event if None in (start, end) or start <= end else event | {"start_time": end, "end_time": start}


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
).map(possible)


class Session:
    def __init__(self, start: int | None = None, before: int | None = None) -> None:
        self.marks: set[Any] = set()
        self.row: Event | None = None
        self.rank = -1
        self.closed = False
        self.start = start
        """Of what ended its start, of what runs that of its opening."""
        self.ended = before
        """Of what ended its end, of what runs that of the use before."""

    @property
    def waits(self) -> int | None:
        """The end that waits for its opening."""
        return self.row["end_time"] if self.rank == RANK["close"] and self.row is not None else None

    def end(self, row: Event) -> Event:
        self.row, self.closed, self.start, self.ended = None, True, row["start_time"], row["end_time"]
        return row

    def hold(self, event: Event, *, closed: bool) -> None:
        """Let one event wait here."""
        self.row, self.rank, self.marks, self.closed = plain_of(event), RANK[event["event"]], {mark_of(event)}, closed
        self.start, self.ended = event["start_time"], None


class Model:
    """Sessions by key, and beside each a place for an earlier use; every event is folded by itself."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.places: dict[str, Session] = {}

    def fold(self, events: list[Event]) -> tuple[list[Event], int, int]:
        """Return the records of events, how many were taken in without one, and how many came before or too late."""
        records: list[Event] = []
        fates = []
        for event in events:
            self.sessions.setdefault(event["session_key"], Session())
            fate, record = self._fate(event)
            fates.append(fate)
            records += [] if record is None else [record]
        return records, fates.count("taken"), fates.count("known")

    def _fate(self, event: Event) -> tuple[str, Event | None]:
        session, kind, start, end = session_of(self, event), event["event"], event["start_time"], event["end_time"]
        if session.closed:
            anew = start is not None and session.ended is not None and start > session.ended
            anew = anew or (start is not None and start == session.ended and session.start not in (None, start))
            if kind == "open" and anew:
                self.sessions[event["session_key"]] = Session(start, session.ended)
                return self._take(event)
            if kind == "close" and session.row is not None:
                slept, session.closed, session.ended = session.ended, False, None
                fate, record = self._running(session, event)
                if fate == "known" or (record is not None and not session.closed):
                    session.closed, session.ended = True, slept
                return fate, record
            if kind == "update" or (start == session.start if kind == "open" else end == session.ended and not start):
                return "known", None
            return self._earlier(event, repeats=True)
        since = session.start if session.start is not None else session.waits
        if kind == "open" and since is not None and start is not None and start > since:
            place = self.places.get(event["session_key"], Session())
            if mark_of(event) in session.marks:
                return "known", None
            if session.start is None and (place.closed and place.start == start):
                return "known", None
            if session.start is None and place.waits is not None and start <= place.waits:
                if mark_of(event) in place.marks:
                    return "known", None
                assert place.row is not None
                return "record", place.end(folded_of([event, place.row]) | {"start_time": start})
            assert session.row is not None
            self.sessions[event["session_key"]] = Session(start, since)
            self._take(event)
            return "record", inferred(session.row)
        if kind == "close" and session.start is None and session.waits not in (None, end):
            if mark_of(event) in session.marks:
                return "known", None
            return self._earlier(event, repeats=False)
        return self._running(session, event)

    def _running(self, session: Session, event: Event) -> tuple[str, Event | None]:
        """Tell whether an event belongs to what runs, or to an earlier use."""
        kind, start, end, before = event["event"], event["start_time"], event["end_time"], session.ended
        if session.start is None:
            return self._take(event)
        early = end is not None and ((before is not None and end <= before) or end < session.start)
        if kind == "close" and early:
            return self._earlier(event, repeats=False)
        update = kind == "update" and before is not None and start is not None and start < before
        if update and (end is None or (before is not None and end <= before)):
            return "known", None
        if kind == "open" and start is not None and start < session.start:
            repeats = before is not None and start <= before
            if not repeats and mark_of(event) in session.marks:
                return "known", None
            return self._earlier(event, repeats=repeats)
        return self._take(event)

    def _earlier(self, event: Event, *, repeats: bool) -> tuple[str, Event | None]:
        """Tell what an event of an earlier use is; one that `repeats` may have come before."""
        session, start, end = session_of(self, event), event["start_time"], event["end_time"]
        if event["event"] == "close" and start is not None:
            return "record", plain_of(event)
        place = self.places.setdefault(event["session_key"], Session())
        heard, waits = mark_of(event) in place.marks and place.row is not None, session.waits
        if event["event"] == "open":
            if heard or (place.closed and place.start == start):
                return "known", None
            if place.row is not None and not place.closed:
                return ("known", None) if repeats else ("record", inferred(event))
            place.hold(event, closed=repeats)
            return ("known" if repeats else "taken"), None
        if place.row is not None and place.start is not None and place.start <= end:
            return "record", place.end(folded_of([place.row, event]) | {"start_time": place.start})
        if heard or (place.row is None and place.closed and place.ended == end):
            return "known", None
        if place.row is None and not session.closed and waits is not None and end > waits:
            place.hold(event, closed=False)
            return "taken", None
        return "record", inferred(event)

    def _take(self, event: Event) -> tuple[str, Event | None]:
        session = session_of(self, event)
        if mark_of(event) in session.marks:
            return "known", None
        session.marks.add(mark_of(event))
        said = plain_of(event)
        if event["event"] == "update" and session.rank == RANK["open"]:
            said["start_time"] = None
        words = [said] if session.row is None else [session.row, said]
        best = max(session.rank, RANK[event["event"]])
        if session.rank == RANK["close"] != RANK[event["event"]]:
            words.reverse()
        row = in_order(folded_of(words), best == RANK["close"])
        session.rank, session.row = best, row
        session.start = row["start_time"] if best == RANK["open"] else None
        if best == RANK["close"] and row["start_time"] is not None:
            return "record", session.end(row)
        return "taken", None

    def running(self) -> list[Session]:
        """Return what runs."""
        everything = [*self.sessions.values(), *self.places.values()]
        return [session for session in everything if session.row is not None and not session.closed]

    def stale(self, seen_us: int) -> list[Event]:
        closed = []
        for session in self.running():
            if session.row is not None:
                row = dict(session.row)
                if row["end_time"] is None:
                    row["end_time"] = seen_us if row["start_time"] is None else row["start_time"]
                    row["end_inferred"] = True
                if row["start_time"] is None:
                    row["start_time"] = row["end_time"]
                session.closed, session.ended = True, row["end_time"]
                closed.append(row)
        return closed


def plain_of(event: Event) -> Event:
    return {name: event[name] for name in FIELDS}


def session_of(model: Model, event: Event) -> Session:
    """Return the session of an event."""
    return model.sessions[event["session_key"]]


def folded_of(words: list[Event]) -> Event:
    """Return what words say, of which the later counts more."""
    row = {}
    for name in FIELDS:
        told = [word[name] for word in words if word[name] is not None]
        row[name] = told[-1] if told else None
    return row


def in_order(row: Event, ended: bool) -> Event:
    if None not in (row["start_time"], row["end_time"]) and row["end_time"] < row["start_time"]:
        row["start_time" if ended else "end_time"] = None
    return row


def inferred(event: Event) -> Event:
    row = plain_of(event)
    if row["end_time"] is None:
        row["end_time"], row["end_inferred"] = row["start_time"], True
    if row["start_time"] is None:
        row["start_time"] = row["end_time"]
    return row


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


def assert_in_order(records: pa.Table | None) -> None:
    for start, end, *_ in told(records):
        assert None in (start, end) or start <= end


def plain(rows: list[Event]) -> list[Any]:
    return sorted((tuple(row[name] for name in FIELDS) for row in rows), key=repr)
