"""Times of RADIUS packets: Event-Timestamp as FreeRADIUS writes it, and Cisco's h323 times.

Many packets are of few minutes, and within a minute a zone keeps its offset. So a column is read minute by minute: the
text with its seconds put to 00 is read once, and the seconds are added. What looks any other way is read by itself.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ingest import times
from ingest.decoders.slices import Column, compute
from schemas.buffers import Bytes, Ints, Mask

_EVENT_TIME = re.compile(r"([A-Z][a-z]{2}) ([ 0-9]?[0-9]) ([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) (\S{1,8})")
_H323_TIME = re.compile(
    r"(?:h323-[a-z-]+=)?[*.]?([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))? (\S{1,8}) [A-Z][a-z]{2} "
    r"([A-Z][a-z]{2}) ([ 0-9]?[0-9]) ([0-9]{4})"
)
_EPOCH = re.compile(r"[0-9]{9,11}")
_YEAR_WHOLE: Final = 1972
"""Since then every zone changes its offset at a whole minute."""

_SECONDS: Final = {24: 18, 23: 17, 25: 18, 26: 18}
"""By the length of a text, where its seconds stand, if they stand where they mostly do."""

_ZERO, _COLON, _SPACE = ord("0"), ord(":"), ord(" ")


def moments_us(column: Column, zone: times.ZoneTimes | None) -> Column:
    """Return the times of a text column in µs, null where one cannot be read."""
    rows = len(column)
    result, known = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
    lengths = np.asarray(compute.fill_null(compute.binary_length(column), 0), np.int64)
    left = lengths > 0
    for length, place in _SECONDS.items():
        group = np.flatnonzero(lengths == length)
        if len(group):
            _by_minute(column.take(pa.array(group)), (length, place), zone, (group, result, known, left))
    rest = np.flatnonzero(left)
    if len(rest):
        encoded = column.take(pa.array(rest)).dictionary_encode()
        found = [moment_us(text, zone) for text in encoded.dictionary.to_pylist()]
        values = np.array([one or 0 for one in found], np.int64)
        codes = np.asarray(encoded.indices)
        result[rest], known[rest] = values[codes], np.array([one is not None for one in found], np.bool_)[codes]
    return pa.array(result, mask=~known)


def _by_minute(
    texts: Column, shape: tuple[int, int], zone: times.ZoneTimes | None, out: tuple[Ints, Ints, Mask, Mask]
) -> None:
    """Read texts of one length whose seconds stand at one place; those that differ are left."""
    (length, place), (group, result, known, left) = shape, out
    chars = _matrix(texts, length)
    tens, ones = chars[:, place] - np.uint8(_ZERO), chars[:, place + 1] - np.uint8(_ZERO)
    like = (tens <= 5) & (ones <= 9) & (chars[:, place - 1] == _COLON) & (chars[:, place + 2] == _SPACE)
    like &= chars[:, place - 4] == _COLON
    if not like.any():
        return
    seconds = (tens.astype(np.int64) * 10 + ones)[like]
    minutes = chars[like]
    minutes[:, place : place + 2] = _ZERO
    keys: Any = pa.Array.from_buffers(pa.binary(length), len(minutes), [None, pa.py_buffer(minutes.tobytes())])
    encoded = keys.dictionary_encode()
    found = [_minute_us(text.decode(), zone) for text in encoded.dictionary.to_pylist()]
    values = np.array([one or 0 for one in found], np.int64)
    good = np.array([one is not None for one in found], np.bool_)
    codes = np.asarray(encoded.indices)
    read = good[codes]
    rows = group[like][read]
    result[rows] = (values[codes] + seconds * 1_000_000)[read]
    known[rows], left[rows] = True, False


def _matrix(texts: Column, length: int) -> Bytes:
    """Return texts of one length as rows of bytes."""
    _, offsets, data = texts.buffers()
    first = int(np.frombuffer(offsets, np.int32, 1, 4 * texts.offset)[0])
    whole = np.frombuffer(data, np.uint8, len(texts) * length, first)
    return whole.reshape(len(texts), length)


def _minute_us(text: str, zone: times.ZoneTimes | None) -> int | None:
    """Return µs of a minute's beginning; None for one in which the offset may change."""
    if not text.isascii():
        return None
    found = _EVENT_TIME.fullmatch(text)
    return None if found is None or int(found[3]) < _YEAR_WHOLE else moment_us(text, zone)


def moment_us(text: str, zone: times.ZoneTimes | None) -> int | None:
    """Return µs of `Nov 22 2026 00:12:29 UTC` or of epoch seconds, or None."""
    if _EPOCH.fullmatch(text):
        return int(text) * 1_000_000
    found = _EVENT_TIME.fullmatch(text)
    if found is None:
        return None
    month, day, year, hour, minute, second, name = found.groups()
    wall = times.wall_time((int(year), times.month_number(month), int(day)), (int(hour), int(minute), int(second)))
    offset = None if wall is None else times.offset_s(wall, name, zone)
    return None if wall is None or offset is None else times.epoch_us(wall, offset)


def h323_us(text: str, zone: times.ZoneTimes | None) -> int | None:
    """Return µs of `*00:14:29.002 UTC Sun Nov 22 2026`, or None."""
    found = _H323_TIME.fullmatch(text)
    if found is None:
        return None
    hour, minute, second, fraction, name, month, day, year = found.groups()
    wall = times.wall_time(
        (int(year), times.month_number(month), int(day)),
        (int(hour), int(minute), int(second)),
        int((fraction or "0").ljust(6, "0")),
    )
    offset = None if wall is None else times.offset_s(wall, name, zone)
    return None if wall is None or offset is None else times.epoch_us(wall, offset)
