"""BroadWorks XML: both legs of a call, markers, redirections, contained damage, anything at all as input."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given

from ingest.decoders import decoder
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest.decoding import DripStream, decode, fixture
from tests.ingest.reading import taken
from tests.ingest.spoilt import accounts_for, spoilt

FILE = fixture("broadworks", "cdr.xml")
HEAD, *RECORDS = FILE.replace(b"</broadWorksCDR>\n", b"").split(b"  <cdrData>")
RECORDS = [b"  <cdrData>" + record for record in RECORDS]
FIRST = RECORDS[1]
FOOT = b"</broadWorksCDR>\n"


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def one(record: bytes, source: SourceConfig | None = None) -> dict[str, Any]:
    rows, rejects = decode("broadworks-xml", HEAD + record + FOOT, source)
    assert not rejects
    return rows[0]


def test_a_file_gives_its_legs_and_its_markers_are_none() -> None:
    rows, rejects = decode("broadworks-xml", FILE)
    assert not rejects
    originating, terminating, redirected = rows
    assert originating["record_key"] == "0000004181/20261120090000.123"
    assert originating["switch"] == "as1.example.net"
    assert (originating["calling_number"], originating["called_number"]) == ("+46701740605", "+46701740611")
    assert originating["start_time"] == utc("2026-11-20 09:00:00.123")
    assert originating["answer_time"] == utc("2026-11-20 09:00:07.500")
    assert originating["end_time"] == utc("2026-11-20 09:01:07.750")
    assert (originating["billable_duration_ms"], originating["utc_offset_s"]) == (60_250, 3600)
    assert (originating["source_ip"], originating["user_agent"]) == ("192.0.2.40", "Yealink SIP-T46S")
    assert (originating["trunk_in"], originating["trunk_out"]) == ("nord/tg1", "gw04.example.net")
    assert (originating["disposition"], originating["cause"]) == ("answered", "16")
    assert (originating["tenant"], originating["account"]) == ("nord", "alva@nord.example")
    assert originating["call_link"] == terminating["call_link"]
    assert terminating["destination_ip"] == "192.0.2.41" and "source_ip" not in terminating
    assert "user_agent" not in terminating, "it is the called side's"
    assert (redirected["disposition"], redirected["cause"]) == ("busy", "17")
    assert (redirected["dialled_number"], redirected["forwarded_number"]) == ("+46701740699", "+46701740612")
    assert redirected["account"] == "björn@nord.example", "the declaration says ISO-8859-1"
    assert "answer_time" not in redirected


def test_the_tenant_of_the_source_goes_first() -> None:
    assert "tenant" not in one(FIRST, SourceConfig("bw", tenant="operator"))


@pytest.mark.parametrize(
    ("written", "offset_s"),
    [(b"1+020000", 7200), (b"0-050000", -18_000), (b"1-0330", -12_600), (b"1+990000", None), (b"x", None)],
)
def test_the_offset_of_the_user_is_told_and_changes_no_time(written: bytes, offset_s: int | None) -> None:
    leg = one(FIRST.replace(b"<userTimeZone>0+010000", b"<userTimeZone>" + written))
    assert leg.get("utc_offset_s") == offset_s
    assert leg["start_time"] == utc("2026-11-20 09:00:00.123")


def test_files_may_be_joined_cut_and_without_their_root() -> None:
    assert decode("broadworks-xml", b"".join(RECORDS))[0][0]["record_key"] == "0000004181/20261120090000.123"
    rows, rejects = decode("broadworks-xml", FILE + FILE)
    assert (len(rows), rejects) == (6, [])
    for place in range(0, len(FIRST), 23):
        rows, rejects = decode("broadworks-xml", HEAD + FIRST[:place] + b"\n" + RECORDS[2] + FOOT)
        assert len(rows) == 1
        assert len(rejects) == (1 if FIRST[:place].strip() else 0)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"<eventCounter>0000004181</eventCounter>", b"", RejectReason.MISSING_FIELD),
        (b"<startTime>20261120090000.123</startTime>", b"", RejectReason.MISSING_FIELD),
        (b"<startTime>20261120090000.123", b"<startTime>20261320090000.123", RejectReason.BAD_TIME),
        (b"<startTime>20261120090000.123", b"<startTime>2026-11-20", RejectReason.BAD_TIME),
        (b"<releaseTime>20261120090107.750", b"<releaseTime>20261120080107.750", RejectReason.BAD_TIME),
        (b"<releaseTime>20261120090107.750</releaseTime>", b"", RejectReason.UNSUPPORTED),
        (b"</basicModule>", b"</basicModul>", RejectReason.MALFORMED),
        (b"+46701740605", b"&number;", RejectReason.MALFORMED),
        (b"<headerModule>", b'<!DOCTYPE x [<!ENTITY number "1">]><headerModule>', RejectReason.MALFORMED),
    ],
)
def test_a_record_that_cannot_be_is_refused_alone(old: bytes, new: bytes, reason: RejectReason) -> None:
    rows, rejects = decode("broadworks-xml", HEAD + FIRST.replace(old, new, 1) + RECORDS[2] + FOOT)
    assert [(reject.position, reject.reason) for reject in rejects] == [(1, reason)]
    assert [row["position"] for row in rows] == [2]


def test_an_entity_of_the_document_is_not_read() -> None:
    head = HEAD.replace(b"<!DOCTYPE broadWorksCDR>", b'<!DOCTYPE broadWorksCDR [<!ENTITY number "46709999999">]>')
    rows, rejects = decode("broadworks-xml", head + FIRST.replace(b"+46701740605", b"&number;") + RECORDS[2] + FOOT)
    assert len(rows) == 1 and "9999999" not in str(rows)
    assert all(reject.raw is None for reject in rejects)


def test_bytes_that_are_no_utf_8_are_told_where_nothing_else_is_declared() -> None:
    plain = HEAD.replace(b"ISO-8859-1", b"UTF-8")
    rows, rejects = decode("broadworks-xml", plain + RECORDS[3] + RECORDS[1] + FOOT)
    assert len(rows) == 1 and [reject.reason for reject in rejects] == [RejectReason.ENCODING]


def test_of_a_refused_record_only_named_elements_are_kept() -> None:
    record = FIRST.replace(b"20261120090107.750", b"20361120090107.750")
    record = record.replace(b"<basicModule>", b"<basicModule><callingName>what was said</callingName>")
    records, rejects = taken("broadworks-xml", HEAD + record + FOOT)
    assert not records and rejects[0].reason is RejectReason.FUTURE
    assert rejects[0].raw is not None and b"0000004181" in rejects[0].raw and b"said" not in rejects[0].raw


def test_small_reads_give_the_same() -> None:
    assert decode("broadworks-xml", DripStream(FILE)) == decode("broadworks-xml", FILE)


@examples(50)
@given(spoilt([HEAD, FOOT, *RECORDS, b"\n", b"</cdrData>"], pieces_max=6))
def test_anything_at_all_is_accounted_for(data: bytes) -> None:
    accounts_for("broadworks-xml", data)


def test_utf_16_is_refused_as_a_whole() -> None:
    with pytest.raises(InputError):
        list(decoder("broadworks-xml").decode(io.BytesIO(FILE.decode("latin-1").encode("utf-16")), SourceConfig("s")))
