"""Whether a result still says what the store says: nothing of it was withdrawn, corrected or erased since its search.

A release stands for a result on the day on which it is signed. What two custodians withdrew or corrected meanwhile was
wrong, and what they erased the operator may not have: it does not leave under a later signature. Before a release the
day on which a corrected record ended is enough, for the search is made again; of what has left, it is that very record
(`outdated_marks`). Of an erased record nobody knows more than its day.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from api.disclosure.completeness import KIND
from api.disclosure.result_records import has_batch, has_place
from schemas.errors import KeyUnavailableError, NotFoundError
from store.audit.search import find
from store.correcting.corrections import CORRECTED
from store.retention import erasing

if TYPE_CHECKING:
    from api.disclosure.deliveries import Delivery
    from store import Store
    from store.audit import StoredEntry

WITHDRAWN: Final = "batch.withdrawn"
ENTRIES: Final = (WITHDRAWN, CORRECTED, erasing.ENTRY)


@dataclass(frozen=True, slots=True)
class Change:
    """What the log tells of records: a batch, a record, or a day of which one record is meant.

    `index` is the entry's, `what` a stable word: withdrawn, erased, or the kind of a correction.
    """

    index: int
    what: str
    day: str | None = None
    batch_id: int | None = None
    position: int | None = None

    def touches(self, evidence: Mapping[str, Any]) -> bool:
        """Tell whether a result with this evidence may have, or has, what is meant; it was searched for before."""
        if self.index < evidence["snapshot"]["log"]["from"]:
            return False
        if self.batch_id is None:
            return self.day in evidence["days"]
        if self.position is None:
            return has_batch(evidence["places"], self.batch_id)
        return has_place(evidence["places"], self.batch_id, self.position)


def changes(store: Store, first: int, size: int, *, exact: bool) -> Iterator[Change]:
    """Give what the log's entries from `first` to `size` tell; `exact`: of corrections the very record, where it lives.

    Raises:
        IntegrityError: an entry was changed.
    """
    for entry in find(store.layout.audit, size, ENTRIES, first=first):
        if entry.kind == WITHDRAWN:
            yield Change(entry.index, "withdrawn", batch_id=int(entry.public["batch"]))
        else:
            yield _corrected(store, entry, exact=exact and entry.kind == CORRECTED)


def is_outdated(store: Store, delivery: Delivery) -> bool:
    """Tell whether something of a result was withdrawn, corrected or erased since; a test's never is.

    Raises:
        IntegrityError: the log is not as it is signed.
    """
    if delivery.evidence is None:
        return False
    evidence = store.documents.get(KIND, delivery.id).body
    store.flush_outbox(required=True)
    store.audit.refresh()
    told = changes(store, evidence["snapshot"]["log"]["from"], store.audit.size, exact=False)
    return any(change.touches(evidence) for change in told)


def _corrected(store: Store, entry: StoredEntry, *, exact: bool) -> Change:
    day = str(entry.public["partition"])[:10]
    what = str(entry.public.get("kind", erasing.ERASED))
    if exact:
        try:
            item = store.corrections.get(str(entry.public["act"]))
        except (NotFoundError, KeyUnavailableError):  # its partition has ended meanwhile
            return Change(entry.index, what, day=day)
        return Change(entry.index, what, batch_id=item.batch_id, position=item.position)
    return Change(entry.index, what, day=day)
