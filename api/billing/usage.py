"""Usage for billing: counts, durations and volumes per account, service type and destination class.

A record belongs to the period in which it *ended*, so that each is in exactly one. Its account is the one that the
source tells, else the subscription that was valid when it began. Conflicts are never billed.

Many records are added up by compiled loops over the stored integers (`api.billing.usage_tally`), fewer by SQL
(`api.billing.usage_sql`); both in memory that is capped and never written anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from api.billing import subscriptions
from api.billing.usage_lines import COLUMNS, SERVED
from api.billing.usage_sql import aggregate
from api.billing.usage_tally import KERNELS, Tally
from api.instants import midnight_us
from schemas.destinations import country_code
from schemas.errors import ConfigurationError
from schemas.holds import Purpose
from store import ScanQuery, Store, TargetIdentifier, native
from store.encoding.figure_batch import FigureBatch

KERNEL_ROWS: Final = 200_000
"""Fewer rows are no reason to load the compiled kernels; when they are there, they are used."""
_TARGETS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open dates, UTC."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ConfigurationError("a period ends after it begins", hint="its end is the day after the last")

    @property
    def id(self) -> str:
        """How the period is named in documents."""
        return f"{self.start.isoformat()}_{self.end.isoformat()}"

    def query(self, **more: Any) -> ScanQuery:
        """Return the query for the records that ended in the period."""
        return ScanQuery(
            start_us=midnight_us(self.start),
            end_us=midnight_us(self.end),
            columns=COLUMNS,
            include_conflicts=False,
            by_end=True,
            purpose=Purpose.BILLING,
            **more,
        )


def usage(store: Store, period: Period, *, account: str | None = None, batch_id_max: int | None = None) -> pa.Table:
    """Return the lines (`LINE`) of one account, or of all, by account, service type and destination.

    Raises:
        KeyUnavailableError, IntegrityError: a part cannot be read; there is no partial answer.
        ProcedureError: the period lies further back than billing reads (`purpose-window`).
        BusyError: the figures do not fit into the memory allowed.
    """
    owned = subscriptions.owned(store)
    codes = source_codes(store)
    if account is not None:
        # The others' identifiers stay in the join: whose number called decides before whose IMSI it was.
        batches = chain(_of_account(store, period, account, batch_id_max), _held(store, period, COLUMNS, batch_id_max))
        lines = aggregate(batches, owned=owned, codes=codes)
        return lines.filter(pc.equal(lines["account"], pa.scalar(account)))
    columns = _columns(owned)
    query = replace(period.query(batch_id_max=batch_id_max), columns=columns)
    # What unpaid invoices keep beyond their partitions' ends is usage too.
    held = _held(store, period, columns, batch_id_max)
    if _is_much(store, query):
        return _tallied(store, query, held, owned, codes)
    return aggregate(chain(store.scan(query), held), owned=owned, codes=codes, columns=columns)


def _is_much(store: Store, query: ScanQuery) -> bool:
    return native.is_loaded(KERNELS) or sum(part.rows for part in store.plan(query).parts) >= KERNEL_ROWS


def _tallied(
    store: Store,
    query: ScanQuery,
    held: Iterator[pa.RecordBatch],
    owned: subscriptions.Owned,
    codes: dict[str, str | None],
) -> pa.Table:
    tally = Tally(owned, codes)
    for batch in store.scan_figures(query):
        tally.add(batch)
    for records in held:
        tally.add(FigureBatch.of(records))
    return tally.lines()


def _held(store: Store, period: Period, columns: tuple[str, ...], batch_id_max: int | None) -> Iterator[pa.RecordBatch]:
    return store.holds.scan(
        Purpose.BILLING,
        start_us=midnight_us(period.start),
        end_us=midnight_us(period.end),
        columns=columns,
        by_end=True,
        include_conflicts=False,
        batch_id_max=batch_id_max,
    )


def _columns(owned: subscriptions.Owned) -> tuple[str, ...]:
    """Return what lines are made of: identifiers and beginnings only where subscriptions ask for them."""
    spare = {*SERVED, "called_number_text", "batch_id"} - owned.tables.keys()
    return tuple(name for name in COLUMNS if name not in spare and (owned.tables or name != "start_time"))


def source_codes(store: Store) -> dict[str, str | None]:
    """Return the calling code of each registered source's country."""
    return {item.id: country_code(item.body.get("country")) for item in store.documents.list("source")}


def _of_account(store: Store, period: Period, account: str, batch_id_max: int | None) -> Iterator[pa.RecordBatch]:
    yield from store.scan(period.query(accounts=(account,), batch_id_max=batch_id_max))
    own = subscriptions.load(store, account=account)
    targets = tuple(TargetIdentifier(kind, value) for kind, value in sorted({(item.kind, item.value) for item in own}))
    if not targets:
        return
    # Beyond so many identifiers, comparing every record with each costs more than joining every record once.
    chosen = targets if len(targets) <= _TARGETS_MAX else ()
    for batch in store.scan(period.query(targets=chosen, batch_id_max=batch_id_max)):
        # What the source assigned came with the first scan.
        yield batch.filter(pc.and_(pc.is_null(batch["account"]), pc.is_null(batch["account_text"])))
