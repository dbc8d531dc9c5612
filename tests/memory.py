"""What a test's own work takes of Arrow's memory: what other tests hold, or leave to be collected, does not count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

_KEPT: Final[list[Any]] = []
"""Buffers do not keep the pool alive that they came from."""


@contextmanager
def own_pool() -> Iterator[pa.MemoryPool]:
    """Have what is allocated meanwhile counted by a pool of its own."""
    before = pa.default_memory_pool()
    own = pa.proxy_memory_pool(before)
    _KEPT.append(own)
    pa.set_memory_pool(own)
    try:
        yield own
    finally:
        pa.set_memory_pool(before)
