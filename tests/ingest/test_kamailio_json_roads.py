"""Bodies of acc_json give the same by Arrow's parser and one by one."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders.base import Decoded
from ingest.decoders.kamailio import json as kamailio_json
from ingest.decoders.kamailio.json import KamailioJson
from ingest.source import SourceConfig

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


def told(data: bytes) -> tuple[list[Any], list[Any]]:
    parts: list[Decoded] = list(KamailioJson().decode(io.BytesIO(data), SOURCE))
    rows = [
        {name: value for name, value in row.items() if value is not None} for p in parts for row in p.table.to_pylist()
    ]
    return rows, [reject for part in parts for reject in part.rejects]


@given(lines=st.lists(LINES, min_size=1, max_size=4), plain=st.integers(0, 3), end=st.sampled_from([b"\n", b""]))
@settings(max_examples=300, deadline=None)
def test_both_roads_tell_the_same(lines: list[bytes], plain: int, end: bytes) -> None:
    data = b"\n".join([json.dumps(PLAIN).encode()] * plain + lines) + end
    found = told(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kamailio_json, "_plain", lambda *_: None)
        assert told(data) == found


def test_plain_bodies_go_the_short_road(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(kamailio_json, "_Bodies")
    refused = json.dumps(PLAIN | {"method": "ACK"}).encode()
    rows, rejects = told(json.dumps(PLAIN).encode() + b"\n" + refused + b"\n")
    assert (len(rows), [(one.position, one.raw) for one in rejects]) == (1, [(2, refused)])
