"""Plain Parquet by pyarrow and polars as the bound, and Arrow's parse alone as the floor."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from bench.peers.base import COLUMN_OF, DAY_US, LINE, Keys, Peer, Window
from bench.peers.duckdb import THREADS, USAGE, connect, within

pc: Any = pyarrow.compute

_WORDS: Final = pa.dictionary(pa.int32(), pa.string())
TYPES: Final[dict[str, pa.DataType]] = {
    "record_key": pa.int64(),
    "switch": _WORDS,
    "service_type": _WORDS,
    "calling_number": pa.int64(),
    "called_number": pa.int64(),
    "start_time": pa.timestamp("us", tz="UTC"),
    "duration_s": pa.int32(),
    "source_ip": pa.string(),
    "destination_ip": pa.string(),
    "imsi": pa.int64(),
    "imei": pa.int64(),
    "cell_id": pa.int32(),
}
BLOCK_BYTES: Final = 8 << 20
ROW_GROUP_ROWS: Final = 65_536
PART_ROWS: Final = 1_000_000


def read(path: Path) -> Iterator[pa.RecordBatch]:
    """Parse a file, typed: what every road from CSV costs at least."""
    options = pa_csv.ConvertOptions(column_types=TYPES)
    with pa_csv.open_csv(path, pa_csv.ReadOptions(block_size=BLOCK_BYTES), convert_options=options) as reader:
        yield from reader


class Parse(Peer):
    """Parses and throws away."""

    name = "parse"

    def prepare(self) -> None:
        """Nothing."""

    def load(self, paths: Sequence[Path]) -> int:
        """Parse."""
        return sum(batch.num_rows for path in paths for batch in read(path))

    def resume(self) -> None:
        """Nothing."""

    def lookup(self, kind: str, value: str, window: Window) -> Any:
        """It stores nothing."""
        raise NotImplementedError

    def keys(self, answer: Any) -> Keys:
        """It stores nothing."""
        raise NotImplementedError

    def subscribe(self, accounts: pa.Table) -> None:
        """It stores nothing."""
        raise NotImplementedError

    def usage(self, window: Window) -> pa.Table:
        """It stores nothing."""
        raise NotImplementedError

    def drop_partition(self, day: date) -> None:
        """It stores nothing."""
        raise NotImplementedError

    def count(self) -> int:
        """It stores nothing."""
        return 0

    def size_bytes(self) -> int:
        """It stores nothing."""
        return 0

    def describe(self) -> Mapping[str, str]:
        """Return version and settings."""
        return {"version": pa.__version__, "settings": "Arrow CSV, typed columns, two threads"}


class Parquet(Parse):
    """Sorted by calling party and time within a day, delta encodings, zstd; polars reads, DuckDB aggregates."""

    name = "parquet"

    def prepare(self) -> None:
        """Make the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)

    def load(self, paths: Sequence[Path]) -> int:
        """Parse, sort and write each day's records; two parts at once; fsync each."""
        rows = 0
        with ThreadPoolExecutor(THREADS) as pool:
            waiting: list[Future[None]] = []
            for path in paths:
                for day, table in _by_day(read(path)):
                    target = self.folder / f"{day:%Y%m%d}-{path.stem}-{rows}.parquet"
                    rows += table.num_rows
                    waiting.append(pool.submit(_write, table, target))
                    if len(waiting) > THREADS:
                        waiting.pop(0).result()
            for done in waiting:
                done.result()
        return rows

    def lookup(self, kind: str, value: str, window: Window) -> Any:
        """Scan with statistics only; polars prunes by row group."""
        import polars as pl

        column = pl.col(COLUMN_OF[kind])
        wanted = column == (value if kind in ("source", "destination") else int(value))
        end = pl.col("start_time") + pl.duration(seconds=pl.col("duration_s"))
        first, last = (pl.lit(us).cast(pl.Datetime("us", "UTC")) for us in (window.start_us, window.end_us))
        files = self._files(window)
        return pl.scan_parquet(files).filter(wanted & (end >= first) & (end < last)).collect()

    def keys(self, answer: Any) -> Keys:
        """Return the record keys."""
        keys: Keys = answer.get_column("record_key").to_numpy().astype(np.int64)
        return keys

    def subscribe(self, accounts: pa.Table) -> None:
        """Keep the accounts in a file."""
        pq.write_table(accounts, self.folder / "accounts")

    def usage(self, window: Window) -> pa.Table:
        """DuckDB over the files."""
        with connect() as connection:
            connection.register("accounts", pq.read_table(self.folder / "accounts"))
            source = f"read_parquet({[str(path) for path in self._files(window)]})"
            found: pa.Table = connection.sql(USAGE.format(records=source, window=within(window))).to_arrow_table()
            return found.cast(LINE)

    def drop_partition(self, day: date) -> None:
        """Unlink the day's files."""
        for path in self.folder.glob(f"{day:%Y%m%d}-*.parquet"):
            path.unlink()
        _sync(self.folder)

    def count(self) -> int:
        """Return the records stored."""
        return sum(pq.read_metadata(path).num_rows for path in self.folder.glob("*.parquet"))

    def size_bytes(self) -> int:
        """Return the size of the files."""
        return sum(path.stat().st_size for path in self.folder.glob("*.parquet"))

    def describe(self) -> Mapping[str, str]:
        """Return version and settings."""
        import polars as pl

        return {
            "version": f"pyarrow {pa.__version__}, polars {pl.__version__}, DuckDB {duckdb.__version__}",
            "settings": f"files of a day sorted by (calling_number, start_time), row groups of {ROW_GROUP_ROWS}, "
            "delta encodings, zstd 1; read by polars, usage by DuckDB",
        }

    def _files(self, window: Window) -> list[Path]:
        first, last = f"{window.start - timedelta(days=1):%Y%m%d}", f"{window.end:%Y%m%d}"
        return [path for path in sorted(self.folder.glob("*.parquet")) if first <= path.name[:8] < last]


def _by_day(batches: Iterator[pa.RecordBatch]) -> Iterator[tuple[date, pa.Table]]:
    """Yield the records of each day, at most about `PART_ROWS` at once; the workload comes in order of time."""
    held: list[pa.Table] = []
    current = -1
    for batch in batches:
        table = pa.Table.from_batches([batch])
        days = table.column("start_time").cast(pa.int64()).to_numpy() // DAY_US
        cuts = [0, *(np.flatnonzero(np.diff(days)) + 1).tolist(), len(days)]
        for low, high in pairwise(cuts):
            day = int(days[low])
            if held and (day != current or sum(part.num_rows for part in held) >= PART_ROWS):
                yield _date(current), pa.concat_tables(held)
                held = []
            current = day
            held.append(table.slice(low, high - low))
    if held:
        yield _date(current), pa.concat_tables(held)


def _date(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)


def _write(table: pa.Table, target: Path) -> None:
    table = table.unify_dictionaries().combine_chunks()
    table = table.take(pc.sort_indices(table, [("calling_number", "ascending"), ("start_time", "ascending")]))
    words: Any = [name for name, kind in TYPES.items() if kind == _WORDS]
    encoding = {
        name: "DELTA_BYTE_ARRAY" if kind == pa.string() else "DELTA_BINARY_PACKED"
        for name, kind in TYPES.items()
        if name not in words
    }
    pq.write_table(
        table,
        target,
        row_group_size=ROW_GROUP_ROWS,
        compression="zstd",
        compression_level=1,
        use_dictionary=words,
        column_encoding=encoding,
    )
    _sync(target)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
