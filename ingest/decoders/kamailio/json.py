"""Kamailio: the bodies that `acc_json` queues, as a queue or an HTTP client delivers them.

Plain bodies, a transaction a line with values of one type each, are read by Arrow's parser; everything else, with the
same result, one by one. Which rows become what, and how they are identified, is told in
`ingest.decoders.kamailio.records`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, ClassVar, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.json

from ingest.decoders.base import RECORD_BYTES_MAX, Decoded
from ingest.decoders.kamailio import records
from ingest.decoders.kamailio.acc import positioned
from ingest.decoders.slices import Block, Column, Faults, Lines, is_utf8, read_blocks
from ingest.decoders.together import Together, lines_together
from ingest.source import SourceConfig
from schemas.rejects import Reject, RejectReason

json: Any = pyarrow.json  # its stubs do not know all options

_NOT_PLAIN: Final = (b"\\", b"[", b"NaN", b"Inf", b"\r", b'"start_time"')
"""Letters spelled otherwise, what nests, what Arrow alone takes for a number, line ends of two bytes, and CDRs."""
_TYPES: Final[dict[type, pa.DataType]] = {str: pa.string(), int: pa.int64()}


class KamailioJson:
    """Bodies that `acc_json` queues: transactions, and CDRs with every value a string."""

    name: ClassVar = "kamailio-json"
    summary: ClassVar = "Kamailio acc_json bodies: one per line, one alone, or path TAB content type TAB body"
    zoned: ClassVar = True
    options: ClassVar = records.OPTIONS

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the bodies in order.

        A delivery of up to one block may also be a single JSON object over several lines, or an array of bodies.

        Raises:
            InputError: the stream is UTF-16.
            ConfigurationError: an option cannot be understood.
        """
        chosen = records.settings(source)
        position = 0
        for block in read_blocks(stream):
            if block.overlong_bytes:
                position += 1
                reject = Reject(position, RejectReason.TOO_LONG, None, block.offset, block.overlong_bytes)
                yield Decoded(positioned([], []), [reject])
                continue
            if (plain := _plain(block, position, chosen)) is not None:
                position += plain.table.num_rows + len(plain.rejects)
                yield plain
                continue
            bodies = _Bodies(position, chosen)
            whole = _whole(block.data) if block.last and position == 0 else None
            if whole is None:
                bodies.read_lines(block)
            else:
                for body in whole:
                    bodies.add(body, 0, orjson.dumps(body))
            position = bodies.position
            if bodies.positions or bodies.rejects:
                yield bodies.decoded()

    def decode_bodies(self, bodies: Sequence[bytes], source: SourceConfig) -> Together:
        """Return the records of all bodies, and each body's last position; None when they are read one by one."""
        return lines_together(self.decode, [body + b"\n" for body in bodies], source)


def _plain(block: Block, position: int, chosen: records.Settings) -> Decoded | None:
    """Return a block's bodies, None unless each is a flat object on a line of its own and a transaction."""
    data = block.data
    if not data.startswith(b"{") or any(word in data for word in _NOT_PLAIN) or not is_utf8(data):
        return None
    lines = Lines(data)
    lines.select(~lines.blank())
    rows = len(lines)
    if data.count(b"{") != rows or int((lines.ends - lines.starts).max()) > RECORD_BYTES_MAX:
        return None
    columns = _columns(data, lines.line(0), rows)
    if columns is None:
        return None
    table, faults = records.transactions(columns, rows, chosen)
    positions = np.arange(position + 1, position + 1 + rows, dtype=np.int64)
    good = ~faults.mask
    rejects = faults.rejects(positions, lines, block.offset)
    return Decoded(positioned([table.filter(pa.array(good))], [positions[good]]), rejects)


def _columns(data: bytes, first: bytes, rows: int) -> dict[str, Column] | None:
    """Return the known values of so many bodies as texts; None where they differ in type from the first one's."""
    try:
        types = {
            name: _TYPES[type(value)] for name, value in orjson.loads(first).items() if name in records.COLUMN_NAMES
        }
        schema = pa.schema([(name, types.get(name, pa.string())) for name in records.COLUMN_NAMES])
        table = json.read_json(
            io.BytesIO(data),
            json.ReadOptions(use_threads=False, block_size=len(data) + 1),
            json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore"),
        )
    except (orjson.JSONDecodeError, KeyError, pa.ArrowInvalid):
        return None
    if table.num_rows != rows or table.column("method").null_count:
        return None
    columns: dict[str, Column] = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if column.null_count < rows:
            columns[name] = column.cast(pa.string())
    return columns


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

    def __init__(self, position: int, chosen: records.Settings) -> None:
        self.position = position
        self.chosen = chosen
        self.rejects: list[Reject] = []
        self.positions: list[int] = []
        self._kinds: dict[bool, tuple[list[dict[str, Any]], list[int]]] = {True: ([], []), False: ([], [])}
        self._origin: list[tuple[int, bytes]] = []

    def read_lines(self, block: Block) -> None:
        """Read one body per line."""
        offset = block.offset
        for line in block.data.split(b"\n"):
            if line and not line.isspace():
                self._read(line if line.startswith(b"{") else _body(line), offset, line)
            offset += len(line) + 1

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
        tables, positions = [], []
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
