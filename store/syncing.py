"""Files of a batch become durable together: the disk begins with each at once, and is waited for at the end.

A sync of one file makes the file system write down the names and sizes of all of them; those that follow find little
left to do. So the files of many small parts are synced one after the other, when the last one is written, and those of
a large part behind its last one. Until then their descriptors stay open: an error of the disk in between is theirs,
and the sync tells it.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from store import descriptors, files

FILES_MAX: Final = 256
"""So many descriptors are held; then those files are synced first."""
_SHARE: Final = 32
"""No batch holds more than this part of the process's descriptors: several are at work, and readers hold a quarter."""


class Syncs:
    """Files that were written and are not durable yet; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: list[tuple[Path, int]] = []
        self._files_max = descriptors.share(_SHARE, FILES_MAX)

    def add(self, path: Path) -> None:
        """Take over a file that was written to its end.

        Raises:
            OSError: it cannot be opened, or another one could not be made durable.
        """
        begun = (path, files.begin_sync(path))
        with self._lock:
            self._begun.append(begun)
            full = len(self._begun) >= self._files_max
        if full:
            self.finish()

    def finish(self) -> None:
        """Make all files so far durable; their names are their committer's to sync.

        Raises:
            OSError: one could not be made durable; none of them counts as such.
        """
        begun = self._taken()
        try:
            while begun:
                path, descriptor = begun.pop()
                files.end_sync(path, descriptor)
        finally:
            _close(begun)

    def drop(self) -> None:
        """Leave the files as they are: nobody will speak of them."""
        _close(self._taken())

    def _taken(self) -> list[tuple[Path, int]]:
        with self._lock:
            begun, self._begun = self._begun[::-1], []
        return begun


def _close(begun: list[tuple[Path, int]]) -> None:
    for _, descriptor in begun:
        os.close(descriptor)
