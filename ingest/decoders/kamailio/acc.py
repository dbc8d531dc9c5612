"""Kamailio: `acc` and `acc_cdrs` written by db_flatstore or syslog.

Which rows become what, and how they are identified, is told in `ingest.decoders.kamailio.records`.
Times are epoch seconds, so no zone is needed. docs/sources/kamailio.md says how to set Kamailio up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import BinaryIO, ClassVar, Final

import numpy as np
import pyarrow as pa

from ingest.decoders.base import RECORD_BYTES_MAX, Decoded
from ingest.decoders.coalescing import Together, lines_together
from ingest.decoders.kamailio import records, walk
from ingest.decoders.kamailio.walk import Said
from ingest.decoders.parallel_blocks import side_by_side
from ingest.decoders.slices import (
    Block,
    Column,
    Faults,
    Flags,
    Ints,
    Lines,
    compute,
    gather,
    read_blocks,
)
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError
from schemas.rejects import Reject, RejectReason

_TRANSACTION: Final = ("method", "from_tag", "to_tag", "callid", "sip_code", "sip_reason", "time")
_TIME_MODE: Final = ("time_sec", "time_usec")
_EXTRA: Final = ("src_user", "src_domain", "src_ip", "dst_ouser", "dst_user", "dst_domain")
_CDR: Final = ("start_time", "end_time", "duration")
_CDR_EXTRA: Final = ("callid", "caller", "callee", "src_ip", "trunk", "setup_time")

# Rows told by their number of columns, for sources without `columns` and `cdr_columns`.
_TRANSACTION_SHAPES: Final = (
    _TRANSACTION,
    _TRANSACTION + _TIME_MODE,
    _TRANSACTION + _EXTRA,
    _TRANSACTION + _TIME_MODE + _EXTRA,
)
_CDR_SHAPES: Final = (_CDR, _CDR + _CDR_EXTRA)

_PIPE: Final = 0x7C
SYSLOG: Final = b"ACC: "
_PAIR = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([^;]*)(?:;|$)")

Convert = Callable[[Mapping[str, Column], int, records.Settings], tuple[pa.Table, Faults]]


class KamailioAcc:
    """Rows of db_flatstore (`|` between fields) and `ACC:` lines of syslog."""

    name: ClassVar = "kamailio-acc"
    summary: ClassVar = "Kamailio acc, missed_calls and acc_cdrs (db_flatstore files or syslog lines)"
    zoned: ClassVar = True
    options: ClassVar = ("columns", "cdr_columns", *records.OPTIONS)

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the rows in order.

        flatstore escapes nothing, so a row with another number of columns than its table's is refused.

        Raises:
            InputError: the stream is UTF-16.
            ConfigurationError: an option cannot be understood.
        """
        chosen = records.settings(source)
        transactions = shapes_of(source, "columns", _TRANSACTION_SHAPES)
        cdrs = shapes_of(source, "cdr_columns", _CDR_SHAPES)

        def sort(rows: Rows) -> None:
            rows.walk(transactions)
            if not rows.todo.any():
                return
            syslog = rows.holding(SYSLOG) & rows.todo
            if syslog.any():
                where = np.flatnonzero(syslog)
                rows.convert(where, rows.syslog_columns(where), records.transactions)
            for width in transactions.keys() | cdrs.keys():
                where = np.flatnonzero(rows.todo & ~syslog & (rows.widths == width))
                if len(where):
                    _flat(rows, where, transactions.get(width, ()), cdrs.get(width, ()))

        return rows_of_blocks(stream, chosen, sort)

    def decode_bodies(self, bodies: Sequence[bytes], source: SourceConfig) -> Together:
        """Return the records of all bodies, and each body's last position; None when they are read one by one."""
        return lines_together(self.decode, bodies, source)


def _flat(rows: Rows, where: Ints, names: tuple[str, ...], cdr_names: tuple[str, ...]) -> None:
    """Convert rows that have as many columns as transactions, CDRs or both; what is of the other kind is left."""
    is_cdr = np.full(len(where), not names)
    if names and cdr_names:
        begun, method = (_place(one, name) for one, name in ((cdr_names, "start_time"), (names, "method")))
        is_cdr = _begins(rows, where, begun, b"09") & ~_begins(rows, where, method, b"AZ")
    elif (names or cdr_names)[0] in (_TRANSACTION[0], *_CDR):
        is_cdr = _begins(rows, where, 0, b"09")
    for some, shape, into in (
        (where[~is_cdr], names, records.transactions),
        (where[is_cdr], cdr_names, records.cdrs),
    ):
        if len(some) and shape:
            rows.convert(some, rows.flat_columns(some, shape), into)


def _place(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else 0


def _begins(rows: Rows, where: Ints, place: int, ends: bytes) -> Flags:
    """Return of which lines the column at a place begins with an octet from one to another."""
    initial = rows.lines.bytes[rows.column_starts(where, place)]
    begins: Flags = (initial >= ends[0]) & (initial <= ends[1])
    return begins


def shapes_of(source: SourceConfig, option: str, known: tuple[tuple[str, ...], ...]) -> dict[int, tuple[str, ...]]:
    """Return column names by number of columns, from the option or as known.

    Raises:
        ConfigurationError: The option's names are empty or not distinct.
    """
    given = source.options.get(option)
    if given is None:
        return {len(names): names for names in known}
    names = tuple(name.strip() for name in given.split(","))
    if not all(names) or len(set(names)) != len(names):
        raise ConfigurationError(f"option {option} must be distinct names with commas between them")
    return {len(names): names}


class Rows:
    """The lines of one block, sorted out by kind and shape; positions count from 1."""

    def __init__(self, block: Block, chosen: records.Settings) -> None:
        self._offset = block.offset
        self._chosen = chosen
        self.lines = lines = Lines(block.data)
        blank = lines.blank()
        if blank.any():
            lines.select(~blank)
        self._positions: Ints = np.arange(1, 1 + len(lines), dtype=np.int64)
        self._faults = Faults(len(lines))
        self._faults.add(lines.ends - lines.starts > RECORD_BYTES_MAX, RejectReason.TOO_LONG)
        self._faults.add(lines.encoding_faults(), RejectReason.ENCODING)
        self._faults.add(~lines.terminated, RejectReason.MALFORMED)
        self.todo: Flags = ~self._faults.mask
        self._tables: list[pa.Table] = []
        self._places: list[Ints] = []

    @cached_property
    def _pipes(self) -> Ints:
        return np.flatnonzero(self.lines.bytes == _PIPE)

    @cached_property
    def _before(self) -> Ints:
        return np.searchsorted(self._pipes, self.lines.starts)

    @cached_property
    def widths(self) -> Ints:
        """How many columns each line has."""
        return np.searchsorted(self._pipes, self.lines.ends) - self._before + 1

    def walk(self, shapes: Mapping[int, tuple[str, ...]]) -> None:
        """Convert the plain transactions among the lines, shapes being names by the number of columns."""
        if shapes and walk.loaded(len(self.lines.data)):
            said = walk.Walk(self.lines, self.todo).rows(shapes, self._chosen)
            self._take(said, walk.table_of)

    def walk_ended(self, shapes: Mapping[int, tuple[str, ...]]) -> None:
        """Convert the plain calls that have ended among the lines, as `walk` does transactions."""
        if shapes and walk.loaded(len(self.lines.data)):
            said = walk.Walk(self.lines, self.todo, ended=True).ended(shapes, self._chosen)
            self._take(said, walk.ended_table_of)

    def _take(self, said: Said, table_of: Callable[[Said, records.Settings], pa.Table]) -> None:
        good = said.good
        if good.any():
            self._tables.append(table_of(said, self._chosen))
            self._places.append(np.flatnonzero(good))
            self.todo &= ~good

    def convert(self, where: Ints, columns: Mapping[str, Column], into: Convert) -> None:
        """Convert some lines, given as columns; those that are refused are noted."""
        table, faults = into(columns, len(where), self._chosen)
        for index, reason, field in faults.found():
            mask = np.zeros(len(self.lines), np.bool_)
            mask[where[index]] = True
            self._faults.add(mask, reason, field)
        self._tables.append(table)
        self._places.append(where)
        self.todo[where] = False

    def decoded(self) -> Decoded:
        """Return the records and rejects; a line that was not converted has a number of columns that no table has."""
        handled = np.zeros(len(self.lines), np.bool_)
        for where in self._places:
            handled[where] = True
        self._faults.add(~handled, RejectReason.COLUMN_COUNT)
        good = ~self._faults.mask
        if good.all():
            kept, where_kept = self._tables, [self._positions[where] for where in self._places]
        else:
            pairs = zip(self._tables, self._places, strict=True)
            kept = [table.filter(pa.array(good[where])) for table, where in pairs]
            where_kept = [self._positions[where[good[where]]] for where in self._places]
        rejects = self._faults.rejects(self._positions, self.lines, self._offset)
        return Decoded(positioned(kept, where_kept), rejects)

    def holding(self, word: bytes) -> Flags:
        """Return which lines hold a word."""
        lines = self.lines
        if word not in lines.data:
            return np.zeros(len(lines), np.bool_)
        return np.fromiter((word in lines.line(index) for index in range(len(lines))), np.bool_, len(lines))

    def syslog_columns(self, where: Ints) -> dict[str, Column]:
        """Return `k=v;k=v` as columns; a name that comes twice, or text between the pairs, spoils the line."""
        rows: list[dict[str, str]] = []
        for index in where:
            text = self.lines.line(int(index)).decode()
            text = text[text.index("ACC: ") :].partition(": ")[2].partition(": ")[2]
            pairs = _PAIR.findall(text)
            found = dict(pairs)
            whole = len(found) == len(pairs) and sum(len(name) + len(value) + 2 for name, value in pairs) in (
                len(text),
                len(text) + 1,
            )
            rows.append(found if whole else {})
        names = sorted(set().union(*rows).intersection(records.COLUMN_NAMES))
        return {name: pa.array([row.get(name) for row in rows], pa.string()) for name in names}

    def column_starts(self, where: Ints, place: int) -> Ints:
        """Return where the column at a place begins in lines that have it."""
        return self.lines.starts[where] if place == 0 else self._pipes[self._before[where] + place - 1] + 1

    def flat_columns(self, where: Ints, names: tuple[str, ...]) -> dict[str, Column]:
        """Return the named columns of lines that all have as many as there are names."""
        lines = self.lines
        ends = np.append(self._pipes, 0)[self._before[where][:, None] + np.arange(len(names))]
        ends[:, -1] = lines.ends[where]
        columns = {}
        for number, name in enumerate(names):
            if name in records.COLUMN_NAMES:
                starts = lines.starts[where] if number == 0 else ends[:, number - 1] + 1
                columns[name] = gather(lines.bytes, starts, ends[:, number])
        return columns


def rows_of_blocks(stream: BinaryIO, chosen: records.Settings, sort: Callable[[Rows], None]) -> Iterator[Decoded]:
    """Return what `sort` converts of each block's lines, two blocks at once.

    Raises:
        InputError: the stream is UTF-16.
    """

    def work(block: Block) -> tuple[int, Decoded]:
        if block.overlong_bytes:
            reject = Reject(1, RejectReason.TOO_LONG, None, block.offset, block.overlong_bytes)
            return 1, Decoded(positioned([], []), [reject])
        rows = Rows(block, chosen)
        if len(rows.lines):
            sort(rows)
        return len(rows.lines), rows.decoded()

    return side_by_side(read_blocks(stream), work)


def positioned(tables: list[pa.Table], positions: list[Ints]) -> pa.Table:
    """Return the tables as one, with `position`, in order of it."""
    if not tables:
        return pa.table({"position": pa.array([], pa.int64())})
    table = pa.concat_tables(tables).append_column("position", pa.array(np.concatenate(positions)))
    return table if len(tables) == 1 else table.take(compute.sort_indices(table["position"]))
