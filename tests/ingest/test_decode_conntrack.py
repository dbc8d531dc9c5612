from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings

from ingest.source_config import SourceConfig
from schemas.errors import InputError
from schemas.rejects import RejectReason
from tests.ingest.decoding import DripStream, EndlessLine, content, decode, fixture
from tests.ingest.spoilt import accounts_for_lines, spoilt_lines

EVENTS = fixture("conntrack", "conntrack_events_nat44.log")
LISTING = fixture("conntrack", "conntrack_list.txt")
NEW = (
    b"[1795314234.683987]\t    [NEW] ipv4     2 tcp      6 120 SYN_SENT src=100.64.0.2 dst=203.0.113.10 sport=42285 "
    b"dport=80 [UNREPLIED] src=203.0.113.10 dst=203.0.113.1 sport=80 dport=2562 id=3765381819\n"
)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(line: bytes) -> datetime:
    seconds, micros = re.match(rb"\[(\d+)\.(\d+)\]", line).groups()  # type: ignore[union-attr]
    return EPOCH + timedelta(seconds=int(seconds), microseconds=int(micros))


def test_events_are_what_a_count_of_their_words_says():
    rows, rejects = decode("conntrack", EVENTS)
    assert rejects == []
    assert Counter(row["event"] for row in rows) == {
        "open": EVENTS.count(b"[NEW]"),
        "close": EVENTS.count(b"[DESTROY]"),
    }
    assert len(rows) == 120


def test_every_flow_is_opened_and_closed_under_one_key_at_the_written_times():
    rows, _ = decode("conntrack", EVENTS)
    lines = EVENTS.splitlines()
    assert len({row["session_key"] for row in rows}) == 60
    for row, line in zip(rows, lines, strict=True):
        assert row["start_time" if row["event"] == "open" else "end_time"] == moment(line)
        assert row["nat_port_first"] == row["nat_port_last"] == int(line.split(b"dport=")[2].split()[0])
        assert row["nat_ip"] == "203.0.113.1"
        assert row["source_ip"].encode() == line.split(b"src=")[1].split()[0]
        assert row["service_type"] == "nat"


def test_a_destroy_is_complete_and_starts_in_the_second_of_its_new():
    rows, _ = decode("conntrack", EVENTS)
    opened = {row["session_key"]: row for row in rows if row["event"] == "open"}
    for row in rows:
        if row["event"] == "close":
            assert row["start_time"] == opened[row["session_key"]]["start_time"].replace(microsecond=0)
            both = opened[row["session_key"]]
            assert content(both)["start_time"] == content(row)["start_time"]
            assert row["duration_ms"] == 6000
            assert {row["volume_up_bytes"], row["volume_down_bytes"]} <= {271, 1768, 29, 0}


def test_without_kernel_timestamps_a_destroy_takes_the_start_of_its_new():
    destroy = next(line for line in EVENTS.splitlines() if b"[DESTROY]" in line)
    bare = re.sub(rb" delta-time=\d+( \[\w+=[^]]*\])*", b"", destroy) + b"\n"
    row = decode("conntrack", bare)[0][0]
    assert "start_time" not in row and "end_time" in row


def test_events_have_keys_of_their_own_and_the_same_file_the_same_ones():
    rows, _ = decode("conntrack", EVENTS)
    assert len({row["record_key"] for row in rows}) == 120
    assert rows == decode("conntrack", EVENTS)[0]


@pytest.mark.parametrize(("written", "micros"), [(b"5     ", 5), (b"32917 ", 32_917), (b"0     ", 0), (b"000005", 5)])
def test_microseconds_that_older_versions_pad_with_spaces_are_microseconds(written: bytes, micros: int) -> None:
    rows, rejects = decode("conntrack", NEW.replace(b"683987", written))
    assert (rejects, [row["start_time"].microsecond for row in rows]) == ([], [micros])


@pytest.mark.parametrize("written", [b"5", b"32917", b"    5 ", b"      "])
def test_microseconds_of_another_width_are_refused(written: bytes) -> None:
    assert [one.reason for one in decode("conntrack", NEW.replace(b"683987", written))[1]] == [RejectReason.MALFORMED]


def test_an_update_is_an_update():
    row = decode("conntrack", NEW.replace(b"[NEW]", b"[UPDATE]").replace(b"SYN_SENT", b"ESTABLISHED"))[0][0]
    assert row["event"] == "update"
    assert "start_time" not in row and "end_time" not in row


def test_a_line_without_the_extended_columns_and_without_an_id_is_read():
    short = NEW.replace(b"ipv4     2 ", b"").replace(b" id=3765381819", b"")
    row = decode("conntrack", short)[0][0]
    assert row["session_key"] == "- tcp 100.64.0.2 42285 203.0.113.10 80"
    assert row["record_key"] == "n tcp 100.64.0.2 42285 203.0.113.10 80 1795314234683987"


def test_the_id_of_an_echo_is_its_port_and_not_the_flows():
    echo = (
        b"[1795314234.683987]\t    [NEW] icmp     1 30 src=100.64.0.2 dst=192.0.2.1 type=8 code=0 id=4000 [UNREPLIED] "
        b"src=192.0.2.1 dst=203.0.113.1 type=0 code=0 id=17 id=99\n"
    )
    row = decode("conntrack", echo)[0][0]
    assert row["session_key"] == "99 icmp 100.64.0.2 4000 192.0.2.1 -"
    assert (row["nat_port_first"], row["nat_ip"]) == (17, "203.0.113.1")
    assert "source_port" not in row


def test_ipv6_and_protocols_without_ports_are_read():
    flow = (
        b"[1795314234.683987]\t    [NEW] ipv6     10 unknown  47 600 src=2001:db8::1 dst=2001:db8::2 [UNREPLIED] "
        b"src=2001:db8::2 dst=2001:db8::1 mark=0 zone=3 id=1\n"
    )
    row = decode("conntrack", flow)[0][0]
    assert row["source_ip"] == "2001:db8::1"
    assert "nat_ip" not in row and "nat_port_first" not in row


def test_a_flow_that_is_not_translated_has_no_public_address():
    plain = NEW.replace(b"dst=203.0.113.1 sport=80 dport=2562", b"dst=100.64.0.2 sport=80 dport=42285")
    row = decode("conntrack", plain)[0][0]
    assert "nat_ip" not in row and "nat_port_first" not in row
    port_only = NEW.replace(b"dst=203.0.113.1 sport", b"dst=100.64.0.2 sport")
    assert decode("conntrack", port_only)[0][0]["nat_port_first"] == 2562


def test_a_listing_is_no_event():
    rows, rejects = decode("conntrack", LISTING)
    assert rows == []
    assert len(rejects) == LISTING.count(b"\n") == 60
    assert {reject.reason for reject in rejects} == {RejectReason.UNSUPPORTED}


def test_the_closing_banner_is_no_record():
    banner = b"conntrack v1.4.7 (conntrack-tools): 120 flow events have been shown.\n"
    assert decode("conntrack", EVENTS + banner) == decode("conntrack", EVENTS)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"[NEW]", b"[OLD]", RejectReason.MALFORMED),
        (b"sport=42285", b"sport=x", RejectReason.MALFORMED),
        (b"sport=42285", b"sport=65536", RejectReason.BAD_FIELD),
        (b"[1795314234.683987]\t", b"", RejectReason.MALFORMED),
        (b" src=100.64.0.2", b"", RejectReason.MALFORMED),
        (b"tcp ", b"tc\xff ", RejectReason.ENCODING),
        (b"tcp ", b"tc\x00 ", RejectReason.ENCODING),
        (b"\n", b"x" * 5000 + b"\n", RejectReason.TOO_LONG),
        (b"SYN_SENT", b"[A] " * 900, RejectReason.MALFORMED),
    ],
)
def test_a_spoilt_line_is_refused_and_its_neighbours_are_not(old, new, reason):
    rows, rejects = decode("conntrack", NEW + NEW.replace(old, new) + NEW)
    assert [row["position"] for row in rows] == [1, 3]
    assert [(reject.position, reject.reason, reject.offset) for reject in rejects] == [(2, reason, len(NEW))]


def test_a_line_that_is_cut_off_is_refused_wherever_it_is_cut():
    for length in range(1, len(NEW)):
        rows, rejects = decode("conntrack", NEW + NEW[:length])
        assert (len(rows), [reject.reason for reject in rejects]) == (1, [RejectReason.MALFORMED])


def test_an_endless_line_is_read_past():
    rows, rejects = decode("conntrack", EndlessLine(NEW, 50 << 20, b"\n" + NEW))
    assert [row["position"] for row in rows] == [1, 3]
    assert [reject.reason for reject in rejects] == [RejectReason.TOO_LONG]


def test_no_zone_is_needed_and_small_reads_change_nothing():
    plain = decode("conntrack", EVENTS)
    assert decode("conntrack", EVENTS, SourceConfig("s", zone=None)) == plain
    assert decode("conntrack", DripStream(EVENTS)) == plain
    assert decode("conntrack", EVENTS.replace(b"\n", b"\r\n"))[0] == plain[0]
    with pytest.raises(InputError):
        decode("conntrack", "[1".encode("utf-16"))


@settings(max_examples=100, deadline=None)
@given(spoilt_lines((EVENTS + LISTING).splitlines()))
def test_mutated_lines_are_all_accounted_for(data: bytes) -> None:
    accounts_for_lines("conntrack", data, apart=b"conntrack v")
