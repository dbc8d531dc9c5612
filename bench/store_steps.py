"""What is asked of a loaded store: lookups over a day, a month and all of it, a month's usage, one day's expiry."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench import workload
from bench.fleet import Fleet, PeerError
from bench.peers import FLOOR
from bench.peers.base import COLUMN_OF, Window
from bench.probes import Probe, draw
from bench.results import Book, Result, Step, percentiles
from bench.workloads import Sizes

BARS: Final = {
    "calling": "p95 <= 1 s, within 2 x of ClickHouse",
    "other": "p95 <= 1 s, faster than ClickHouse",
    "usage": "<= 1.15 x DuckDB over plain Parquet",
    "expiry": "<= 1 s, whatever the size",
}


def load(book: Book, folder: Path, names: Sequence[str], path: Path, step: Step) -> Fleet:
    """Load one file into every peer, bring it to its final state, and open it in a process that loaded nothing."""
    loaders = Fleet()
    for name in names:
        if name == FLOOR:
            continue
        shutil.rmtree(folder / name, ignore_errors=True)
        loaders.start(name, folder / name, "prepare")
        answer = loaders.need(name, "load", paths=[str(path)])
        if answer is not None:
            if answer["records"] != step.rows:
                book.differs(f"{name} stored {answer['records']} of {step.rows} records")
            result = step.of(name)
            result.values, result.cpu = [step.rows / answer["seconds"]], [answer["cpu_seconds"]]
            loaders.need(name, "finish")
        loaders.workers.pop(name).close()
        book.say(f"{step.name}: {name} {loaders.errors.get(name) or f'{step.of(name).values[0]:,.0f} records/s'}")
    fleet = Fleet()
    for name in names:
        if name in loaders.errors:
            step.of(name).error = loaders.errors[name]
        elif name != FLOOR:
            fleet.start(name, folder / name, "resume")
    return fleet


def lookups(book: Book, folder: Path, names: Sequence[str], sizes: Sizes) -> dict[str, Path]:
    """Measure every kind of lookup; return the stores' folders."""
    path = folder / "years.csv"
    workload.write_csv(path, sizes.years_rows, days=sizes.years_days, start_date=sizes.years_start)
    rows, days = sizes.years_rows, sizes.years_days
    windows = sizes.windows
    probes = draw(path, windows, sizes.present, sizes.absent)
    book.say(f"{rows:,} records over {days} days; {sum(map(len, probes.values()))} values to look up")
    step = book.step("backfill", f"one file of {days} days taken in", "records/s", rows, days)
    fleet = load(book, folder, names, path, step)
    path.unlink()
    size = book.step("size-years", f"on disk with indexes, {days} day partitions", "bytes per record", rows, days)
    for name in fleet.able:
        answer = fleet.need(name, "size_bytes")
        size.of(name).values = [answer["value"] / rows] if answer else []
    try:
        for window in windows:
            for kind in COLUMN_OF:
                for present in (True, False):
                    wanted = [probe for probe in probes[window] if probe.kind == kind and probe.present == present]
                    _lookup(book, fleet, window, kind, wanted, sizes, present=present)
            book.say(f"lookups over {min(window.days, days)} days done")
        for name in fleet.able:
            memory = fleet.need(name, "memory_bytes")
            if memory:
                step.of(name).more["reader_memory_bytes"] = memory["value"]
    finally:
        able = fleet.able
        fleet.close()
    return {name: folder / name for name in able}


def _lookup(
    book: Book, fleet: Fleet, window: Window, kind: str, probes: list[Probe], sizes: Sizes, *, present: bool
) -> None:
    days = min(window.days, sizes.years_days)
    what = f"{kind}, {'present' if present else 'absent'}, over {days} day{'s' if days > 1 else ''}"
    bar = BARS["calling" if kind == "calling" else "other"] if window is sizes.windows[-1] else ""
    step = book.step(f"lookup-{days}-{kind}-{'present' if present else 'absent'}", what, "s", sizes.years_rows, days)
    step.bar = bar
    for turn, probe in enumerate([probes[-1], *probes]):  # the first round warms
        for name in fleet.able:
            result = step.of(name)
            enough = sum(result.values) > sizes.lookup_seconds_max and len(result.values) >= sizes.lookups_min
            if enough or result.error:
                continue
            try:
                answer = fleet.ask(name, "lookup", kind=kind, value=probe.value, **_dates(window))
            except PeerError as error:
                result.error = str(error)
                book.say(f"{step.name}: {name} {result.error}")
                continue
            if (answer["records"], answer["checksum"]) != (probe.records, probe.checksum):
                book.differs(f"{step.name}: {name} found {answer['records']} records, {probe.records} are there")
            if turn:
                result.values.append(answer["seconds"])
                result.cpu.append(answer["cpu_seconds"])
                if "read_bytes" in answer:
                    result.more["read_bytes"] = result.more.get("read_bytes", 0) + answer["read_bytes"]
    for result in step.results.values():
        if result.values:
            result.more |= percentiles(result.values)
            if "read_bytes" in result.more:
                result.more["read_bytes"] = round(result.more["read_bytes"] / len(result.values))
            result.more["found"] = int(np.mean([probe.records for probe in probes]))


def usage(book: Book, folder: Path, names: Sequence[str], sizes: Sizes) -> dict[str, Path]:
    """Measure a month's usage of every account; return the stores' folders."""
    path, accounts = folder / "month.csv", folder / "accounts"
    start = sizes.month_start
    rows, days = sizes.month_rows, sizes.month_days
    workload.write_csv(path, rows, days=days, start_date=start)
    pq.write_table(accounts_of(sizes.accounts), accounts)
    step = book.step("month", f"one file of {days} days taken in", "records/s", rows, days)
    fleet = load(book, folder, names, path, step)
    path.unlink()
    step = book.step("usage", "a month's usage of every account", "s", rows, days, BARS["usage"])
    window = _dates(Window(start, Window(start, start).start.fromordinal(start.toordinal() + days + 1)))
    try:
        for name in fleet.able:
            fleet.need(name, "subscribe", path=str(accounts))
        answers: dict[str, dict[str, Any]] = {}
        for _ in range(sizes.usage_repeats):
            for name in fleet.able:
                answer = fleet.need(name, "usage", **window)
                if answer is not None:
                    answers[name] = answer
                    _keep(step.of(name), answer)
        for name, error in fleet.errors.items():
            step.of(name).error = error
        _compare(book, answers, rows)
        book.say("usage: " + ", ".join(f"{name} {min(step.of(name).values):.3f} s" for name in answers))
    finally:
        able = fleet.able
        fleet.close()
    return {name: folder / name for name in able}


def _compare(book: Book, answers: dict[str, dict[str, Any]], rows: int) -> None:
    for name, answer in answers.items():
        if answer["records"] != rows:
            book.differs(f"usage: {name} counts {answer['records']} of {rows} records")
    sums = {name: answer["checksum"] for name, answer in answers.items()}
    if len(set(sums.values())) > 1:
        book.differs(f"usage: the lines differ: {sums}")


def accounts_of(count: int) -> pa.Table:
    """Return the numbers of the first subscribers, and an account for each."""
    numbers = workload.number_of(np.arange(count))
    return pa.table({"number": pa.array(numbers), "account": pa.array([f"A-{place:06d}" for place in range(count)])})


def expiry(book: Book, homes: dict[str, Path], sizes: Sizes, what: str, rows: int) -> None:
    """Drop the oldest day of loaded stores, once; nobody can drop it twice."""
    step = book.step(f"expiry-{what}", f"a day of {rows:,} records dropped", "s", rows, bar=BARS["expiry"])
    fleet = Fleet()
    try:
        for name, home in homes.items():
            fleet.start(name, home, "resume")
            before = fleet.need(name, "count")
            answer = fleet.need(name, "drop", day=sizes.oldest.isoformat())
            after = fleet.need(name, "count")
            if before is None or answer is None or after is None:
                step.of(name).error = fleet.errors[name]
            else:
                _keep(step.of(name), answer)
                gone = before["value"] - after["value"]
                if abs(gone - rows) > max(100, rows // 50):  # by end or by start: midnight's calls differ
                    book.differs(f"expiry: {name} dropped {gone} of {rows} records")
            fleet.workers.pop(name).close()
    finally:
        fleet.close()
    book.say(f"expiry-{what}: " + ", ".join(f"{name} {one.error or one.values}" for name, one in step.results.items()))


def _keep(result: Result, answer: dict[str, Any]) -> None:
    result.values.append(answer["seconds"])
    result.cpu.append(answer["cpu_seconds"])


def _dates(window: Window) -> dict[str, str]:
    return {"start": window.start.isoformat(), "end": window.end.isoformat()}
