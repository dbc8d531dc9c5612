"""Time formats of mapping files: strict, never guessed.

A format is `iso` (RFC 3339, with or without an offset), `epoch_s`, `epoch_ms`, `epoch_us`, or a pattern of these
directives and literal characters, each with exactly its digits:

    %Y year   %y year of 2000-2099   %m month   %d day   %e day, may have one digit   %b Jan, Feb, …
    %H hour   %I hour of 12 with %p AM or PM   %M minute   %S second   %f fraction, 1 to 9 digits
    %z +0100, +01:00 or Z   %Z CET, EST, …   %j day of the year   %% a percent sign

Which of two numbers is the day nobody can tell from the text, so a format that says it is the only way to read them.
Patterns of plain digits are rewritten to RFC 3339 a column at a time; names of months, hours of 12, abbreviations and
days of the year are read text by text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from ingest.decoders.canonical.columns import InputColumn, convert
from ingest.decoders.canonical.times import parse_times
from ingest.times import ZoneTimes, epoch_us, month_number, offset_s, wall_time
from schemas.arrow import TIME_TYPE
from schemas.buffers import Column, Mask, as_text, pc, text_views, valid_mask
from schemas.fields import BY_NAME

EPOCHS: Final = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
ISO: Final = "iso"

# Directive -> (pattern, name of the group). Written for RE2 and `re` alike.
_DIRECTIVES: Final[dict[str, tuple[str, str]]] = {
    "Y": ("[0-9]{4}", "year"),
    "y": ("[0-9]{2}", "short_year"),
    "m": ("[0-9]{2}", "month"),
    "d": ("[0-9]{2}", "day"),
    "e": ("[ 0-9]?[0-9]", "loose_day"),
    "b": ("[A-Za-z]{3}", "month_name"),
    "H": ("[0-9]{2}", "hour"),
    "I": ("[0-9]{1,2}", "half_hour"),
    "p": ("[AaPp][Mm]", "half"),
    "M": ("[0-9]{2}", "minute"),
    "S": ("[0-9]{2}", "second"),
    "f": ("[0-9]{1,9}", "fraction"),
    "z": ("[+-][0-9]{2}:?[0-9]{2}|Z", "offset"),
    "Z": ("[A-Za-z]{1,5}", "abbreviation"),
    "j": ("[0-9]{3}", "year_day"),
}
_PLAIN: Final = frozenset("YymdHMSfz%")
_FIXED: Final = frozenset("YymdHMS")
_BLANK_TIME: Final = b"2000-01-01T00:00:00"
_ISO_PLACES: Final = {
    "Y": slice(0, 4),
    "y": slice(2, 4),
    "m": slice(5, 7),
    "d": slice(8, 10),
    "H": slice(11, 13),
    "M": slice(14, 16),
    "S": slice(17, 19),
}
_SPECIAL: Final = frozenset(".^$*+?()[]{}|\\")  # what means something to RE2 and to `re`
_NOON: Final = 12


class ReadTimes(NamedTuple):
    """A column of times; `offsets_s` and `ambiguous` are None where no row has any."""

    times: Column
    offsets_s: Column | None
    ambiguous: Column | None
    bad: Mask


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """One format: `pattern` has a group for each of `directives`; both are empty for the named ones."""

    text: str
    directives: tuple[str, ...] = ()
    pattern: str = ""

    @property
    def needs_zone(self) -> bool:
        """Whether no text of this format can be read without a zone."""
        return bool(self.directives) and not {"z", "Z"} & set(self.directives)

    @property
    def shape(self) -> str:
        """What the format looks like when day and month cannot be told apart."""
        return re.sub("%[dme]", "%d", self.text)


def time_format(text: str) -> TimeFormat:
    """Return a format.

    Raises:
        ValueError: it is none; the message says why, in words of the format.
    """
    if text == ISO or text in EPOCHS:
        return TimeFormat(text)
    directives: list[str] = []
    pattern: list[str] = []
    at = 0
    while at < len(text):
        letter = text[at]
        if letter != "%":
            pattern.append(f"\\{letter}" if letter in _SPECIAL else letter)
            at += 1
            continue
        word = text[at + 1 : at + 2]
        at += 2
        if word == "%":
            pattern.append("%")
        elif word not in _DIRECTIVES:
            raise ValueError(f"there is no directive %{word}")
        elif word in directives:
            raise ValueError(f"%{word} stands twice")
        else:
            directives.append(word)
            pattern.append(f"({_DIRECTIVES[word][0]})")
    _check(set(directives))
    return TimeFormat(text, tuple(directives), "".join(pattern))


def _check(words: set[str]) -> None:
    if not words:
        raise ValueError("it has no directives such as %Y-%m-%d %H:%M:%S, and is no iso, epoch_s, epoch_ms, epoch_us")
    if len(words & {"Y", "y"}) != 1:
        raise ValueError("a time format has one of %Y and %y")
    day = len(words & {"d", "e"}) == 1 and len(words & {"m", "b"}) == 1
    if day == ("j" in words) or ("j" in words and words & {"d", "e", "m", "b"}):
        raise ValueError("a time format has a day and a month, or the day of the year")
    if len(words & {"H", "I"}) != 1 or ("I" in words) != ("p" in words):
        raise ValueError("a time format has %H, or %I with %p")
    if "M" not in words:
        raise ValueError("a time format has %M")
    if {"z", "Z"} <= words:
        raise ValueError("a time format has one of %z and %Z")


def read_times(text: Column, form: TimeFormat, zone: str | None) -> ReadTimes:
    """Read a column of texts; bad rows are null, and told. Local times are of `zone`; without one they are bad."""
    text = as_text(text)
    if form.text in EPOCHS:
        return _epochs(text, EPOCHS[form.text])
    if form.text == ISO:
        return ReadTimes(*parse_times(text, zone))
    if set(form.directives) <= _FIXED and (found := _by_place(text, form, zone)) is not None:
        return found
    if set(form.directives) <= _PLAIN:
        fits = np.asarray(pc.fill_null(pc.match_substring_regex(text, f"^(?:{form.pattern})$"), False))
        fitting = pc.if_else(pa.array(fits), text, pa.scalar(None, pa.string()))
        parsed = parse_times(pc.replace_substring_regex(fitting, f"^{form.pattern}$", _rewritten(form)), zone)
        return ReadTimes(parsed.times, parsed.offsets_s, parsed.ambiguous, parsed.bad | (valid_mask(text) & ~fits))
    return _one_by_one(text, form, zone)


def _by_place(text: Column, form: TimeFormat, zone: str | None) -> ReadTimes | None:
    """Read texts that all have the format's length, by the places of the digits; None when one of them is no time."""
    rows, places = len(text), _places(form.text)
    width = sum(len(part.data) for part in places)
    offsets, data = text_views(text)
    if not rows or text.null_count or len(data) != rows * width or (np.diff(offsets) != width).any():
        return None
    given = data.reshape(rows, width)
    made = np.tile(np.frombuffer(_BLANK_TIME, np.uint8), (rows, 1))
    at = 0
    for part in places:
        column = given[:, at : at + len(part.data)]
        at += len(part.data)
        if part.directive is None:
            if (column != np.frombuffer(part.data, np.uint8)).any():
                return None
            continue
        if (column < ord("0")).any() or (column > ord("9")).any():
            return None
        made[:, _ISO_PLACES[part.directive]] = column
    starts = np.arange(0, (rows + 1) * len(_BLANK_TIME), len(_BLANK_TIME), dtype=np.int32)
    offsets_made, values_made = _buffer(starts), _buffer(made)
    try:
        wall = pc.cast(pa.StringArray.from_buffers(rows, offsets_made, values_made), pa.timestamp("us"))
    except pa.ArrowInvalid:
        return None
    return ReadTimes(*parse_times(wall, zone))


def _buffer(array: Any) -> pa.Buffer:
    return pa.py_buffer(array)


class _Place(NamedTuple):
    """A part of a format: literal bytes, or a directive and as many bytes as it has digits."""

    data: bytes
    directive: str | None


def _places(form: str) -> list[_Place]:
    """Return the parts of a format of fixed width."""
    places = []
    for part in re.findall(r"%.|[^%]+", form):
        word = part[1:] if part[0] == "%" else None
        if word == "%":
            places.append(_Place(b"%", None))
        elif word is None:
            places.append(_Place(part.encode(), None))
        else:
            places.append(_Place(b"0" * (4 if word == "Y" else 2), word))
    return places


def _epochs(text: Column, factor: int) -> ReadTimes:
    values, bad = convert(InputColumn("time", BY_NAME["duration_ms"], factor), text)
    return ReadTimes(values.cast(pa.int64()).cast(TIME_TYPE), None, None, bad)


def _rewritten(form: TimeFormat) -> str:
    """Return the replacement that makes RFC 3339 of what the format's pattern found."""
    group = {word: f"\\{number}" for number, word in enumerate(form.directives, 1)}
    year = group.get("Y") or f"20{group['y']}"
    fraction = f".{group['f']}" if "f" in group else ""
    second = group.get("S", "00")
    return f"{year}-{group['m']}-{group['d']}T{group['H']}:{group['M']}:{second}{fraction}{group.get('z', '')}"


class _Told(NamedTuple):
    time_us: int
    offset_s: int
    ambiguous: bool


def _one_by_one(text: Column, form: TimeFormat, zone: str | None) -> ReadTimes:
    reader = re.compile(form.pattern)
    local = None if zone is None else ZoneTimes(zone)
    encoded = text.dictionary_encode()
    found = [None if one is None else _read(one, reader, form, local) for one in encoded.dictionary.to_pylist()]
    times = pa.array([None if one is None else one.time_us for one in found], pa.int64()).take(encoded.indices)
    offsets = pa.array([None if one is None else one.offset_s for one in found], pa.int32()).take(encoded.indices)
    twice = pa.array([one is not None and one.ambiguous for one in found], pa.bool_()).take(encoded.indices)
    bad = valid_mask(text) & ~valid_mask(times)
    return ReadTimes(times.cast(TIME_TYPE), offsets, pc.fill_null(twice, False), bad)


def _read(text: str, reader: re.Pattern[str], form: TimeFormat, local: ZoneTimes | None) -> _Told | None:
    match = reader.fullmatch(text)
    if match is None:
        return None
    parts = dict(zip(form.directives, match.groups(), strict=True))
    wall = _wall(parts)
    if wall is None:
        return None
    told = parts.get("z") or parts.get("Z")
    if told is not None:
        offset = 0 if told in ("Z", "z") else offset_s(wall, told.replace(":", "").upper(), local)
        return None if offset is None else _Told(epoch_us(wall, offset), offset, False)
    return None if local is None else _Told(*local.resolve(wall))


def _wall(parts: dict[str, str]) -> datetime | None:
    year = int(parts["Y"]) if "Y" in parts else 2000 + int(parts["y"])
    hour = int(parts["H"]) if "H" in parts else int(parts["I"])
    if "I" in parts:
        if not 1 <= hour <= _NOON:
            return None
        hour = hour % _NOON + (_NOON if parts["p"].lower() == "pm" else 0)
    clock = (hour, int(parts["M"]), int(parts.get("S", "0")))
    fraction = int(parts.get("f", "0")[:6].ljust(6, "0"))
    if "j" in parts:
        first = wall_time((year, 1, 1), clock, fraction)
        wall = None if first is None else first + timedelta(days=int(parts["j"]) - 1)
        return wall if wall is not None and wall.year == year else None
    month = month_number(parts["b"].capitalize()) if "b" in parts else int(parts["m"])
    return wall_time((year, month, int(parts.get("d") or parts["e"])), clock, fraction)
