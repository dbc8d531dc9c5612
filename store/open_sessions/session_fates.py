"""What each event means to its session, before it is folded: it says something, is complete, belongs to an earlier use.

A key may be used again and again. Of a session that ended its start and end are remembered, of one that runs its
start, and when the use before it ended; so events of an earlier use are told apart by their times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from store.open_sessions.session_numbers import NO_TIME, RANK, fresh
from store.open_sessions.session_rows import MARKS
from store.open_sessions.session_states import NO_END, SessionStates

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

KNOWN, DIRECT, TAKEN, INFERRED, ENDS, OPENS, REPEATS, OVER = range(8)
"""It came before or too late; it is a record; it is folded; it is a record of which the other end is inferred.

The rest are of an earlier use (`store.open_sessions.earlier_uses`): an end, an opening, one that may have come before.
The last is an opening whose end is told beside one that waits.
"""

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Marks = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Events:
    """A stretch of events, row for row: session, kind (as rank, -1 for none), mark, start, end in µs.

    The end of an update is its own time, where its start and its duration tell that.
    """

    sessions: Ints
    kinds: Ints
    marks: Marks
    starts: Ints
    ends: Ints

    def of(self, rows: Ints) -> Events:
        """Return some rows."""
        return Events(self.sessions[rows], self.kinds[rows], self.marks[rows], self.starts[rows], self.ends[rows])


class Fates(NamedTuple):
    """What becomes of the events of a turn (`store.open_sessions.session_numbers.turns`)."""

    fates: Ints
    left: pa.Table | None
    """The fields of sessions that never closed, for their key is used anew."""
    left_by: Ints
    """By which rows."""
    woken: Ints
    """Sessions that were closed by timeout and are told an end; where that is known they sleep on."""
    slept_us: Ints
    """Their ends so far."""


def fates(states: SessionStates, events: Events, has_end: Callable[[Ints], Flags]) -> Fates:
    """Tell what becomes of events; sessions that begin anew or wake are noted in `states`.

    An opening after the end of its session uses the key anew; at that instant too, where the session is known to have
    begun at another. A true end wakes a session that was closed by timeout, and the dedup of records decides between
    the two ends. A later opening of a session that runs uses the key anew, and what ran has lost its end; so does an
    opening later than an end that waits for its own, unless `has_end` says of its row that its own end is told.
    """
    nothing = np.zeros(0, np.int64)
    sessions, told = events.sessions, np.full(len(events.sessions), TAKEN)
    closed, has_start = states.closed[sessions], events.starts != NO_TIME
    opens, closes = events.kinds == RANK["open"], events.kinds == RANK["close"]
    if not (closed.any() or states.has_row(sessions).any()):
        return Fates(told, None, nothing, nothing, nothing)
    starts, ended = states.started_us[sessions], states.ended_us[sessions]
    same = np.where(opens, events.starts == starts, ~has_start & (events.ends == ended))
    late = np.where(opens, REPEATS, np.where(has_start, DIRECT, ENDS))
    told[closed] = np.where((opens | closes) & ~same, late, KNOWN)[closed]
    anew = (events.starts == ended) & (starts != NO_TIME) & (events.starts != starts)
    anew = closed & opens & has_start & (anew | (events.starts > ended))
    openings, endings = ~closed & opens & has_start, ~closed & closes & (events.ends != NO_TIME)
    waits = np.where(openings | endings, states.waits_us[sessions], NO_TIME)
    begun = np.where(endings | (waits < events.starts), waits, NO_TIME)
    begun = np.where(starts != NO_TIME, np.where(endings, NO_TIME, starts), begun)
    at = np.where(openings, events.starts, events.ends)
    odd = np.flatnonzero((openings | endings) & (begun != NO_TIME) & (at != begun))
    unheard = odd[unheard_of(states, sessions[odd], events.marks[odd])]
    told[odd] = KNOWN
    told[unheard] = np.where(endings & has_start, DIRECT, np.where(endings, ENDS, KNOWN))[unheard]
    later = unheard[(openings & (events.starts > begun))[unheard]]
    over = waits[later] != NO_TIME
    over[over] = has_end(later[over])
    told[later[over]] = OVER
    anew[later[~over]] = True
    wakes = closed & closes & states.has_row(sessions)
    turned = _turn(states, events, begun, anew, wakes, told)
    _tell_earlier(states, events, unheard, told)
    return turned


def _turn(states: SessionStates, events: Events, begun: Ints, anew: Flags, wakes: Flags, told: Ints) -> Fates:
    """Begin sessions anew and wake them; what follows is taken.

    Of what was left `begun` has its start, or its end where it has no start.
    """
    nothing = np.zeros(0, np.int64)
    if not (anew.any() or wakes.any()):
        return Fates(told, None, nothing, nothing, nothing)
    turns = np.flatnonzero(anew | wakes)
    turned, first = np.unique(events.sessions[turns], return_index=True)
    rows = turns[first]
    since = np.full(len(states), len(told))
    since[turned] = rows
    told[np.arange(len(told)) >= since[events.sessions]] = TAKEN
    begins = events.kinds[rows] == RANK["open"]
    lost, woken = begins & ~states.closed[turned], turned[~begins]
    left = states.rows(turned[lost]) if lost.any() else None
    slept_us = states.ended_us[woken]
    states.closed[turned] = False
    states.ended_us[turned[lost]] = begun[rows[lost]]
    states.drop_rows(turned[begins])
    states.started_us[turned[begins]] = events.starts[rows[begins]]
    states.ended_us[woken] = NO_END
    return Fates(told, left, rows[lost], woken, slept_us)


def _tell_earlier(states: SessionStates, events: Events, unheard: Ints, told: Ints) -> None:
    """Tell which events of sessions that run are of an earlier use."""
    runs = (told == TAKEN) | (told == KNOWN)
    starts, ended = states.started_us[events.sessions], states.ended_us[events.sessions]
    follows = ended != NO_END
    opens, closes = events.kinds == RANK["open"], events.kinds == RANK["close"]
    has_start, has_end = events.starts != NO_TIME, events.ends != NO_TIME
    runs &= ~states.closed[events.sessions] & (starts != NO_TIME)
    before = runs & has_end & ((follows & (events.ends <= ended)) | (events.ends < starts))
    told[before & closes] = np.where(has_start, DIRECT, ENDS)[before & closes]
    update = runs & (events.kinds < RANK["open"]) & has_start & follows & (events.starts < ended)
    told[update & (~has_end | (events.ends <= ended))] = KNOWN
    new = np.zeros(len(told), np.bool_)
    new[unheard] = True
    early = runs & opens & has_start & (events.starts < starts)
    told[early] = np.where(follows & (events.starts <= ended), REPEATS, np.where(new, OPENS, KNOWN))[early]


def unheard_of(states: SessionStates, sessions: Ints, marks: Marks) -> Flags:
    """Tell which marks are new to their sessions, all of which have fields."""
    if not len(sessions):
        return np.zeros(0, np.bool_)
    distinct = np.unique(sessions)
    owners, known = marks_of(distinct, states.rows(distinct))
    return fresh(np.concatenate([owners, sessions]), np.concatenate([known, marks]))[len(owners) :]


def marks_of(places: Ints, rows: pa.Table) -> tuple[Ints, Marks]:
    """Return whose marks are known, by place, and the marks."""
    seen: Any = rows.column(MARKS).combine_chunks()
    counts = np.asarray(pc.list_value_length(seen)).astype(np.int64)
    return np.repeat(places, counts), np.asarray(seen.flatten())
