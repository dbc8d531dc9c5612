"""Streams on their way in: counted and hashed as delivered, decompressed by what they are."""

from __future__ import annotations

import gzip
import hashlib
import io
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa

from schemas.errors import InputError

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_OTHERS: Final = {
    b"PK\x03\x04": "a ZIP archive or a spreadsheet (.xlsx, .ods)",
    b"\xd0\xcf\x11\xe0": "a spreadsheet (.xls)",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"7z\xbc\xaf": "a 7z archive",
    b"%PDF-": "a PDF",
}
_TAR: Final = (257, b"ustar")
"""Where a tar archive says what it is."""
_HEAD_BYTES: Final = 512
COMPRESSED: Final = (_GZIP, _ZSTD)
"""How streams begin that are decompressed."""
READ_BYTES: Final = 1 << 20


class CountingReader(io.RawIOBase):
    """Passes bytes on, counting and hashing them; `progress` hears the number of bytes so far."""

    def __init__(self, stream: BinaryIO, progress: Callable[[int], None] | None = None) -> None:
        self._stream = stream
        self._progress = progress
        self._hash = hashlib.sha256()
        self.size_bytes = 0

    def readable(self) -> bool:
        """Tell that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer, a piece that stays in the processor's cache until it is hashed."""
        view = memoryview(buffer).cast("B")[:READ_BYTES]
        size = read_into(self._stream, view)
        if size:
            self._hash.update(view[:size])
            self.size_bytes += size
            if self._progress is not None:
                self._progress(self.size_bytes)
        return size

    def drain(self) -> None:
        """Read what is left, so that the digest covers the whole delivery."""
        while self.read(READ_BYTES):
            pass

    @property
    def sha256(self) -> bytes:
        """The digest of what was read so far."""
        return self._hash.digest()


def read_into(stream: BinaryIO, view: memoryview) -> int:
    """Read once, without a copy where the stream is a file, a buffered one or memory; return how much, 0 at the end."""
    if isinstance(stream, io.BufferedReader | io.FileIO | io.BytesIO):
        return stream.readinto(view) or 0
    data = stream.read(len(view))
    view[: len(data)] = data
    return len(data)


class _Guarded(io.RawIOBase):
    """Turns a decompressor's errors into an InputError."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except (EOFError, gzip.BadGzipFile, zlib.error, OSError, pa.ArrowException) as error:
            raise InputError("the compressed delivery is damaged or cut off", hint="deliver the file again") from error
        buffer[: len(data)] = data
        return len(data)


def expanded(stream: BinaryIO) -> BinaryIO:
    """Return the stream, decompressed when its first bytes say gzip or zstd.

    Raises:
        InputError: it is an archive, a document, or compressed otherwise or twice; on reading: the compressed bytes
            are damaged or cut off.
    """
    plain = _expanded(io.BufferedReader(cast(io.RawIOBase, stream), READ_BYTES))
    _refuse_others(plain.peek(_HEAD_BYTES))
    return cast(BinaryIO, plain)


def _refuse_others(head: bytes) -> None:
    """Refuse what holds a delivery, or shows it, and is none."""
    at, mark = _TAR
    kind = "a tar archive" if head[at : at + len(mark)] == mark else None
    for sign, name in _OTHERS.items():
        if head.startswith(sign):
            kind = name
    if head.startswith(COMPRESSED):
        kind = "compressed twice"
    if kind is not None:
        raise InputError(f"the delivery is {kind}", hint="deliver the switch's file, as it is or with gzip or zstd")


def _expanded(buffered: io.BufferedReader) -> io.BufferedReader:
    head = buffered.peek(len(_ZSTD))
    if head.startswith(_GZIP):
        return io.BufferedReader(_Guarded(cast(BinaryIO, gzip.GzipFile(fileobj=buffered))), READ_BYTES)
    if head.startswith(_ZSTD):
        source = pa.CompressedInputStream(pa.PythonFile(buffered, mode="r"), "zstd")
        return io.BufferedReader(_Guarded(cast(BinaryIO, source)), READ_BYTES)
    return buffered
