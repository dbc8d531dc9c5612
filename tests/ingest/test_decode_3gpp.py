from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ingest.source_config import SourceConfig
from tests.ingest import ber_encoder as ber
from tests.ingest.threegpp_made import (
    ANSWER,
    CET,
    MO_ROW,
    RELEASE,
    START,
    SWEDEN,
    chf,
    decoded,
    ims,
    mo,
    mo_sms,
    pgw,
)


def test_an_answered_call_has_every_field_of_its_record():
    rows, rejects = decoded(mo())
    assert rejects == []
    assert rows == [MO_ROW]


def test_the_same_tag_number_means_another_field_in_another_record_type():
    mt = ber.record(
        1,
        {
            0: b"\x01",
            1: ber.tbcd("240010123456789"),
            2: ber.tbcd("354923081234561"),
            3: ber.address("46709876543"),
            4: ber.address("46701234567"),
            6: ber.address("46705000002"),
            7: [ber.context(0, b"\x05")],
            9: ber.cell(1, 2),
            19: ber.time(START),
            20: ber.time(ANSWER),
            21: ber.time(RELEASE),
            22: ber.integer(60),
            27: b"\x00",
            29: b"\x01\x02",
            30: ber.integer(3),
        },
    )
    row = decoded(mt)[0][0]
    assert row["calling_number"] == "46701234567"
    assert row["called_number"] == "46709876543"
    assert row["called_imsi"] == "240010123456789"
    assert row["called_imei"] == "354923081234561"
    assert "imsi" not in row
    assert row["switch"] == "46705000002"
    assert row["trunk_in"] == "5"
    assert row["cell_id"] == "1-2"
    assert (row["start_time"], row["end_time"]) == (START, RELEASE)
    assert row["partial_sequence"] == 3
    assert row["record_key"] == f"mt0102.{int(START.timestamp()):x}.0003"


def test_a_translated_number_is_called_and_the_called_one_was_dialled():
    rows, _ = decoded(mo(f5=ber.address("0709876543", 0), f6=ber.address("46709876543"), f7=ber.address("46731112223")))
    assert rows[0]["called_number"] == "46709876543"
    assert rows[0]["dialled_number"] == "0709876543"
    assert rows[0]["forwarded_number"] == "46731112223"


def test_a_national_number_gets_the_country_code_and_keeps_what_was_written():
    data = mo(f4=ber.address("701234567", 2), f5=ber.address("0709876543", 0))
    row = decoded(data, SWEDEN)[0][0]
    assert (row["calling_number"], row["calling_number_delivered"]) == ("46701234567", "701234567")
    assert (row["called_number"], row["called_number_delivered"]) == ("46709876543", "0709876543")
    assert decoded(data)[0][0]["calling_number"] == "701234567"


def test_an_international_number_is_not_taken_for_a_national_one_of_north_america():
    row = decoded(mo(f4=ber.address("4670123456")), SourceConfig("msc", zone=None, country="US"))[0][0]
    assert row["calling_number"] == "4670123456"
    assert row["called_number"] == "46709876543"
    national = decoded(mo(f4=ber.address("2125550123", 2)), SourceConfig("msc", zone=None, country="US"))[0][0]
    assert national["calling_number"] == "12125550123"


def test_octet_3a_of_a_calling_number_is_no_digit():
    row = decoded(mo(f4=b"\x11\x80" + ber.tbcd("46701234567")))[0][0]
    assert row["calling_number"] == "46701234567"


def test_a_call_without_calling_number_is_the_subscriber_s():
    assert decoded(mo(f4=None))[0][0]["calling_number"] == "46701234567"


def test_times_carry_their_offset_and_both_autumn_hours_are_told_apart():
    summer = timezone(timedelta(hours=2))
    first, second = datetime(2026, 10, 25, 2, 30, tzinfo=summer), datetime(2026, 10, 25, 2, 30, tzinfo=CET)
    west = datetime(2026, 3, 8, 1, 59, 59, tzinfo=timezone(-timedelta(hours=3, minutes=30)))
    rows, rejects = decoded(
        b"".join(
            mo(f22=ber.time(one), f23=None, f24=None, f32=bytes((at,))) for at, one in enumerate((first, second, west))
        )
    )
    assert rejects == []
    assert [row["start_time"] for row in rows] == [first, second, west]
    assert [row["utc_offset_s"] for row in rows] == [7200, 3600, -12_600]


@pytest.mark.parametrize(
    ("changes", "disposition", "end"),
    [
        ({"f24": None}, "answered", ANSWER + timedelta(seconds=60)),
        ({"f23": None, "f24": None, "f30": b"\x03"}, "failed", START + timedelta(seconds=60)),
        ({"f23": None, "f30": b"\x03", "f31": [ber.context(0, b"\x11")]}, "busy", RELEASE),
        ({"f23": None, "f30": b"\x03", "f31": [ber.context(2, b"\x13")]}, "no-answer", RELEASE),
        ({"f23": None, "f30": b"\x03", "f31": [ber.context(0, b"\x10")]}, "cancelled", RELEASE),
    ],
)
def test_how_a_call_ended(changes: dict[str, Any], disposition: str, end: datetime):
    row = decoded(mo(**changes))[0][0]
    assert (row["disposition"], row["end_time"]) == (disposition, end)
    assert row["end_inferred"] == ("f24" in changes)
    assert ("billable_duration_ms" in row) == (disposition == "answered")


def test_short_messages_both_ways():
    mt = ber.record(
        7,
        {
            0: b"\x07", 1: ber.address("46705008999"), 2: ber.tbcd("240010123456789"), 3: ber.tbcd("354923081234561"),
            4: ber.address("46709876543"), 6: ber.address("46705000001"), 8: ber.time(START),
            9: [ber.context(1, b"\x1b")],
        },
    )  # fmt: skip
    rows, rejects = decoded(mo_sms() + mt)
    assert rejects == []
    sent, received = rows
    assert (sent["calling_number"], sent["called_number"]) == ("46701234567", "46709876543")
    assert (sent["start_time"], sent["end_time"], sent["end_inferred"]) == (START, START, False)
    assert (sent["service_type"], sent["disposition"], sent["trunk_out"]) == ("sms", "sent", "46705008999")
    assert sent["record_key"] == f"so42000121436587f9.{int(START.timestamp()):x}.2a"
    assert received["called_number"] == "46709876543"
    assert "calling_number" not in received
    assert (received["called_imsi"], received["cause"]) == ("240010123456789", "27")
    assert received["disposition"] == "failed"


@pytest.mark.parametrize(
    "destination",
    [
        ber.address("46709876543"),
        bytes((11,)) + ber.address("46709876543"),
        bytes((11, 0x91)) + ber.tbcd("46709876543"),
    ],
)
def test_a_message_s_destination_with_and_without_its_length(destination: bytes):
    assert decoded(mo_sms(f12=destination))[0][0]["called_number"] == "46709876543"


def test_an_alphanumeric_sender_is_read_in_seven_bits():
    septets = sum(ord(char) << 7 * at for at, char in enumerate("Lagrum"))
    packed = septets.to_bytes(6, "little")
    fields = {0: b"\x16", 1: ber.tbcd("240010123456789"), 3: ber.address("46709876543"), 6: ber.address("46705000001"),
              10: ber.time(START), 14: ber.integer(9), 19: b"\xd0" + packed}  # fmt: skip
    row = decoded(ber.record(24, fields))[0][0]
    assert row["calling_number"] == "Lagrum"
    assert row["record_key"].endswith(".0009")


def test_a_bearer_of_a_packet_gateway():
    row = decoded(pgw())[0][0]
    assert row == {
        "service_type": "data",
        "switch": "192.0.2.9",
        "record_key": "pw.b2d05e01.0004/.0001e240",
        "calling_number": "46701234567",
        "imsi": "240010123456789",
        "imei": "3549230812345610",
        "start_time": START,
        "end_time": START + timedelta(seconds=600),
        "end_inferred": True,
        "utc_offset_s": 3600,
        "duration_ms": 600_000,
        "source_ip": "10.11.12.13",
        "cell_id": "240-01-1193046",
        "volume_up_bytes": 1005,
        "volume_down_bytes": 3_000_070_000,
        "disposition": "closed",
        "cause": "16",
        "trunk_in": "192.0.2.77",
        "trunk_out": "internet",
        "partial_sequence": 4,
        "call_link": "3000000001",
        "time_ambiguous": False,
        "batch_position": 1,
    }


def test_partial_records_of_one_bearer_are_records_of_their_own():
    rows, _ = decoded(pgw(f17=ber.integer(1), f20=ber.integer(8)) + pgw(f17=ber.integer(2), f20=ber.integer(9)))
    assert len({row["record_key"] for row in rows}) == 2
    assert len({row["call_link"] for row in rows}) == 1
    assert [row["partial_sequence"] for row in rows] == [1, 2]


def test_a_retransmitted_copy_is_the_same_record():
    rows, _ = decoded(pgw() + pgw(f52=b""))
    assert rows[0]["record_key"] == rows[1]["record_key"]


def test_an_ipv6_prefix_of_a_bearer_beside_its_ipv4_address():
    wrapped = [ber.context(0, [ber.context(4, [ber.tlv(0, 4, bytes.fromhex("20010db8000000070000000000000000")),
                                               ber.tlv(0, 2, b"\x38")])])]  # fmt: skip
    row = decoded(pgw(f45=wrapped))[0][0]
    assert row["source_ip"] == "10.11.12.13"
    assert row["ipv6_prefix"] == "2001:db8::/56"


def test_a_bearer_of_an_sgsn():
    fields = {0: b"\x12", 3: ber.tbcd("240010123456789"), 4: ber.tbcd("354923081234561"), 5: [ber.ip("192.0.2.8")],
              8: b"\x00\x10", 9: b"\x00\x20", 10: ber.integer(77), 11: [ber.ip("192.0.2.9")], 12: b"internet",
              14: [ber.context(0, [ber.ip("10.0.0.1")])], 16: ber.time(START), 17: ber.integer(5), 19: b"\x00",
              24: ber.integer(1), 27: ber.address("46701234567")}  # fmt: skip
    row = decoded(ber.record(20, fields))[0][0]
    assert (row["switch"], row["cell_id"], row["source_ip"]) == ("192.0.2.8", "16-32", "10.0.0.1")
    assert row["record_key"] == "sg.004d/.0001"


def test_an_ims_session():
    row = decoded(ims())[0][0]
    assert row["service_type"] == "voip"
    assert row["calling_number"] == "46701234567"
    assert row["called_number"] == "sip:helpdesk@example.com"
    assert row["dialled_number"] == "46709876543"
    assert row["start_time"] == START + timedelta(milliseconds=250)
    assert row["answer_time"] == ANSWER + timedelta(milliseconds=500)
    assert row["end_time"] == RELEASE
    assert row["switch"] == "192.0.2.5"
    assert row["record_key"] == "is00.0001/.00011170/a84b4c76e66710@pc33.example.com"
    assert row["call_link"] == "icid-1-99"
    assert row["disposition"] == "answered"


@pytest.mark.parametrize(("code", "word"), [(b"486", "busy"), (b"487", "cancelled"), (b"404", "failed")])
def test_an_ims_session_that_was_not_delivered(code: bytes, word: str):
    row = decoded(ims(f10=None, f23=code))[0][0]
    assert (row["disposition"], row["cause"]) == (word, code.decode())


def test_an_ims_message_is_a_short_message():
    row = decoded(ims(f2=b"MESSAGE", f10=None, f11=None))[0][0]
    assert (row["service_type"], row["disposition"]) == ("sms", "sent")


def test_a_session_of_the_5g_charging_function():
    row = decoded(chf())[0][0]
    assert row == {
        "service_type": "data",
        "switch": "chf-1",
        "record_key": "ch.0005/.0002/.0011/session-9",
        "calling_number": "46701234567",
        "imsi": "240010123456789",
        "imei": "3549230812345610",
        "start_time": START,
        "end_time": RELEASE,
        "end_inferred": False,
        "utc_offset_s": 3600,
        "duration_ms": 69_000,
        "source_ip": "10.60.0.1",
        "cell_id": "240-01-16",
        "volume_up_bytes": 11,
        "volume_down_bytes": 22,
        "disposition": "closed",
        "cause": "0",
        "trunk_in": "smf-7",
        "trunk_out": "internet",
        "partial_sequence": 2,
        "call_link": "5",
        "tenant": "tenant-a",
        "time_ambiguous": False,
        "batch_position": 1,
    }


def test_a_message_of_the_5g_charging_function():
    sms = [
        ber.context(1, [ber.context(0, ber.tbcd("240010123456789")), ber.context(1, ber.address("46701234567"))]),
        ber.context(2, [ber.sequence(ber.context(1, ber.address(number))) for number in ("46709876543", "4670333")]),
        ber.context(8, ber.time(ANSWER)),
    ]  # fmt: skip
    row = decoded(chf(f15=sms, f13=None, f5=None))[0][0]
    assert (row["service_type"], row["disposition"]) == ("sms", "sent")
    assert (row["calling_number"], row["called_number"]) == ("46701234567", "46709876543")
    assert (row["start_time"], row["end_time"]) == (ANSWER, ANSWER)


def test_records_of_a_call_have_keys_of_their_own_whatever_their_form():
    mt_fields = {1: ber.tbcd("240010123456789"), 6: ber.address("46705000001"), 19: ber.time(START), 22: b"\x01"}
    made = [mo(), mo(f33=ber.integer(1)), mo(f33=ber.integer(2)), mo(f32=b"\x9e\xfd\x2d\x1b\x00"), mo(f32=b"\xff" * 4)]
    made += [
        ber.record(1, {**mt_fields, 29: reference}) for reference in (b"\x9e\xfd\x2d\x1b", b"\xff" * 4, b"\x01" * 8)
    ]
    later = START + timedelta(seconds=1)
    made += [mo(f22=ber.time(later)), mo(f22=ber.time(later), f33=ber.integer(1))]
    rows, rejects = decoded(b"".join(made))
    assert rejects == []
    assert len({row["record_key"] for row in rows}) == len(made)
    assert len(max((row["record_key"] for row in rows if row["record_key"].isdigit()), key=len)) == 18
