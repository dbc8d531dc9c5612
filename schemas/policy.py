"""The retention policy as data: which category of service is kept how long, why, and since when. Pure.

A policy is a sequence of versions; each replaces the one before from its day on and is never changed again. A version
gives every service category a retention class, every class a period, and every purpose the age up to which it reads. It
may give a field category of `CATEGORY_FLOORS` a period of its own; what it does not name ends with the records.

    class_of     the version in force on the day on which a communication ended chooses its class, whenever it arrives
    expires_at   the earliest instant at which any version in force since that day ends the class's period; of a field
                 category, at which any of them ends the category's, and never after the class's

    service_rule what ends a category's records sooner than the class in which they lie: a version in force since that
                 day gives the category another class, which ends sooner

So shortening a class ends stored records too, from the day on which the version comes into force and not before;
lengthening one gives no stored record a day more, and nothing reaches past the ceiling. A replay of old records finds
the class and the end that it would have found in time.

Source: the design's promise 5; Directive 2006/24 Art 5 and 6.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any, Final, Self

from schemas.errors import ConfigurationError
from schemas.fields import SERVICE_TYPES
from schemas.retention import (
    CEILING_MONTHS,
    DEFAULT_CLASS,
    CategoryPeriod,
    RetentionClass,
    add_months,
    expires_at,
    floor_until,
    midnight,
)

CLASSES_MAX: Final = 64
"""Classes of all versions together."""
TEXT_CHARS_MAX: Final = 300
DAYS_MAX: Final = 365
"""Of a window that is given in days; longer ones are given in months."""
ALWAYS: Final = date(1970, 1, 1)
"""The first version is in force from here on."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def _text(text: str, what: str) -> None:
    if not text.strip() or len(text) > TEXT_CHARS_MAX or not text.isprintable():
        raise ConfigurationError(f"{what} is 1 to {TEXT_CHARS_MAX} printable characters")


@dataclass(frozen=True, slots=True)
class Window:
    """The age up to which a purpose reads records: calendar months or days after the day on which they ended."""

    purpose: str
    citation: str
    months: int | None = None
    days: int | None = None

    def __post_init__(self) -> None:
        if (self.months is None) == (self.days is None):
            raise ConfigurationError(f"purpose {self.purpose}: its window is either months or days")
        longest = CEILING_MONTHS if self.months is not None else DAYS_MAX
        if not 1 <= (self.months or self.days or 0) <= longest:
            raise ConfigurationError(f"purpose {self.purpose}: its window is 1 to {longest}")
        _text(self.citation, f"purpose {self.purpose}: its citation")

    def until(self, end_date: date) -> datetime:
        """Return the instant from which the purpose reads records that ended on `end_date` no more."""
        if self.months is not None:
            return midnight(add_months(end_date, self.months))
        return midnight(end_date + timedelta(days=1 + (self.days or 0)))

    @property
    def length(self) -> str:
        """Say how long it is."""
        return f"{self.months} months" if self.months is not None else f"{self.days} days"


_CONFIDENTIALITY: Final = "Directive 2002/58"
DEFAULT_WINDOWS: Final[tuple[Window, ...]] = (
    Window("disclosure", "Directive 2006/24 Art 6; Act 2022:482 ch. 9", months=CEILING_MONTHS),
    Window("security", f"{_CONFIDENTIALITY} Art 4 and 15(1); Regulation (EU) 2016/679 Art 5(1)(e)", days=30),
    Window(
        "billing", f"{_CONFIDENTIALITY} Art 6(2); the longest billing period and its time for objections", months=12
    ),
    Window("customer", "Regulation (EU) 2016/679 Art 15", months=CEILING_MONTHS),
    Window("statistics", f"{_CONFIDENTIALITY} Art 9 and 6(5)", months=6),
)
PURPOSES: Final = tuple(window.purpose for window in DEFAULT_WINDOWS)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of the policy."""

    number: int
    start: date
    """In force from the midnight (UTC) that begins this day."""
    classes: tuple[RetentionClass, ...]
    services: Mapping[str, str]
    """Service category -> name of its class; every category of `SERVICE_TYPES`."""
    windows: tuple[Window, ...] = DEFAULT_WINDOWS
    categories: Mapping[str, CategoryPeriod] = field(default_factory=dict)
    """Field category -> its own period; one that is not named ends with the records."""

    def __post_init__(self) -> None:
        for own in self.categories.values():
            _text(own.legal_basis, f"field category {own.name}: its legal basis")
            _text(own.citation, f"field category {own.name}: its citation")
        names = [item.name for item in self.classes]
        for item in self.classes:
            if not _NAME.fullmatch(item.name):
                raise ConfigurationError("a retention class is named with 1 to 31 of a-z, 0-9 and -")
            _text(item.legal_basis, f"class {item.name}: its legal basis")
            _text(item.citation, f"class {item.name}: its citation")
        if len(set(names)) != len(names):
            raise ConfigurationError("two retention classes have one name")
        if set(self.services) != set(SERVICE_TYPES) or not set(self.services.values()) <= set(names):
            raise ConfigurationError("the policy gives each of these a class: " + ", ".join(SERVICE_TYPES))
        if [window.purpose for window in self.windows] != list(PURPOSES):
            raise ConfigurationError("the policy gives each of these a window: " + ", ".join(PURPOSES))

    def find(self, name: str) -> RetentionClass | None:
        """Return the class of that name."""
        return next((item for item in self.classes if item.name == name), None)

    def window(self, purpose: str) -> Window:
        """Return a purpose's window.

        Raises:
            ConfigurationError: there is no such purpose.
        """
        for window in self.windows:
            if window.purpose == purpose:
                return window
        raise ConfigurationError("a scan names no purpose of the policy: " + ", ".join(PURPOSES))

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data; names nobody."""
        return {
            "version": self.number,
            "from": self.start.isoformat(),
            "classes": {
                item.name: {"months": item.period_months, "legal_basis": item.legal_basis, "citation": item.citation}
                for item in self.classes
            },
            "services": {name: self.services[name] for name in SERVICE_TYPES},
            "categories": {
                name: {"months": own.period_months, "legal_basis": own.legal_basis, "citation": own.citation}
                for name, own in sorted(self.categories.items())
            },
            "purposes": {
                window.purpose: {
                    **({"days": window.days} if window.months is None else {"months": window.months}),
                    "citation": window.citation,
                }
                for window in self.windows
            },
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Read what `as_dict` writes, or a person wrote in its shape; purposes left out keep their default.

        Raises:
            ConfigurationError: it is no version of a policy, or a period lies outside the bounds.
        """
        try:
            _only(body, {"version", "from", "classes", "services", "categories", "purposes"})
            classes = tuple(
                RetentionClass(str(name), _number(item, "months"), str(item["legal_basis"]), str(item["citation"]))
                for name, item in body["classes"].items()
                if _only(item, {"months", "legal_basis", "citation"})
            )
            categories = {
                str(name): CategoryPeriod(
                    str(name), _number(item, "months"), str(item["legal_basis"]), str(item["citation"])
                )
                for name, item in body.get("categories", {}).items()
                if _only(item, {"months", "legal_basis", "citation"})
            }
            given = body.get("purposes", {})
            _only(given, set(PURPOSES))
            windows = tuple(
                Window(one.purpose, str(given[one.purpose]["citation"]), **_length(given[one.purpose]))
                if one.purpose in given
                else one
                for one in DEFAULT_WINDOWS
            )
            start = date.fromisoformat(str(body["from"]))
            services = {str(name): str(value) for name, value in body["services"].items()}
            return cls(_number(body, "version"), start, classes, services, windows, categories)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ConfigurationError("the policy does not have its form", hint="see docs/adr/0019-policy.md") from error

    @property
    def digest(self) -> str:
        """SHA-256 of its canonical JSON: what custodians sign and the audit log names."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


FIRST: Final = Version(1, ALWAYS, (DEFAULT_CLASS,), dict.fromkeys(SERVICE_TYPES, DEFAULT_CLASS.name))
"""The version that every store begins with."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What ends a class's records of one day, or a field category of them: `period` of `version`, at `ends`."""

    version: Version
    period: RetentionClass | CategoryPeriod
    ends: datetime


class Policy:
    """All versions of a store, oldest first; each is in force until the next one's day."""

    def __init__(self, versions: Sequence[Version] = (FIRST,)) -> None:
        self.versions = tuple(versions)
        ends = [*(version.start for version in self.versions[1:]), date.max]
        self.spans = tuple(zip(self.versions, ends, strict=True))
        self.class_names = tuple(dict.fromkeys(item.name for one in self.versions for item in one.classes))
        """Every class that records may lie in; a later version only adds to it."""
        self._rules: dict[tuple[date, str, str], Rule | None] = {}
        self._ends_us: dict[tuple[date, str, str], int] = {}
        lasting = [version.services for version, end in self.spans if end > version.start]
        self.has_moves = any(before != after for before, after in pairwise(lasting))
        """Whether a category of service ever changed its class."""

    def in_force(self, day: date) -> Version:
        """Return the version in force on a day."""
        return next((version for version in reversed(self.versions) if version.start <= day), self.versions[0])

    def class_of(self, end_date: date, service: str) -> str:
        """Return the class of a communication of that service category that ended on that day."""
        return self.in_force(end_date).services[service]

    def rule(self, end_date: date, name: str, category: str = "") -> Rule | None:
        """Return what ends the records of a day and class, or a field category of them.

        None for a class that no version has, when no period of the category ends it either.
        """
        at = (end_date, name, category)
        if at not in self._rules:
            self._rules[at] = self._category_rule(*at) if category else self._rule(end_date, name)
        return self._rules[at]

    def expires_at(self, end_date: date, name: str, category: str = "") -> datetime:
        """Return the instant from which records of a day and class, or a category of them, exist no more for readers.

        A class that no version has, in the folder of somebody else's making say, is kept to the ceiling.
        """
        rule = self.rule(end_date, name, category)
        return _ceiling(end_date) if rule is None else rule.ends

    def expires_us(self, end_date: date, name: str, category: str = "") -> int:
        """Return `expires_at` in µs since 1970 UTC; a search asks it of every partition, several times."""
        at = (end_date, name, category)
        known = self._ends_us.get(at)
        if known is None:
            moment = self.expires_at(*at)
            known = self._ends_us[at] = int(moment.timestamp()) * 1_000_000 + moment.microsecond
        return known

    def service_rule(self, end_date: date, name: str, service: str) -> Rule | None:
        """Return what ends a service category's records of a day sooner than the class in which they lie, if any does.

        A version that moves a category to a class that ends sooner applies to what is stored, from its day on.
        """
        core = self.rule(end_date, name) if self.has_moves else None
        if core is None:
            return None
        own = [
            Rule(version, period, max(midnight(version.start), expires_at(end_date, period)))
            for version, end in self.spans
            if end > max(end_date, version.start) and (period := version.find(version.services.get(service, "")))
        ]
        sooner = [rule for rule in own if rule.ends < core.ends]
        return min(sooner, key=lambda rule: (rule.ends, -rule.version.number), default=None)

    def erasable_at(self, end_date: date, name: str, category: str = "") -> datetime:
        """Return the instant from which they are erased: their period is over and the floor is passed.

        A field category that does not end before its records is erased with them.
        """
        ends, core = self.expires_at(end_date, name, category), self.expires_at(end_date, name)
        return max(ends, floor_until(end_date, category if ends < core else ""))

    def extended(self, version: Version, today: date, *, is_empty: bool) -> Policy:
        """Return the policy with one more version, which shall come into force.

        Raises:
            ConfigurationError: its number, day or classes do not follow from the versions before.
        """
        last = self.versions[-1]
        if version.number != last.number + 1:
            raise ConfigurationError(f"the next version of the policy has the number {last.number + 1}")
        if not is_empty and version.start <= today:
            raise ConfigurationError("a version comes into force tomorrow at the earliest: the past is not changed")
        if version.start < last.start:
            raise ConfigurationError("a version does not come into force before the one that it replaces")
        missing = [name for name in self.class_names if version.find(name) is None]
        if missing:
            raise ConfigurationError("classes of earlier versions keep a period: " + ", ".join(missing))
        grown = Policy((*self.versions, version))
        if len(grown.class_names) > CLASSES_MAX:
            raise ConfigurationError(f"a policy has at most {CLASSES_MAX} classes")
        return grown

    def _rule(self, end_date: date, name: str) -> Rule | None:
        rules = [
            Rule(
                version,
                period,
                min(_ceiling(end_date), max(midnight(version.start), expires_at(end_date, period))),
            )
            for version, end in self.spans
            if end > max(end_date, version.start) and (period := version.find(name))
        ]
        return min(rules, key=lambda rule: (rule.ends, -rule.version.number), default=None)

    def _category_rule(self, end_date: date, name: str, category: str) -> Rule | None:
        own = [
            Rule(version, period, max(midnight(version.start), expires_at(end_date, period)))
            for version, end in self.spans
            if end > max(end_date, version.start) and (period := version.categories.get(category))
        ]
        core = self.rule(end_date, name)
        sooner = [rule for rule in own if rule.ends < (_ceiling(end_date) if core is None else core.ends)]
        return min(sooner, key=lambda rule: (rule.ends, -rule.version.number), default=core)


DEFAULT_POLICY: Final = Policy()


def _ceiling(end_date: date) -> datetime:
    return midnight(add_months(end_date, CEILING_MONTHS))


def _length(item: Mapping[str, Any]) -> dict[str, int]:
    _only(item, {"months", "days", "citation"})
    return {name: _number(item, name) for name in ("months", "days") if name in item}


def _number(item: Mapping[str, Any], name: str) -> int:
    value = item[name]
    if type(value) is not int:
        raise TypeError(name)
    return value


def _only(item: Mapping[str, Any], names: set[str]) -> bool:
    """Refuse what nobody reads: a misspelt word would be no rule at all."""
    if not set(item) <= names:
        raise ConfigurationError("the policy has a word that it does not know; it knows " + ", ".join(sorted(names)))
    return True
