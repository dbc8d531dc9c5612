"""DuckDB: one table as the file is ordered, in a plain database and in an encrypted one."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa

from bench.peers.base import COLUMN_OF, LINE, Keys, Peer, Window, window_sql

THREADS: Final = 2
COLUMNS: Final = {
    "record_key": "BIGINT",
    "switch": "VARCHAR",
    "service_type": "VARCHAR",
    "calling_number": "BIGINT",
    "called_number": "BIGINT",
    "start_time": "TIMESTAMPTZ",
    "duration_s": "INTEGER",
    "source_ip": "VARCHAR",
    "destination_ip": "VARCHAR",
    "imsi": "BIGINT",
    "imei": "BIGINT",
    "cell_id": "INTEGER",
}
END: Final = "(start_time + to_seconds(duration_s))"
USAGE: Final = """
    SELECT accounts.account, service_type, count(*) AS records, CAST(sum(duration_s) AS BIGINT) AS duration_s
    FROM {records} LEFT JOIN accounts ON accounts.number = calling_number WHERE {window}
    GROUP BY ALL
"""


def connect() -> Any:
    """Open DuckDB on as many threads as everybody has, in UTC."""
    connection = duckdb.connect(config={"threads": THREADS})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


class DuckDB(Peer):
    """No index besides the zone maps: its ART indexes would be built in memory and searched by equality only."""

    name = "duckdb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._connection: Any = None

    def prepare(self) -> None:
        """Make the table."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.resume()
        columns = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
        self._connection.execute(f"CREATE TABLE cdr ({columns})")

    def load(self, paths: Sequence[Path]) -> int:
        """One INSERT from read_csv per file, then a checkpoint."""
        before = self.count()
        for path in paths:
            self._connection.execute(
                f"INSERT INTO cdr SELECT * FROM read_csv(?, header = true, columns = {COLUMNS!r})", [str(path)]
            )
        self._connection.execute("CHECKPOINT bench")
        return self.count() - before

    def resume(self) -> None:
        """Open the database."""
        self._connection = connect()
        self._attach(self.folder / "bench.duckdb")
        self._connection.execute("USE bench")

    def _attach(self, path: Path) -> None:
        self._connection.execute(f"ATTACH '{path}' AS bench")

    def lookup(self, kind: str, value: str, window: Window) -> Any:
        """SELECT * by one identifier."""
        wanted = f"'{value}'" if kind in ("source", "destination") else value
        return self._connection.sql(
            f"SELECT * FROM cdr WHERE {COLUMN_OF[kind]} = {wanted} AND {within(window)}"
        ).to_arrow_table()

    def keys(self, answer: Any) -> Keys:
        """Return the record keys."""
        keys: Keys = answer.column("record_key").to_numpy().astype(np.int64)
        return keys

    def subscribe(self, accounts: pa.Table) -> None:
        """Keep the accounts in a table."""
        self._connection.register("given", accounts)
        self._connection.execute("CREATE TABLE accounts AS SELECT * FROM given")

    def usage(self, window: Window) -> pa.Table:
        """Join and group."""
        found: pa.Table = self._connection.sql(USAGE.format(records="cdr", window=within(window))).to_arrow_table()
        return found.cast(LINE)

    def drop_partition(self, day: date) -> None:
        """Delete the day's rows: it has no partitions."""
        window = Window(day, day + timedelta(days=1))
        self._connection.execute(f"DELETE FROM cdr WHERE {window_sql(window, 'start_time', _INSTANT)}")
        self._connection.execute("CHECKPOINT bench")

    def count(self) -> int:
        """Return the records stored."""
        return int(self._connection.execute("SELECT count(*) FROM cdr").fetchall()[0][0])

    def size_bytes(self) -> int:
        """Return the size of the database file."""
        self._connection.execute("CHECKPOINT bench")
        return (self.folder / "bench.duckdb").stat().st_size

    def describe(self) -> Mapping[str, str]:
        """Return version and settings."""
        return {
            "version": duckdb.__version__,
            "settings": "one table in the order of the file, zone maps only; identifiers as BIGINT, addresses as text",
        }

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            self._connection.close()


class DuckDBEncrypted(DuckDB):
    """ATTACH with a key. The wheel has no OpenSSL to write with, so mbedTLS does (`force_mbedtls_unsafe`)."""

    name = "duckdb-encrypted"

    def _attach(self, path: Path) -> None:
        key = self.folder / "key"
        if not key.exists():
            key.write_text(secrets.token_hex(32), encoding="ascii")
        self._connection.execute("SET force_mbedtls_unsafe = true")
        self._connection.execute(f"ATTACH '{path}' AS bench (ENCRYPTION_KEY '{key.read_text(encoding='ascii')}')")

    def describe(self) -> Mapping[str, str]:
        """Return version and settings."""
        told = dict(super().describe())
        told["settings"] += "; ENCRYPTION_KEY (AES-GCM) by mbedTLS, force_mbedtls_unsafe"
        return told


_INSTANT: Final = "TIMESTAMPTZ '{}'"


def within(window: Window) -> str:
    """Return the predicate of a window in DuckDB's SQL."""
    return window_sql(window, END, _INSTANT)
