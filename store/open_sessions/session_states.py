"""What one batch knows of its sessions, in columns: a number each, and their fields while they are open.

A session's fields stand in one of some blocks of rows. A later word writes them anew in a later block; blocks of about
the same size are joined, and rows that nobody points to are left out then. So a row is copied a few times, however
many stretches a delivery has.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from store.identities.prf import Words
from store.open_sessions.session_numbers import NO_TIME, RANK, SessionNumbers, gather
from store.open_sessions.session_rows import MARKS, RANKS

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

NO_END: Final = np.iinfo(np.int64).max
"""The end of a session that has none, or whose end no event said."""
_NOWHERE: Final = -1
_ROWS_MIN: Final = 1024


class SessionStates:
    """Sessions by number; the columns may be written to through numbers."""

    def __init__(self) -> None:
        self._numbers = SessionNumbers()
        self.newest_batch = 0
        """The newest batch before anything was read; what no later one changed is as it was read."""
        self.stored: dict[int, bytes] = {}
        """The sealed bytes that were read, to notice a change by somebody else."""
        self.remembered: dict[int, int] = {}
        """The batch in which a session ended, of those that are remembered; to notice the same."""
        self.closed: Flags = np.zeros(0, np.bool_)
        self.changed: Flags = np.zeros(0, np.bool_)
        self.ended_us: Ints = np.zeros(0, np.int64)
        """The end of a session that ended; of one that runs, the end of the use of its key before."""
        self.started_us: Ints = np.zeros(0, np.int64)
        """The start of a session that ended; of one that runs, what its opening told."""
        self.waits_us: Ints = np.zeros(0, np.int64)
        """The end that waits for its opening, of a session that has nothing else."""
        self._block: Ints = np.zeros(0, np.int64)
        self._row: Ints = np.zeros(0, np.int64)
        self._scratch: Ints = np.zeros(0, np.int64)
        self._blocks: dict[int, tuple[pa.Table, Ints]] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, tags: Words) -> Ints:
        """Return the numbers of sessions; new ones are open, and nothing is known of them."""
        numbers = self._numbers.of(tags)
        if len(self) > len(self.closed):
            room = max(_ROWS_MIN, 2 * len(self)) - len(self.closed)
            self.closed = np.append(self.closed, np.zeros(room, np.bool_))
            self.changed = np.append(self.changed, np.zeros(room, np.bool_))
            self.ended_us = np.append(self.ended_us, np.full(room, NO_END, np.int64))
            self.started_us = np.append(self.started_us, np.full(room, NO_TIME, np.int64))
            self.waits_us = np.append(self.waits_us, np.full(room, NO_TIME, np.int64))
            self._block = np.append(self._block, np.full(room, _NOWHERE, np.int64))
            self._row = np.append(self._row, np.zeros(room, np.int64))
            self._scratch = np.append(self._scratch, np.full(room, -1, np.int64))
        return numbers

    def tags(self, numbers: Ints) -> list[bytes]:
        """Return the tags of sessions."""
        octets = self._numbers.tags[numbers].tobytes()
        return [octets[at : at + 16] for at in range(0, len(octets), 16)]

    def cuts(self, numbers: Ints) -> Ints:
        """Return the first 64 bits of the tags of sessions."""
        cuts: Ints = self._numbers.tags[numbers, 0].view(">i8").astype(np.int64)
        return cuts

    def gather(self, numbers: Ints) -> tuple[Ints, Ints]:
        """Return for every row the place of its session among the distinct ones, and these, as they come."""
        return gather(numbers, self._scratch)

    def has_row(self, numbers: Ints) -> Flags:
        """Tell of which sessions fields are known."""
        known: Flags = self._block[numbers] != _NOWHERE
        return known

    def times_us(self, numbers: Ints) -> tuple[Ints, Ints, Ints]:
        """Return what is known of sessions: the start, the end that waits for one, the end before (or `NO_TIME`)."""
        ended = self.ended_us[numbers]
        return self.started_us[numbers], self.waits_us[numbers], np.where(ended == NO_END, NO_TIME, ended)

    def words(self, numbers: Ints) -> Words:
        """Return the tags of sessions, two words each."""
        found: Words = self._numbers.tags[numbers]
        return found

    def unknown(self, numbers: Ints) -> Flags:
        """Tell of which sessions nothing is known: neither that they run, nor that they ended, nor a use before."""
        known = self.closed[numbers] | self.has_row(numbers) | (self.ended_us[numbers] != NO_END)
        unknown: Flags = ~known
        return unknown

    def rows(self, numbers: Ints) -> pa.Table:
        """Return the fields of sessions that have some, with `marks` and `rank`."""
        blocks = np.unique(self._block[numbers]).tolist()
        if not blocks:
            return pa.table({MARKS: pa.array([], pa.list_(pa.uint64())), RANKS: pa.array([], pa.int8())})
        tables = [self._blocks[block][0] for block in blocks]
        before = np.cumsum([0, *(table.num_rows for table in tables)])
        places = before[np.searchsorted(blocks, self._block[numbers])] + self._row[numbers]
        joined = tables[0] if len(tables) == 1 else pa.concat_tables(tables, promote_options="default")
        return joined.take(places)

    def put(self, numbers: Ints, rows: pa.Table) -> None:
        """Set the fields of sessions, a row each; labels may be encoded."""
        if not len(numbers):
            return
        self.waits_us[numbers] = _waiting(rows)
        self._write(numbers, _plain(rows))
        while len(self._blocks) > 1:
            (before, last) = list(self._blocks)[-2:]
            if self._blocks[before][0].num_rows > 2 * self._blocks[last][0].num_rows:
                break
            owners = np.concatenate([self._live(before), self._live(last)])
            joined = self.rows(owners) if len(owners) else None
            del self._blocks[before], self._blocks[last]
            if joined is not None:
                self._write(owners, joined.combine_chunks())

    def drop_rows(self, numbers: Ints) -> None:
        """Forget the fields of sessions."""
        self.waits_us[numbers] = NO_TIME
        self._block[numbers] = _NOWHERE

    def _write(self, numbers: Ints, rows: pa.Table) -> None:
        self._blocks[self._next] = (rows, numbers)
        self._block[numbers], self._row[numbers] = self._next, np.arange(len(numbers))
        self._next += 1

    def _live(self, block: int) -> Ints:
        """Return the sessions whose fields stand in a block."""
        owners = self._blocks[block][1]
        live: Ints = owners[(self._block[owners] == block) & (self._row[owners] == np.arange(len(owners)))]
        return live


def _waiting(rows: pa.Table) -> Ints:
    """Return of each row the end that waits for its opening, or `NO_TIME`."""
    if "end_time" not in rows.column_names:
        return np.full(rows.num_rows, NO_TIME)
    ends = np.asarray(pc.fill_null(rows.column("end_time").cast(pa.int64()), NO_TIME))
    return np.where(np.asarray(rows.column(RANKS)) == RANK["close"], ends, NO_TIME)


def _plain(rows: Any) -> pa.Table:
    """Return the rows with labels as plain texts."""
    fields = [field.with_type(pa.string()) if pa.types.is_dictionary(field.type) else field for field in rows.schema]
    plain: pa.Table = rows.cast(pa.schema(fields)).combine_chunks()
    return plain
