"""`make bench`: measure, verify what was measured, write bench/results/latest.json and the README's table.

BENCH_SCALE shrinks (or grows) the workloads; BENCH_ONLY=ingest,lookup picks some; then the results go to bench/out and
the README stays. Inputs and stores lie in bench/out/work and are removed.
Peers read the very same file in the same run.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from rich.console import Console

from api.instants import midnight_us
from api.subscriptions import Subscription, import_rows
from api.usage import Period, usage
from bench import report, workload
from bench.child import run as run_child
from bench.machine import describe
from bench.workloads import ALL, ARROW, DUCKDB, INGEST, LOOKUP, USAGE, VERIFY, Workload
from store import ScanQuery, Store, SystemClock, TargetIdentifier

OUT: Final = report.ROOT / "bench" / "out" / "work"
LAGRUM: Final = str(Path(sys.executable).with_name("lagrum"))
ACCOUNTS: Final = 1_000
SUBSCRIBER: Final = 100


@dataclass(slots=True)
class Measurement:
    """One workload's outcome; `values` in the workload's unit, one per repeat."""

    workload: Workload
    values: list[float]
    bytes: int = 0
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return what latest.json keeps."""
        item = self.workload
        return {
            "name": item.name,
            "what": item.what,
            "rows": item.rows,
            "days": item.days,
            "seed": item.seed,
            "bytes": self.bytes,
            "unit": item.unit,
            "bar": item.bar,
            "values": self.values,
            "median": statistics.median(self.values),
            "notes": self.notes,
        }


class BenchError(Exception):
    """A result was wrong, so its time means nothing."""


def require(held: bool, what: str) -> None:
    """Stop when a result is wrong."""
    if not held:
        raise BenchError(what)


def first_day(days: int) -> date:
    """Return the first day of a workload that ends yesterday: what is older than the ceiling is refused."""
    return datetime.now(UTC).date() - timedelta(days=days)


def make_input(item: Workload) -> Path:
    """Write a workload as CSV; equal workloads share a file."""
    path = OUT / f"{item.rows}-{item.days}-{item.seed}.csv"
    if not path.exists():
        workload.write_csv(path, item.rows, item.seed, item.days, first_day(item.days))
    return path


@contextmanager
def new_store(name: str) -> Iterator[Path]:
    """Make an empty store with one replica of its keyring, as an installation has it."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run_child([LAGRUM, "init", str(folder / "store"), "--replica", str(folder / "replica"), "--json"])
    try:
        yield folder / "store"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure_ingest(item: Workload) -> Measurement:
    """The whole command, from start to exit: parse, normalise, recognise, sort, encrypt, sync, publish."""
    path = make_input(item)
    result = Measurement(item, [], path.stat().st_size)
    peak, stored = 0, 0
    for _ in range(item.repeats):
        with new_store("ingest") as root:
            cost = run_child(
                [LAGRUM, "--root", str(root), "--json", "ingest", "--source", "core", "--format", "csv", str(path)]
            )
            receipt = json.loads(cost.output)
            require(receipt["accepted"] == receipt["rows"] == item.rows, "not every record was accepted")
            status = json.loads(run_child([LAGRUM, "--root", str(root), "--json", "status"]).output)
            require(status["records"] == item.rows, "not every record is stored")
            result.values.append(item.rows / cost.seconds)
            peak, stored = max(peak, cost.memory_bytes), status["bytes"]
    result.notes = [f"peak memory {peak / (1 << 30):.2f} GiB", f"{stored / item.rows:.1f} bytes per record stored"]
    return result


def measure_arrow(item: Workload) -> Measurement:
    """Parse only, all columns as text: the floor of every road from CSV."""
    path = make_input(item)
    options = pa_csv.ConvertOptions(column_types=dict.fromkeys(workload.HEADER.split(","), pa.string()))
    result = Measurement(item, [], path.stat().st_size)
    for _ in range(item.repeats):
        began = time.perf_counter()
        with pa_csv.open_csv(path, convert_options=options) as reader:
            rows = sum(batch.num_rows for batch in reader)
        result.values.append(item.rows / (time.perf_counter() - began))
        require(rows == item.rows, "Arrow read another number of records")
    return result


def measure_duckdb(item: Workload) -> Measurement:
    """A plain table on disk and a checkpoint: no keys, no duplicates, no search for identities."""
    path, database = make_input(item), OUT / "peer.duckdb"
    result = Measurement(item, [], path.stat().st_size)
    for _ in range(item.repeats):
        database.unlink(missing_ok=True)
        began = time.perf_counter()
        with duckdb.connect(str(database), config={"threads": 2}) as connection:
            connection.execute("CREATE TABLE cdr AS SELECT * FROM read_csv(?, header = true)", [str(path)])
            connection.execute("CHECKPOINT")
            row = connection.execute("SELECT count(*) FROM cdr").fetchone()
        result.values.append(item.rows / (time.perf_counter() - began))
        require(row == (item.rows,), "DuckDB stored another number of records")
    result.notes = [f"{database.stat().st_size / item.rows:.1f} bytes per record"]
    database.unlink()
    return result


def measure_month(items: dict[str, Workload]) -> Iterator[Measurement]:
    """What is asked of a month: one number, every account, everything again."""
    first = next(iter(items.values()))
    path, start = make_input(first), first_day(first.days)
    with new_store("month") as root:
        run_child([LAGRUM, "--root", str(root), "--json", "ingest", "--source", "core", "--format", "csv", str(path)])
        with Store.open(root, clock=SystemClock()) as store:
            if LOOKUP.name in items:
                yield measure_lookup(store, items[LOOKUP.name], start)
            if USAGE.name in items:
                yield measure_usage(store, items[USAGE.name], start)
        if VERIFY.name in items:
            yield measure_verify(root, items[VERIFY.name])


def measure_lookup(store: Store, item: Workload, start: date) -> Measurement:
    """One number in the month; the same records as a filter of the input finds."""
    number = str(workload.number_of(np.array([SUBSCRIBER]))[0])
    query = ScanQuery(
        midnight_us(start),
        midnight_us(start + timedelta(days=item.days + 1)),
        targets=(TargetIdentifier("number", number),),
    )
    result = Measurement(item, [])
    found = 0
    for _ in range(item.repeats):
        began = time.perf_counter()
        found = sum(batch.num_rows for batch in store.scan(query))
        result.values.append(time.perf_counter() - began)
    expected = 0
    for table in workload.tables(item.rows, item.seed, item.days, start, text=False):
        calling, called = (table.column(name).to_numpy() for name in ("calling_number", "called_number"))
        expected += int(((calling == int(number)) | (called == int(number))).sum())
    require(found == expected, "the search found another number of records")
    result.notes = [f"{found} records found"]
    return result


def measure_usage(store: Store, item: Workload, start: date) -> Measurement:
    """The month's usage of every account, for subscribers spread over accounts."""
    numbers = workload.number_of(np.arange(ACCOUNTS))
    rows = [
        (position, Subscription("number", str(number), f"A-{position:06d}", start, None))
        for position, number in enumerate(numbers, 1)
    ]
    import_rows(store, rows)
    period = Period(start, start + timedelta(days=item.days + 1))
    result = Measurement(item, [])
    for _ in range(item.repeats):
        began = time.perf_counter()
        lines = usage(store, period)
        result.values.append(time.perf_counter() - began)
        counted = pc.sum(lines.column("records")).as_py()
        require(counted == item.rows, "usage counts another number of records")
    result.notes = [f"{ACCOUNTS:,} accounts with a subscription"]
    return result


def measure_verify(root: Path, item: Workload) -> Measurement:
    """The command's whole run, on a sound store."""
    began = time.perf_counter()
    answer = json.loads(run_child([LAGRUM, "--root", str(root), "--json", "verify"]).output)
    require(answer["ok"], "the store does not verify")
    return Measurement(item, [item.rows / (time.perf_counter() - began)])


SINGLE: Final[dict[str, Callable[[Workload], Measurement]]] = {
    INGEST.name: measure_ingest,
    ARROW.name: measure_arrow,
    DUCKDB.name: measure_duckdb,
}


def measure(items: list[Workload]) -> Iterator[Measurement]:
    """Measure the given workloads, one after the other."""
    for item in items:
        if item.name in SINGLE:
            yield SINGLE[item.name](item)
    month = {item.name: item for item in items if item.name not in SINGLE}
    if month:
        yield from measure_month(month)


def main() -> int:
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    only = set(filter(None, os.environ.get("BENCH_ONLY", "").split(",")))
    items = [item.scaled(scale) for item in ALL if not only or item.name in only]
    console = Console(stderr=True, highlight=False)
    OUT.mkdir(parents=True, exist_ok=True)
    done = []
    try:
        for result in measure(items):
            kept = result.as_dict()
            done.append(kept)
            notes = "; ".join(["", *kept["notes"]])
            console.print(
                f"{kept['name']:14} {kept['rows']:>10,} records  {kept['median']:>14,.3f} {kept['unit']}{notes}"
            )
    finally:
        shutil.rmtree(OUT, ignore_errors=True)
    results = {"machine": describe(), "scale": scale, "cache": "page cache warm", "measurements": done}
    whole = scale == 1 and not only
    target = report.RESULTS if whole else OUT.parent / "results.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if whole:
        readme = report.README.read_text(encoding="utf-8")
        report.README.write_text(report.rendered(readme, results), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
