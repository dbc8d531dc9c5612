"""Hostile XML ends in one refusal, fast, and nothing of it is used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.handover import markup
from schemas.errors import InputError
from tests.examples import examples

LAUGHS = b"""<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]><lolz>&d;</lolz>"""
FETCHES = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
PARAMETER = b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]><a/>'
BARE = b'<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd"><a/>'


@pytest.mark.parametrize(
    "message",
    [
        LAUGHS,
        FETCHES,
        PARAMETER,
        BARE,
        LAUGHS.decode().encode("utf-16"),
        b"<a>&undeclared;</a>",
        b"<a" + b"><a" * 100 + b">",
        b"<a>" * 50_000,
        b"<a>" * 60 + b"</a>" * 60,
        b"<a>" + b"<b/>" * 30_000 + b"</a>",
        b"<a " + b" ".join(b'x%d="1"' % n for n in range(100)) + b"/>",
        b"<a>" + b"x" * markup.MESSAGE_BYTES_MAX + b"</a>",
        b'<?xml version="1.0" encoding="utf-16"?><a/>',
        b'<?xml version="1.0" encoding="iso-8859-1"?><a/>',
        b"",
        b"<a></b>",
        b"<a/><b/>",
        b"<p:a/>",
        b"<a>\xff\xfe</a>",
    ],
)
def test_a_hostile_or_broken_message_is_refused(message: bytes) -> None:
    with pytest.raises(InputError) as refusal:
        markup.parse(message)
    assert "passwd" not in str(refusal.value)


def test_predefined_entities_and_characters_are_text_and_comments_are_nothing() -> None:
    root = markup.parse(b"<!-- c --><a xmlns='u'>&lt;&#65;<!-- d --><?p q?><b>x</b></a>")
    assert (root.tag, root.text, root[0].text) == ("{u}a", "<A", "x")


def test_a_type_is_read_with_the_prefix_that_holds_where_it_stands() -> None:
    xsi = f"xmlns:i='{markup.XSI}'".encode()
    root = markup.parse(b"<a " + xsi + b" xmlns:t='one'><b xmlns:t='two' i:type='t:T'/><b i:type='t:T'/></a>")
    assert [child.get(f"{{{markup.XSI}}}type") for child in root] == ["{two}T", "{one}T"]


def test_an_element_that_stands_twice_is_refused_where_one_may_stand() -> None:
    root = markup.parse(b"<a><b>1</b><b>2</b><c><d> x </d></c></a>")
    with pytest.raises(InputError):
        markup.text_of(root, "b")
    assert markup.text_of(root, "c/d") == "x"
    assert markup.text_of(root, "e") is None


@given(st.text(max_size=50))
@examples(70)
def test_any_text_survives_the_road_or_loses_only_what_xml_cannot_hold(text: str) -> None:
    root = markup.Element("a")
    markup.put(root, "b", text)
    read = markup.parse(markup.to_bytes(root))[0].text or ""
    assert read == markup.clean(text).replace("\r\n", "\n").replace("\r", "\n") or "\r" in text
    assert markup.parse(f"<a>{markup.escaped(text)}</a>".encode()).tag == "a"
