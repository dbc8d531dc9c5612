from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.decoders.slices import BLANK_LINE, LINE_END, Faults, Lines, gather, read_blocks
from schemas.errors import InputError
from schemas.rejects import RejectReason

TERMINATORS = st.sampled_from([LINE_END, BLANK_LINE])


@given(st.text("ab\n\r", max_size=60), TERMINATORS, st.integers(1, 20), st.integers(1, 20))
def test_blocks_are_the_delivery_in_order_cut_after_terminators(text, terminators, block_bytes, bytes_max):
    data = text.encode()
    blocks = list(read_blocks(io.BytesIO(data), terminators=terminators, block_bytes=block_bytes, bytes_max=bytes_max))
    at = 0
    for block in blocks:
        assert block.offset == at
        if block.overlong_bytes:
            assert block.overlong_bytes > bytes_max
            stretch = data[at : at + block.overlong_bytes]
            assert block.last or stretch.endswith(terminators)
            at += block.overlong_bytes
        else:
            assert data[at : at + len(block.data)] == block.data
            assert block.last or block.data.endswith(terminators)
            assert len(block.data) <= 2 * block_bytes + bytes_max
            at += len(block.data)
    assert at == len(data)
    assert [block.last for block in blocks] == [False] * (len(blocks) - 1) + [True]


@given(st.binary(max_size=80))
def test_lines_are_what_split_says(data):
    lines = Lines(data)
    expected = data.split(b"\n")
    ended = [True] * (len(expected) - 1) + [False]
    if not expected[-1]:
        del expected[-1], ended[-1]
    stripped = [
        line[:-1] if line.endswith(b"\r") and whole else line for line, whole in zip(expected, ended, strict=True)
    ]
    assert [lines.line(index) for index in range(len(lines))] == stripped
    assert lines.terminated.tolist() == ended
    assert lines.blank().tolist() == [not line.strip() for line in stripped]
    faulty = []
    for line in stripped:
        try:
            faulty.append("\0" in line.decode())
        except UnicodeDecodeError:
            faulty.append(True)
    assert lines.encoding_faults().tolist() == faulty


@given(st.binary(max_size=40).map(lambda data: data.hex().encode()), st.data())
def test_gathered_slices_are_the_slices(data, draws):
    places = draws.draw(
        st.lists(st.one_of(st.none(), st.tuples(st.integers(0, len(data)), st.integers(0, len(data))).map(sorted)))
    )
    starts = np.array([-1 if place is None else place[0] for place in places], np.int64)
    ends = np.array([-1 if place is None else place[1] for place in places], np.int64)
    column = gather(np.frombuffer(data, np.uint8), starts, ends)
    column.validate(full=True)
    assert column.to_pylist() == [None if place is None else data[place[0] : place[1]].decode() for place in places]


def test_a_byte_order_mark_is_skipped_and_utf16_refused():
    assert next(read_blocks(io.BytesIO(b"\xef\xbb\xbfa\n"))).data == b"a\n"
    with pytest.raises(InputError):
        next(read_blocks(io.BytesIO("a".encode("utf-16"))))


def test_of_two_faults_of_a_row_the_one_that_was_found_first_is_told() -> None:
    first, later = Faults(4), Faults(4)
    first.add(np.array([True, False, False, True]), RejectReason.MALFORMED)
    later.add(np.array([True, True, False, False]), RejectReason.BAD_TIME, "start_time")
    first.include(later)
    assert list(first.found()) == [
        (0, RejectReason.MALFORMED, None),
        (1, RejectReason.BAD_TIME, "start_time"),
        (3, RejectReason.MALFORMED, None),
    ]
    assert first.mask.tolist() == [True, True, False, True]
