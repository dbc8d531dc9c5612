"""`python -m bench.usage_ratio`: a month's usage of Lagrum and of DuckDB, by turns in one process.

Wall time on a busy machine says little; who takes turns in one process shares the same load, and processor time hardly
changes with it. Medians of `ROUNDS` turns after one that warms; answers are compared. BENCH_SCALE shrinks the month.
Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from datetime import UTC, datetime
from statistics import median
from typing import Any, Final

import pyarrow.parquet as pq

from bench import peers, workload
from bench.peers.base import Window
from bench.run import OUT
from bench.store_steps import accounts_of
from bench.worker import usage_checksum
from bench.workloads import Sizes

NAMES: Final = ("lagrum", "duckdb", "parquet")
ROUNDS: Final = 15


def main() -> int:
    """Measure; 1 when the answers differ."""
    sizes = Sizes.of(float(os.environ.get("BENCH_SCALE", "1")), datetime.now(UTC).date())
    folder = OUT / "usage"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        told = measure(sizes)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    return 0 if told["equal"] else 1


def measure(sizes: Sizes) -> dict[str, Any]:
    """Return medians in milliseconds, and how Lagrum's compare."""
    folder, start = OUT / "usage", sizes.month_start
    path = folder / "month.csv"
    workload.write_csv(path, sizes.month_rows, days=sizes.month_days, start_date=start)
    pq.write_table(accounts_of(sizes.accounts), folder / "accounts")
    accounts = pq.read_table(folder / "accounts")
    fleet = {name: peers.make(name, folder / name) for name in NAMES}
    window = Window(start, start.fromordinal(start.toordinal() + sizes.month_days + 1))
    wall: dict[str, list[float]] = {name: [] for name in NAMES}
    cpu: dict[str, list[float]] = {name: [] for name in NAMES}
    sums: dict[str, str] = {}
    for peer in fleet.values():
        peer.prepare()
        peer.load([path])
        peer.finish()
        peer.resume()
        peer.subscribe(accounts)
    path.unlink()
    try:
        for turn in range(ROUNDS + 1):
            for name, peer in fleet.items():
                before, began = time.process_time(), time.perf_counter()
                lines = peer.usage(window)
                took = time.perf_counter() - began, time.process_time() - before
                sums[name] = usage_checksum(lines)
                if turn:
                    wall[name].append(1000 * took[0])
                    cpu[name].append(1000 * took[1])
    finally:
        for peer in fleet.values():
            peer.close()
    medians = {name: {"wall_ms": round(median(wall[name])), "cpu_ms": round(median(cpu[name]))} for name in NAMES}
    ratios = {
        f"to {name}": {kind: round(medians["lagrum"][kind] / medians[name][kind], 2) for kind in ("wall_ms", "cpu_ms")}
        for name in NAMES[1:]
    }
    return {"rows": sizes.month_rows, "rounds": ROUNDS, **medians, **ratios, "equal": len(set(sums.values())) == 1}


if __name__ == "__main__":
    sys.exit(main())
