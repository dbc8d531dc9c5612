"""What an officer files, before anything is normalised or judged. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from api.disclosure.model import Target, Window
from api.disclosure.targets import normalise_target
from schemas.fields import Category


@dataclass(frozen=True, slots=True)
class WrittenTarget:
    """A target as the order writes it."""

    kind: str
    value: str
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What an officer files; `categories` None asks for all that the basis permits."""

    basis: str
    decision_reference: str
    decided_on: date
    authority: str
    country: str
    targets: tuple[WrittenTarget, ...]
    window: Window
    expires_at_us: int
    categories: frozenset[Category] | None = None


def normalised(targets: Sequence[WrittenTarget], country: str) -> tuple[Target, ...]:
    """Return the targets as they are searched for."""
    return tuple(normalise_target(item.kind, item.value, country=country, port=item.port) for item in targets)
