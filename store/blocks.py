"""Block files: small sealed blocks that can be read one by one, for what must be found without reading the rest.

    magic "LGBLOCK1"
    block 0 .. n-1    each AES-256-GCM ciphertext and tag
    directory         sealed like a block: n + 1 offsets, 8 bytes each, little endian
    trailer           n (4 bytes) and the directory's offset (8 bytes), little endian; magic

The file's key is derived from its partition's key and its own id, and its bytes are written once, so the block's number
is its nonce (NIST SP 800-38D, 8.2.1). The associated data is the file's binding and the number: blocks swapped within a
file, or between files, do not authenticate. One read and one decryption cost about 15 µs.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from schemas.errors import IntegrityError
from store import files
from store.binding import FileBinding
from store.syncing import Syncs

MAGIC: Final = b"LGBLOCK1"
BLOCKS_MAX: Final = 2**32 - 2
_PURPOSE: Final = "block-file"
_DIRECTORY: Final = 2**32 - 1
_TRAILER: Final = struct.Struct("<IQ8s")
_STRETCH: Final = struct.Struct("<QQ")
_TAG_BYTES: Final = 16
_CLOSED: Final = -1
_ANEW: Final = -2


def encode(blocks: Sequence[bytes | bytearray | memoryview], binding: FileBinding, partition_key: bytes) -> bytearray:
    """Return the bytes of a block file: the magic, each block sealed by itself, the sealed directory of their places.

    Raises:
        ValueError: There are more than `BLOCKS_MAX` blocks.
    """
    if len(blocks) > BLOCKS_MAX:
        raise ValueError("too many blocks for one file")
    encrypt, whole = AESGCM(binding.key(partition_key, _PURPOSE)).encrypt, binding.aad + b"|"
    sealed = [
        encrypt(number.to_bytes(12, "big"), block, whole + number.to_bytes(4, "big"))
        for number, block in enumerate(blocks)
    ]
    offsets = np.full(len(blocks) + 1, len(MAGIC), "<u8")
    np.cumsum(np.fromiter(map(len, sealed), "<u8", len(sealed)), out=offsets[1:])
    offsets[1:] += len(MAGIC)
    directory = int(offsets[-1])
    data = bytearray().join((MAGIC, *sealed))
    data += encrypt(_DIRECTORY.to_bytes(12, "big"), offsets.tobytes(), whole + _DIRECTORY.to_bytes(4, "big"))
    data += _TRAILER.pack(len(blocks), directory, MAGIC)
    return data


def write(
    path: Path,
    blocks: Sequence[bytes | bytearray | memoryview],
    binding: FileBinding,
    partition_key: bytes,
    syncs: Syncs | None = None,
) -> tuple[int, bytearray]:
    """Write a block file; return its size in bytes, and the bytes.

    It is durable but for its directory entry, or with `syncs` once these are finished.
    """
    data = encode(blocks, binding, partition_key)
    files.create_private(path)
    with path.open("r+b", buffering=0) as stream:
        (files.append_durable if syncs is None else files.append)(stream, data)
    if syncs is not None:
        syncs.add(path)
    return len(data), data


def load(path: str, binding: FileBinding, partition_key: bytes) -> list[bytes]:
    """Return all blocks of a small file, which is opened, read and closed at once: some 15 µs, half of them its key.

    Raises:
        IntegrityError: the file is missing, cut short or changed, or is another file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise IntegrityError(f"{binding} is missing") from error
    try:
        data = memoryview(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    finally:
        os.close(descriptor)
    end = len(data) - _TRAILER.size
    if end < len(MAGIC) + _TAG_BYTES + 8:
        raise IntegrityError(f"{binding} does not authenticate")
    count, directory, magic = _TRAILER.unpack_from(data, end)
    if magic != MAGIC or bytes(data[: len(MAGIC)]) != MAGIC or end - directory != (count + 1) * 8 + _TAG_BYTES:
        raise IntegrityError(f"{binding} does not authenticate")
    decrypt, whole = AESGCM(binding.key(partition_key, _PURPOSE)).decrypt, binding.aad + b"|"

    def opened(number: int, first: int, last: int) -> bytes:
        return decrypt(number.to_bytes(12, "big"), data[first:last], whole + number.to_bytes(4, "big"))

    try:
        places = struct.unpack(f"<{count + 1}Q", opened(_DIRECTORY, directory, end))
        return [opened(number, places[number], places[number + 1]) for number in range(count)]
    except InvalidTag as error:
        raise IntegrityError(f"{binding} does not authenticate") from error


class BlockFile:
    """A block file that is open for reading; safe for threads.

    It holds the file's key: whoever keeps it open closes it when the partition's key is destroyed, or its lease ends.
    """

    def __init__(self, path: Path, binding: FileBinding, partition_key: bytes, *, hold: bool = True) -> None:
        """Open and authenticate the directory; without `hold` every read opens the file anew (3 µs, no descriptor).

        Raises:
            IntegrityError: the file is missing, cut short or changed, or is another file.
        """
        self._binding, self._aad = binding, binding.aad + b"|"
        self._cipher = AESGCM(binding.key(partition_key, _PURPOSE))
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise IntegrityError(f"{binding} is missing") from error
        try:
            self._directory = self._read_directory()
        except BaseException:
            os.close(self._fd)
            raise
        self._count = len(self._directory) // 8 - 1
        self._path = os.fspath(path)
        if not hold:
            self.close()
            self._fd = _ANEW

    def __enter__(self) -> BlockFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        """Return the number of blocks."""
        return self._count

    def close(self) -> None:
        """Close the file; nothing can be read any more."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = _CLOSED

    def read(self, number: int) -> bytes:
        """Return one block.

        Raises:
            IntegrityError: it does not authenticate.
        """
        return self.read_some((number,))[0]

    def read_range(self, first: int, last: int) -> list[bytes]:
        """Return the blocks [first, last) with one read.

        Raises:
            IntegrityError: one of them does not authenticate.
        """
        offsets = np.frombuffer(self._directory, "<u8")[first : last + 1].tolist()
        start = offsets[0]
        descriptor, anew = self._descriptor()
        try:
            data = memoryview(os.pread(descriptor, offsets[-1] - start, start))
        finally:
            if anew:
                os.close(descriptor)
        places = [offset - start for offset in offsets]
        return [self._open(first + at, data[places[at] : places[at + 1]]) for at in range(last - first)]

    def read_some(self, numbers: Iterable[int]) -> list[bytes]:
        """Return these blocks, in their order; the file is opened once for all of them.

        Raises:
            IntegrityError: one of them does not authenticate.
        """
        descriptor, anew = self._descriptor()
        sealed = []
        try:
            for number in numbers:
                if number >= self._count:
                    raise IndexError("a block file has no such block")
                first, last = _STRETCH.unpack_from(self._directory, 8 * number)
                sealed.append((number, os.pread(descriptor, last - first, first)))
        finally:
            if anew:
                os.close(descriptor)
        return [self._open(number, data) for number, data in sealed]

    def _descriptor(self) -> tuple[int, bool]:
        """Return a descriptor, and whether the caller closes it: never one that somebody else closes meanwhile."""
        held = self._fd
        if held != _ANEW:
            return held, False
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC), True
        except FileNotFoundError as error:
            raise IntegrityError(f"{self._binding} is missing") from error

    def _open(self, number: int, sealed: bytes | memoryview) -> bytes:
        try:
            return self._cipher.decrypt(number.to_bytes(12, "big"), sealed, self._aad + number.to_bytes(4, "big"))
        except InvalidTag as error:
            raise self._refused() from error

    def _read_directory(self) -> bytes:
        size = os.fstat(self._fd).st_size
        if size < len(MAGIC) + _TAG_BYTES + 8 + _TRAILER.size:
            raise self._refused()
        count, directory, magic = _TRAILER.unpack(os.pread(self._fd, _TRAILER.size, size - _TRAILER.size))
        length = size - _TRAILER.size - directory
        if magic != MAGIC or os.pread(self._fd, len(MAGIC), 0) != MAGIC or length != (count + 1) * 8 + _TAG_BYTES:
            raise self._refused()
        return self._open(_DIRECTORY, os.pread(self._fd, length, directory))

    def _refused(self) -> IntegrityError:
        return IntegrityError(f"{self._binding} does not authenticate")
