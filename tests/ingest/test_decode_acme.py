"""Oracle/Acme Packet CSV: field maps, quotes that nothing escapes, zones in stamps, and anything at all as input."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from ingest.decoders import decoder
from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import RejectReason
from store import Store
from tests.conftest import FixedClock
from tests.examples import examples
from tests.ingest.decoding import DripStream, decode, fixture
from tests.ingest.spoilt import accounts_for, spoilt

CDR = fixture("acme", "cdr.csv")
START, INTERIM, STOP, FAILED, ON = CDR.splitlines(keepends=True)
SOURCE = SourceConfig("sbc", zone="Europe/Stockholm", country="SE")


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        yield made


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def one(data: bytes, source: SourceConfig = SOURCE) -> dict[str, Any]:
    rows, rejects = decode("acme-csv", data, source)
    assert not rejects
    return rows[0]


def test_a_stop_is_a_whole_record() -> None:
    stop = one(STOP)
    assert (stop["event"], stop["record_key"], stop["switch"]) == ("close", "SDA0001-0001", "192.0.2.60")
    assert (stop["calling_number"], stop["called_number"]) == ("+46701740605", "+46701740611")
    assert stop["calling_number_delivered"] == "sip:+46701740605@192.0.2.40"
    assert stop["start_time"] == utc("2026-11-20 09:00:00.123")
    assert stop["answer_time"] == utc("2026-11-20 09:00:07.500")
    assert stop["end_time"] == utc("2026-11-20 09:01:07.750")
    assert (stop["billable_duration_ms"], stop["utc_offset_s"]) == (60_000, 3600)
    assert (stop["source_ip"], stop["source_port"]) == ("192.0.2.41", 40_002)
    assert (stop["destination_ip"], stop["destination_port"]) == ("198.51.100.9", 30_004)
    assert (stop["volume_up_bytes"], stop["volume_down_bytes"]) == (480_000, 478_400)
    assert (stop["disposition"], stop["cause"]) == ("answered", "16")
    assert (stop["trunk_in"], stop["trunk_out"], stop["call_link"]) == ("nord", "core", "ic1@192.0.2.40")


def test_every_row_is_accounted_for() -> None:
    rows, rejects = decode("acme-csv", CDR, SOURCE)
    assert [(reject.position, reject.reason) for reject in rejects] == [(5, RejectReason.UNSUPPORTED)]
    start, interim, stop, failed = rows
    assert [row["event"] for row in rows] == ["open", "update", "close", "close"]
    assert start["session_key"] == interim["session_key"] == stop["session_key"]
    assert start["record_key"] == stop["record_key"] != interim["record_key"]
    assert start["start_time"] == stop["start_time"] and start["trunk_in"] == "nord"
    assert failed["calling_number"] == "+4687654321", "a withheld caller gives way to the asserted identity"
    assert (failed["disposition"], failed["cause"]) == ("busy", "17")
    assert (failed["dialled_number"], failed["forwarded_number"]) == ("+46701740699", "+46701740612")
    assert "answer_time" not in failed


def test_a_call_is_stored_once_however_its_rows_come(store: Store) -> None:
    first = ingest_stream(store, SOURCE, "acme-csv", io.BytesIO(START + INTERIM))
    assert (first.records, first.rows) == (2, 0)
    second = ingest_stream(store, SOURCE, "acme-csv", io.BytesIO(STOP + FAILED))
    assert (second.records, second.rows) == (2, 2)
    again = ingest_stream(store, SOURCE, "acme-csv", io.BytesIO(CDR))
    assert (again.rows, again.duplicates, again.conflicts) == (0, 4, 0)
    assert store.verify() == []


@pytest.mark.parametrize(
    ("zone", "stamp", "expected"),
    [
        ("Europe/Stockholm", "02:30:00 CEST OCT 25 2026", "2026-10-25 00:30:00"),
        ("Europe/Stockholm", "02:30:00 CET OCT 25 2026", "2026-10-25 01:30:00"),
        ("Europe/Stockholm", "03:00:00 CEST MAR 29 2026", "2026-03-29 01:00:00"),
        ("America/New_York", "01:30:00.5 EDT NOV 01 2026", "2026-11-01 05:30:00.5"),
        ("America/New_York", "01:30:00 EST NOV  1 2026", "2026-11-01 06:30:00"),
        ("America/Los_Angeles", "15:54:56.868 PST NOV 18 2026", "2026-11-18 23:54:56.868"),
        ("UTC", "15:54:56 UTC NOV 18 2026", "2026-11-18 15:54:56"),
        (None, "15:54:56 GMT Nov 18 2026", "2026-11-18 15:54:56"),
        ("Asia/Kolkata", "15:54:56 IST NOV 18 2026", "2026-11-18 10:24:56"),
        ("Europe/Stockholm", "15:54:56 +0300 NOV 18 2026", "2026-11-18 12:54:56"),
    ],
)
def test_the_zone_of_a_stamp_decides(zone: str | None, stamp: str, expected: str) -> None:
    row = START.replace(b"10:00:00.123 CET NOV 20 2026", stamp.encode())
    assert one(row, SourceConfig("sbc", zone=zone))["start_time"] == utc(expected)


def test_an_abbreviation_that_means_several_zones_is_refused_without_a_zone() -> None:
    row = START.replace(b"10:00:00.123 CET", b"10:00:00.123 IST")
    rows, rejects = decode("acme-csv", row, SOURCE)
    assert not rows and (rejects[0].reason, rejects[0].field) == (RejectReason.BAD_TIME, "h323-setup-time")


def test_columns_are_found_by_the_field_map_of_the_source() -> None:
    began, ended = b'"09:00:00 GMT NOV 20 2026"', b'"09:01:00 GMT NOV 20 2026"'
    row = b'2,"S-1","192.0.2.60","<sip:+46701740605@a.example>",,,' + began + b",,,,,,,,," + ended + b",\n"
    options = {
        "stop": "2=Acct-Session-Id, 3=NAS-IP-Address, 4=Calling-Station-Id, 7=h323-setup-time, 16=h323-disconnect-time"
    }
    found = one(row, SourceConfig("sbc", options=options))
    assert (found["record_key"], found["switch"], found["calling_number"]) == ("S-1", "192.0.2.60", "+46701740605")
    assert found["end_time"] == utc("2026-11-20 09:01:00")


@pytest.mark.parametrize(
    "options",
    [
        {"stop": "2=Acct-Session-Id"},
        {"stop": "0=Acct-Session-Id,2=h323-disconnect-time"},
        {"stop": "x=Acct-Session-Id,2=h323-disconnect-time"},
        {"start": "2=Acct-Session-Id,3=Acct-Session-Id,4=h323-setup-time"},
        {"interim": "4=Acct-Session-Id,5=User-Password"},
        {"interim": ""},
        {"widths": "stop"},
        {"widths": "other=4"},
        {"widths": "stop=0"},
    ],
)
def test_options_that_cannot_be_understood_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        decode("acme-csv", STOP, SourceConfig("sbc", options=options))


def test_a_caller_cannot_shift_the_columns() -> None:
    forged = STOP.replace(b'Alva "the" Ek', b'Al","<sip:+46709999999@x>')
    rows, rejects = decode("acme-csv", STOP + forged + STOP, SOURCE)
    assert len(rows) == 2 and [reject.reason for reject in rejects] == [RejectReason.COLUMN_COUNT]
    told = SourceConfig("sbc", zone="Europe/Stockholm", options={"widths": "stop=175, 1=122"})
    rows, rejects = decode("acme-csv", forged + STOP + START, told)
    assert [row["position"] for row in rows] == [2, 3] and len(rejects) == 1


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"SDA0001-0001"', b'""', RejectReason.MISSING_FIELD),
        (b"10:00:00.123 CET", b"25:00:00.123 CET", RejectReason.BAD_TIME),
        (b"10:00:00.123 CET", b"10:00:00.123 XYZ", RejectReason.BAD_TIME),
        (b"10:01:07.750 CET NOV 20 2026", b"10:00:07.000 CET NOV 20 2026", RejectReason.BAD_TIME),
        (b'"10:01:07.750 CET NOV 20 2026"', b'""', RejectReason.MISSING_FIELD),
        (b"480000", b"-480000", RejectReason.BAD_FIELD),
        (b"+46701740605", b"+4670\xe5", RejectReason.ENCODING),
        (b"2,", b"two,", RejectReason.MALFORMED),
        (b"2,", b"8,", RejectReason.UNSUPPORTED),
        (b'"SIP"', b'"SIP', RejectReason.COLUMN_COUNT),
        (b'"SIP"', b'"S","IP"', RejectReason.COLUMN_COUNT),
    ],
)
def test_a_row_that_cannot_be_is_refused_alone(old: bytes, new: bytes, reason: RejectReason) -> None:
    bad = STOP.replace(old, new, 1)
    rows, rejects = decode("acme-csv", STOP + bad + STOP, SOURCE)
    assert [(reject.position, reject.reason) for reject in rejects] == [(2, reason)]
    assert [row["position"] for row in rows] == [1, 3]


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1e", "\r"])
def test_rows_that_another_line_end_joins_are_no_record(end: str) -> None:
    rows, rejects = decode("acme-csv", (STOP.decode().strip() + end).encode() * 2 + b"\n" + STOP, SOURCE)
    assert [row["position"] for row in rows] == [2]
    assert [(reject.position, reject.reason) for reject in rejects] == [(1, RejectReason.MALFORMED)]


def test_of_a_refused_row_only_what_is_read_is_kept() -> None:
    row = STOP.replace(b"10:01:07.750", b"99:01:07.750").replace(b'"SIP"', b'"secret"')
    _, rejects = decode("acme-csv", row, SOURCE)
    assert rejects[0].raw is not None and b"SDA0001-0001" in rejects[0].raw and b"secret" not in rejects[0].raw


def test_quotes_without_end_are_not_searched_again_and_again() -> None:
    rows, rejects = decode("acme-csv", b'2,"a' * 250_000 + b"\n" + b'",' * 300_000 + b"\n" + STOP, SOURCE)
    assert (len(rows), len(rejects)) == (1, 2)


def test_small_reads_give_the_same() -> None:
    assert decode("acme-csv", DripStream(CDR), SOURCE) == decode("acme-csv", CDR, SOURCE)


@examples(50)
@given(spoilt(CDR.splitlines(keepends=True)))
def test_anything_at_all_is_accounted_for(data: bytes) -> None:
    accounts_for("acme-csv", data, SOURCE)


def test_utf_16_is_refused_as_a_whole() -> None:
    with pytest.raises(InputError):
        list(decoder("acme-csv").decode(io.BytesIO(CDR.decode().encode("utf-16")), SOURCE))
