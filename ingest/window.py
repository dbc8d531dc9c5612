"""A moving window on a byte stream, for formats whose records are no lines; memory stays bounded."""

from __future__ import annotations

import re
from typing import BinaryIO, Final

from ingest.decoders.base import RECORD_BYTES_MAX
from schemas.errors import InputError

WINDOW_BYTES: Final = 4 * RECORD_BYTES_MAX
_SPACE: Final = re.compile(rb"[ \t\r\n]*")


class Window:
    """The part of the stream around `at`: one longest record and `ahead_bytes` more, unless the stream ends.

    A UTF-8 byte order mark is skipped.

    Raises:
        InputError: the stream is UTF-16.
    """

    def __init__(self, stream: BinaryIO, *, ahead_bytes: int) -> None:
        self._stream = stream
        self._ahead_bytes = ahead_bytes
        self._base = 0
        self.data = b""
        self.at = 0
        self.ended = False
        self._fill()
        if self.data.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError("the delivery is UTF-16", hint="deliver it as UTF-8")
        if self.data.startswith(b"\xef\xbb\xbf"):
            self.at = 3

    @property
    def offset(self) -> int:
        """Return the stream's offset of `at`."""
        return self._base + self.at

    def skip_space(self) -> bool:
        """Move to the next byte that is no space; return False at the end of the stream."""
        while True:
            self._fill()
            found = _SPACE.match(self.data, self.at)
            self.at = found.end() if found else self.at
            if self.at < len(self.data):
                self._fill()
                return True
            if self.ended:
                return False

    def _fill(self) -> None:
        if self.ended or len(self.data) - self.at > RECORD_BYTES_MAX + self._ahead_bytes:
            return
        pieces = [self.data[self.at :]] if self.at < len(self.data) else []  # one piece alone is not copied
        size = sum(map(len, pieces))
        while size < WINDOW_BYTES:
            piece = self._stream.read(WINDOW_BYTES - size)
            if not piece:
                self.ended = True
                break
            pieces.append(piece)
            size += len(piece)
        self._base += self.at
        self.at = 0
        self.data = b"".join(pieces)
