"""A process that waits for a line, delivers the named batches and says the counts of each.

Run as `python -m tests.store.racer ROOT ANCHOR_US BATCH...`; batches are those of `tests.fault.writer`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from schemas.errors import BusyError
from store import Receipt, SourceRef, Store, SystemClock
from tests.fault.writer import batch_table, say


def main(root: Path, anchor_us: int, numbers: list[int]) -> None:
    with Store.open(root, clock=SystemClock()) as store:
        say("ready")
        sys.stdin.readline()
        for number in numbers:
            receipt = deliver(store, anchor_us, number)
            say(f"{receipt.accepted} {receipt.duplicates}")


def deliver(store: Store, anchor_us: int, number: int) -> Receipt:
    while True:
        try:
            with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
                batch.add(batch_table(number, anchor_us))
                return batch.commit()
        except BusyError:
            continue


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [int(number) for number in sys.argv[3:]])
