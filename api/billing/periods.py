"""Closed billing periods: their figures stay, and what changes afterwards comes as adjustments.

Closing stores the figures of every account, the highest batch counted, the batches withdrawn and the corrections in
force until then. Batches are numbered in the order in which they become visible, corrections in that in which they come
in force, so "later" is exactly "a higher number". `api.billing.adjustments` says what changed afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from api.billing import sealed
from api.billing.usage import Period, usage
from api.billing.usage_lines import MEASURES
from api.instants import parse_date
from schemas.errors import BusyError, NotFoundError, ProcedureError
from store import AuditEntry, Put, Store, files
from store.clock import to_date, to_text
from store.partitions import PartitionKey

KIND: Final = "usage-period"
TABLE: Final = "usage"


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """What closing fixed; `withdrawn` are the batches withdrawn before, `correction_max` the newest correction."""

    period: Period
    closed_at: str
    batch_id_max: int
    withdrawn: frozenset[int]
    correction_max: int
    lines: int

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form for people."""
        return {
            "from": self.period.start.isoformat(),
            "to": self.period.end.isoformat(),
            "closed_at": self.closed_at,
            "batch_id_max": self.batch_id_max,
            "lines": self.lines,
        }


def close(store: Store, period: Period) -> ClosedPeriod:
    """Close a period that is over.

    Raises:
        ProcedureError: it is not over (`not-over`), closed already (`closed`) or overlaps a closed one (`overlap`).
        BusyError: a batch was withdrawn, or a record corrected or erased meanwhile; nothing is closed.
    """
    now_us = store.clock.now_us()
    if period.end > to_date(now_us):
        raise ProcedureError("the period is not over", reason="not-over")
    for other in closed_periods(store):
        if other.period == period:
            raise ProcedureError("the period is closed already", reason="closed")
        if other.period.start < period.end and period.start < other.period.end:
            raise ProcedureError("the period overlaps a closed one", reason="overlap")
    before = _changes(store, period)
    withdrawn, newest, _ = before
    highest = _highest_batch(store)
    lines = usage(store, period, batch_id_max=highest)
    closed = ClosedPeriod(period, to_text(now_us), highest, withdrawn, newest, lines.num_rows)
    body = closed.as_dict() | {"withdrawn": sorted(withdrawn), "correction_max": newest}
    entry = AuditEntry("usage.closed", closed.as_dict())
    with files.lock(store.layout.erasure_lock, exclusive=True, blocking=True):  # no record is erased meanwhile
        if _changes(store, period) != before:
            raise BusyError("something was withdrawn, corrected or erased meanwhile", hint="close the period again")
        sealed.keep(store, TABLE, period.id, lines)
        store.documents.commit([Put(KIND, period.id, body, expect=0)], [entry])
    return closed


def closed_periods(store: Store) -> list[ClosedPeriod]:
    """Return the closed periods, oldest first."""
    return [_from_body(document.body) for document in store.documents.list(KIND)]


def closed_period(store: Store, period: Period) -> ClosedPeriod | None:
    """Return what closing fixed of exactly this period; None when it is not closed."""
    try:
        return _from_body(store.documents.get(KIND, period.id).body)
    except NotFoundError:
        return None


def figures(store: Store, period: Period, *, account: str | None = None) -> tuple[pa.Table, bool]:
    """Return the lines of a period and whether they are the fixed ones of a closed period."""
    if closed_period(store, period) is None:
        return usage(store, period, account=account), False
    lines = sealed.read(store, TABLE, period.id)
    if account is not None:
        lines = lines.filter(pc.equal(lines["account"], pa.scalar(account)))
    return lines, True


def _highest_batch(store: Store) -> int:
    return int(store.catalog.query("SELECT coalesce(max(batch_id), 0) FROM batches")[0][0])


def _withdrawn(store: Store) -> frozenset[int]:
    return frozenset(
        row[0] for row in store.catalog.query("SELECT batch_id FROM batches WHERE withdrawn_us IS NOT NULL")
    )


def _changes(store: Store, period: Period) -> tuple[frozenset[int], int, set[PartitionKey]]:
    """Return what tells that stored figures of a period are others than before: beside new batches."""
    keys = {item.key for item in store.partitions() if period.start <= item.key.end_date < period.end}
    return _withdrawn(store), store.corrections.newest(), keys


def _from_body(body: dict[str, Any]) -> ClosedPeriod:
    period = Period(parse_date(body["from"]), parse_date(body["to"]))
    withdrawn = frozenset(body["withdrawn"])
    return ClosedPeriod(
        period, body["closed_at"], body["batch_id_max"], withdrawn, body["correction_max"], body["lines"]
    )


def totals(lines: pa.Table) -> dict[str, int]:
    """Return the sum of every measure."""
    return {name: int(pc.sum(lines[name]).as_py() or 0) for name in MEASURES}
