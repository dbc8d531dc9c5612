"""A process that delivers and merges for a while, and says how many parts it merged.

Run as `python -m tests.store.reading.merger ROOT NOW_US`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from store import Store
from tests.conftest import FixedClock
from tests.fault.writer import say
from tests.store.conftest import deliver
from tests.store.records import records

ROUNDS = 6


def main(root: Path, now_us: int) -> None:
    merged = 0
    with Store.open(root, clock=FixedClock(now_us)) as store:
        for number in range(ROUNDS):
            deliver(store, records(50, seed=100 + number, first_key=10**6 + number * 50, days_ago=2 + number % 3))
            merged += store.compact(everything=True).merged
    say(json.dumps({"merged": merged}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
