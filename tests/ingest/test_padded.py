"""Padded blocks say the same as plain ones, and their padding is their own."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decoders.padded import PAD_BYTES, Padded, read_padded
from ingest.decoders.slices import Block, read_blocks
from ingest.streams import CountingReader, expanded
from schemas.errors import InputError
from tests.ingest.reading import Pipe

PIECES = st.sampled_from([b"\n", b"a", b"bc\n", b"def" * 5, b"\r\n", b"\xef\xbb\xbf"])


def whole(data: bytes, block_bytes: int) -> list[Padded]:
    blocks = list(read_padded(io.BytesIO(data), block_bytes=block_bytes))
    for block in blocks:
        assert block.start >= PAD_BYTES
        assert block.start + block.size + PAD_BYTES <= len(block.memory)
        assert block.memory[block.start + block.size - (1 if block.terminated else 0)] == ord("\n")
    return blocks


@given(st.lists(PIECES, max_size=60).map(b"".join), st.integers(1, 64))
@settings(deadline=None)
def test_blocks_hold_every_byte_once_and_end_with_lines(data: bytes, block_bytes: int) -> None:
    blocks = whole(data, block_bytes)
    marked = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    assert b"".join(block.data for block in blocks) == data[marked:]
    at = marked
    for block in blocks:
        assert block.offset == at
        assert block is blocks[-1] or block.terminated
        at += block.size
        pieces = list(block.pieces(7))
        assert b"".join(piece.data for piece in pieces) == block.data
        assert [piece.offset for piece in pieces] == [
            block.offset + sum(before.size for before in pieces[:number]) for number in range(len(pieces))
        ]


@pytest.mark.parametrize("length", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_delivery_of_any_size_comes_whole_by_any_stream(length: int) -> None:
    data = (b"x" * 99 + b"\n") * (length // 100) + b"y" * (length % 100)
    for stream in (io.BytesIO(data), Pipe(data, 77_777), expanded(CountingReader(io.BytesIO(data)))):  # type: ignore[arg-type]
        assert b"".join(block.data for block in read_padded(stream, block_bytes=2 << 20)) == data  # type: ignore[arg-type]


def test_what_is_too_long_for_a_record_is_told_as_by_read_blocks() -> None:
    data = b"a\n" * 10 + b"x" * (3 << 20) + b"\nb\n" + b"c\n" * 1_000
    mine = whole(data, 1 << 16)
    plain = list(read_blocks(io.BytesIO(data), block_bytes=1 << 16))
    told = [[(one.offset, one.overlong_bytes) for one in some if one.overlong_bytes] for some in (mine, plain)]
    assert told == [[(20, 3 << 20)], [(20, 3 << 20)]] or told[0] == told[1]
    assert b"".join(block.data for block in mine if not block.overlong_bytes) == b"a\n" * 10 + b"b\n" + b"c\n" * 1_000


def test_utf_16_is_refused() -> None:
    with pytest.raises(InputError):
        whole("a\n".encode("utf-16"), 100)


def test_a_block_is_padded() -> None:
    block = Padded.of(Block(b"a,b", 7))
    assert (block.data, block.offset, block.terminated, block.head(1)) == (b"a,b", 7, False, b"a")
    assert block.behind(2).data == b"b"
