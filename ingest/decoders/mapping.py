"""`mapping`: any delimited, fixed-width or JSON layout, by the mapping file that is stored with the source.

What a mapping says is in docs/sources/mapping.md. Columns that the mapping does not read never leave this decoder:
not to the store, and not to the quarantine, which keeps of a refused record only what is read. A record that cannot be
cut into columns keeps only its position, reason and size.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, ClassVar, Final, cast

import pyarrow as pa

from ingest.decoders.base import Decoded, or_nothing
from ingest.mapping.assemble import Assembler
from ingest.mapping.delimited import DelimitedReader
from ingest.mapping.fixed_width import FixedWidthReader
from ingest.mapping.json_records import JsonLinesReader, JsonReader, KeptReader
from ingest.mapping.model import FILE_COLUMN, Kind, MappingFile
from ingest.mapping.reader import read_mapping
from ingest.mapping.stretch import KEPT_HEAD, LayoutReader, Stretch
from ingest.source_config import FILE_NAME, MAPPING, SourceConfig
from schemas.errors import ConfigurationError

_READ_BYTES: Final = 1 << 20


class Mapping:
    """A layout that the operator describes."""

    name: ClassVar = "mapping"
    summary: ClassVar = "any delimited, fixed-width or JSON layout, by the source's mapping file"
    zoned: ClassVar = True
    options: ClassVar = (MAPPING,)

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the records in order.

        Raises:
            InputError: the delivery has not the layout, or a declared count is wrong.
            ConfigurationError: the source has no mapping, or lacks what it needs.
        """
        text = source.options.get(MAPPING)
        if text is None:
            raise ConfigurationError(
                "the source has no mapping file", hint="lagrum sources add NAME --mapping FILE stores one"
            )
        mapping = read_mapping(text)
        assembler = Assembler(mapping, source)
        wanted = mapping.columns()
        buffered = io.BufferedReader(cast(io.RawIOBase, _Raw(stream)), _READ_BYTES)
        if buffered.peek(len(KEPT_HEAD))[: len(KEPT_HEAD)] == KEPT_HEAD:
            kept: LayoutReader = KeptReader(mapping, wanted)
            for stretch in kept.read(cast(BinaryIO, buffered)):
                yield assembler.assemble(stretch)
            return
        name = _file_name(source, wanted)
        columns = [column for column in wanted if column != FILE_COLUMN]
        reader = _reader(mapping, columns)
        stretches = reader.read(_as_utf8(cast(BinaryIO, buffered), mapping))
        parts = (assembler.assemble(_named(stretch, name)) for stretch in stretches)
        yield from or_nothing(parts, lambda: reader.is_headed)


def _file_name(source: SourceConfig, wanted: Sequence[str]) -> str | None:
    if FILE_COLUMN not in wanted:
        return None
    name = source.options.get(FILE_NAME)
    if name is None:
        raise ConfigurationError("the mapping reads the delivery's file name, and this delivery has none")
    return name


def _named(stretch: Stretch, name: str | None) -> Stretch:
    if name is None:
        return stretch
    column = pa.repeat(pa.scalar(name, pa.string()), len(stretch.positions))
    return stretch._replace(columns={**stretch.columns, FILE_COLUMN: column})


def _reader(mapping: MappingFile, columns: Sequence[str]) -> LayoutReader:
    kinds: dict[Kind, type[Any]] = {
        Kind.DELIMITED: DelimitedReader,
        Kind.FIXED_WIDTH: FixedWidthReader,
        Kind.JSON_LINES: JsonLinesReader,
        Kind.JSON: JsonReader,
    }
    return cast(LayoutReader, kinds[mapping.layout.kind](mapping, columns))


def _as_utf8(stream: BinaryIO, mapping: MappingFile) -> BinaryIO:
    encoding = mapping.layout.encoding
    return stream if encoding == "utf-8" else cast(BinaryIO, _Transcoded(stream, encoding))


class _Raw(io.RawIOBase):
    """Any stream, so that a buffered reader can look ahead."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Transcoded:
    """A stream of a one-byte encoding, as UTF-8; a byte that the encoding does not have becomes U+FFFD."""

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream, self._encoding = stream, encoding
        self._left = b""

    def read(self, size: int = -1) -> bytes:
        """Return at most `size` bytes."""
        if not self._left:
            data = self._stream.read(size)
            self._left = data if data.isascii() else data.decode(self._encoding, "replace").encode()
        if size < 0 or len(self._left) <= size:
            data, self._left = self._left, b""
        else:
            data, self._left = self._left[:size], self._left[size:]
        return data
