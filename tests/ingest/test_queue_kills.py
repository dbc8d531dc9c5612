"""kill -9 of the worker and of the broker under load: every acknowledged message's record is stored once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from store import ScanQuery, Store
from store.clock import SystemClock
from tests.ingest.broker import Broker, running
from tests.patience import PATIENCE_S

HEAD = b"record_key,switch,service_type,calling_number,called_number,start_time,duration_s\n"
MESSAGES = 1_200
STEP = 100
KILLS = 4


def body(key: int, day: bytes) -> bytes:
    return HEAD + b"%011d,pbx,voice,46700000001,46700000002,%b,61\n" % (key, day)


def worker(root: Path, broker: Broker, how: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.ingest.queue_worker", str(root), broker.url, how]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def load(broker: Broker, acknowledged: set[int]) -> Iterator[None]:
    """Publish from a thread; a step that fails is published again, as a switch does, so it may be there twice."""
    day = time.strftime("%Y-%m-%dT10:00:00Z", time.gmtime(time.time() - 86_400)).encode()

    def publish() -> None:
        for start in range(0, MESSAGES, STEP):
            keys = range(start, start + STEP)
            for _ in range(60):
                try:
                    broker.publish([body(key, day) for key in keys], wait_s=5)
                except Exception:  # the broker is dead now
                    time.sleep(0.2)
                else:
                    acknowledged.update(keys)
                    break

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        thread.join(2 * PATIENCE_S)


def test_whoever_is_killed_every_acknowledged_record_is_stored_once(tmp_path: Path) -> None:
    chance = random.Random(31)
    root, acknowledged = tmp_path / "root", set[int]()
    Store.create(root, clock=SystemClock()).close()
    with running(tmp_path / "broker") as broker:
        broker.publish([])
        process = worker(root, broker, "on")
        try:
            with load(broker, acknowledged):
                for number in range(KILLS):
                    time.sleep(chance.uniform(0.6, 1.2))
                    if number % 3 == 2:
                        broker.stop(signal.SIGKILL)
                        broker.start()
                    else:
                        os.kill(process.pid, signal.SIGKILL)
                        process.wait(PATIENCE_S)
                        process = worker(root, broker, "on")
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait(PATIENCE_S)
        assert acknowledged == set(range(MESSAGES))
        for _ in range(30):
            worker(root, broker, "once").wait(PATIENCE_S)
            about = broker.consumer()
            if not about.num_pending and not about.num_ack_pending:
                break
            time.sleep(0.5)
        total = broker.manage("stream_info", "CDR").state.messages
    with Store.open(root, clock=SystemClock()) as store:
        keys = [key for batch in store.scan(ScanQuery(0, 2**60)) for key in batch.column("record_key").to_pylist()]
        assert sorted(int(key) - 10**11 for key in keys) == list(range(MESSAGES))  # packed behind a leading 1
        rows = store.reconcile()
        assert sum(row["stored"] for row in rows) == MESSAGES
        # Each message is in one batch: what was delivered is what the stream has, the publisher's repetitions included.
        assert sum(row["delivered"] for row in rows) == total
        assert sum(row["duplicates"] for row in rows) == total - MESSAGES
        assert store.catalog.query("SELECT first, last FROM queue_settled") == [(1, total)]
        assert store.verify() == []
