"""Freed memory stays with a process that takes in records."""

from __future__ import annotations

import resource
import subprocess
import sys

SCRIPT = """
import ctypes, resource, sys
from api.cli.memory import keep_freed_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
if sys.argv[1] == "keep":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(6):
    block = ctypes.c_void_p(library.malloc(ctypes.c_size_t(48_000_000)))
    ctypes.memset(block, 1, 48_000_000)
    library.free(block)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
BLOCK_PAGES = 48_000_000 // resource.getpagesize()


def faults(what: str) -> int:
    done = subprocess.run([sys.executable, "-c", SCRIPT, what], capture_output=True, text=True, check=True)
    return int(done.stdout)


def test_pages_are_asked_of_the_kernel_once() -> None:
    assert faults("leave") > 5 * BLOCK_PAGES
    assert faults("keep") < 2 * BLOCK_PAGES
