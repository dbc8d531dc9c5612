"""Usage by SQL: DuckDB adds up Arrow batches; what `api.billing.usage_tally` does by compiled loops, and by batch.

DuckDB has memory that is capped, no temporary directory, no file access and no network, so nothing is ever spilt in the
clear.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import duckdb
import pyarrow as pa

from api.billing.subscriptions import Owned
from api.billing.usage_lines import COLUMNS, LINE, MEASURES, NOT_CHARGED, SERVED, too_much
from schemas.arrow import PACKED
from schemas.destinations import destination_sql
from schemas.errors import IntegrityError

MEMORY_MAX: Final = "1GB"
THREADS: Final = 2


def aggregate(
    batches: Iterator[pa.RecordBatch],
    *,
    owned: Owned,
    codes: Mapping[str, str | None],
    by_batch: bool = False,
    columns: Sequence[str] = COLUMNS,
) -> pa.Table:
    """Return the lines of packed records, of schema `LINE`; with `by_batch` one more column before them, `batch_id`.

    Raises:
        BusyError: The figures do not fit into the memory that they are given.
        LagrumError: What the scan of the records raised.
        IntegrityError: The figures cannot be computed.
    """
    records = _Records(batches, columns)
    reader = pa.RecordBatchReader.from_batches(records.schema, iter(records))
    strings = {"codes": pa.table({"name": pa.array(codes, pa.string()), "code": pa.array(codes.values(), pa.string())})}
    strings["accounts"] = pa.table(
        {"owner": pa.array(range(len(owned.names)), pa.int64()), "name": pa.array(owned.names, pa.string())}
    )
    with _connect() as connection:
        connection.register("records", reader)
        for name, table in (strings | {f"by_{column}": table for column, table in owned.tables.items()}).items():
            connection.register(name, table)
        try:
            found = connection.sql(_sql(set(owned.tables), by_batch=by_batch)).to_arrow_table()
        except duckdb.OutOfMemoryException:
            raise too_much() from None
        except duckdb.Error:
            # A message of DuckDB's may quote a value, and hides what the scan itself said.
            raise records.failure or IntegrityError("the figures cannot be computed") from None
    lines: pa.Table = found.cast(pa.schema([pa.field("batch_id", pa.int64()), *LINE]) if by_batch else LINE)
    return lines


_ADDRESS: Final = ("source_ip", "source_ip_v6")
_INPUT: Final = pa.schema(
    [PACKED.field(name) for name in COLUMNS if name not in ("start_time", *_ADDRESS)]
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
    for column in SERVED:
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
