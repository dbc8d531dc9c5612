"""Readers that stand still while a key is destroyed: when they go on after their lease they are refused, not served."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import KeyUnavailableError
from schemas.retention import floor_until
from store import ScanQuery, Store, TargetIdentifier
from store.correcting.overlay import Correction
from store.keys import LEASE_S
from store.partitions import PartitionKey, to_us
from store.retention import erasing
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S
from tests.store.conftest import deliver
from tests.store.records import records, with_column

EVER = ScanQuery(0, 2**60)
SOMEBODY = ScanQuery(0, 2**60, (TargetIdentifier("number", "46701749999"),))
READER = """
import sys
from pathlib import Path
from store import ScanQuery, Store, TargetIdentifier
from store.keys import view
from store.reading import batches
from tests.conftest import FixedClock
view.LEASE_S = float(sys.argv[3])
batches.BATCH_ROWS = 1
with Store.open(Path(sys.argv[1]), clock=FixedClock(int(sys.argv[2]))) as store:
    scan = store.scan(ScanQuery(0, 2**60, (TargetIdentifier("number", "46701749999"),)))
    shown = next(scan).num_rows
    print("first", flush=True)
    sys.stdin.readline()
    try:
        for batch in scan:
            shown += batch.num_rows
            print("shown", flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""


@pytest.fixture
def batch(store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch) -> int:
    """Records of two days, past the floor; an eraser does not wait for who reads them."""
    monkeypatch.setattr("store.retention.rewriting.READERS_WAIT_S", 0.0)
    tables = [records(20, first_key=100 * day, days_ago=day) for day in (3, 2)]
    called = [with_column(table, "called_number", [146_701_749_999] * 20) for table in tables]
    number = max(deliver(store, table).batch_id for table in called)
    last = max(part.key.end_date for part in store.partitions())
    clock.value_us = to_us(floor_until(last))
    return number


def erase_of_the_last_day(store: Store, batch: int) -> PartitionKey:
    key = store.partitions()[-1].key
    wanted = Correction("0" * 15 + "e", erasing.ERASED, key, batch, 7, {"citation": "Art 17"}, said={"reason": "asked"})
    store.corrections.request(wanted, {"by": "one"})
    erasing.erase(store, wanted.act, {}, ("one", "two"))
    assert not store.keyring.has(key.ref)
    return key


@pytest.mark.parametrize("query", [EVER, SOMEBODY], ids=["every record", "one number"])
def test_a_scan_goes_on_after_its_lease_with_an_error(
    store: Store, batch: int, clock: FixedClock, query: ScanQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.reading.batches.BATCH_ROWS", 1)  # each day's records by themselves
    with Store.open(store.root, clock=clock) as reader:
        now_s = reader.keyring._elapsed()
        monkeypatch.setattr(reader.keyring, "_elapsed", lambda: now_s)
        scan: Iterator[object] = reader.scan(query)
        next(scan)
        erase_of_the_last_day(store, batch)
        now_s += LEASE_S + 1
        with pytest.raises(KeyUnavailableError):
            list(scan)
        assert sum(found.num_rows for found in reader.scan(query)) == 39


def test_a_process_that_was_stopped_over_an_erasure_shows_nothing_of_it(
    store: Store, batch: int, clock: FixedClock, tmp_path: Path
) -> None:
    lease_s = 0.2
    command = [sys.executable, "-c", READER, str(store.root), str(clock.value_us), str(lease_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdin is not None and reader.stdout is not None
        assert reader.stdout.readline() == "first\n"
        os.kill(reader.pid, signal.SIGSTOP)
        begun_s = store.keyring._elapsed()
        erase_of_the_last_day(store, batch)
        while store.keyring._elapsed() - begun_s <= lease_s:
            pass
        os.kill(reader.pid, signal.SIGCONT)
        told, _ = reader.communicate("go on\n", timeout=PATIENCE_S)
    assert told == "KeyUnavailableError\n"
