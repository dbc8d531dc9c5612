"""Plain blocks of CSV are read like rows one by one: records, rejects, what is kept of them, positions and offsets."""

from __future__ import annotations

import csv
import functools
import io
import re
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import formats
from ingest.decoders import slices
from ingest.decoders.asterisk import columns as asterisk_columns
from ingest.decoders.asterisk import rows as asterisk_rows
from ingest.decoders.freeswitch.csv_cdr import TEMPLATES
from ingest.decoders.plain_rows import plain_rows
from ingest.source_config import SourceConfig
from tests.examples import examples
from tests.ingest.decoding import fixture
from tests.ingest.reading import taken
from tests.ingest.threegpp_made import told

NEVER = 1 << 60
NAMES, TYPES, *ROWS = fixture("cucm", "cdr.csv").decode().splitlines(keepends=True)
MADE = {
    name: formats.delivery(name, 12, datetime(2026, 11, 1, tzinfo=UTC))[0].decode()
    for name in ("cucm-cdr", "asterisk-csv", "freeswitch-csv")
}


def by_blocks(*, wanted: bool) -> Any:
    return mock.patch.multiple(slices, KERNEL_BYTES_MIN=0 if wanted else NEVER, LOAD_BYTES_MIN=0)


def read(name: str, data: bytes, *, wanted: bool, **options: str) -> Any:
    """Return records and rejects by one road; a column that a whole stretch lacks is as if it were null."""
    with by_blocks(wanted=wanted):
        records, rejects = taken(name, data, SourceConfig("s", zone="Europe/Stockholm", options=options))
    return told(records), rejects


def same(name: str, data: bytes, **options: str) -> Any:
    found = read(name, data, wanted=True, **options)
    assert found == read(name, data, wanted=False, **options)
    return found


@pytest.mark.parametrize("name", MADE)
def test_made_deliveries(name: str) -> None:
    records, rejects = same(name, MADE[name].encode())
    assert len(records) == 12
    assert rejects == []
    lines = MADE[name].splitlines(keepends=True)
    for index in range(len(lines)):
        same(name, "".join([*lines[:index], *lines[index + 1 :]]).encode())
        same(name, "".join([*lines[:index], lines[index].replace(",", ",,", 1), *lines[index + 1 :]]).encode())


def test_a_row_that_is_refused_is_told_with_its_place_and_values() -> None:
    bad = ROWS[1].replace(",1795165300,", ",x,")
    assert bad != ROWS[1]
    records, rejects = same("cucm-cdr", "".join([NAMES, TYPES, ROWS[0], bad, ROWS[2]]).encode())
    assert [len(records), len(rejects)] == [2, 1]
    assert rejects[0].offset == len((NAMES + TYPES + ROWS[0]).encode())
    assert rejects[0].raw is not None and b"0b7e2c1a" in rejects[0].raw


PIECES = st.sampled_from(
    [NAMES, TYPES, *ROWS, ROWS[0].rstrip("\n") + "\r\n", "\n", " \n", '"', ",", "\0", "é", "\ufeff",
     ROWS[0].replace('"', ""),
     ROWS[0].replace("46701740605", '4670"1740605'), ROWS[0].replace('"46701740605"', '"a ""b"" c"'),
     ROWS[0].replace('"46701740605"', '"a\nb"'), ROWS[0].rstrip("\n") + ",\n", ROWS[0].partition(",")[2]]
)  # fmt: skip


@examples(40)
@given(
    pieces=st.lists(PIECES, max_size=8),
    headed=st.booleans(),
    cut=st.integers(0, 3),
    block_bytes=st.sampled_from([600, 2_000, 1 << 22]),
)
def test_any_file_of_calls(pieces: list[str], headed: bool, cut: int, block_bytes: int) -> None:
    data = ("".join([NAMES, TYPES] if headed else []) + "".join(pieces)).encode()
    with mock.patch.object(slices.read_blocks, "__kwdefaults__", {**_DEFAULTS, "block_bytes": block_bytes}):
        same("cucm-cdr", data[: len(data) - cut])


ASTERISK = fixture("asterisk", "master_21.csv").decode().splitlines(keepends=True)
ROW, HEADER = ASTERISK[0], '"accountcode","src","dst"\n'
CHANGES = [
    ("2026-11-20 08:15:02", ""), ("2026-11-20 08:15:02", "1795158902.1"),
    ("2026-11-20 08:15:02", "2026-10-25 02:15:02"),
    ("2026-11-20 08:17:31", ""), ("2026-11-20 08:17:31", "2026-11-20 08:15:01"), ("2026-11-20 08:15:09", "x"),
    (",149,", ",,"), (",149,", ",149.25,"), (",149,", ",x,"), (",142,", ",,"), ("1795158902.52", ""),
    ("46701740605", ""),
    ("1795158902.52", "pbx-1-1795158902.52"), ("1795158902.52", "odd"), (",57", ","), ("ANSWERED", "Busy"),
    ("Alva", "Åke"),
    ("PJSIP/trunk-nord-0000001a", "Local/46701@ctx-0000001a;1"), ("PJSIP/kund42-0000001b", "DAHDI/i1/4670-1f"),
    ("PJSIP/kund42-0000001b", ""), ('"cust-0042"', "accountcode"), ("kontor", "a\nb"), ("kontor", 'a "b'), (",57", ""),
]  # fmt: skip
CALLS = st.lists(st.sampled_from(CHANGES), max_size=2).map(
    lambda changes: functools.reduce(lambda row, change: row.replace(*change), changes, ROW)
)


@examples(50)
@given(
    rows=st.lists(st.one_of(CALLS, st.sampled_from([*ASTERISK, "\n", HEADER])), max_size=8),
    kept=st.sampled_from([[], [16], [17], [16, 17], [18, 19, 20], [16, 18, 19, 20], [16, 17, 18, 19, 20]]),
    cut=st.sampled_from([0, 0, 1, 2, 9]),
    block_bytes=st.sampled_from([700, 2_000, 1 << 22]),
)
def test_any_file_of_asterisk(rows: list[str], kept: list[int], cut: int, block_bytes: int) -> None:
    made = [row if row in ("\n", HEADER) else cut_down(row, kept) for row in rows]
    data = "".join(made).encode()
    with mock.patch.object(slices.read_blocks, "__kwdefaults__", {**_DEFAULTS, "block_bytes": block_bytes}):
        same("asterisk-csv", data[: len(data) - cut])


def cut_down(row: str, kept: list[int]) -> str:
    """Return a row with the 16 fixed columns and some of the optional ones."""
    try:
        values = next(csv.reader([row]))
    except csv.Error:
        return row
    if len(values) != 21 or kept == [16, 17, 18, 19, 20]:
        return row
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([values[place] for place in (*range(16), *kept)])
    return text.getvalue()


def test_one_row_in_doubt_does_not_hold_up_the_others() -> None:
    doubtful = ROW.replace("46701740605", "", 1)
    records, rejects = same("asterisk-csv", (ROW + doubtful + ROW).encode())
    assert rejects == []
    assert [record["calling_number"] for record in records] == ["46701740605"] * 3


LEGS = {name: fixture("freeswitch", f"master_{name}.csv").decode().splitlines(keepends=True) for name in TEMPLATES}
LEG_CHANGES = [
    ("2026-11-20 10:00:00", ""), ("2026-11-20 10:00:05", "1970-01-01 01:00:00"), ("2026-11-20 10:00:05", ""),
    ("2026-11-20 10:01:05", ""), ("2026-11-20 10:01:05", "2026-10-25 02:30:00"), ("2026-11-20 10:01:05", "x"),
    ("2026-11-20 10:01:05", "2026-11-20 09:01:05"), ('"60"', '""'), ('"60"', '"6 0"'), ('"65"', '""'),
    ("0f6a1b2c", "0F6A1B2C"), ("0f6a1b2c", "0f6a1b2"), ("NORMAL_CLEARING", "USER_BUSY"), ("NORMAL_CLEARING", ""),
    ("46701740605", 'a"b'), ("46701740605", "é"), ('"46701740605"', "46701740605"), ('","', '", "'), ('","', '" , "'),
    ("192.0.2.40", "0f6a1b2c-0001-4d00-9c00-46aa00000001"), ("192.0.2.40", "host"), ("inbound", "outbound"),
    ("\n", "\r\n"), ("\n", " \n"), ("46701740605", "\0"), ("46701740605", "\udcff"), ("46701740605", ""),
]  # fmt: skip
LEG = st.builds(
    lambda rows, at, changes: functools.reduce(lambda row, change: row.replace(*change), changes, rows[at]),
    st.sampled_from([*LEGS.values()]),
    st.integers(0, 1),
    st.lists(st.sampled_from(LEG_CHANGES), max_size=2),
)


@examples(70)
@given(
    rows=st.lists(LEG | st.sampled_from(["\n", '"\n', "INSERT INTO cdr VALUES ();\n"]), max_size=8),
    of=st.sampled_from([None, *LEGS]),
    option=st.booleans(),
    cut=st.sampled_from([0, 0, 1, 2, 9]),
    block_bytes=st.sampled_from([700, 1 << 22]),
)
def test_any_file_of_legs(rows: list[str], of: str | None, option: bool, cut: int, block_bytes: int) -> None:
    data = "".join([*LEGS[of], *rows, *LEGS[of]] if of else rows).encode("utf-8", "surrogateescape")
    options = {"template": of} if of and option else {}
    with mock.patch.object(slices.read_blocks, "__kwdefaults__", {**_DEFAULTS, "block_bytes": block_bytes}):
        same("freeswitch-csv", data[: len(data) - cut], **options)


_DEFAULTS: dict[str, Any] = dict(slices.read_blocks.__kwdefaults__ or {})


@settings(deadline=None)
@given(
    lines=st.lists(
        st.lists(
            st.sampled_from(["", "a", '"', '""', '"a"', '"a,b"', '"a""b"', '"a\nb"', 'a"b', "\0", "\r", " "]),
            max_size=4,
        ),
        max_size=4,
    ),
    width=st.integers(1, 4),
    ended=st.booleans(),
)
def test_what_is_plain_is_read_alike_by_the_csv_module(lines: list[list[str]], width: int, ended: bool) -> None:
    text = "\n".join(",".join(values) for values in lines) + ("\n" if ended else "")
    block = slices.Block(text.encode(), 0, last=True)
    with by_blocks(wanted=True):
        rows = plain_rows(block, width, {str(place): place for place in range(width)})
    split = [line.removesuffix("\r") for line in text.split("\n")[:-1]]
    tail = text.split("\n")[-1]
    if width == 1 or any(line.count('"') & 1 for line in (*split, tail)):
        assert rows is None
        return
    assert rows is not None
    found = list(zip(*(column.to_pylist() for column in rows.columns.values()), strict=True))
    plain = {index: row for index, line in enumerate(split) if (row := read_plainly(line, width)) is not None}
    assert dict(zip(rows.indices.tolist(), found, strict=True)) == plain
    assert len(rows.odd) == len(split) + bool(tail)
    assert rows.count == sum(bool(line.strip()) for line in (*split, tail))


def read_plainly(line: str, width: int) -> tuple[str, ...] | None:
    """Return the values of a line of CSV, None when it is none that everybody reads alike."""
    value = r'(?:"(?:[^"]|"")*"|[^",]*)'
    if not re.fullmatch(f"{value}(?:,{value})*", line) or set(line) & set("\0\r") or not line:
        return None
    row = next(csv.reader([line], strict=True))
    return tuple(row) if len(row) == width else None


@given(
    channel=st.from_regex(
        re.compile(r"(Local|PJSIP|DAHDI|SIP)?/?[a-fxé]{0,3}(/[a-f0-9x]{0,3}){0,2}(-[0-9a-fx]{0,4}){0,2}(;[123])?"),
        fullmatch=True,
    ),
    uniqueid=st.from_regex(re.compile(r"([a-z0-9é-]{0,4}-)?[0-9x]{7,12}[.]{0,2}[0-9]{0,3}[ x]?"), fullmatch=True),
)
def test_channels_and_uniqueids_are_read_like_single_texts(channel: str, uniqueid: str) -> None:
    before = pa.array(["x", channel, ""]).slice(1)
    assert asterisk_columns._trunk(before).to_pylist() == [asterisk_rows.trunk_of(channel), None]
    understood = np.ones(4, np.bool_)
    columns = {
        "uniqueid": pa.array(["x", uniqueid, "1795158902.52", "", ""]).slice(1),
        "linkedid": pa.array(["", "", "", "1795158902.52"]),
    }
    system = asterisk_columns._system(columns, understood)
    found = asterisk_rows._UNIQUEID.fullmatch(uniqueid)
    assert understood.tolist() == [found is not None, True, True, False]
    assert system.to_pylist() == [found and found.group(1), None, None, None]


@given(texts=st.lists(st.sampled_from(["", "0", "7", "123456789", "1234567890", "-1", "+1", " 1", "0x1", "1.0", "é"])))
def test_figures_are_read_like_single_texts(texts: list[str]) -> None:
    found, bad = slices.figures(pa.array(texts, pa.string()), 9)
    good = [text.isdecimal() and len(text) <= 9 for text in texts]
    assert found.to_pylist() == [int(text) if fine else None for text, fine in zip(texts, good, strict=True)]
    assert bad.tolist() == [bool(text) and not fine for text, fine in zip(texts, good, strict=True)]


@pytest.mark.parametrize("name", MADE)
def test_a_line_that_is_too_long_is_told_where_it_stands(name: str) -> None:
    head, *rows = MADE[name].splitlines(keepends=True)
    data = "".join([head, *rows[:2], "x" * (2 << 20), "\n", "\ufeff", *rows[2:]]).encode()
    with mock.patch.object(slices.read_blocks, "__kwdefaults__", {**_DEFAULTS, "block_bytes": 1 << 17}):
        _, rejects = same(name, data)
    assert rejects[0].length_bytes == 2 << 20
