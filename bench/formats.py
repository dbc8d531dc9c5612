"""`python -m bench.formats`: what one record of every format costs on its way into a store.

Every format's delivery is made by `bench.format_inputs`, taken in by one process into an empty store, and counted: the
receipt must name every record, none refused. A delivery is large enough for a rate: its beginning, in which nothing
can be written yet, and its commit are a small part of it. BENCH_SCALE shrinks the deliveries, arguments name formats.
Prints one JSON object: by format records/s, and processor time, which other work on the machine hardly changes.
Kernels are compiled and tables loaded by a small delivery before; memory is kept as every process that takes records
in keeps it. With `--keep` the findings go to
bench/results/formats.json, from which docs/PERFORMANCE.md is made.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from api.cli.memory import keep_freed_memory, undisturbed
from bench import report, workload
from bench.format_inputs import MAPPING, TEXTS, text_of
from bench.format_inputs_ber import ber_of
from bench.format_inputs_ipfix import ipfix_of
from bench.machine import describe
from bench.micro_decode import ndjson_of
from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from store import Store, SystemClock

RECORDS_MAX: Final = 1_500_000
RECORDS_MIN: Final = 300_000
DELIVERY_BYTES: Final = 450_000_000
"""A delivery has at most so many records, and of large ones as many as these bytes hold, but not fewer than the least:
it is held in memory."""
RECORDS_LEAST: Final = 10_000
"""However small the scale."""
WARM_RECORDS: Final = 30_000
CANONICAL: Final = ("csv", "ndjson", "arrow", "parquet")
BINARY: Final = ("3gpp-ber", "3gpp-32297", "tap3", "ipfix")
BARS: Final = {
    **dict.fromkeys(
        ("csv", "asterisk-csv", "freeswitch-csv", "kamailio-acc", "opensips-acc", "cucm-cdr", "mapping"), 500_000
    ),
    **dict.fromkeys(("ndjson", "freeswitch-json", "kamailio-json"), 250_000),
    **dict.fromkeys(("3gpp-ber", "3gpp-32297", "tap3"), 500_000),
    "radius-detail": 100_000,
}
"""Records/s on two cores that a format must reach; the others have no bar."""


@dataclass(frozen=True)
class Cost:
    """What one delivery took."""

    records: int
    seconds: float
    cpu_seconds: float


def names() -> list[str]:
    """Return the formats that are measured."""
    return [*CANONICAL, *BINARY, *TEXTS]


def delivery(name: str, records: int, midnight: datetime) -> tuple[bytes, int]:
    """Return a delivery of a format, and how many records it has."""
    seconds = int(midnight.timestamp())
    if name in TEXTS:
        return text_of(name, records, seconds)
    if name == "ipfix":
        return ipfix_of(records, seconds)
    if name in BINARY:
        return ber_of(name, records, seconds)
    return _canonical(name, records, midnight), records


def _canonical(name: str, records: int, midnight: datetime) -> bytes:
    if name == "csv":
        text = io.BytesIO()
        workload.write_csv(text, records, start_date=midnight.date())
        return text.getvalue()
    tables = list(workload.tables(records, start_date=midnight.date()))
    if name == "ndjson":
        return b"".join(map(ndjson_of, tables))
    sink = pa.BufferOutputStream()
    if name == "parquet":
        pq.write_table(pa.concat_tables(tables), sink)
    else:
        with pa.ipc.new_stream(sink, tables[0].schema) as writer:
            for table in tables:
                writer.write_table(table)
    return sink.getvalue().to_pybytes()


def source_of(name: str) -> SourceConfig:
    """Return the source that a format's delivery comes from."""
    options = {"mapping": MAPPING} if name == "mapping" else {}
    return SourceConfig(name, country="SE", options=options)


def taken(root: Path, name: str, data: bytes, records: int) -> Cost:
    """Take a delivery into an empty store.

    Raises:
        SystemExit: a record was refused or lost.
    """
    with Store.create(root, clock=SystemClock()) as store:
        began, before = time.perf_counter(), time.process_time()
        receipt = ingest_stream(store, source_of(name), name, io.BytesIO(data))
        cost = Cost(records, time.perf_counter() - began, time.process_time() - before)
    shutil.rmtree(root)
    if (receipt.records, receipt.accepted, receipt.rejected) != (records, records, 0):
        raise SystemExit(
            f"{name}: of {records} records {receipt.accepted} were accepted, {receipt.rejected} refused, "
            f"{receipt.duplicates} known, {receipt.conflicts} in conflict: {receipt.reject_reasons}"
        )
    return cost


def measure(folder: Path, name: str, scale: float, midnight: datetime) -> dict[str, Any]:
    """Return the cost of one format."""
    data, count = delivery(name, WARM_RECORDS, midnight)
    taken(folder / "warm", name, data, count)
    records = min(max(DELIVERY_BYTES * count // len(data), RECORDS_MIN), RECORDS_MAX)
    data, count = delivery(name, max(RECORDS_LEAST, round(records * scale)), midnight)
    cost = taken(folder / "store", name, data, count)
    found = {
        "records": count,
        "bytes": len(data),
        "records_per_second": round(count / cost.seconds),
        "cpu_us_per_record": round(cost.cpu_seconds / count * 1e6, 3),
    }
    return found | ({"bar_per_second": BARS[name]} if name in BARS else {})


def main() -> int:
    """Measure all formats, or those that are named."""
    words = sys.argv[1:]
    keep = "--keep" in words
    chosen = [name for name in words if name != "--keep"] or names()
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    midnight = datetime.combine(datetime.now(UTC).date() - timedelta(days=3), datetime.min.time(), UTC)
    folder = Path(mkdtemp(prefix="lagrum-formats-"))
    found: dict[str, Any] = {}
    keep_freed_memory()
    try:
        for name in chosen:
            with undisturbed():
                found[name] = measure(folder, name, scale, midnight)
            sys.stderr.write(f"{name}: {found[name]}\n")
    finally:
        shutil.rmtree(folder)
    machine = describe()
    commit = machine.pop("commit")
    for one in found.values():
        one["commit"] = commit
    if keep and report.FORMATS.exists():  # what is not measured now stays as it was
        known = json.loads(report.FORMATS.read_text(encoding="utf-8"))["formats"]
        found = {name: one for name in names() if (one := found.get(name, known.get(name)))}
    told = json.dumps({"machine": machine, "formats": found}, indent=1) + "\n"
    if keep:
        report.FORMATS.write_text(told, encoding="utf-8")
    sys.stdout.write(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
