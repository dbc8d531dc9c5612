from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.source_config import SourceConfig
from schemas.errors import InputError
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest import ber_encoder as ber
from tests.ingest.reading import Pipe, taken
from tests.ingest.threegpp_made import as_it_stands, told

SOURCE = SourceConfig("partners", zone=None)
SUMMER, WINTER = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
START = datetime(2026, 10, 25, 2, 30, tzinfo=SUMMER)
OFFSETS = {0: "+0200", 1: "+0100", 2: "-0330"}


def app(number: int, content: bytes | list[bytes], **other: Any) -> bytes:
    return ber.tlv(ber.APPLICATION, number, content, **other)


def bcd(digits: str) -> bytes:
    return bytes.fromhex(digits + "f" * (len(digits) % 2))


def stamp(moment: datetime, code: int, tag: int = 44) -> bytes:
    return app(tag, [app(16, f"{moment:%Y%m%d%H%M%S}".encode()), app(232, ber.integer(code))])


def moc(
    moment: datetime = START, code: int = 0, *, service: bytes = b"11", extra: tuple[bytes, ...] = (), **other: Any
) -> bytes:
    basic = [
        app(427, [app(199, [app(129, bcd("240010123456789")), app(152, bcd("46701234567"))])]),
        app(89, [app(407, bcd("33123456789")), app(279, b"0123456789")]),
        stamp(moment, code),
        app(223, ber.integer(95)),
        app(58, b"\x00"),
    ]
    place = app(
        138,
        [
            app(
                156,
                [
                    app(184, ber.integer(3)),
                    app(45, b"\x01\x02\x03"),
                    app(136, ber.integer(17)),
                    app(59, ber.integer(300)),
                ],
            )
        ],
    )
    used = app(38, [app(39, [app(36, [app(426, [app(218, service)])])])])
    return app(9, [app(147, basic), place, app(429, [app(128, bcd("3549230812345610"))]), used, *extra], **other)


def mtc() -> bytes:
    basic = [
        app(427, [app(199, [app(129, bcd("240010123456789")), app(152, bcd("46701234567"))])]),
        app(41, [app(405, bcd("33123456789"))]),
        stamp(START, 0),
        app(223, ber.integer(5)),
    ]
    return app(10, [app(153, basic), app(429, [app(128, bcd("354923081234561"))])])


def gprs(partial: bytes | None = b"F") -> bytes:
    basic = [
        app(115, [app(427, [app(199, [app(129, bcd("240010123456789"))])]), app(167, b"10.1.2.3")]),
        app(116, [app(261, b"internet")]),
        stamp(START, 0),
        app(223, ber.integer(600)),
        *([app(166, partial)] if partial else []),
        app(72, ber.integer(4_000_000_000)),
    ]
    place = app(
        117, [app(118, [app(185, [app(184, ber.integer(4)), app(184, ber.integer(3))]), app(136, ber.integer(1))])]
    )
    return app(14, [app(114, basic), place, app(121, [app(250, ber.integer(7000)), app(251, ber.integer(80))])])


def network(offsets: dict[int, str] = OFFSETS) -> bytes:
    table = [app(233, [app(232, ber.integer(code)), app(231, text.encode())]) for code, text in offsets.items()]
    entities = [app(183, [app(184, ber.integer(code)), app(186, b"\x01"), app(400, name)])
                for code, name in ((3, b"33600000001"), (4, b"192.0.2.4"))]  # fmt: skip
    return app(6, [app(234, table), app(188, entities)])


def batch(
    events: list[bytes], *, count: int | None = None, indefinite: bool = False, offsets: dict[int, str] = OFFSETS
) -> bytes:
    control = app(4, [app(196, b"FRAXX"), app(182, b"SWEYY"), app(109, b"00042"), app(201, b"\x03"), app(189, b"\x0c")])
    audit = app(15, [app(415, b"\x05"), app(43, ber.integer(len(events) if count is None else count))])
    parts = [control, app(5, [app(135, b"EUR")]), network(offsets), app(3, events, indefinite=indefinite), audit]
    return app(1, parts, indefinite=indefinite)


def decoded(data: bytes, source: SourceConfig = SOURCE) -> tuple[list[dict[str, Any]], Any]:
    rows, rejects = taken("tap3", data, source)
    return sorted(told(rows), key=lambda row: row["batch_position"]), sorted(rejects, key=lambda one: one.position)


def test_a_call_of_a_visitor():
    rows, rejects = decoded(batch([moc()]))
    assert rejects == []
    assert rows == [
        {
            "batch_position": 1,
            "service_type": "voice",
            "switch": "FRAXX/33600000001",
            "record_key": f"to240010123456789f.{int(START.timestamp()):x}.010203.",
            "calling_number": "46701234567",
            "called_number": "33123456789",
            "dialled_number": "0123456789",
            "start_time": START,
            "answer_time": START,
            "end_time": START + timedelta(seconds=95),
            "end_inferred": True,
            "utc_offset_s": 7200,
            "duration_ms": 95_000,
            "billable_duration_ms": 95_000,
            "imsi": "240010123456789",
            "imei": "3549230812345610",
            "cell_id": "17-300",
            "disposition": "answered",
            "cause": "0",
            "time_ambiguous": False,
        }
    ]


def test_a_received_call_and_a_data_session():
    rows, rejects = decoded(batch([mtc(), gprs()]))
    assert rejects == []
    call, session = rows
    assert (call["calling_number"], call["called_number"]) == ("33123456789", "46701234567")
    assert (call["called_imsi"], call["called_imei"]) == ("240010123456789", "354923081234561")
    assert "imsi" not in call
    assert session["service_type"] == "data"
    assert session["source_ip"] == "10.1.2.3"
    assert (session["volume_down_bytes"], session["volume_up_bytes"]) == (7000, 80)
    assert (session["trunk_out"], session["switch"], session["call_link"]) == (
        "internet",
        "FRAXX/192.0.2.4",
        "4000000000",
    )
    assert session["record_key"].endswith("..ee6b2800.46")


def test_parts_of_one_data_session_are_records_of_their_own():
    rows, _ = decoded(batch([gprs(b"F"), gprs(b"L"), gprs(None)]))
    assert len({row["record_key"] for row in rows}) == 3


def test_local_times_take_the_offset_that_their_code_means():
    winter = datetime(2026, 10, 25, 2, 30, tzinfo=WINTER)
    west = datetime(2026, 3, 8, 2, 30, tzinfo=timezone(-timedelta(hours=3, minutes=30)))
    rows, rejects = decoded(batch([moc(START, 0), moc(winter, 1), moc(west, 2)]))
    assert rejects == []
    assert [row["start_time"] for row in rows] == [START, winter, west]
    assert [row["utc_offset_s"] for row in rows] == [7200, 3600, -12_600]


def test_teleservices_of_messages_make_messages():
    row = decoded(batch([moc(service=b"22")]))[0][0]
    assert (row["service_type"], row["disposition"]) == ("sms", "sent")
    assert (row["start_time"], row["end_time"]) == (START, START)
    assert "answer_time" not in row


def test_sessions_and_messages_over_ims():
    party = app(436, [app(129, bcd("240010123456789")), app(152, bcd("46701234567"))])
    other = app(443, [app(444, bcd("33123456789"))])
    common = [party, app(435, b"ref-1"), stamp(START, 0, 447), other]
    session = app(434, [app(440, b"\x01"), *common, app(223, ber.integer(9)), app(450, [app(451, bcd("33123456780"))])])
    received = app(433, [app(439, b"\x02"), *common])
    rows, rejects = decoded(batch([session, received]))
    assert rejects == []
    assert (rows[0]["service_type"], rows[1]["service_type"]) == ("voip", "sms")
    assert (rows[0]["calling_number"], rows[0]["called_number"]) == ("46701234567", "33123456789")
    assert (rows[1]["calling_number"], rows[1]["called_number"]) == ("33123456789", "46701234567")
    assert rows[1]["disposition"] == "received"


def test_indefinite_lengths_and_unknown_elements_change_nothing():
    plain, _ = decoded(batch([moc(), mtc()]))
    assert decoded(batch([moc(indefinite=True), mtc()], indefinite=True))[0] == plain
    assert decoded(batch([moc(extra=(app(500, b"\x80\x80"), app(162, [app(163, b"operator")]))), mtc()]))[0] == plain


def test_events_in_small_pieces_are_the_same_events(monkeypatch: pytest.MonkeyPatch):
    data = batch([moc(), mtc(), gprs()] * 50)
    whole = decoded(data)
    assert len(whole[0]) == 150
    rows, _ = taken("tap3", Pipe(data, 33), SOURCE)  # type: ignore[arg-type]
    assert len(rows) == 150
    monkeypatch.setattr("ingest.decoders.threegpp.bare.ByteReader.__init__.__defaults__", (500,))
    assert decoded(data) == whole


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (app(2, [app(196, b"FRAXX"), app(182, b"SWEYY")])[:-1], "notification"),
        (app(1, [app(201, b"\x02"), app(189, b"\x01"), app(196, b"FRAXX"), app(3, [app(9, b"")])]), "NRTRDE"),
        (app(534, [app(196, b"FRAXX")]), "RAP"),
        (app(535, [app(196, b"FRAXX")]), "RAP"),
        (batch([]), "no events"),
        (app(1, [app(4, [app(196, b"FRAXX")]), app(15, [app(43, b"\x00")])]), "no events"),
        (app(1, []), "no events"),
        (batch([moc()], count=2), "counts"),
        (batch([moc(), moc()])[:-1], "shorter"),
        (batch([moc(), moc()])[:-200], "cut off"),
        (batch([moc()])[:20], "cut off"),
        (batch([moc()]) * 2, "goes on"),
        (batch([moc()], offsets={0: "CEST"}), "+hhmm"),
        (b"calling;called\n", "no TAP file"),
        (b"", "no TAP file"),
    ],
)
def test_what_is_no_whole_batch_of_events_is_an_error(data: bytes, word: str):
    with pytest.raises(InputError, match=word.replace("+", r"\+")):
        decoded(data)


@pytest.mark.parametrize("padding", [b"\x00" * 99, b"\xff" * 3])
def test_padding_behind_a_batch_means_nothing(padding: bytes):
    assert decoded(batch([moc()]) + padding) == decoded(batch([moc()]))


def test_an_event_without_its_form_is_refused_alone_and_can_be_replayed():
    nameless = moc(code=9)
    service = app(11, [app(427, [])])
    bought = app(17, [app(1, b"content")])
    empty = app(9, [])
    rows, rejects = decoded(batch([moc(), nameless, service, bought, empty]))
    assert len(rows) == 1
    assert [(one.position, one.reason, one.field) for one in rejects] == [
        (2, RejectReason.BAD_TIME, "utc_offset_s"),
        (3, RejectReason.UNSUPPORTED, None),
        (4, RejectReason.UNSUPPORTED, None),
        (5, RejectReason.MISSING_FIELD, "start_time"),
    ]
    assert rejects[2].raw is None
    assert decoded(rejects[0].raw)[1][0].reason == RejectReason.BAD_TIME
    assert decoded(rejects[0].raw)[1][0].length_bytes == len(nameless)


@examples(100)
@given(st.data())
def test_damaged_batches_are_refused_or_every_event_is_accounted_for(data: st.DataObject):
    damaged = bytearray(batch([moc(), mtc(), gprs(), moc(indefinite=True)], indefinite=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(InputError):
        taken("tap3", io.BytesIO(bytes(damaged)), SOURCE)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_error_or_accounted_for(content: bytes):
    with contextlib.suppress(InputError):
        taken("tap3", io.BytesIO(batch([app(9, [content]), app(14, content)])), SOURCE)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1_577_836_800, 1_790_000_000),
            st.sampled_from([0, 1, 2]),
            st.text("0123456789", min_size=7, max_size=15).filter(as_it_stands),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_every_instant_and_number_comes_out_as_it_was_written(made: list[tuple[int, int, str]]):
    zones = {0: SUMMER, 1: WINTER, 2: timezone(-timedelta(hours=3, minutes=30))}
    events = []
    for second, code, number in made:
        moment = datetime.fromtimestamp(second, UTC).astimezone(zones[code])
        basic = [app(427, [app(199, [app(152, bcd(number))])]), stamp(moment, code)]
        events.append(app(9, [app(147, basic)]))
    rows, rejects = decoded(batch(events))
    assert rejects == []
    assert [(int(row["start_time"].timestamp()), row["calling_number"]) for row in rows] == [
        (second, number) for second, _, number in made
    ]
