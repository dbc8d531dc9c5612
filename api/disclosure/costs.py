"""The cost ledger: which work each task of a year was, and what it costs by a price list. No target stands in it.

Billing reads it to send invoices to authorities, so it counts work and never its result: whether anything was found
cannot be told from it. Tests cost nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final

from api.disclosure import case_history
from api.disclosure.casebook import Casebook
from api.disclosure.deliveries import DAY_US
from api.disclosure.model import Actor, Authorisation, Task
from api.people.roles import Role
from schemas.prices import UNITS, PriceList
from store import Store
from store.clock import to_date

_READERS: Final = (Role.APPROVER, Role.DPO, Role.BILLING)
_HEAD: Final = ("task", "authorisation", "basis", "authority", "registered_on")


def ledger(store: Store, actor: Actor, year: int) -> dict[str, Any]:
    """Return the work on every task that was registered in a calendar year (UTC), oldest first.

    Raises:
        ProcedureError: another role; logged.
        AuditError: the reading could not be logged.
    """
    start_us, end_us = case_history.year_us(year)
    with case_history.reading(store, actor, "costs", _READERS, year=year):
        casebook = Casebook(store)
        orders = {item.id: item for item in casebook.authorisations()}
        rows = [
            _row(orders[task.authorisation_id], task)
            for task in casebook.tasks()
            if start_us <= task.registered_at_us < end_us and not orders[task.authorisation_id].is_test
        ]
    return {"year": year, "rows": rows, "totals": {unit: sum(row["units"][unit] for row in rows) for unit in UNITS}}


def units_of(item: Authorisation, task: Task) -> dict[str, int]:
    """Return a task's units of work. Pure.

    A run is counted once: a second one is the operator's repair.
    """
    span_us = task.window.end_us - task.window.start_us
    return {
        "task": 1,
        "target": len(task.targets),
        "window-day": -(-span_us // DAY_US),
        "run": int(task.runs > 0),
        "release": int(task.release_approval is not None),
        "emergency": int(item.emergency),
    }


def priced(document: Mapping[str, Any], prices: PriceList) -> dict[str, Any]:
    """Return a ledger with amounts in minor units; a unit without a price is named and never guessed. Pure."""
    rows = [_priced(row, prices) for row in document["rows"]]
    missing = sorted({unit for row in rows for unit in row["unpriced"]})
    total = sum(row["amount_minor"] for row in rows)
    return {**document, "currency": prices.currency, "rows": rows, "amount_minor": total, "unpriced": missing}


def _priced(row: Mapping[str, Any], prices: PriceList) -> dict[str, Any]:
    day, total, unpriced, sources = date.fromisoformat(row["registered_on"]), 0, [], set()
    for unit, count in row["units"].items():
        if not count:
            continue
        price = prices.price(unit, row["basis"], day)
        if price is None:
            unpriced.append(unit)
            continue
        total += count * price.amount_minor
        sources.add(price.citation or "the operator's own figure")
    return {**row, "amount_minor": total, "unpriced": unpriced, "sources": sorted(sources)}


def to_csv(document: Mapping[str, Any]) -> bytes:
    """Return a ledger as CSV (RFC 4180, UTF-8) with a row for each task. Pure."""
    extra: Sequence[str] = ("amount_minor", "currency") if "currency" in document else ()
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow([*_HEAD, *UNITS, *extra])
    for row in document["rows"]:
        amounts = [row["amount_minor"], document["currency"]] if extra else []
        writer.writerow([*(row[name] for name in _HEAD), *(row["units"][unit] for unit in UNITS), *amounts])
    return sink.getvalue().encode("utf-8")


def _row(item: Authorisation, task: Task) -> dict[str, Any]:
    return {
        "task": task.id,
        "authorisation": item.id,
        "basis": item.basis_id,
        "authority": item.authority,
        "registered_on": to_date(task.registered_at_us).isoformat(),
        "units": units_of(item, task),
    }
