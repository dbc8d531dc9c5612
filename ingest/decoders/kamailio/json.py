"""Kamailio: the bodies that `acc_json` queues, as a queue or an HTTP client delivers them.

Plain transactions, one a line, are walked where they stand; everything else, with the same result, is read one by one.
Which rows become what, and how they are identified, is told in
`ingest.decoders.kamailio.records`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, ClassVar

import numpy as np
import orjson
import pyarrow as pa

from ingest.decoders.base import RECORD_BYTES_MAX, Decoded
from ingest.decoders.coalescing import Together, lines_together
from ingest.decoders.kamailio import records, walk
from ingest.decoders.kamailio.acc import positioned
from ingest.decoders.parallel_blocks import side_by_side
from ingest.decoders.slices import UTF8_BOM, Block, Column, Faults, Ints, Lines, is_utf8, read_blocks
from ingest.source_config import SourceConfig
from schemas.rejects import Reject, RejectReason


class KamailioJson:
    """Bodies that `acc_json` queues: transactions, and CDRs with every value a string."""

    name: ClassVar = "kamailio-json"
    summary: ClassVar = "Kamailio acc_json bodies: one per line, one alone, or path TAB content type TAB body"
    zoned: ClassVar = True
    options: ClassVar = records.OPTIONS

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Return the bodies in order.

        A delivery of up to one block may also be a single JSON object over several lines, or an array of bodies.

        Raises:
            InputError: the stream is UTF-16.
            ConfigurationError: an option cannot be understood.
        """
        chosen = records.settings(source)
        return side_by_side(read_blocks(stream), lambda block: _decoded(block, chosen))

    def decode_bodies(self, bodies: Sequence[bytes], source: SourceConfig) -> Together:
        """Return the records of all bodies, and each body's last position; None when they are read one by one."""
        return lines_together(self.decode, [body + b"\n" for body in bodies], source)


def _decoded(block: Block, chosen: records.Settings) -> tuple[int, Decoded]:
    """Return how many bodies a block has, and their records and rejects."""
    if block.overlong_bytes:
        reject = Reject(1, RejectReason.TOO_LONG, None, block.offset, block.overlong_bytes)
        return 1, Decoded(positioned([], []), [reject])
    bodies = _Bodies(chosen)
    whole = _whole(block.data) if block.last and block.offset <= len(UTF8_BOM) else None
    if whole is None and walk.loaded(len(block.data)) and is_utf8(block.data):
        bodies.walk_lines(block)
    elif whole is None:
        bodies.read_lines(block)
    else:
        for body in whole:
            bodies.add(body, 0, orjson.dumps(body))
    return bodies.position, bodies.decoded()


def _whole(data: bytes) -> list[Any] | None:
    """Return the bodies of a delivery that is one JSON value rather than one per line, or None."""
    text = data.strip()
    if not text.startswith((b"{", b"[")) or (text.startswith(b"{") and b"\n" not in text):
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, list) else [value]


class _Bodies:
    """Bodies on their way into columns, one list per column and kind."""

    def __init__(self, chosen: records.Settings) -> None:
        self.position = 0
        self.chosen = chosen
        self.rejects: list[Reject] = []
        self.positions: list[int] = []
        self._kinds: dict[bool, tuple[list[dict[str, Any]], list[int]]] = {True: ([], []), False: ([], [])}
        self._origin: list[tuple[int, bytes]] = []
        self._walked: list[tuple[pa.Table, Ints]] = []

    def walk_lines(self, block: Block) -> None:
        """Read one body per line, the plain ones by compiled loops."""
        lines = Lines(block.data)
        lines.select(~lines.blank())
        first = self.position + 1
        said = walk.Walk(lines, lines.ends - lines.starts <= RECORD_BYTES_MAX).bodies(self.chosen)
        for row in np.flatnonzero(~said.good).tolist():
            start, line = int(lines.starts[row]), lines.line(row)
            if block.data[start + len(line) : start + len(line) + 1] == b"\r":
                line += b"\r"
            self.position = first + row - 1
            self._read_line(line, block.offset + start)
        self.position = first + len(lines) - 1
        if said.good.any():
            own = np.flatnonzero(said.good) + first
            self._walked.append((walk.table_of(said, self.chosen), own))
            self.positions += own.tolist()

    def read_lines(self, block: Block) -> None:
        """Read one body per line."""
        offset = block.offset
        for line in block.data.split(b"\n"):
            if line and not line.isspace():
                self._read_line(line, offset)
            offset += len(line) + 1

    def _read_line(self, line: bytes, offset: int) -> None:
        self._read(line if line.startswith(b"{") else _body(line), offset, line)

    def _read(self, body: bytes, offset: int, line: bytes) -> None:
        if len(body) > RECORD_BYTES_MAX:
            self._reject(RejectReason.TOO_LONG, None, offset, line)
            return
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            reason = RejectReason.MALFORMED if is_utf8(body) else RejectReason.ENCODING
            self._reject(reason, None, offset, line)
            return
        self.add(value, offset, line)

    def add(self, body: Any, offset: int, raw: bytes) -> None:
        """Take one parsed body."""
        if not isinstance(body, dict):
            self._reject(RejectReason.MALFORMED, None, offset, raw)
            return
        is_cdr = "start_time" in body
        if not is_cdr and "method" not in body:
            self._reject(RejectReason.MISSING_FIELD, "method", offset, raw)
            return
        self.position += 1
        self.positions.append(self.position)
        bodies, places = self._kinds[is_cdr]
        bodies.append(body)
        places.append(len(self._origin))
        self._origin.append((offset, raw))

    def _reject(self, reason: RejectReason, field: str | None, offset: int, raw: bytes) -> None:
        self.position += 1
        kept = raw if len(raw) <= RECORD_BYTES_MAX else None
        self.rejects.append(Reject(self.position, reason, field, offset, len(raw), kept))

    def decoded(self) -> Decoded:
        """Return the block's records and rejects."""
        tables, positions = [table for table, _ in self._walked], [own for _, own in self._walked]
        for is_cdr, into in ((False, records.transactions), (True, records.cdrs)):
            bodies, places = self._kinds[is_cdr]
            if not bodies:
                continue
            names = sorted(set().union(*bodies).intersection(records.COLUMN_NAMES))
            wrong = Faults(len(bodies))
            columns = {name: _texts([body.get(name) for body in bodies], name, wrong) for name in names}
            table, faults = into(columns, len(bodies), self.chosen)
            faults.override(wrong)
            own = np.array([self.positions[place] for place in places], np.int64)
            for index, reason, field in faults.found():
                offset, raw = self._origin[places[index]]
                self.rejects.append(Reject(int(own[index]), reason, field, offset, len(raw), raw))
            tables.append(table.filter(pa.array(~faults.mask)))
            positions.append(own[~faults.mask])
        return Decoded(positioned(tables, positions), sorted(self.rejects, key=lambda one: one.position))


def _texts(values: list[Any], name: str, wrong: Faults) -> Column:
    """Return JSON values as texts; what is neither text nor number is null, and told in `wrong`."""
    if type(values[0]) is int:
        try:
            return pa.array(values, pa.int64()).cast(pa.string())
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            pass  # mixed with texts: one by one
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        bad = np.array([type(value) not in {str, int, float, type(None)} for value in values])
        wrong.add(bad, RejectReason.BAD_FIELD, name)
        known = [None if value is None or flawed else str(value) for value, flawed in zip(values, bad, strict=True)]
        return pa.array(known, pa.string())


def _body(line: bytes) -> bytes:
    """Return the body of `path TAB content type TAB body`, or the line itself."""
    parts = line.split(b"\t", 2)
    return parts[2] if len(parts) == 3 and not line.lstrip().startswith((b"{", b"[")) else line
