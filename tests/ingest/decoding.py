"""What the tests of all decoders ask of each of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute

from ingest.decoders import FORMATS, decoder
from ingest.decoders.base import Event
from ingest.source_config import SourceConfig
from schemas.addresses import unpack_address
from schemas.arrow import DELIVERED
from schemas.fields import BY_NAME, Kind
from schemas.packing import unpack_identifier
from schemas.rejects import Reject

pc: Any = pyarrow.compute
FIXTURES = Path(__file__).parent.parent / "fixtures"
EXTRA = {"position", "event", "session_key"}


class DripStream(io.BytesIO):
    """A stream that gives little at a time, as a socket does."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size, 97) if size is not None and size > 0 else 97)


class EndlessLine(io.RawIOBase):
    """`prefix`, then one line of `size` bytes, then `suffix`; never held whole."""

    def __init__(self, prefix: bytes, size: int, suffix: bytes) -> None:
        self.parts = [prefix, size, suffix]

    def read(self, size: int = -1) -> bytes:
        while self.parts:
            part = self.parts[0]
            if isinstance(part, int):
                piece = b"x" * min(part, size)
                self.parts[0] = part - len(piece)
            else:
                piece, self.parts[0] = part[:size], part[size:]
            if not self.parts[0]:
                self.parts.pop(0)
            if piece:
                return piece
        return b""


def decode(
    name: str, data: bytes | io.BytesIO | EndlessLine, source: SourceConfig | None = None
) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Return all rows (as dictionaries without nulls) and rejects; what holds for every decoder is checked here."""
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    rows: list[dict[str, Any]] = []
    rejects: list[Reject] = []
    for part in decoder(name).decode(stream, source or SourceConfig("test")):  # type: ignore[arg-type]
        part.table.validate(full=True)
        table = unpacked(part.table)
        for field in table.schema:
            if field.name not in EXTRA:
                assert field.type == DELIVERED.field(field.name).type, field.name
        rows += [{key: value for key, value in row.items() if value is not None} for row in table.to_pylist()]
        rejects += part.rejects
    positions = [row["position"] for row in rows] + [reject.position for reject in rejects]
    assert sorted(positions) == list(range(1, len(positions) + 1)), "every record is in exactly one place"
    for row in rows:
        assert row["record_key"]
        assert row["service_type"]
        assert ("session_key" in row) == (row.get("event", Event.RECORD) != Event.RECORD)
        if row.get("event", Event.RECORD) == Event.RECORD:
            assert row["start_time"] <= row["end_time"]
    return sorted(rows, key=lambda row: row["position"]), sorted(rejects, key=lambda reject: reject.position)


def unpacked(table: pa.Table) -> pa.Table:
    """Return the table as if its decoder had encoded no labels, and packed neither identifiers nor addresses."""
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column: Any = table.column(name).combine_chunks()
        rest = table.column(name + "_text").combine_chunks() if name + "_text" in table.column_names else None
        if column.type == pa.int64() and name in BY_NAME and BY_NAME[name].kind is Kind.IDENTIFIER:
            columns[name] = unpack_identifier(column, rest)
        elif column.type == pa.uint32():
            columns[name] = unpack_address(column) if rest is None else pc.coalesce(unpack_address(column), rest)
        elif name.removesuffix("_text") in columns:
            continue
        else:
            columns[name] = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
    return pa.table(columns)


def content(row: dict[str, Any]) -> dict[str, Any]:
    """Return what the store compares: transport left out, times and durations in whole seconds."""
    result = {}
    for key, value in row.items():
        if key in {"position", "call_link", "account", "tenant", "utc_offset_s"}:
            continue
        if key.endswith("_time"):
            result[key] = value.replace(microsecond=0)
        else:
            result[key] = value // 1000 if key.endswith("duration_ms") else value
    return result


def fixture(*names: str) -> bytes:
    """Return a fixture's bytes."""
    return FIXTURES.joinpath(*names).read_bytes()


assert set(FORMATS) >= {"kamailio-acc", "kamailio-json", "radius-detail", "kannel", "conntrack"}
