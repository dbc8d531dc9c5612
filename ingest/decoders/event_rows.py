"""Rows of session events on their way into columns, shared by the decoders of logs that tell of openings and ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar, Final, NamedTuple, cast

import numpy as np
import pyarrow as pa

from ingest.decoders.base import CHUNK_ROWS, Decoded, Event
from ingest.decoders.slices import Column, Flags, Ints, Lines, compute, read_blocks
from ingest.lines import Line
from ingest.source import SourceConfig
from schemas.arrow import DELIVERED, TIME_TYPE
from schemas.rejects import Reject, RejectReason

_OWN: Final[dict[str, pa.DataType]] = {"position": pa.int64(), "event": pa.string(), "session_key": pa.string()}


_RETURN: Final = 0x0D


class Walked(NamedTuple):
    """Which lines a walk has read, and their events."""

    taken: Flags
    table: pa.Table


class EventRows:
    """Rows of `names` and rejects, taken line by line; a subclass says what a line tells."""

    names: ClassVar[tuple[str, ...]]
    service_type: ClassVar[str]
    """Where the source names none."""
    line_bytes_max: ClassVar[int]

    def __init__(self, source: SourceConfig) -> None:
        self._source = source
        self.rows: list[tuple[object, ...]] = []
        self.rejects: list[Reject] = []

    def take(self, line: Line) -> None:
        """Take one line in, as an event or a reject."""
        raise NotImplementedError

    def walk(self, lines: Lines, positions: Ints) -> Walked | None:  # noqa: ARG002
        """Return what a compiled walk reads of some lines, just as `take` would; None where there is none."""
        return None

    def read(self, stream: BinaryIO) -> Iterator[Decoded]:
        """Yield the events of the lines in order.

        Raises:
            InputError: the stream is UTF-16.
        """
        position = 0
        for block in read_blocks(stream):
            if block.overlong_bytes:
                position += 1
                length = block.overlong_bytes - (not block.last)
                reason = RejectReason.TOO_LONG
                self.take(Line(position, block.offset, b"", length, reason, not block.last))
                yield from self._flush(None)
                continue
            lines = Lines(block.data)
            lines.select(~lines.blank())
            for first in range(0, len(lines), CHUNK_ROWS):
                part = lines.part(first, first + CHUNK_ROWS)
                yield from self._part(part, position + first, block.offset)
            position += len(lines)

    def _part(self, lines: Lines, position: int, offset: int) -> Iterator[Decoded]:
        positions: Ints = np.arange(position + 1, position + 1 + len(lines), dtype=np.int64)
        walked = self.walk(lines, positions)
        left = np.arange(len(lines)) if walked is None else np.flatnonzero(~walked.taken)
        for index in left.tolist():
            start, data, terminated = int(lines.starts[index]), lines.line(index), bool(lines.terminated[index])
            length = len(data)
            if terminated and lines.data[start + length] == _RETURN:
                length += 1
            reason = RejectReason.TOO_LONG if length > self.line_bytes_max else None
            data = data if reason is None else b""
            self.take(Line(position + 1 + index, offset + start, data, length, reason, terminated))
        yield from self._flush(walked)

    def _flush(self, walked: Walked | None) -> Iterator[Decoded]:
        """Yield what was taken in since the last call, and what a walk has read, in their order."""
        rows, rejects = self.rows, self.rejects
        self.rows, self.rejects = [], []
        tables = [] if walked is None or not walked.table.num_rows else [walked.table]
        if rows:
            tables.append(self._table(rows))
        if not tables:
            yield Decoded(pa.table({"position": pa.array([], pa.int64())}), rejects)
            return
        table = tables[0]
        if len(tables) > 1:
            both = pa.concat_tables(tables, promote_options="default")
            table = both.take(compute.sort_indices(both.column("position")))
        for one in generations(table):
            yield Decoded(one, rejects)
            rejects = []

    def _table(self, rows: list[tuple[object, ...]]) -> pa.Table:
        columns: dict[str, Column] = {}
        for name, values in zip(self.names, [list(one) for one in zip(*rows, strict=True)], strict=True):
            kind: Any = _OWN.get(name) or DELIVERED.field(name).type
            column = pa.array(cast(Any, values), pa.int64() if kind == TIME_TYPE else kind)
            columns[name] = compute.cast(column, kind)
        columns["service_type"] = pa.repeat(self._source.service_type or self.service_type, len(rows))
        return pa.table(columns)


def generations(table: pa.Table) -> Iterator[pa.Table]:
    """Yield the rows so that a translation that begins anew under the same key comes in a later table than its end."""
    codes = compute.dictionary_encode(table.column("session_key").combine_chunks()).indices.to_numpy()
    positions = table.column("position").to_numpy()
    closes = np.asarray(compute.equal(table.column("event"), Event.CLOSE.value)).astype(np.int64)
    order = np.lexsort((positions, codes))
    before = np.cumsum(closes[order]) - closes[order]
    sorted_codes = codes[order]
    first = np.searchsorted(sorted_codes, sorted_codes)
    number = np.empty(len(order), np.int64)
    number[order] = before - before[first]
    if not number.any():
        yield table
        return
    by_number = np.argsort(number, kind="stable")
    bounds = np.flatnonzero(np.diff(number[by_number])) + 1
    for rows in np.split(by_number, bounds):
        yield compute.take(table, pa.array(np.sort(rows)))
