"""Real processes whose clock was set by an hour, a day, two years: nothing is erased early or stored wrongly.

libfaketime stands between the process and its clocks; the kernel's own counter it does not reach.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.policy import DEFAULT_POLICY
from schemas.retention import CEILING_MONTHS, add_months
from store import ScanQuery, SourceRef, Store, SystemClock
from store.clock import to_date
from store.partitions import PartitionKey, date_to_day, is_expired
from store.retention.clockguard import UNTRUSTED
from tests.patience import PATIENCE_S
from tests.store.records import DAY_US, NOW_US, records

HOUR, DAY, YEARS = 3600, 86_400, 731 * 86_400

pytestmark = pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")


def run(offset_s: int, *command: str, monotonic: bool) -> subprocess.CompletedProcess[str]:
    flags = [] if monotonic else ["--exclude-monotonic"]
    return subprocess.run(
        ["faketime", *flags, "-f", f"{offset_s:+d}s", sys.executable, *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def deliver(store: Store, first_key: int, end_us: int) -> None:
    """Deliver ten records that end on the day of `end_us`."""
    table = records(10, first_key=first_key, days_ago=NOW_US // DAY_US - end_us // DAY_US)
    with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
        batch.add(table)
        assert batch.commit().accepted == 10


def test_no_clock_that_somebody_set_erases_early_or_stores_wrongly(tmp_path: Path) -> None:
    now_us = SystemClock().now_us()
    root = tmp_path / "root"
    first_kept = add_months(to_date(now_us), -CEILING_MONTHS)
    # Midnight may come while this runs, and what is over then is rightly erased.
    while is_expired(PartitionKey(first_kept, "standard"), now_us + HOUR * 1_000_000, DEFAULT_POLICY):
        first_kept = first_kept.fromordinal(first_kept.toordinal() + 1)
    with Store.create(root, clock=SystemClock()) as store:
        for number, day in enumerate((date_to_day(first_kept), date_to_day(first_kept) + 40, now_us // DAY_US - 1)):
            deliver(store, 100 * number, day * DAY_US)
        before = {item.key: item.records for item in store.partitions()}
        keys = set(store.keyring.refs())

    for number, offset_s in enumerate((HOUR, -HOUR, DAY, -DAY, YEARS, -YEARS, YEARS, -DAY)):
        monotonic = number < 6
        ran = run(
            offset_s,
            *("-m", "tests.fault.clocked", str(root), str(1000 + 100 * number), str(now_us)),
            monotonic=monotonic,
        )
        assert ran.returncode == 0, ran.stderr
        said: dict[str, Any] = json.loads(ran.stdout)
        assert abs(said["wall_us"] - SystemClock().now_us() - offset_s * 1_000_000) < 300_000_000, "not faked"
        assert said["expired"] == "ClockError", offset_s
        if offset_s == YEARS:
            assert (said["rows"], said["delivered"]) == ("ClockError", "BusyError"), "never none found, never lost"
        if offset_s == DAY:
            assert said["rows"] == "ClockError"
    with Store.open(root, clock=SystemClock()) as store:
        assert store.expire().partitions == ()
        left = {item.key: item.records for item in store.partitions()}
        assert {key: left.get(key) for key in before} == before, "something was erased early"
        assert keys <= set(store.keyring.refs())
        added = {key: rows for key, rows in left.items() if key not in before}
        assert all(key.end_date == to_date(now_us) for key in added), "in the wrong partition"
        assert sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60))) == sum(left.values())
        assert store.verify() == []
        assert UNTRUSTED in [entry.kind for entry in store.audit.entries()]


def test_the_command_line_refuses_to_expire_under_a_clock_that_was_set(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with Store.create(root, clock=SystemClock()) as store:
        deliver(store, 0, int(datetime.now(UTC).timestamp() * 1_000_000) - DAY_US)
    program = "import sys; from api.cli import main; sys.exit(main())"
    for command in (["expire"], ["expire", "--dry-run"], ["status"]):
        ran = run(YEARS, "-c", program, "--root", str(root), "retention", *command, monotonic=True)
        assert ran.returncode == 1, command
        assert "not trusted" in (ran.stderr + ran.stdout).lower()
    with Store.open(root, clock=SystemClock()) as store:
        assert [item.records for item in store.partitions()] == [10]
