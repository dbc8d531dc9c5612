"""What withdrawing a batch does not bring back: records that later batches dropped as its duplicates.

A dropped duplicate is not kept, only counted. So the store tells which later batches dropped any, and those are to be
delivered once more; what of them is stored then is recognised, what is missing is taken in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from store.store import Store

BATCHES_SHOWN_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Dropped:
    """The later batches of the same dedup domain that dropped duplicates, of whatever batch."""

    batches: tuple[int, ...]
    records: int
    """Their duplicates: so many records at most are missing."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        shown = list(self.batches[:BATCHES_SHOWN_MAX])
        return {"batches": len(self.batches), "records_max": self.records, "deliver_again": shown}


def since(store: Store, batch_id: int) -> Dropped:
    """Return which batches may have dropped records because this one had them."""
    rows = store.catalog.query(
        "SELECT batch_id, source, duplicates FROM batches WHERE batch_id >= ? AND withdrawn_us IS NULL "
        "AND (duplicates > 0 OR batch_id = ?) ORDER BY batch_id",
        (batch_id, batch_id),
    )
    own = store.catalog.query("SELECT source FROM batches WHERE batch_id = ?", (batch_id,))
    domains = {source: store.domain_of(source) for source in {row[1] for row in rows} | {row[0] for row in own}}
    home = domains[own[0][0]] if own else None
    later = [row for row in rows if row[0] != batch_id and domains[row[1]] == home]
    return Dropped(tuple(row[0] for row in later), sum(row[2] for row in later))
