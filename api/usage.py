"""Usage for billing: counts, durations and volumes per account, service type and destination class.

A record belongs to the period in which it *ended*, so that each is in exactly one. Its account is the one that the
source tells, else the subscription that was valid when it began. Conflicts are never billed.

DuckDB aggregates decrypted Arrow batches in memory that is capped; it has no temporary directory, no file access and
no network, so nothing is ever spilt in the clear.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import chain
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from api import subscriptions
from api.instants import midnight_us
from schemas.arrow import PACKED
from schemas.destinations import country_code, destination_sql
from schemas.errors import BusyError, ConfigurationError, IntegrityError
from schemas.holds import Purpose
from store import ScanQuery, Store, TargetIdentifier

NOT_CHARGED: Final = "delivery-report"
"""A disposition that tells of another record's fate and is no service by itself."""
MEMORY_MAX: Final = "1GB"
THREADS: Final = 2
MEASURES: Final = ("records", "duration_ms", "billable_duration_ms", "volume_up_bytes", "volume_down_bytes")
_KEYS: Final = ("account", "service_type", "destination")
LINE: Final = pa.schema([(name, pa.string()) for name in _KEYS] + [(name, pa.int64()) for name in MEASURES])
"""One line of usage. `account` is null for records that no account owns."""

_COLUMNS: Final = (
    "account",
    "account_text",
    "calling_number",
    "calling_number_text",
    "imsi",
    "imsi_text",
    "mac",
    "source_ip",
    "source_ip_v6",
    "called_number",
    "called_number_text",
    "service_type",
    "disposition",
    "source",
    "start_time",
    "duration_ms",
    "billable_duration_ms",
    "volume_up_bytes",
    "volume_down_bytes",
    "batch_id",
)
# In this order an identifier decides the account.
_SERVED: Final = ("calling_number", "calling_number_text", "imsi", "imsi_text", "mac", "source_ip", "source_ip_v6")
_TARGETS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Period:
    """Half-open dates, UTC."""

    start: date
    end: date

    def __post_init__(self) -> None:
        if self.start >= self.end:
            raise ConfigurationError("a period ends after it begins")

    @property
    def id(self) -> str:
        """How the period is named in documents."""
        return f"{self.start.isoformat()}_{self.end.isoformat()}"

    def query(self, **more: Any) -> ScanQuery:
        """Return the query for the records that ended in the period."""
        return ScanQuery(
            start_us=midnight_us(self.start),
            end_us=midnight_us(self.end),
            columns=_COLUMNS,
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
    owners = subscriptions.load(store)
    columns: tuple[str, ...] = _COLUMNS
    if account is None:
        columns = _columns(owners)
        batches = store.scan(replace(period.query(batch_id_max=batch_id_max), columns=columns))
    else:
        # The others' identifiers stay in the join: whose number called decides before whose IMSI it was.
        own = [item for item in owners if item.account == account]
        batches = _of_account(store, period, account, own, batch_id_max)
    # What unpaid invoices keep beyond their partitions' ends is usage too.
    held = store.holds.scan(
        Purpose.BILLING,
        start_us=midnight_us(period.start),
        end_us=midnight_us(period.end),
        columns=columns,
        by_end=True,
        include_conflicts=False,
        batch_id_max=batch_id_max,
    )
    batches = chain(batches, held)
    lines = aggregate(batches, owners=owners, codes=source_codes(store), columns=columns)
    if account is not None:
        lines = lines.filter(pc.equal(lines["account"], pa.scalar(account)))
    return lines.select(LINE.names)


def aggregate(
    batches: Iterator[pa.RecordBatch],
    *,
    owners: Sequence[subscriptions.Subscription],
    codes: dict[str, str | None],
    by_batch: bool = False,
    columns: Sequence[str] = _COLUMNS,
) -> pa.Table:
    """Return the lines of packed records; with `by_batch` one more column, `batch_id`."""
    records = _Records(batches, columns)
    reader = pa.RecordBatchReader.from_batches(records.schema, iter(records))
    joined, names = subscriptions.join_tables(owners)
    strings = {"codes": pa.table({"name": pa.array(codes, pa.string()), "code": pa.array(codes.values(), pa.string())})}
    strings["accounts"] = pa.table(
        {"owner": pa.array(range(len(names)), pa.int64()), "name": pa.array(names, pa.string())}
    )
    with _connect() as connection:
        connection.register("records", reader)
        for name, table in (strings | {f"by_{column}": table for column, table in joined.items()}).items():
            connection.register(name, table)
        try:
            found = connection.sql(_sql(set(joined), by_batch=by_batch)).to_arrow_table()
        except duckdb.OutOfMemoryException:
            raise BusyError("the figures do not fit into memory", hint="ask for a shorter period") from None
        except duckdb.Error:
            # A message of DuckDB's may quote a value, and hides what the scan itself said.
            raise records.failure or IntegrityError("the figures cannot be computed") from None
    lines: pa.Table = found.cast(pa.schema([pa.field("batch_id", pa.int64()), *LINE]) if by_batch else LINE)
    return lines


def _columns(owners: Sequence[subscriptions.Subscription]) -> tuple[str, ...]:
    """Return what lines are made of: identifiers and beginnings only where subscriptions ask for them."""
    joined = subscriptions.join_tables(owners)[0]
    spare = {*_SERVED, "called_number_text", "batch_id"} - joined.keys()
    return tuple(name for name in _COLUMNS if name not in spare and (joined or name != "start_time"))


def source_codes(store: Store) -> dict[str, str | None]:
    """Return the calling code of each registered source's country."""
    return {item.id: country_code(item.body.get("country")) for item in store.documents.list("source")}


def _of_account(
    store: Store,
    period: Period,
    account: str,
    owners: Sequence[subscriptions.Subscription],
    batch_id_max: int | None,
) -> Iterator[pa.RecordBatch]:
    yield from store.scan(period.query(accounts=(account,), batch_id_max=batch_id_max))
    targets = tuple(
        TargetIdentifier(kind, value) for kind, value in sorted({(item.kind, item.value) for item in owners})
    )
    if not targets:
        return
    # Beyond so many identifiers, comparing every record with each costs more than joining every record once.
    chosen = targets if len(targets) <= _TARGETS_MAX else ()
    for batch in store.scan(period.query(targets=chosen, batch_id_max=batch_id_max)):
        # What the source assigned came with the first scan.
        yield batch.filter(pc.and_(pc.is_null(batch["account"]), pc.is_null(batch["account_text"])))


_ADDRESS: Final = ("source_ip", "source_ip_v6")
_INPUT: Final = pa.schema(
    [PACKED.field(name) for name in _COLUMNS if name not in ("start_time", *_ADDRESS)]
    + [pa.field("start_us", pa.int64()), pa.field("source_ip", pa.int64()), pa.field("source_ip_v6", pa.string())]
)


class _Records:
    """The records on their way into DuckDB; remembers why the scan broke off."""

    def __init__(self, batches: Iterator[pa.RecordBatch], columns: Sequence[str]) -> None:
        self._batches = batches
        names = {"start_us" if name == "start_time" else name for name in columns}
        self.schema = pa.schema([field for field in _INPUT if field.name in names])
        self.failure: Exception | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                yield _prepared(batch, self.schema)
        except Exception as failure:
            self.failure = failure
            raise


def _prepared(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch in the types that DuckDB compares: whole numbers and texts only."""
    columns: dict[str, Any] = {name: batch[name] for name in batch.schema.names}
    if "start_time" in columns:
        columns["start_us"] = columns.pop("start_time").cast(pa.int64())
    if "source_ip_v6" in columns:
        v6 = columns["source_ip_v6"]
        given = v6.null_count < len(v6)
        texts = [None if value is None else value.hex() for value in v6.to_pylist()] if given else None
        columns["source_ip_v6"] = pa.nulls(len(v6), pa.string()) if texts is None else pa.array(texts, pa.string())
    return pa.RecordBatch.from_arrays(
        [columns[name].cast(schema.field(name).type) for name in schema.names], schema=schema
    )


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:", config={"threads": THREADS, "memory_limit": MEMORY_MAX, "temp_directory": ""}
    )
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def _sql(columns: set[str], *, by_batch: bool) -> str:
    """Return the query; only the columns for which there are subscriptions are joined.

    Groups are made on packed values; accounts become text only once per group.
    """
    batch = "batch_id, " if by_batch else ""
    joins, owners = [], []
    for column in _SERVED:
        if column not in columns:
            continue
        joins.append(
            f" LEFT JOIN by_{column} ON by_{column}.value = CASE WHEN r.account IS NULL AND r.account_text IS NULL"
            f" THEN r.{column} END AND r.start_us >= by_{column}.from_us AND r.start_us < by_{column}.to_us"
        )
        owners.append(f"by_{column}.owner")
    owner = f"coalesce({', '.join(owners)})" if owners else "CAST(NULL AS BIGINT)"
    called = destination_sql("r.called_number", "codes.code")
    sums = ", ".join(f"sum({name}) AS {name}" for name in MEASURES[1:])
    totals = ", ".join(f"CAST(coalesce(sum({name}), 0) AS BIGINT) AS {name}" for name in MEASURES)
    return f"""
        WITH grouped AS (
            SELECT {batch}r.account, r.account_text, {owner} AS owner, r.service_type, {called} AS destination,
                   count(*) AS records, {sums}
            FROM records AS r LEFT JOIN codes ON codes.name = r.source{"".join(joins)}
            WHERE r.disposition IS DISTINCT FROM '{NOT_CHARGED}'
            GROUP BY ALL
        )
        SELECT {batch}coalesce(substr(CAST(account AS VARCHAR), 2), account_text, accounts.name) AS account,
               CAST(service_type AS VARCHAR) AS service_type, destination, {totals}
        FROM grouped LEFT JOIN accounts USING (owner)
        GROUP BY ALL
        ORDER BY ALL NULLS LAST
    """  # noqa: S608 -- made of constants of this module only
