"""OpenSIPS acc: CDRs, transactions and missed calls, as syslog lines and flat files, and anything at all as input."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
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

SYSLOG = fixture("opensips", "syslog.log")
FLAT = fixture("opensips", "acc.log")
LINES = SYSLOG.splitlines(keepends=True)
CALL = FLAT.splitlines(keepends=True)[0]
BEGAN = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SOURCE = SourceConfig("sip1")


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        yield made


def one(data: bytes, **options: str) -> dict[str, Any]:
    rows, rejects = decode("opensips-acc", data, SourceConfig("sip1", options=options))
    assert not rejects
    return rows[0]


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_an_ended_call_has_its_start_answer_and_end() -> None:
    call = one(LINES[0])
    assert (call["record_key"], call["call_link"]) == ("call c1@192.0.2.40", "c1@192.0.2.40")
    assert (call["start_time"], call["answer_time"]) == (BEGAN, BEGAN + seconds(7))
    assert call["end_time"] == BEGAN + seconds(67.25)
    assert (call["duration_ms"], call["billable_duration_ms"]) == (67_250, 60_250)
    assert (call["disposition"], call["cause"], call["service_type"]) == ("answered", "200", "voip")
    assert (call["calling_number"], call["called_number"]) == ("46701740605", "46701740611")
    assert call["source_ip"] == "192.0.2.40"


def test_a_duration_in_seconds_alone_is_used_as_it_is() -> None:
    call = one(LINES[0].replace(b";ms_duration=60250", b""))
    assert (call["billable_duration_ms"], call["end_time"]) == (61_000, BEGAN + seconds(68))
    old = one(LINES[0].replace(b"created=1795165200;", b""))
    assert old["start_time"] == old["answer_time"] == BEGAN + seconds(7)


def test_the_flat_row_of_a_call_is_the_same_record_as_its_line() -> None:
    line, row = one(LINES[0]), one(CALL)
    parties = {"calling_number", "called_number", "source_ip"}
    assert {name: value for name, value in line.items() if name not in parties} == row


def test_every_line_and_row_is_accounted_for() -> None:
    rows, rejects = decode("opensips-acc", SYSLOG)
    assert [(reject.position, reject.reason) for reject in rejects] == [(6, RejectReason.UNSUPPORTED)]
    _, missed, opened, ended, message = rows
    assert (missed["disposition"], missed["cause"], missed["event"]) == ("busy", "486", "record")
    assert (opened["event"], ended["event"]) == ("open", "close")
    assert opened["session_key"] == ended["session_key"]
    assert "calling_number" not in ended, "the parties of a BYE from the called side are the other way round"
    assert (message["service_type"], message["disposition"]) == ("sms", "sent")
    rows, rejects = decode("opensips-acc", FLAT)
    assert not rejects
    assert [row["event"] for row in rows] == ["record", "record", "open", "close"]
    assert rows[1]["record_key"] == missed["record_key"]


def test_a_platform_that_delivers_both_stores_each_call_once(store: Store) -> None:
    first = ingest_stream(store, SOURCE, "opensips-acc", io.BytesIO(SYSLOG))
    assert (first.records, first.rejected, first.rows) == (6, 1, 4)
    again = ingest_stream(store, SOURCE, "opensips-acc", io.BytesIO(SYSLOG + b"\n"))
    assert (again.rows, again.duplicates, again.conflicts) == (0, 5, 0)


def test_an_invite_and_a_bye_that_come_too_are_not_another_call(store: Store) -> None:
    pair = b"INVITE|a1|b1|c1@192.0.2.40|200|OK|1795165207\nBYE|a1|b1|c1@192.0.2.40|200|OK|1795165267\n"
    assert ingest_stream(store, SOURCE, "opensips-acc", io.BytesIO(CALL)).rows == 1
    second = ingest_stream(store, SOURCE, "opensips-acc", io.BytesIO(pair))
    assert second.records == 2 and second.conflicts == second.rows, "shown as a conflict, which is never billed"


def test_columns_may_be_named() -> None:
    names = "method,from_tag,to_tag,callid,sip_code,sip_reason,time,src_user,dst_user,duration,ms_duration,x,created"
    row = b"INVITE|a1|b1|c1@192.0.2.40|200|OK|1795165207|46701740605|46701740611|61|60250|7|1795165200\n"
    call = one(row, columns=names)
    assert (call["calling_number"], call["start_time"]) == ("46701740605", BEGAN)
    with pytest.raises(ConfigurationError):
        decode("opensips-acc", row, SourceConfig("sip1", options={"columns": "method,method"}))
    with pytest.raises(ConfigurationError):
        decode("opensips-acc", row, SourceConfig("sip1", options={"identity": "other"}))


def test_dialogs_may_be_told_apart_by_their_tags() -> None:
    assert one(CALL, identity="dialog")["record_key"] == "call a1 b1 c1@192.0.2.40"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"c1@192.0.2.40", b"", RejectReason.MISSING_FIELD),
        (b"|1795165207|", b"|soon|", RejectReason.BAD_TIME),
        (b"|1795165200\n", b"|1795165208\n", RejectReason.BAD_TIME),
        (b"|60250|", b"|-1|", RejectReason.BAD_FIELD),
        (b"|61|60250|", b"|||", RejectReason.BAD_FIELD),
        (b"|200|", b"|2000|", RejectReason.BAD_FIELD),
        (b"INVITE", b"invite", RejectReason.BAD_FIELD),
        (b"|OK|", b"|O|K|", RejectReason.COLUMN_COUNT),
        (b"|OK|", b"|\xe5|", RejectReason.ENCODING),
    ],
)
def test_a_row_that_cannot_be_is_refused_alone(old: bytes, new: bytes, reason: RejectReason) -> None:
    rows, rejects = decode("opensips-acc", CALL.replace(old, new) + CALL)
    assert [(reject.position, reject.reason) for reject in rejects] == [(1, reason)]
    assert [row["position"] for row in rows] == [2]


def test_a_line_that_says_a_name_twice_is_refused() -> None:
    forged = LINES[0].replace(b"reason=OK", b"reason=OK;call_id=c9@192.0.2.40")
    rows, rejects = decode("opensips-acc", forged)
    assert not rows and len(rejects) == 1


def test_a_row_that_may_not_be_finished_is_refused() -> None:
    rows, rejects = decode("opensips-acc", CALL + CALL.rstrip(b"\n"))
    assert len(rows) == 1 and rejects[0].reason is RejectReason.MALFORMED


def test_small_reads_give_the_same() -> None:
    assert decode("opensips-acc", DripStream(SYSLOG + FLAT)) == decode("opensips-acc", SYSLOG + FLAT)


@examples(50)
@given(spoilt([*LINES, *FLAT.splitlines(keepends=True)]))
def test_anything_at_all_is_accounted_for(data: bytes) -> None:
    accounts_for("opensips-acc", data)


def test_utf_16_is_refused_as_a_whole() -> None:
    with pytest.raises(InputError):
        list(decoder("opensips-acc").decode(io.BytesIO(FLAT.decode().encode("utf-16")), SOURCE))
