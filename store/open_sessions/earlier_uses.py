"""Events of an earlier use of a key: they came late, or again. Their sessions have a place of their own.

Beside each session there is a place for one more, under a tag that is made of its own. An early opening waits there for
its end. Where the uses before are known to have ended, it may be one of theirs that came again: it counts as a
duplicate, and never becomes a record by itself, but with its end it does, and the dedup of records decides. An early
end takes the opening that waits, if it is not before it; alone it is a record, the start of which is inferred once it
is told from known ones. Beside an end that waits for its opening a later one waits here, and the opening between the
two takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from store.identities.prf import Words
from store.open_sessions.folding import completed, fold, joined, with_column
from store.open_sessions.session_fates import ENDS, INFERRED, KNOWN, OPENS, OVER, Events, unheard_of
from store.open_sessions.session_numbers import NO_TIME, RANK
from store.open_sessions.session_rows import MARKS, RANKS
from store.open_sessions.session_states import NO_END, SessionStates

_BESIDE: Final = np.array([0x6561726C_69657220, 0x75736520_6F662069], np.uint64)
"""What the tag of the place beside a session differs by from its own."""
_DONE: Final = -1
"""In the fates: the event is dealt with here."""

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Load = Callable[[Words], Ints]
"""Returns the numbers of sessions by their tags."""


class Earlier(NamedTuple):
    """What events of earlier uses lead to."""

    records: list[pa.Table]
    accepted: Ints
    """Rows of events that wait for their others."""


def has_end(states: SessionStates, load: Load, events: Events, rows: Ints) -> Flags:
    """Tell of openings whether their end waits beside their sessions, or the session of both is known there."""
    places = _places(states, load, events, rows)
    known = states.closed[places] & (states.started_us[places] == events.starts[rows])
    found: Flags = known | _waits(states, places, events.starts[rows])
    return found


def earlier(states: SessionStates, load: Load, fields: pa.Table, events: Events, told: Ints) -> Earlier:
    """Deal with the events of earlier uses; tell of the rest in `told` what becomes of them.

    Of a session there is one opening at the most, and one end, which is later.
    """
    rows = np.flatnonzero(told >= ENDS)
    if not len(rows):
        return Earlier([], rows)
    places = _places(states, load, events, rows)
    ends = told[rows] == ENDS
    records, opened = _open(states, places[~ends], rows[~ends], fields, events, told)
    more, ended = _end(states, places[ends], rows[ends], fields, events, told)
    return Earlier(records + more, np.concatenate([opened, ended]))


def _places(states: SessionStates, load: Load, events: Events, rows: Ints) -> Ints:
    return load(np.ascontiguousarray(states.words(events.sessions[rows]) ^ _BESIDE)) if len(rows) else rows


def _waits(states: SessionStates, places: Ints, starts: Ints) -> Flags:
    """Tell in which places an end waits that is not before a start."""
    waits: Flags = states.has_row(places) & (states.waits_us[places] != NO_TIME) & (starts <= states.waits_us[places])
    return waits


def _open(
    states: SessionStates, places: Ints, rows: Ints, fields: pa.Table, events: Events, told: Ints
) -> tuple[list[pa.Table], Ints]:
    """Return the records of openings whose ends wait, and the openings that begin to wait.

    These are known to be of sessions of which no event came before.
    """
    if not len(rows):
        return [], rows
    taken, closed = states.has_row(places), states.closed[places]
    unheard = np.ones(len(rows), np.bool_)
    unheard[taken] = unheard_of(states, places[taken], events.marks[rows[taken]])
    again = (taken & ~unheard) | (closed & (states.started_us[places] == events.starts[rows]))
    pairs = (told[rows] == OVER) & ~again & _waits(states, places, events.starts[rows])
    new, full = told[rows] == OPENS, taken & ~closed
    told[rows] = np.where(pairs, _DONE, np.where(new & full & ~again, INFERRED, KNOWN))
    records = _paired(states, places[pairs], rows[pairs], fields, events.starts[rows[pairs]])
    puts = ~(again | full)
    places, rows, new = places[puts], rows[puts], new[puts]
    _put(states, places, rows, fields, events)
    states.started_us[places], states.closed[places] = events.starts[rows], ~new
    told[rows[new]] = _DONE
    return records, rows[new]


def _end(
    states: SessionStates, places: Ints, rows: Ints, fields: pa.Table, events: Events, told: Ints
) -> tuple[list[pa.Table], Ints]:
    """Return the records of ends whose openings wait, and the ends that begin to wait."""
    if not len(rows):
        return [], rows
    ends, starts, taken = events.ends[rows], states.started_us[places], states.has_row(places)
    pairs = taken & (starts != NO_TIME) & (starts <= ends)
    again = ~taken & states.closed[places] & (states.ended_us[places] == ends)
    again[taken] = ~unheard_of(states, places[taken], events.marks[rows[taken]])
    of = events.sessions[rows]
    puts = ~(taken | again) & ~states.closed[of] & (states.waits_us[of] != NO_TIME) & (ends > states.waits_us[of])
    told[rows] = np.where(pairs | puts, _DONE, np.where(again, KNOWN, INFERRED))
    records = _paired(states, places[pairs], rows[pairs], fields, starts[pairs])
    _put(states, places[puts], rows[puts], fields, events)
    states.started_us[places[puts]], states.closed[places[puts]] = NO_TIME, False
    return records, rows[puts]


def _put(states: SessionStates, places: Ints, rows: Ints, fields: pa.Table, events: Events) -> None:
    """Let events wait, each in a place that is free."""
    if not len(rows):
        return
    marks: Any = pa.array(events.marks[rows])
    lists = pa.ListArray.from_arrays(pa.array(np.arange(len(rows) + 1), pa.int32()), marks)
    ranks = pa.array(events.kinds[rows].astype(np.int8))
    states.put(places, fields.take(rows).append_column(RANKS, ranks).append_column(MARKS, lists))
    states.ended_us[places], states.changed[places] = NO_END, True


def _paired(states: SessionStates, places: Ints, rows: Ints, fields: pa.Table, starts: Ints) -> list[pa.Table]:
    """Return the records of events and of those that wait for them; of both the end counts more."""
    if not len(rows):
        return []
    waits = states.rows(places)
    first = np.asarray(waits.column(RANKS)) != RANK["close"]
    table, own = joined(waits, fields.take(rows)), np.arange(len(rows))
    both = np.stack([np.where(first, own, own + len(rows)), np.where(first, own + len(rows), own)], axis=1).reshape(-1)
    records = completed(fold(table, both, np.arange(0, len(both), 2)))
    states.drop_rows(places)
    states.closed[places] = states.changed[places] = True
    states.started_us[places] = starts
    states.ended_us[places] = np.asarray(records.column("end_time").cast(pa.int64()))
    return [with_column(records, "batch_position", fields.column("batch_position").take(rows))]
