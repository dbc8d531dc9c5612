"""A process that waits for a line, delivers events of the numbered sessions, and says what became of them.

Run as `python -m tests.store.open_sessions.session_racer ROOT NOW_US NUMBER...`: of each number first the openings of
its sessions, then their ends, each a delivery that is made again while it is refused.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pyarrow as pa

from schemas.errors import BusyError
from store import Receipt, Store
from tests.conftest import FixedClock
from tests.fault.writer import say
from tests.store.conftest import deliver
from tests.store.open_sessions.test_sessions import closed, opened

SESSIONS = 40
"""Of each number."""


def delivered(store: Store, table: pa.Table) -> Receipt:
    while True:
        try:
            return deliver(store, table)
        except BusyError:
            continue


def events(number: int) -> tuple[pa.Table, pa.Table]:
    """Return the openings and the ends of a number's sessions; the same from every process."""
    keys = range(number * SESSIONS, (number + 1) * SESSIONS)
    return (
        pa.concat_tables([opened(f"s{key}", 10_000 + key) for key in keys]),
        pa.concat_tables([closed(f"s{key}", 20_000 + key) for key in keys]),
    )


def main(root: Path, now_us: int, numbers: list[int]) -> None:
    accepted = duplicates = 0
    with Store.open(root, clock=FixedClock(now_us)) as store:
        say("ready")
        sys.stdin.readline()
        for number in numbers:
            for table in events(number):
                receipt = delivered(store, table)
                accepted, duplicates = accepted + receipt.accepted, duplicates + receipt.duplicates
    say(f"{accepted} {duplicates}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), [int(number) for number in sys.argv[3:]])
