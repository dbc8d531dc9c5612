"""Lines and quoted records: positions, offsets, bounds, and what an open quote may cost."""

from __future__ import annotations

import csv
import io
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.lines import Line, read_lines, read_records
from schemas.errors import InputError
from schemas.rejects import RejectReason
from tests.examples import examples


def lines(data: bytes, **options: int | bool) -> list[Line]:
    return list(read_lines(io.BytesIO(data), **options))  # type: ignore[arg-type]


def records(data: bytes, columns: int = 2, **options: int) -> list[Line]:
    def accept(record: bytes) -> bool:
        try:
            return len(next(csv.reader([record.decode("latin-1")], strict=True))) == columns
        except csv.Error:
            return False

    return list(read_records(io.BytesIO(data), accept, **options))


class Endless(io.RawIOBase):
    """A stream of one character, made as it is read."""

    def __init__(self, size: int, tail: bytes = b"") -> None:
        self._left = size
        self._tail = tail

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._left:
            taken = min(size, self._left)
            self._left -= taken
            return b"x" * taken
        tail, self._tail = self._tail, b""
        return tail


def test_lines_have_positions_and_offsets_and_no_line_end() -> None:
    assert lines(b"one\r\ntwo\nthree") == [
        Line(1, 0, b"one", 4),
        Line(2, 5, b"two", 3),
        Line(3, 9, b"three", 5, None, False),
    ]


def test_blank_lines_are_no_records_but_can_be_asked_for() -> None:
    assert [line.position for line in lines(b"\n a \n\r\n  \nb\n")] == [1, 2]
    assert [line.data for line in lines(b"a\n\r\nb\n", blank=True)] == [b"a", b"", b"b"]


def test_an_empty_stream_has_no_lines() -> None:
    assert lines(b"") == []


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert lines(b"\xef\xbb\xbfone\n")[0] == Line(1, 3, b"one", 3)


@pytest.mark.parametrize("text", ["one\n".encode("utf-16"), b"\xfe\xff\x00o"])
def test_utf16_is_refused(text: bytes) -> None:
    with pytest.raises(InputError):
        lines(text)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1024])
def test_blocks_do_not_show(block: int) -> None:
    data = b"\xef\xbb\xbfalpha\r\n\nbe\nlonger than ten\nend"
    assert lines(data, bytes_max=10, block_bytes=block) == lines(data, bytes_max=10)


def test_a_line_beyond_the_bound_is_read_past_and_told() -> None:
    found = lines(b"a\n" + b"b" * 11 + b"\nc\n" + b"d" * 11, bytes_max=10)
    assert [(line.position, line.offset, line.length_bytes, line.reason) for line in found] == [
        (1, 0, 1, None),
        (2, 2, 11, RejectReason.TOO_LONG),
        (3, 14, 1, None),
        (4, 16, 11, RejectReason.TOO_LONG),
    ]
    assert not any(line.data for line in found if line.reason)


def test_a_line_of_200_mib_is_never_held() -> None:
    tracemalloc.start()
    found = list(read_lines(Endless(200 << 20, b"\nnext\n")))  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(line.length_bytes, line.reason) for line in found] == [(200 << 20, RejectReason.TOO_LONG), (4, None)]
    assert peak < 16 << 20


def test_line_ends_inside_quotes_belong_to_the_record() -> None:
    found = records(b'"a\r\n\n""b""",c\nd,e\n')
    assert [(line.position, line.offset, line.data) for line in found] == [
        (1, 0, b'"a\n\n""b""",c'),
        (2, 14, b"d,e"),
    ]
    assert found[0].length_bytes == 13


def test_a_quote_that_never_closes_costs_one_record() -> None:
    found = records(b'a,b\n"open,c\n' + b"d,e\n" * 300)
    assert [line.position for line in found] == list(range(1, 303))
    assert [line.data for line in found if line.reason] == [b'"open,c']
    assert found[1].reason is RejectReason.MALFORMED


def test_a_quote_that_never_closes_does_not_take_the_next_quoted_record_with_it() -> None:
    found = records(b'"open,c\nd,e\n"two\nlines",f\ng,h\n')
    assert [(line.data, line.reason) for line in found] == [
        (b'"open,c', RejectReason.MALFORMED),
        (b"d,e", None),
        (b'"two\nlines",f', None),
        (b"g,h", None),
    ]


def test_a_forged_record_inside_quotes_stays_inside() -> None:
    found = records(b'"name\nforged,record\n",c\n')
    assert [line.data for line in found] == [b'"name\nforged,record\n",c']


def test_a_quote_looks_ahead_no_further_than_its_bounds() -> None:
    far = b'"a\n' + b"x,y\n" * 5 + b'b",c\n'
    assert records(far, lines_max=7)[0].reason is None
    assert records(far, lines_max=6)[0].reason is RejectReason.MALFORMED
    assert records(b'"a\n' + b"x" * 20 + b'\n",c\n', bytes_max=16)[0].reason is RejectReason.MALFORMED


def test_a_line_beyond_the_bound_inside_quotes_spoils_only_its_record() -> None:
    found = records(b'"a\n' + b"x" * 30 + b'\nb",c\nd,e\n', bytes_max=16)
    assert [line.reason for line in found] == [
        RejectReason.MALFORMED,
        RejectReason.TOO_LONG,
        RejectReason.MALFORMED,
        None,
    ]


def test_many_open_quotes_are_read_in_time() -> None:
    assert len(records((b'"a\n' + b"b\n" * 98) * 200)) > 0


def _nonblank(data: bytes) -> Iterator[bytes]:
    return (line for line in data.split(b"\n") if line.strip())


@examples(70)
@given(st.lists(st.sampled_from([b"a", b'"', b",", b"\n", b"\r\n", b" ", b"\x00", b"\xc3\xa5", b"longish"])))
def test_every_line_is_told_once_whatever_the_bytes(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    found = lines(data, bytes_max=12, block_bytes=5)
    assert len(found) == len(list(_nonblank(data)))
    assert [line.position for line in found] == list(range(1, len(found) + 1))
    for line in found:
        assert data[line.offset :].startswith(line.data)
    told = b"".join(line.data for line in records(data))
    kept = bytes(byte for byte in data if byte in b'a",')
    assert bytes(byte for byte in told if byte in b'a",') == kept
