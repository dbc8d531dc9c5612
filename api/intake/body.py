"""A request's body on its way into a decoder: a bounded pipe from the event loop to a thread, limits, decompression.

Memory stays bounded whatever the body's size: the pipe holds `bytes_max`, gzip expands 64 KiB at a time, zstd at most
its window (128 MiB). A fault (too large, cut off, not gzip) is raised to the decoder as `InputError` and raised again
at every further read, so that no decoder mistakes it for the end; nothing of the delivery is committed.

Source: RFC 1952 (gzip, several members), RFC 8878 (zstd), RFC 9110 section 8.4 (content coding).
"""

from __future__ import annotations

import asyncio
import io
import threading
import zlib
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast

import pyarrow as pa

from schemas.errors import InputError, LagrumError

if TYPE_CHECKING:
    from collections.abc import Callable

STEP_BYTES: Final = 64 << 10
BUFFER_BYTES: Final = 1 << 20
CODINGS: Final = ("identity", "gzip", "zstd")
MAGIC: Final = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_MAGIC_BYTES: Final = 4
_GZIP_BITS: Final = 31


class BodyPipe(io.RawIOBase):
    """Bytes from one event loop to one reading thread; at most about `bytes_max` wait in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, bytes_max: int) -> None:
        self._loop = loop
        self._bytes_max = bytes_max
        self._chunks: deque[memoryview] = deque()
        self._size = 0
        self._ended = False
        self._error: LagrumError | None = None
        self._reader_gone = False
        self._room = asyncio.Event()
        self._condition = threading.Condition()

    async def feed(self, chunk: bytes) -> bool:
        """Put bytes in; wait while it is full. False when nobody reads any more."""
        with self._condition:
            if self._reader_gone:
                return False
            self._chunks.append(memoryview(chunk))
            self._size += len(chunk)
            full = self._size >= self._bytes_max
            self._room.clear()
            self._condition.notify()
        if full:
            await self._room.wait()
        return not self._reader_gone

    def end(self) -> None:
        """Say that the body is complete."""
        with self._condition:
            self._ended = True
            self._condition.notify()

    def fail(self, error: LagrumError) -> None:
        """Say that the body does not come to its end."""
        with self._condition:
            self._error = error
            self._condition.notify()

    def abandon(self) -> None:
        """Say, from the reader's side, that nobody reads any more."""
        with self._condition:
            self._reader_gone = True
            self._chunks.clear()
            self._size = 0
        self._make_room()

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` with what is there, and return how many bytes; wait for the first one, 0 at the end.

        Raises:
            LagrumError: The body does not come to its end, as `fail` was told.
        """
        with self._condition:
            while not self._chunks and not self._ended and self._error is None:
                self._condition.wait()
            if self._error is not None:
                raise self._error
            if not self._chunks:
                return 0
            chunk = self._chunks.popleft()
            count = min(len(chunk), len(buffer))
            buffer[:count] = chunk[:count]
            if count < len(chunk):
                self._chunks.appendleft(chunk[count:])
            self._size -= count
            room = self._size < self._bytes_max // 2
        if room:
            self._make_room()
        return count

    def _make_room(self) -> None:
        # The loop is closed only when the service stops; then nobody waits for room.
        if not self._room.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._room.set)


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may cost; all in bytes but the ratio."""

    body_bytes_max: int
    expanded_bytes_max: int
    expansion_ratio_max: int
    expansion_free_bytes: int


class DeliveredBody(io.RawIOBase):
    """The expanded body, counted on both sides; `too_large` tells a limit from other faults."""

    def __init__(self, raw: BinaryIO, coding: str, limits: BodyLimits) -> None:
        self._raw = raw
        self._limits = limits
        self._error: LagrumError | None = None
        self.too_large = False
        self.received_bytes = 0
        self.expanded_bytes = 0
        self._coding = coding
        self._unread = b""
        self._held = b""
        self._started = False
        self._read = self._receive

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill `buffer` with expanded bytes.

        Raises:
            InputError: a limit, a damaged or cut-off body; and again at every further call.
        """
        if self._error is not None:
            raise self._error
        try:
            if not self._started:
                self._start()
            if self._held:
                data, self._held = self._held[: len(buffer)], self._held[len(buffer) :]
            else:
                data = self._counted(min(len(buffer), STEP_BYTES))
        except LagrumError as error:
            self._error = error
            raise
        buffer[: len(data)] = data
        return len(data)

    @property
    def error(self) -> LagrumError | None:
        """The fault that ended the body early."""
        return self._error

    def buffered(self) -> BinaryIO:
        """Return the stream as decoders take it."""
        return cast(BinaryIO, io.BufferedReader(self, BUFFER_BYTES))

    def _start(self) -> None:
        """Choose the expansion, by the header or by the first bytes; what comes out is not expanded again.

        Later stages expand what looks compressed, without limits: nothing that does may get past here.
        """
        self._started = True
        if self._coding == "identity":
            self._unread = _first(self._receive)
            self._coding = next((name for magic, name in MAGIC.items() if self._unread.startswith(magic)), "identity")
        if self._coding == "gzip":
            self._read = _Gunzip(self._receive).read
        elif self._coding == "zstd":
            self._read = _Unzstd(self._receive).read
        self._held = _first(self._counted)
        if any(self._held.startswith(magic) for magic in MAGIC):
            raise InputError("the body is compressed twice")

    def _receive(self, size: int) -> bytes:
        if self._unread:
            data, self._unread = self._unread[:size], self._unread[size:]
            return data
        data = self._raw.read(size) or b""
        self.received_bytes += len(data)
        if self.received_bytes > self._limits.body_bytes_max:
            raise self._refusal("the body is larger than the limit")
        return data

    def _counted(self, size: int) -> bytes:
        data = self._read(size)
        self.expanded_bytes += len(data)
        if self.expanded_bytes > self._limits.expanded_bytes_max:
            raise self._refusal("the body expands beyond the limit")
        if (
            self.expanded_bytes > self._limits.expansion_free_bytes
            and self.expanded_bytes > self.received_bytes * self._limits.expansion_ratio_max
        ):
            raise self._refusal("the body expands beyond the allowed ratio")
        return data

    def _refusal(self, message: str) -> InputError:
        self.too_large = True
        return InputError(message, hint="deliver it in several smaller bodies")


def _first(read: Callable[[int], bytes]) -> bytes:
    """Return at least the bytes that tell a compressed stream, less only at the end."""
    head = b""
    while len(head) < _MAGIC_BYTES:
        data = read(STEP_BYTES)
        if not data:
            break
        head += data
    return head


class _Gunzip:
    """Expands gzip, one member after the other, never more than asked for."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive
        self._inflate = zlib.decompressobj(_GZIP_BITS)
        self._pending = b""
        self._inside = False

    def read(self, size: int) -> bytes:
        while True:
            received = self._fill()
            if not received and not self._inside:
                return b""
            self._inside = True
            try:
                # With nothing received this still yields what the window holds back.
                data = self._inflate.decompress(self._pending, size)
            except zlib.error:
                raise InputError("the body is not gzip, or it is damaged") from None
            self._pending = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._pending = self._inflate.unused_data.lstrip(b"\0")
                self._inflate = zlib.decompressobj(_GZIP_BITS)
                self._inside = False
            if data:
                return data
            if not received and self._inside:
                raise InputError("the gzip body is cut off")

    def _fill(self) -> bool:
        """Make sure that there is input; zeros between and after members are padding."""
        while not self._pending:
            self._pending = self._receive(STEP_BYTES)
            if not self._pending:
                return False
            if not self._inside:
                self._pending = self._pending.lstrip(b"\0")
        return True


class _Unzstd:
    """Expands zstd through Arrow's codec."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._stream = pa.CompressedInputStream(pa.PythonFile(_Receiver(receive), mode="r"), "zstd")

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._stream.read(size))
        except OSError:
            raise InputError("the body is not zstd, or it is damaged or cut off") from None


class _Receiver(io.RawIOBase):
    def __init__(self, receive: Callable[[int], bytes]) -> None:
        self._receive = receive

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._receive(len(buffer))
        buffer[: len(data)] = data
        return len(data)
