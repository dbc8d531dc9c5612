"""BER read one element at a time: where records of a stream end, and records rewritten to definite lengths.

Nothing here raises: what cannot be read is told as `CUT` or `MALFORMED`.

Source: ITU-T X.690 §8.1 (identifier, length and end-of-contents octets).
"""

from __future__ import annotations

from typing import Final

DEPTH_MAX: Final = 32
"""Constructed elements are nested at most so deep."""

CUT: Final = -1
"""The bytes end before the element does."""

MALFORMED: Final = -2
"""No element begins here, or it is nested too deep."""

INDEFINITE: Final = -3
"""In place of a length: the content ends with end-of-contents octets."""

_HIGH: Final = 0x1F
_CONSTRUCTED: Final = 0x20
_OPEN: Final = 0x80


def header(data: bytes, at: int, limit: int) -> tuple[int, int]:
    """Read one header: (where the content begins, its length or INDEFINITE); the first is CUT or MALFORMED instead.

    A tag has at most three octets behind the first, a length at most four.
    """
    if at >= limit:
        return CUT, 0
    first = data[at]
    at += 1
    if first & _HIGH == _HIGH:
        last = at + 3
        while at < limit and at < last and data[at] >= 0x80:
            at += 1
        if at == last:
            return MALFORMED, 0
        at += 1
    if at >= limit:
        return CUT, 0
    length = data[at]
    at += 1
    if length < _OPEN:
        return at, length
    if length == _OPEN:
        return (at, INDEFINITE) if first & _CONSTRUCTED else (MALFORMED, 0)
    octets = length & 0x7F
    if octets > 4:
        return MALFORMED, 0
    if at + octets > limit:
        return CUT, 0
    return at + octets, int.from_bytes(data[at : at + octets], "big")


def end_of(data: bytes, at: int) -> int:
    """Return where the element that begins at `at` ends, end-of-contents octets included, or CUT or MALFORMED.

    What is inside a definite length is not looked at.
    """
    depth, limit = 0, len(data)
    while True:
        if depth and data[at : at + 2] == b"\0\0":
            at, depth = at + 2, depth - 1
        else:
            at, length = header(data, at, limit)
            if at < 0:
                return at
            if length == INDEFINITE:
                depth += 1
                if depth > DEPTH_MAX:
                    return MALFORMED
            else:
                at += length
        if at > limit:
            return CUT
        if depth == 0:
            return at


def definite(data: bytes) -> bytes | None:
    """Return one element with definite lengths throughout; None if it is no element, or bytes follow it."""
    pieces: list[bytes] = []
    at = _definite(data, 0, len(data), 0, pieces)
    return b"".join(pieces) if at == len(data) else None


def _definite(data: bytes, start: int, limit: int, depth: int, pieces: list[bytes]) -> int:
    """Append the element that begins at `start`, and return where it ends, or MALFORMED."""
    at, length = header(data, start, limit)
    stop = limit if length == INDEFINITE else at + length
    if at < 0 or stop > limit or depth > DEPTH_MAX:
        return MALFORMED
    if not data[start] & _CONSTRUCTED:
        pieces.append(data[start:stop])
        return stop
    inner: list[bytes] = []
    while True:
        if length == INDEFINITE and data[at : at + 2] == b"\0\0":
            at += 2
            break
        if at == stop:
            if length == INDEFINITE:
                return MALFORMED
            break
        at = _definite(data, at, stop, depth + 1, inner)
        if at < 0:
            return MALFORMED
    size = sum(map(len, inner))
    pieces.append(identifier(data, start) + length_octets(size))
    pieces.extend(inner)
    return at


def identifier(data: bytes, at: int) -> bytes:
    """Return the identifier octets of a header that can be read."""
    end = at + 1
    if data[at] & _HIGH == _HIGH:
        while data[end] >= 0x80:
            end += 1
        end += 1
    return data[at:end]


def length_octets(length: int) -> bytes:
    """Return a definite length in its shortest form."""
    if length < _OPEN:
        return bytes((length,))
    octets = (length.bit_length() + 7) // 8
    return bytes((_OPEN | octets,)) + length.to_bytes(octets, "big")
