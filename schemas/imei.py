"""Handsets: which packed values an IMEI stands for."""

from __future__ import annotations

from schemas.errors import InputError
from schemas.numbers import SEPARATORS


def imei_match_ranges(text: str) -> list[tuple[int, int]]:
    """Return the half-open ranges of packed values that match an IMEI or IMEISV on its first 14 digits.

    The check digit and the software version are not looked at: switches leave out the first or set it to 0.

    Raises:
        InputError: the text is not 14 to 16 digits.

    Source: 3GPP TS 23.003 §6.2.
    """
    digits = text.translate(SEPARATORS)
    if not (digits.isascii() and digits.isdigit() and 14 <= len(digits) <= 16):
        raise InputError("an IMEI has 14 to 16 digits")
    body = int("1" + digits[:14])
    return [(body * 10**more, (body + 1) * 10**more) for more in range(3)]
