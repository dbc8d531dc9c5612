"""Whether a result still says what the store says: nothing of it was withdrawn, corrected or erased since its search.

A release stands for a result on the day on which it is signed. What two custodians withdrew or corrected meanwhile was
wrong, and what they erased the operator may not have: it does not leave under a later signature. Corrections and
erasures count by the day on which a record ended, withdrawals by the records themselves. What was released before stays
as it was sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from api.disclosure.completeness import KIND
from api.disclosure.search import query_of
from store.audit.search import find
from store.retention.erasing import ENTRY as ERASED

if TYPE_CHECKING:
    from api.disclosure.casebook import Case
    from api.disclosure.deliveries import Delivery
    from store import Store

WITHDRAWN: Final = "batch.withdrawn"
_BY_DAY: Final = ("record.corrected", ERASED)


def is_outdated(store: Store, case: Case, delivery: Delivery) -> bool:
    """Tell whether something of a result was withdrawn, corrected or erased since; a test's never is.

    Raises:
        KeyUnavailableError, IntegrityError: a part cannot be read, or the log is not as it is signed.
    """
    if delivery.evidence is None:
        return False
    body = store.documents.get(KIND, delivery.id).body
    store.flush_outbox(required=True)
    store.audit.refresh()
    withdrawn: set[int] = set()
    since = body["snapshot"]["log"]["from"]
    for entry in find(store.layout.audit, store.audit.size, (WITHDRAWN, *_BY_DAY), first=since):
        if entry.kind == WITHDRAWN:
            withdrawn.add(int(entry.public["batch"]))
        elif str(entry.public["partition"])[:10] in body["days"]:
            return True
    return bool(withdrawn) and _found_in(store, case, body, withdrawn)


def _found_in(store: Store, case: Case, body: Mapping[str, Any], withdrawn: set[int]) -> bool:
    """Tell whether the search, made again over what was stored then, finds a record of these batches."""
    query = replace(query_of(case), batch_id_max=body["snapshot"]["batch_id_max"], include_withdrawn=True)
    wanted = pa.array(sorted(withdrawn), pa.int64())
    return any(pc.any(pc.is_in(batch.column("batch_id"), value_set=wanted)).as_py() for batch in store.scan(query))
