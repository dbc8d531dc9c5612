"""The compiled walk over BER finds what its twins in NumPy and Python find, in anything."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.format_inputs_ber import cdr_file
from ingest.decoders.ber import values
from ingest.decoders.ber import walk as ber
from ingest.decoders.ber.walk import CONTEXT, Level, Span
from ingest.decoders.threegpp import bare as threegpp
from ingest.decoders.threegpp.tables import RECORD_TYPES
from ingest.source_config import SourceConfig
from schemas.errors import InputError
from tests.examples import examples
from tests.ingest import ber_encoder
from tests.ingest.reading import taken
from tests.ingest.test_decode_tap3 import batch, gprs, moc, mtc
from tests.ingest.threegpp_made import EVERY, calls, decoded, mo, told

NEVER = 1 << 60


def nested(depth: int) -> bytes:
    """Return an event of so many levels of definite lengths, an octet 0x80 at the bottom."""
    made = b"\x5f\x01\x01\x80"
    for _ in range(depth):
        made = ber_encoder.tlv(ber_encoder.APPLICATION, 9, [made])
    return made


LEVELS = [
    Level({CONTEXT | 0: "a", CONTEXT | 31: "b", 16: "c", CONTEXT | 5: Level({CONTEXT | 0: "d", CONTEXT | 1: "e"})}),
    Level({CONTEXT | 0: "a", 16: "c"}, first=True),
    *(kind.fields for kind in RECORD_TYPES[:1]),
]


def by_kernels(*, wanted: bool) -> Any:
    return mock.patch.multiple(ber, KERNEL_BYTES_MIN=0 if wanted else NEVER, LOAD_BYTES_MIN=0)


def walked(data: bytes, starts: list[int], ends: list[int], level: Level) -> Any:
    fields = ber.walk(ber.padded(data), np.array(starts, np.int64), np.array(ends, np.int64), level)
    sound = ~(fields.bad | fields.indefinite)
    spans = {name: (span.starts[sound].tolist(), span.lengths[sound].tolist()) for name, span in fields.spans.items()}
    return spans, fields.bad.tolist(), fields.indefinite.tolist()


OCTETS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"\x80\x01a", b"\xbf\x1f\x00", b"\x30\x80\x00\x00", b"\x85\x82\x00\x01a", b"\xa5\x03\x80\x01x"]),
    st.sampled_from([b"\x9f\xff\xff\xff\x01", b"\x84\x85\0\0\0\0\0", b"\x80\x80", b"\x9f\x81\x00\x00", b"\xa5\x80"]),
)


@pytest.mark.parametrize("level", LEVELS, ids=["nested", "first", "call"])
@examples(40)
@given(records=st.lists(st.lists(OCTETS, max_size=6).map(b"".join), min_size=1, max_size=8))
def test_a_level_is_walked_alike(level: Level, records: list[bytes]) -> None:
    ends = np.cumsum([len(one) for one in records]).tolist()
    starts = [0, *ends[:-1]]
    with by_kernels(wanted=True):
        found = walked(b"".join(records), starts, ends, level)
    with by_kernels(wanted=False):
        assert found == walked(b"".join(records), starts, ends, level)


@pytest.mark.parametrize("elements", [ber.ELEMENTS_MAX, ber.ELEMENTS_MAX + 1])
def test_a_level_has_so_many_elements_at_most(elements: int) -> None:
    data = b"\x80\x01a" * elements
    for wanted in (True, False):
        with by_kernels(wanted=wanted):
            assert walked(data, [0], [len(data)], LEVELS[0])[1] == [elements > ber.ELEMENTS_MAX]


@examples(50)
@given(
    pieces=st.lists(
        st.one_of(
            st.sampled_from(
                [*EVERY, b"\0\0\0", b"\xff", b"\xa0\x02\x80\x00", b"\xbf\x81\x00", b"\xbf\x4f\x82\x00\x01x"]
            ),
            st.binary(max_size=6),
        ),
        max_size=8,
    ),
    last=st.booleans(),
)
def test_records_are_framed_alike(pieces: list[bytes], last: bool) -> None:
    data = b"".join(pieces)
    with by_kernels(wanted=True):
        places, *stopped = threegpp.frame(data, last=last)
    with by_kernels(wanted=False):
        expected, *stopping = threegpp.frame(data, last=last)
    assert (places.tolist(), stopped) == (expected.tolist(), stopping)


def test_more_records_than_one_walk_has_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threegpp, "BLOCK_BYTES", 64)
    with by_kernels(wanted=True):
        assert len(threegpp.frame(mo() * 20, last=True).places[0]) == 20


@settings(max_examples=25, deadline=None)
@given(made=st.lists(calls().map(lambda call: call[0]), min_size=1, max_size=5))
def test_calls_are_decoded_alike(made: list[bytes]) -> None:
    with by_kernels(wanted=True):
        found = decoded(b"".join(made))
    with by_kernels(wanted=False):
        assert found == decoded(b"".join(made))


EVENT = moc(indefinite=True)
LONG = b"\x69\x83\x00\x00\x80" + b"\x5f\x01\x7d" + bytes(125)
EVENTS = [
    moc(), mtc(), gprs(), EVENT, moc(extra=(b"\x5f\x01\x02\x80\x80",)), moc(extra=(b"\x7f\x01\x80\0\0",)), LONG,
    LONG[:-1], b"\x69\x03\x80\x01\x80", b"\x69\x02\x5f\x80", b"\x69" + b"\x04\x69\x02\x80\0", b"\x71\x01\x80",
    b"\x69\x80" * 31 + b"\0\0" * 31, b"\x69\x80" * 33 + b"\0\0" * 33, nested(31), nested(32), nested(33),
]  # fmt: skip


def outcome(name: str, data: bytes, *, wanted: bool) -> Any:
    with by_kernels(wanted=wanted):
        try:
            rows, rejects = taken(name, data, SourceConfig("s", zone=None))
        except InputError as error:
            return str(error)
    return told(rows), rejects


@examples(50)
@given(
    events=st.lists(st.sampled_from(EVENTS), min_size=1, max_size=6),
    indefinite=st.booleans(),
    change=st.none() | st.tuples(st.integers(0, 2000), st.integers(0, 255)),
    cut=st.sampled_from([0, 0, 0, 1, 30]),
)
def test_batches_are_decoded_alike(
    events: list[bytes], indefinite: bool, change: tuple[int, int] | None, cut: int
) -> None:
    data = bytearray(batch(events, indefinite=indefinite))
    if change is not None:
        data[change[0] % len(data)] = change[1]
    whole = bytes(data[: len(data) - cut])
    assert outcome("tap3", whole, wanted=True) == outcome("tap3", whole, wanted=False)


@settings(max_examples=60, deadline=None)
@given(
    records=st.lists(st.sampled_from(EVERY), min_size=1, max_size=6),
    change=st.none() | st.tuples(st.integers(50, 2000), st.integers(0, 255)),
    cut=st.sampled_from([0, 0, 0, 1, 30]),
)
def test_files_are_decoded_alike(records: list[bytes], change: tuple[int, int] | None, cut: int) -> None:
    data = bytearray(cdr_file(records, 1_790_000_000))
    if change is not None:
        data[change[0] % len(data)] = change[1]
    whole = bytes(data[: len(data) - cut])
    assert outcome("3gpp-32297", whole, wanted=True) == outcome("3gpp-32297", whole, wanted=False)


TBCD = st.one_of(st.binary(max_size=40), st.binary(max_size=9).map(lambda data: data.hex()[:17].encode()))
DIGITS = st.lists(st.sampled_from([0x21, 0x43, 0x90, 0xF5, 0x5F, 0xFF, 0xAB, 0xC0]), max_size=20).map(bytes)


@settings(deadline=None)
@given(st.lists(st.none() | TBCD | DIGITS, min_size=1, max_size=20), st.data())
def test_the_compiled_look_reads_the_same_digits(contents: list[bytes | None], data: st.DataObject) -> None:
    skips = np.array(data.draw(st.lists(st.integers(0, 2), min_size=len(contents), max_size=len(contents))), np.int64)
    skip: Any = data.draw(st.sampled_from([0, 1])) if data.draw(st.booleans()) else skips
    ends = np.cumsum([len(content or b"") for content in contents])
    lengths = np.array([len(content or b"") for content in contents], np.int64)
    absent = np.array([content is None for content in contents])
    span = Span(np.where(absent, -1, ends - lengths), lengths)
    octets = ber.padded(b"".join(content or b"" for content in contents))
    found = []
    for wanted in (False, True):
        with by_kernels(wanted=wanted):
            chars, bad = values.digit_chars(octets, span, skip, high_first=True)
            low, low_bad = values.digit_chars(octets, span, skip)
            texts = values.strings(low, low[:, 0] == 0), values.strings(chars, absent)
        for text in texts:
            text.validate(full=True)
        found.append(
            (chars.tolist(), bad.tolist(), low.tolist(), low_bad.tolist(), [text.to_pylist() for text in texts])
        )
    assert found[0] == found[1]


CONTENTS = st.one_of(
    st.none(),
    st.binary(max_size=12),
    st.integers(0, 2**70).map(lambda value: value.to_bytes(9, "big").lstrip(b"\0")),
    st.sampled_from([b"\x7f" + b"\xff" * 7, b"\x80" + bytes(7), b"", b"a" * 63, b"a" * 64, b"a" * 200]),
    st.tuples(st.sampled_from(["26112210", "24022923", "23022900", "26133110", "26000010", "2a112210"]),
              st.sampled_from(["3459", "6000", "2360", "f000"]), st.sampled_from(["2b", "2d", "30"]),
              st.sampled_from(["0100", "1400", "1401", "0060", "0a00"])).map("".join).map(bytes.fromhex),
)  # fmt: skip


def spans_of(contents: list[bytes | None]) -> tuple[Any, Span]:
    ends = np.cumsum([len(one or b"") for one in contents])
    lengths = np.array([len(one or b"") for one in contents], np.int64)
    absent = np.array([one is None for one in contents])
    return ber.padded(b"".join(one or b"" for one in contents)), Span(np.where(absent, -1, ends - lengths), lengths)


@examples(100)
@given(contents=st.lists(CONTENTS, min_size=1, max_size=12))
def test_values_are_read_alike(contents: list[bytes | None]) -> None:
    data, span = spans_of(contents)
    told_by = []
    for wanted in (True, False):
        with by_kernels(wanted=wanted):
            integers, times = values.integers(data, span), values.times(data, span)
            groups, bad, found = values.distinct(data, span)
        words = [found[group] if group >= 0 else None for group in groups.tolist()]
        told_by.append(([part.tolist() for part in (*integers, *times, bad)], words))
    assert told_by[0] == told_by[1]
    assert told_by[0][1] == [None if one is None or len(one) >= 64 else one for one in contents]


@pytest.mark.parametrize("different", [1, 1024, 1025, 5000])
def test_however_many_contents_differ(different: int) -> None:
    contents: list[bytes | None] = [b"%d" % (number % different) for number in range(6000)]
    data, span = spans_of(contents)
    with by_kernels(wanted=True):
        groups, _, found = values.distinct(data, span)
    assert [found[group] for group in groups.tolist()] == contents
