"""When a source delivered last, and by which keys deliveries are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from store.catalog import Catalog
from store.model import SourceRef
from store.publish import IDEMPOTENCY_DAYS, TIMEOUT_FORMAT

if TYPE_CHECKING:
    from store.store import Store

BATCHES_LOOKED_AT: Final = 1_000_000
"""So many of the newest batches are looked through; a source that has none among them is known by the hour."""

_HOUR_US: Final = 3_600_000_000


def last_received_us(catalog: Catalog, source: str) -> int | None:
    """Return when the newest delivery of a source came, µs since 1970 UTC; None when none ever did.

    Sessions that are closed by timeout are no delivery. Where only the hour is known, its end is returned.
    """
    hours = catalog.query("SELECT MAX(hour_us) FROM intake WHERE source = ?", (source,))
    hour_us: int | None = hours[0][0]
    if hour_us is None:
        return None
    found = catalog.query(
        "SELECT received_us FROM batches WHERE batch_id > (SELECT MAX(batch_id) FROM batches) - ? "
        "AND source = ? AND format <> ? ORDER BY batch_id DESC LIMIT 1",
        (BATCHES_LOOKED_AT, source, TIMEOUT_FORMAT),
    )
    return int(found[0][0]) if found else hour_us + _HOUR_US


def remember_deliveries(store: Store, source: SourceRef, batch_id: int, keys: Sequence[str]) -> None:
    """Note the idempotency keys of deliveries that share a batch; `Store.replayed` knows them from here on.

    A crash before this leaves the deliveries stored and unknown by their keys: their records' identity decides then.
    """
    until_us = store.clock.now_us() + IDEMPOTENCY_DAYS * 24 * _HOUR_US
    tags = [store.idempotency_tag(source, key) for key in keys]
    with store.catalog.transaction() as cursor:
        cursor.executemany(
            "INSERT OR IGNORE INTO idempotency VALUES (?, ?, ?)", [(tag, batch_id, until_us) for tag in tags]
        )
