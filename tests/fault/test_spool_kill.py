"""kill -9 while pushes are taken and drained: every acknowledged one is in a batch, once, and told so."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from store import PushId, ScanQuery, Store, SystemClock

EVER = ScanQuery(0, 2**60, columns=("record_key",))


def campaign(root: Path, kills: int, seed: int) -> int:
    """Kill the writer so often; return how many pushes were acknowledged."""
    chance = random.Random(seed)
    Store.create(root, clock=SystemClock()).close()
    acknowledged: list[PushId] = []
    for turn in range(kills):
        command = [sys.executable, "-m", "tests.fault.spool_writer", str(root), str(turn * 100_000)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline().startswith("ready")
            time.sleep(chance.uniform(0.05, 0.6))
            writer.kill()
            said = writer.stdout.read().split("\n")[:-1]
        told = [PushId.parse(word) for line in said for word in line.split()]
        acknowledged += [push for push in told if push is not None]
        check(root, acknowledged)
    return len(acknowledged)


def check(root: Path, acknowledged: list[PushId]) -> None:
    with Store.open(root, clock=SystemClock()) as store:
        assert store.verify() == []
        keys = [key for batch in store.scan(EVER) for key in batch.column("record_key").to_pylist()]
        assert len(keys) == len(set(keys)), "a record is stored twice"
        delivered = sum(row["delivered"] for row in store.reconcile())
        stored, rejected = store.catalog.query("SELECT sum(rows), sum(rejected) FROM batches")[0]
        assert (delivered, len(keys)) == ((stored or 0) + (rejected or 0), stored or 0)
        for push in acknowledged:
            found = store.spool.receipt(push)
            assert found is not None and found.accepted + found.rejected == 1, "an acknowledged push is lost"


def test_a_writer_killed_at_random_moments_loses_and_repeats_nothing(tmp_path: Path) -> None:
    assert campaign(tmp_path / "root", kills=4, seed=20261122) > 4


@pytest.mark.torture
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(10))
def test_hundreds_of_kills(tmp_path: Path, seed: int) -> None:
    assert campaign(tmp_path / "root", kills=40, seed=seed) > 40
