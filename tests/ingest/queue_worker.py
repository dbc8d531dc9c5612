"""A worker of the queue's tests: consumes until it is killed, or once."""

from __future__ import annotations

import sys
from pathlib import Path

from ingest.consumer import Consumer, ConsumeRules
from ingest.jetstream import JetStream, JetStreamSettings
from store import Store
from store.clock import SystemClock
from tests.ingest.broker import STREAM

if __name__ == "__main__":
    root, url, once = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "once"
    with Store.open(root, clock=SystemClock()) as store:
        queue = JetStream(JetStreamSettings(url, STREAM, "lagrum", ack_wait_s=2.0))
        try:
            Consumer(store, "east", "csv", queue, ConsumeRules(100, 1 << 20, 0.2)).run(once=once)
        finally:
            queue.close()
