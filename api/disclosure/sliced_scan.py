"""What the index finds of a task, read in bounded memory and in one order, however the store cut it into parts.

The whole window is asked at once. More rows than one slice holds are asked again in halves of the time in which they
ended, down to an hour; so the order of a result begins with `end_time`, and does not depend on where it was cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from schemas.arrow import PACKED
from schemas.errors import ProcedureError
from schemas.packing import unpack_table
from store import ScanQuery, Store

if TYPE_CHECKING:
    from store.reading.scan import Plan

SLICE_ROWS_MAX: Final = 200_000
"""Rows held at once, before the order's roles and ports thin them out: about 100 MB."""
SLICE_US_MIN: Final = 3_600 * 1_000_000
_SLICE_ROWS_LIMIT: Final = 5 * SLICE_ROWS_MAX
"""Of one hour, which is not divided."""


Complete = Callable[[ScanQuery, list[pa.RecordBatch]], list[pa.RecordBatch]]
"""Adds to the store's records of a query what is kept elsewhere."""


def hits(store: Store, query: ScanQuery, complete: Complete | None = None) -> Iterator[pa.Table]:
    """Yield the rows of a query as tables of logical columns; each ends before the next one's first `end_time`.

    Every partition of the window is read or this raises: an unreadable part is never an empty answer.

    Raises:
        KeyUnavailableError, IntegrityError: a part cannot be read.
        ProcedureError: reason `too-many-records`.
    """
    yield from _halves(store, query, complete, query.start_us, query.end_us, last=True)


def _halves(
    store: Store, query: ScanQuery, complete: Complete | None, start_us: int, end_us: int, *, last: bool
) -> Iterator[pa.Table]:
    # Only the last stretch has the records that ended after the window, having begun inside it.
    asked = replace(query, start_us=start_us, end_us=query.end_us if last else end_us, by_end=not last)
    batches: list[pa.RecordBatch] = []
    rows = 0
    for batch in store.scan(asked):
        rows += batch.num_rows
        if rows > SLICE_ROWS_MAX and end_us - start_us > SLICE_US_MIN:
            break
        if rows > _SLICE_ROWS_LIMIT:
            raise too_many()
        batches.append(batch)
    else:
        if complete is not None:
            batches = complete(asked, batches)
        if sum(batch.num_rows for batch in batches) > _SLICE_ROWS_LIMIT:
            raise too_many()
        if batches:
            yield unpack_table(_joined(batches))
        return
    del batches
    middle = start_us + (end_us - start_us) // 2
    yield from _halves(store, query, complete, start_us, middle, last=False)
    yield from _halves(store, query, complete, middle, end_us, last=last)


def too_many() -> ProcedureError:
    """Return the refusal of a result beyond the limit."""
    return ProcedureError("the search found too many records", reason="too-many-records", hint="divide the window")


def _joined(batches: list[pa.RecordBatch]) -> pa.Table:
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    return pa.concat_tables(tables, promote_options="default") if tables else PACKED.empty_table()


def cut(tables: Iterable[pa.Table], rows: int) -> Iterator[tuple[pa.Table, bool]]:
    """Yield tables of `rows` rows in the same order, the last one shorter, each with whether it is the last."""
    held: list[pa.Table] = []
    count = 0
    for table in tables:
        held.append(table)
        count += table.num_rows
        while count > rows:  # not at equality: only what follows tells whether this is the last
            whole = pa.concat_tables(held, promote_options="default")
            yield whole.slice(0, rows), False
            held, count = [whole.slice(rows)], count - rows
    if count:
        yield pa.concat_tables(held, promote_options="default"), True


def erased_days(planned: Plan) -> list[dict[str, str]]:
    """Return the stretches of days of the window that are erased, as half-open dates."""
    found: list[list[date]] = []
    for day in sorted({key.end_date for key in planned.refused}):
        if found and found[-1][1] == day:
            found[-1][1] = day + timedelta(days=1)
        else:
            found.append([day, day + timedelta(days=1)])
    return [{"from": first.isoformat(), "to": end.isoformat()} for first, end in found]
