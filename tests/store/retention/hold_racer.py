"""One side of the race between an expiry run and a hold; each side is a process of its own.

Run as `python -m tests.store.retention.hold_racer ROOT NOW_US expire WHERE`: pauses at each WHERE (`carved`,
`intended`), waiting for a line. Or as `... hold NUMBER...`: waits for a line, then places one hold for each number, as
fast as it can.
"""

from __future__ import annotations

import sys
from pathlib import Path

from store import Put, Store
from store.audit import AuditEntry
from store.partitions import PartitionKey
from store.retention import expiry
from tests.conftest import FixedClock
from tests.fault.writer import say


def pause(where: str) -> None:
    say(where)
    sys.stdin.readline()


def run_expiry(store: Store, where: str) -> None:
    carve = store.holds.carve

    def carved(key: PartitionKey) -> None:
        carve(key)
        if where == "carved":
            pause(where)

    store.holds.carve = carved  # type: ignore[method-assign]
    result = expiry.expire(store, step=lambda name: pause(name) if name == where else None)
    say(f"erased {len(result.partitions)} held {len(result.held)}")


def hold(store: Store, numbers: list[str]) -> None:
    say("ready")
    sys.stdin.readline()
    for place, number in enumerate(numbers):
        words = {"state": "active", "basis": "preservation", "ends": "2030-01-01", "accounts": []}
        body = words | {"start_us": 0, "end_us": 2**60, "targets": [{"kind": "number", "value": number}]}
        entry = AuditEntry("hold.placed", {"hold": f"{place:016x}"}, None)
        store.documents.commit([Put("hold", f"{place:016x}", body, expect=0)], [entry])
    say("placed")


def main(root: Path, now_us: int, side: str, words: list[str]) -> None:
    with Store.open(root, clock=FixedClock(now_us)) as store:
        if side == "expire":
            run_expiry(store, words[0])
        else:
            hold(store, words)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:])
