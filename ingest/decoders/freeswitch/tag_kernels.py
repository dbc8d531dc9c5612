"""Compiled reading of XML's tokens, as far as switches write them: names, texts, blanks, the declaration (ADR 38).

A control byte other than a blank ends every search.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ingest.decoders.freeswitch.leg_values_kernels import helper
from ingest.decoders.word_kernels import (
    ampersands32,
    controls32,
    ctz,
    greater32,
    high32,
    less32,
    load8,
    load32,
    load64,
)

TEXT_BYTES_MAX: Final = 1 << 16
_LESS: Final = 0x3C
_AMPERSAND: Final = 0x26
_SPACE: Final = 0x20
_NEWLINE: Final = 0x0A
_RETURN: Final = 0x0D
_TAB: Final = 0x09
_U = np.uint64
_FIRST: Final = np.array(
    [chr(byte).isascii() and (chr(byte).isalpha() or byte == 0x5F) for byte in range(256)], np.bool_
)
_LATER: Final = _FIRST | np.array([chr(byte) in "0123456789-." for byte in range(256)], np.bool_)


def _word(text: bytes) -> Any:
    return _U(int.from_bytes(text, "little"))


_LT: Final = 0x3B74_6C26
_GT: Final = 0x3B74_6726
_AMP: Final = _word(b"&amp;")
_QUOT: Final = _word(b"&quot;")
_XML_VERSION: Final = _word(b"<?xml ve")
_VERSION: Final = _word(b'rsion="1')
_DECLARATION: Final = _word(b'.0"?>')
_ENCODED_A: Final = _word(b'.0" enco')
_ENCODED_B: Final = _word(b'ding="ut')
_ENCODED_C: Final = _word(b'f-8"?>')
_LOWER: Final = _word(b"\0\0\0\0\0\0  ")
_LOWER_C: Final = _word(b" \0\0\0\0\0")
_SIX: Final = _U(0xFFFF_FFFF_FFFF)
_FIVE: Final = _U(0xFF_FFFF_FFFF)


def _text(at: Any) -> Any:
    """Return the bytes of a text up to the next tag (-1: it is left to the twin), whether it is as it
    stands, and 1 if some byte may not be ASCII."""
    length, plain, wild = np.int64(0), True, _U(0)
    while length < TEXT_BYTES_MAX:
        less = less32(at + length)
        stops = less | greater32(at + length) | ampersands32(at + length) | controls32(at + length)
        wild |= high32(at + length)
        if stops == _U(0):
            length += 32
            continue
        length += np.int64(ctz(stops))
        byte = load8(at + length)
        if byte == _LESS:
            return length, plain, np.int64(wild != _U(0))
        if byte == _AMPERSAND:
            word = load32(at + length)
            plain = False
            if word in (_LT, _GT):
                length += 4
            elif load64(at + length) & _FIVE == _AMP:
                length += 5
            elif load64(at + length) & _SIX == _QUOT:
                length += 6
            else:
                break
        elif byte in (_NEWLINE, _TAB):
            length += 1
        elif byte == _RETURN:
            plain = False
            length += 1
        else:
            break
    return np.int64(-1), plain, np.int64(0)


text_of: Any = helper(_text)


def _name_bytes(at: Any) -> Any:
    """Return the bytes of a name; 0 when there is none."""
    if not _FIRST[load8(at)]:
        return np.int64(0)
    length = np.int64(1)
    while _LATER[load8(at + length)]:
        length += 1
    return length


name_bytes: Any = helper(_name_bytes)


def _behind_blanks(at: Any) -> Any:
    while load8(at) == _SPACE or load8(at) == _NEWLINE or load8(at) == _TAB or load8(at) == _RETURN:
        at += 1
    return at


behind_blanks: Any = helper(_behind_blanks)


def _behind_declaration(at: Any) -> Any:
    """Return the address behind a declaration of XML 1.0 in UTF-8, or the address itself."""
    if load64(at) != _XML_VERSION or load64(at + 8) != _VERSION:
        return at
    if load64(at + 16) & _FIVE == _DECLARATION:
        return at + 21
    same_encoding = load64(at + 24) | _LOWER == _ENCODED_B and (load64(at + 32) & _SIX) | _LOWER_C == _ENCODED_C
    return at + 38 if load64(at + 16) == _ENCODED_A and same_encoding else at


behind_declaration: Any = helper(_behind_declaration)


def _has_noncharacter(at: Any, end: Any) -> Any:
    """Tell whether three bytes are there that UTF-8 allows and XML does not (U+FFFE, U+FFFF), or their neighbours."""
    found = False
    for place in range(at, end - 1):
        found |= load8(place) == 0xEF and load8(place + 1) == 0xBF
    return found


has_noncharacter: Any = helper(_has_noncharacter)
