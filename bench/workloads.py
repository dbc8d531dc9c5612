"""What is measured: one frozen row per workload, its purpose in its comment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from bench import workload

ROWS_MIN: Final = 10_000


@dataclass(frozen=True, slots=True)
class Workload:
    """One measurement; `bar` is what the design asks for, in `unit`."""

    name: str
    what: str
    rows: int
    unit: str
    days: int = 1
    seed: int = workload.SEED
    repeats: int = 3
    bar: str = ""

    def scaled(self, scale: float) -> Workload:
        """Return the same workload with fewer (or more) records."""
        return replace(self, rows=max(ROWS_MIN, round(self.rows * scale)))


# The reference: one day of CSV, from a file to durable, encrypted, deduplicated, queryable, by the real command.
INGEST: Final = Workload(
    "ingest",
    "CSV of CDRs on disk to a durable, encrypted, deduplicated store (`lagrum ingest`)",
    workload.ROWS,
    "records/s",
    bar=">= 250 000",
)
# The floor under every CSV road: Arrow parses the same bytes and throws the result away.
ARROW: Final = Workload("arrow-parse", "Arrow parses the same file, nothing is stored", workload.ROWS, "records/s")
# A peer that stores: plain, without keys, checks, duplicates or fsync per batch.
DUCKDB: Final = Workload("duckdb-table", "DuckDB, same file into a plain table on disk", workload.ROWS, "records/s")
# A month of the same store: what billing and officers ask.
LOOKUP: Final = Workload("lookup", "all records of one number in a month, by scan", 2_000_000, "s", days=30, repeats=5)
USAGE: Final = Workload("usage", "a month's usage of every account", 2_000_000, "s", days=30, repeats=3)
VERIFY: Final = Workload(
    "verify", "`lagrum verify` of the month: every byte read again", 2_000_000, "records/s", days=30, repeats=1
)

ALL: Final = (INGEST, ARROW, DUCKDB, LOOKUP, USAGE, VERIFY)
