from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders import kannel
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import RejectReason
from tests.ingest.decoding import DripStream, EndlessLine, decode, fixture

LOG = fixture("kannel", "access.log")
SMSBOX = fixture("kannel", "smsbox-access.log")
SECRET = b"meet me] [at:9"


def line(
    text: bytes = SECRET,
    *,
    time: bytes = b"2026-11-22 02:23:05",
    words: bytes = b"Sent SMS",
    fid: bytes = b"",
    sender: bytes = b"13013",
    coding: bytes = b"0",
    length: int | None = None,
    tail: bytes = b"] [udh:0:]\n",
) -> bytes:
    size = len(text) if length is None else length
    return (
        b"%b %b [SMSC:A] [SVC:] [ACT:acme] [BINF:] [FID:%b] [META:] [from:%b] [to:+46701] [flags:-1:%b:-1:-1:-1] "
        b"[msg:%d:%b%b" % (time, words, fid, sender, coding, size, text, tail)
    )


def counted(data: bytes) -> int:
    """Count records of a log whose texts hold no line ends, line by line."""
    idle = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d Log (begins|ends)\s*")
    return sum(1 for one in data.split(b"\n") if one.strip() and not idle.fullmatch(one))


def test_messages_are_what_a_count_of_their_words_says():
    rows, rejects = decode("kannel", LOG)
    assert rejects == []
    assert Counter(row["disposition"] for row in rows) == {
        "sent": LOG.count(b" Sent SMS "),
        "received": LOG.count(b" Receive SMS "),
    }
    assert len(rows) == counted(LOG) == 43
    assert [row["calling_number"] for row in rows] == [one.decode() for one in re.findall(rb"\[from:(.*?)\]", LOG)]
    assert [row["called_number"] for row in rows] == [one.decode() for one in re.findall(rb"\[to:(.*?)\]", LOG)]


def test_times_are_of_the_sources_zone():
    rows, _ = decode("kannel", LOG, SourceConfig("s", zone="Europe/Stockholm"))
    assert rows[0]["start_time"] == rows[0]["end_time"] == datetime(2026, 11, 22, 1, 23, 5, tzinfo=UTC)
    assert rows[0]["utc_offset_s"] == 3600
    assert not rows[0]["time_ambiguous"]
    doubled = decode("kannel", line(time=b"2026-10-25 02:30:00"), SourceConfig("s", zone="Europe/Stockholm"))[0][0]
    assert doubled["time_ambiguous"] and doubled["start_time"] == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_a_source_without_a_zone_is_refused():
    with pytest.raises(ConfigurationError, match="zone"):
        decode("kannel", LOG, SourceConfig("s", zone=None))


def test_tenant_account_and_trunk_are_told():
    row = decode("kannel", LOG)[0][-1]
    assert (row["account"], row["tenant"], row["trunk_out"]) == ("tenantA", "tenantA", "FAKE1")
    assert "tenant" not in decode("kannel", LOG, SourceConfig("s", tenant="own"))[0][-1]
    assert decode("kannel", LOG)[0][0]["trunk_in"] == "FAKE1"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"]",
        b"] [udh:0:]",
        b"a] [udh:0:]\nb",
        b"\n\n\n",
        b"\xff\xfe\x00\x80",
        b"x\n2026-11-22 02:23:05 Log ends\ny",
        b"x\n" + line(b"forged"),
        b"[msg:3:abc]",
        "снова".encode("utf-16-be"),
    ],
)
def test_a_text_of_any_bytes_is_skipped_by_its_length(text):
    rows, rejects = decode("kannel", line() + line(text) + line())
    assert rejects == []
    assert len(rows) == 3
    assert decode("kannel", DripStream(line() + line(text) + line())) == (rows, rejects)


@pytest.mark.parametrize("coding", [b"1", b"2"])
def test_a_binary_text_is_written_twice_as_long_in_hexadecimal(coding):
    rows, rejects = decode("kannel", line(b"5D205B7564683A303A5D", coding=coding, length=10) + line())
    assert (len(rows), rejects) == (2, [])
    rows, rejects = decode("kannel", line(b"plain", coding=coding) + line())
    assert (len(rows), rejects) == (2, [])


@pytest.mark.parametrize("sender", [b"A]B", b"[A]", b"x] [y"])
def test_a_sender_may_hold_brackets(sender):
    rows, rejects = decode("kannel", line(sender=sender))
    assert rejects == []
    assert rows[0]["calling_number"] == sender.decode()


@pytest.mark.parametrize(
    ("words", "disposition"),
    [
        (b"Sent SMS", "sent"),
        (b"Receive SMS", "received"),
        (b"DLR SMS", "delivery-report"),
        (b"Receive DLR", "delivery-report"),
        (b"FAILED Send SMS", "failed"),
        (b"DISCARDED SMS", "failed"),
    ],
)
def test_words_say_what_became_of_the_message(words, disposition):
    assert decode("kannel", line(words=words))[0][0]["disposition"] == disposition


def test_words_that_kannel_does_not_write_are_no_message_that_failed():
    rows, rejects = decode("kannel", line(words=b"CET Sent SMS") + line())
    assert [row["position"] for row in rows] == [2]
    assert [(reject.position, reject.reason) for reject in rejects] == [(1, RejectReason.UNSUPPORTED)]


def test_old_logs_lack_fid_and_meta_and_udh():
    rows, rejects = decode("kannel", line(tail=b"]\n").replace(b"[FID:] [META:] ", b""))
    assert (len(rows), rejects) == (1, [])


def test_a_foreign_id_is_the_identity_and_its_report_is_another_record():
    sent, again, report = (
        decode("kannel", line(fid=b"4711")),
        decode("kannel", line(b"other", fid=b"4711")),
        decode("kannel", line(fid=b"4711", words=b"DLR SMS")),
    )
    assert sent[0][0]["record_key"] == again[0][0]["record_key"] == "S A 4711"
    assert report[0][0]["record_key"] == "D A 4711"


def test_equal_lines_are_several_messages_and_the_same_file_the_same_ones():
    rows, _ = decode("kannel", line() + line() + line(sender=b"2") + line())
    assert len({row["record_key"] for row in rows}) == 4
    assert [row["record_key"] for row in decode("kannel", LOG)[0]] == [
        row["record_key"] for row in decode("kannel", LOG)[0]
    ]
    assert len({row["record_key"] for row in decode("kannel", LOG)[0]}) == 43


def test_no_digest_of_a_text_is_made():
    assert decode("kannel", line(b"yes"))[0][0]["record_key"] == decode("kannel", line(b"no!"))[0][0]["record_key"]


def test_counting_starts_a_new_series_rather_than_repeat_a_key(monkeypatch):
    monkeypatch.setattr(kannel, "OCCURRENCES_MAX", 2)
    rows, _ = decode("kannel", b"".join(line(sender=b"%d" % (number % 3)) for number in range(20)))
    assert len({row["record_key"] for row in rows}) == 20


def test_only_log_begins_and_ends_are_no_records():
    idle = b"2026-11-22 02:23:02 Log begins\n\n  \n2026-11-22 02:23:02 Log ends\r\n"
    assert decode("kannel", idle) == ([], [])
    rows, rejects = decode("kannel", SMSBOX)
    assert rows == []
    assert len(rejects) == counted(SMSBOX) == 23
    assert {reject.reason for reject in rejects} == {RejectReason.UNSUPPORTED}


def test_no_column_and_no_reject_holds_a_text():
    texts = [b"hello world", b"No service", b"nop", b"asked nothing", b"brackets", b"quotes", b"long long"]
    for data in (LOG, SMSBOX, LOG.replace(b" [udh:", b" [uhd:"), LOG.replace(b"[msg:", b"[msg:9"), LOG[:-700]):
        rows, rejects = decode("kannel", data)
        assert rows or rejects
        for text in texts:
            assert text.decode() not in str(rows)
            assert all(text not in (reject.raw or b"") for reject in rejects)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(line())), st.integers(0, 255), st.integers(0, len(line())))
def test_whatever_byte_is_spoilt_no_reject_holds_the_text(place, byte, end):
    for data in (bytearray(line()), bytearray(line()[:end]), bytearray(line(b"[msg:3:" + SECRET))):
        if place < len(data):
            data[place] = byte
        rows, rejects = decode("kannel", bytes(data) + line())
        assert SECRET.decode() not in str(rows)
        assert all(b"meet me" not in (reject.raw or b"") for reject in rejects)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (line(tail=b"\n"), RejectReason.MALFORMED),
        (line(length=3), RejectReason.MALFORMED),
        (line(length=9_999_999), RejectReason.TOO_LONG),
        (line(sender=b"\xff"), RejectReason.ENCODING),
        (line(sender=b"a\0"), RejectReason.ENCODING),
        (line(time=b"2026-02-30 02:23:05"), RejectReason.BAD_TIME),
        (line(time=b"2026-11-22 2:23:05"), RejectReason.MALFORMED),
        (b"2026-11-22 02:23:05 send-SMS request added - sender:x request: 'y'\n", RejectReason.UNSUPPORTED),
        (b"\0" * 100 + b"\n", RejectReason.MALFORMED),
    ],
)
def test_a_spoilt_message_is_refused_and_its_neighbours_are_not(data, reason):
    rows, rejects = decode("kannel", line() + data + line())
    assert [row["position"] for row in rows] == [1, 3]
    assert [(reject.position, reject.reason, reject.offset) for reject in rejects] == [(2, reason, len(line()))]


def test_a_message_that_is_cut_off_is_refused_wherever_it_is_cut():
    whole = line()
    for length in range(1, len(whole) - 1):
        rows, rejects = decode("kannel", line() + whole[:length])
        udh_missing = whole[:length].endswith(SECRET + b"]")
        assert len(rows) == 1 + udh_missing
        assert len(rejects) == 1 - udh_missing
    assert len(decode("kannel", line() + whole[:-1])[0]) == 2


def test_an_endless_line_is_read_past():
    rows, rejects = decode("kannel", EndlessLine(line(), 50 << 20, b"\n" + line()))
    assert len(rows) == 2
    assert [(reject.position, reject.reason) for reject in rejects] == [(2, RejectReason.TOO_LONG)]
    rows, rejects = decode("kannel", EndlessLine(line() + line()[:-30], 50 << 20, b"\n" + line()))
    assert len(rows) == 2
    assert len(rejects) == 1


def test_utf16_is_no_delivery():
    with pytest.raises(InputError):
        decode("kannel", "2026".encode("utf-16"))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_mutated_logs_are_all_accounted_for(data):
    blob = bytearray(b"\n".join(data.draw(st.lists(st.sampled_from(LOG.splitlines()), max_size=8))) + b"\n")
    for _ in range(data.draw(st.integers(0, 5))):
        place = data.draw(st.integers(0, len(blob) - 1))
        byte = data.draw(st.integers(0, 255))
        if blob[place] != 0x0A and byte not in b"\n":
            blob[place] = byte
    if blob[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    rows, rejects = decode("kannel", bytes(blob))
    # A line whose time is spoilt after another refused line belongs to that one: nothing tells where it begins.
    assert len(rows) + len(rejects) <= counted(bytes(blob))
    intact = set(LOG.splitlines())
    sound = sum(1 for one in bytes(blob).split(b"\n") if one in intact and counted(one))
    assert sound <= len(rows) + len(rejects)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=60), st.just(line()), st.sampled_from([b"[msg:", b"\n", b"2026-11-22 "]))))
def test_random_bytes_never_raise(pieces):
    data = b"".join(pieces)
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    rows, rejects = decode("kannel", data)
    covered = sum(reject.length_bytes or 0 for reject in rejects if reject.reason is not RejectReason.ENCODING)
    assert covered <= len(data)
    assert bool(rows or rejects) == bool(counted(data.removeprefix(b"\xef\xbb\xbf")))
