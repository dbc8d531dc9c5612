"""A process that delivers batches until it is killed; each acknowledged batch is a line on stdout.

Run as `python -m tests.fault.writer ROOT FIRST_BATCH ANCHOR_US`. Batch n holds the records whose keys are n*1000 …;
every third repeats the one before, every fifth spreads over several days.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

from store import SourceRef, Store, SystemClock
from tests.store.records import DAY_US, NOW_US, records

ROWS = 400


def batch_table(number: int, now_us: int) -> pa.Table:
    """Return the records of batch `number`; the same for the same number."""
    source = number - 1 if number % 3 == 2 else number
    days_ago = (NOW_US // DAY_US) - (now_us // DAY_US) + 3  # relative to the tests' own NOW_US
    days = 3 if source % 5 == 0 else 1
    return records(ROWS, seed=source, first_key=source * 1000, days_ago=days_ago, days=days)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(root: Path, first: int, anchor_us: int) -> None:
    with Store.open(root, clock=SystemClock()) as store:
        say("ready")
        number = first
        while True:
            with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
                batch.add(batch_table(number, anchor_us))
                batch.commit()
            say(str(number))
            number += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
