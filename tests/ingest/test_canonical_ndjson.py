"""Canonical NDJSON: the same fields, the same records, and every line accounted for."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.workload import tables, write_csv
from ingest.decoders.base import RECORD_BYTES_MAX
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest.reading import Pipe, packed, taken

RECORD: dict[str, Any] = {
    "record_key": "1",
    "service_type": "voice",
    "start_time": "2026-11-01T10:00:00Z",
    "switch": "a",
    "calling_number": "46701234567",
    "duration_ms": 1500,
}


def line(**changes: Any) -> bytes:
    return orjson.dumps({**RECORD, **changes})


def test_csv_and_ndjson_bring_the_same_records() -> None:
    rows = 5_000
    text = io.BytesIO()
    write_csv(text, rows)
    table = pa.concat_tables(tables(rows))
    lines = [
        orjson.dumps({**row, "start_time": f"{row['start_time']:%Y-%m-%dT%H:%M:%S.%fZ}"}) for row in table.to_pylist()
    ]
    assert packed("ndjson", b"\n".join(lines)).to_pylist() == packed("csv", text.getvalue()).to_pylist()


@pytest.mark.parametrize(
    ("bad", "reason", "kept"),
    [
        (b"{", RejectReason.MALFORMED, False),
        (b"[1]", RejectReason.MALFORMED, False),
        (b"nonsense", RejectReason.MALFORMED, False),
        (line()[:-9], RejectReason.MALFORMED, False),
        (line() + line(), RejectReason.MALFORMED, False),
        (line(switch="x").replace(b"x", b"\xff"), RejectReason.ENCODING, False),
        (line(switch="a\x00b"), RejectReason.ENCODING, True),
        (line(duration_ms="x"), RejectReason.BAD_FIELD, True),
        (line(duration_ms=1.5), RejectReason.BAD_FIELD, True),
        (line(duration_ms=True), RejectReason.BAD_FIELD, True),
        (line().replace(b"1500", b"1" + b"0" * 25), RejectReason.BAD_FIELD, True),
        (line(switch=["a"]), RejectReason.BAD_FIELD, True),
        (line(calling_number=1.0), RejectReason.BAD_FIELD, True),
        (line(start_time="yesterday"), RejectReason.BAD_TIME, True),
        (line(start_time=1793527200), RejectReason.BAD_FIELD, True),
        (line(record_key=None), RejectReason.MISSING_FIELD, True),
        (line(source_ip="10.0.0"), RejectReason.BAD_FIELD, True),
        (line(batch_id=7), RejectReason.UNSUPPORTED, True),
    ],
)
def test_one_bad_line_is_refused_alone(bad: bytes, reason: RejectReason, kept: bool) -> None:
    records, rejects = taken("ndjson", b"\n".join([line(), bad, line(record_key="3"), b""]))
    assert [record["record_key"] for record in records] == ["1", "3"]
    assert [(reject.position, reject.reason, reject.raw is not None) for reject in rejects] == [(2, reason, kept)]


def test_content_under_an_unknown_name_is_not_kept() -> None:
    _, (reject,) = taken("ndjson", line(text="see you at nine") + b"\n")
    assert reject.raw is not None
    assert b"nine" not in reject.raw
    assert orjson.loads(reject.raw) == RECORD


def test_a_malformed_line_may_hold_content_and_is_not_kept() -> None:
    _, (reject,) = taken("ndjson", b'{"text":"see you at nine"\n')
    assert reject.raw is None
    assert reject.length_bytes == 25


def test_numbers_and_texts_are_taken_for_identifiers_and_figures() -> None:
    lines = [
        line(record_key=7, duration_ms="250"),
        line(record_key=8, calling_number=None, switch=None),
        line(record_key="008", end_inferred=True),
        orjson.dumps({key: value for key, value in RECORD.items() if key != "duration_ms"} | {"duration_s": 2.25}),
    ]
    for order in (lines, lines[::-1], *([one] for one in lines)):
        records, rejects = taken("ndjson", b"\n".join(order))
        assert not rejects
        assert len(records) == len(order)
    records, _ = taken("ndjson", b"\n".join(lines))
    assert [record["record_key"] for record in records] == ["7", "8", "008", "1"]
    assert [record["duration_ms"] for record in records] == [250, 1500, 1500, 2250]
    assert records[1]["calling_number"] is None
    assert records[1]["switch"] == "switch"


def test_one_field_under_two_names_must_agree() -> None:
    records, rejects = taken("ndjson", b"\n".join([line(duration_s=1.5), line(duration_s=2)]))
    assert [record["duration_ms"] for record in records] == [1500]
    assert [(reject.position, reject.field) for reject in rejects] == [(2, "duration_ms")]


def test_records_without_keys_get_the_same_keys_again() -> None:
    bare = orjson.dumps({key: value for key, value in RECORD.items() if key != "record_key"})
    once, _ = taken("ndjson", b"\n".join([bare, bare]))
    again, _ = taken("ndjson", Pipe(b"\n".join([bare, bare, b"x"]), 7))
    assert [record["record_key"] for record in once] == [record["record_key"] for record in again]
    assert len({record["record_key"] for record in once}) == 2


def test_a_record_of_nothing_but_its_key_is_refused_beside_others_without_keys() -> None:
    keyless = orjson.dumps({name: value for name, value in RECORD.items() if name != "record_key"})
    records, rejects = taken("ndjson", b"\n".join([keyless, b'{"record_key":"7"}', b"{}"]))
    assert len(records) == 1
    assert [(one.position, one.reason) for one in rejects] == [
        (2, RejectReason.MISSING_FIELD),
        (3, RejectReason.MISSING_FIELD),
    ]


def test_an_overlong_line_is_one_reject() -> None:
    long = line(user_agent="x" * (RECORD_BYTES_MAX + 1))
    records, rejects = taken("ndjson", b"\n".join([line(), long, line(record_key="3")]))
    assert len(records) == 2
    assert [(reject.position, reject.reason, reject.raw) for reject in rejects] == [(2, RejectReason.TOO_LONG, None)]


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.lists(st.integers(), max_size=2)
)
NAMES = st.sampled_from(
    ["record_key", "duration_s", "duration_ms", "start_time", "switch", "mac", "colour", "source_port"]
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4).map(lambda changes: {**RECORD, **changes})


def _dumps(value: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return b"{}"


@given(st.lists(OBJECTS.map(_dumps) | st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"")), max_size=8))
@examples(70)
def test_no_lines_make_it_fall_over_or_get_lost(lines: list[bytes]) -> None:
    records, rejects = taken("ndjson", b"\n".join([line(), *lines]))
    assert len(records) + len(rejects) == 1 + len([one for one in lines if one.strip()])
