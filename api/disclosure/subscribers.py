"""Whose records they are: a number, an IMSI or an address that changed hands has several subscribers.

An order may say on which day the person meant held the identifier (`held_on`). Then only records that began in that
subscription's validity leave for that target. Otherwise all leave, and the manifest keeps them apart: by target the
validities within the window, cut to it, without names, and which rows began in each. Dates are UTC and half-open.

Source: `api.billing.subscriptions`; the design's *Disclosure*.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from api.billing.subscriptions import FOREVER_US, Subscription, holders
from api.disclosure.selection import Span, names_target
from api.instants import midnight_us
from schemas.errors import ProcedureError
from store.clock import to_date

if TYPE_CHECKING:
    from api.disclosure.casebook import Case
    from store import Store

_OTHER: Final = "other"


def spans_of(store: Store, case: Case) -> tuple[Span | None, ...]:
    """Return for each target the validity (µs, half-open) in which its records count; None: all of them.

    Raises:
        ProcedureError: reason `no-subscription`: nobody held a target on the day that the order names.
    """
    spans: list[Span | None] = []
    for target in case.task.targets:
        if target.held_on is None or case.authorisation.is_test:
            spans.append(None)
            continue
        day = date.fromisoformat(target.held_on)
        found = [item for item in holders(store, target.kind, target.value, day, day) if day < item.end]
        if not found:
            raise ProcedureError("no subscription is known for the day that the order names", reason="no-subscription")
        spans.append(_span(found[0]))
    return tuple(spans)


class Separation:
    """Keeps the rows of a result apart by the subscription in which they began; feed it in the result's order."""

    def __init__(self, store: Store, case: Case) -> None:
        self._basis, self._targets = case.basis, case.task.targets
        window = case.task.window
        first, last = to_date(window.start_us), to_date(window.end_us - 1)
        self._first, self._end = first, last + timedelta(days=1)
        self._held = [
            [] if case.authorisation.is_test else holders(store, target.kind, target.value, first, last)
            for target in self._targets
        ]
        self._runs: dict[tuple[int, int | str], list[list[int]]] = {}

    def add(self, kept: pa.Table, before: int) -> None:
        """Take records with logical names; `before` of the result came earlier."""
        starts = np.asarray(pc.cast(kept["start_time"], pa.int64()).to_numpy())
        for place, (target, held) in enumerate(zip(self._targets, self._held, strict=True)):
            if not held:
                continue
            left = names_target(kept, self._basis, target)
            for number, item in enumerate(held):
                from_us, to_us = _span(item)
                inside = left & (starts >= from_us) & (starts < to_us)
                self._extend((place, number), np.flatnonzero(inside) + before + 1)
                left = left & ~inside
            self._extend((place, _OTHER), np.flatnonzero(left) + before + 1)

    def about(self) -> list[dict[str, Any]]:
        """Return by target (0-based) its validities in the window, each with its rows as runs [first, last] from 1.

        No day outside the window is told: since when, and for how much longer, somebody subscribes was not asked.
        """
        return [
            {
                "target": place,
                "subscriptions": [
                    {
                        "from": max(item.valid_from, self._first).isoformat(),
                        "to": min(item.end, self._end).isoformat(),
                        "rows": self._runs.get((place, number), []),
                    }
                    for number, item in enumerate(held)
                ],
                "rows_without_subscription": self._runs.get((place, _OTHER), []),
            }
            for place, held in enumerate(self._held)
            if held
        ]

    def _extend(self, name: tuple[int, int | str], rows: Any) -> None:
        runs = self._runs.setdefault(name, [])
        for row in rows.tolist():
            if runs and runs[-1][1] == row - 1:
                runs[-1][1] = row
            else:
                runs.append([row, row])


def as_spans(body: Sequence[Sequence[int] | None]) -> tuple[Span | None, ...]:
    """Return the spans of their JSON form."""
    return tuple(None if item is None else (int(item[0]), int(item[1])) for item in body)


def _span(item: Subscription) -> Span:
    return midnight_us(item.valid_from), FOREVER_US if item.valid_to is None else midnight_us(item.valid_to)
