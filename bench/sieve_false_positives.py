"""How often the sieve suspects a record that is new: random tags, none twice, passed through the real sieve.

A suspect that the run holds too, by its cut tag, costs one row group that is read in vain.
"""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np

from store.identities.runs import TAG_BITS
from store.identities.sieve import Sieve

STEP_ROWS: Final = 1_000_000
SIZES: Final = (10, 30, 60, 100, 200)
SEED: Final = 1


def measure(scale: float) -> list[dict[str, Any]]:
    """Return false suspects so far, memory, and processor time by the tags held, in millions at scale 1."""
    sieve, random = Sieve(), np.random.default_rng(SEED)
    rows, suspects, told = round(STEP_ROWS * scale), 0, []
    began = time.process_time()
    for step in range(1, SIZES[-1] + 1):
        suspects += int(sieve.pass_through(random.integers(0, 2**64, rows, dtype=np.uint64)).sum())
        if step in SIZES:
            held = step * rows
            told.append(
                {
                    "held": held,
                    "suspects": suspects,
                    "expected": held * held / 2 / 2**TAG_BITS,
                    "memory_bytes": sieve.nbytes,
                    "cpu_us_per_record": (time.process_time() - began) / held * 1e6,
                }
            )
    sieve.close()
    return told
