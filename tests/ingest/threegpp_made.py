"""Records of 3GPP made from known values, for the tests that read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import strategies as st

from ingest.source_config import SourceConfig
from schemas.misplaced_prefixes import without_misplaced_prefix
from tests.ingest import ber_encoder as ber
from tests.ingest.reading import taken

SOURCE = SourceConfig("msc", zone=None)
SWEDEN = SourceConfig("msc", zone=None, country="SE")
CET = timezone(timedelta(hours=1))
START = datetime(2026, 10, 25, 2, 30, 0, tzinfo=CET)
ANSWER, RELEASE = START + timedelta(seconds=9), START + timedelta(seconds=69)


def as_it_stands(digits: str) -> bool:
    """Whether an international number of these digits is stored digit by digit (rules of `schemas.numbers`)."""
    return digits[0] != "0" and without_misplaced_prefix(digits) is None


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
    "record_key": str(0x9EFD2D1B * 10**8 + int(START.timestamp()) % 10**8),
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


def mo_sms(**other: Any) -> bytes:
    fields: dict[int, Any] = {
        0: b"\x06", 1: ber.tbcd("240010123456789"), 2: ber.tbcd("354923081234561"), 3: ber.address("46701234567"),
        5: ber.address("46705008999"), 6: ber.address("46705000001"), 7: ber.cell(1, 2), 8: b"\x2a",
        9: ber.time(START), 12: ber.address("46709876543"),
    }  # fmt: skip
    fields |= {int(name.removeprefix("f")): value for name, value in other.items()}
    return ber.record(6, fields)


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


EVERY = [mo(), mo_sms(), pgw(), ims(), ims(69), chf()]


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
        "calling_number": draw(digit_texts.filter(as_it_stands)),
        "called_number": draw(digit_texts.filter(as_it_stands)),
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
