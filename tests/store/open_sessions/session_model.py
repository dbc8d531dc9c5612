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
        self.woken = False
        self.start = start
        """Of what ended its start, of what runs that of its opening."""
        self.ended = before
        """Of what ended its end, of what runs that of the use before."""

    @property
    def waits(self) -> bool:
        """Whether an end waits for its opening."""
        return self.rank == RANK["close"] and self.row is not None

    @property
    def since(self) -> int | None:
        """The start of what runs; an end that waits for its opening."""
        return self.row["end_time"] if self.row is not None and self.waits else self.start


class Model:
    """Sessions by key; a delivery is folded at its end, as the store does."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}

    def fold(self, events: list[Event]) -> tuple[list[Event], int, int]:
        """Fold a stretch; of a session a turn has openings of one start, and one end."""
        turns: dict[int, list[Event]] = {}
        turn_of: dict[str, int] = {}
        begun: dict[str, int | None] = {key: session.start for key, session in self.sessions.items()}
        ends: dict[str, list[int]] = {}
        waits = {key: session.row["end_time"] for key, session in self.sessions.items() if session.waits}
        for event in events:
            key, start, told = event["session_key"], event["start_time"], ends.get(event["session_key"], [])
            early = event["end_time"] is not None and event["end_time"] < (begun.get(key) or 0)
            anew = event["event"] == "close" and (bool(told) or early)
            if event["event"] == "open" and start is not None:
                anew = begun.get(key) not in (None, start) or start > (told or [waits.get(key, 99 * SECOND_US)])[-1]
                begun[key] = start
            if anew and key in turn_of:
                turn_of[key] += 1
                ends[key] = []
                waits.pop(key, None)
            turns.setdefault(turn_of.setdefault(key, 0), []).append(event)
            if event["event"] == "close":
                ends.setdefault(key, []).append(event["end_time"])
        folded = [self._fold(turns[turn]) for turn in sorted(turns)]
        return [row for rows, _, _ in folded for row in rows], sum(one[1] for one in folded), sum(o[2] for o in folded)

    def _fold(self, events: list[Event]) -> tuple[list[Event], int, int]:
        direct: list[Event] = []
        events = self._openings_first(events)
        fates = [self._fate(event, direct) for event in events]
        told: set[Any] = set()
        for place, event in enumerate(events):  # the same early opening again
            if fates[place] == "inferred" and event["event"] == "open":
                mark = event["session_key"], mark_of(event)
                fates[place] = "known" if mark in told else "inferred"
                told.add(mark)
        for place, event in enumerate(events):
            if fates[place] in ("earlier", "inferred") and event["event"] == "close" and event["end_time"] is not None:
                session = self.sessions[event["session_key"]]
                for other, opening in enumerate(events):
                    alike = fates[other] in ("earlier", "inferred") and opening["event"] == "open"
                    alike = (
                        alike and opening["session_key"] == event["session_key"] and opening["start_time"] is not None
                    )
                    if not alike or opening["start_time"] > event["end_time"]:
                        continue
                    if session.closed and event["end_time"] > (session.ended or 99 * SECOND_US):
                        continue
                    fates[place], pair = "paired", other
            if fates[place] == "paired":
                direct.append(folded_of([(1, events[pair]), (2, event)]))
                fates[pair] = "known"
        direct += [inferred(event) for event, fate in zip(events, fates, strict=True) if fate == "inferred"]
        taken, superseding = [], 0
        duplicates = sum(fate in ("known", "earlier") for fate in fates)
        for event, fate in zip(events, fates, strict=True):
            session = self.sessions[event["session_key"]]
            if fate not in ("taken", "left"):
                continue
            if mark_of(event) in session.marks:
                duplicates += 1
                continue
            session.marks.add(mark_of(event))
            session.woken = False
            taken.append(event)
            superseding += fate == "left"
        complete = []
        for key in dict.fromkeys(event["session_key"] for event in taken):
            session, said = self.sessions[key], [event for event in taken if event["session_key"] == key]
            best = max(session.rank, *(RANK[event["event"]] for event in said))
            before = [] if session.row is None else [(2 if session.rank == 2 else -1, session.row)]
            row = in_order(folded_of(before + [(RANK[event["event"]], event) for event in said]), best == RANK["close"])
            session.rank, session.row = best, row
            session.start = row["start_time"] if best == RANK["open"] else None
            if best == RANK["close"] and row["start_time"] is not None:
                session.closed, session.row = True, None
                session.start, session.ended = row["start_time"], row["end_time"]
                complete.append(row)
        return direct + complete, len(taken) - len(complete) - superseding, duplicates

    def _openings_first(self, events: list[Event]) -> list[Event]:
        """Return a turn with the ends behind their openings, of sessions that begin anew beside an end that waits.

        Interim words too, unless the session sleeps: then they come too late.
        """
        anew = {
            event["session_key"]: place
            for place, event in enumerate(events)
            if event["event"] == "open"
            and (session := self.sessions.get(event["session_key"])) is not None
            and session.waits
            and event["start_time"] > session.row["end_time"]
        }

        def place_of(place: int) -> tuple[int, int]:
            key, kind = events[place]["session_key"], events[place]["event"]
            moves = kind == "close" or (kind == "update" and key in anew and not self.sessions[key].closed)
            later = anew.get(key, -1) if moves else -1
            return max(place, later), int(later > place)

        return [events[place] for place in sorted(range(len(events)), key=place_of)]

    def _fate(self, event: Event, records: list[Event]) -> str:
        """Tell what an event is to its session; one whose key is used anew without an end goes to the records."""
        session = self.sessions.setdefault(event["session_key"], Session())
        kind, start = event["event"], event["start_time"]
        sleeps = session.closed
        if session.closed:
            later = start is not None and session.ended is not None and start >= session.ended
            if later and start == session.ended:
                later = session.start not in (None, start)
            if kind == "open" and later:
                self.sessions[event["session_key"]] = Session(start, session.ended)
                return "taken"
            if kind == "close" and session.row is not None:
                session.closed, session.woken, session.ended = False, True, None
        if session.closed:
            if kind == "update":
                return "known"
            if kind == "close" and start is not None:
                records.append(plain_of(event))
                return "direct"
            return "earlier"
        since = session.since
        if kind == "open" and start is not None and since is not None and start > since:
            if mark_of(event) in session.marks:
                return "known"
            assert session.row is not None
            records.append(inferred(session.row))
            self.sessions[event["session_key"]] = Session(start, since)
            return "left"
        fate = (None if sleeps else self._ending(session, event)) or self._running(session, event)
        if fate == "direct":
            records.append(plain_of(event))
        return fate

    @staticmethod
    def _ending(session: Session, event: Event) -> str | None:
        """Tell what a further end is where one waits for its opening."""
        waits = session.since if session.start is None else None
        if event["event"] != "close" or waits is None or event["end_time"] == waits:
            return None
        if mark_of(event) in session.marks:
            return "known"
        return "inferred" if event["start_time"] is None else "direct"

    @staticmethod
    def _running(session: Session, event: Event) -> str:
        """Tell whether an event belongs to what runs, or to an earlier use."""
        kind, start, end, before = event["event"], event["start_time"], event["end_time"], session.ended
        if session.start is None:
            return "taken"
        early = end is not None and ((before is not None and end <= before) or end < session.start)
        if kind == "close" and early:
            if start is not None:
                return "direct"
            return "earlier" if before is not None and end <= before else "inferred"
        if kind == "update" and before is not None and start is not None and start < before:
            return "known" if end is None or end <= before else "taken"
        if kind == "open" and start is not None and start < session.start:
            if before is not None and start <= before:
                return "earlier"
            return "known" if mark_of(event) in session.marks else "inferred"
        return "taken"

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


def plain_of(event: Event) -> Event:
    return {name: event[name] for name in FIELDS}


def folded_of(words: list[tuple[int, Event]]) -> Event:
    row = {}
    for name in FIELDS:
        told = [one[name] for _, one in sorted(words, key=lambda word: word[0]) if one[name] is not None]
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
