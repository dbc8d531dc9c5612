"""How long tests wait for what comes: much longer than it takes, because the machine may be busy with other things.

A wait ends when what it waits for is there; its bound only ends a test that has failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 300.0


def until(is_so: Callable[[], object], what: str, *, every_s: float = 0.01) -> None:
    """Wait until something is so.

    Raises:
        AssertionError: it is not, and it says `what`.
    """
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(every_s)
