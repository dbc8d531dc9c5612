"""A process that pushes into the spool, and drains it now and then, until it is killed; acknowledged ids go to stdout.

Run as `python -m tests.fault.spool_writer ROOT FIRST_KEY`.
"""

from __future__ import annotations

import itertools
import sys
import threading
from pathlib import Path

from store import Store, SystemClock
from tests.store.records import DAY_US, NOW_US
from tests.store.spooling.test_spool import group


def main(root: Path, first: int) -> None:
    clock = SystemClock()
    days_ago = NOW_US // DAY_US - clock.now_us() // DAY_US + 3  # relative to the tests' own NOW_US
    with Store.open(root, clock=clock) as store:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        for key in itertools.count(first, 2):
            (ids,) = store.spool.append([group(store, key, key + 1, rejected=1, days_ago=days_ago)])
            sys.stdout.write(" ".join(map(str, ids)) + "\n")
            sys.stdout.flush()
            if key % 20 == 0:
                threading.Thread(target=store.spool.drain).start()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
