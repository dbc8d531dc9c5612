"""Fixed-width layouts: columns by their place in the line, in characters counted from 1.

A line that ends before a column begins has nothing in it. With `line_length` lines of another length are refused;
without it lines may be shorter and longer, as programs leave trailing blanks out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO

import numpy as np

from ingest.decoders.base import RECORD_BYTES_MAX
from ingest.decoders.canonical.lines import BLOCK_BYTES
from ingest.decoders.slices import Block, Lines, gather, read_blocks
from ingest.mapping.controls import Controls, CountSoFar
from ingest.mapping.model import MappingFile
from ingest.mapping.stretch import Rows, Stretch, settled
from schemas.rejects import Reject, RejectReason


class FixedWidthReader:
    """One delivery of a fixed-width layout."""

    def __init__(self, mapping: MappingFile, wanted: Sequence[str]) -> None:
        self._layout, self._wanted = mapping.layout, list(wanted)
        self._spans = [self._layout.slices[name] for name in wanted]
        self._controls, self._count = Controls(mapping), CountSoFar()
        self.is_headed = False
        self._skip = self._layout.skip_lines

    def read(self, stream: BinaryIO) -> Iterator[Stretch]:
        """Yield the records in order, a block at a time.

        Raises:
            InputError: a declared count is wrong.
        """
        for block in read_blocks(stream, block_bytes=BLOCK_BYTES):
            if block.overlong_bytes:
                self._count.records += 1
                rows = Rows(self._wanted, self._layout)
                rows.refuse(self._count.records, RejectReason.TOO_LONG, block.offset, block.overlong_bytes)
                yield rows.take()
                continue
            rest = self._after_skipped(block)
            for piece in self._controls.pieces(rest, self._count) if self._controls.any else (rest,):
                yield self._block(piece)
        self._controls.end(self._count.records)
        self.is_headed = self._controls.is_told

    def _after_skipped(self, block: Block) -> Block:
        data = block.data
        while self._skip and data:
            _, _, data = data.partition(b"\n")
            self._skip -= 1
        return block._replace(data=data, offset=block.offset + len(block.data) - len(data))

    def _block(self, block: Block) -> Stretch:
        lines = Lines(block.data)
        lines.select(~lines.blank())
        first = self._count.records + 1
        self._count.records += len(lines)
        positions = np.arange(first, first + len(lines), dtype=np.int64)
        widths = lines.ends - lines.starts
        length = self._layout.line_length
        if block.data.isascii() and b"\0" not in block.data and (widths <= RECORD_BYTES_MAX).all():
            wrong = widths != length if length is not None else np.zeros(len(lines), np.bool_)
            rejects = [
                Reject(int(positions[row]), RejectReason.COLUMN_COUNT, None, self._offset(block, lines, row))
                for row in np.flatnonzero(wrong).tolist()
            ]
            lines.select(~wrong)
            return Stretch(self._cut(lines), positions[~wrong], rejects)
        rows = Rows(self._wanted, self._layout)
        for index, position in enumerate(positions.tolist()):
            found = self._characters(lines.line(index))
            if isinstance(found, str):
                rows.add(position, [found[start:stop] for start, stop in self._spans])
            else:
                rows.refuse(position, found[0], self._offset(block, lines, index), int(widths[index]))
        return rows.take()

    def _cut(self, lines: Lines) -> dict[str, object]:
        columns = {}
        for name, (start, stop) in zip(self._wanted, self._spans, strict=True):
            begins = np.minimum(lines.starts + start, lines.ends)
            column = gather(lines.bytes, begins, np.minimum(lines.starts + stop, lines.ends))
            columns[name] = settled(column, self._layout)
        return columns

    def _characters(self, line: bytes) -> str | tuple[RejectReason]:
        """Return the line as text, or why it is refused."""
        if len(line) > RECORD_BYTES_MAX:
            return (RejectReason.TOO_LONG,)
        try:
            text = line.decode()
        except UnicodeDecodeError:
            return (RejectReason.ENCODING,)
        if "\0" in text:
            return (RejectReason.ENCODING,)
        length = self._layout.line_length
        return text if length is None or len(text) == length else (RejectReason.COLUMN_COUNT,)

    @staticmethod
    def _offset(block: Block, lines: Lines, row: int) -> int | None:
        return None if block.offset < 0 else block.offset + int(lines.starts[row])
