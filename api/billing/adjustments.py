"""What changed in a closed billing period after its closing; closing figure and adjustments add up to today's usage.

An adjustment line is one change's part of one account:

* `late`: a batch that came after the closing;
* `withdrawn`: a batch that was withdrawn after it, negative; with `correction`, it takes back that correction's line;
* `corrected`: what one correction of a single record changed, the difference of after and before;
* `erased`: a record that was erased, negative, as it counted last.

`changed_on` is the UTC day of the change: it lies after the period, so the line goes onto the bill of the later period
in which that day lies. A line never changes, so a consumer that knows (kind, batch_id, correction) knows the line. For
that, the lines of batches are counted as of the closing, and corrections by themselves. Before a record is erased, and
before a batch is withdrawn, whose records a merge leaves out above the floor, the lines that could tell of them are
written down (`billing/adjustments-PERIOD.sealed`). What an erasure takes off the bill comes with them in the
transaction that erases: a total by account, nothing else of the record.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute

from api.billing import sealed, subscriptions
from api.billing.periods import ClosedPeriod, closed_period, closed_periods
from api.billing.usage import Period, source_codes
from api.billing.usage_lines import COLUMNS, LINE, MEASURES
from api.billing.usage_sql import aggregate
from schemas.errors import NotFoundError, ProcedureError
from store import Put, ScanQuery, Store, files
from store.clock import to_date
from store.correcting.overlay import PLACE, Correction, apply, in_effect
from store.retention.erasing import places

pc: Any = pyarrow.compute  # its stubs do not know arrays of unknown type

LATE, WITHDRAWN, CORRECTED, ERASED = "late", "withdrawn", "corrected", "erased"
BOOKED: Final = "adjustments"
DOCUMENT: Final = "usage-erased"
_KEY: Final = ("kind", "batch_id", "correction")
ADJUSTMENT: Final = pa.schema(
    [("kind", pa.string()), ("batch_id", pa.int64()), ("correction", pa.string()), ("changed_on", pa.string()), *LINE]
)
_READ: Final = (*dict.fromkeys((*COLUMNS, "conflict", *PLACE)),)
Line: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Record:
    """One record as it is stored, and its corrections in the order in which they came in force."""

    place: tuple[int, int]
    stored: pa.Table
    corrections: Sequence[Correction]

    def apply(self, count: int) -> pa.Table:
        """Return it as it was after so many of its corrections: one row, or none."""
        return apply(self.stored, in_effect(self.corrections[:count]))


def adjustments(store: Store, period: Period, *, account: str | None = None) -> pa.Table:
    """Return the adjustment lines (`ADJUSTMENT`) of a closed period, by kind, batch, correction and account.

    Raises:
        NotFoundError: the period is not closed.
        ProcedureError: the period lies further back than billing reads (`purpose-window`).
    """
    closed = closed_period(store, period)
    if closed is None:
        raise NotFoundError("the period is not closed", hint="`lagrum usage close` closes it")
    found = _all(store, closed)
    found = found.sort_by([(name, "ascending") for name in (*_KEY, "account", "service_type", "destination")])
    return found if account is None else found.filter(pc.equal(found["account"], pa.scalar(account)))


def before_erasure(store: Store, wanted: Correction) -> list[Put]:
    """Write down the lines that could tell of records about to be erased; return what their erasure takes off.

    Nothing is written for records of no closed period. `store.retention.erasing` holds the lock under which periods
    are closed, and commits what is returned with the erasure.
    """
    puts, day = [], wanted.partition.end_date
    for closed in closed_periods(store):
        if not closed.period.start <= day < closed.period.end:
            continue
        sealed.keep(store, BOOKED, closed.period.id, _all(store, closed))
        today = _day(store.clock.now_us())
        rows = [{**line, "changed_on": today} for line in _Reading(store, closed).erased(wanted)]
        puts.append(Put(DOCUMENT, wanted.act, {"period": closed.period.id, "lines": rows}, expect=0))
    return puts


def before_withdrawal(store: Store, batch_id: int) -> None:
    """Write down the lines of a batch about to be withdrawn, and those that its withdrawal makes.

    They count once it is withdrawn. Of periods further back than billing reads nobody could tell any.
    """
    with files.lock(store.layout.erasure_lock, exclusive=True, blocking=True):
        for closed in closed_periods(store):
            if _reaches(store, batch_id, closed.period):
                with suppress(ProcedureError):
                    sealed.keep(store, BOOKED, closed.period.id, _all(store, closed, leaving=batch_id))


def _reaches(store: Store, batch_id: int, period: Period) -> bool:
    """Tell whether records of a batch lie in the days of a period."""
    days = "SELECT partition_id FROM partitions WHERE end_date >= ? AND end_date < ?"
    return bool(
        store.catalog.query(
            f"SELECT 1 FROM parts LEFT JOIN part_batches USING (part_id) WHERE partition_id IN ({days}) "  # noqa: S608
            "AND ? IN (parts.batch_id, part_batches.batch_id) LIMIT 1",
            (period.start.isoformat(), period.end.isoformat(), batch_id),
        )
    )


def _all(store: Store, closed: ClosedPeriod, *, leaving: int | None = None) -> pa.Table:
    """Return the lines that are written down, then those that the store tells besides; `leaving` as if withdrawn."""
    reading = _Reading(store, closed, leaving)
    try:
        booked = sealed.read(store, BOOKED, closed.period.id).to_pylist()
    except NotFoundError:
        booked = []
    # of a withdrawal that was written down and then did not come about, nothing counts
    booked = [line for line in booked if line["kind"] != WITHDRAWN or reading.is_withdrawn(line["batch_id"])]
    erased = [
        line
        for document in store.documents.list(DOCUMENT)
        if document.body["period"] == closed.period.id
        for line in document.body["lines"]
    ]
    known = {_key(line) for line in booked}
    lines = booked + [line for line in [*erased, *reading.lines()] if _key(line) not in known]
    return pa.Table.from_pylist(lines, ADJUSTMENT)


class _Reading:
    """What the store tells of a closed period, from stored records and the corrections that count at each moment."""

    def __init__(self, store: Store, closed: ClosedPeriod, leaving: int | None = None) -> None:
        self._store, self._closed = store, closed
        gone = store.catalog.query("SELECT batch_id, withdrawn_us FROM batches WHERE withdrawn_us IS NOT NULL")
        self._withdrawn: dict[int, int] = {row[0]: row[1] for row in gone if row[0] not in closed.withdrawn}
        self._known = frozenset(self._withdrawn)
        if leaving is not None and leaving not in closed.withdrawn:
            self._withdrawn.setdefault(leaving, store.clock.now_us())
        confirmed = (item for item in store.corrections.all() if item.confirmed)
        period = closed.period
        self._corrections = sorted(
            (item for item in confirmed if period.start <= item.partition.end_date < period.end),
            key=lambda item: item.number,
        )

    def is_withdrawn(self, batch_id: int) -> bool:
        """Tell whether a batch was withdrawn after the closing."""
        return batch_id in self._known

    def lines(self) -> Iterator[Line]:
        """Yield what came, was withdrawn and was corrected after the closing."""
        highest = self._closed.batch_id_max
        for line in self._of_batches(lambda batch: pc.greater(batch, highest)):
            yield self._of_batch(LATE, line, "received_us")
        if self._withdrawn:
            chosen = pa.array(sorted(self._withdrawn), pa.int64())
            for line in self._of_batches(lambda batch: pc.is_in(batch, value_set=chosen)):
                yield self._of_batch(WITHDRAWN, _negative(line), "withdrawn_us")
        for line in self._corrected():
            yield line
            if line["batch_id"] in self._withdrawn:
                yield self._of_batch(WITHDRAWN, _negative(line), "withdrawn_us")

    def erased(self, wanted: Correction) -> Iterator[Line]:
        """Yield what records that a request names counted last, negative; nothing of a batch that is withdrawn."""
        last = (
            record.apply(len(record.corrections))
            for record in self._records(places(wanted), {wanted.partition.end_date})
            if record.place[0] not in self._withdrawn
        )
        for line in self._aggregate(last):
            yield {"kind": ERASED, "correction": wanted.act, **_negative(line)}

    def _of_batches(self, picks: Callable[[Any], Any]) -> list[Line]:
        """Return the lines of batches as of the closing."""
        then = in_effect([item for item in self._corrections if item.number <= self._closed.correction_max])
        stored = (pa.Table.from_batches([batch]) for batch in self._store.scan(self._query(self._closed.period)))
        picked = (table.filter(picks(table.column("batch_id"))) for table in stored)
        return self._aggregate(apply(table, then) for table in picked if table.num_rows)

    def _corrected(self) -> Iterator[Line]:
        """Yield the difference that each correction after the closing made: what counted after it less before it."""
        later = [item for item in self._corrections if item.number > self._closed.correction_max]
        steps: list[tuple[int, Correction]] = []
        tables: list[pa.Table] = []
        for record in self._records({item.place for item in later}, {item.partition.end_date for item in later}):
            for count, item in enumerate(record.corrections):
                if item.number <= self._closed.correction_max:
                    continue
                for sign, corrections in ((-1, count), (1, count + 1)):
                    # One aggregation counts every state: its number stands where the batch would.
                    table = record.apply(corrections)
                    numbers = pa.array([len(steps)] * table.num_rows, pa.int64())
                    tables.append(table.set_column(table.column_names.index("batch_id"), "batch_id", numbers))
                    steps.append((sign, item))
        sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0] * len(MEASURES))
        corrected = {item.number: item for item in later}
        for line in self._aggregate(tables) if tables else ():
            sign, item = steps[line["batch_id"]]
            total = sums[item.number, *(line[name] for name in LINE.names[:3])]
            for place, name in enumerate(MEASURES):
                total[place] += sign * line[name]
        for (number, *names), total in sums.items():
            item = corrected[number]
            line = dict(zip(LINE.names, (*names, *total), strict=True))
            line |= {"kind": CORRECTED, "batch_id": item.batch_id, "correction": item.act}
            if any(total):
                yield {**line, "changed_on": _day(item.confirmed_us or 0)}

    def _records(self, named: set[tuple[int, int]], days: set[date]) -> Iterator[_Record]:
        """Yield these records as they are stored; those that the closing had withdrawn count for nothing."""
        items: dict[tuple[int, int], list[Correction]] = {place: [] for place in named}
        for item in self._corrections:
            if item.place in items:
                items[item.place].append(item)
        batches = pa.array(sorted({batch for batch, _ in named} - self._closed.withdrawn), pa.int64())
        for day in sorted(days):
            for batch in self._store.scan(self._query(Period(day, day + timedelta(days=1)))):
                table = pa.Table.from_batches([batch])
                table = table.filter(pc.is_in(table.column("batch_id"), value_set=batches))
                found = zip(*(table.column(name).to_pylist() for name in PLACE), strict=True)
                for row, place in enumerate(found):
                    if place in items:
                        yield _Record(place, table.slice(row, 1), items[place])

    def _query(self, period: Period) -> ScanQuery:
        """Return the query for records as they are stored, whatever became of them."""
        query = replace(period.query(), columns=_READ, include_conflicts=True)
        return replace(query, include_withdrawn=True, uncorrected=True)

    def _aggregate(self, tables: Iterable[pa.Table]) -> list[Line]:
        counted = (table.filter(pc.invert(pc.fill_null(table.column("conflict"), False))) for table in tables)
        batches = (batch for table in counted for batch in table.select(COLUMNS).to_batches())
        owned, codes = subscriptions.owned(self._store), source_codes(self._store)
        return aggregate(batches, owned=owned, codes=codes, by_batch=True).to_pylist()

    def _of_batch(self, kind: str, line: Line, when: str) -> Line:
        """Return a line that a batch made, with the day on which it did."""
        if when == "withdrawn_us":
            time_us = self._withdrawn[line["batch_id"]]
        else:
            select = "SELECT received_us FROM batches WHERE batch_id = ?"
            time_us = self._store.catalog.query(select, (line["batch_id"],))[0][0]
        return {"correction": None, **line, "kind": kind, "changed_on": _day(time_us)}


def _day(time_us: int) -> str:
    return to_date(time_us).isoformat()


def _negative(line: Line) -> Line:
    return {**line, **{name: -line[name] for name in MEASURES}}


def _key(line: Line) -> tuple[Any, ...]:
    return tuple(line[name] for name in _KEY)
