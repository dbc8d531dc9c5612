"""What each event means to its session, before it is folded: it says something, is complete, belongs to an earlier use.

A key may be used again and again. Of a session that ended its start and end are remembered, of one that runs its
start, and when the use before it ended; so events of an earlier use are told apart by their times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from store.open_sessions.session_numbers import NO_TIME, RANK, fresh
from store.open_sessions.session_rows import MARKS
from store.open_sessions.session_states import NO_END, SessionStates

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

KNOWN, DIRECT, TAKEN, INFERRED = range(4)
"""It came before or too late; it is a record; it is folded; it is a record of which the other end is inferred."""
_EARLIER: Final = 4
"""Of an earlier use: with its other event it is a record, alone it is known."""

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
    opening: Ints
    """Rows of openings of earlier uses of which `closing` has the ends, a pair each."""
    closing: Ints
    left: pa.Table | None
    """The fields of sessions that never closed, for their key is used anew."""
    left_by: Ints
    """By which rows."""


def fates(states: SessionStates, events: Events) -> Fates:
    """Tell what becomes of events; sessions that begin anew or wake are noted in `states`.

    An opening after the end of its session uses the key anew; at that instant too, where the session is known to have
    begun at another. A true end wakes a session that was closed by timeout, and the dedup of records decides between
    the two ends. A later opening of a session that runs uses the key anew, and what ran has lost its end; so does an
    opening later than an end that waits for its own. Beside an end that waits another one is a record; if its turn has
    such an opening it is the end of that.
    """
    nothing = np.zeros(0, np.int64)
    sessions, told = events.sessions, np.full(len(events.sessions), TAKEN)
    closed, has_start = states.closed[sessions], events.starts != NO_TIME
    opens, closes = events.kinds == RANK["open"], events.kinds == RANK["close"]
    if not (closed.any() or states.has_row(sessions).any()):
        return Fates(told, nothing, nothing, None, nothing)
    told[closed] = np.where(closes | opens, np.where(closes & has_start, DIRECT, _EARLIER), KNOWN)[closed]
    starts, ended = states.started_us[sessions], states.ended_us[sessions]
    anew = (events.starts == ended) & (starts != NO_TIME) & (events.starts != starts)
    anew = closed & opens & has_start & (anew | (events.starts > ended))
    openings, endings = ~closed & opens & has_start, ~closed & closes & (events.ends != NO_TIME)
    waits = np.where(openings | endings, states.waits_us[sessions], NO_TIME)
    begun = np.where(endings | (waits < events.starts), waits, NO_TIME)
    begun = np.where(starts != NO_TIME, np.where(endings, NO_TIME, starts), begun)
    at = np.where(openings, events.starts, events.ends)
    odd = np.flatnonzero((openings | endings) & (begun != NO_TIME) & (at != begun))
    unheard = odd[_unheard(states, sessions[odd], events.marks[odd])]
    told[odd] = KNOWN
    told[unheard] = np.where(endings & has_start, DIRECT, np.where(endings, INFERRED, KNOWN))[unheard]
    anew[unheard[(openings & (events.starts > begun))[unheard]]] = True
    wakes = closed & closes & states.has_row(sessions)
    left, left_by = _turn(states, events, begun, anew, wakes, told)
    _tell_earlier(states, events, unheard, told)
    opening, closing = _pairs(states, events, told)
    told[told == _EARLIER] = KNOWN
    told[np.minimum(opening, closing)], told[np.maximum(opening, closing)] = KNOWN, DIRECT
    return Fates(told, opening, closing, left, left_by)


def _turn(
    states: SessionStates, events: Events, begun: Ints, anew: Flags, wakes: Flags, told: Ints
) -> tuple[pa.Table | None, Ints]:
    """Begin sessions anew and wake them; what follows is taken. Return what was left without an end, and by whom.

    Of what was left `begun` has its start, or its end where it has no start. An end before an opening that begins its
    session anew beside one that waits is the opening's.
    """
    if not (anew.any() or wakes.any()):
        return None, np.zeros(0, np.int64)
    beside = np.zeros(len(states), np.bool_)
    beside[events.sessions[anew]] = states.waits_us[events.sessions[anew]] != NO_TIME
    own = beside[events.sessions] & (events.kinds == RANK["close"])
    turns = np.flatnonzero(anew | (wakes & ~own))
    turned, first = np.unique(events.sessions[turns], return_index=True)
    rows = turns[first]
    since = np.full(len(states), len(told))
    since[turned] = rows
    told[own | (np.arange(len(told)) >= since[events.sessions])] = TAKEN
    begins = events.kinds[rows] == RANK["open"]
    lost = begins & ~states.closed[turned]
    left = states.rows(turned[lost]) if lost.any() else None
    states.closed[turned] = False
    states.ended_us[turned[lost]] = begun[rows[lost]]
    states.drop_rows(turned[begins])
    states.started_us[turned[begins]] = events.starts[rows[begins]]
    states.ended_us[turned[~begins]] = NO_END
    return left, rows[lost]


def _tell_earlier(states: SessionStates, events: Events, unheard: Ints, told: Ints) -> None:
    """Tell which events of sessions that run are of an earlier use."""
    runs = (told == TAKEN) | (told == KNOWN)
    starts, ended = states.started_us[events.sessions], states.ended_us[events.sessions]
    follows = ended != NO_END
    opens, closes = events.kinds == RANK["open"], events.kinds == RANK["close"]
    has_start, has_end = events.starts != NO_TIME, events.ends != NO_TIME
    runs &= ~states.closed[events.sessions] & (starts != NO_TIME)
    before = runs & has_end & ((follows & (events.ends <= ended)) | (events.ends < starts))
    told[before & closes & has_start] = DIRECT
    alone = before & closes & ~has_start
    told[alone] = np.where(follows & (events.ends <= ended), _EARLIER, INFERRED)[alone]
    update = runs & (events.kinds < RANK["open"]) & has_start & follows & (events.starts < ended)
    told[update & (~has_end | (events.ends <= ended))] = KNOWN
    new = np.zeros(len(told), np.bool_)
    new[unheard] = True
    early = runs & opens & has_start & (events.starts < starts)
    told[early] = np.where(follows & (events.starts <= ended), _EARLIER, np.where(new, INFERRED, KNOWN))[early]


def _pairs(states: SessionStates, events: Events, told: Ints) -> tuple[Ints, Ints]:
    """Return openings and ends of earlier uses that belong together; a turn has one of each at the most."""
    some = (told == _EARLIER) | (told == INFERRED)
    opens = np.flatnonzero(some & (events.kinds == RANK["open"]) & (events.starts != NO_TIME))
    closes = np.flatnonzero(some & (events.kinds == RANK["close"]) & (events.ends != NO_TIME))
    if not (len(opens) and len(closes)):
        return opens[:0], closes[:0]
    opening = np.full(len(states), -1)
    opening[events.sessions[opens]] = opens
    partners, ended = opening[events.sessions[closes]], states.ended_us[events.sessions[closes]]
    both = (partners >= 0) & (events.starts[partners] <= events.ends[closes])
    both &= ~states.closed[events.sessions[closes]] | (events.ends[closes] <= ended)
    return partners[both], closes[both]


def _unheard(states: SessionStates, sessions: Ints, marks: Marks) -> Flags:
    """Tell which marks are new to their sessions, all of which run."""
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
