"""Closed billing periods: their figures stay, and what changes afterwards comes as adjustments.

Closing stores the figures of every account, the highest batch counted and the batches withdrawn until then. Batches
are numbered in the order in which they become visible, so "late" is exactly "a higher number".

An adjustment line is one batch's part of one account: `late` for a batch that came after the closing, `withdrawn` with
negative figures for a batch that was counted and then withdrawn. A batch's lines never change, so a consumer that
knows (batch_id, kind) knows the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from api.billing import sealed, subscriptions
from api.billing.usage import Period, source_codes, usage
from api.billing.usage_lines import LINE, MEASURES
from api.billing.usage_sql import aggregate
from api.instants import parse_date
from schemas.errors import BusyError, NotFoundError, ProcedureError
from store import AuditEntry, Put, Store
from store.clock import to_date, to_text

KIND: Final = "usage-period"
TABLE: Final = "usage"
ADJUSTMENT: Final = pa.schema([pa.field("kind", pa.string()), pa.field("batch_id", pa.int64()), *LINE])


@dataclass(frozen=True, slots=True)
class ClosedPeriod:
    """What closing fixed; `withdrawn` are the batches that were withdrawn before."""

    period: Period
    closed_at: str
    batch_id_max: int
    withdrawn: frozenset[int]
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
        BusyError: a batch was withdrawn meanwhile; nothing is closed.
    """
    now_us = store.clock.now_us()
    if period.end > to_date(now_us):
        raise ProcedureError("the period is not over", reason="not-over")
    for other in closed_periods(store):
        if other.period == period:
            raise ProcedureError("the period is closed already", reason="closed")
        if other.period.start < period.end and period.start < other.period.end:
            raise ProcedureError("the period overlaps a closed one", reason="overlap")
    highest, withdrawn = _highest_batch(store), _withdrawn(store)
    lines = usage(store, period, batch_id_max=highest)
    if _withdrawn(store) != withdrawn:
        raise BusyError("a batch was withdrawn meanwhile", hint="close the period again")
    closed = ClosedPeriod(period, to_text(now_us), highest, withdrawn, lines.num_rows)
    sealed.keep(store, TABLE, period.id, lines)
    body = closed.as_dict() | {"withdrawn": sorted(withdrawn)}
    entry = AuditEntry("usage.closed", closed.as_dict())
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


def adjustments(store: Store, period: Period, *, account: str | None = None) -> pa.Table:
    """Return the adjustment lines (`ADJUSTMENT`) of a closed period, by kind, batch and account.

    Raises:
        NotFoundError: the period is not closed.
    """
    closed = closed_period(store, period)
    if closed is None:
        raise NotFoundError("the period is not closed", hint="`lagrum usage close` closes it")
    late = _lines(store, _late(store, closed))
    gone = _lines(store, _gone(store, closed))
    negative = [gone["batch_id"], *(gone[name] for name in LINE.names[:3])]
    negative += [pc.negate(gone[name]) for name in MEASURES]
    gone = pa.table(negative, names=late.column_names)
    found = pa.concat_tables([_with_kind("late", late), _with_kind("withdrawn", gone)])
    if account is not None:
        found = found.filter(pc.equal(found["account"], pa.scalar(account)))
    return found


def _late(store: Store, closed: ClosedPeriod) -> Iterator[pa.RecordBatch]:
    for batch in store.scan(closed.period.query()):
        yield batch.filter(pc.greater(batch["batch_id"], pa.scalar(closed.batch_id_max)))


def _gone(store: Store, closed: ClosedPeriod) -> Iterator[pa.RecordBatch]:
    gone = {batch for batch in _withdrawn(store) - closed.withdrawn if batch <= closed.batch_id_max}
    if not gone:
        return
    chosen = pa.array(sorted(gone), pa.int64())
    query = replace(closed.period.query(batch_id_max=closed.batch_id_max), include_withdrawn=True)
    for batch in store.scan(query):
        yield batch.filter(pc.is_in(batch["batch_id"], value_set=chosen))


def _lines(store: Store, batches: Iterator[pa.RecordBatch]) -> pa.Table:
    return aggregate(batches, owned=subscriptions.owned(store), codes=source_codes(store), by_batch=True)


def _with_kind(kind: str, lines: pa.Table) -> pa.Table:
    words = pa.array([kind] * lines.num_rows, pa.string())
    return lines.add_column(0, "kind", words).cast(ADJUSTMENT)


def _highest_batch(store: Store) -> int:
    return int(store.catalog.query("SELECT coalesce(max(batch_id), 0) FROM batches")[0][0])


def _withdrawn(store: Store) -> frozenset[int]:
    return frozenset(
        row[0] for row in store.catalog.query("SELECT batch_id FROM batches WHERE withdrawn_us IS NOT NULL")
    )


def _from_body(body: dict[str, Any]) -> ClosedPeriod:
    period = Period(parse_date(body["from"]), parse_date(body["to"]))
    return ClosedPeriod(period, body["closed_at"], body["batch_id_max"], frozenset(body["withdrawn"]), body["lines"])


def totals(lines: pa.Table) -> dict[str, int]:
    """Return the sum of every measure."""
    return {name: int(pc.sum(lines[name]).as_py() or 0) for name in MEASURES}
