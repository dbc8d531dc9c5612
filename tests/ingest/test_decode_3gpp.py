from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.source import SourceConfig
from schemas.errors import InputError
from schemas.rejects import RejectReason
from tests.ingest import ber_encoder as ber
from tests.ingest.decoding import DripStream, EndlessLine
from tests.ingest.reading import Pipe, taken

SOURCE = SourceConfig("msc", zone=None)
SWEDEN = SourceConfig("msc", zone=None, country="SE")
CET = timezone(timedelta(hours=1))
START = datetime(2026, 10, 25, 2, 30, 0, tzinfo=CET)
ANSWER, RELEASE = START + timedelta(seconds=9), START + timedelta(seconds=69)


def told(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def decoded(data: bytes, source: SourceConfig = SOURCE, form: str = "3gpp-ber") -> tuple[list[dict[str, Any]], Any]:
    rows, rejects = taken(form, data, source)
    return sorted(told(rows), key=lambda row: row["batch_position"]), sorted(rejects, key=lambda one: one.position)


def mo_fields(**other: Any) -> dict[int, Any]:
    fields: dict[int, Any] = {
        0: b"\x00",
        1: ber.tbcd("240010123456789"),
        2: ber.tbcd("3549230812345610"),
        3: ber.address("46701234567"),
        4: ber.address("46701234567"),
        5: ber.address("46709876543"),
        9: ber.address("46705000001"),
        10: [ber.context(0, ber.integer(44))],
        11: [ber.context(1, b"SBC-NORTH")],
        12: ber.cell(4660, 22136, ("240", "01")),
        22: ber.time(START),
        23: ber.time(ANSWER),
        24: ber.time(RELEASE),
        25: ber.integer(60),
        30: b"\x00",
        32: b"\x9e\xfd\x2d\x1b",
    }
    for name, value in other.items():
        fields[int(name.removeprefix("f"))] = value
    return {tag: value for tag, value in fields.items() if value is not None}


def mo(**other: Any) -> bytes:
    return ber.record(0, mo_fields(**other))


MO_ROW = {
    "service_type": "voice",
    "switch": "46705000001",
    "record_key": f"mo9efd2d1b.{int(START.timestamp()):x}",
    "calling_number": "46701234567",
    "called_number": "46709876543",
    "start_time": START,
    "answer_time": ANSWER,
    "end_time": RELEASE,
    "utc_offset_s": 3600,
    "duration_ms": 60_000,
    "billable_duration_ms": 60_000,
    "imsi": "240010123456789",
    "imei": "3549230812345610",
    "cell_id": "240-01-4660-22136",
    "trunk_in": "44",
    "trunk_out": "SBC-NORTH",
    "cause": "0",
    "disposition": "answered",
    "end_inferred": False,
    "time_ambiguous": False,
    "batch_position": 1,
}


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


def mo_sms(**other: Any) -> bytes:
    fields: dict[int, Any] = {
        0: b"\x06", 1: ber.tbcd("240010123456789"), 2: ber.tbcd("354923081234561"), 3: ber.address("46701234567"),
        5: ber.address("46705008999"), 6: ber.address("46705000001"), 7: ber.cell(1, 2), 8: b"\x2a",
        9: ber.time(START), 12: ber.address("46709876543"),
    }  # fmt: skip
    fields |= {int(name.removeprefix("f")): value for name, value in other.items()}
    return ber.record(6, fields)


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


def pgw(**other: Any) -> bytes:
    fields: dict[int, Any] = {
        0: b"\x55",
        3: ber.tbcd("240010123456789"),
        4: [ber.ip("192.0.2.9")],
        5: ber.integer(3_000_000_001),
        6: [ber.ip("192.0.2.77"), ber.ip("192.0.2.78")],
        7: b"internet",
        9: [ber.context(0, [ber.ip("10.11.12.13")])],
        12: [
            ber.sequence(
                ber.context(3, ber.integer(1000)), ber.context(4, ber.integer(70_000)), ber.context(5, b"\x02")
            ),
            ber.sequence(ber.context(3, ber.integer(5)), ber.context(4, ber.integer(3_000_000_000))),
        ],
        13: ber.time(START),
        14: ber.integer(600),
        15: b"\x10",
        17: ber.integer(4),
        18: b"pgw-1",
        20: ber.integer(123_456),
        22: ber.address("46701234567"),
        29: ber.tbcd("3549230812345610"),
        32: bytes((0x18,)) + ber.network("240", "01") + b"\x12\x34" + ber.network("240", "01") + b"\x00\x12\x34\x56",
    }
    fields |= {int(name.removeprefix("f")): value for name, value in other.items()}
    return ber.record(79, {tag: value for tag, value in fields.items() if value is not None})


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


def ims(choice: int = 63, **other: Any) -> bytes:
    fields: dict[int, Any] = {
        0: bytes((choice,)),
        2: b"INVITE",
        3: b"\x00",
        4: [ber.context(0, [ber.ip("192.0.2.5")])],
        5: b"a84b4c76e66710@pc33.example.com",
        6: [ber.context(0, b"sip:46701234567@ims.example.com"), ber.context(1, b"tel:+46701234567;cpc=ordinary")],
        7: [ber.context(0, b"sip:helpdesk@example.com")],
        9: ber.time(START),
        10: ber.time(ANSWER),
        11: ber.time(RELEASE),
        15: ber.integer(70_000),
        16: ber.integer(1),
        17: b"\x00",
        19: b"icid-1-99",
        37: ber.integer(250),
        38: ber.integer(500),
        41: [ber.context(1, b"tel:+46709876543")],
    }
    fields |= {int(name.removeprefix("f")): value for name, value in other.items()}
    return ber.record(choice, {tag: value for tag, value in fields.items() if value is not None})


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


def chf(**other: Any) -> bytes:
    session = [
        ber.context(0, ber.integer(5)),
        ber.context(1, [ber.context(3, b"msisdn-46701234567")]),
        ber.context(2, [ber.context(0, b"\x00"), ber.context(1, b"imeisv-3549230812345610")]),
        ber.context(13, b"internet"),
        ber.context(14, [ber.context(0, [ber.ip("10.60.0.1")])]),
        ber.context(18, ber.time(RELEASE)),
        ber.context(35, [ber.context(1, [ber.context(1, [ber.context(0, ber.network("240", "01")),
                                                         ber.context(1, b"000000010")])])]),
    ]  # fmt: skip
    containers = [
        ber.sequence(ber.context(5, ber.integer(10)), ber.context(6, ber.integer(20))),
        ber.sequence(ber.context(5, ber.integer(1)), ber.context(6, ber.integer(2))),
    ]
    fields: dict[int, Any] = {
        0: ber.integer(200),
        1: b"chf-1",
        2: [ber.context(0, b"\x01"), ber.context(1, b"imsi-240010123456789")],
        3: [ber.context(0, b"\x01"), ber.context(1, b"smf-7")],
        5: [ber.sequence(ber.context(0, b"\x01"), ber.context(1, containers)), ber.sequence(ber.context(0, b"\x02"))],
        6: ber.time(START),
        7: ber.integer(69),
        8: ber.integer(2),
        9: b"\x00",
        11: ber.integer(17),
        13: session,
        16: b"session-9",
        23: b"tenant-a",
        27: ber.integer(5),
    }
    fields |= {int(name.removeprefix("f")): value for name, value in other.items()}
    return ber.record(200, {tag: value for tag, value in fields.items() if value is not None})


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


EVERY = [mo(), mo_sms(), pgw(), ims(), ims(69), chf()]


def test_padding_between_records_and_blocks_is_skipped():
    bare, _ = decoded(b"".join(EVERY))
    for padding in (b"\0", b"\xff" * 3, bytes(4096), b"\0\xff" * 7):
        padded, rejects = decoded(padding + padding.join(EVERY) + padding)
        assert rejects == []
        assert padded == bare


def test_records_of_indefinite_length_are_the_same_records():
    fields = mo_fields()
    row = decoded(ber.record(0, fields))[0]
    assert decoded(ber.record(0, fields, indefinite=True))[0] == row
    inner = b"".join(ber.context(tag, fields[tag], indefinite=tag in (10, 12)) for tag in fields)
    assert decoded(ber.context(0, [inner]))[0] == row
    assert decoded(ber.context(0, [inner], indefinite=True))[0] == row
    deep = ber.context(12, [ber.sequence(ber.context(3, b"\x05"), indefinite=True)], indefinite=True)
    assert decoded(ber.context(79, [*(ber.context(tag, value) for tag, value in {
        4: [ber.ip("192.0.2.9")], 5: b"\x01", 13: ber.time(START), 14: b"\x09", 20: b"\x01"}.items()), deep]))[0][0][
            "volume_up_bytes"] == 5  # fmt: skip


def test_unknown_tags_are_skipped_whatever_their_form():
    extra = [
        ber.context(99, b"x"),
        ber.context(3000, [ber.sequence(b"")]),
        ber.tlv(0xC0, 5, b"private"),
        ber.context(35, []),
    ]
    elements = [ber.context(tag, content) for tag, content in mo_fields().items()]
    assert decoded(ber.context(0, [extra[0], *elements, *extra[1:]]))[0] == [MO_ROW]


def test_a_record_type_that_is_not_stored_is_refused_and_kept_for_replay():
    location = ber.record(12, {0: b"\x0c", 1: ber.tbcd("240010123456789")})
    mms = ber.record(30, {0: b"\x1e", 5: b"subject of a message"})
    rows, rejects = decoded(location + mo() + mms)
    assert len(rows) == 1
    assert [(one.position, one.reason) for one in rejects] == [
        (1, RejectReason.UNSUPPORTED),
        (3, RejectReason.UNSUPPORTED),
    ]
    assert rejects[0].raw == location
    assert rejects[1].raw is None
    assert rejects[1].offset == len(location) + len(mo())


def test_a_plain_set_and_a_shared_tag_are_told_by_their_record_type():
    fields = [ber.context(tag, content) for tag, content in mo_fields().items()]
    assert decoded(ber.tlv(0, 17, fields))[0] == [MO_ROW]
    srvcc = ber.context(20, [ber.context(0, ber.integer(87)), *fields[1:]])
    assert [one.reason for one in decoded(srvcc)[1]] == [RejectReason.UNSUPPORTED]


@pytest.mark.parametrize(
    ("changes", "reason", "field"),
    [
        ({"f1": bytes.fromhex("4200f10143658709")}, RejectReason.BAD_FIELD, "imsi"),
        ({"f22": b"\x26\x13\x01\x00\x00\x00+\x00\x00"}, RejectReason.BAD_TIME, "start_time"),
        ({"f22": ber.time(START)[:6]}, RejectReason.BAD_TIME, "start_time"),
        ({"f24": ber.time(START - timedelta(hours=1))}, RejectReason.BAD_TIME, "end_time"),
        ({"f22": None, "f23": None, "f24": None}, RejectReason.MISSING_FIELD, "start_time"),
        ({"f25": bytes(9)}, RejectReason.BAD_FIELD, "duration_ms"),
        ({"f33": b"\x00\xff\xff\xff\xff"}, RejectReason.BAD_FIELD, "partial_sequence"),
        ({"f9": bytes(70)}, RejectReason.BAD_FIELD, "switch"),
    ],
)
def test_a_field_without_its_form_refuses_its_record_alone(changes: dict[str, Any], reason: RejectReason, field: str):
    bad = mo(**changes)
    rows, rejects = decoded(mo() + bad + mo())
    assert len(rows) == 2
    assert [(one.position, one.reason, one.field) for one in rejects] == [(2, reason, field)]
    assert rejects[0].raw == bad


def test_a_record_whose_elements_overrun_it_is_malformed():
    short = ber.context(0, [ber.context(0, b"\x00") + b"\x81\x7f\x00"])
    rows, rejects = decoded(mo() + short + mo())
    assert len(rows) == 2
    assert [(one.position, one.reason) for one in rejects] == [(2, RejectReason.MALFORMED)]


def test_a_cut_off_delivery_is_one_reject_at_its_end():
    data = mo() + mo(f32=b"\x01")
    rows, rejects = decoded(data[:-1])
    assert len(rows) == 1
    assert [(one.position, one.reason, one.offset) for one in rejects] == [(2, RejectReason.MALFORMED, len(mo()))]
    assert rejects[0].length_bytes == len(data) - len(mo()) - 1


def test_bytes_that_are_no_record_end_the_reading_with_one_reject():
    rows, rejects = decoded(mo() + b"hello " * 100 + mo())
    assert len(rows) == 1
    assert [(one.position, one.length_bytes) for one in rejects] == [(2, 600 + len(mo()))]


@pytest.mark.parametrize("data", [b"calling;called\n1;2\n", b"\x60\x05hello", b"{}", b"\x01\x02\x03"])
def test_a_delivery_that_begins_with_something_else_is_refused(data: bytes):
    with pytest.raises(InputError):
        decoded(data)


def test_a_record_beyond_the_bound_is_read_past():
    huge = ber.context(0, [bytes(3 << 20)])
    stream = EndlessLine(mo() + huge[:5], len(huge) - 5, mo(f32=b"\x07"))
    rows, rejects = taken("3gpp-ber", stream, SOURCE)  # type: ignore[arg-type]
    assert [row["batch_position"] for row in rows] == [1, 3]
    assert [(one.reason, one.length_bytes) for one in rejects] == [(RejectReason.TOO_LONG, len(huge))]


def test_small_pieces_and_pipes_give_the_same_records():
    data = b"".join(EVERY) * 30
    whole = decoded(data)
    for stream in (DripStream(data), Pipe(data, 1 << 10)):
        rows, rejects = taken("3gpp-ber", stream, SOURCE)
        assert sorted(told(rows), key=lambda row: row["batch_position"]) == whole[0]
        assert rejects == []


def test_blocks_end_within_records(monkeypatch: pytest.MonkeyPatch):
    data = b"".join(EVERY) * 40
    whole = decoded(data)
    monkeypatch.setattr("ingest.decoders.threegpp.BLOCK_BYTES", 1000)
    monkeypatch.setattr("ingest.decoders.threegpp.ByteReader.__init__.__defaults__", (1000,))
    assert decoded(data) == whole


digit_texts = st.text("0123456789", min_size=7, max_size=15)
moments = st.integers(0, 200_000_000).map(lambda seconds: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
offsets = st.integers(-12 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))


@st.composite
def calls(draw: st.DrawFn) -> tuple[bytes, dict[str, Any]]:
    zone = draw(offsets)
    start = draw(moments).astimezone(zone)
    ring, talk = draw(st.integers(0, 200)), draw(st.integers(0, 20_000))
    answer = start + timedelta(seconds=ring)
    release = answer + timedelta(seconds=talk)
    reference = draw(st.binary(min_size=1, max_size=8))
    sequence = draw(st.none() | st.integers(0, 70_000))
    expected = {
        "calling_number": draw(digit_texts.filter(lambda text: text[0] != "0")),
        "called_number": draw(digit_texts.filter(lambda text: text[0] != "0")),
        "imsi": draw(st.text("0123456789", min_size=6, max_size=15)),
        "imei": draw(st.text("0123456789", min_size=14, max_size=16)),
        "start_time": start,
        "answer_time": answer,
        "end_time": release,
        "duration_ms": talk * 1000,
        "trunk_in": str(draw(st.integers(0, 2**31))),
        "cell_id": f"{draw(st.integers(0, 65_535))}-{draw(st.integers(0, 65_535))}",
        "utc_offset_s": int(zone.utcoffset(None).total_seconds()),
    }
    lac, number = map(int, expected["cell_id"].split("-"))
    fields = mo_fields(
        f1=ber.tbcd(expected["imsi"]), f2=ber.tbcd(expected["imei"]), f3=None,
        f4=ber.address(expected["calling_number"]), f5=ber.address(expected["called_number"]),
        f10=[ber.context(0, ber.integer(int(expected["trunk_in"])))],
        f12=ber.cell(lac, number), f22=ber.time(start), f23=ber.time(answer), f24=ber.time(release),
        f25=ber.integer(talk), f32=reference, f33=None if sequence is None else ber.integer(sequence),
    )  # fmt: skip
    if sequence is not None:
        expected["partial_sequence"] = sequence
    order = draw(st.permutations(list(fields)))
    return ber.record(0, {tag: fields[tag] for tag in order}, indefinite=draw(st.booleans())), expected


@settings(max_examples=60, deadline=None)
@given(st.lists(calls(), min_size=1, max_size=12), st.sampled_from([b"", b"\0", b"\xff" * 9]))
def test_every_call_comes_out_as_it_was_written(made: list[tuple[bytes, dict[str, Any]]], padding: bytes):
    rows, rejects = decoded(padding.join(data for data, _ in made))
    assert rejects == []
    assert len(rows) == len(made)
    for row, (_, expected) in zip(rows, made, strict=True):
        assert {name: row.get(name) for name in expected} == expected


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_bytes_leave_every_record_accounted_for(data: st.DataObject):
    original = b"".join(EVERY)
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged))) :]
    with contextlib.suppress(InputError):
        taken("3gpp-ber", io.BytesIO(bytes(damaged)), SWEDEN)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([0xA0, 0xA1, 0xA6, 0xA7, 0xB4, 0xBF]))
def test_any_bytes_are_records_or_rejects(content: bytes, first: int):
    with contextlib.suppress(InputError):
        taken("3gpp-ber", io.BytesIO(bytes((first,)) + content), SWEDEN)
