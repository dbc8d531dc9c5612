"""A process that does to a root what it is told, one line of JSON after the other, and answers each with one.

Run as `python -m tests.store.reading.hand`. Every line names the root and the instant; a root stays open until another
is named.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from schemas.errors import LagrumError
from store import Store
from store.correcting.overlay import Correction
from store.retention import erasing, explain
from tests.conftest import FixedClock
from tests.store.conftest import deliver as delivered
from tests.store.records import records, with_column

ACTORS = ("custodian-1", "custodian-2")


class Hand:
    """What the process can do; each word is a method that returns its answer."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def deliver(self, first: int, rows: int, days_ago: int, calling: int) -> list[int]:
        table = records(rows, seed=first, first_key=first, days_ago=days_ago)
        receipt = delivered(self._store, with_column(table, "calling_number", [calling] * rows))
        return [receipt.batch_id, receipt.accepted, receipt.duplicates]

    def withdraw(self, batch: int) -> int:
        return self._store.withdraw_batch(batch, reason="wrong zone", actors=ACTORS)

    def erase(self, act: int, batch: int, position: int) -> int:
        key = explain.part_of(self._store, batch, position).partition
        words = {"citation": "Act 17"}
        wanted = Correction(f"{act:016x}", erasing.ERASED, key, batch, position, words, said={"reason": "asked"})
        self._store.corrections.request(wanted, {"by": ACTORS[0]})
        return erasing.erase(self._store, wanted.act, {}, ACTORS).records

    def compact(self) -> int:
        return self._store.compact(everything=True).merged

    def expire(self) -> int:
        return len(self._store.expire().partitions)


def main() -> None:
    store, clock = None, FixedClock(0)
    for line in sys.stdin:
        told: dict[str, Any] = json.loads(line)
        clock.value_us = told["now_us"]
        if store is None or store.root != Path(told["root"]):
            if store is not None:
                store.close()
            store = Store.open(Path(told["root"]), clock=clock)
        try:
            answer = {"done": getattr(Hand(store), told["word"])(**told["with"])}
        except LagrumError as error:
            answer = {"refused": f"{type(error).__name__}: {error}"}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
