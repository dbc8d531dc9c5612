"""kill -9 at random moments: every acknowledged record is there, once; nothing half-visible."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store import ScanQuery, Store, SystemClock
from tests.fault.writer import ROWS, batch_table

EVER = ScanQuery(0, 2**60, columns=("record_key", "conflict"))


def campaign(root: Path, kills: int, seed: int) -> int:
    """Kill a writer `kills` times; return the number of acknowledged batches."""
    chance = random.Random(seed)
    anchor_us = SystemClock().now_us()
    Store.create(root, clock=SystemClock()).close()
    acknowledged: set[int] = set()
    for _ in range(kills):
        first = max(acknowledged, default=0) + 1
        command = [sys.executable, "-m", "tests.fault.writer", str(root), str(first), str(anchor_us)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline().startswith("ready")
            time.sleep(chance.uniform(0, 0.35))
            writer.kill()
            said = writer.stdout.read().split("\n")
        acknowledged |= {int(line) for line in said[:-1] if line.isdigit()}
        check(root, acknowledged, anchor_us)
    return len(acknowledged)


def check(root: Path, acknowledged: set[int], anchor_us: int) -> None:
    with Store.open(root, clock=SystemClock()) as store:
        assert store.verify() == []
        stored = [key for batch in store.scan(EVER) for key in batch.column("record_key").to_pylist()]
        conflicts = sum(sum(batch.column("conflict").to_pylist()) for batch in store.scan(EVER))
    assert conflicts == 0
    assert len(stored) == len(set(stored)), "a record is stored twice"
    promised = set()
    for number in acknowledged:
        promised |= set(batch_table(number, anchor_us).column("record_key").to_pylist())
    assert promised <= set(stored), "an acknowledged record is lost"
    assert len(set(stored) - promised) <= ROWS, "more is visible than one unacknowledged batch"


def test_a_writer_killed_at_random_moments_loses_and_repeats_nothing(tmp_path: Path) -> None:
    assert campaign(tmp_path / "root", kills=8, seed=20261122) > 8


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(20))
def test_a_thousand_kills(tmp_path: Path, seed: int) -> None:
    assert campaign(tmp_path / "root", kills=50, seed=seed) > 50
