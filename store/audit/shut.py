"""A log that cannot be opened: it stands where the log would, takes no entry and tells nothing but why.

Taking in needs no log: what a batch has to tell waits, sealed, in the catalog (ADR 5). So whoever takes in opens the
store with this in the log's place; the damaged files are neither read on nor appended to, and whatever needs an entry,
or what the log told, is refused. Only an opening that finds the log whole again ends it.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from schemas.errors import AuditError, IntegrityError
from store.audit.epochs import load_epoch, stored_epochs
from store.audit.log import RESTORE, AuditLog

if TYPE_CHECKING:
    from store.clock import Clock
    from store.keys import Keyring


class ShutLog(AuditLog):
    """Refuses all that a log does: appending as AuditError, everything else as IntegrityError, with the reason."""

    def __init__(self, directory: Path, *, keyring: Keyring, clock: Clock, why: str) -> None:
        super().__init__(directory, keyring=keyring, clock=clock)
        self._why = self._distrusted = why

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise IntegrityError(self._why, hint=RESTORE)

    _alone = entries = inclusion_proof = consistency_proof = root_hash = checkpoint = _refuse
    store_id = origin = epoch = size = tail = property(_refuse)


def open_or_shut(directory: Path, *, keyring: Keyring, clock: Clock) -> AuditLog:
    """Open a log, or shut it where it is damaged or cannot be read.

    Raises:
        KeyUnavailableError: the keyring is not the log's: then it is not the newest, and nobody takes in under it.
        PermissionsError: others may read the key of the epoch.
    """
    try:
        return AuditLog.open(directory, keyring=keyring, clock=clock)
    except (IntegrityError, AuditError) as error:
        with suppress(IntegrityError, OSError):  # what is damaged of the epochs is told by the reason
            for number in stored_epochs(directory):
                load_epoch(directory, number, keyring)
        return ShutLog(directory, keyring=keyring, clock=clock, why=error.message)
