"""Reads deliveries as the pipeline does, for the tests of decoders."""

from __future__ import annotations

import io
from typing import Any, BinaryIO

import pyarrow as pa

from ingest.decoders import decoder
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas.packing import unpack_table
from schemas.rejects import Reject

NOW_US = 1_795_348_800_000_000


class Pipe(io.RawIOBase):
    """A stream that cannot seek and gives what it has in small pieces."""

    def __init__(self, data: bytes, piece_bytes: int = 1 << 16) -> None:
        self._inner = io.BytesIO(data)
        self._piece_bytes = piece_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._inner.read(min(len(buffer), self._piece_bytes))
        buffer[: len(data)] = data
        return len(data)


def taken(
    format_name: str, stream: bytes | BinaryIO, source: SourceConfig | None = None
) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Return records (unpacked, by position) and rejects; checks that every record is in exactly one place."""
    source = source or SourceConfig("switch", zone=None)
    opened = io.BytesIO(stream) if isinstance(stream, bytes) else stream
    parts = [normalise(part, source, NOW_US) for part in decoder(format_name).decode(opened, source)]
    records: list[dict[str, Any]] = []
    positions: list[int] = []
    rejects = [reject for part in parts for reject in part.rejects]
    for part in parts:
        positions += part.table.column("batch_position").to_pylist()
        records += unpack_table(part.table).to_pylist()
    every = positions + [reject.position for reject in rejects]
    assert sorted(every) == list(range(1, len(every) + 1)), "every record is in exactly one place"
    return records, rejects


def packed(format_name: str, stream: bytes, source: SourceConfig | None = None) -> pa.Table:
    """Return the packed records of a delivery without rejects."""
    source = source or SourceConfig("switch", zone=None)
    parts = [normalise(part, source, NOW_US) for part in decoder(format_name).decode(io.BytesIO(stream), source)]
    assert not [reject for part in parts for reject in part.rejects]
    return pa.concat_tables([part.table for part in parts], promote_options="default")
