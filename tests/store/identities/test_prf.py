from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC
from hypothesis import given
from hypothesis import strategies as st

from store import native
from store.identities import prf
from store.identities.prf import BulkCmac

KEY = bytes(range(32))


def reference(message: bytes) -> bytes:
    mac = CMAC(AES(KEY))
    mac.update(message)
    return mac.finalize()


@given(st.lists(st.binary(min_size=48, max_size=48), min_size=1, max_size=20))
def test_messages_of_whole_blocks_get_the_tags_of_the_standard(messages: list[bytes]) -> None:
    bulk = BulkCmac(KEY)
    words = np.frombuffer(b"".join(messages), np.uint64).reshape(len(messages), 3, 2)
    state = bulk.encrypt(words[:, 0])
    state = bulk.absorb(state, words[:, 1])
    tags = bulk.finish(state, words[:, 2])
    assert [tag.tobytes() for tag in tags] == [reference(message) for message in messages]


@given(st.lists(st.text(max_size=70) | st.none(), max_size=30))
def test_strings_get_the_tag_of_length_and_padded_bytes_wherever_they_stand(values: list[str | None]) -> None:
    tags = BulkCmac(KEY).strings(pa.array(values, pa.string()))
    for value, tag in zip(values, tags, strict=True):
        if value is None:
            assert not tag.any()
            continue
        data = value.encode()
        padded = data.ljust(max(-(-len(data) // 16), 1) * 16, b"\0")
        header = np.array([len(data), 0], np.uint64).tobytes()
        assert tag.tobytes() == reference(header + padded)


def test_many_long_strings_are_tagged_in_bounded_stretches() -> None:
    texts = [chr(97 + index % 26) * 70_000 for index in range(60)]
    together = BulkCmac(KEY).strings(pa.array(texts, pa.string()))
    alone = [BulkCmac(KEY).strings(pa.array([text], pa.string()))[0] for text in texts[:3]]
    assert (together[:3] == np.array(alone)).all()


def test_a_slice_of_an_array_gets_the_tags_of_its_own_values() -> None:
    array = pa.array(["a", "bb", "ccc", "dddd"], pa.string())
    bulk = BulkCmac(KEY)
    assert (bulk.strings(array.slice(1, 2)) == bulk.strings(array)[1:3]).all()


def test_another_key_gives_other_tags() -> None:
    array = pa.array(["the same"], pa.string())
    assert (BulkCmac(KEY).strings(array) != BulkCmac(KEY[::-1]).strings(array)).any()


def test_a_tag_is_the_same_from_many_threads_at_once() -> None:
    cmac = BulkCmac(b"k" * 32)
    blocks = np.arange(2_000_000, dtype=np.uint64).reshape(-1, 2)
    expected = cmac.encrypt(blocks).copy()
    equal: list[bool] = []

    def run() -> None:
        equal.extend(np.array_equal(cmac.encrypt(blocks), expected) for _ in range(4))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert equal == [True] * 12


@given(st.lists(st.binary(max_size=70), min_size=1, max_size=20), st.integers(0, 4))
def test_the_kernel_pads_texts_as_its_twin(texts: list[bytes], number: int) -> None:
    data = np.frombuffer(b"".join(texts), np.uint8)
    lengths = np.array([len(text) for text in texts])
    starts = np.cumsum(lengths) - lengths
    states = np.arange(2 * len(texts), dtype=np.uint64).reshape(-1, 2)
    ours, theirs = states.copy(), states.copy()
    native.load("store.identities.prf_kernels").mix(data, starts, lengths, number, ours)
    prf._mix(data, starts, lengths, number, theirs)
    assert (ours == theirs).all()
