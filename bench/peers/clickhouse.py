"""ClickHouse in the process (chDB): MergeTree by day, ORDER BY (calling, start), bloom filters on the rest."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from bench.peers.base import COLUMN_OF, LINE, Keys, Peer, Window, window_sql

COLUMNS: Final = {
    "record_key": "UInt64",
    "switch": "LowCardinality(String)",
    "service_type": "LowCardinality(String)",
    "calling_number": "UInt64",
    "called_number": "UInt64",
    "start_time": "DateTime64(6, 'UTC')",
    "duration_s": "UInt32",
    "source_ip": "IPv4",
    "destination_ip": "IPv4",
    "imsi": "UInt64",
    "imei": "UInt64",
    "cell_id": "UInt32",
}
BLOOM: Final = "bloom_filter(0.01) GRANULARITY 1"
_END: Final = "addSeconds(start_time, duration_s)"


class ClickHouse(Peer):
    """Addresses and identifiers as integers, times as DateTime64: the shape that suits it best."""

    name = "clickhouse"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._session: Any = None

    def prepare(self) -> None:
        """Make the table."""
        self.resume()
        indexes = [f"INDEX {name}_bloom {name} TYPE {BLOOM}" for kind, name in COLUMN_OF.items() if kind != "calling"]
        columns = ", ".join([*(f"{name} {kind}" for name, kind in COLUMNS.items()), *indexes])
        self._query("CREATE DATABASE IF NOT EXISTS bench ENGINE = Atomic")
        self._query(
            f"CREATE TABLE bench.cdr ({columns}) ENGINE = MergeTree PARTITION BY toYYYYMMDD(start_time) "
            "ORDER BY (calling_number, start_time) SETTINGS fsync_after_insert = 1, fsync_part_directory = 1"
        )

    def load(self, paths: Sequence[Path]) -> int:
        """One INSERT from file() per file."""
        before = self.count()
        structure = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items()).replace("'", "\\'")
        for path in paths:
            self._query(
                f"INSERT INTO bench.cdr SELECT * FROM file('{path}', 'CSVWithNames', '{structure}') "
                "SETTINGS date_time_input_format = 'best_effort', max_partitions_per_insert_block = 0, max_threads = 2"
            )
        return self.count() - before

    def finish(self) -> None:
        """Merge every partition to one part."""
        self._query("OPTIMIZE TABLE bench.cdr FINAL")

    def resume(self) -> None:
        """Open the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._session = import_module("chdb.session").Session(str(self.folder))

    def lookup(self, kind: str, value: str, window: Window) -> Any:
        """SELECT * by one identifier."""
        wanted = f"toIPv4('{value}')" if kind in ("source", "destination") else value
        return self._query(f"SELECT * FROM bench.cdr WHERE {COLUMN_OF[kind]} = {wanted} AND {_within(window)}")

    def keys(self, answer: Any) -> Keys:
        """Return the record keys."""
        keys: Keys = answer.column("record_key").to_numpy().astype(np.int64)
        return keys

    def subscribe(self, accounts: pa.Table) -> None:
        """Keep the accounts in a table that joins look up."""
        self._query("CREATE TABLE bench.accounts (number UInt64, account String) ENGINE = Join(ANY, LEFT, number)")
        rows = zip(accounts.column("number").to_pylist(), accounts.column("account").to_pylist(), strict=True)
        self._query("INSERT INTO bench.accounts VALUES " + ", ".join(f"({number}, '{name}')" for number, name in rows))

    def usage(self, window: Window) -> pa.Table:
        """Aggregate with joinGet, which is its fastest join."""
        found = self._query(
            "SELECT nullIf(joinGet('bench.accounts', 'account', calling_number), '') AS owner, "
            "service_type AS service, CAST(count() AS Int64), CAST(sum(duration_s) AS Int64) "
            f"FROM bench.cdr WHERE {_within(window)} GROUP BY owner, service"
        )
        return pa.table(found.columns, names=LINE.names).cast(LINE)

    def drop_partition(self, day: date) -> None:
        """ALTER TABLE DROP PARTITION."""
        self._query(f"ALTER TABLE bench.cdr DROP PARTITION {day:%Y%m%d}")

    def count(self) -> int:
        """Return the records stored."""
        return int(self._query("SELECT count() AS n FROM bench.cdr").column("n")[0].as_py())

    def size_bytes(self) -> int:
        """Return the bytes of active parts: replaced ones stay on disk for minutes."""
        answer = self._query(
            "SELECT sum(bytes_on_disk) AS n FROM system.parts WHERE active AND database = 'bench' AND table = 'cdr'"
        )
        return int(answer.column("n")[0].as_py())

    def describe(self) -> Mapping[str, str]:
        """Return version and settings."""
        version = self._query("SELECT version() AS v").column("v")[0].as_py()
        return {
            "version": f"{version} (chDB)",
            "settings": "MergeTree, one partition per day, ORDER BY (calling_number, start_time), "
            f"{BLOOM} on the other identifiers; fsync_after_insert; identifiers and addresses as integers",
        }

    def close(self) -> None:
        """End the engine."""
        if self._session is not None:
            self._session.close()
            shutil.rmtree(self.folder / "tmp", ignore_errors=True)

    def _query(self, sql: str) -> Any:
        return self._session.query(sql, "ArrowTable")


def _within(window: Window) -> str:
    return window_sql(window, _END, "parseDateTime64BestEffort('{}', 6, 'UTC')")
