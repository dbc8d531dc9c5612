"""Files written by columns have the octets of files written cell by cell, whatever the texts are."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.disclosure import printing
from api.disclosure.completeness import Tally
from api.handover import ts102657
from schemas.arrow import LABEL_TYPE, PACKED, delivered_type
from schemas.errors import IntegrityError
from schemas.fields import FIELDS, Field, Kind
from store.clock import to_datetime
from store.partitions import day_to_date
from tests.api.handover import plain
from tests.api.handover.made import HEADER, NAMES, result
from tests.examples import examples
from tests.store.records import DAY_US

ODD: Final = (
    *("", " ", "0", "-1", "=HYPERLINK(1)", "a;=HYPERLINK(1)", 'a; "@SUM(1)', "+", "\uff1d1", "a;\uff0b1", "\ufeff"),
    *('"', '""', "a,b", "a\r\nb", "\n", "\r=", "\t-", "'", "\\", "\\u0041", "\x00", "\x07\x1f\x7f", "\x85", "\u2028"),
    *("&amp;", "<a>", "]]>", "\ufffe", "\uffff", "\ufffd", "a\ufffe=", "\U0001f600", "\U0010ffff", "\u00e5", "\u0301"),
)
TEXTS: Final = st.one_of(
    st.sampled_from(ODD),
    st.lists(st.sampled_from(ODD), max_size=4).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
END: Final = PACKED.field("end_time")
YEAR_1000_US: Final = -30_610_224_000_000_000
LAST_US: Final = printing.END_US - 1
TIMES: Final = st.one_of(st.integers(YEAR_1000_US + DAY_US, LAST_US), st.just(LAST_US)).map(to_datetime)
NUMBERS: Final = {
    "utc_offset_s": st.one_of(st.integers(-86_399, 86_399), st.sampled_from([0, 7200, -3600, -3601, 20_700])),
    "duration_ms": st.one_of(st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, 999, 1000, -1])),
}
SERVICES: Final = st.one_of(st.sampled_from(["voice", "voip", "sms", "mms", "data", "nat", ""]), TEXTS)
FEW: Final = ("service_type", "start_time", "end_time", "duration_ms", "utc_offset_s", *sorted(plain.PARTIES))
BY_NAME: Final = {field.name: field for field in FIELDS}


def values(field: Field) -> st.SearchStrategy[Any]:
    if field.name == "service_type":
        return SERVICES
    if field.kind is Kind.TIME:
        return TIMES
    if field.kind is Kind.FLAG:
        return st.booleans()
    if field.kind is Kind.SMALL:
        return NUMBERS.get(field.name, st.integers(-(2**31), 2**31 - 1))
    if field.kind is Kind.INTEGER:
        return NUMBERS.get(field.name, st.integers(-(2**63), 2**63 - 1))
    return TEXTS


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Return records of a few fields in the table's order, in pieces, labels by dictionary."""
    others = st.sets(st.sampled_from(sorted(BY_NAME)), max_size=4)
    chosen = draw(st.sets(st.sampled_from(FEW), max_size=len(FEW))) | draw(others) | {"conflict", "end_inferred"}
    rows = draw(st.integers(1, 5))
    columns = {}
    for field in FIELDS:
        if field.name in chosen:
            cells = draw(st.lists(st.none() | values(field), min_size=rows, max_size=rows))
            kind = LABEL_TYPE if field.kind is Kind.LABEL else delivered_type(field)
            columns[field.name] = pa.array(cells, kind)
    table = pa.table(columns)
    middle = draw(st.integers(0, rows))
    return pa.concat_tables([table.slice(0, middle), table.slice(middle)])


def check(table: pa.Table, names: tuple[str, ...], first: int, *, complete: bool) -> None:
    rows, printed = plain.printed(table, names), printing.printable(table, names)
    assert printed.to_pylist() == rows
    assert list(printing.rows(printed)) == rows
    assert printing.ndjson(printed) == plain.ndjson(rows)
    assert printing.to_csv(printed, names) == plain.to_csv(rows, names)
    expected = plain.response(HEADER, rows, first, complete=complete)
    assert ts102657.response(HEADER, printed, first, complete=complete) == expected


@given(table=tables(), more=st.booleans(), first=st.integers(1, 2_000_000), complete=st.booleans())
@examples(300)
def test_every_file_is_what_it_is_cell_by_cell(table: pa.Table, more: bool, first: int, complete: bool) -> None:
    names = tuple(table.column_names)
    check(table, names, first, complete=complete)
    # Permitted fields that no record has, and fields of records that are not permitted.
    check(table, NAMES if more else (*names[1:], *{"trunk_out"}.difference(names)), first, complete=complete)


@pytest.mark.parametrize(
    ("offset_s", "local"),
    [
        (1, b"99991231235959+0000"),
        (7200, b"99991231235959+0000"),
        (0, b"99991231235959+0000"),
        (-60, b"99991231235859-0001"),
    ],
)
def test_a_local_time_beyond_the_last_year_is_told_in_utc(offset_s: int, local: bytes) -> None:
    rows = {"end_time": [to_datetime(LAST_US)] * 2, "utc_offset_s": [offset_s, 0], "service_type": ["data"] * 2}
    table = pa.table({name: pa.array(cells, delivered_type(BY_NAME[name])) for name, cells in rows.items()})
    check(table, tuple(rows), 1, complete=True)
    assert b"<endTime>" + local in FORMS["ts-102657"](printing.printable(table, tuple(rows)))


@pytest.mark.parametrize("rows", [1, 2_047, 2_048, 2_049, 4_100])
def test_and_over_more_rows_than_are_written_at_once(rows: int) -> None:
    check(result(rows), NAMES, 10_001, complete=True)


def test_one_odd_text_among_many_is_rewritten_and_the_others_are_not() -> None:
    table = result(3_000)
    place = table.column_names.index("called_number")
    for odd in ODD:
        cells = table["called_number"].to_pylist()
        cells[2_999] = odd
        check(table.set_column(place, "called_number", pa.array(cells)), NAMES, 1, complete=False)


FORMS: Final[dict[str, Callable[[pa.Table], bytes]]] = {
    "ndjson": printing.ndjson,
    "csv": lambda table: printing.to_csv(table, table.column_names),
    "ts-102657": lambda table: ts102657.response(HEADER, table, 1, complete=True),
}


@pytest.mark.parametrize("write", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("octets", [b"\xed\xa0\x80", b"\xff\xff\xff", b"ab\xc3"], ids=["surrogate", "no", "cut"])
def test_what_is_not_utf8_is_never_written(octets: bytes, write: Callable[[pa.Table], bytes]) -> None:
    def of(data: bytes) -> pa.Table:
        offsets = np.array([0, 3], np.int32).tobytes()
        text = pa.StringArray.from_buffers(1, pa.py_buffer(offsets), pa.py_buffer(data))
        return pa.table({"called_number": text, "calling_number": ["46701740007"]})

    assert b"abc" in write(of(b"abc"))
    with pytest.raises(ValueError, match="UTF8"):
        write(of(octets))


@pytest.mark.parametrize("offset_s", [86_400, -86_400, 2**31 - 1])
def test_no_time_is_told_with_an_offset_of_a_day(offset_s: int) -> None:
    row = {"start_time": "2026-05-21T13:01:00.000000Z", "utc_offset_s": 86_399}
    assert b"<startTime>20260522130059+2359</startTime>" in FORMS["ts-102657"](pa.Table.from_pylist([row]))
    with pytest.raises(ValueError, match="offset"):
        FORMS["ts-102657"](pa.Table.from_pylist([row | {"utc_offset_s": offset_s}]))


@pytest.mark.parametrize("beyond", [printing.FIRST_US - 1, printing.END_US])
def test_no_time_is_told_that_no_calendar_tells(beyond: int) -> None:
    def of(*times: int | None) -> pa.Table:
        return pa.table({"start_time": pa.array(times, pa.timestamp("us", "UTC"))})

    shown = printing.printable(of(printing.FIRST_US, None, printing.END_US - 1), ("start_time",))
    assert shown["start_time"].to_pylist() == ["0001-01-01T00:00:00.000000Z", None, "9999-12-31T23:59:59.999999Z"]
    with pytest.raises(IntegrityError, match="calendar"):
        printing.printable(of(0, beyond), ("start_time",))


@given(days=st.lists(st.integers(-2, 3), max_size=12), cut=st.integers(0, 12))
@examples(100)
def test_a_day_s_digest_is_that_of_its_lines_one_by_one(days: list[int], cut: int) -> None:
    """However the records come: days behind each other, one again, none."""
    ends = pa.table({"end_time": pa.array([day * DAY_US + place for place, day in enumerate(days)], END.type)})
    lines = [b'{"n":"%d"}\n' % place for place in range(len(days))]
    tally, expected = Tally(b"salt"), dict[str, tuple[int, hmac.HMAC]]()
    for first, last in ((0, min(cut, len(days))), (min(cut, len(days)), len(days))):
        tally.add(ends.slice(first, last - first), b"".join(lines[first:last]))
    for day, line in zip(days, lines, strict=True):
        name = day_to_date(day).isoformat()
        count, taken = expected.setdefault(name, (0, hmac.new(b"salt", name.encode(), hashlib.sha256)))
        taken.update(line)
        expected[name] = count + 1, taken
    assert tally.days() == {name: [count, taken.hexdigest()] for name, (count, taken) in sorted(expected.items())}


@pytest.mark.parametrize("lines", [b"", b"{}\n", b"{}\n{}", b"{}\n{}\n{", b"{}\n{}\n{}\n"])
def test_no_digest_is_of_more_lines_than_records_or_fewer(lines: bytes) -> None:
    two = pa.table({"end_time": pa.array([0, DAY_US], END.type)})
    Tally(b"").add(two, b"{}\n{}\n")
    with pytest.raises(ValueError, match="one line"):
        Tally(b"").add(two, lines)
