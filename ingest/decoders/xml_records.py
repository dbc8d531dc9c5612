"""Records that are XML elements of one name, cut out of a stream one by one, and read without a document type.

A stream may hold one document per record, one document of many records, or fragments in a row: the elements count, what
is known to stand around them (declaration, document type, comment, root) does not, and any other line is a reject.
So one damaged record costs itself alone, and memory is bounded by one record.

A document type inside a record is refused before anything is parsed: no entity is ever declared, expanded or fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, NamedTuple
from xml.etree.ElementTree import Element, ParseError, XMLParser

from ingest.decoders.base import RECORD_BYTES_MAX
from ingest.window import Window
from schemas.rejects import RejectReason

UTF8: Final = "utf-8"
_TAGS_MAX: Final = 20_000
"""A record with more tags is no record of a switch."""

_AHEAD_BYTES: Final = 1024  # a mark that is cut by the window's end is at most so long

_DECLARATION: Final = rb"<\?xml\s[^<>]{0,200}\?>"
_DOCUMENT: Final = re.compile(rb"<\?xml(?=\s)")
_ENCODING: Final = re.compile(rb"encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_ENCODINGS: Final = {b"iso-8859-1": "iso-8859-1", b"latin1": "iso-8859-1", b"us-ascii": "us-ascii"}
_DOCTYPE: Final = re.compile(rb"<![A-Za-z]")
_BASE64_WRAPS: Final = (64, 72, 76)
_BASE64: Final = re.compile(rb"[0-9A-Za-z+/]+={0,2}")


class Piece(NamedTuple):
    """One record: an element, or a line that holds none.

    `encoding` is what the declaration before it says. `reason` is set on what is no whole element.
    """

    offset: int
    data: bytes
    length_bytes: int
    is_element: bool
    encoding: str
    reason: RejectReason | None = None


class Marks:
    """What a format's records look like: the element's name, and what may stand around it."""

    def __init__(self, tag: str, around: str) -> None:
        name = tag.encode()
        self.start = re.compile(rb"<%b(?=[\s/>])" % name)
        self.end = re.compile(rb"</%b\s*>" % name)
        idle = _DECLARATION + rb"|<!DOCTYPE[^\[\]<>]{0,300}>|<!--[^<>]{0,400}-->|" + around.encode()
        self.idle = re.compile(idle)

    def next(self, data: bytes, start: int, stop: int) -> int:
        """Return where the next record or document begins, -1 if none does. Two searches beat one of both."""
        element = self.start.search(data, start, stop)
        stop = element.start() if element else stop
        document = _DOCUMENT.search(data, start, stop)
        return document.start() if document else stop if element else -1


def read_pieces(
    stream: BinaryIO,
    marks: Marks,
    joins: Callable[[bytes], bool] | None = None,
    take: Callable[[Window, str], bool] | None = None,
) -> Iterator[Piece | None]:
    """Yield the stream's records in order.

    Args:
        stream: where from.
        marks: the format's.
        take: moves the window behind records that it takes itself, given the encoding that was declared, and tells
            whether there were any; None is yielded for them then.
        joins: for formats whose lines may be base64 wrapped over several lines: whether the joined text is a record.

    Raises:
        InputError: the stream is UTF-16.
    """
    window = _Window(stream)
    encoding = UTF8
    while window.skip_space():
        data, at = window.data, window.at
        if take is not None:
            if take(window, encoding):
                yield None
            if window.at != at or window.data is not data:
                continue
        idle = marks.idle.match(data, at)
        if idle is not None:
            if idle.group().startswith(b"<?xml"):
                named = _ENCODING.search(idle.group())
                encoding = _ENCODINGS.get(named.group(1).lower(), UTF8) if named else UTF8
            window.at = idle.end()
            continue
        offset = window.offset
        if marks.start.match(data, at):
            end, reason = _element_end(window, marks, at)
            is_element = True
        else:
            end, reason, is_element = _line_end(window, marks)
        piece = data[at:end] if reason is not RejectReason.TOO_LONG else b""
        window.at = end
        if reason is RejectReason.TOO_LONG:
            window.skip_to(marks.next if is_element else _next_line)
        elif not is_element and joins is not None:
            piece = _joined(window, piece, joins)
        yield Piece(offset, piece, window.offset - offset, is_element, encoding, reason)


def parse_element(data: bytes, encoding: str = "utf-8") -> Element | None:
    """Return the root of a whole document or element, None when it is not well-formed or declares a document type.

    The encoding is forced, so the bytes that are looked at for a document type are those that the parser reads.
    """
    if _DOCTYPE.search(data) or data.count(b"<") > _TAGS_MAX:
        return None
    parser = XMLParser(encoding=encoding)  # noqa: S314 (no document type: nothing is declared that could expand)
    try:
        parser.feed(data)
        return parser.close()
    except (ParseError, ValueError):
        return None


class _Window(Window):
    """The window on XML records."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, ahead_bytes=_AHEAD_BYTES)

    def skip_to(self, find: Callable[[bytes, int, int], int]) -> None:
        """Move to where `find` finds something, however far; to the end of the stream if it never does."""
        while True:
            found = find(self.data, self.at, len(self.data))
            if found >= 0:
                self.at = found
                return
            if self.ended:
                self.at = len(self.data)
                return
            self.at = max(self.at, len(self.data) - _AHEAD_BYTES)
            self._fill()


def _next_line(data: bytes, start: int, stop: int) -> int:
    return data.find(b"\n", start, stop)


def _element_end(window: _Window, marks: Marks, at: int) -> tuple[int, RejectReason | None]:
    """Return where the element at `at` ends; before the next one begins, if it does not."""
    limit = min(len(window.data), at + RECORD_BYTES_MAX)
    following = marks.next(window.data, at + 1, limit)
    found = marks.end.search(window.data, at + 1, following if following >= 0 else limit)
    if found is not None:
        return found.end(), None
    if following >= 0:
        return following, RejectReason.MALFORMED
    if window.ended and len(window.data) - at <= RECORD_BYTES_MAX:
        return len(window.data), RejectReason.MALFORMED
    return limit, RejectReason.TOO_LONG


def _line_end(window: _Window, marks: Marks) -> tuple[int, RejectReason | None, bool]:
    """Return where the line at the window ends, and whether it runs into an element, which it spoils."""
    data, at = window.data, window.at
    limit = min(len(data), at + RECORD_BYTES_MAX)
    line_end = data.find(b"\n", at, limit)
    spoilt = marks.start.search(data, at, line_end if line_end >= 0 else limit)
    if spoilt is not None:
        end, reason = _element_end(window, marks, spoilt.start())
        return end, reason or RejectReason.MALFORMED, True
    if line_end >= 0:
        return line_end, None, False
    if window.ended and len(data) - at <= RECORD_BYTES_MAX:
        return len(data), None, False
    return limit, RejectReason.TOO_LONG, False


def _joined(window: _Window, line: bytes, joins: Callable[[bytes], bool]) -> bytes:
    """Return a line of base64 with the lines that it goes on over, if these together are a record."""
    first = line.rstrip()
    width = len(first.partition(b"=")[2]) if b"=" in first[:8] else len(first)
    if width not in _BASE64_WRAPS:
        return line
    data, end = window.data, window.at
    pieces = [first]
    limit = end + RECORD_BYTES_MAX
    while end < len(data):
        following = data.find(b"\n", end + 1, limit)
        following = following if following >= 0 else min(len(data), limit)
        piece = data[end + 1 : following].rstrip()
        if len(piece) > max(_BASE64_WRAPS) or not _BASE64.fullmatch(piece):
            break
        pieces.append(piece)
        end = following
        if len(piece) not in _BASE64_WRAPS:
            break
    joined = b"".join(pieces)
    if len(pieces) == 1 or not joins(joined):
        return line
    window.at = end
    return joined
