"""Asterisk call records: cdr-csv (`Master.csv`) and cdr_custom by its template.

Columns of cdr-csv: sixteen fixed ones, then `uniqueid` (`loguniqueid`), `userfield` (`loguserfield`) and the three of
`newcdrcolumns`. Their number tells which are there, except 17 and 20: then the 17th is `uniqueid` when it has its form
(`<epoch>.<n>`, with a system name `<name>-<epoch>.<n>`), else `userfield`. The option `columns` settles it: the names
of the optional columns, comma-separated.

Identity (`record_key`), the best that the columns allow:

1. `<uniqueid>/<sequence>`: one row each;
2. `<linkedid>//<sequence>` where `uniqueid` is not logged;
3. `<uniqueid>:<digest of channel, dstchannel, start>` without a sequence: a transfer or fork writes several true rows
   with one uniqueid;
4. `row:<digest of the row>:<occurrence in its delivery>` with neither.

The network element is the system name in front of the uniqueid, else the source's. Digests are not keyed: like every
record key they are only ever stored under their partition's key.

Times are local, in the source's zone, or UTC with option `usegmtime` = yes. The hour that occurs twice in autumn is
settled by the row's own duration where start and end allow only one reading.

Options: `columns`, `usegmtime`; cdr_custom: `template` (required), `usegmtime`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, BinaryIO, Final, NamedTuple

import pyarrow as pa

from ingest.decoders.asterisk.columns import PLAIN, RECORDS, numbered, plain_records
from ingest.decoders.asterisk.rows import (
    USED,
    Occurrences,
    Refusal,
    Rows,
    is_uniqueid,
    names_of_template,
    optional_columns,
    places,
    table_of,
)
from ingest.decoders.base import Decoded, or_nothing
from ingest.decoders.plain_rows import PlainBlocks, PlainRows, plain_rows, shifted
from ingest.decoders.slices import Block, read_blocks
from ingest.lines import Line, read_records
from ingest.source_config import SourceConfig
from schemas.buffers import Ints, Mask
from schemas.errors import ConfigurationError
from schemas.rejects import Reject, RejectReason

_FIXED: Final = (
    "accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp", "lastdata", "start", "answer",
    "end", "duration", "billsec", "disposition", "amaflags",
)  # fmt: skip
_NEW: Final = ("peeraccount", "linkedid", "sequence")
_LAYOUTS: Final[dict[int, tuple[str, ...]]] = {
    16: _FIXED,
    18: (*_FIXED, "uniqueid", "userfield"),
    19: (*_FIXED, *_NEW),
    21: (*_FIXED, "uniqueid", "userfield", *_NEW),
}
_BY_EVIDENCE: Final[dict[int, tuple[str, ...]]] = {17: (), 20: _NEW}
_STRETCH_ROWS: Final = 16_384
_STRETCH_BYTES: Final = 16 << 20
_FIRST_LINES: Final = 20
_HEAD_BYTES: Final = 1 << 16
_HEADER: Final = ["accountcode", "src", "dst"]

_Layout = Callable[[list[str]], tuple[str, ...] | None]


class AsteriskCsv:
    """`Master.csv` of cdr-csv, with 16 to 21 columns."""

    name = "asterisk-csv"
    summary = "Asterisk cdr-csv: Master.csv, 16 to 21 columns"
    zoned = False
    options = ("columns", "usegmtime")

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the delivery's rows in order.

        Raises:
            ConfigurationError: the source has neither zone nor `usegmtime`; `columns` names what is no optional column.
            InputError: the delivery is UTF-16.
        """
        chosen = source.options.get("columns")
        if chosen is None:
            layout: _Layout = _layout_by_count
        else:
            names = (*_FIXED, *optional_columns(chosen))
            layout = _layout_of(names)
        yield from _decode(stream, source, self.name, layout)


class AsteriskCustom:
    """Files of cdr_custom, read by the template that wrote them."""

    name = "asterisk-custom"
    summary = "Asterisk cdr_custom: any template, given as option `template`"
    zoned = False
    options = ("template", "usegmtime")

    def decode(self, stream: BinaryIO, source: SourceConfig) -> Iterator[Decoded]:
        """Yield the delivery's rows in order.

        Raises:
            ConfigurationError: the source has no template, or one without a start or a party; no zone or `usegmtime`.
            InputError: the delivery is UTF-16.
        """
        template = source.options.get("template")
        if not template:
            raise ConfigurationError(
                "format asterisk-custom needs the option template",
                hint="give the line of cdr_custom.conf, or the columns' names separated by commas",
            )
        yield from _decode(stream, source, self.name, _layout_of(names_of_template(template)))


def _layout_of(names: tuple[str, ...]) -> _Layout:
    def layout(row: list[str]) -> tuple[str, ...] | None:
        return names if len(row) == len(names) else None

    return layout


def _layout_by_count(row: list[str]) -> tuple[str, ...] | None:
    """Return the columns' names of a row of cdr-csv, or None when no setting writes so many."""
    count = len(row)
    if count in _BY_EVIDENCE:
        name = "uniqueid" if is_uniqueid(row[16]) else "userfield"
        return (*_FIXED, name, *_BY_EVIDENCE[count])
    return _LAYOUTS.get(count)


def _parse(data: bytes) -> list[str] | None:
    """Return the columns of one record, or None when it is no CSV. Bytes outside UTF-8 become surrogates."""
    try:
        return next(csv.reader([data.decode("utf-8", "surrogateescape")], strict=True))
    except (csv.Error, StopIteration):
        return None


@lru_cache(64)
def _getter(names: tuple[str, ...]) -> Callable[[list[str]], tuple[str, ...]]:
    return itemgetter(*places(names))


def _decode(stream: BinaryIO, source: SourceConfig, format_name: str, layout: _Layout) -> Iterator[Decoded]:
    """Yield the rows of a delivery; one of nothing but a line of names holds none."""
    by_row = _ByRow(Rows(source, format_name), layout)
    return or_nothing(_stretches(stream, by_row), lambda: by_row.is_headed)


def _stretches(stream: BinaryIO, by_row: _ByRow) -> Iterator[Decoded]:
    """Yield plain blocks at once, and from the first that is not plain on, row by row."""
    blocks = PlainBlocks(read_blocks(stream), by_row.plain)
    position = 0
    for plain in blocks:
        yield from shifted([by_row.whole(plain)], position)
        position += plain.rows.count
    if blocks.rest is not None:
        rest, offset = blocks.rest
        yield from shifted(by_row.decoded(rest), position, offset)


class _Plain(NamedTuple):
    """The records of a block's plain rows, which rows are understood, and how many columns they have."""

    rows: PlainRows
    table: pa.Table
    understood: Mask
    width: int


def _names(block: Block, layout: _Layout) -> tuple[str, ...] | None:
    """Return the columns' names of a block by its first row that is one; None where none is found soon.

    Where their number leaves two layouts, only that with a uniqueid is taken: a row of the other one has none.
    """
    head = block.data[:_HEAD_BYTES]
    for line in head[: head.rfind(b"\n") + 1].split(b"\n", _FIRST_LINES)[:_FIRST_LINES]:
        row = _parse(line)
        names = None if row is None else layout(row)
        if names is not None and (
            "uniqueid" in names or layout is not _layout_by_count or len(names) not in _BY_EVIDENCE
        ):
            return names
    return None


@lru_cache(64)
def _wanted(names: tuple[str, ...]) -> dict[str, int | None]:
    found = zip(USED, places(names), strict=True)
    return {name: None if place < 0 else place for name, place in found if name in PLAIN}


class _ByRow:
    """The rows of one delivery, one by one; `width` is how many columns the last one had.

    `is_headed` tells whether a line of names stood among them.
    """

    is_headed = False

    def __init__(self, rows: Rows, layout: _Layout) -> None:
        self._rows, self._layout = rows, layout
        self._occurrences = Occurrences()
        self._width = 0

    def decoded(self, stream: BinaryIO) -> Iterator[Decoded]:
        """Yield the rows of a stream."""

        def accept(data: bytes) -> bool:
            row = _parse(data)
            return row is not None and self._layout(row) is not None

        stretch = _Stretch()
        for line in read_records(stream, accept):
            self._take(stretch, line)
            if stretch.is_full():
                yield stretch.decoded(self._occurrences)
                stretch = _Stretch()
        if stretch.records or stretch.rejects:
            yield stretch.decoded(self._occurrences)

    def plain(self, block: Block) -> _Plain | None:
        """Return the records of a block's plain rows; None when it has to be read row by row."""
        names = _names(block, self._layout)
        rows = None if names is None else plain_rows(block, len(names), _wanted(names))
        if names is None or rows is None:
            return None

        def lines_of(asked: Ints) -> Iterator[bytes]:
            return map(rows.lines.line, rows.indices[asked].tolist())

        return _Plain(rows, *plain_records(rows.columns, rows.positions, self._rows, lines_of), len(names))

    def whole(self, plain: _Plain) -> Decoded:
        """Return the rows of a block; only those in which something is in doubt are read one by one."""
        rows, table = plain.rows, numbered(plain.table, self._occurrences)

        def raw_of(asked: Sequence[int]) -> list[bytes | None]:
            lines = [rows.line(rows.at(position)).data for position in asked]
            return [_without_content(self._layout(row) or (), row) for row in map(_parse, lines) if row is not None]

        rest, before = _Stretch(), int(rows.places[0]) - 1
        for line in rows.odd_lines(plain.understood):
            if line.position != before + 1:
                self._width = plain.width
            self._take(rest, line)
            before = line.position
        if before != int(rows.places[-1]):
            self._width = plain.width
        if not rest.records and not rest.rejects:
            return Decoded(table, [], raw_of)
        part = rest.decoded(self._occurrences)
        return Decoded(
            pa.concat_tables([RECORDS.delivered(table), part.table]).sort_by("position"), part.rejects, raw_of
        )

    def _take(self, stretch: _Stretch, line: Line) -> None:
        stretch.size_bytes += len(line.data)
        if line.reason is not None:
            stretch.rejects.append(line.reject(line.reason))
            return
        row = _parse(line.data)
        names = None if row is None else self._layout(row)
        if row is None or b"\x00" in line.data:
            stretch.rejects.append(line.reject(RejectReason.ENCODING if row else RejectReason.MALFORMED))
        elif names is None or (not line.terminated and self._width and len(row) != self._width):
            # The writer had not finished the last row: its columns so far may be those of an older layout.
            stretch.rejects.append(line.reject(RejectReason.COLUMN_COUNT))
        elif row[:3] == _HEADER:
            self.is_headed = line.terminated
        else:
            self._width = len(row)
            try:
                stretch.records.append(self._rows.record(line.position, _getter(names)([*row, ""]), line.data))
                stretch.taken[line.position] = (names, line.data)
            except Refusal as refusal:
                raw = _without_content(names, row)
                stretch.rejects.append(line.reject(refusal.reason, field=refusal.field, raw=raw))


class _Stretch:
    """Some rows of a delivery; their bytes are held for what is refused later."""

    def __init__(self) -> None:
        self.records: list[tuple[Any, ...]] = []
        self.rejects: list[Reject] = []
        self.taken: dict[int, tuple[tuple[str, ...], bytes]] = {}
        self.size_bytes = 0

    def is_full(self) -> bool:
        return len(self.records) + len(self.rejects) >= _STRETCH_ROWS or self.size_bytes >= _STRETCH_BYTES

    def decoded(self, occurrences: Occurrences) -> Decoded:
        return Decoded(table_of(self.records, occurrences), self.rejects, self.raw_of)

    def raw_of(self, positions: Sequence[int]) -> list[bytes | None]:
        return [_without_content(names, _parse(data) or []) for names, data in map(self.taken.__getitem__, positions)]


def _without_content(names: tuple[str, ...], row: list[str]) -> bytes:
    """Return a row in which every column that is not read is empty, since it may hold what was said."""
    text = io.StringIO()
    values = [value if name in USED else "" for name, value in zip(names, row, strict=True)]
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="").writerow(values)
    return text.getvalue().encode("utf-8", "surrogateescape")
