"""AES-CMAC (NIST SP 800-38B) of millions of short messages at once.

The primitive is `cryptography`'s AES; this module only feeds it whole columns. For messages of whole blocks the result
equals `cryptography`'s CMAC, which a test compares. One call encrypts an array of blocks in ECB mode: each block is a
separate CMAC state, so nothing about the mode's weakness applies.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from schemas.buffers import Column
from store import native

STRETCH_BLOCKS: Final = 65_536
"""So many blocks of text at once, whatever the texts' lengths: the bound of the memory that they take."""

KERNEL_ROWS_MIN: Final = 8192
"""Fewer texts of a process are no reason to load the compiled kernel; when it is there, it is used."""

_KERNELS: Final = "store.identities.prf_kernels"

Words = npt.NDArray[np.uint64]
"""Shape (n, 2): n blocks of 16 bytes as two native words."""


class _Encryptors(threading.local):
    """An encryptor for each thread: one that two threads use at once refuses the second."""

    def __init__(self, key: bytes) -> None:
        self.mine: Any = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 (one block a message)


class BulkCmac:
    """AES-CMAC under one 32-byte key, over arrays; safe for threads."""

    def __init__(self, key: bytes) -> None:
        self._encryptors = _Encryptors(key)
        zero = self.encrypt(np.zeros((1, 2), dtype=np.uint64))
        self._k1 = _double(zero.tobytes())

    def encrypt(self, blocks: Words) -> Words:
        """Encrypt every block by itself."""
        source = np.ascontiguousarray(blocks)
        target = np.empty(source.nbytes + 15, dtype=np.uint8)
        self._encryptors.mine.update_into(source.view(np.uint8).data, target)
        return target[: source.nbytes].view(np.uint64).reshape(-1, 2)

    def absorb(self, state: Words, block: Words) -> Words:
        """Return the state after one more block that is not the last."""
        return self.encrypt(state ^ block)

    def finish(self, state: Words, block: Words) -> Words:
        """Return the tags of messages whose last (whole) block is `block`."""
        return self.encrypt(state ^ block ^ self._k1)

    def last(self, state: Words) -> Words:
        """Return what, xor the last (whole) block and encrypted, gives the tag."""
        return state ^ self._k1

    def strings(self, array: Column) -> Words:
        """Return the tag of each string; a null gives zeros.

        The message is the length in a block of its own, then the UTF-8 bytes padded with zeros to whole blocks.
        """
        values = array.cast(pa.large_string()) if not pa.types.is_large_string(array.type) else array
        rows = len(values)
        tags = np.zeros((rows, 2), dtype=np.uint64)
        if rows in (0, values.null_count):
            return tags
        buffers: Any = values.buffers()
        offsets = np.frombuffer(buffers[1], dtype=np.int64, count=rows + 1, offset=values.offset * 8)
        data = np.frombuffer(buffers[2], dtype=np.uint8) if buffers[2] is not None else np.zeros(0, np.uint8)
        lengths = np.diff(offsets)
        blocks = np.maximum((lengths + 15) // 16, 1)
        valid = np.asarray(values.is_valid())
        for count in np.flatnonzero(np.bincount(blocks[valid])):
            chosen = np.flatnonzero(valid & (blocks == count))
            rows_at_once = max(STRETCH_BLOCKS // int(count), 1)
            for start in range(0, len(chosen), rows_at_once):
                some = chosen[start : start + rows_at_once]
                tags[some] = self._of_width(data, offsets[some], lengths[some], int(count))
        return tags

    def _of_width(
        self, data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], blocks: int
    ) -> Words:
        state = np.zeros((len(starts), 2), dtype=np.uint64)
        state[:, 0] = lengths
        mix = _mix
        if native.pays(_KERNELS, len(starts), KERNEL_ROWS_MIN):
            mix = native.load(_KERNELS).mix
        for number in range(blocks):
            state = self.encrypt(state)
            mix(data, starts, lengths, number, state)
        return self.encrypt(self.last(state))


def _mix(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    number: int,
    states: Words,
) -> None:
    """Xor into the state of each text its block `number`, padded with zeros."""
    columns = np.arange(number * 16, number * 16 + 16)
    inside = columns[None, :] < lengths[:, None]
    if inside.any():
        octets = data[np.where(inside, starts[:, None] + columns[None, :], 0)]
        states ^= np.where(inside, octets, 0).astype(np.uint8).view(np.uint64)


def _double(block: bytes) -> Words:
    """Return the CMAC subkey K1: the block doubled in GF(2^128)."""
    number = int.from_bytes(block, "big") << 1
    if number >> 128:
        number ^= (1 << 128) | 0x87
    return np.frombuffer(number.to_bytes(16, "big"), dtype=np.uint64).reshape(1, 2)
