"""Freed memory stays with a process that takes in records."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import resource, sys
import numpy as np
from api.cli.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(6):
    np.ones(48_000_000, np.uint8).sum()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(what: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, what], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_pages_are_asked_of_the_kernel_once() -> None:
    spared = faults("leave") - faults("keep")
    assert spared > 1000
