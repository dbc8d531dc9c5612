"""How a process that takes in or merges many records keeps its memory, and whose turn it is among its threads.

Buffers of tens of MB come and go with every stretch. By default the C library gives each back to the kernel and gets it
anew, zeroed, page by page: that was 0.35 of 2.3 core-microseconds a record. Kept pages cost nothing; the process holds
what it needed at its peak, which is bounded by the pipeline.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from api.scheduling import take_short_turns

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_KEPT_BYTES_MAX: Final = 1 << 30
_STORE: Final = "store.store"
"""Where this is loaded, so is most of the rest."""
_ARENAS: Final = 2
"""Each thread would else keep a heap of its own: a quarter of a GiB more."""


def keep_freed_memory() -> None:
    """Let freed memory serve the next allocation; nothing happens where the C library is not glibc."""
    import pyarrow as pa

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    kept = mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES_MAX) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES_MAX)
    if kept and mallopt(_M_ARENA_MAX, _ARENAS):
        pa.set_memory_pool(pa.system_memory_pool())


def settle() -> None:
    """Leave what is loaded by now out of collections of garbage, for as long as the process lives.

    A service that takes pushes spent 4 % of its processor time on visiting its modules, routes and models again and
    again, up to 170 ms at a time in which nobody was answered.
    """
    gc.collect()
    gc.freeze()


@contextmanager
def loading() -> Iterator[None]:
    """Leave out collections of garbage while modules are loaded; what they made is left out of those that come.

    They find nothing to collect in hundreds of thousands of new objects, and took 6 % of a short command.
    """
    if _STORE in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave what is loaded by now out of collections of garbage, and hand the interpreter on sooner, for one command.

    Modules and their functions live as long as the process: to visit them again and again was 2 % of a delivery's
    processor time. A thread that comes out of a kernel waits for the interpreter, up to a whole turn of another.
    """
    turn_seconds = sys.getswitchinterval()
    take_short_turns()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(turn_seconds)
