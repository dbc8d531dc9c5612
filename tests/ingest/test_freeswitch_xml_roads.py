"""The roads of FreeSWITCH's XML bring the same: compiled kernels, and Python leg by leg."""

from __future__ import annotations

from typing import Any
from unittest import mock
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import window
from ingest.decoders.freeswitch import walk as freeswitch_walk
from ingest.source_config import SourceConfig
from tests.examples import examples
from tests.ingest.decoding import fixture
from tests.ingest.test_freeswitch_roads import DOCUMENTS, ODD_VALUES, documents, same

HEAD = b'<?xml version="1.0"?>\n'
LEGS = fixture("freeswitch", "legs.xml")
SPLIT = [part for part in LEGS.split(HEAD) if part]
FLAT = b"".join(HEAD + b"".join(line.strip() for line in leg.splitlines()) + b"\n" for leg in SPLIT)
WALKED = len(SPLIT) - 1  # one has an IPv6 address
SOURCE = SourceConfig("fs", zone="Europe/Stockholm")


def roads(data: bytes, source: SourceConfig = SOURCE) -> int:
    return same(data, source, "freeswitch-xml")


def xml(document: dict[str, Any], *, encoded: bool = True) -> bytes:
    """Return a document as mod_xml_cdr writes it; what is no text is an empty element."""

    def texts(fields: Any) -> str:
        made = []
        for name, value in fields.items() if isinstance(fields, dict) else ():
            if isinstance(value, str):
                plain = quote(value.encode("utf-8", "replace"), safe="!$'()*,-./_~") if encoded else escape(value)
                made.append(f"<{name}>{plain}</{name}>")
            elif name == "originator" and isinstance(value, dict):
                inner = value.get("originator_caller_profiles")
                made.append(f"<originator>{''.join(profile(one) for one in inner or ())}</originator>")
            else:
                made.append(f"<{name}/>")
        return "".join(made)

    def profile(one: Any) -> str:
        return f"<originator_caller_profile>{texts(one)}</originator_caller_profile>"

    flow = document.get("callflow")
    entries = [entry for entry in (flow if isinstance(flow, list) else [flow]) if isinstance(entry, dict)]
    inside = "".join(
        f'<callflow dialplan="XML"><caller_profile>{texts(entry.get("caller_profile"))}</caller_profile></callflow>'
        for entry in entries
    )
    switch = document.get("switchname")
    told = f' switchname="{switch}"' if isinstance(switch, str) else ""
    made = f'<cdr core-uuid="6b2c"{told}><variables>{texts(document.get("variables"))}</variables>{inside}</cdr>\n'
    return made.encode("utf-8", "replace")


@pytest.mark.parametrize("option", ["auto", "yes"])
def test_what_the_switch_writes_is_walked(option: str) -> None:
    source = SourceConfig("fs", zone="Europe/Stockholm", options={"encode_values": option})
    for data in (LEGS, FLAT, LEGS.replace(HEAD, b""), FLAT.replace(b"\n", b"\r\n"), FLAT.replace(b"\n", b"")):
        assert roads(data * 10, source) == 10 * WALKED
    for name in (b"UTF-8", b"utf-8", b"Utf-8"):
        named = HEAD.replace(b"?>", b' encoding="' + name + b'"?>')
        assert roads(LEGS.replace(HEAD, named), source) == WALKED


def test_an_encoding_that_is_not_utf8_is_left_to_the_twin() -> None:
    latin = HEAD.replace(b"?>", b' encoding="ISO-8859-1"?>')
    assert roads(latin + SPLIT[0] + FLAT) in (WALKED, 2 * WALKED)  # read again where another encoding is declared
    assert roads(latin + SPLIT[0] + SPLIT[1]) == 0


def test_legs_of_both_roads_stay_in_order_over_many_windows() -> None:
    data = b"".join(SPLIT[number % len(SPLIT)] for number in range(200)) + b"cdr=" + SPLIT[0] + b"x\n" + FLAT + HEAD
    for size in (5_000, 20_000, 4 << 20):
        with mock.patch.object(window, "WINDOW_BYTES", size):
            assert roads(data) > 50
    with mock.patch.object(freeswitch_walk, "ROWS_MAX", 3):
        assert roads(data) > 100


@pytest.mark.parametrize("name", list(ODD_VALUES))
def test_every_odd_value_of_a_variable_comes_out_the_same(name: str) -> None:
    for encoded in (True, False):
        bodies = []
        for value in ODD_VALUES[name]:
            for direction in ("inbound", "outbound"):
                variables = DOCUMENTS[0]["variables"] | {"direction": direction, name: value}
                bodies.append(xml(DOCUMENTS[0] | {"variables": variables}, encoded=encoded))
        roads(b"".join([FLAT, *bodies, FLAT]))


@given(st.lists(documents(), min_size=1, max_size=6), st.booleans())
@settings(max_examples=80, deadline=None)
def test_any_values_come_out_the_same(drawn: list[dict[str, Any]], encoded: bool) -> None:
    roads(b"".join(xml(document, encoded=encoded) for document in drawn))


PIECES = [b"<", b">", b"/", b"&", b"&amp;", b"&apos;", b"&#65;", b"&lt", b'"', b"'", b"=", b" ", b"\n", b"\r", b"\t"]
PIECES += [b"\0", b"\x01", b"\x7f", b"\xff", b"\xc3\xa5", b"\xef\xbf\xbe", b"\xed\xa0\x80", b"<!-- x -->", b"<a/>"]
PIECES += [
    b"<a b='1'/>",
    b'<a b="1" b="2"/>',
    b'<a b="1"c="2"/>',
    b"<![CDATA[x]]>",
    b"<?x?>",
    b"]]>",
    b"<cdr>",
    b"</cdr>",
]
PIECES += [b"<uuid>x</uuid>", b"</variables>", b"<variables>", b' xmlns="x"', b' xml:lang="x"', b"a:b", b"<!DOCTYPE x>"]
PIECES += [
    b"<callflow/>",
    b"<caller_profile/>",
    b"<originator>x</originator>",
    b"%",
    b"%2B",
    b"\\",
    HEAD,
    b"\xe2\x80\xa8",
]


@given(st.data())
@examples(80)
def test_any_damage_comes_out_the_same(drawn: st.DataObject) -> None:
    data = bytearray(b"".join(drawn.draw(st.lists(st.sampled_from(SPLIT + FLAT.splitlines()), min_size=1, max_size=3))))
    for _ in range(drawn.draw(st.integers(1, 4))):
        at = drawn.draw(st.integers(0, len(data)))
        near = data.find(drawn.draw(st.sampled_from([b"<", b">", b"</", b'"', b"<uuid", b"<caller"])), at)
        at = near if near >= 0 and drawn.draw(st.booleans()) else at
        piece = drawn.draw(st.sampled_from(PIECES) | st.binary(max_size=2))
        data[at : at + drawn.draw(st.integers(0, 3))] = piece
    roads(bytes(data) + FLAT)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<session_id>118</session_id>", b"<session_id>&#49;</session_id>"),
        (b"<session_id>118</session_id>", b"<session_id>118</session_ID>"),
        (b"<session_id>118</session_id>", b"<session_id>118</session_id >"),
        (b"<session_id>118</session_id>", b"<uuid>118</uuid>"),
        (b"<session_id>118</session_id>", b"<last_app>a b</last_app>"),
        (b"<session_id>118</session_id>", b"<session_id>a]]>b</session_id>"),
        (b"<session_id>118</session_id>", b"<session_id>\xef\xbf\xbf</session_id>"),
        (b"<session_id>118</session_id>", b"<session_id><!-- 118 --></session_id>"),
        (b"<session_id>118</session_id>", b"<x:y>1</x:y>"),
        (b"<session_id>118</session_id>", b"<a>" * 40 + b"</a>" * 40),
        (b"<variables>", b'<variables xmlns="x">'),
        (b"<variables>", b'<variables a="1" a="1">'),
        (b"<variables>", b'<variables a="&lt;">'),
        (b"<variables>", b"<variables a='1'>"),
        (b"</cdr>", b"<variables/></cdr>"),
        (b"</cdr>", b"</cdr"),
    ],
)
def test_what_is_not_understood_is_left_to_the_twin(old: bytes, new: bytes) -> None:
    odd = SPLIT[0].replace(old, new)
    assert odd != SPLIT[0]
    assert roads(odd) == 0
    roads(FLAT + odd + FLAT)


def test_references_in_what_is_not_read_are_no_reason_to_leave_a_leg() -> None:
    for reference in (b"&lt;", b"&gt;", b"&amp;", b"&quot;", b"a&amp;b"):
        old = b"<session_id>118</session_id>"
        assert roads(SPLIT[0].replace(old, b"<session_id>" + reference + b"</session_id>")) == 1
        assert roads(SPLIT[0].replace(b"cust-0042", reference)) == 0
