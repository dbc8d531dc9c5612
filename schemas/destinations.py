"""Destination classes of billing: where a called number leads, seen from the source's country. Pure.

Numbers of one country calling code count as national, so countries that share a code (North America, Kazakhstan and
Russia) are one destination here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import phonenumbers

from schemas.errors import ConfigurationError

SHORT_CODE_DIGITS_MAX: Final = 6
E164_DIGITS_MAX: Final = 15


class Destination(StrEnum):
    """What a called number is to the tariff."""

    NATIONAL = "national"
    INTERNATIONAL = "international"
    SHORT_CODE = "short-code"
    OTHER = "other"  # no number, a SIP URI, a name, or a source without a country


def country_code(country: str | None) -> str | None:
    """Return the calling code of an ISO 3166 alpha-2 country as digits; None for None.

    Raises:
        ConfigurationError: there is no such country.
    """
    if country is None:
        return None
    code = phonenumbers.country_code_for_region(country.upper())
    if not code:
        raise ConfigurationError(f"no calling code is known for country {country!r}")
    return str(code)


def destination(number: str | None, code: str | None) -> Destination:
    """Return the class of a normalised called number for a source whose calling code is `code`."""
    if not number or not number.isascii() or not number.isdigit() or len(number) > E164_DIGITS_MAX:
        return Destination.OTHER
    if len(number) <= SHORT_CODE_DIGITS_MAX:
        return Destination.SHORT_CODE
    if code is None:
        return Destination.OTHER
    return Destination.NATIONAL if number.startswith(code) else Destination.INTERNATIONAL


def destination_sql(packed: str, code: str) -> str:
    """Return the SQL expression of `destination` over a packed identifier (digits with a leading 1) and a code column.

    The leading 1 stands in front of the digits, so a packed number of n digits lies in [10**n, 2 * 10**n).
    """
    short = 2 * 10**SHORT_CODE_DIGITS_MAX
    longest = 2 * 10**E164_DIGITS_MAX
    return (
        f"CASE WHEN {packed} IS NULL OR {packed} >= {longest} THEN '{Destination.OTHER}'"
        f" WHEN {packed} < {short} THEN '{Destination.SHORT_CODE}'"
        f" WHEN {code} IS NULL THEN '{Destination.OTHER}'"
        f" WHEN starts_with(CAST({packed} AS VARCHAR), '1' || {code}) THEN '{Destination.NATIONAL}'"
        f" ELSE '{Destination.INTERNATIONAL}' END"
    )
