"""The roads of BroadWorks XML bring the same: compiled kernels, and Python record by record."""

from __future__ import annotations

from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import window
from ingest.source_config import SourceConfig
from tests.examples import examples
from tests.ingest.decoding import fixture
from tests.ingest.spoilt import spoilt
from tests.ingest.test_freeswitch_roads import same

FILE = fixture("broadworks", "cdr.xml")
HEAD, *RECORDS = FILE.replace(b"</broadWorksCDR>\n", b"").split(b"  <cdrData>")
RECORDS = [b"  <cdrData>" + record for record in RECORDS]
UTF8 = HEAD.replace(b"ISO-8859-1", b"UTF-8")
FIRST = RECORDS[1]
FOOT = b"</broadWorksCDR>\n"
SOURCE = SourceConfig("bw", switch="as9")
LEGS = (*RECORDS[1:3], RECORDS[3].decode("latin-1").encode())


def roads(data: bytes, source: SourceConfig = SOURCE) -> int:
    return same(data, source, "broadworks-xml")


def test_what_the_server_writes_is_walked() -> None:
    plain = UTF8 + RECORDS[0] + b"".join(LEGS) + RECORDS[0].replace(b"Start", b"End") + FOOT
    for data in (plain, plain.replace(b"\n", b"\r\n"), plain.replace(b"\n", b"").replace(b"  ", b"")):
        assert roads(data) == 3
        assert roads(data, SourceConfig("bw", tenant="operator", service_type="voip")) == 3
    assert roads(FILE) == 2, "a letter outside ASCII is read by the encoding of its file"
    assert roads(FILE * 30 + plain * 30) == 30 * 4, "and of a window that is not all UTF-8"


def test_small_windows_and_full_blocks_bring_the_same() -> None:
    data = UTF8 + b"".join(LEGS) * 40 + b"odd\n" + b"".join(LEGS) * 40 + FOOT
    with mock.patch.object(window, "WINDOW_BYTES", 5000):
        assert roads(data) > 0
        with mock.patch("ingest.decoders.freeswitch.walk.ROWS_MAX", 2):
            assert roads(data) > 0, "a block that is full when the one before is handed over"
    with mock.patch("ingest.decoders.freeswitch.walk.ROWS_MAX", 7):
        assert roads(data) == 240
    with mock.patch("ingest.decoders.row_stretch.STRETCH_RECORDS", 20):
        assert roads(data) == 240


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<eventCounter>0000004181</eventCounter>", b""),
        (b"<startTime>20261120090000.123", b"<startTime>20261320090000.123"),
        (b"<startTime>20261120090000.123", b"<startTime>20261120096000.123"),
        (b"<startTime>20261120090000.123", b"<startTime>20261120090000."),
        (b"<startTime>20261120090000.123", b"<startTime>19691120090000.123"),
        (b"<date>20261120090000.123", b"<date>20260229090000.123"),
        (b"<answerTime>20261120090007.500", b"<answerTime>20261120090107.751"),
        (b"<releaseTime>20261120090107.750</releaseTime>", b""),
        (b"<releaseTime>20261120090107.750", b"<releaseTime>20261120085959.999"),
        (b"</basicModule>", b"</basicModul>"),
        (b"<basicModule>", b"<basicModule version='1'>"),
        (b"<basicModule>", b"<basicModule/><basicModule>"),
        (b"<basicModule>", b"<!-- x --><basicModule>"),
        (b"+46701740605", b"+46701740605&amp;"),
        (b"+46701740605", b" +46701740605"),
        (b"+46701740605", b"&number;"),
        (b"<userId>", b"<userId>\xc2\xa0"),
        (b"<userId>", b"<userId>\xff\xfe"),
        (b"<codec>", b"<codec>\xef\xbf\xbe"),
        (b"<callingNumber>", b"<callingNumber>1</callingNumber><callingNumber>"),
        (b"<accessDeviceAddress>192.0.2.40", b"<accessDeviceAddress>2001:db8::1"),
        (b"<accessDeviceAddress>192.0.2.40", b"<accessDeviceAddress>sip.example"),
        (b"<codec>PCMA/8000", b"<codec>]]>"),
    ],
)
def test_what_is_odd_or_refused_is_left(old: bytes, new: bytes) -> None:
    assert FIRST.count(old) > 0
    assert roads(UTF8 + LEGS[1] + FIRST.replace(old, new, 1) + LEGS[1] + FOOT) == 2


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<userTimeZone>0+010000", b"<userTimeZone>1-0330"),
        (b"<userTimeZone>0+010000", b"<userTimeZone>0+990000"),
        (b"<userTimeZone>0+010000", b"<userTimeZone>x"),
        (b"20261120090000.123", b"20261120090000"),
        (b"20261120090000.123", b"20240229235959.123456"),
        (b"<answerIndicator>Yes", b"<answerIndicator>Yes-PostRedirection"),
        (b"<answerIndicator>Yes", b"<answerIndicator>No"),
        (b"<terminationCause>016", b"<terminationCause>000"),
        (b"<extTrackingId>5d2a-1</extTrackingId>", b"<extTrackingId/>"),
        (b"<extTrackingId>5d2a-1</extTrackingId>", b""),
        (b"<callingNumber>+46701740605</callingNumber>", b""),
        (b"<direction>Originating", b"<direction>Terminating"),
        (b"<dialedDigits>0701740611", b"<dialedDigits>+46701740611"),
        (b"<calledNumber>+46701740611</calledNumber>", b"<redirectingNumber>12</redirectingNumber>"),
        (b"<systemId>as1.example.net</systemId>", b""),
        (b"<codec>PCMA/8000", b"<codec>a &lt; b &amp; c"),
        (b"<codec>", b"<x><callingNumber>9</callingNumber></x><codec>"),
        (b"<basicModule>", b"<basicModule><basicModule/>"),
        (b"<group>g1</group>", "<group>blåbär</group>".encode()),
    ],
)
def test_what_is_plain_is_walked_alike(old: bytes, new: bytes) -> None:
    assert FIRST.count(old) > 0
    assert roads(UTF8 + FIRST.replace(old, new) + LEGS[1] + FOOT) == 2


VALUES = {
    "userNumber": ["+46701740605", "", "12"],
    "direction": ["Originating", "Terminating", "", "Originatinx"],
    "callingNumber": ["+46701740605", "", " 1", "anonymous"],
    "calledNumber": ["+46701740611", "", "12"],
    "dialedDigits": ["0701740611", "+46701740611", ""],
    "redirectingNumber": ["", "12", "+46701740611"],
    "originalCalledNumber": ["", "13", "+46701740611"],
    "startTime": ["20261120090000.123", "20261120090000.1", "", "2026112009000", "20261120240000.000"],
    "userTimeZone": ["0+010000", "1-0330", "0+1", "2+010000", "0+0a0000", ""],
    "answerIndicator": ["Yes", "No", "Yes-PostRedirection", "Ye"],
    "answerTime": ["20261120090007.500", "", "x", "20261120070007.500"],
    "releaseTime": ["20261120090107.750", "20261120090107", "20251120090107.750", ""],
    "terminationCause": ["016", "17", "000", "", "0"],
    "userId": ["alva@nord.example", "", "å", "a\u3000"],
    "extTrackingId": ["5d2a-1", ""],
}
TEXTS = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})


@examples(50)
@given(legs=st.lists(st.tuples(TEXTS, st.booleans()), min_size=1, max_size=5))
def test_drawn_records_are_read_alike(legs: list[tuple[dict[str, str], bool]]) -> None:
    made = []
    for number, (texts, whole) in enumerate(legs):
        inside = "".join(f"<{name}>{text}</{name}>" if text else f"<{name}/>" for name, text in texts.items())
        basic = f"<basicModule>{inside}</basicModule>".encode()
        record = FIRST if whole else FIRST[: FIRST.index(b"<basicModule>")] + basic + b"</cdrData>\n"
        made.append(record.replace(b"0000004181", b"%010d" % number))
    roads(UTF8 + b"".join(made) + FOOT)


@examples(50)
@given(data=spoilt([HEAD, UTF8, FOOT, *RECORDS, *LEGS, b"\n", b"</cdrData>"], pieces_max=6))
def test_damaged_files_are_read_alike(data: bytes) -> None:
    roads(data)
