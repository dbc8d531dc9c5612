"""Several processes on one root: overlapping deliveries, keys of others, erasure by another, whole views."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from schemas.errors import BusyError, KeyUnavailableError
from store import ScanQuery, SourceRef, Store, SystemClock
from store.documents import Put
from store.partitions import to_us
from tests.conftest import FixedClock
from tests.fault.writer import batch_table
from tests.patience import PATIENCE_S
from tests.store.conftest import deliver
from tests.store.records import records

EVER = ScanQuery(0, 2**60)
EAST = SourceRef("east", "east")


def stored(store: Store) -> int:
    return sum(batch.num_rows for batch in store.scan(EVER))


def test_two_processes_that_deliver_overlapping_records_at_once_store_each_once(tmp_path: Path) -> None:
    """Each process delivers the same batches, one forwards and one backwards."""
    root, anchor_us, batches = tmp_path / "root", SystemClock().now_us(), 12
    Store.create(root, clock=SystemClock()).close()
    orders = [range(batches), range(batches - 1, -1, -1)]
    writers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.store.racer", str(root), str(anchor_us), *map(str, order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for order in orders
    ]
    for writer in writers:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
    said = []
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        said.append(writer.communicate(timeout=PATIENCE_S)[0])
        assert writer.returncode == 0
    accepted = sum(int(line.split()[0]) for text in said for line in text.splitlines())
    expected = {
        key for number in range(batches) for key in batch_table(number, anchor_us).column("record_key").to_pylist()
    }
    with Store.open(root, clock=SystemClock()) as store:
        keys = [key for batch in store.scan(EVER) for key in batch.column("record_key").to_pylist()]
        assert len(keys) == len(set(keys)) and set(keys) == expected
        assert accepted == len(expected)
        assert not any(flag for batch in store.scan(EVER) for flag in batch.column("conflict").to_pylist())
        assert store.verify() == []


@pytest.fixture
def other(store: Store, clock: FixedClock) -> Store:
    """The same root, opened a second time: what another process sees."""
    return Store.open(store.root, clock=clock)


def test_what_another_process_stores_under_a_new_key_is_read_at_once(store: Store, other: Store) -> None:
    deliver(store, records(5))
    scan = store.scan(EVER)
    deliver(other, records(5, first_key=100, days_ago=9))  # a partition and key that `store` has not heard of
    assert sum(batch.num_rows for batch in scan) == 10
    other.documents.commit([Put("novelty", "one", {"a": 1})])
    assert store.documents.get("novelty", "one").body == {"a": 1}
    assert store.verify() == []


def test_a_batch_settles_with_one_of_another_process_under_a_new_key(store: Store, other: Store) -> None:
    with store.begin_batch(EAST, format="csv") as batch:
        batch.add(records(10))
        deliver(other, records(10, days_ago=9))  # the same identities, another end date, another key
        receipt = batch.commit()
    assert receipt.conflicts == 10
    assert store.verify() == []


def test_the_identities_of_an_erased_partition_leave_the_memory_of_other_processes(
    store: Store, other: Store, clock: FixedClock
) -> None:
    deliver(store, records(5))
    deliver(other, records(5))
    assert len(other.known) > 0
    clock.value_us = to_us(store.partitions()[0].expires_at)
    key = store.partitions()[0].key
    store.expire()
    other.renew_leases()
    assert len(other.known) == 0
    with pytest.raises(KeyUnavailableError):
        other.keyring.key(key.ref)


def test_an_erasure_by_two_at_once_is_done_and_logged_once(store: Store, other: Store, clock: FixedClock) -> None:
    deliver(store, records(5))
    clock.advance(days=731)
    threads = [threading.Thread(target=one.expire) for one in (store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.audit.refresh()
    kinds = [entry.kind for entry in store.audit.entries(0, store.audit.size, reveal=False)]
    assert (kinds.count("erasure.intended"), kinds.count("erasure.done")) == (1, 1)
    assert store.verify() == []


def test_verification_beside_writers_and_erasers_finds_nothing_wrong(
    store: Store, other: Store, clock: FixedClock
) -> None:
    """What is published, discarded or erased while the check runs is no fault."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        number = 0
        try:
            while not stop.is_set() and number < 200:
                number += 1
                deliver(other, records(20, first_key=number * 15, days_ago=2 + number % 5))
                with other.begin_batch(EAST, format="csv") as batch:
                    batch.add(records(20, first_key=10**6 + number * 20))  # and leaves without a commit
        except BaseException as error:
            failures.append(error)

    deliver(store, records(20, days_ago=700))
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for turn in range(12):
            if turn == 6:
                clock.advance(days=40)
                store.expire()
            assert store.verify() == []
    finally:
        stop.set()
        thread.join()
    assert failures == []


def test_an_orphan_of_a_dead_process_is_told_and_swept(store: Store, clock: FixedClock) -> None:
    deliver(store, records(5))
    part = store.catalog.parts()[0]
    path = store.layout.part(part.partition, "0" * 32)
    path.write_bytes(os.urandom(10))
    assert [problem.what for problem in store.verify()] == [f"file {'0' * 32}.parquet is not in the catalog (orphan)"]
    with Store.open(store.root, clock=clock) as again:
        assert again.verify() == []
    assert stored(store) == 5


def test_closing_a_store_under_its_threads_ends_them_with_an_error_of_ours(tmp_path: Path, clock: FixedClock) -> None:
    """SQLite does not survive a connection that is closed under a statement."""
    for turn in range(6):
        store = Store.create(tmp_path / str(turn), clock=clock)
        errors: list[str] = []

        def ask(store: Store = store, errors: list[str] = errors) -> None:
            try:
                while True:
                    store.catalog.parts()
            except BusyError as error:
                errors.append(error.message)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.03)
        store.close()
        for thread in threads:
            thread.join()
        assert errors == ["the store is closed"] * 3
        store.close()
