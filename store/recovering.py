"""What whoever opens a store first does after a crash: discard what was never published, finish what was begun."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from schemas.errors import BusyError, ClockError
from store import files
from store.audit import ShutLog
from store.compaction.retired import unlink_retired
from store.retention import expiry, floorguard
from store.spooling import spool_drain

if TYPE_CHECKING:
    from store.store import Store

_log = logging.getLogger("lagrum.store")


def recover(store: Store) -> None:
    """Discard files of batches that were never published; finish erasures that were begun.

    Which data files and partitions may go the audit log decides. Where it is shut, that waits until it is whole.
    """
    shut = isinstance(store.audit, ShutLog)
    try:
        with files.lock(store.layout.writers_lock, exclusive=True, blocking=False):
            if not shut:
                floorguard.sweep(store)
            spool_drain.sweep(store)
    except BusyError:
        return  # another process is writing; it is not a crash's remainder
    store.spool.recover()
    if shut:
        _log.critical("the audit log is shut; nothing is disclosed or erased: %s", store.audit.distrusted)
        return
    if expiry.unfinished(store):
        with suppress(ClockError):  # what cannot be read any more is finished all the same
            expiry.expire(store)
    unlink_retired(store)
    store.flush_outbox()
