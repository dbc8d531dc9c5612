"""FreeSWITCH mod_xml_cdr: the same legs as its JSON, in every body; no entity is read; anything at all as input."""

from __future__ import annotations

import io
from urllib.parse import quote

import pytest
from hypothesis import given

from ingest.decoders import decoder
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest.decoding import DripStream, decode, fixture
from tests.ingest.reading import taken
from tests.ingest.spoilt import accounts_for, spoilt

LEGS = fixture("freeswitch", "legs.xml")
FORM = fixture("freeswitch", "legs_xml_form.txt")
BASE64 = fixture("freeswitch", "legs_xml_base64.txt")
JSON = decode("freeswitch-json", fixture("freeswitch", "legs.ndjson"))
DOCUMENTS = [b'<?xml version="1.0"?>' + part for part in LEGS.split(b'<?xml version="1.0"?>')[1:]]
HEAD = b'<?xml version="1.0"?>\n'
LEG = (
    b'<cdr core-uuid="6b2c" switchname="fs-1"><variables><uuid>0f6a</uuid><start_uepoch>1795165200123456</start_uepoch>'
    b"<end_uepoch>1795165265000200</end_uepoch></variables><callflow><caller_profile>"
    b"<caller_id_number>46701740605</caller_id_number></caller_profile></callflow></cdr>"
)


def test_the_legs_are_those_of_the_json_bodies() -> None:
    rows, rejects = decode("freeswitch-xml", LEGS)
    assert not rejects and not JSON[1]
    assert rows == JSON[0]
    assert len(rows) == len(DOCUMENTS)


@pytest.mark.parametrize("data", [FORM, BASE64], ids=["form", "base64"])
def test_forms_and_wrapped_base64_hold_the_same(data: bytes) -> None:
    rows, rejects = decode("freeswitch-xml", data)
    assert not rejects
    assert rows == JSON[0][:2]


def test_bodies_may_be_mixed_and_stand_on_one_line() -> None:
    data = LEG + LEG + HEAD + LEG + b"\ncdr=" + LEG + b"\r\ncdr=" + quote(LEG.decode(), safe="").encode() + b"\n" + LEG
    rows, rejects = decode("freeswitch-xml", data)
    assert (len(rows), rejects) == (6, [])
    rows, rejects = decode("freeswitch-xml", FORM + LEGS + BASE64)
    assert (len(rows), rejects) == (4 + len(DOCUMENTS), [])


@pytest.mark.parametrize(
    "attack",
    [
        b'<!DOCTYPE cdr [<!ENTITY a "46709999999">]>' + LEG.replace(b"46701740605", b"&a;"),
        b'<?xml version="1.0"?><!DOCTYPE cdr [<!ENTITY a SYSTEM "file:///etc/hostname">]>'
        + LEG.replace(b"0605", b"&a;"),
        b'<!DOCTYPE cdr SYSTEM "http://127.0.0.1:9/x.dtd">' + LEG.replace(b"46701740605", b"&a;"),
        LEG.replace(b"<variables>", b'<variables><!DOCTYPE cdr [<!ENTITY a "x">]>'),
        LEG.replace(b"46701740605", b"&a;"),
        LEG.replace(b"46701740605", b"&#0;"),
    ],
    ids=["internal", "external", "remote", "inside", "undeclared", "nul"],
)
def test_no_entity_is_ever_read(attack: bytes) -> None:
    for data in (attack + b"\n", b"cdr=" + quote(attack, safe="").encode() + b"\n"):
        rows, rejects = decode("freeswitch-xml", data + LEG)
        assert len(rows) == 1 and rows[0]["calling_number"] == "46701740605"
        assert rejects and all(reject.raw is None for reject in rejects)


def test_entities_that_multiply_cost_nothing() -> None:
    bomb = b'<!DOCTYPE cdr [<!ENTITY a "' + b"x" * 1000 + b'">'
    for name in b"bcdefgh":
        bomb += b'<!ENTITY %c "%s">' % (name, b"&%c;" % (name - 1) * 100)
    bomb += b"]>" + LEG.replace(b"46701740605", b"&h;")
    rows, rejects = decode("freeswitch-xml", bomb.replace(b"\n", b"") + b"\n" + LEG)
    assert len(rows) == 1 and rejects


def test_nests_and_unclosed_elements_end() -> None:
    deep = b"<cdr>" + b"<a>" * 9_000 + b"</a>" * 9_000 + b"</cdr>"
    many = b"<cdr " * 50_000  # would never end if each looked for its end through all that follows
    rows, rejects = decode("freeswitch-xml", deep + b"\n" + b"<a>" * 300_000 + b"\n" + many + b"\n" + LEG)
    assert (len(rows), len(rejects)) == (1, 50_002)
    rows, rejects = decode("freeswitch-xml", b"<cdr>" + b"<a>" * 600_000 + LEG)
    assert (len(rows), [reject.reason for reject in rejects]) == (1, [RejectReason.TOO_LONG])


def test_an_unfinished_body_costs_no_other() -> None:
    for place in range(30, len(LEG), 11):
        rows, rejects = decode("freeswitch-xml", LEG + b"\n" + LEG[:place] + b"\n" + HEAD + LEG)
        assert [row["position"] for row in rows] == [1, 3]
        assert [(reject.position, reject.reason) for reject in rejects] == [(2, RejectReason.MALFORMED)]
        assert rejects[0].offset == len(LEG) + 1


@pytest.mark.parametrize(
    ("old", "new", "reason", "field"),
    [
        (b"<uuid>0f6a</uuid>", b"", RejectReason.MISSING_FIELD, "uuid"),
        (b"1795165200123456", b"soon", RejectReason.BAD_TIME, "start_uepoch"),
        (b"1795165265000200", b"1795165100000200", RejectReason.BAD_TIME, "end_uepoch"),
        (b"46701740605", b"4670\xe5", RejectReason.ENCODING, "calling_number"),
    ],
)
def test_a_leg_that_cannot_be_is_refused_with_named_fields_only(
    old: bytes, new: bytes, reason: RejectReason, field: str
) -> None:
    secret = b"<variables><sip_h_X-Note>what was said</sip_h_X-Note>"
    rows, rejects = decode("freeswitch-xml", LEG.replace(old, new).replace(b"<variables>", secret))
    assert not rows
    assert [(reject.reason, reject.field) for reject in rejects] == [(reason, field)]
    assert rejects[0].raw is not None and b"said" not in rejects[0].raw


def test_what_is_refused_later_keeps_named_fields_only() -> None:
    future = LEG.replace(b"17951652", b"18951652").replace(b"<variables>", b"<variables><note>what was said</note>")
    records, rejects = taken("freeswitch-xml", future)
    assert not records and rejects[0].reason is RejectReason.FUTURE
    assert rejects[0].raw is not None and b"1895165200123456" in rejects[0].raw and b"said" not in rejects[0].raw


def test_latin_1_is_read_where_it_is_declared() -> None:
    data = b'<?xml version="1.0" encoding="ISO-8859-1"?>' + LEG.replace(b"</cdr>", b"</cdr>").replace(
        b"<uuid>", b"<sip_user_agent>Bj\xf6rn</sip_user_agent><uuid>"
    )
    rows, rejects = decode("freeswitch-xml", data)
    assert not rejects and rows[0]["user_agent"] == "Björn"
    rows, _ = decode("freeswitch-xml", data.partition(b"?>")[2])
    assert rows[0]["user_agent"] == "Bj\ufffdrn", "a text of the equipment is no reason to refuse a leg"


def test_the_option_of_the_json_format_holds_here() -> None:
    leg = LEG.replace(b"<uuid>", b"<accountcode>a%2Db</accountcode><uuid>")
    rows, _ = decode("freeswitch-xml", leg, SourceConfig("fs", options={"encode_values": "yes"}))
    assert rows[0]["account"] == "a-b"
    rows, _ = decode("freeswitch-xml", leg, SourceConfig("fs", options={"encode_values": "no"}))
    assert rows[0]["account"] == "a%2Db"
    with pytest.raises(ConfigurationError):
        decode("freeswitch-xml", leg, SourceConfig("fs", options={"encode_values": "perhaps"}))


def test_small_reads_give_the_same() -> None:
    for data in (LEGS, BASE64):
        assert decode("freeswitch-xml", DripStream(data)) == decode("freeswitch-xml", data)


@examples(50)
@given(spoilt([LEG, HEAD, LEG + b"\n", *FORM.splitlines(keepends=True), b"\n", b"</cdr>"], pieces_max=6))
def test_anything_at_all_is_accounted_for(data: bytes) -> None:
    accounts_for("freeswitch-xml", data)


def test_utf_16_is_refused_as_a_whole() -> None:
    with pytest.raises(InputError):
        list(decoder("freeswitch-xml").decode(io.BytesIO(LEG.decode().encode("utf-16")), SourceConfig("s")))
