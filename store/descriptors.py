"""What of a process's open files one holder may keep, so that others find some."""

from __future__ import annotations

import resource


def share(of: int, at_most: int) -> int:
    """Return the `of`-th part of the files that this process may open, and no more than `at_most`."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return at_most if limit == resource.RLIM_INFINITY else min(at_most, limit // of)
