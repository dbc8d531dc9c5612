from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given

from ingest import sources
from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError
from schemas.rejects import RejectReason
from store import Store
from tests.conftest import FixedClock
from tests.examples import examples
from tests.ingest.decoding import DripStream, decode, fixture
from tests.ingest.spoilt import accounts_for_lines, spoilt_lines
from tests.ingest.test_ipfix_lookup import who

FORMAT = "cgnat-syslog"
NOW_US = 1_795_348_800_000_000  # 2026-11-22T12:00:00Z
JUNIPER, A10 = fixture("cgnat", "juniper.log"), fixture("cgnat", "a10.log")
BOTH = JUNIPER + A10
SOURCE = SourceConfig("cgn1").receiving(NOW_US)
BLOCK = (
    b"Nov 20 09:02:00 cgn3 {nat1}[jservices-nat]: JSERVICES_NAT_PORT_BLOCK_ALLOC: 100.64.0.8 -> 203.0.113.9:1024-1151\n"
)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture
def store(tmp_path: Path, clock: FixedClock) -> Iterator[Store]:
    with Store.create(tmp_path / "root", clock=clock) as made:
        yield made


@pytest.mark.parametrize("data", [JUNIPER, A10], ids=["juniper", "a10"])
def test_events_are_what_a_count_of_their_words_says(data: bytes) -> None:
    rows, rejects = decode(FORMAT, data, SOURCE)
    assert rejects == []
    text = data.decode()
    assert Counter(row["event"] for row in rows) == {
        "open": len(re.findall(r"_ALLOC\b|_CREATE\w*[:\[ ]|_OPEN:|Allocated[:|]|NAT-\w+-[CN]:", text)),
        "close": len(re.findall(r"_RELEASE\b|_CLOSE\w*[:\[ ]|_DELETE_FLOW:|Freed[:|]|NAT-\w+-[DF]:", text)),
        "update": len(re.findall(r"_INTERIM\b|_ACTIVE:|InterimUpdate:", text)),
    }
    assert len({row["record_key"] for row in rows}) == len(rows) == text.count("\n")
    opened = {row["session_key"] for row in rows if row["event"] == "open"}
    assert opened == {row["session_key"] for row in rows if row["event"] == "close"}
    for row, line in zip(rows, text.splitlines(), strict=True):
        assert row["service_type"] == "nat"
        if "NAT-TCP-N" not in line and "NAT-TCP-F" not in line:
            for name in ("source_ip", "nat_ip", "nat_port_first", "nat_port_last"):
                assert re.search(rf"(?<![0-9.]){re.escape(str(row[name]))}(?![0-9])", line), (name, line)


def test_a_session_that_closes_is_complete_by_itself() -> None:
    closes = [line for line in JUNIPER.splitlines(keepends=True) if b"RT_FLOW_SESSION_CLOSE" in line]
    first, second = decode(FORMAT, b"".join(closes), SOURCE)[0]
    assert first["start_time"] == datetime(2026, 11, 20, 8, 0, 5, 100_000, UTC)
    assert (first["volume_up_bytes"], first["volume_down_bytes"], first["cause"]) == (1500, 90000, "TCP FIN")
    assert second["start_time"] == datetime(2026, 11, 20, 8, 1, tzinfo=UTC)
    assert (second["volume_up_bytes"], second["volume_down_bytes"]) == (70, 130)


def test_addresses_and_ports_in_hexadecimal_are_the_same_as_in_text() -> None:
    stamp = b"2026-11-20T09:06:00+00:00 thunder2 NAT-TCP-C: "
    rows, _ = decode(
        FORMAT, stamp + b"64400108:fa5<-->cb007149:fa6\n" + stamp + b"100.64.1.8:4005<-->203.0.113.73:4006\n"
    )
    assert {key: value for key, value in rows[0].items() if key != "position"} == {
        key: value for key, value in rows[1].items() if key != "position"
    }


def test_an_end_without_dots_is_hexadecimal_of_eight_digits_or_no_end() -> None:
    stamp = b"2026-11-20T09:06:00+00:00 thunder2 NAT-TCP-C: "
    for odd in (b"1234567", b"087654321", b"1006400108", b"....", b"6440010"):
        for line in (odd + b":4005<-->203.0.113.73:4006", b"100.64.1.8:4005<-->" + odd + b":4006"):
            rows, rejects = decode(FORMAT, stamp + line + b"\n")
            assert not rows and [reject.reason for reject in rejects] == [RejectReason.MALFORMED]


@pytest.mark.parametrize("letter", [b"C", b"D"])
def test_a_session_that_is_cut_off_names_no_wrong_public_address(letter: bytes) -> None:
    head = b"2026-11-20T09:05:00+00:00 thunder2 NAT-UDP-" + letter + b": "
    whole = b"100.64.1.7:4003<->198.51.100.8:53, 203.0.113.73:4004<-->198.51.100.8:53"
    for end in range(1, len(whole)):
        rows, rejects = decode(FORMAT, head + whole[:end] + b"\n")
        assert {row["nat_ip"] for row in rows} <= {"203.0.113.73"} and {row["nat_port_first"] for row in rows} <= {4004}
        assert len(rejects) == (end <= whole.index(b"<-->") + 4)
    for odd in (whole.replace(b"<->", b"<-->"), whole.replace(b"<->", b" <-> ").replace(b"<-->", b" --> ")):
        assert decode(FORMAT, head + odd + b"\n")[0][0]["nat_port_first"] == 4004
    rows, rejects = decode(FORMAT, head + whole.replace(b"<->", b"<-->").split()[0] + b"\n")
    assert not rows and rejects[0].reason is RejectReason.MALFORMED


@pytest.mark.parametrize(
    ("zone", "received", "written", "meant", "ambiguous"),
    [
        ("UTC", "2026-11-22T12:00:00+00:00", "Nov 20 09:02:00", "2026-11-20T09:02:00+00:00", False),
        ("Europe/Stockholm", "2026-11-22T12:00:00+00:00", "Oct 25 02:30:00", "2026-10-25T00:30:00+00:00", True),
        ("Europe/Stockholm", "2026-11-22T12:00:00+00:00", "Mar 29 02:30:00", "2026-03-29T01:30:00+00:00", False),
        ("America/New_York", "2026-11-22T12:00:00+00:00", "Nov  1 01:30:00", "2026-11-01T05:30:00+00:00", True),
        ("America/New_York", "2026-11-22T12:00:00+00:00", "Mar  8 02:30:00", "2026-03-08T07:30:00+00:00", False),
        ("UTC", "2027-01-01T00:00:05+00:00", "Dec 31 23:59:59", "2026-12-31T23:59:59+00:00", False),
        ("UTC", "2026-12-31T23:59:58+00:00", "Jan  1 00:00:01", "2027-01-01T00:00:01+00:00", False),
        ("UTC", "2026-11-22T12:00:00+00:00", "Nov 24 12:00:00", "2025-11-24T12:00:00+00:00", False),
        ("UTC", "2028-03-01T12:00:00+00:00", "Feb 29 12:00:00", "2028-02-29T12:00:00+00:00", False),
        ("UTC", "2026-11-22T12:00:00+00:00", "Nov 20 2025 09:02:00", "2025-11-20T09:02:00+00:00", False),
        ("UTC", "2026-11-22T12:00:00+00:00", "Nov 20 09:02:00.250 2025", "2025-11-20T09:02:00.250+00:00", False),
        (None, "2026-11-22T12:00:00+00:00", "2026-11-20T09:02:00.5-05:00", "2026-11-20T14:02:00.5+00:00", False),
        (None, "2026-11-22T12:00:00+00:00", "<14>1 2026-11-20T09:02:00Z", "2026-11-20T09:02:00+00:00", False),
    ],
)
def test_times_of_prefixes(zone: str | None, received: str, written: str, meant: str, ambiguous: bool) -> None:
    source = SourceConfig("cgn", zone=zone).receiving(ms(received) * 1000)
    (row,), _ = decode(FORMAT, BLOCK.replace(b"Nov 20 09:02:00", written.encode()), source)
    assert (row["start_time"], row["time_ambiguous"]) == (datetime.fromisoformat(meant), ambiguous)


def test_a_local_time_needs_a_zone_and_a_year_needs_the_day_of_receipt() -> None:
    with pytest.raises(ConfigurationError):
        decode(FORMAT, BLOCK, SourceConfig("s", zone=None).receiving(NOW_US))
    assert [one.reason for one in decode(FORMAT, BLOCK)[1]] == [RejectReason.BAD_TIME]


def test_the_time_of_receipt_cannot_be_stored_with_a_source(store: Store) -> None:
    with pytest.raises(ConfigurationError):
        sources.register(store, SOURCE, actor="test")


def test_who_had_a_public_address_and_port_is_answered(store: Store) -> None:
    source = SourceConfig("cgn1")
    receipt = ingest_stream(store, source, FORMAT, io.BytesIO(BOTH))
    assert (receipt.records, receipt.rejected, receipt.rows) == (29, 0, 13)
    for public, port, at, inside in (
        ("203.0.113.7", 1500, "2026-11-20T09:59:59+00:00", {"100.64.0.3"}),
        ("203.0.113.7", 1500, "2026-11-20T10:00:01+00:00", set()),
        ("203.0.113.7", 2048, "2026-11-20T09:30:00+00:00", {"100.64.0.6"}),
        ("203.0.113.9", 1100, "2026-11-20T09:30:00+00:00", {"100.64.0.8"}),
        ("203.0.113.8", 5001, "2026-11-20T08:00:10+00:00", {"100.64.0.4"}),
        ("203.0.113.9", 19062, "2026-11-20T09:05:05+00:00", {"100.64.0.10"}),
        ("203.0.113.70", 1535, "2026-11-20T09:30:00+00:00", {"100.64.1.3"}),
        ("203.0.113.70", 1536, "2026-11-20T09:30:00+00:00", set()),
        ("203.0.113.71", 2303, "2026-11-20T08:01:30+00:00", {"100.64.1.4"}),
        ("203.0.113.73", 4006, "2026-11-20T09:06:05+00:00", {"100.64.1.8"}),
    ):
        assert who(store, public, port, ms(at)) == inside, (public, port, at)
    again = ingest_stream(store, source, FORMAT, io.BytesIO(BOTH))
    assert (again.duplicates, again.rows) == (29, 0)


def test_a_block_that_is_held_is_found_and_closes_with_another_delivery(store: Store) -> None:
    lines = JUNIPER.splitlines(keepends=True)
    assert ingest_stream(store, SourceConfig("cgn1"), FORMAT, io.BytesIO(lines[0] + lines[1])).rows == 0
    assert who(store, "203.0.113.7", 2047, ms("2026-11-20T09:59:00+00:00")) == {"100.64.0.3"}
    assert ingest_stream(store, SourceConfig("cgn1"), FORMAT, io.BytesIO(lines[2])).rows == 1
    assert who(store, "203.0.113.7", 2047, ms("2026-11-20T09:59:00+00:00")) == {"100.64.0.3"}
    assert who(store, "203.0.113.7", 2047, ms("2026-11-20T10:00:01+00:00")) == set()


def test_an_interim_line_stands_for_a_lost_allocation(store: Store) -> None:
    lines = JUNIPER.splitlines(keepends=True)
    assert ingest_stream(store, SourceConfig("cgn1"), FORMAT, io.BytesIO(lines[1] + lines[2])).rows == 1
    assert who(store, "203.0.113.7", 1024, ms("2026-11-20T09:10:00+00:00")) == {"100.64.0.3"}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"_ALLOC", b"_DENY", RejectReason.UNSUPPORTED),
        (b"JSERVICES_NAT_PORT_BLOCK_ALLOC", b"RT_NAT_RULE_MATCH", RejectReason.UNSUPPORTED),
        (b"JSERVICES_NAT_PORT_BLOCK_ALLOC", b"hello", RejectReason.MALFORMED),
        (b"1024-1151", b"1024", RejectReason.MALFORMED),
        (b"1024-1151", b"1151-1024", RejectReason.MALFORMED),
        (b"1024-1151", b"1024-65536", RejectReason.MALFORMED),
        (b"Nov 20", b"Nov 31", RejectReason.BAD_TIME),
        (b"Nov 20 09:02:00 ", b"", RejectReason.MALFORMED),
        (b"cgn3", b"cg\xff", RejectReason.ENCODING),
        (b"cgn3", b"cgn\0", RejectReason.ENCODING),
        (b"\n", b"x" * 9000 + b"\n", RejectReason.TOO_LONG),
    ],
)
def test_a_spoilt_line_is_refused_and_its_neighbours_are_not(old: bytes, new: bytes, reason: RejectReason) -> None:
    rows, rejects = decode(FORMAT, BLOCK + BLOCK.replace(old, new) + BLOCK, SOURCE)
    assert [row["position"] for row in rows] == [1, 3]
    assert [(reject.position, reject.reason, reject.offset) for reject in rejects] == [(2, reason, len(BLOCK))]


def test_a_line_that_is_cut_off_is_refused_and_small_reads_change_nothing() -> None:
    assert decode(FORMAT, DripStream(BOTH), SOURCE) == decode(FORMAT, BOTH, SOURCE)
    for length in range(1, len(BLOCK)):
        rows, rejects = decode(FORMAT, BLOCK + BLOCK[:length], SOURCE)
        assert (len(rows), [reject.reason for reject in rejects]) == (1, [RejectReason.MALFORMED])


@examples(70)
@given(spoilt_lines(BOTH.splitlines()))
def test_mutated_lines_are_all_accounted_for(data: bytes) -> None:
    accounts_for_lines(FORMAT, data, SOURCE)
