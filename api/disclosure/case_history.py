"""What the audit log tells of cases in the open: their steps, persons and stages. No sealed part is opened here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from api.disclosure import rules
from api.disclosure.casebook import Casebook, who
from api.disclosure.model import Actor
from api.instants import midnight_us
from schemas.errors import ConfigurationError
from store import AuditEntry, Store
from store.audit import StoredEntry
from store.audit.search import find_words

LOOK_UPS: Final = (
    "disclosure.viewed",
    "disclosure.preflight",
    "disclosure.explained",
    "disclosure.run",
    "disclosure.delivered",
)
"""Entries of whoever was shown an order or its targets, had a store searched, or fetched what was found."""
REGISTERED: Final = "disclosure.registered"
RELEASED: Final = "disclosure.released"
LAPSED: Final = "disclosure.lapsed"
REFUSED: Final = "disclosure.refused"
_YEARS: Final = range(1970, 9999)


@dataclass(slots=True)
class TaskHistory:
    """One task, as its entries tell it; times are the entries' own."""

    basis: str
    registered_us: int | None = None
    stage: str = ""
    is_test: bool = False
    releases: int = 0
    persons: dict[str, set[str]] = field(default_factory=dict)
    """Who took which step, by the word of the entry."""


@contextmanager
def reading(store: Store, actor: Actor, what: str, roles: tuple[str, ...], **about: str | int) -> Iterator[None]:
    """Admit who may read a report, and log the reading before anything is shown.

    Raises:
        ProcedureError: another role; logged.
        AuditError: the reading could not be logged.
    """
    casebook = Casebook(store)
    with casebook.refusals(what, "", actor):
        rules.require_any_role(actor, roles)
        rules.require_separate_duties(actor)
        rules.require_enrolled(actor, casebook.enrolled(actor.person_id))
    store.log(AuditEntry("report.read", {"what": what, **about, **who(actor)}))
    yield


def year_us(year: int) -> tuple[int, int]:
    """Return a calendar year (UTC) as microseconds, half-open.

    Raises:
        ConfigurationError: it is no year that a clock tells.
    """
    if year not in _YEARS:
        raise ConfigurationError("this is not a year")
    return midnight_us(date(year, 1, 1)), midnight_us(date(year + 1, 1, 1))


def entries(store: Store, *words: str) -> Iterator[StoredEntry]:
    """Give the log's entries whose octets hold one of the words, oldest first, each checked against the tree.

    Raises:
        AuditError: entries wait that the log cannot take, so it does not tell all.
        IntegrityError: an entry was changed.
    """
    store.flush_outbox(required=True)
    store.audit.refresh()
    return find_words(store.audit.directory, store.audit.size, words)


def tasks(store: Store) -> dict[str, TaskHistory]:
    """Return every task that the log tells of, by id."""
    found: dict[str, TaskHistory] = {}
    for entry in entries(store, '"kind":"disclosure.'):
        public = entry.public
        if entry.kind == LAPSED:
            for task in public.get("stopped", ()):
                if task in found:
                    found[task].stage = "invalid"
        elif entry.kind.startswith("disclosure.") and "task" in public and "stage" in public:
            told = found.setdefault(public["task"], TaskHistory(public["basis"]))
            told.basis, told.stage = public["basis"], public["stage"]
            told.is_test = bool(public.get("test"))
            told.releases += entry.kind == RELEASED
            if "person" in public:  # what the service does by itself is nobody's step
                told.persons.setdefault(entry.kind, set()).add(public["person"])
            if entry.kind == REGISTERED:
                told.registered_us = entry.time_us
    return found
