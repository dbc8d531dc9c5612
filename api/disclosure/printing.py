"""Records as people and programs read them: CSV and NDJSON, times in RFC 3339. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
import pyarrow as pa

from api.handover import columns
from schemas.buffers import Column, flat, pc
from schemas.errors import IntegrityError
from schemas.fields import BY_NAME, Kind

_SLICE_ROWS: Final = 10_000
_SIGNS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA: Final = re.compile(rf"^(?=[{_SIGNS}\t\r\n])|(?<=[;\t\r\n])(?=[\s\"]*[{_SIGNS}])")
"""Where a formula may begin: at the text's start, and where a spreadsheet whose separator is a semicolon, as in much of
Europe, cuts the line in two, whatever our commas and quotes say."""
_QUOTED: Final = re.compile('[,"\r\n]')
_IN_CSV: Final = columns.Octets.of(b',;"\t\r\n', first=b"=+-@\xef")
"""For which `_cell` may change a text; the signs of full width begin with the last."""
_IN_JSON: Final = columns.Octets.of(b'"\\' + bytes(range(0x20)))
FIRST_US, END_US = -62_135_596_800_000_000, 253_402_300_800_000_000
"""The years 1 to 9999."""


def printable(records: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the permitted columns only, times as RFC 3339 texts and labels as texts.

    Raises:
        IntegrityError: a time is in no year that RFC 3339 can write.
    """
    table = records.select([name for name in names if name in records.column_names])
    for position, name in enumerate(table.column_names):
        if BY_NAME[name].kind is Kind.TIME:
            table = table.set_column(position, name, _moments(table[name]))
        elif pa.types.is_dictionary(table[name].type):
            table = table.set_column(position, name, pc.cast(table[name], pa.string()))
    return table


def _moments(column: Column) -> Column:
    """Write times as `2026-05-21T13:01:00.000000Z`."""
    bounds = pc.min_max(column.cast(pa.int64()))
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if low is not None and (low < FIRST_US or high >= END_US):
        raise IntegrityError("a record has a time that no calendar tells")
    texts = flat(column).cast(pa.timestamp("us")).cast(pa.string())
    return columns.joined(pc.binary_replace_slice(texts, 10, 11, "T"), "Z")


def count(records: pa.Table, name: str) -> int:
    """Return how many records have a flag set."""
    if name not in records.column_names:
        return 0
    return int(pc.sum(pc.cast(records[name], pa.int64())).as_py() or 0)


def rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield the records one by one."""
    for start in range(0, table.num_rows, _SLICE_ROWS):
        yield from table.slice(start, _SLICE_ROWS).to_pylist()


def ndjson(table: pa.Table) -> bytes:
    """Return one object per record, fields that have a value."""
    return b"".join(_objects(piece) for piece in columns.stretches(table))


def _objects(table: pa.Table) -> memoryview:
    members = []
    for name in table.column_names:
        values = columns.as_texts(table[name])
        if pa.types.is_string(table[name].type):
            values = columns.joined('"', columns.rewritten(values, _IN_JSON, _json_text), '"')
        members.append(columns.joined(f',"{name}":', values))
    # The brace takes the place of the first comma, whichever member it stands before.
    opened = pc.binary_replace_slice(columns.present(*members), 0, 1, "{")
    return columns.octets_of(columns.joined(opened, "}\n"))


def _json_text(text: str) -> str:
    return orjson.dumps(text).decode("utf-8")[1:-1]


def to_csv(table: pa.Table, names: Sequence[str]) -> bytes:
    """Return RFC 4180 with a header, every permitted field, of which there are several; no text of it is a formula."""
    header = ",".join(names) + "\r\n"
    return b"".join([header.encode("utf-8"), *(_lines(piece, names) for piece in columns.stretches(table))])


def _lines(table: pa.Table, names: Sequence[str]) -> memoryview:
    cells: list[Any] = []
    for name in names:
        if name not in table.column_names:
            cells.append("")
            continue
        values = columns.as_texts(table[name])
        if pa.types.is_string(table[name].type):
            values = columns.rewritten(values, _IN_CSV, _cell)
        cells.append(pc.fill_null(values, columns.scalar("")))
    return columns.octets_of(columns.joined(columns.joined(*cells, between=","), "\r\n"))


def _cell(text: str) -> str:
    """Write a text as RFC 4180 has it: in quotes where it could be read as more than one cell."""
    shown = inert(text)
    return '"' + shown.replace('"', '""') + '"' if _QUOTED.search(shown) else shown


def inert(text: str) -> str:
    """Return a text that a spreadsheet shows and does not run; a caller's name is the caller's own to choose.

    Source: OWASP, CSV Injection.
    """
    return _FORMULA.sub("'", text)
