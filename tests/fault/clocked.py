"""A process under a clock that somebody set: it expires, reads and delivers, and says what came of it.

Run as `python -m tests.fault.clocked ROOT FIRST_KEY TRUE_US`; prints one JSON object.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.errors import LagrumError
from store import ScanQuery, SourceRef, Store, SystemClock
from tests.store.records import DAY_US, NOW_US, records


def tried(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except LagrumError as error:
        return type(error).__name__


def main(root: Path, first_key: int, true_us: int) -> None:
    with Store.open(root, clock=SystemClock()) as store:

        def deliver() -> int:
            table = records(10, first_key=first_key, days_ago=NOW_US // DAY_US - true_us // DAY_US)
            with store.begin_batch(SourceRef("east", "east"), format="csv") as batch:
                batch.add(table)
                return batch.commit().accepted

        said = {
            "wall_us": store.clock.now_us(),
            "expired": tried(lambda: [str(key) for key in store.expire().partitions]),
            "rows": tried(lambda: sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60)))),
            "delivered": tried(deliver),
        }
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
