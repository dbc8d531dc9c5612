"""Postings' coding: the compiled loops equal their twins, every entry is found, strangers seldom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import IntegrityError
from store import native
from store.index import coding
from store.index.hashing import PACKED, TEXT, hash_columns, hash_value, mix, mix_words, seed, text_words
from tests.examples import examples

SALT = b"\x07" * 16
kernels: Any = native.load("store.index.kernels")
Entries = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 6)), min_size=1, max_size=300)


def encoded(entries: list[tuple[int, int]], codes: int, bits: int, compiled: Any) -> tuple[coding.Shape, list[bytes]]:
    kept, coding.kernels = coding.kernels, lambda rows: compiled
    try:
        hashes = np.array([item[0] for item in entries], np.uint64)
        groups = np.array([item[1] for item in entries], np.uint32)
        shape, blocks = coding.encode(hashes, groups, codes, bits)
        return shape, [bytes(block) for block in blocks]
    finally:
        coding.kernels = kept


def found(block: bytes, shape: coding.Shape, first: int) -> list[int]:
    return coding.find_each([block], [shape], [first], coding.KERNEL_ROWS)[0]


@examples(50)
@given(Entries, st.integers(1, 8), st.sampled_from([16, 1024]))
def test_compiled_blocks_equal_their_twin_and_hold_exactly_what_was_posted(
    entries: list[tuple[int, int]], bits: int, block_bytes: int
) -> None:
    kept, coding.BLOCK_BYTES = coding.BLOCK_BYTES, block_bytes  # type: ignore[misc]
    try:
        shape, blocks = encoded(entries, 7, bits, kernels)
        assert encoded(entries, 7, bits, None) == (shape, blocks)
    finally:
        coding.BLOCK_BYTES = kept  # type: ignore[misc]
    assert len(blocks) == shape.blocks
    buckets: dict[tuple[int, int], set[int]] = {}
    for hashed, group in entries:
        buckets.setdefault(shape.place(hashed), set()).add(group)
    for (block, first), groups in buckets.items():
        assert set(found(blocks[block], shape, first)) == groups
    places = [*buckets]
    asked = [blocks[block] for block, _ in places], [shape] * len(places), [first for _, first in places]
    for compiled in (kernels, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(coding, "kernels", lambda rows, compiled=compiled: compiled)
            assert list(map(set, coding.find_each(*asked, 1))) == [*buckets.values()]


def test_an_absent_value_is_seldom_taken_for_a_present_one() -> None:
    random = np.random.default_rng(1)
    hashes = random.integers(0, 2**64, 20_000, np.uint64)
    shape, blocks = coding.encode(hashes, np.zeros(20_000, np.uint32), 1, 6)
    strangers = [shape.place(int(item)) for item in random.integers(0, 2**64, 5_000, np.uint64)]
    taken = sum(len(found(bytes(blocks[block]), shape, first)) > 0 for block, first in strangers)
    assert 20 <= taken <= 160  # one in 64


def test_a_value_in_every_row_and_values_in_a_heap_are_coded_once() -> None:
    for hashes in (np.zeros(50_000, np.uint64), np.repeat(np.arange(2, dtype=np.uint64), 25_000)):
        groups = np.tile(np.arange(250, dtype=np.uint32), 200)
        shape, blocks = coding.encode(hashes, groups, 250, 4)
        assert sum(int.from_bytes(block[:4], "little") for block in blocks) == 250 * len(np.unique(hashes >> 32))
        assert len(found(bytes(blocks[0]), shape, 0)) == 250


@examples(70)
@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40), st.integers(0, 2**64 - 1))
def test_a_value_and_a_column_have_the_same_hash(values: list[int], start: int) -> None:
    words = np.array(values, np.uint64)
    assert mix_words(words).tolist() == [mix(value) for value in values]
    assert hash_columns(start, [words, words]).tolist() == [hash_value(start, (value, value)) for value in values]
    hashes, kept = np.empty(len(values), np.uint64), np.empty(len(values), np.uint32)
    count = kernels.hash_packed(words, np.arange(len(values), dtype=np.uint32), np.uint64(start), hashes, kept)
    assert hashes[:count].tolist() == [hash_value(start, (value,)) for value in values]


@examples(70)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=10), st.integers(0, 2**64 - 1))
def test_a_text_and_a_column_of_texts_have_the_same_hash(texts: list[str], start: int) -> None:
    data = [text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(item) for item in data])]).astype(np.int32)
    hashes = np.empty(len(data), np.uint64)
    kernels.hash_texts(offsets, np.frombuffer(b"".join(data), np.uint8), np.uint64(start), hashes)
    assert hashes.tolist() == [hash_value(start, text_words(item)) for item in data]


def test_a_seed_is_of_one_salt_one_field_and_one_domain() -> None:
    seeds = {seed(SALT, 10, PACKED), seed(SALT, 11, PACKED), seed(SALT, 10, TEXT), seed(b"\x08" * 16, 10, PACKED)}
    assert len(seeds) == 4


WHOLE = b"\x01\x00\x00\x00\x01"


@pytest.mark.parametrize("block", [b"", b"\x01\x00\x00", b"\x05\x00\x00\x00"])
def test_a_torn_block_is_refused_by_both_roads(block: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = coding.Shape(64, 6, 3, 0)
    for compiled in (kernels, None):
        monkeypatch.setattr(coding, "kernels", lambda rows, compiled=compiled: compiled)
        with pytest.raises(IntegrityError):
            coding.find_each([WHOLE, block], [shape] * 2, [0, 0], 1)
