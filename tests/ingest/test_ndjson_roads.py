"""The roads of canonical NDJSON bring the same: compiled kernels, Arrow's parser, line by line."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.workload import tables
from ingest.decoders.canonical import ndjson as canonical_ndjson
from ingest.decoders.canonical.columns import FIGURES
from ingest.decoders.csv_walk import Walker
from ingest.decoders.padded import Padded
from ingest.decoders.slices import Block
from ingest.source_config import SourceConfig
from schemas.fields import Kind
from tests.examples import examples
from tests.ingest.roads import GOOD, VALUES, same

PLAIN = {
    name: int(text) if canonical_ndjson._COLUMNS[name].kind in FIGURES else text for name, text in GOOD.items() if text
}
ODD: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.integers(-(10**20), 10**20),
    st.integers(0, 10**6),
    st.booleans(),
    st.sampled_from(["", 1.5, -0.0, [], {}, "a\\b", 'say "hi"', "ä", "\t", "\0", "42"]),
)


def walks(data: bytes) -> bool:
    """Tell whether the kernels take these lines."""
    shape = canonical_ndjson._shape(data.partition(b"\n")[0])
    if shape is None:
        return False
    columns = [canonical_ndjson._COLUMNS[name] for name in shape[0]]
    return Walker(columns, None, shape[1]).walk(Padded.of(Block(data, 0))) is not None


def test_the_reference_workload_is_walked_and_comes_out_as_on_arrows_road() -> None:
    rows = next(tables(3_000)).to_pylist()
    for row in rows:
        row["start_time"] = f"{row['start_time']:%Y-%m-%dT%H:%M:%S.%fZ}"
    for write in (orjson.dumps, lambda row: json.dumps(row).encode()):
        for end in (b"\n", b"\r\n"):
            data = b"".join(write(row) + end for row in rows)
            assert walks(data)
            for block_bytes in (6 << 20, 100_000):
                same(data, SourceConfig("switch", country="SE"), block_bytes, "ndjson")


@st.composite
def values(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an object that is good but for a few of its values."""
    made = dict(PLAIN)
    for name in draw(st.lists(st.sampled_from(list(PLAIN)), max_size=3)):
        texts = VALUES[name].filter(lambda text: "\t" not in text)
        figure = canonical_ndjson._COLUMNS[name].kind in FIGURES
        made[name] = draw(st.none() | st.integers(0, 10**6) if figure else st.none() | texts)
    return made


@given(
    st.lists(values(), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 29), st.sampled_from(list(PLAIN)), ODD), max_size=2),
    st.sampled_from([None, "SE", "US"]),
    st.sampled_from([None, "Europe/Stockholm"]),
    st.booleans(),
)
@examples(70)
def test_any_values_come_out_the_same(
    rows: list[dict[str, Any]], odd: list[tuple[int, str, Any]], country: str | None, zone: str | None, spaced: bool
) -> None:
    for place, name, value in odd:
        rows[place % len(rows)][name] = value
    separators = (", ", ": ") if spaced else (",", ":")
    data = "\n".join(json.dumps(row, separators=separators, ensure_ascii=False) for row in rows).encode()
    same(data, SourceConfig("switch", zone, country), name="ndjson")


LINE = b'{"record_key":"1","service_type":"sms","duration_s":7,"start_time":"2026-11-01T10:00:00Z"}'
PIECES = st.sampled_from(
    [LINE, LINE[:40], b"", b"{}", b"}", b'"', b",", b"\r", b"\\", b"\xff", b" ", b"null", b'{"record_key":"1"}', b"1"]
)


@given(st.lists(st.lists(PIECES, max_size=3).map(b"".join), max_size=10))
@examples(70)
def test_any_bytes_come_out_the_same(lines: list[bytes]) -> None:
    same(b"\n".join([LINE, *lines]), SourceConfig("switch"), name="ndjson")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b" ",
        LINE + b" ",
        LINE[:-1],
        LINE.replace(b"7", b"07"),
        LINE.replace(b"7", b"-0"),
        LINE.replace(b"7", b"7.5"),
        LINE.replace(b"7", b"true"),
        LINE.replace(b"7", b'""'),
        LINE.replace(b"7", b"1" * 19),
        LINE.replace(b"sms", b"s\\ms"),
        LINE.replace(b"sms", b"s\tms"),
        LINE.replace(b"sms", b"\xff"),
        LINE.replace(b'"sms"', b"7"),
        LINE.replace(b"service_type", b"service_tipe"),
        LINE.replace(b",", b", "),
        LINE.replace(b"sms", b"x" * (1 << 20)),
        LINE + LINE,
    ],
    ids=range(18),
)
def test_a_line_that_is_not_like_the_first_is_not_walked(line: bytes) -> None:
    assert walks(LINE + b"\n" + LINE)
    assert walks(LINE + b"\r\n" + LINE.replace(b'"1"', b'""').replace(b"7", b"null") + b"\n")
    assert walks(LINE + b"\n" + LINE.replace(b'"1"', b"1234").replace(b"7", b"-7").replace(b"sms", "ä".encode()))
    assert not walks(LINE + b"\n" + line + b"\n" + LINE + b"\n")


@pytest.mark.parametrize(
    "line", [b"[1]", b'{"record_key":[1]}', b'{"a":1}', b'{"cause":"1","cause":"2"}', b'{"cause":tru}', b"{", b""]
)
def test_a_first_line_that_is_no_plain_object_has_no_shape(line: bytes) -> None:
    assert canonical_ndjson._shape(line) is None


def test_a_flag_is_no_reason_to_lose_a_record() -> None:
    assert canonical_ndjson._COLUMNS["end_inferred"].kind is Kind.FLAG
    data = b"".join(
        LINE[:-1] + b',"end_inferred":' + flag + b"}\n" for flag in (b"true", b'"1"', b"false", b'"no"', b"0")
    )
    same(data, SourceConfig("switch"), name="ndjson")
