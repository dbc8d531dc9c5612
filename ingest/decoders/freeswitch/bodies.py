"""Bodies of FreeSWITCH's mod_json_cdr, cut out of a stream and freed from their three encodings.

A body comes as JSON, as a form (`cdr=` and URL-encoded JSON) or as base64 (with or without `cdr=`): whatever the
Content-Type says, or does not say because `disable-100-continue` drops it, the body's first bytes tell. Files of the
error directory hold the encoded text without `cdr=`. A stream holds one body, one per line, bodies in a row without
anything between them, or indented JSON; the kinds may be mixed.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import islice
from typing import Any, BinaryIO, Final, NamedTuple
from urllib.parse import unquote_to_bytes

import orjson

from ingest.decoders.base import RECORD_BYTES_MAX
from ingest.decoders.freeswitch.walk import Legs, Walker
from ingest.window import WINDOW_BYTES, Window
from schemas.rejects import RejectReason

_TRIES_MAX: Final = 16
"""A value may look like the end of a body; so many places are tried."""

_ONE_BYTES_MAX: Final = 1 << 16
"""A longer line is first taken for several bodies: reading it whole for each of them would be quadratic."""

# Outside strings of valid JSON a closing brace is followed by `,`, `]`, `}` or the end: so these are ends of bodies.
# Inside strings, `}{"` is only what a string ends with, for there a quote has a backslash before it.
_END: Final = re.compile(rb"\}(?=[ \t\r\n]*\{[ \t\r\n]*\")|\}(?=[ \t\r]*\n[ \t\r\n]*[%0-9A-Za-z+/])")
_START: Final = re.compile(rb"\n\{|\{\"core-uuid\"")
_BASE64_WRAPS: Final = (64, 72, 76)
_BASE64: Final = re.compile(rb"[0-9A-Za-z+/]+={0,2}")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_PAIR: Final = re.compile(r'"([\w.\-]+)":"(.*?)"(?=,"[\w.\-]+":"|\Z)', re.DOTALL)


_Document = tuple[dict[str, Any], bytes, bool]
_Cut = tuple[_Document | None, int, RejectReason | None]


class Body(NamedTuple):
    """One body: where it is, and its document or why there is none.

    `text` is the document's JSON. `altered` says that bytes outside UTF-8 were replaced by U+FFFD: a field that holds
    one is not as delivered. `is_recoded`: another encoding than UTF-8 was declared for it.
    """

    position: int
    offset: int
    length_bytes: int
    document: dict[str, Any] | None
    reason: RejectReason | None = None
    text: bytes = b""
    altered: bool = False
    is_recoded: bool = False


def read_bodies(stream: BinaryIO, walker: Walker | None = None) -> Iterator[Body | Legs]:
    """Yield the stream's bodies in order; blank space between them is skipped.

    What `walker` takes comes as legs, and later than bodies behind them; positions tell the order. A body that is no
    JSON object ends at its line end, or where the next body evidently begins, and costs no other.

    Raises:
        InputError: the stream is UTF-16.
    """
    window = _Window(stream)
    position = 0
    while window.skip_space():
        if walker is not None:
            rows, legs = walker.walk(window, position + 1)
            position += rows
            if legs is not None:
                yield legs
            if rows:
                continue
        position += 1
        offset = window.offset
        if window.data[window.at] == 0x7B:
            document, end, reason = _cut_json(window)
        else:
            document, end, reason = _cut_line(window)
        window.at = end
        if reason is RejectReason.TOO_LONG:
            window.skip_body()
        length = window.offset - offset
        if document is None:
            yield Body(position, offset, length, None, reason)
        else:
            yield Body(position, offset, length, document[0], None, document[1], document[2])
    if walker is not None and (rest := walker.rest()) is not None:
        yield rest


def posted(deliveries: Sequence[bytes]) -> tuple[list[Body], list[int]]:
    """Return the bodies of many deliveries, positions going on, and the last position of each delivery's.

    Raises:
        InputError: one of them is UTF-16.
    """
    bodies: list[Body] = []
    ends = []
    for delivery in deliveries:
        try:
            document = orjson.loads(delivery)
        except orjson.JSONDecodeError:
            document = None
        if type(document) is dict:  # one JSON document is one body
            bodies.append(Body(len(bodies) + 1, 0, len(delivery), document, None, delivery))
        else:
            found = [body for body in read_bodies(BytesIO(delivery)) if isinstance(body, Body)]
            bodies += [body._replace(position=place) for place, body in enumerate(found, start=len(bodies) + 1)]
        ends.append(len(bodies))
    return bodies, ends


class _Window(Window):
    """The window on bodies; a long line is searched for its end once."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream, ahead_bytes=1)
        self._no_line_before = 0  # offset in the stream up to which there is no line end after `at`

    def line_end(self, stop: int) -> int:
        """Return where the line at `at` ends, before `stop`; -1 when it does not. A long line is searched once."""
        end = self.data.find(b"\n", max(self.at, self._no_line_before - self._base), stop)
        self._no_line_before = self._base + (stop if end < 0 else end)
        return end

    def skip_body(self) -> None:
        """Move to where a next body evidently begins: a line end, or the start or end of a JSON body."""
        while True:
            self._fill()
            ends = [self.data.find(b"\n", self.at)]
            ends += [found.end() for found in (_END.search(self.data, self.at),) if found]
            ends += [found.start() for found in (_START.search(self.data, self.at),) if found]
            ends = [end for end in ends if end >= 0]
            if ends:
                self.at = min(ends)
                return
            if self.ended:
                self.at = len(self.data)
                return
            self.at = len(self.data) - min(len(self.data) - self.at, 16)
            self._grow()

    def _grow(self) -> None:
        piece = self._stream.read(WINDOW_BYTES)
        self.ended = not piece
        self._base += self.at
        self.data = self.data[self.at :] + piece
        self.at = 0


def _cut_json(window: _Window) -> _Cut:
    """Return the JSON body at `window.at` with its end: its line if that reads, else to a brace where it reads."""
    data, at = window.data, window.at
    stop = min(len(data), at + RECORD_BYTES_MAX)
    whole = window.ended and len(data) - at <= RECORD_BYTES_MAX
    line = window.line_end(stop)
    line_end = line if line >= 0 else (len(data) if whole else -1)
    if at < line_end < at + _ONE_BYTES_MAX and (document := _load(data[at:line_end])) is not None:
        return document, line_end, None
    ends = []
    for found in islice(_END.finditer(data, at, stop), _TRIES_MAX):
        ends.append(found.end())
        if (document := _load(data[at : ends[-1]])) is not None:
            return document, ends[-1], None
    last = line_end if line_end >= at + _ONE_BYTES_MAX else len(data) if whole else at
    if last > at and (document := _load(data[at:last])) is not None:
        return document, last, None
    next_start = _START.search(data, at + 1, stop)
    cuts = ends[:1] + ([next_start.start()] if next_start else [])
    if data[at:line_end].strip() != b"{" and line_end >= 0:  # not indented JSON: at most its line is spoilt
        cuts.append(line_end)
    if cuts:
        return None, min(cuts), RejectReason.MALFORMED
    return None, *((len(data), RejectReason.MALFORMED) if whole else (stop, RejectReason.TOO_LONG))


def _cut_line(window: _Window) -> _Cut:
    """Return the encoded body at `window.at`, which ends at its line end; wrapped base64 goes on over lines."""
    data, at = window.data, window.at
    stop = min(len(data), at + RECORD_BYTES_MAX)
    end = data.find(b"\n", at, stop)
    if end < 0:
        if not (window.ended and len(data) - at <= RECORD_BYTES_MAX):
            return None, stop, RejectReason.TOO_LONG
        end = len(data)
    pieces = [data[at:end].rstrip()]
    wrapped = len(pieces[0].removeprefix(b"cdr=")) in _BASE64_WRAPS or len(pieces[0]) in _BASE64_WRAPS
    while wrapped and end < len(data):
        next_end = data.find(b"\n", end + 1, stop)
        next_end = next_end if next_end >= 0 else (len(data) if window.ended else stop)
        piece = data[end + 1 : next_end].rstrip()
        if len(piece) > max(_BASE64_WRAPS) or not _BASE64.fullmatch(piece):
            break
        pieces.append(piece)
        end, wrapped = next_end, len(piece) in _BASE64_WRAPS
    document = _unwrap(b"".join(pieces))
    if document is None and len(pieces) > 1:
        end = data.find(b"\n", at, stop)
    return document, end, None if document else RejectReason.MALFORMED


def _unwrap(body: bytes) -> _Document | None:
    """Return the document of a form or base64 body."""
    if body.startswith(b"cdr={") and (document := _load(body[4:])) is not None:
        return document
    for field in body.split(b"&") if b"=" in body[:64] else (body,):
        value = field.removeprefix(b"cdr=")
        if value.startswith((b"%7B", b"%7b", b"{")):
            # A plus is a space in a form; FreeSWITCH itself writes %2B and %20, never a bare plus.
            text = _unquote(value.replace(b"+", b" "))
            return _load(text) or _load_ambiguous(text)
        if value.startswith((b"ey", b"ew")):
            value = unquote_to_bytes(value) if b"%" in value else value
            try:
                return _load(binascii.a2b_base64(value + b"=" * (-len(value) % 4), strict_mode=False))
            except binascii.Error:
                return None
    return None


def _unquote(value: bytes) -> bytes:
    """Undo URL encoding; where it can, by the library's quoted-printable decoder, which is 20 x faster."""
    if b"=" in value or b"\n" in value or _BAD_ESCAPE.search(value):
        return unquote_to_bytes(value)
    return binascii.a2b_qp(value.replace(b"%", b"="))


def _load(text: bytes) -> _Document | None:
    """Return a JSON object, and whether bytes outside UTF-8 had to be replaced."""
    try:
        document = orjson.loads(text)
        return (document, text, False) if type(document) is dict else None
    except orjson.JSONDecodeError:
        pass
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        try:
            text = text.decode("utf-8", "replace").encode()
            document = orjson.loads(text)
        except orjson.JSONDecodeError:
            return None
        return (document, text, True) if type(document) is dict else None
    return None


def _load_ambiguous(text: bytes) -> _Document | None:
    """Read a form body whose values held encoded quotes.

    With `encode-values`, FreeSWITCH does not encode the percent signs of its values again when it encodes the form: a
    quote inside a value (every `caller_id` has two) can no longer be told from one that ends a value. A value here
    ends where `","name":"` follows. A caller may have put that into his display name: then a name is there twice, and
    the body is refused.
    """
    try:
        decoded = text.decode("utf-8")
        head, _, rest = decoded.partition('"variables":{"')
        section, mark, tail = rest.partition('"},"app_log":')
        if not mark:
            section, mark, tail = rest.partition('"},"callflow":')
            tail = '"callflow":' + tail
        else:
            tail = '"app_log":' + tail
        if not mark:
            return None
        section = f'"{section}"'
        found = [(pair.group(1), pair.group(2)) for pair in _PAIR.finditer(section)]
        pairs = dict(found)
        if len(found) != len(pairs) or section != ",".join(f'"{name}":"{value}"' for name, value in found):
            return None
        document = orjson.loads(head + '"variables":{}}')
        document |= orjson.loads("{" + tail)
        document["variables"] = pairs
    except (UnicodeDecodeError, orjson.JSONDecodeError, TypeError):
        return None
    return document, orjson.dumps(document), False
