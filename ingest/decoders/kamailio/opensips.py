"""OpenSIPS: `acc` and `missed_calls` written by db_flatstore, and `ACC:` lines of syslog.

With the flag `cdr`, an answered call is one row or line (`call ended`), written at its end: a record. Without it, it is
an INVITE and a BYE, folded as Kamailio's are. Failed attempts and missed calls are records either way.

Which rows become what, and how they are identified, is told in `ingest.decoders.kamailio.records`: the two programs
have one ancestor and mean the same. Times are epoch seconds, so no zone is needed. docs/sources/opensips.md says how to
set OpenSIPS up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, ClassVar, Final

import numpy as np

from ingest.decoders.base import Decoded
from ingest.decoders.coalescing import Together, lines_together
from ingest.decoders.kamailio import records
from ingest.decoders.kamailio.acc import SYSLOG, Rows, rows_of_blocks, shapes_of
from ingest.decoders.slices import Ints
from ingest.source_config import SourceConfig

_TRANSACTION: Final = ("method", "from_tag", "to_tag", "callid", "sip_code", "sip_reason", "time")
_CDR: Final = ("duration", "ms_duration", "setuptime", "created")
_SHAPES: Final = (_TRANSACTION, _TRANSACTION + _CDR)
_ENDED: Final = b"ACC: call ended: "
_DURATIONS: Final = frozenset({"duration", "ms_duration"})


class OpensipsAcc:
    """Rows of db_flatstore (`|` between fields) and `ACC:` lines of syslog."""

    name: ClassVar = "opensips-acc"
    summary: ClassVar = "OpenSIPS acc, missed_calls and CDRs (db_flatstore files or syslog lines)"
    zoned: ClassVar = True
    options: ClassVar = ("columns", "identity")

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the rows in order.

        flatstore escapes nothing, so a row with another number of columns than its table's is refused.

        Raises:
            InputError: the stream is UTF-16.
            ConfigurationError: an option cannot be understood.
        """
        chosen = records.settings(source)
        shapes = shapes_of(source, "columns", _SHAPES)
        calls = {width: names for width, names in shapes.items() if _DURATIONS & set(names)}
        transactions = {width: names for width, names in shapes.items() if width not in calls}

        def sort(rows: Rows) -> None:
            rows.walk_ended(calls)
            if rows.todo.any():
                rows.walk(transactions)
            if not rows.todo.any():
                return
            ended = rows.holding(_ENDED) & rows.todo
            others = rows.holding(SYSLOG) & rows.todo & ~ended
            for lines, into in ((ended, records.ended_calls), (others, records.transactions)):
                if lines.any():
                    where = np.flatnonzero(lines)
                    rows.convert(where, rows.syslog_columns(where), into)
            for width, names in shapes.items():
                flat = rows.todo & (rows.widths == width)
                _flat(rows, np.flatnonzero(flat), names)

        return rows_of_blocks(stream, chosen, sort)

    def decode_bodies(self, bodies: Sequence[bytes], source: SourceConfig) -> Together:
        """Return the records of all bodies, and each body's last position; None when they are read one by one."""
        return lines_together(self.decode, bodies, source)


def _flat(rows: Rows, where: Ints, names: tuple[str, ...]) -> None:
    """Convert rows of one table: with a duration, an INVITE that succeeded is a call that has ended."""
    if not len(where):
        return
    ended = np.zeros(len(where), np.bool_)
    if _DURATIONS & set(names):
        ended = records.succeeded(rows.flat_columns(where, names), len(where))
    for some, into in ((where[ended], records.ended_calls), (where[~ended], records.transactions)):
        if len(some):
            rows.convert(some, rows.flat_columns(some, names), into)
