"""Usage, and a search that finds every record, stream: they fit into memory that the records do not fit into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from store import Store
from tests.conftest import FixedClock
from tests.store.conftest import deliver
from tests.store.records import CALLING, NOW_US, records

DAYS, ROWS = 16, 40_000
LIMIT_BYTES = {"usage": 192 << 20, "scan": 192 << 20, "disclosure": 384 << 20, "collect": 192 << 20}
"""Beyond what the process has with nothing read; a disclosure holds 200 000 records beside what is read ahead."""
SCRIPT = """
import resource, sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
import pyarrow as pa
from api.disclosure import sliced_scan
from api.billing.usage import Period, usage
from schemas.packing import unpack_table
from store import ScanQuery, Store, TargetIdentifier
from tests.conftest import FixedClock

root, what, number, now_us, limit, rows = Path(sys.argv[1]), *sys.argv[2:4], *map(int, sys.argv[4:7])
store = Store.open(root, clock=FixedClock(now_us))
everything = ScanQuery(0, 2**60, (TargetIdentifier("number", number),))
today = datetime.fromtimestamp(now_us / 1e6, UTC).date()
day_us = 86_400_000_000
list(store.scan(ScanQuery(now_us - 2 * day_us, now_us, (TargetIdentifier("number", "1"),))))  # what is loaded once
held = int(next(line for line in open("/proc/self/status") if line.startswith("VmData")).split()[1]) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (held + limit, held + limit))
try:
    if what == "usage":
        lines = usage(store, Period(today - timedelta(days=40), today + timedelta(days=1)))
        assert sum(lines["records"].to_pylist()) == rows
    elif what == "disclosure":
        window = ScanQuery(now_us - 40 * day_us, now_us, everything.targets)
        assert sum(table.num_rows for table in sliced_scan.hits(store, window)) == rows
    elif what == "scan":
        assert sum(batch.num_rows for batch in store.scan(everything)) == rows
    else:
        held = [unpack_table(pa.Table.from_batches([batch])) for batch in store.scan(everything)]
except (MemoryError, pa.ArrowMemoryError):
    sys.exit(3)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("memory") / "root"
    with Store.create(root, clock=FixedClock(NOW_US)) as store:
        for day in range(DAYS):
            calling = pa.array(np.full(ROWS, CALLING + 5), pa.int64())
            deliver(store, records(ROWS, first_key=day * ROWS, days_ago=2 + day, calling_number=calling))
    return root


def ended(root: Path, what: str) -> int:
    command = [sys.executable, "-c", SCRIPT, str(root), what, str(CALLING + 5)[1:], str(NOW_US), str(LIMIT_BYTES[what])]
    settings = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [*command, str(DAYS * ROWS)], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 3), done.stderr
    return done.returncode


@pytest.mark.parametrize("what", ["usage", "disclosure", "scan"])
def test_it_streams(root: Path, what: str) -> None:
    assert ended(root, what) == 0


def test_the_records_at_once_do_not_fit(root: Path) -> None:
    assert ended(root, "collect") == 3
