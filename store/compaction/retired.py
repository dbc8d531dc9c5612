"""What was merged away: unlinked as soon as nobody reads it, so that a run of compaction needs little room on disk."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Final

from store.model import PartRow

if TYPE_CHECKING:
    from store.store import Store

RETIRED_BYTES_MAX: Final = 256 << 20
"""When so much was merged away in a run, it is unlinked before the next merge."""
ROOM: Final = 2
"""A merge begins when so many times the bytes of its parts are free: it writes about as many again."""


class Room:
    """The room on disk of one run of compaction."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.without = 0
        """Parts for whose merge there was none."""
        self._retired_bytes = 0

    def merged_away(self, group: Sequence[PartRow]) -> None:
        """Count what was retired, and unlink it when it is much."""
        self._retired_bytes += sum(part.total_bytes for part in group)
        if self._retired_bytes >= RETIRED_BYTES_MAX:
            self._unlink()

    def is_left(self, group: Sequence[PartRow]) -> bool:
        """Tell whether the disk has room for a merge; count the parts if not."""
        wanted = ROOM * sum(part.total_bytes for part in group)
        if _free_bytes(self.store) < wanted:
            self._unlink()
            if _free_bytes(self.store) < wanted:
                self.without += len(group)
                return False
        return True

    def _unlink(self) -> None:
        self.store.flush_outbox()  # only what the log knows as merged may go
        unlink_retired(self.store)
        self._retired_bytes = 0


def _free_bytes(store: Store) -> int:
    return shutil.disk_usage(store.layout.parts).free


def unlink_retired(store: Store) -> int:
    """Unlink retired files that no reader can read any more; return how many parts still wait."""
    if not waiting(store):
        return 0
    # Where the log does not know that a file was merged, its entry waits, or somebody edited the catalog.
    known = {part.file_id: part for part in store.log_state.merged(store.catalog.retired)}

    def unlink(file_ids: Collection[str]) -> None:
        store.part_store.discard(*(known[file_id] for file_id in file_ids))
        with store.catalog.transaction() as cursor:  # one for all: what a crash leaves here is unlinked once more
            cursor.executemany("DELETE FROM retired WHERE file_id = ?", [(file_id,) for file_id in file_ids])

    store.readers.turns.let_go(known, unlink)
    return waiting(store)


def waiting(store: Store) -> int:
    """Return how many merged parts have files that wait for a reader to finish."""
    return int(store.catalog.query("SELECT count(*) FROM retired")[0][0])
