from __future__ import annotations

import contextlib
import io
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders.threegpp.file import Closure, read_header
from ingest.source_config import SourceConfig
from schemas.errors import ConfigurationError, InputError
from schemas.rejects import RejectReason
from tests.examples import examples
from tests.ingest import ber_encoder as ber
from tests.ingest.reading import Pipe, taken
from tests.ingest.threegpp_made import EVERY, decoded, mo, pgw

STRICT = SourceConfig("cgf", zone=None)
LENIENT = SourceConfig("cgf", zone=None, options={"framing": "lenient"})
WEST = timezone(-timedelta(hours=3, minutes=30))
OPENED = datetime(2025, 12, 31, 23, 40, tzinfo=UTC)
APPENDED = datetime(2026, 1, 1, 0, 10, tzinfo=UTC)


def file(records: list[bytes], **other: Any) -> bytes:
    return ber.cdr_file(records, OPENED, APPENDED, **other)


def read(data: bytes, source: SourceConfig = STRICT) -> tuple[list[dict[str, Any]], Any]:
    return decoded(data, source, "3gpp-32297")


def test_a_file_holds_the_records_of_its_bare_concatenation():
    bare, _ = decoded(b"".join(EVERY))
    for release in (0, 6, 7):
        rows, rejects = read(file(EVERY, release=release, routeing=b"filter", private=b"vendor"))
        assert rejects == []
        assert rows == bare


def test_a_file_read_in_pieces_holds_the_same_records(monkeypatch: pytest.MonkeyPatch):
    data = file(EVERY * 20)
    whole = read(data)
    assert len(whole[0]) == len(EVERY) * 20
    rows, _ = taken("3gpp-32297", Pipe(data, 100), STRICT)  # type: ignore[arg-type]
    assert len(rows) == len(whole[0])
    monkeypatch.setattr("ingest.decoders.threegpp.bare.ByteReader.__init__.__defaults__", (700,))
    assert read(data) == whole


def test_a_header_says_what_the_node_wrote():
    header = read_header(file([mo()], sequence_number=4711, closure=2, lost=0x85))
    assert (header.sequence, header.records, header.closure) == (4711, 1, Closure.OPEN_TIME)
    assert (header.lost_records, header.lost_at_least, header.abnormal) == (5, False, False)
    assert header.file_octets == len(file([mo()]))


@pytest.mark.parametrize(
    ("octet", "lost"),
    [(0, (0, False)), (3, (3, True)), (127, (127, True)), (128, (1, True)), (129, (1, False)), (255, (127, True))],
)
def test_the_lost_record_indicator(octet: int, lost: tuple[int, bool]):
    header = read_header(file([mo()], lost=octet))
    assert (header.lost_records, header.lost_at_least) == lost


def test_the_missing_year_of_a_header_is_that_of_its_records():
    header = read_header(file([mo()]))
    assert header.opened.nearest(APPENDED) == OPENED
    assert header.appended.nearest(OPENED) == APPENDED
    leap = ber.cdr_file([mo()], datetime(2024, 2, 29, 12, 0, tzinfo=WEST), datetime(2024, 3, 1, tzinfo=WEST))
    assert read_header(leap).opened.nearest(datetime(2024, 3, 1, tzinfo=UTC)) == datetime(
        2024, 2, 29, 15, 30, tzinfo=UTC
    )
    assert read_header(leap).opened.nearest(datetime(2026, 3, 1, tzinfo=UTC)) is None


def test_padding_behind_the_file_is_no_record():
    assert read(file([mo()]) + bytes(100)) == read(file([mo()]))


@pytest.mark.parametrize(
    "data",
    [
        file([mo(), mo()])[:-3],
        file([mo(), mo()])[: -len(mo())],
        file([mo()]) + mo(),
        file([mo()], count=2),
        file([mo(), mo()], count=1),
        file([mo()], size=len(file([mo()])) - 10),
        file([mo()], size=len(file([mo()])) + 10),
        file([mo()])[:30],
        file([mo()])[:52],
        b"",
        mo(),
        b"calling;called\n" * 20,
    ],
)
def test_a_file_that_disagrees_with_its_header_is_refused_as_a_whole(data: bytes):
    with pytest.raises(InputError):
        read(data)


def test_lenient_framing_takes_what_can_be_read():
    whole = file([mo(), pgw()])
    rows, rejects = read(whole[:-3], LENIENT)
    assert len(rows) == 1
    assert [(one.position, one.reason, one.offset) for one in rejects] == [
        (2, RejectReason.MALFORMED, len(whole) - len(pgw()) - 5)
    ]
    assert len(read(file([mo(), pgw()], count=9), LENIENT)[0]) == 2
    rows, rejects = read(whole + b"extra", LENIENT)
    assert (len(rows), [one.length_bytes for one in rejects]) == (2, [5])


def test_a_file_that_was_not_closed_has_neither_length_nor_count():
    data = file([mo(), pgw()], size=0xFFFF_FFFF, count=0xFFFF_FFFF, closure=129)
    assert read_header(data).abnormal
    assert len(read(data)[0]) == 2
    rows, rejects = read(data[:-3], LENIENT)
    assert (len(rows), len(rejects)) == (1, 1)


def test_records_in_another_encoding_are_refused_one_by_one():
    rows, rejects = read(file([mo(), mo()], encoding=3))
    assert rows == []
    assert [(one.reason, one.field) for one in rejects] == [(RejectReason.UNSUPPORTED, "data_record_format")] * 2


def test_a_record_shorter_than_its_header_says_is_malformed_and_padding_is_not():
    rows, rejects = read(file([mo() + b"x", pgw()]))
    assert (len(rows), [one.position for one in rejects]) == (1, [1])
    assert len(read(file([mo() + bytes(4), pgw() + b"\xff"]))[0]) == 2


def test_an_unknown_framing_is_a_setting_that_cannot_work():
    with pytest.raises(ConfigurationError):
        read(file([mo()]), SourceConfig("cgf", options={"framing": "maybe"}))


@examples(70)
@given(st.data())
def test_damaged_files_are_refused_or_every_record_is_accounted_for(data: st.DataObject):
    damaged = bytearray(file(EVERY))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    source = data.draw(st.sampled_from([STRICT, LENIENT]))
    with contextlib.suppress(InputError):
        taken("3gpp-32297", io.BytesIO(bytes(damaged)), source)
