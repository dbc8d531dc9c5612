"""Cisco Unified Communications Manager: call detail records (CDR) and call management records (CMR, quality).

A file has a line of column names, a line of column types, both or neither. Columns are found by name, wherever a line
of names stands (files that were joined have several). Until one came, by their documented order: releases only ever
append columns. Neither line is a record.

What the columns become, and how records are identified, is told in `ingest.decoders.cucm.records`.
Times are epoch seconds, so no zone is needed. docs/sources/cucm.md says how to set the publisher up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain
from typing import BinaryIO, ClassVar, Final

from ingest.decoders.base import Decoded, or_nothing
from ingest.decoders.cucm import records
from ingest.decoders.delimited import ColumnStretch, Convert, picker, split_row
from ingest.decoders.plain_rows import PlainBlocks, PlainRows, PlainStretch, plain_rows, shifted
from ingest.decoders.slices import Block, read_blocks
from ingest.lines import Line, read_records
from ingest.source_config import SourceConfig
from schemas.rejects import RejectReason

_NAME: Final = "cdrrecordtype"
_TYPE: Final = "INTEGER"


class CucmCdr:
    """Call detail records."""

    name: ClassVar = "cucm-cdr"
    summary: ClassVar = "Cisco CUCM call detail records (cdr_ files), columns by name"
    zoned: ClassVar = True
    options: ClassVar[tuple[str, ...]] = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the delivery's calls in order.

        Raises:
            InputError: the stream is UTF-16.
        """
        convert = partial(records.calls, source=source)
        return _decode(stream, records.CDR_ORDER, records.CDR_WANTED, convert)


class CucmCmr:
    """Call management records: how one end of a call was served."""

    name: ClassVar = "cucm-cmr"
    summary: ClassVar = "Cisco CUCM call management records (cmr_ files): reports on calls, not charged"
    zoned: ClassVar = True
    options: ClassVar[tuple[str, ...]] = ()

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the delivery's reports in order.

        Raises:
            InputError: the stream is UTF-16.
        """
        convert = partial(records.reports, source=source)
        return _decode(stream, records.CMR_ORDER, records.CMR_WANTED, convert)


def _reads(data: bytes) -> bool:
    try:
        return split_row(data) is not None
    except UnicodeDecodeError:
        return False


def _split(line: Line) -> tuple[list[str], RejectReason | None]:
    """Return a line's columns, or why there are none."""
    if line.reason is not None:
        return [], line.reason
    if b"\x00" in line.data:
        return [], RejectReason.ENCODING
    try:
        row = split_row(line.data)
    except UnicodeDecodeError:
        return [], RejectReason.ENCODING
    return ([], RejectReason.MALFORMED) if row is None else (row, None)


def _decode(stream: BinaryIO, order: Mapping[str, int], wanted: tuple[str, ...], convert: Convert) -> Iterator[Decoded]:
    """Yield the rows of a delivery; one of nothing but its head lines holds none."""
    read = read_blocks(stream)
    first = next(read)
    block, names = _headed(first)
    # A line of names without its end may be cut off.
    is_headed = first.data.endswith(b"\n") and names is not None and records.NEEDED[len(wanted)] <= set(names)
    stretches = _stretches(chain((block,), read), _Columns(order, wanted, names), names, convert)
    return or_nothing(stretches, lambda: is_headed)


def _stretches(
    read: Iterator[Block], columns: _Columns, names: tuple[str, ...] | None, convert: Convert
) -> Iterator[Decoded]:
    """Yield plain blocks under a line of names at once, and from the first that is not plain on, row by row."""

    def plain(block: Block) -> tuple[int, Decoded] | None:
        rows = None if names is None else _plain(block, names, columns.wanted)
        return None if rows is None else (rows.count, PlainStretch(rows).decoded(convert))

    blocks = PlainBlocks(read, plain)
    position = 0
    for count, decoded in blocks:
        if count:
            yield from shifted([decoded], position)
            position += count
    if blocks.rest is not None:
        rest, offset = blocks.rest
        yield from shifted(_by_row(rest, columns, convert), position, offset)


def _headed(block: Block) -> tuple[Block, tuple[str, ...] | None]:
    """Return a delivery's first block without its head lines, and the columns' names; None where it has none."""
    line, _, rest = block.data.partition(b"\n")
    row, reason = _split(Line(1, 0, line.removesuffix(b"\r"), len(line)))
    if reason is not None or not row or row[0].strip().lower() != _NAME:
        return block, None
    names = tuple(name.strip().lower() for name in row)
    types, _, behind = rest.partition(b"\n")
    if types.strip().upper().startswith(_TYPE.encode() + b","):
        rest = behind
    return block._replace(data=rest, offset=block.offset + len(block.data) - len(rest)), names


def _plain(block: Block, names: tuple[str, ...], wanted: tuple[str, ...]) -> PlainRows | None:
    """Return a block's rows; None when one is not plain, or is a head line of another file."""
    if block.last and block.data and not block.data.endswith(b"\n"):
        block = block._replace(data=block.data + b"\n")
    places = {name: names.index(name) if name in names else None for name in wanted}
    rows = plain_rows(block, len(names), places)
    if rows is None or next(rows.odd_lines(), None) is not None:
        return None
    kinds, _ = rows.columns.figures(wanted[0], 3)
    return None if kinds.null_count else rows


class _Columns:
    """Which columns the rows have, until a line of names says otherwise."""

    def __init__(self, order: Mapping[str, int], wanted: tuple[str, ...], names: tuple[str, ...] | None) -> None:
        by_place = {place: name for name, place in order.items()}
        self.wanted = wanted
        self.names = tuple(by_place.get(place, "") for place in range(max(by_place) + 1))
        self.narrowest, self.widest = records.STANDARD_WIDTHS[len(wanted)], 0
        self.pick = picker(self.names, wanted)
        if names is not None:
            self.named(names)

    def named(self, names: tuple[str, ...]) -> None:
        """Take a line of names."""
        self.names = names
        self.pick, self.narrowest, self.widest = picker(names, self.wanted), len(names), len(names)

    def fits(self, row: list[str]) -> bool:
        """Tell whether a row may have so many columns."""
        return len(row) >= self.narrowest and (not self.widest or len(row) <= self.widest)


def _by_row(stream: BinaryIO, columns: _Columns, convert: Convert) -> Iterator[Decoded]:
    position = 0
    stretch = ColumnStretch(columns.wanted)
    for line in read_records(stream, _reads):
        row, reason = _split(line)
        if row and row[0].strip().lower() == _NAME:
            columns.named(tuple(name.strip().lower() for name in row))
            continue
        if row and row[0].strip().upper() == _TYPE:
            continue
        position += 1
        if reason is None and not columns.fits(row):
            reason = RejectReason.COLUMN_COUNT
        if reason is not None:
            stretch.refuse(position, line, reason)
        else:
            # Columns of later releases, and what `picker` asks for.
            row += [""] * (1 + max(0, len(columns.names) - len(row)))
            stretch.take(position, line, columns.pick(row))
        if stretch.is_full:
            yield stretch.decoded(convert)
            stretch = ColumnStretch(columns.wanted)
    if not stretch.is_empty:
        yield stretch.decoded(convert)
