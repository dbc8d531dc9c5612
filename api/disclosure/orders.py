"""What an officer files, before anything is normalised or judged. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from api.disclosure.model import Target, Window
from api.disclosure.targets import normalise_target
from schemas.fields import Category
from schemas.legal_terms import Decider

SOURCE_BYTES_MAX: Final = 4 << 20
MEDIA_TYPES: Final = ("application/json", "application/pdf", "application/xml", "text/plain")
"""What a decision comes as; nothing here runs in a reader of its kind without being asked."""


@dataclass(frozen=True, slots=True, repr=False)
class SourceDocument:
    """The decision itself, as the authority sent it: what an approver compares the fields with."""

    media_type: str
    content: bytes


@dataclass(frozen=True, slots=True)
class WrittenTarget:
    """A target as the order writes it."""

    kind: str
    value: str
    port: int | None = None
    held_on: str | None = None
    tenant: str | None = None
    element: str | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """What an officer files; `categories` None asks for all that the basis permits.

    `authority` is the id of a registered one; `decided_by` is whose decision it is. `emergency` claims the basis's
    emergency path; `is_test` makes a test that runs on records made for it. `source` is needed; None is refused.
    `preservation` is the reference of the preservation order whose records it reaches too.
    """

    basis: str
    decision_reference: str
    decided_on: date
    decided_by: Decider
    authority: str
    country: str
    targets: tuple[WrittenTarget, ...]
    window: Window
    expires_at_us: int
    categories: frozenset[Category] | None = None
    source: SourceDocument | None = None
    emergency: bool = False
    is_test: bool = False
    preservation: str | None = None


@dataclass(frozen=True, slots=True)
class Ruling:
    """A later decision on an authorisation: what confirms an emergency, or what extends.

    A confirmation may grant less: `targets`, `window`, `categories`; None grants all of the emergency's.
    """

    decision_reference: str
    decided_on: date
    decided_by: Decider
    source: SourceDocument | None = None
    expires_at_us: int | None = None
    targets: tuple[WrittenTarget, ...] | None = None
    window: Window | None = None
    categories: frozenset[Category] | None = None

    @property
    def grants_less(self) -> bool:
        """Whether it says what it grants."""
        return any(item is not None for item in (self.targets, self.window, self.categories))


@dataclass(frozen=True, slots=True, repr=False)
class CalledBack:
    """A case handler's call to the authority, as told: who answered, on which number (E.164 with `+`), when."""

    spoken_with: str
    number: str
    called_at_us: int


def normalised(targets: Sequence[WrittenTarget], country: str) -> tuple[Target, ...]:
    """Return the targets as they are searched for."""
    return tuple(
        normalise_target(
            item.kind,
            item.value,
            country=country,
            port=item.port,
            held_on=item.held_on,
            tenant=item.tenant,
            element=item.element,
        )
        for item in targets
    )
