"""Kernels are loaded once, by whichever writer comes first; the other waits."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from store.index.coding import KERNEL_ROWS, kernels
start = Barrier(8)
def load(_):
    start.wait()
    found = []
    for _ in range(200):
        compiled = kernels(KERNEL_ROWS)
        found.append(hasattr(compiled, "hash_packed") and hasattr(compiled, "hash_texts"))
    return all(found)
with ThreadPoolExecutor(8) as pool:
    print(all(pool.map(load, range(8))), kernels(1) is not None)
"""


def test_two_writers_at_once_find_whole_kernels() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
