"""The national prefix behind the country code: +46 070 123 45 67 is written, +46 70 123 45 67 is meant.

Nobody has the number that was written. It is read without the prefix where three things hold: the digits begin with a
country code and that country's national prefix; as they stand they are no number of that country code; without the
prefix they are. So Italy, where the zero is part of the number, and Russia, where numbers begin with the prefix's 8,
keep theirs. What was delivered stays beside the number.

Source: ITU-T E.123 §4.2 (no national prefix in the international form); prefixes and forms of numbers are those of the
`phonenumbers` package, whose parser does the same.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.buffers import Column, Ints, Mask, flags, valid_mask, values_int64
from schemas.packing import DIGITS_MAX, digit_counts, looking

PREFIXES: Final = (
    # national prefix, fewest digits of such a number in all, country codes
    (
        "0",
        10,
        "20 27 31 32 33 40 41 43 44 46 49 51 53 54 55 57 58 60 61 62 63 64 66 81 82 84 86 90 91 92 93 94 95 98 211 "
        "212 213 218 231 232 233 234 243 249 250 251 252 254 255 256 260 261 262 263 264 265 291 353 355 358 359 "
        "370 373 374 377 380 381 382 383 385 386 387 389 421 423 508 590 591 593 594 595 596 598 686 850 855 856 "
        "880 886 961 962 963 964 966 967 970 971 972 976 977 994 995 996",
    ),
    ("06", 12, "36"),
    ("1", 11, "692"),
    ("8", 10, "375"),
    ("8", 12, "7 993"),
)
"""A test compares it with the package, which is loaded only for what looks like such a number.

Fewer digits than ten are left alone: they may be an extension of somebody's own.
"""

LEADING_DIGITS: Final = 4
_NEVER: Final = 255
_POWERS: Final = 10 ** np.arange(DIGITS_MAX + 1, dtype=np.int64)


@lru_cache(maxsize=1)
def fewest_digits() -> npt.NDArray[np.uint8]:
    """Return, by a number's first four digits, how many digits it has at least if its national prefix is misplaced."""
    table = np.full(10**LEADING_DIGITS, _NEVER, np.uint8)
    for prefix, fewest, codes in PREFIXES:
        for code in codes.split():
            start = code + prefix
            span = 10 ** (LEADING_DIGITS - len(start))
            table[int(start) * span : (int(start) + 1) * span] = fewest
    table.flags.writeable = False
    return table


def without_misplaced_prefix(digits: str) -> str | None:
    """Return E.164 digits without the national prefix behind their country code; None: they have none there."""
    if (
        not (digits.isascii() and digits.isdigit())
        or not fewest_digits()[int(digits[:LEADING_DIGITS] or 0)] <= len(digits) <= DIGITS_MAX
    ):
        return None
    import phonenumbers

    from schemas.numbers import rules

    regions = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    length = next((length for length in (1, 2, 3) if int(digits[:length]) in regions), len(digits))
    rest = digits[length:]
    countries = [rules(region) for region in regions.get(int(digits[:length]), ()) if region.isalpha()]
    if any(country.national is None or country.national.fullmatch(rest) for country in countries):
        return None
    for country in countries:
        if country.trunk and country.national and rest.startswith(country.trunk):
            number = rest[len(country.trunk) :]
            if country.national.fullmatch(number):
                return digits[:length] + number
    return None


def rows_to_look_at(packed: Ints) -> Ints:
    """Return which packed numbers begin as one with a misplaced prefix does; most columns have none."""
    kernels = looking(len(packed))
    if kernels is not None and not kernels.may_have_prefix(packed, fewest_digits()):
        return np.zeros(0, np.int64)
    counts = digit_counts(packed)
    plain = packed - _POWERS.take(counts)
    leading = plain // _POWERS.take(np.maximum(counts - LEADING_DIGITS, 0))
    return np.flatnonzero(counts >= fewest_digits().take(leading, mode="clip"))


def mend(packed: Column) -> tuple[Column, Mask | None]:
    """Return packed numbers without misplaced prefixes, and which rows changed; None: none did."""
    if packed.null_count == len(packed):
        return packed, None
    values = values_int64(packed)
    rows = rows_to_look_at(values)
    if packed.null_count and len(rows):
        rows = rows[valid_mask(packed)[rows]]
    if not len(rows):
        return packed, None
    distinct, back = np.unique(values[rows], return_inverse=True)
    found = [without_misplaced_prefix(str(value)[1:]) for value in distinct.tolist()]
    made = np.array([value if new is None else int("1" + new) for value, new in zip(distinct, found, strict=True)])
    mended = values.copy()
    mended[rows] = made[back]
    changed = flags(len(packed))
    changed[rows] = mended[rows] != values[rows]
    mask = ~valid_mask(packed) if packed.null_count else None
    return pa.array(mended, mask=mask), changed
