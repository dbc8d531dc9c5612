from __future__ import annotations

import contextlib
import io
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import InputError
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest import ber_encoder as ber
from tests.ingest.decoding import DripStream, EndlessLine
from tests.ingest.reading import Pipe, taken
from tests.ingest.threegpp_made import (
    EVERY,
    MO_ROW,
    SOURCE,
    START,
    SWEDEN,
    calls,
    decoded,
    mo,
    mo_fields,
    told,
)


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
    monkeypatch.setattr("ingest.decoders.threegpp.bare.BLOCK_BYTES", 1000)
    monkeypatch.setattr("ingest.decoders.threegpp.bare.ByteReader.__init__.__defaults__", (1000,))
    assert decoded(data) == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(calls(), min_size=1, max_size=12), st.sampled_from([b"", b"\0", b"\xff" * 9]))
def test_every_call_comes_out_as_it_was_written(made: list[tuple[bytes, dict[str, Any]]], padding: bytes):
    rows, rejects = decoded(padding.join(data for data, _ in made))
    assert rejects == []
    assert len(rows) == len(made)
    for row, (_, expected) in zip(rows, made, strict=True):
        assert {name: row.get(name) for name in expected} == expected


@examples(100)
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


@examples(70)
@given(st.binary(max_size=300), st.sampled_from([0xA0, 0xA1, 0xA6, 0xA7, 0xB4, 0xBF]))
def test_any_bytes_are_records_or_rejects(content: bytes, first: int):
    with contextlib.suppress(InputError):
        taken("3gpp-ber", io.BytesIO(bytes((first,)) + content), SWEDEN)
