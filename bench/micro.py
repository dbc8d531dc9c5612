"""The single steps of taking in and looking up, by pytest-benchmark (`make bench-micro`); each checks its result."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from bench import workload
from ingest.decoders import decoder
from ingest.normalise import normalise
from ingest.pipeline import ingest_stream
from ingest.source_config import SourceConfig
from store import Receipt, ScanQuery, SourceRef, Store, SystemClock, TargetIdentifier

ROWS: Final = 100_000
SOURCE: Final = SourceConfig("micro", country="SE")
DAY_US: Final = 86_400_000_000
Benchmark = Any


def _yesterday() -> date:
    return datetime.now(UTC).date() - timedelta(days=1)


@pytest.fixture(scope="module")
def csv() -> bytes:
    stream = io.BytesIO()
    workload.write_csv(stream, ROWS, start_date=_yesterday())
    return stream.getvalue()


@pytest.fixture(scope="module")
def tables(csv: bytes) -> list[pa.Table]:
    """The day, normalised."""
    return [part.table for part in _normalised(csv)]


@pytest.fixture(scope="module")
def store(csv: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with the day, merged."""
    with Store.create(tmp_path_factory.mktemp("micro") / "store", clock=SystemClock()) as made:
        ingest_stream(made, SOURCE, "csv", io.BytesIO(csv))
        made.compact(everything=True)
        yield made


def _normalised(csv: bytes) -> list[Any]:
    now_us = SystemClock().now_us() + DAY_US
    return [normalise(part, SOURCE, now_us) for part in decoder("csv").decode(io.BytesIO(csv), SOURCE)]


def _commit(store: Store, tables: list[pa.Table]) -> Receipt:
    with store.begin_batch(SourceRef(SOURCE.name, SOURCE.domain), format="csv") as batch:
        for table in tables:
            batch.add(table)
        batch.finish_input(b"\0" * 32, 0)
        return batch.commit()


def _query(**more: Any) -> ScanQuery:
    start_us = int(datetime.combine(_yesterday(), datetime.min.time(), UTC).timestamp()) * 1_000_000
    return ScanQuery(start_us, start_us + 2 * DAY_US, **more)


def _found(store: Store, query: ScanQuery) -> int:
    return sum(batch.num_rows for batch in store.scan(query))


def test_decode(benchmark: Benchmark, csv: bytes) -> None:
    parts = benchmark(lambda: list(decoder("csv").decode(io.BytesIO(csv), SOURCE)))
    assert sum(part.table.num_rows for part in parts) == ROWS


def test_decode_and_normalise(benchmark: Benchmark, csv: bytes) -> None:
    parts = benchmark(_normalised, csv)
    assert sum(part.table.num_rows for part in parts) == ROWS


def test_write(benchmark: Benchmark, tables: list[pa.Table], tmp_path: Path) -> None:
    """Identities, sort, encryption, index, fsync and publication, into an empty store each time."""
    made: list[Store] = []

    def empty() -> tuple[tuple[Store, list[pa.Table]], dict[str, Any]]:
        made.append(Store.create(tmp_path / str(len(made)), clock=SystemClock()))
        return (made[-1], tables), {}

    receipt = benchmark.pedantic(_commit, setup=empty, rounds=5)
    assert receipt.accepted == ROWS
    for one in made:
        one.close()


def test_recognise_duplicates(benchmark: Benchmark, tables: list[pa.Table], store: Store) -> None:
    """The same records again: nothing is stored."""
    receipt = benchmark.pedantic(_commit, args=(store, tables), rounds=5)
    assert receipt.duplicates == ROWS


def test_probe_for_nobody(benchmark: Benchmark, store: Store) -> None:
    stranger = TargetIdentifier("imsi", "240019999999999")
    assert benchmark(_found, store, _query(targets=(stranger,))) == 0


def test_probe_for_somebody(benchmark: Benchmark, store: Store, tables: list[pa.Table]) -> None:
    """One IMSI, every column."""
    imsi = str(tables[0].column("imsi")[0].as_py())[1:]
    assert benchmark(_found, store, _query(targets=(TargetIdentifier("imsi", imsi),))) >= 1


def test_read_everything(benchmark: Benchmark, store: Store) -> None:
    """Every row group, two columns."""
    assert benchmark(_found, store, _query(columns=("calling_number", "duration_ms"))) == ROWS
