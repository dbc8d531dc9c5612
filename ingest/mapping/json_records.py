"""JSON layouts: one object a line, or one document with an array of objects; and records as the quarantine keeps them.

A column is a path: `variables.uuid`, `legs.0.number`; a name that holds dots itself is found first. Texts, numbers and
true or false become texts; an object or an array where a value is wanted refuses the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO, Final

import orjson

from ingest.decoders.base import CHUNK_ROWS, RECORD_BYTES_MAX
from ingest.decoders.canonical.lines import BLOCK_BYTES
from ingest.decoders.slices import Lines, is_utf8, read_blocks
from ingest.mapping.controls import Controls, CountSoFar
from ingest.mapping.model import MappingFile
from ingest.mapping.stretch import KEPT_MARK, Rows, Stretch
from schemas.errors import InputError
from schemas.rejects import RejectReason

DOCUMENT_BYTES_MAX: Final = 64 << 20
"""A JSON document is held whole; larger deliveries come as one object a line."""

_ABSENT: Final = object()


class JsonLinesReader:
    """One delivery of an object per line."""

    def __init__(self, mapping: MappingFile, wanted: Sequence[str]) -> None:
        self._layout, self._wanted = mapping.layout, list(wanted)
        self._paths = [(name, name.split(".")) for name in wanted]
        self._controls, self._count = Controls(mapping), CountSoFar()
        self.is_headed = False

    def read(self, stream: BinaryIO) -> Iterator[Stretch]:
        """Yield the records in order.

        Raises:
            InputError: a declared count is wrong.
        """
        skip = self._layout.skip_lines
        rows = Rows(self._wanted, self._layout)
        for block in read_blocks(stream, block_bytes=BLOCK_BYTES):
            if block.overlong_bytes:
                self._count.records += 1
                rows.refuse(self._count.records, RejectReason.TOO_LONG, block.offset, block.overlong_bytes)
                continue
            lines = Lines(block.data)
            start = min(skip, len(lines))
            skip -= start
            blank = lines.blank()
            for index in range(start, len(lines)):
                line = lines.line(index)
                if blank[index] or (self._controls.any and self._controls.takes(line, self._count.records)):
                    continue
                self._one(rows, line, block.offset + int(lines.starts[index]))
                if len(rows) >= CHUNK_ROWS:
                    yield rows.take()
        yield rows.take()
        self._controls.end(self._count.records)
        self.is_headed = self._controls.is_told

    def _one(self, rows: Rows, line: bytes, offset: int) -> None:
        self._count.records += 1
        if len(line) > RECORD_BYTES_MAX:
            rows.refuse(self._count.records, RejectReason.TOO_LONG, offset, len(line))
            return
        try:
            record = orjson.loads(line)
        except orjson.JSONDecodeError:
            reason = RejectReason.MALFORMED if is_utf8(line) else RejectReason.ENCODING
            rows.refuse(self._count.records, reason, offset, len(line))
            return
        add_record(rows, self._count.records, record, self._paths, (offset, len(line)))


class JsonReader:
    """One delivery that is one JSON document."""

    def __init__(self, mapping: MappingFile, wanted: Sequence[str]) -> None:
        self._layout, self._wanted = mapping.layout, list(wanted)
        self._paths = [(name, name.split(".")) for name in wanted]
        self.is_headed = False

    def read(self, stream: BinaryIO) -> Iterator[Stretch]:
        """Yield the records in order.

        Raises:
            InputError: it is no JSON document, too large, or has no array where the mapping says.
        """
        pieces: list[bytes] = []
        size = 0
        while piece := stream.read(1 << 20):
            size += len(piece)
            if size > DOCUMENT_BYTES_MAX:
                raise InputError(
                    f"a JSON document has at most {DOCUMENT_BYTES_MAX >> 20} MiB", hint="deliver one object a line"
                )
            pieces.append(piece)
        data = b"".join(pieces).removeprefix(b"\xef\xbb\xbf")
        if not data.strip():
            return
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise InputError("the delivery is no JSON document", hint="one object a line is kind json-lines") from None
        rows = Rows(self._wanted, self._layout)
        records = self._records(document)
        self.is_headed = self._layout.record_path is not None  # the array is where it should be
        for position, record in enumerate(records, 1):
            add_record(rows, position, record, self._paths, (None, None))
            if len(rows) >= CHUNK_ROWS:
                yield rows.take()
        yield rows.take()

    def _records(self, document: Any) -> list[Any]:
        path = self._layout.record_path
        found = document if path is None else at_path(document, path, path.split("."))
        if path is None and isinstance(found, dict):
            return [found]
        if not isinstance(found, list):
            raise InputError("the document has no array of records where the mapping says")
        return found


class KeptReader:
    """Records as the quarantine keeps them (`ingest.mapping.stretch.Kept`)."""

    is_headed = False

    def __init__(self, mapping: MappingFile, wanted: Sequence[str]) -> None:
        self._layout, self._wanted = mapping.layout, list(wanted)

    def read(self, stream: BinaryIO) -> Iterator[Stretch]:
        """Yield the records in order."""
        position = 0
        for block in read_blocks(stream, block_bytes=BLOCK_BYTES):
            rows = Rows(self._wanted, self._layout)
            lines = Lines(block.data)
            for index in range(len(lines)):
                position += 1
                try:
                    record = orjson.loads(lines.line(index))
                except orjson.JSONDecodeError:
                    record = None
                columns = record.get("columns") if isinstance(record, dict) and KEPT_MARK in record else None
                if not isinstance(columns, dict):
                    rows.refuse(position, RejectReason.MALFORMED, None, None)
                    continue
                values = [columns.get(name) for name in self._wanted]
                rows.add(position, [one if isinstance(one, str) else None for one in values])
            yield rows.take()


Paths = Sequence[tuple[str, list[str]]]


def add_record(rows: Rows, position: int, record: Any, paths: Paths, place: tuple[int | None, int | None]) -> None:
    """Add one parsed record to the rows, or refuse it."""
    if not isinstance(record, dict):
        rows.refuse(position, RejectReason.MALFORMED, *place)
        return
    values: list[str | None] = []
    for name, path in paths:
        value = record.get(name, _ABSENT)
        if value is _ABSENT:
            value = at_path(record, name, path) if len(path) > 1 else None
        if isinstance(value, str):
            if "\0" in value:
                rows.refuse(position, RejectReason.ENCODING, *place)
                return
            values.append(value)
        elif value is None:
            values.append(None)
        elif isinstance(value, bool):
            values.append("true" if value else "false")
        elif isinstance(value, int | float):
            values.append(_figure(value))
        else:
            rows.refuse(position, RejectReason.BAD_FIELD, *place)
            return
    rows.add(position, values)


def _figure(value: int | float) -> str:
    if isinstance(value, int) or value.is_integer():
        return str(int(value))
    return f"{value:.9f}".rstrip("0")


def at_path(value: Any, name: str, path: Sequence[str]) -> Any:
    """Return what stands at a path, None where nothing does."""
    if isinstance(value, Mapping) and name in value:
        return value[name]
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value
