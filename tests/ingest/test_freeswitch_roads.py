"""The roads of FreeSWITCH's documents bring the same: compiled kernels, and Python leg by leg."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import window
from ingest.decoders import decoder
from ingest.decoders.freeswitch import walk as freeswitch_walk
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from schemas.rejects import Reject
from tests.examples import examples

FIXTURES = Path(__file__).parents[1] / "fixtures" / "freeswitch"
LEGS = (FIXTURES / "legs.ndjson").read_bytes()
ENCODED = (FIXTURES / "legs_encoded_values.ndjson").read_bytes()
DOCUMENTS = [json.loads(line) for line in (LEGS + ENCODED).splitlines()]
SOURCE = SourceConfig("fs", zone="Europe/Stockholm")

Taken = tuple[list[dict[str, Any]], list[Reject], list[bytes | None]]


def taken(data: bytes, source: SourceConfig, name: str, *, compiled: bool) -> tuple[Taken, int]:
    """Return rows, rejects and what is kept of each row, and how many rows the kernels made."""
    least = 0 if compiled else 1 << 60
    walked = 0
    rest = freeswitch_walk._Block.rest

    def counted(block: freeswitch_walk._Block) -> freeswitch_walk.Legs | None:
        nonlocal walked
        legs = rest(block)
        walked += 0 if legs is None else len(legs.figures["position"])
        return legs

    with (
        mock.patch.object(freeswitch_walk, "WALK_BYTES_MIN", least),
        mock.patch.object(freeswitch_walk, "LOAD_BYTES_MIN", least),
        mock.patch.object(freeswitch_walk._Block, "rest", counted),
    ):
        parts = list(decoder(name).decode(io.BytesIO(data), source))
    rows: list[dict[str, Any]] = []
    raws: list[bytes | None] = []
    for part in parts:
        part.table.validate(full=True)
        rows += part.table.to_pylist()
        if part.is_nothing:
            continue
        assert part.raw_of is not None
        raws += part.raw_of(part.table.column("position").to_pylist())
    assert [row["position"] for row in rows] == sorted(row["position"] for row in rows)
    rejects = [reject for part in parts for reject in part.rejects]
    return (rows, sorted(rejects, key=lambda reject: reject.position), raws), walked


def same(data: bytes, source: SourceConfig = SOURCE, name: str = "freeswitch-json") -> int:
    """Compare the roads, refusals of the whole too; return how many legs the kernels made."""
    try:
        fast, walked = taken(data, source, name, compiled=True)
    except InputError as refused:
        with pytest.raises(InputError) as told:
            taken(data, source, name, compiled=False)
        assert told.value.message == refused.message
        return 0
    assert fast == taken(data, source, name, compiled=False)[0]
    return walked


def text(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def changed(**variables: Any) -> bytes:
    """Return the first leg with other variables; None takes one away."""
    document: dict[str, Any] = copy.deepcopy(DOCUMENTS[0])
    document["variables"] |= variables
    document["variables"] = {name: value for name, value in document["variables"].items() if value is not None}
    return text(document)


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
@pytest.mark.parametrize("name", ["freeswitch-json", "freeswitch-xml"])
def test_both_roads_refuse_utf_16(mark: bytes, name: str) -> None:
    for compiled in (True, False):
        with pytest.raises(InputError, match="UTF-16"):
            taken(mark + LEGS, SOURCE, name, compiled=compiled)
    assert same(mark + LEGS, name=name) == 0


@pytest.mark.parametrize("option", ["auto", "yes", "no"])
@pytest.mark.parametrize("switch", [None, "vaxel-1"])
def test_what_the_switch_writes_is_walked(option: str, switch: str | None) -> None:
    source = SourceConfig("fs", zone="Europe/Stockholm", switch=switch, options={"encode_values": option})
    for legs in (LEGS, ENCODED):
        data = b"".join(line + b"\n" for line in legs.splitlines() if b"2001:db8::40" not in line)
        count = data.count(b"\n")
        assert count == 4
        assert same(data * 20, source) == 20 * count or option != "auto"
        assert same(data.replace(b"\n", b"\r\n"), source) == count or option != "auto"
        assert same(data.replace(b"\n", b"") + b"\n", source) == count or option != "auto"
        assert same(b"\n".join(data.splitlines()), source) == count - 1 or option != "auto"  # the last has no line end


def test_a_tenant_and_a_service_of_the_source_go_before_the_document() -> None:
    assert same(LEGS, SourceConfig("fs", tenant="t1", service_type="sms")) == LEGS.count(b"\n") - 1


def test_legs_of_both_roads_stay_in_order_over_many_windows() -> None:
    odd = text(DOCUMENTS[0]).replace(b"cust-0042", b"cust\\u002d0042")
    lines = [text(DOCUMENTS[number % 10]) if number % 7 else odd for number in range(400)]
    data = b"\n".join([*lines, b"{", b"cdr=%7B", LEGS])
    for size in (3_000, 20_000, 4 << 20):
        with mock.patch.object(window, "WINDOW_BYTES", size):
            assert same(data) > 100
    with mock.patch.object(freeswitch_walk, "ROWS_MAX", 3):
        assert same(data) > 100


ODD_VALUES: dict[str, list[Any]] = {
    "uuid": ["", None, 7, "x" * 300, "a\\b", "å", "\0"],
    "direction": ["inbound", "outbound", "outbounds", "", None],
    "start_stamp": [
        "2026-11-20 10:00:00",
        "2026-11-20 09:52:30",
        "2026-11-20 10:07:30",
        "2026-11-20T10:00:00",
        "2026-11-20%2010%3A00%3A00",
        "2026-02-30 10:00:00",
        "2026-11-20 24:00:00",
        "2026-11-20 10:00:99",
        "",
        None,
        5,
        "2026-11-20 10:00",
        "2026-11-20%2010:00:00",
        "1999-01-01 00:00:00",
        "2026-11-20 1\u0660:00:00",
    ],
    "end_stamp": ["", None, "2026%20%3A"],
    "answer_stamp": ["", None],
    "start_uepoch": [
        "0",
        "",
        None,
        "x",
        "1795165200123456 ",
        "-5",
        "1795165299123456",
        "0" * 30,
        1795165200123456,
        "1_7",
        "9" * 17,
        "9" * 18,
    ],
    "answer_uepoch": ["0", "", None, "-1", "9" * 18, "007"],
    "end_uepoch": ["0", "", None, "1", "x"],
    "mduration": ["", None, "0", "-3", "x", "9" * 15, "1099511627775", "1099511627776", 64],
    "uduration": ["", None, "999", "x", "9" * 17],
    "duration": ["", None, "64", "-1", "9" * 12, "1099511627"],
    "billmsec": ["", None, "x"],
    "billusec": ["", None, "x"],
    "billsec": ["", None, "x"],
    "sip_gateway_name": ["nord", "n%20d", "%E5", "", None, "a%2", "a%zz"],
    "sip_gateway": ["syd", "", None],
    "channel_name": [
        "sofia/internal/+46@x",
        "sofia",
        "sofia/a",
        "/",
        "//",
        "/a/b",
        "",
        None,
        "a%2Fb/c",
        "a/b%2Fc/d",
        "sofia/internal/%2B46%40x",
        "%2B46",
        "loopback/9-a",
        {"a": 1},
    ],
    "hangup_cause": ["", None, "USER_BUSY", "LOSE_RACE", "ODD", 5],
    "hangup_cause_q850": ["", None, "17", 16],
    "sip_network_ip": [
        "",
        None,
        "10.0.0.1",
        "2001:db8::1",
        "[2001:db8::1]",
        "host.example",
        "10.0.0.01",
        "10.0.0.1%25",
    ],
    "sip_network_port": ["", None, "0", "65536", "5060", "00005060", "x", "\u0665", 5060],
    "sip_reply_host": ["", None, "198.51.100.9", "gw.example", "2001:db8::9", "1.2.3", "[1.2.3.4]", "1.2.3.4%250"],
    "sip_user_agent": ["", None, "Yealink%20T46", "a%00b", "Å", 'a "b"', "%C3%A5", "100%", "%2B46"],
    "sip_from_user": ["", None, "%2B46701740605", "%2B4670x", "%2b46", "%2B", "+46"],
    "sip_to_user": ["", None, "%2B46701740611", "46%23"],
    "domain_name": ["", None, "sip.example.net"],
    "accountcode": ["", None, "a%26b", "a b"],
    "call_uuid": ["", None, 5],
    "originator": ["", None, "u2"],
    "originating_leg_uuid": ["", None, "u3"],
    "other": [
        "a b",
        "\t",
        "\b",
        "\x1f",
        "/",
        "\\",
        "%",
        [],
        {},
        {"a": [{"b": None}]},
        1.5,
        -0.0,
        1e99,
        True,
        10**19,
        "}{",
        "\ud800",
        "\u2028",
        "}\n{",
        "{",
        '"},"app_log":',
    ],
}
PROFILE_VALUES = {
    "caller_id_number": [
        "",
        None,
        "anonymous",
        "Anonymous",
        "restricted",
        "Restricted",
        "unavailable",
        "unknown",
        "anonymou5",
        "unknowm",
        "1",
        "+4670",
        5,
    ],
    "ani": ["", None, "+4671"],
    "rdnis": ["", None, "+4672", "+46701740611"],
    "destination_number": ["", None, "+4673", "h\u00e9"],
    "network_addr": ["", None, "192.0.2.40", "2001:db8::2", "host", "192.0.2.400"],
    "uuid": ["", None, "u9"],
    "originator": [
        {"originator_caller_profiles": [{"uuid": "o1"}, {"uuid": "o2"}]},
        {"originator_caller_profiles": []},
        {"originator_caller_profiles": [[]]},
        {"originator_caller_profiles": {}},
        {},
        [],
        None,
        "x",
        {"originator_caller_profiles": [{"uuid": ""}]},
        {"originator_caller_profiles": [{}, {"uuid": "o3"}]},
    ],
}


@pytest.mark.parametrize("name", list(ODD_VALUES))
def test_every_odd_value_of_a_variable_comes_out_the_same(name: str) -> None:
    for outbound in ("inbound", "outbound"):
        bodies = [changed(**{"direction": outbound} | {name: value}) for value in ODD_VALUES[name]]
        bodies += [changed(**{"direction": outbound, "uuid": None, name: value}) for value in ODD_VALUES[name]]
        same(b"\n".join([LEGS, *bodies, LEGS]))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a leg that is good but for some values, with one to three entries of its call flow."""
    document: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for name in draw(st.lists(st.sampled_from(list(ODD_VALUES)), max_size=6)):
        value = draw(st.sampled_from(ODD_VALUES[name]) | st.text(max_size=6))
        if value is None and draw(st.booleans()):
            document["variables"].pop(name, None)
        else:
            document["variables"][name] = value
    if draw(st.booleans()):
        for name in freeswitch_walk.VARIABLES[2:6]:
            document["variables"].pop(name, None)
    if draw(st.booleans()):
        encoded = {name: quote(value, safe="/") if type(value) is str and "\ud800" not in value else value
                   for name, value in document["variables"].items()}  # fmt: skip
        document["variables"] = encoded
    flow = document["callflow"]
    while len(flow) < draw(st.integers(1, 3)):
        flow.append(copy.deepcopy(flow[0]))
    for entry in flow:
        for name in draw(st.lists(st.sampled_from(list(PROFILE_VALUES)), max_size=3)):
            entry["caller_profile"][name] = draw(st.sampled_from(PROFILE_VALUES[name]))
    odd = draw(st.sampled_from(["", "", "", "flow", "none", "entry", "profile", "switch", "variables", "empty"]))
    if odd == "flow":
        document["callflow"] = flow[0]
    elif odd == "none":
        del document["callflow"]
    elif odd == "entry":
        flow.insert(0, draw(st.sampled_from([None, 1, "x", [], {}])))
    elif odd == "profile":
        flow[0]["caller_profile"] = draw(st.sampled_from([None, 1, "x", [], {}]))
    elif odd == "switch":
        document["switchname"] = draw(st.sampled_from([None, "", "fs2", 5]))
    elif odd == "variables":
        document["variables"] = draw(st.sampled_from([None, [], {}, "x"]))
    elif odd == "empty":
        document["callflow"] = []
    return document


@given(st.lists(documents(), min_size=1, max_size=8), st.booleans(), st.sampled_from(["auto", "auto", "yes", "no"]))
@settings(max_examples=100, deadline=None)
def test_any_values_come_out_the_same(drawn: list[dict[str, Any]], ascii_only: bool, option: str) -> None:
    lines = [
        json.dumps(document, ensure_ascii=ascii_only, separators=(",", ":")).encode("utf-8", "surrogatepass")
        for document in drawn
    ]
    same(b"\n".join([*lines, b""]), SourceConfig("fs", zone="Europe/Stockholm", options={"encode_values": option}))


PIECES = [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b" ", b"\t", b"\0", b"\xff", b"\xc3", b"null"]
PIECES += [
    b"0",
    b"-",
    b"1.",
    b"%",
    b'"uuid":"x",',
    b'"variables":{},',
    b'}{"',
    b"\\u00",
    b"\\ud83d\\ude00",
    b"e5",
    b"&",
]


@given(st.data())
@examples(70)
def test_any_damage_comes_out_the_same(drawn: st.DataObject) -> None:
    data = bytearray(
        b"\n".join(drawn.draw(st.lists(st.sampled_from(LEGS.splitlines()), min_size=1, max_size=4))) + b"\n"
    )
    for _ in range(drawn.draw(st.integers(1, 4))):
        at = drawn.draw(st.integers(0, len(data)))
        piece = drawn.draw(st.sampled_from(PIECES) | st.binary(max_size=2))
        data[at : at + drawn.draw(st.integers(0, 3))] = piece
    same(bytes(data) + LEGS)


@pytest.mark.parametrize(
    "line",
    [
        text(DOCUMENTS[0]).replace(b'"uuid":', b'"uuid":"x","uuid":', 1),
        text(DOCUMENTS[0]).replace(b'"session_id":', b'"last_app":"a b","session_id":', 1),
        text(DOCUMENTS[0]).replace(b'"callflow":', b'"callflow":[],"callflow":'),
        text(DOCUMENTS[0]).replace(b'"session_id":"118"', b'"session_id":0118'),
        text(DOCUMENTS[0]).replace(b'"session_id":"118"', b'"session_id":1e2'),
        text(DOCUMENTS[0]).replace(b'"session_id":"118"', b'"session_id":"\\x"'),
        text(DOCUMENTS[0]).replace(b'"session_id":"118"', b'"session_id":"\\ud83d"'),
        text(DOCUMENTS[0]).replace(b'"session_id":"118"', b'"session_id":"a\tb"'),
        text(DOCUMENTS[0]).replace(b'"session_id":"118"', b'"session_id":' + b"[" * 40 + b"]" * 40),
        text(DOCUMENTS[0]).replace(b'"118"', b'"' + b"1" * 70_000 + b'"'),
        text(DOCUMENTS[0])[:-1],
        text(DOCUMENTS[0]) + b"x",
        json.dumps(DOCUMENTS[0], indent=1).encode(),
    ],
    ids=range(13),
)
def test_what_is_not_understood_is_left_to_the_twin(line: bytes) -> None:
    good = text(DOCUMENTS[1]) + b"\n"
    assert same(good + line + b"\n" + good + good) in (1, 2, 3, 6)  # read again where a body is no document


def test_a_dictionary_of_many_variables_is_left_to_the_twin() -> None:
    for count in (400, 600):
        many = changed(**{f"v{number}": number for number in range(count)}) + b"\n"
        assert same(many + LEGS) == LEGS.count(b"\n") - 1 + (count == 400)
