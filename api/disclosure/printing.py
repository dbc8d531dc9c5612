"""Records as people and programs read them: CSV and NDJSON, times in RFC 3339. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from schemas.fields import BY_NAME, Kind

_SLICE_ROWS: Final = 10_000
_SIGNS: Final = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA: Final = re.compile(rf"^(?=[{_SIGNS}\t\r\n])|(?<=[;\t\r\n])(?=[\s\"]*[{_SIGNS}])")
"""Where a formula may begin: at the text's start, and where a spreadsheet whose separator is a semicolon, as in much of
Europe, cuts the line in two, whatever our commas and quotes say."""
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


def printable(records: pa.Table, names: Sequence[str]) -> pa.Table:
    """Return the permitted columns only, times as RFC 3339 texts and labels as texts."""
    table = records.select([name for name in names if name in records.column_names])
    for position, name in enumerate(table.column_names):
        if BY_NAME[name].kind is Kind.TIME:
            texts = [None if value is None else value.strftime(_TIME_FORMAT) for value in table[name].to_pylist()]
            table = table.set_column(position, name, pa.array(texts, pa.string()))
        elif pa.types.is_dictionary(table[name].type):
            table = table.set_column(position, name, pc.cast(table[name], pa.string()))
    return table


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
    sink = io.BytesIO()
    for row in rows(table):
        kept = {name: value for name, value in row.items() if value is not None}
        sink.write(orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE))
    return sink.getvalue()


def to_csv(table: pa.Table, names: Sequence[str]) -> bytes:
    """Return RFC 4180 with a header, every permitted field; no text of it is a formula."""
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, lineterminator="\r\n")
    writer.writerow(names)
    for row in rows(table):
        writer.writerow([_cell(row.get(name)) for name in names])
    return sink.getvalue().encode("utf-8")


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return inert(value) if isinstance(value, str) else value


def inert(text: str) -> str:
    """Return a text that a spreadsheet shows and does not run; a caller's name is the caller's own to choose.

    Source: OWASP, CSV Injection.
    """
    return _FORMULA.sub("'", text)
