"""What this process holds open, of one folder only: what other tests left to be collected does not count."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def opened(folder: Path) -> int:
    """How many descriptors of this process are of files below a folder."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # of this very listing, or closed meanwhile
            found += descriptor.readlink().is_relative_to(folder)
    return found
