"""Acknowledgement of pushed batches, alone and beside heavy work: the real service, a client process, all verified.

`python -m bench.isolation [SECONDS] [RECORDS_PER_SECOND] [ROWS] [threads]` prints one JSON object: for each phase the
percentiles of the acknowledgement of a batch of 10 000 records. With `threads` merges run in a thread of the service,
to compare with; else in the process beside it. `idle`: one batch at a time and nothing else. `half`: so many records a
second. `search`, `compact`, `expire`: as idle, while the service reads every record, merges every partition, or erases
thirty of them; `during` are the batches that were under way while such work was. A run counts only if every
acknowledged record is stored once afterwards.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from api.people import credentials
from api.people.credentials import Scope
from bench import workload
from bench.isolation_client import KEY_MARK, Task
from bench.isolation_server import AHEAD_DAYS, DAY_US, LaterClock
from bench.pushes import LAGRUM, PushError, _free_port, _wait_for, cpu_seconds, sent
from bench.workloads import KEPT_DAYS
from ingest import sources
from ingest.source_config import SourceConfig
from store import ScanQuery, Store, SystemClock

SOURCE: Final = "core-bench"
CLIENT: Final = "bench.isolation_client"
BATCH_ROWS: Final = 10_000
STORED_ROWS: Final = 2_000_000
STORED_DAYS: Final = 30
DELIVERIES: Final = 4
IDLE_BATCHES_PER_SECOND: Final = 4.0
PHASES: Final = ("idle", "half", "search", "compact", "expire")
_KEYS: Final = (10**12 + 9 * 10**11, 2 * 10**12)
"""Packed record keys of pushed records: twelve digits, the first a 9."""


@dataclass(slots=True)
class Service:
    """A running service and what it is told."""

    port: int
    token: str
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """Return the processor time of the process so far, user and system, without what merges beside it."""
        return cpu_seconds(self.process)

    def tell(self, word: str) -> Any:
        """Begin heavy work beside the service, or end it."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def measure(
    *, seconds: float = 20, records_per_second: float = 500_000, rows: int = STORED_ROWS, threads: bool = False
) -> dict[str, Any]:
    """Measure every phase; return per phase latencies in ms, and how much was done beside it.

    With `threads` merges run in a thread of the service, to compare with.

    Raises:
        PushError: a record is missing or there twice, or the store does not verify.
    """
    with tempfile.TemporaryDirectory(prefix="lagrum-isolation-") as name:
        folder = Path(name)
        template = folder / "template.csv"
        template.write_bytes(_template())
        _fill(folder, rows)
        told: dict[str, Any] = {}
        acknowledged: list[int] = []
        with _service(folder, *(["threads"] if threads else [])) as service:
            for place, phase in enumerate(PHASES):
                pace = records_per_second / BATCH_ROWS if phase == "half" else IDLE_BATCHES_PER_SECOND
                path = f"/v1/cdrs?source={SOURCE}&format=csv"
                first = place * 100_000
                task = Task(service.port, path, service.token, str(template), 1, 4.0, 2.0, first)
                acknowledged += sent(CLIENT, task)["acknowledged"]  # it warms
                if phase not in ("idle", "half"):
                    service.tell(phase)
                task.connections, task.batches_per_second, task.seconds = (8 if phase == "half" else 2), pace, seconds
                task.first = first + 50_000
                before = service.cpu_seconds()
                done = sent(CLIENT, task)
                spent = service.cpu_seconds() - before
                acknowledged += done["acknowledged"]
                told[phase] = _percentiles(done)
                if phase not in ("idle", "half"):
                    told[phase] |= _beside(done, service.tell("quiet"))
                told[phase]["server_cpu_us_per_record"] = round(1e6 * spent / BATCH_ROWS / told[phase]["batches"], 3)
        told["verified_records"] = _verify(folder / "store", acknowledged)
        return told


def _percentiles(done: dict[str, Any]) -> dict[str, Any]:
    taken = 1e3 * np.array(done["latencies"] or [float("nan")])
    named = {f"p{place}_ms": round(float(np.percentile(taken, place)), 2) for place in (50, 95, 99)}
    return {"batches": len(done["latencies"]), "refused": done["refused"], **named, "largest_ms": float(taken.max())}


def _beside(done: dict[str, Any], noise: dict[str, Any]) -> dict[str, Any]:
    """Return how long the work beside went on, and the percentiles of the batches under way meanwhile, if any."""
    spans = noise["spans"]
    pairs = [
        (due, took)
        for due, took in zip(done["dues"], done["latencies"], strict=True)
        if any(begin < due + took and due < end for begin, end in spans)
    ]
    told = {"rounds": len(spans), "seconds": round(sum(end - begin for begin, end in spans), 2)}
    beside = {"beside": told | {"failures": noise["failures"]}}
    if not pairs:
        return beside
    return {"during": _percentiles({"latencies": [took for _, took in pairs], "refused": {}})} | beside


def _template() -> bytes:
    """Return a batch of yesterday's records; the beginning of every key is a mark."""
    out = io.BytesIO()
    yesterday = datetime.now(UTC).date() - timedelta(days=2)
    workload.write_csv(out, BATCH_ROWS, start_date=yesterday)
    head, *lines = out.getvalue().splitlines()
    place = head.split(b",").index(b"record_key")
    made = [head]
    for row, line in enumerate(lines):
        fields = line.split(b",")
        fields[place] = KEY_MARK + b"%05d" % row
        made.append(b",".join(fields))
    return b"\n".join(made) + b"\n"


def _fill(folder: Path, rows: int) -> None:
    """Make a store of the oldest days, each in some parts, with a credential for the source."""
    root = folder / "store"
    subprocess.run([LAGRUM, "init", str(root), "--replica", str(folder / "replica"), "--json"], check=True, **_QUIET)
    oldest = datetime.now(UTC).date() - timedelta(days=KEPT_DAYS)
    for delivery in range(DELIVERIES):
        path = folder / "stored.csv"
        share = rows // DELIVERIES
        workload.write_csv(
            path, share, days=STORED_DAYS, start_date=oldest, seed=delivery, first_key=1 + delivery * share
        )
        words = ["--json", "ingest", "--source", "stored", "--format", "csv", str(path)]
        subprocess.run([LAGRUM, "--root", str(root), *words], check=True, **_QUIET)
        path.unlink()


_QUIET: Final[dict[str, Any]] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@contextmanager
def _service(folder: Path, *words: str) -> Iterator[Service]:
    root = folder / "store"
    with Store.open(root, clock=SystemClock()) as store:
        sources.register(store, SourceConfig(SOURCE), actor="bench")
        made, secret = credentials.create(store, "bench", scope=Scope.INGEST, sources=[SOURCE])
    port = _free_port()
    (root / "lagrum.toml").write_text(f"[server]\nport = {port}\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.isolation_server", str(root), *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=Path(__file__).parents[1],
        )
    try:
        _wait_for(port, process)
        yield Service(port, f"{made.credential_id}.{secret}", process)
    finally:
        process.terminate()
        process.wait(120)


def _verify(root: Path, acknowledged: list[int]) -> int:
    """Look for every acknowledged record; check the store."""
    with Store.open(root, clock=LaterClock(AHEAD_DAYS * DAY_US)) as store:
        found = []
        for batch in store.scan(ScanQuery(0, 2**60, columns=("record_key",), by_end=True)):
            keys = batch.column("record_key").cast(pa.int64()).to_numpy(zero_copy_only=False)
            found.append(keys[(keys >= _KEYS[0]) & (keys < _KEYS[1])] - _KEYS[0])
        problems = store.verify()
    keys = np.sort(np.concatenate([np.zeros(0, np.int64), *found]))
    wanted = np.sort((np.array(acknowledged, np.int64)[:, None] * 100_000 + np.arange(BATCH_ROWS)).ravel())
    missing = len(np.setdiff1d(wanted, keys, assume_unique=True))
    if missing or (keys[1:] == keys[:-1]).any():
        raise PushError(f"{missing} acknowledged records are not in the store exactly once")
    if problems:
        raise PushError(f"the store has {len(problems)} problems")
    return len(wanted)


def main() -> None:
    """Measure once."""
    words = [float(word) for word in sys.argv[1:] if word != "threads"]
    told = measure(
        seconds=words[0] if words else 20,
        records_per_second=words[1] if len(words) > 1 else 500_000,
        rows=int(words[2]) if len(words) > 2 else STORED_ROWS,
        threads="threads" in sys.argv,
    )
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
