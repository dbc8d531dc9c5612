"""What the way in costs by steps, in core-seconds per 5 million records: `python -m bench.micro_decode [ROWS]`.

Every step works on the reference workload and checks that nothing is lost. One thread, best of three; process time, so
that a busy machine disturbs little.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson
import pyarrow as pa

from bench import workload
from ingest.decoders import decoder
from ingest.decoders.base import CHUNK_ROWS
from ingest.normalise import normalise
from ingest.source_config import SourceConfig
from schemas.numbers import normalise_packed, rules
from schemas.packing import pack_address, pack_identifier
from store import SystemClock

PER: Final = 5_000_000
ROUNDS: Final = 3
SOURCE: Final = SourceConfig("bench", country="SE")
IDENTIFIERS: Final = ("record_key", "calling_number", "called_number", "imsi", "imei", "cell_id")
ADDRESSES: Final = ("source_ip", "destination_ip")


def cost(rows: int, step: Callable[[], int]) -> float:
    """Return the core-seconds of a step per 5 million records; the step returns the records that it handled."""
    best = float("inf")
    for _ in range(ROUNDS):
        begin = time.process_time()
        handled = step()
        best = min(best, time.process_time() - begin)
        if handled != rows:
            raise SystemExit("a step lost records")
    return round(best / rows * PER, 3)


def _decode(name: str, data: bytes) -> Iterator[Any]:
    return decoder(name).decode(io.BytesIO(data), SOURCE)


def _whole(name: str, data: bytes) -> int:
    now_us = SystemClock().now_us() + 10**14
    return sum(normalise(part, SOURCE, now_us).table.num_rows for part in _decode(name, data))


def ndjson_of(table: pa.Table) -> bytes:
    """Return a table as canonical NDJSON."""
    return b"".join(
        orjson.dumps({**row, "start_time": f"{row['start_time']:%Y-%m-%dT%H:%M:%S.%fZ}"}) + b"\n"
        for row in table.to_pylist()
    )


def arrow_of(table: pa.Table) -> bytes:
    """Return a table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def measure(rows: int) -> dict[str, float]:
    """Measure every step."""
    text = io.BytesIO()
    workload.write_csv(text, rows)
    csv = text.getvalue()
    table = pa.concat_tables(workload.tables(rows, chunk_rows=CHUNK_ROWS)).unify_dictionaries()
    batches = [pa.Table.from_batches([batch]) for batch in table.to_batches(CHUNK_ROWS)]
    packed = [[pack_identifier(batch.column(name)) for name in IDENTIFIERS[1:3]] for batch in batches]
    ndjson, arrow = ndjson_of(table), arrow_of(table)

    def pack(function: Callable[[Any], Any], names: tuple[str, ...]) -> int:
        for batch in batches:
            for name in names:
                function(batch.column(name))
        return table.num_rows

    def numbers() -> int:
        for columns in packed:
            for digits, other in columns:
                normalise_packed(digits, other, rules("SE"))
        return table.num_rows

    return {
        "csv, decode": cost(rows, lambda: sum(part.table.num_rows for part in _decode("csv", csv))),
        "pack 6 identifiers": cost(rows, lambda: pack(pack_identifier, IDENTIFIERS)),
        "pack 2 addresses": cost(rows, lambda: pack(pack_address, ADDRESSES)),
        "normalise 2 numbers": cost(rows, numbers),
        "csv, decode + normalise": cost(rows, lambda: _whole("csv", csv)),
        "ndjson, decode + normalise": cost(rows, lambda: _whole("ndjson", ndjson)),
        "arrow, decode + normalise": cost(rows, lambda: _whole("arrow", arrow)),
    }


def main() -> None:
    """Measure, and write the figures as JSON."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 500_000
    pa.set_cpu_count(1)
    sys.stdout.write(json.dumps({"rows": rows, "core_seconds_per_5_million": measure(rows)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
