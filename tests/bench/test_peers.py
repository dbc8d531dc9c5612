"""One behaviour suite for every system that is measured: all find the same, or their times mean nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import peers, workload
from bench.fleet import Fleet, PeerError, PeerGoneError, Worker, worker
from bench.peers.base import COLUMN_OF, LINE, Window
from bench.probes import Probe, draw
from bench.worker import checksum, usage_checksum
from bench.workloads import Sizes

ROWS, DAYS = 1_500, 3
START = datetime.now(UTC).date() - timedelta(days=40)
WHOLE = Window(START, START + timedelta(days=DAYS + 1))
DAY = Window(START + timedelta(days=1), START + timedelta(days=2))
STORES = [name for name in peers.CLASSES if name != peers.FLOOR]


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "cdr.csv"
    workload.write_csv(path, ROWS, days=DAYS, start_date=START)
    return path


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach, when the tests run as root."""
    with tempfile.TemporaryDirectory(prefix="lagrum-bench-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def probes(csv: Path) -> dict[Window, list[Probe]]:
    return draw(csv, [WHOLE, DAY], present=2, absent=1)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return pa.concat_tables(workload.tables(ROWS, days=DAYS, start_date=START, text=False))


def _ask(asked: Worker, probe: Probe, window: Window) -> tuple[int, str]:
    dates = {"start": window.start.isoformat(), "end": window.end.isoformat()}
    answer = asked.ask("lookup", kind=probe.kind, value=probe.value, **dates)
    assert answer["seconds"] > 0
    return answer["records"], answer["checksum"]


def test_the_truth_is_counted_in_the_workload(probes: dict[Window, list[Probe]], table: pa.Table) -> None:
    key = table.column("record_key").to_numpy()
    imsi = table.column("imsi").to_numpy()
    for probe in probes[WHOLE]:
        if probe.kind == "imsi":
            mine = key[imsi == int(probe.value)]
            assert (len(mine), checksum(mine)) == (probe.records, probe.checksum)
            assert probe.present == (len(mine) > 0)
    assert {(probe.kind, probe.present) for probe in probes[DAY]} == {
        (kind, one) for kind in COLUMN_OF for one in (0, 1)
    }


@pytest.mark.parametrize("name", STORES)
def test_every_system_finds_exactly_the_truth(
    name: str, csv: Path, probes: dict[Window, list[Probe]], table: pa.Table, home: Path, tmp_path: Path
) -> None:
    if package := peers.missing(name):
        pytest.skip(f"{package} is not installed; `make bench` installs it")
    accounts = tmp_path / "accounts"
    numbers = np.unique(table.column("calling_number").to_numpy())[::3]
    names = [f"A-{place:06d}" for place in range(len(numbers))]
    pq.write_table(pa.table({"number": numbers, "account": names}), accounts)
    with worker(name, home) as loading:
        loading.ask("prepare")
        assert loading.ask("load", paths=[str(csv)])["records"] == ROWS
        loading.ask("finish")
        assert loading.ask("memory_bytes")["value"] > 10 << 20
    with worker(name, home) as asked:
        asked.ask("resume")
        assert asked.ask("count")["value"] == ROWS
        for window in (WHOLE, DAY):
            for probe in probes[window]:
                assert _ask(asked, probe, window) == (probe.records, probe.checksum), probe.kind
        asked.ask("subscribe", path=str(accounts))
        used = asked.ask("usage", start=WHOLE.start.isoformat(), end=WHOLE.end.isoformat())
        assert (used["records"], used["checksum"]) == (ROWS, _expected_usage(table, numbers))
        assert asked.ask("size_bytes")["value"] > 10 * ROWS
        assert set(asked.ask("describe")["value"]) == {"version", "settings"}
        asked.ask("drop", day=START.isoformat())
        assert abs(asked.ask("count")["value"] - ROWS * (DAYS - 1) // DAYS) <= 5


def _expected_usage(table: pa.Table, numbers: np.ndarray) -> str:
    owner = {int(number): f"A-{place:06d}" for place, number in enumerate(numbers)}
    lines: dict[tuple[str | None, str], list[int]] = {}
    columns = (table.column(name).to_pylist() for name in ("calling_number", "service_type", "duration_s"))
    for number, service, seconds in zip(*columns, strict=True):
        line = lines.setdefault((owner.get(number), service), [0, 0])
        line[0] += 1
        line[1] += seconds
    rows = [(*key, *sums) for key, sums in lines.items()]
    return usage_checksum(pa.table(list(zip(*rows, strict=True)), schema=LINE))


def test_a_peer_that_fails_says_why_and_one_that_ends_is_left_out(tmp_path: Path) -> None:
    fleet = Fleet()
    fleet.start("parse", tmp_path, "prepare")
    with pytest.raises(PeerError, match="FileNotFoundError"):
        fleet.ask("parse", "load", paths=[str(tmp_path / "none.csv")])
    assert fleet.able == ["parse"]
    with pytest.raises(PeerError, match="NotImplementedError"):
        fleet.ask("parse", "lookup", kind="imsi", value="1", start="2026-01-01", end="2026-01-02")
    fleet.workers["parse"].close()
    with pytest.raises(PeerGoneError):
        fleet.ask("parse", "count")
    assert fleet.able == [] and fleet.need("parse", "count") is None


def test_checksums_see_a_lost_a_changed_and_a_doubled_record() -> None:
    keys = np.arange(10_000_000_000, 10_000_000_100)
    assert checksum(keys) == checksum(keys[::-1])
    assert len({checksum(keys), checksum(keys[1:]), checksum(np.append(keys, keys[0])), checksum(keys + 1)}) == 4
    rows = {"account": ["A-000001", None], "service_type": ["sms", "voice"], "records": [1, 2], "duration_s": [3, 4]}
    lines = pa.table(rows, schema=LINE)
    assert usage_checksum(lines) == usage_checksum(lines.take([1, 0]))
    assert usage_checksum(lines) != usage_checksum(pa.table(rows | {"account": [None, "A-000001"]}, schema=LINE))


@pytest.mark.parametrize("scale", [0.001, 0.1, 1, 3])
def test_every_scale_has_windows_within_what_is_kept(scale: float) -> None:
    sizes = Sizes.of(scale, date(2026, 11, 22))
    day, month, whole = sizes.windows
    assert (day.days, month.days, whole.days) == (1, 30, sizes.years_days + 1)
    assert whole.start == sizes.oldest and whole.end <= sizes.today + timedelta(days=1) and month.end <= whole.end
