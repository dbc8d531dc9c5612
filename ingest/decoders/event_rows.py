"""Rows of session events on their way into columns, shared by the decoders of logs that tell of openings and ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar, Final, cast

import numpy as np
import pyarrow as pa

from ingest.decoders.base import CHUNK_ROWS, Decoded, Event
from ingest.decoders.slices import Column, compute
from ingest.lines import Line, read_lines
from ingest.source import SourceConfig
from schemas.arrow import DELIVERED, TIME_TYPE
from schemas.rejects import Reject

_OWN: Final[dict[str, pa.DataType]] = {"position": pa.int64(), "event": pa.string(), "session_key": pa.string()}


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

    def read(self, stream: BinaryIO) -> Iterator[Decoded]:
        """Yield the events of the lines in order.

        Raises:
            InputError: the stream is UTF-16.
        """
        for line in read_lines(stream, bytes_max=self.line_bytes_max):
            self.take(line)
            if len(self.rows) + len(self.rejects) >= CHUNK_ROWS:
                yield from self.flush()
        yield from self.flush()

    def flush(self) -> Iterator[Decoded]:
        """Yield what was taken in since the last call."""
        rows, rejects = self.rows, self.rejects
        self.rows, self.rejects = [], []
        if not rows:
            yield Decoded(pa.table({"position": pa.array([], pa.int64())}), rejects)
            return
        columns: dict[str, Column] = {}
        for name, values in zip(self.names, [list(one) for one in zip(*rows, strict=True)], strict=True):
            kind: Any = _OWN.get(name) or DELIVERED.field(name).type
            column = pa.array(cast(Any, values), pa.int64() if kind == TIME_TYPE else kind)
            columns[name] = compute.cast(column, kind)
        columns["service_type"] = pa.repeat(self._source.service_type or self.service_type, len(rows))
        for table in generations(pa.table(columns)):
            yield Decoded(table, rejects)
            rejects = []


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
