from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders.kamailio import walk
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import RejectReason
from tests.ingest.decoding import DripStream, EndlessLine, content, decode, fixture

ACC = fixture("kamailio", "acc_129.log") + fixture("kamailio", "acc_130.log")
MISSED = fixture("kamailio", "missed_calls_129.log") + fixture("kamailio", "missed_calls_130.log")
CDRS = fixture("kamailio", "acc_cdrs_129.log") + fixture("kamailio", "acc_cdrs_130.log")
SYSLOG = fixture("kamailio", "acc_syslog_lines.log")
BODIES = fixture("kamailio", "http_posts.flat.jsonl")
ROW = b"INVITE|f|t|c@h|486|Busy Here|1795313230|1795313230|844213|1001|d|192.0.2.1|1002|1002|d\n"


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def test_acc_rows_are_what_a_count_of_their_words_says():
    rows, rejects = decode("kamailio-acc", ACC)
    assert rejects == []
    assert Counter(row["event"] for row in rows) == {
        "open": ACC.count(b"|200|OK|") - ACC.count(b"BYE|"),
        "close": ACC.count(b"BYE|"),
        "record": ACC.count(b"|486|") + ACC.count(b"|487|"),
    }
    assert Counter(row["disposition"] for row in rows if row["event"] == "record") == {
        "busy": ACC.count(b"|486|"),
        "cancelled": ACC.count(b"|487|"),
    }


def test_an_answered_call_opens_with_its_parties_and_closes_with_its_end():
    rows, _ = decode("kamailio-acc", ACC)
    opened = next(row for row in rows if row["event"] == "open")
    closed = next(row for row in rows if row["event"] == "close" and row["session_key"] == opened["session_key"])
    assert opened["start_time"] == opened["answer_time"] == at(1795313233).replace(microsecond=274193)
    assert (opened["calling_number"], opened["called_number"]) == ("33612345601", "442071838750")
    assert opened["source_ip"] == "127.0.0.1"
    assert "end_time" not in opened
    assert closed["end_time"] == at(1795313235).replace(microsecond=579431)
    assert "calling_number" not in closed and "start_time" not in closed
    assert opened["record_key"] == closed["record_key"]


def test_a_bye_from_the_called_side_closes_the_same_session():
    invite = b"INVITE|one|two|c@h|200|OK|1795313230\n"
    bye = b"BYE|two|one|c@h|200|OK|1795313260\n"
    rows, _ = decode("kamailio-acc", invite + bye)
    assert [row["event"] for row in rows] == ["open", "close"]
    assert rows[0]["session_key"] == rows[1]["session_key"]


def test_missed_calls_are_the_same_records_as_their_acc_rows():
    acc = {row["record_key"]: content(row) for row in decode("kamailio-acc", ACC)[0]}
    missed = decode("kamailio-acc", MISSED)[0]
    assert len(missed) == MISSED.count(b"\n") == 10
    for row in missed:
        assert acc[row["record_key"]] == content(row)


def test_the_fold_of_acc_and_acc_cdrs_have_one_identity_per_answered_call():
    closed = {row["record_key"]: row for row in decode("kamailio-acc", ACC)[0] if row["event"] == "close"}
    opened = {row["record_key"]: row for row in decode("kamailio-acc", ACC)[0] if row["event"] == "open"}
    cdrs = {row["record_key"]: row for row in decode("kamailio-acc", CDRS)[0] if row["disposition"] == "answered"}
    assert closed.keys() == opened.keys() == cdrs.keys()
    assert len(cdrs) == 20
    for key, cdr in cdrs.items():
        assert cdr["start_time"] == opened[key]["start_time"].replace(microsecond=0)
        assert cdr["end_time"] == closed[key]["end_time"].replace(microsecond=0)
        for name in ("calling_number", "called_number", "source_ip", "disposition", "service_type", "call_link"):
            assert cdr.get(name) == opened[key].get(name)


def test_acc_cdrs_are_complete_with_milliseconds_of_duration():
    rows, rejects = decode("kamailio-acc", CDRS)
    assert rejects == []
    seconds = [float(line.split(b"|")[2]) for line in CDRS.splitlines()]
    assert [row["duration_ms"] for row in rows] == [round(one * 1000) for one in seconds]
    assert sum(row["disposition"] == "failed" for row in rows) == sum(one == 0 for one in seconds) == 10
    assert all(row["event"] == "record" for row in rows)


def test_cdr_start_decides_what_the_start_column_means():
    created = decode("kamailio-acc", CDRS)[0][-1]
    confirmed = decode("kamailio-acc", CDRS, SourceConfig("s", options={"cdr_start": "confirmed"}))[0][-1]
    setup = decode("kamailio-acc", CDRS, SourceConfig("s", options={"cdr_start": "setup"}))[0][-1]
    assert "answer_time" not in created
    assert confirmed["answer_time"] == confirmed["start_time"] == created["start_time"]
    assert setup["answer_time"] == created["start_time"]
    assert setup["start_time"] == datetime.fromtimestamp(1795313233, UTC).replace(microsecond=265889)


def test_failed_cdrs_can_be_refused_where_acc_tells_them():
    rows, rejects = decode("kamailio-acc", CDRS, SourceConfig("s", options={"failed_cdrs": "refuse"}))
    assert len(rows) == 20
    assert {reject.reason for reject in rejects} == {RejectReason.UNSUPPORTED}


def test_identity_by_dialog_needs_the_tags_in_cdr_extra():
    options = {"identity": "dialog", "cdr_columns": "start_time,end_time,duration,callid,from_tag,to_tag"}
    source = SourceConfig("s", options=options)
    cdr = b"1795313230|1795313260|30.000000|c@h|two|one\n"
    calls = decode("kamailio-acc", b"INVITE|one|two|c@h|200|OK|1795313230\n" + cdr, source)[0]
    assert calls[0]["record_key"] == calls[1]["record_key"] == "call one two c@h"
    rejects = decode("kamailio-json", b'{"start_time":"1","end_time":"2","duration":"1","callid":"c"}', source)[1]
    assert [(one.reason, one.field) for one in rejects] == [(RejectReason.MISSING_FIELD, "from_tag")]


@pytest.mark.parametrize("rows", [1, 200])
def test_the_order_that_an_option_gives_may_begin_with_any_column(rows: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(walk, "LOAD_BYTES_MIN", 0)
    columns = "time,method,from_tag,to_tag,callid,sip_code,src_user,dst_user,x"
    cdr_columns = "callid,caller,callee,start_time,end_time,duration"
    made = [b"1795313230|INVITE|f|t|%d|486|4670|4671|\n" % number for number in range(rows)]
    cdr = b"%s|4670|4671|1795313230|1795313260|30.000000\n"
    source = SourceConfig("s", options={"columns": columns, "cdr_columns": cdr_columns})
    taken, rejects = decode("kamailio-acc", b"".join(made) + cdr % b"a1@h" + cdr % b"1a@h", source)
    assert rejects == [] and len(taken) == rows + 2
    assert Counter(row["disposition"] for row in taken) == {"busy": rows, "answered": 2}
    source = SourceConfig("s", options={"columns": columns})
    cdr = b"1795313230|1795313260|30.000000|c@h|4670|4671|192.0.2.1||\n"
    taken, rejects = decode("kamailio-acc", b"".join(made) + cdr, source)
    assert rejects == [] and Counter(row["disposition"] for row in taken) == {"busy": rows, "answered": 1}


def test_a_row_with_another_number_of_columns_is_refused():
    broken = ROW.replace(b"|1001|", b"|10|01|")
    rows, rejects = decode("kamailio-acc", ROW + broken + ROW)
    assert [row["position"] for row in rows] == [1, 3]
    assert [(one.position, one.reason, one.raw) for one in rejects] == [
        (2, RejectReason.COLUMN_COUNT, broken.rstrip(b"\n"))
    ]
    assert rejects[0].offset == len(ROW)


def test_cdrs_without_a_call_id_cannot_be_told_apart_and_are_refused():
    rows, rejects = decode("kamailio-acc", b"1795313226|1795313229|3.000000\n")
    assert rows == []
    assert [(one.reason, one.field) for one in rejects] == [(RejectReason.MISSING_FIELD, "callid")]


def test_own_columns_are_read_by_name():
    source = SourceConfig("s", options={"columns": "method,callid,from_tag,to_tag,code,time,caller,dialled,callee,x"})
    rows, _ = decode("kamailio-acc", b"INVITE|c|f|t|404|1795313230.5|1001|22|33|y\n", source)
    assert rows[0]["calling_number"] == "1001"
    assert (rows[0]["dialled_number"], rows[0]["called_number"], rows[0]["cause"]) == ("22", "33", "404")
    assert rows[0]["end_time"] == at(1795313230.5)


@pytest.mark.parametrize(
    ("old", "new", "reason", "field"),
    [
        (b"INVITE", b"invite", RejectReason.BAD_FIELD, "method"),
        (b"|486|", b"|4x6|", RejectReason.BAD_FIELD, "sip_code"),
        (b"|486|", b"|183|", RejectReason.UNSUPPORTED, None),
        (b"INVITE", b"CANCEL", RejectReason.UNSUPPORTED, None),
        (b"c@h", b"", RejectReason.MISSING_FIELD, "callid"),
        (b"|1795313230|1795313230|", b"|now|now|", RejectReason.BAD_TIME, "time"),
        (b"|844213|", b"|8442130|", RejectReason.BAD_TIME, "time_usec"),
        (b"1001", b"\xff", RejectReason.ENCODING, None),
        (b"1001", b"10\x0001", RejectReason.ENCODING, None),
        (b"\n", b"", RejectReason.MALFORMED, None),
    ],
)
def test_a_spoilt_row_is_refused_with_its_reason_and_the_next_is_not(old, new, reason, field):
    spoilt = ROW.replace(old, new)
    first = b"" if old == b"\n" else ROW
    rows, rejects = decode("kamailio-acc", ROW + spoilt + first)
    assert [(one.position, one.reason, one.field) for one in rejects] == [(2, reason, field)]
    assert len(rows) == (2 if first else 1)


def test_a_challenged_bye_does_not_end_the_call():
    rejects = decode("kamailio-acc", b"BYE|f|t|c@h|407|Auth|1795313230\n")[1]
    assert [one.reason for one in rejects] == [RejectReason.UNSUPPORTED]


def test_syslog_lines_are_the_rows_of_both_tables():
    rows, rejects = decode("kamailio-acc", SYSLOG)
    assert rejects == []
    assert len(rows) == SYSLOG.count(b"ACC: ")
    tables = {row["record_key"]: content(row) for row in decode("kamailio-acc", ACC)[0] if row["event"] == "record"}
    for row in rows:
        if row["event"] == "record":
            assert content(row) == tables[row["record_key"]]
    assert Counter(row["event"] for row in rows) == {"open": 20, "close": 20, "record": 20}


def test_a_syslog_line_that_names_a_value_twice_is_refused():
    line = SYSLOG.splitlines()[0]
    assert decode("kamailio-acc", line + b";code=200\n")[0] == []
    assert decode("kamailio-acc", line + b";loose text\n")[0] == []
    assert len(decode("kamailio-acc", line + b"\n")[0]) == 1


def test_json_bodies_count_as_an_independent_parse_says():
    rows, rejects = decode("kamailio-json", BODIES)
    bodies = [json.loads(line.split(b"\t")[2]) for line in BODIES.splitlines()]
    assert rejects == []
    assert len(rows) == len(bodies) == 90
    assert sum(row["event"] == "close" for row in rows) == sum(body.get("method") == "BYE" for body in bodies)
    assert sum("duration_ms" in row and row["duration_ms"] > 0 for row in rows) == sum(
        float(body.get("duration", 0)) > 0 for body in bodies
    )


def test_the_ten_doubled_bodies_are_duplicates_and_nothing_else_is():
    rows = decode("kamailio-json", BODIES)[0]
    seen = Counter((row["event"], row["record_key"]) for row in rows)
    transactions = [line for line in BODIES.splitlines() if line.startswith(b"/acc")]
    doubled = sum(count - 1 for count in Counter(transactions).values())
    failed = [key for (event, key), count in seen.items() if event == "record" and count > 1]
    assert doubled == len(failed) == 10
    for key in failed:
        same = [content(row) for row in rows if row["record_key"] == key]
        assert same[0] == same[1]


def test_json_and_flatstore_tell_the_same_calls():
    flat = {(row["event"], row["record_key"]): row for row in decode("kamailio-acc", ACC + CDRS)[0]}
    for row in decode("kamailio-json", BODIES)[0]:
        other = flat[row["event"], row["record_key"]]
        for name, value in content(row).items():
            assert name not in content(other) or content(other)[name] == value


@pytest.mark.parametrize("indent", [None, 2])
def test_one_body_and_an_array_of_bodies_are_read_whole(indent):
    bodies = [json.loads(line.split(b"\t")[2]) for line in BODIES.splitlines()[:5]]
    assert len(decode("kamailio-json", json.dumps(bodies[0], indent=indent).encode())[0]) == 1
    assert len(decode("kamailio-json", json.dumps(bodies, indent=indent).encode())[0]) == 5


def test_json_rejects_say_why():
    lines = [b"{", b"[1]", b'{"a":1}', b'{"method":["INVITE"]}', b'{"method":"\xff"}', b"a\tb\t", b'{"method":{}}']
    rows, rejects = decode("kamailio-json", b"\n".join(lines) + b"\n")
    assert rows == []
    assert [(one.reason, one.field) for one in rejects] == [
        (RejectReason.MALFORMED, None),
        (RejectReason.MALFORMED, None),
        (RejectReason.MISSING_FIELD, "method"),
        (RejectReason.BAD_FIELD, "method"),
        (RejectReason.ENCODING, None),
        (RejectReason.MALFORMED, None),
        (RejectReason.BAD_FIELD, "method"),
    ]
    assert [one.raw for one in rejects] == lines


@pytest.mark.parametrize("name", ["kamailio-acc", "kamailio-json"])
def test_an_endless_line_is_read_past(name):
    good = ROW if name == "kamailio-acc" else BODIES.splitlines()[0] + b"\n"
    rows, rejects = decode(name, EndlessLine(good, 50 << 20, b"\n" + good))
    assert [row["position"] for row in rows] == [1, 3]
    assert [(one.position, one.reason, one.length_bytes) for one in rejects] == [
        (2, RejectReason.TOO_LONG, (50 << 20) + 1)
    ]


@pytest.mark.parametrize(
    "options", [{"cdr_start": "never"}, {"identity": ""}, {"columns": "a,,b"}, {"columns": "a,a"}, {"failed_cdrs": "x"}]
)
def test_an_option_that_cannot_be_understood_is_refused(options):
    with pytest.raises(ConfigurationError):
        decode("kamailio-acc", ROW, SourceConfig("s", options=options))


def test_carriage_returns_and_small_reads_change_nothing():
    plain = decode("kamailio-acc", ACC)
    assert decode("kamailio-acc", ACC.replace(b"\n", b"\r\n"))[0] == plain[0]
    assert decode("kamailio-acc", DripStream(ACC)) == plain
    assert decode("kamailio-json", DripStream(BODIES)) == decode("kamailio-json", BODIES)


def test_utf16_is_no_delivery():
    for name in ("kamailio-acc", "kamailio-json"):
        with pytest.raises(InputError):
            decode(name, "INVITE|".encode("utf-16"))


def lines_of(data: bytes) -> int:
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    return sum(1 for line in data.split(b"\n") if line.strip())


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from((ACC + CDRS + SYSLOG[:900]).splitlines()), st.binary(max_size=40))), st.data()
)
def test_mutated_rows_are_all_accounted_for(lines, data):
    blob = bytearray(b"\n".join(lines))
    for _ in range(data.draw(st.integers(0, 5))):
        if blob:
            blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    if blob[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return
    rows, rejects = decode("kamailio-acc", bytes(blob))
    assert len(rows) + len(rejects) == lines_of(bytes(blob))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(BODIES.splitlines()), st.binary(max_size=40)), min_size=2), st.data())
def test_mutated_bodies_are_all_accounted_for(lines, data):
    blob = bytearray(b"\n".join(lines))
    for _ in range(data.draw(st.integers(0, 5))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    if blob[:2] in (b"\xff\xfe", b"\xfe\xff") or bytes(blob).strip()[:1] in (b"{", b"["):
        return
    rows, rejects = decode("kamailio-json", bytes(blob))
    assert len(rows) + len(rejects) == lines_of(bytes(blob))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["method", "time", "callid", "sip_code", "start_time", "end_time", "duration", "src_user"]),
            st.one_of(JSON_VALUES, st.sampled_from(["INVITE", "200", "1795313230", "1.5"])),
        ),
        min_size=1,
    )
)
def test_no_json_value_raises(bodies):
    data = b"".join(json.dumps(body).encode() + b"\n" for body in bodies)
    rows, rejects = decode("kamailio-json", data)
    assert len(rows) + len(rejects) == len(bodies)
