"""Freed memory stays with a process that takes in records."""

from __future__ import annotations

import gc
import resource
import subprocess
import sys

from api import scheduling
from api.cli.memory import settle, undisturbed

SCRIPT = """
import ctypes, resource, sys
from api.cli.memory import keep_freed_memory
library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: a huge page would be one fault for many pages
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


def test_a_command_ends_with_its_code_and_all_that_it_told() -> None:
    program = "import sys; from api.cli import main; sys.exit(main())"
    for arguments, code in ((["--version"], 0), (["nothing"], 2), (["status"], 2)):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert bool(done.stdout) == (code == 0)
        assert ("error: " in done.stderr) == (code != 0)


def test_pages_are_asked_of_the_kernel_once() -> None:
    assert faults("leave") > 5 * BLOCK_PAGES
    assert faults("keep") < 2 * BLOCK_PAGES


def test_what_is_loaded_is_left_alone_for_one_command() -> None:
    before, frozen = sys.getswitchinterval(), gc.get_freeze_count()
    with undisturbed():
        assert gc.get_freeze_count() > frozen
        assert sys.getswitchinterval() == scheduling.INTERVAL_SECONDS
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == before


def test_what_is_loaded_is_left_alone_for_good() -> None:
    try:
        settle()
        assert gc.get_freeze_count() > len(gc.get_objects())
        assert gc.isenabled()
    finally:
        gc.unfreeze()
