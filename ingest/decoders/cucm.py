"""Cisco Unified Communications Manager: call detail records (CDR) and call management records (CMR, quality).

A file has a line of column names, a line of column types, both or neither. Columns are found by name, wherever a line
of names stands (files that were joined have several). Until one came, by their documented order: releases only ever
append columns. Neither line is a record.

What the columns become, and how records are identified, is told in `ingest.decoders.cucm_records`.
Times are epoch seconds, so no zone is needed. docs/sources/cucm.md says how to set the publisher up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import BinaryIO, ClassVar, Final

from ingest.decoders import cucm_records as records
from ingest.decoders.base import Decoded
from ingest.decoders.delimited import ColumnStretch, Convert, picker, split_row
from ingest.lines import Line, read_records
from ingest.source import SourceConfig
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
    by_place = {place: name for name, place in order.items()}
    names = tuple(by_place.get(place, "") for place in range(max(by_place) + 1))
    narrowest, widest = records.STANDARD_WIDTHS[len(wanted)], None
    pick, position = picker(names, wanted), 0
    stretch = ColumnStretch(wanted)
    for line in read_records(stream, _reads):
        row, reason = _split(line)
        if row and row[0].strip().lower() == _NAME:
            names = tuple(name.strip().lower() for name in row)
            pick, narrowest, widest = picker(names, wanted), len(row), len(row)
            continue
        if row and row[0].strip().upper() == _TYPE:
            continue
        position += 1
        if reason is None and (len(row) < narrowest or (widest is not None and len(row) > widest)):
            reason = RejectReason.COLUMN_COUNT
        if reason is not None:
            stretch.refuse(position, line, reason)
        else:
            row += [""] * (1 + max(0, len(names) - len(row)))  # columns of later releases, and what `picker` asks for
            stretch.take(position, line, pick(row))
        if stretch.is_full:
            yield stretch.decoded(convert)
            stretch = ColumnStretch(wanted)
    if not stretch.is_empty:
        yield stretch.decoded(convert)
