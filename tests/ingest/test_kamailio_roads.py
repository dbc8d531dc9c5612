"""Rows of acc and bodies of acc_json give the same by compiled walks and by their twins."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders import decoder
from ingest.decoders.kamailio import records, walk
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from tests.examples import examples
from tests.ingest.roads import NOW_US

SOURCE = SourceConfig("east", country="SE")
PLAIN: dict[str, Any] = {
    "time": 1795313230, "method": "INVITE", "from_tag": "f", "to_tag": "t", "callid": "c@h", "sip_code": "200",
    "sip_reason": "OK", "src_user": "46700000001", "dst_user": "46700000002", "src_ip": "192.0.2.1", "x": 1,
}  # fmt: skip
VALUES = st.sampled_from([None, "", "BYE", "ACK", "486", "1795313231", 1795313231, 1.5, True, [], {}, "a{b", "å", "\t"])
BODIES = st.dictionaries(st.sampled_from([*PLAIN, "start_time"]), VALUES, max_size=2).map(lambda more: PLAIN | more)
LINES = st.one_of(
    BODIES.map(lambda body: json.dumps(body).encode()),
    BODIES.map(lambda body: json.dumps(body, ensure_ascii=False).encode()),
    st.sampled_from(
        [
            b"", b" ", b"{}", b"{", b"[]", b"1", b'{"x":NaN}', b'{"x":Infinity}', b'{"method":"\xff"}', b'{"x":"\x01"}',
            b'{"method":"BYE","method":"ACK"}', b'{"method":"BYE"}{"method":"BYE"}', b'{"method":"BYE"} ',
            b' {"method":"BYE"}', b'{"method":"BYE","x":01}', b'{"method":"BYE","time":99999999999999999999}',
            b'{"m\\u0065thod":"BYE"}', b'a\tb\t{"method":"BYE"}', b'{"method":"BYE"}\r', b'{"method":"BYE"}\x00',
        ]
    ),
)  # fmt: skip


WORDS = st.sampled_from(
    ["", "f", "t", "ta", "INVITE", "BYE", "MESSAGE", "invite", "200", "486", "401", "481", "100", "600", "1795313230",
     "1795313230.5", "250000", "46700000001", "+46700000001", "anna", "192.0.2.1", "192.0.2.256", "2001:db8::1", "c@h",
     "ACC: x", "ACC:", "å", "0" * 18, "1" * 19, "a:b c"]
)  # fmt: skip
ROW = ["INVITE", "f", "t", "c@h", "200", "OK", "1795313230", "46700000001", "h", "192.0.2.1", "4670", "4670", "h"]
ROWS = st.builds(
    lambda changes, cut, more: "|".join([changes.get(place, word) for place, word in enumerate(ROW[:cut])] + more),
    st.dictionaries(st.integers(0, 11), WORDS, max_size=3),
    st.sampled_from([7, 13, 13, 13, 12]),
    st.lists(WORDS, max_size=1),
)
LINES_OF_ACC = st.one_of(
    ROWS.map(str.encode),
    st.sampled_from(
        [b"", b" ", b"INVITE", b"|" * 70, b"1795313230|1795313231|1", b"\xff|a", b"INVITE|f|t|c|200|OK|1795313230\r",
         b"a\x00b", b"Nov 1 host kamailio[1]: NOTICE: ACC: transaction answered: timestamp=1795313230;method=INVITE;"
         b"from_tag=f;to_tag=t;call_id=c;code=200;reason=OK"]
    ),
)  # fmt: skip


CALL = ["INVITE", "f", "t", "c@h", "200", "OK", "1795313230", "60", "60250", "5", "1795313225"]
CALLS = st.builds(
    lambda changes, cut, more: "|".join([changes.get(place, word) for place, word in enumerate(CALL[:cut])] + more),
    st.dictionaries(
        st.integers(0, 10), st.one_of(WORDS, st.sampled_from(["0", "00", "202", "2x0", "9" * 12, "9" * 13])), max_size=3
    ),
    st.sampled_from([7, 11, 11, 11, 10]),
    st.lists(WORDS, max_size=1),
)
CALLS_OF_ACC = st.one_of(
    CALLS.map(str.encode),
    LINES_OF_ACC,
    st.just(
        b"Nov 1 host opensips[1]: ACC: call ended: timestamp=1795313230;method=INVITE;from_tag=f;to_tag=t;call_id=c;"
        b"code=200;reason=OK;duration=60"
    ),
)
COLUMNS = (
    None,
    "method,from_tag,to_tag,callid,sip_code,sip_reason,time,duration,caller,callee,dst_ouser",
    "method,src_user,src_ip,call_id,callid,code,time,ms_duration,call_start_time,x,created",
)


def told(name: str, data: bytes, source: SourceConfig, *, walked: bool) -> tuple[list[Any], list[Any]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walk, "loaded", lambda size: walked and size > 0)
        parts = [normalise(part, source, NOW_US) for part in decoder(name).decode(io.BytesIO(data), source)]
    rows = [
        {name: value for name, value in row.items() if value is not None} for p in parts for row in p.table.to_pylist()
    ]
    return rows, [reject for part in parts for reject in part.rejects]


def same(name: str, data: bytes, source: SourceConfig = SOURCE) -> None:
    assert told(name, data, source, walked=True) == told(name, data, source, walked=False)


@given(lines=st.lists(LINES, min_size=1, max_size=4), plain=st.integers(0, 3), end=st.sampled_from([b"\n", b""]))
@examples(100)
def test_both_roads_tell_the_same_of_bodies(lines: list[bytes], plain: int, end: bytes) -> None:
    same("kamailio-json", b"\n".join([json.dumps(PLAIN).encode()] * plain + lines) + end)


@given(
    lines=st.lists(LINES_OF_ACC, min_size=1, max_size=4),
    plain=st.integers(0, 2),
    end=st.sampled_from([b"\n", b""]),
    identity=st.sampled_from(["call-id", "dialog"]),
)
@examples(120)
def test_both_roads_tell_the_same_of_rows(lines: list[bytes], plain: int, end: bytes, identity: str) -> None:
    source = SourceConfig("east", country="SE", options={"identity": identity})
    same("kamailio-acc", b"\n".join(["|".join(ROW).encode()] * plain + lines) + end, source)


@given(
    lines=st.lists(CALLS_OF_ACC, min_size=1, max_size=4),
    plain=st.integers(0, 2),
    end=st.sampled_from([b"\n", b"", b"\r\n"]),
    identity=st.sampled_from(["call-id", "dialog"]),
    columns=st.sampled_from(COLUMNS),
)
@examples(120)
def test_both_roads_tell_the_same_of_calls_that_ended(
    lines: list[bytes], plain: int, end: bytes, identity: str, columns: str | None
) -> None:
    options = {"identity": identity} | ({} if columns is None else {"columns": columns})
    source = SourceConfig("east", country="SE", options=options)
    same("opensips-acc", b"\n".join(["|".join(CALL).encode()] * plain + lines) + end, source)


@given(
    values=st.dictionaries(st.sampled_from([*PLAIN, "call_id", "time_sec", "caller", "callee"]), WORDS), cut=st.data()
)
@examples(70)
def test_both_roads_tell_the_same_of_damaged_bytes(values: dict[str, str], cut: st.DataObject) -> None:
    data = bytearray(b"\n".join([json.dumps(PLAIN | values, ensure_ascii=False).encode()] * 2) + b"\n")
    place = cut.draw(st.integers(0, len(data) - 1))
    data[place] = cut.draw(st.integers(0, 255))
    same("kamailio-json", bytes(data))


def test_plain_bodies_and_rows_go_the_short_road(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "transactions", None)
    rows, rejects = told("kamailio-json", json.dumps(PLAIN).encode() + b"\n", SOURCE, walked=True)
    assert (len(rows), rejects) == (1, [])
    rows, rejects = told("kamailio-acc", "|".join(ROW).encode() + b"\n", SOURCE, walked=True)
    assert (len(rows), rejects) == (1, [])
    assert rows[0]["calling_number"] == 10**11 + 46700000001
    monkeypatch.setattr(records, "ended_calls", None)
    rows, rejects = told("opensips-acc", "|".join(CALL).encode() + b"\n", SOURCE, walked=True)
    assert (len(rows), rejects) == (1, [])
    assert (rows[0]["duration_ms"], rows[0]["billable_duration_ms"]) == (65_250, 60_250)
