"""Normalising fills in what follows from the rest, keeps what was delivered, and refuses single rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

import ingest.normalise
from ingest.decoders.base import Decoded
from ingest.normalise import Normalised, normalise
from ingest.row_keys import RowKeys
from ingest.source_config import SourceConfig
from schemas import packing
from schemas.arrow import DELIVERED, PACKED
from schemas.errors import InputError
from schemas.fields import STORE_FIELDS
from schemas.packing import unpack_table
from schemas.rejects import Reject, RejectReason
from store import native

NOW_US = 1_795_348_800_000_000
START_US = NOW_US - 3_600_000_000
HOUR_US = 3_600_000_000


def run(rows: list[dict[str, Any]], source: SourceConfig | None = None, **more: Any) -> Normalised:
    names = list(dict.fromkeys(name for row in rows for name in row))
    fields = {"event": pa.string(), "session_key": pa.string()}
    columns = {
        name: pa.array([row.get(name) for row in rows], fields[name] if name in fields else DELIVERED.field(name).type)
        for name in names
    }
    columns["position"] = pa.array(range(1, len(rows) + 1), pa.int64())
    return normalise(Decoded(pa.table(columns), **more), source or SourceConfig("switch"), NOW_US)


def row(**changes: Any) -> dict[str, Any]:
    return {"record_key": "1", "service_type": "voice", "start_time": START_US, **changes}


def plain(result: Normalised) -> list[dict[str, Any]]:
    return unpack_table(result.table).to_pylist()


def us(result: Normalised, name: str) -> list[int | None]:
    return result.table.column(name).cast(pa.int64()).to_pylist()


def test_the_result_has_packed_types_and_nothing_that_the_store_sets() -> None:
    table = run([row(calling_number="46701", source_ip="10.0.0.1", mac="00:00:00:00:00:01", imsi="x")]).table
    for field in table.schema:
        assert field.type == PACKED.field(field.name).type
    assert not set(table.column_names) & (STORE_FIELDS - {"batch_position", "time_ambiguous"})
    assert not [name for name in table.column_names if table.column(name).null_count == table.num_rows]


def test_the_end_follows_from_start_and_duration_and_says_so() -> None:
    result = run(
        [
            row(duration_ms=1500),
            row(end_time=START_US + HOUR_US),
            row(),
            row(end_time=START_US + HOUR_US, duration_ms=7),
        ]
    )
    assert not result.rejects
    ends = [None if end is None else end - START_US for end in us(result, "end_time")]
    assert ends == [1_500_000, HOUR_US, 0, HOUR_US]
    assert result.table.column("end_inferred").to_pylist() == [True, False, True, False]
    assert result.table.column("duration_ms").to_pylist() == [1500, 3_600_000, None, 7]


def test_an_inferred_end_that_the_decoder_told_stays_inferred() -> None:
    result = run([row(end_time=START_US + 1, end_inferred=True, time_ambiguous=True), row(end_time=START_US + 1)])
    assert result.table.column("end_inferred").to_pylist() == [True, False]
    assert result.table.column("time_ambiguous").to_pylist() == [True, False]


@pytest.mark.parametrize(
    ("times", "uncertain"),
    [
        ({"answer_time": START_US, "end_time": START_US + HOUR_US}, False),
        ({"answer_time": START_US - 2_000_000, "end_time": START_US + HOUR_US}, False),
        ({"answer_time": START_US - 2_000_001, "end_time": START_US + HOUR_US}, True),
        ({"answer_time": START_US + 2_000_000, "end_time": START_US}, False),
        ({"answer_time": START_US + 2_000_001, "end_time": START_US}, True),
        (
            {"answer_time": START_US + 9_000_000, "duration_ms": 1000},
            False,
        ),  # of the end that is inferred nothing is known
        ({"answer_time": None, "end_time": START_US}, False),
    ],
)
def test_an_answer_that_is_not_between_start_and_end_makes_the_times_uncertain(
    times: dict[str, Any], uncertain: bool
) -> None:
    result = run([row(**times), row(end_time=START_US, time_ambiguous=True), row(end_time=START_US)])
    assert not result.rejects
    assert result.table.column("time_ambiguous").to_pylist() == [uncertain, True, False]


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"record_key": None}, RejectReason.MISSING_FIELD, "record_key"),
        ({"record_key": ""}, RejectReason.MISSING_FIELD, "record_key"),
        ({"service_type": None}, RejectReason.MISSING_FIELD, "service_type"),
        ({"service_type": ""}, RejectReason.MISSING_FIELD, "service_type"),
        ({"service_type": "fax"}, RejectReason.UNKNOWN_SERVICE, "service_type"),
        ({"start_time": None}, RejectReason.MISSING_FIELD, "start_time"),
        ({"start_time": 946_684_799_999_999}, RejectReason.BAD_TIME, "start_time"),
        ({"start_time": -(2**62)}, RejectReason.BAD_TIME, "start_time"),
        ({"start_time": 2**62}, RejectReason.FUTURE, "start_time"),
        ({"end_time": START_US - 1}, RejectReason.BAD_TIME, "end_time"),
        ({"end_time": NOW_US + 26 * HOUR_US + 1}, RejectReason.FUTURE, "end_time"),
        ({"duration_ms": 28 * 3_600_000}, RejectReason.FUTURE, "end_time"),
        ({"duration_ms": -1}, RejectReason.BAD_FIELD, "duration_ms"),
        ({"duration_ms": 2**62}, RejectReason.BAD_FIELD, "duration_ms"),
        ({"answer_time": 5}, RejectReason.BAD_TIME, "answer_time"),
        ({"source_ip": "10.0.0"}, RejectReason.BAD_FIELD, "source_ip"),
        ({"nat_ip": "::x"}, RejectReason.BAD_FIELD, "nat_ip"),
        ({"mac": "00:00"}, RejectReason.BAD_FIELD, "mac"),
        ({"ipv6_prefix": "2001:db8::"}, RejectReason.BAD_FIELD, "ipv6_prefix"),
        ({"ipv6_prefix": "10.0.0.0/8"}, RejectReason.BAD_FIELD, "ipv6_prefix"),
        ({"source_port": 65_536}, RejectReason.BAD_FIELD, "source_port"),
        ({"nat_port_last": -1}, RejectReason.BAD_FIELD, "nat_port_last"),
        ({"nat_port_first": 2_047, "nat_port_last": 2_046}, RejectReason.BAD_FIELD, "nat_port_last"),
        ({"utc_offset_s": 70_000}, RejectReason.BAD_FIELD, "utc_offset_s"),
        ({"volume_down_bytes": -5}, RejectReason.BAD_FIELD, "volume_down_bytes"),
        ({"billable_duration_ms": -5}, RejectReason.BAD_FIELD, "billable_duration_ms"),
    ],
)
def test_one_bad_row_is_refused_alone(changes: dict[str, Any], reason: RejectReason, field: str) -> None:
    good = [row(record_key=str(number)) for number in range(3)]
    result = run([good[0], row(**changes), *good[1:]])
    assert [(one.position, one.reason, one.field, one.raw) for one in result.rejects] == [(2, reason, field, None)]
    assert [record["record_key"] for record in plain(result)] == ["0", "1", "2"]
    assert result.table.column("batch_position").to_pylist() == [1, 3, 4]


def test_ends_up_to_the_allowance_are_taken() -> None:
    assert not run([row(end_time=NOW_US + 26 * HOUR_US)]).rejects


def test_the_bytes_of_refused_rows_come_from_the_decoder() -> None:
    earlier = Reject(9, RejectReason.MALFORMED)
    asked: list[list[int]] = []

    def raw_of(positions: Any) -> list[bytes | None]:
        asked.append(list(positions))
        return [b"line %d" % position for position in positions]

    result = run([row(), row(service_type="x"), row(mac="y")], rejects=[earlier], raw_of=raw_of)
    assert [(one.position, one.raw, one.length_bytes) for one in result.rejects] == [
        (9, None, None),
        (2, b"line 2", 6),
        (3, b"line 3", 6),
    ]
    assert asked == [[2, 3]]


def test_numbers_are_normal_and_what_was_delivered_is_kept_where_it_differs() -> None:
    source = SourceConfig("switch", country="SE")
    result = run(
        [
            row(calling_number="0701234567", called_number="+46701234568", dialled_number="112"),
            row(calling_number="46701234567", called_number="sip:x@y", dialled_number="+46 8 123 456"),
            row(calling_number=None, called_number="", forwarded_number="0046701234569"),
        ],
        source,
    )
    first, second, third = plain(result)
    assert (first["calling_number"], first["calling_number_delivered"]) == ("46701234567", "0701234567")
    assert (first["called_number"], first["called_number_delivered"]) == ("46701234568", "+46701234568")
    assert (first["dialled_number"], first["dialled_number_delivered"]) == ("112", None)
    assert (second["calling_number"], second["calling_number_delivered"]) == ("46701234567", None)
    assert (second["called_number"], second["called_number_delivered"]) == ("sip:x@y", None)
    assert (second["dialled_number"], second["dialled_number_delivered"]) == ("468123456", "+46 8 123 456")
    assert (third["calling_number"], third["called_number"]) == (None, None)
    assert (third["forwarded_number"], third["forwarded_number_delivered"]) == ("46701234569", "0046701234569")


def test_the_sources_settings_fill_what_the_format_leaves_out() -> None:
    source = SourceConfig("gw", switch="gw-1", tenant="acme", service_type="data", accounts={"a": "1001"})
    rows = [{"record_key": "1", "start_time": START_US, "account": "a"}, row(switch="x", tenant="other", account="b")]
    first, second = plain(run(rows, source))
    assert (first["switch"], first["tenant"], first["service_type"], first["account"]) == (
        "gw-1",
        "acme",
        "data",
        "1001",
    )
    assert (second["switch"], second["tenant"], second["service_type"], second["account"]) == (
        "x",
        "other",
        "voice",
        "b",
    )
    assert plain(run([row()], SourceConfig("gw")))[0]["switch"] == "gw"


def test_labels_may_come_dictionary_encoded_with_nulls_in_either_place() -> None:
    table = pa.table(
        {
            "position": pa.array([1, 2, 3], pa.int64()),
            "record_key": pa.array(["1", "2", "2"]).dictionary_encode(),
            "start_time": pa.array([START_US] * 3, PACKED.field("start_time").type),
            "service_type": pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), ["sms", "voice"]),
            "switch": pa.DictionaryArray.from_arrays(pa.array([0, 1, 1], pa.int64()), ["a", None]),
        }
    )
    result = normalise(Decoded(table), SourceConfig("gw"), NOW_US)
    assert [record["switch"] for record in plain(result)] == ["a", "gw"]
    assert [(one.position, one.field) for one in result.rejects] == [(3, "service_type")]


def test_a_prefix_has_one_writing() -> None:
    assert plain(run([row(ipv6_prefix="2001:DB8:0:0::1/56")]))[0]["ipv6_prefix"] == "2001:db8::/56"


def test_events_keep_their_sessions_and_only_what_ends_needs_an_end() -> None:
    rows = [
        row(event="open", session_key="s", record_key=None),
        row(event="update", session_key="s", record_key=None, start_time=None, volume_up_bytes=5),
        row(event="close", session_key="s", start_time=None, end_time=START_US + 5),
        row(event="close", session_key="s", duration_ms=2),
        row(event=None, session_key=None),
    ]
    result = run(rows)
    assert not result.rejects
    assert result.table.column("event").to_pylist() == ["open", "update", "close", "close", "record"]
    ends = [None if end is None else end - START_US for end in us(result, "end_time")]
    assert ends == [None, None, 5, 2000, 0]
    assert result.table.column("end_inferred").to_pylist() == [False, False, False, True, True]


@pytest.mark.parametrize(
    ("event", "field"),
    [
        (row(event="open"), "session_key"),
        (row(event="open", session_key="s", start_time=None), "start_time"),
        (row(event="close", session_key="s", start_time=None), "start_time"),
        (row(event="close", session_key="s", record_key=None), "record_key"),
        (row(event="paused", session_key="s"), None),
    ],
)
def test_an_event_that_leads_nowhere_is_refused(event: dict[str, Any], field: str | None) -> None:
    result = run([row(event="record"), event])
    assert [(one.position, one.field) for one in result.rejects] == [(2, field)]


def test_a_stretch_of_records_only_has_no_event_columns() -> None:
    assert "event" not in run([row(event="record", session_key=None)]).table.column_names


def test_a_stretch_without_rows_gives_none() -> None:
    result = normalise(Decoded(pa.table({"position": pa.array([], pa.int64())})), SourceConfig("x"), NOW_US)
    assert result.table.num_rows == 0
    assert "batch_position" in result.table.column_names


def test_row_keys_count_occurrences_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = RowKeys()
    one, two = keys.of_rows([b"a", b"a"]).to_pylist()
    assert one.endswith("-0")
    assert two == one[:-1] + "1"
    assert keys.of_rows([b"a", b"b"]).to_pylist()[0] == one[:-1] + "2"
    table = pa.table({"x": ["1", None], "y": [None, "1"]})
    assert len(set(RowKeys().of_table(table, ["x", "y"]).to_pylist())) == 2
    wider = table.append_column("z", pa.nulls(2, pa.string()))
    assert RowKeys().of_table(wider, ["z", "y", "x"]).equals(RowKeys().of_table(table, ["x", "y"]))
    monkeypatch.setattr("ingest.row_keys.KEYLESS_ROWS_MAX", 5)
    with pytest.raises(InputError):
        keys.of_rows([b"c", b"d"])


def test_small_stretches_of_one_process_load_the_kernels_together(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(native, "_asked", {})
    monkeypatch.setattr(native, "is_loaded", lambda module: module in loaded)
    monkeypatch.setattr(native, "load", loaded.append)
    monkeypatch.setattr(packing, "_kernels", [])
    monkeypatch.setattr(ingest.normalise, "LOAD_ROWS_MIN", 5)
    rows, seen = [row(), row(record_key="2")], []
    for _ in range(3):
        assert not run(rows).rejects
        seen.append(list(loaded))
    assert seen == [[], [], ["schemas.number_kernels"]]
