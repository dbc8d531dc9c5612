"""Rows of session events on their way into columns, shared by the decoders of logs that tell of openings and ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar, Final, NamedTuple, cast

import numpy as np
import pyarrow as pa

from ingest.decoders.base import CHUNK_ROWS, Decoded
from ingest.decoders.slices import Column, Flags, Ints, Lines, compute, read_blocks
from ingest.lines import Line
from ingest.source_config import SourceConfig
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
        yield Decoded(tables[0] if len(tables) == 1 else by_position(tables), rejects)

    def _table(self, rows: list[tuple[object, ...]]) -> pa.Table:
        columns: dict[str, Column] = {}
        for name, values in zip(self.names, [list(one) for one in zip(*rows, strict=True)], strict=True):
            kind: Any = _OWN.get(name) or DELIVERED.field(name).type
            column = pa.array(cast(Any, values), pa.int64() if kind == TIME_TYPE else kind)
            columns[name] = compute.cast(column, kind)
        columns["service_type"] = pa.repeat(self._source.service_type or self.service_type, len(rows))
        return pa.table(columns)


def by_position(tables: list[pa.Table]) -> pa.Table:
    """Return the events of several tables in the order of the delivery, which tells where a key is used anew."""
    table = pa.concat_tables(tables, promote_options="default")
    return table.take(compute.sort_indices(table.column("position")))
