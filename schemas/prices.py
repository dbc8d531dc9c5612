"""What work on disclosures costs, as data: a price list names the provision that gives a figure, or says that it is
the operator's own.

There is no list in the program. The law gives operators a compensation and leaves its figures to regulations and
agreements, which change and differ; a figure that nobody confirmed would be an invented one.

Source: Act (2022:482) on electronic communications ch. 9 (compensation for handing out what is kept).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from schemas.errors import ConfigurationError, InputError

UNITS: Final = ("task", "target", "window-day", "run", "release", "emergency")
"""What is counted of a task. None of them tells whether anything was found."""
ANY: Final = "*"
ROWS_MAX: Final = 1000
_MEMBERS: Final = {"unit", "basis", "amount_minor", "from", "citation", "own"}


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit costs under a basis (`*`: any) from a day on, in minor units of the list's currency (öre)."""

    unit: str
    basis: str
    amount_minor: int
    effective_from: date
    citation: str | None
    """The provision or agreement that gives the figure; None: the operator's own."""


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices in one currency (ISO 4217)."""

    currency: str
    prices: tuple[Price, ...]

    def price(self, unit: str, basis: str, day: date) -> Price | None:
        """Return the price in force on a day: the basis's own before the general one, then the latest."""
        found = [
            item
            for item in self.prices
            if item.unit == unit and item.basis in (basis, ANY) and item.effective_from <= day
        ]
        return max(found, key=lambda item: (item.basis != ANY, item.effective_from), default=None)


def parse_prices(document: object, bases: Iterable[str]) -> PriceList:
    """Return the price list of a JSON document: `currency`, and `prices` of unit, basis, amount_minor, from, and
    either `citation` or `own` true.

    Raises:
        InputError: it is none.
        ConfigurationError: a unit or basis is unknown, a figure has no source, or two rows say the same.
    """
    match document:
        case {"currency": str(currency), "prices": list(rows), **rest} if not rest:
            pass
        case _:
            raise InputError("a price list has the members currency and prices")
    if len(currency) != 3 or not (currency.isascii() and currency.isalpha() and currency.isupper()):
        raise ConfigurationError("a currency is three letters, as SEK")
    if len(rows) > ROWS_MAX:
        raise ConfigurationError(f"a price list has at most {ROWS_MAX} rows")
    known = {ANY, *bases}
    prices = tuple(_price(row, known, place) for place, row in enumerate(rows, 1))
    if len({(item.unit, item.basis, item.effective_from) for item in prices}) != len(prices):
        raise ConfigurationError("two rows of the price list are for the same unit, basis and day")
    return PriceList(currency, prices)


def _price(row: object, known: set[str], place: int) -> Price:
    if not isinstance(row, Mapping) or not set(row) <= _MEMBERS:
        raise InputError("a row of the price list has members that are not known", position=place)
    unit, basis, amount = row.get("unit"), row.get("basis", ANY), row.get("amount_minor")
    if unit not in UNITS or basis not in known:
        raise ConfigurationError(f"row {place} of the price list names an unknown unit or basis")
    if type(amount) is not int or amount < 0:
        raise ConfigurationError(f"row {place} of the price list has no amount in minor units")
    return Price(unit, basis, amount, _day(row.get("from"), place), _source(row, place))


def _source(row: Mapping[str, Any], place: int) -> str | None:
    citation, own = row.get("citation"), row.get("own", False)
    if own is True and citation is None:
        return None
    if own is False and isinstance(citation, str) and citation.strip():
        return citation.strip()
    raise ConfigurationError(f'row {place} of the price list names either a citation or "own": true')


def _day(value: object, place: int) -> date:
    try:
        return date.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        raise ConfigurationError(f"row {place} of the price list has no day from which it applies") from None
