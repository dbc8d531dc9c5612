from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given

from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError
from schemas.rejects import RejectReason
from store import ScanQuery, Store
from tests.conftest import FixedClock
from tests.examples import examples
from tests.ingest.decoding import DripStream, decode, fixture
from tests.ingest.spoilt import accounts_for_lines, spoilt_lines

LOG = fixture("smpp", "gateway.log")
LINES = LOG.splitlines(keepends=True)
FINAL = LINES[3]
SECRET = "hemlig"


def test_events_are_what_a_count_of_their_words_says() -> None:
    rows, rejects = decode("smpp", LOG)
    assert rejects == []
    assert Counter(row["event"] for row in rows) == {
        "open": LOG.count(b"submit_sm_resp"),
        "update": LOG.count(b"stat:ENROUTE"),
        "close": LOG.count(b"stat:") - LOG.count(b"stat:ENROUTE") - 1,  # one stands in a text
    }
    assert all(row["calling_number"] == "46701740605" for row in rows)
    assert [row["called_number"][-1] for row in rows] == ["1", "2", "2", "1", "2", "3"]
    assert [row.get("disposition") for row in rows[3:]] == ["delivered", "failed", "delivered"]


def test_text_is_in_no_column_and_no_reject() -> None:
    spoilt = LOG.replace(b"done date:", b"done date:99").replace(b"message_id=", b"id=")
    for data in (LOG, spoilt, LOG.replace(b"submit_sm_resp", b"other"), LOG.replace(b"id:", b"ID ")):
        rows, rejects = decode("smpp", data)
        assert SECRET not in repr(rows) and SECRET not in repr([one.raw for one in rejects])


def test_a_receipt_meets_its_submit_and_each_message_is_one_record(tmp_path: Path, clock: FixedClock) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        receipt = ingest_stream(store, SourceConfig("sms"), "smpp", io.BytesIO(LOG))
        assert (receipt.records, receipt.rejected, receipt.rows) == (6, 0, 3)
        assert ingest_stream(store, SourceConfig("sms"), "smpp", io.BytesIO(LOG)).duplicates == 6
        rows = [row for batch in store.scan(ScanQuery(0, 2**60)) for row in batch.to_pylist()]
    assert Counter(row["account_text"] for row in rows) == {"acme": 2, None: 1}


@pytest.mark.parametrize(
    ("zone", "written", "meant", "ambiguous"),
    [
        ("UTC", "2611200900", "2026-11-20T09:00:00+00:00", False),
        ("Europe/Stockholm", "261025023000", "2026-10-25T00:30:00+00:00", True),
        ("Europe/Stockholm", "260329023000", "2026-03-29T01:30:00+00:00", False),
        ("America/New_York", "20261101013000", "2026-11-01T05:30:00+00:00", True),
        ("America/New_York", "2603080230", "2026-03-08T07:30:00+00:00", False),
    ],
)
def test_dates_of_receipts(zone: str, written: str, meant: str, ambiguous: bool) -> None:
    data = FINAL.replace(b"261120090000", written.encode()).replace(b"261120090006", written.encode())
    (row,), _ = decode("smpp", data, SourceConfig("s", zone=zone))
    assert (row["start_time"], row["end_time"]) == (datetime.fromisoformat(meant),) * 2
    assert row["time_ambiguous"] is ambiguous


def test_a_receipt_without_dates_ends_when_its_line_was_written() -> None:
    data = FINAL.replace(b"submit date:261120090000 done date:261120090006 ", b"")
    row = decode("smpp", data)[0][0]
    assert row["end_time"] == datetime(2026, 11, 20, 9, 0, 7, tzinfo=UTC) and "start_time" not in row


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"stat:", b"state ", RejectReason.UNSUPPORTED),
        (b"deliver_sm ", b"deliver_sm esm_class=0 ", RejectReason.UNSUPPORTED),
        (b"deliver_sm ", b"deliver_sm esm_class=x ", RejectReason.UNSUPPORTED),
        (b"261120090006", b"261320090006", RejectReason.BAD_TIME),
        (b"261120090006", b"1795165206000", RejectReason.BAD_TIME),
        (b"46701740611", b"4670\xff", RejectReason.ENCODING),
        (FINAL, b"hello\n", RejectReason.MALFORMED),
        (FINAL, b"2026-11-20 09:00:00 submit_sm source_addr=1 short_message=x\n", RejectReason.UNSUPPORTED),
        (FINAL, b"submit_sm message_id=7 source_addr=1\n", RejectReason.BAD_TIME),
        (b"\n", b"x" * 70_000 + b"\n", RejectReason.TOO_LONG),
    ],
)
def test_a_spoilt_line_is_refused_and_its_neighbours_are_not(old: bytes, new: bytes, reason: RejectReason) -> None:
    rows, rejects = decode("smpp", FINAL + FINAL.replace(old, new) + FINAL)
    assert [row["position"] for row in rows] == [1, 3]
    assert [(one.position, one.reason) for one in rejects] == [(2, reason)]


def test_a_zone_is_needed_and_a_line_without_its_end_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        decode("smpp", LOG, SourceConfig("s", zone=None))
    assert decode("smpp", DripStream(LOG)) == decode("smpp", LOG)
    assert [one.reason for one in decode("smpp", LOG[:-1])[1]] == [RejectReason.MALFORMED]


@examples(70)
@given(spoilt_lines(LOG.splitlines()))
def test_mutated_lines_are_all_accounted_for(data: bytes) -> None:
    accounts_for_lines("smpp", data)
