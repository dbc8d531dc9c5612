"""When a source delivered last."""

from __future__ import annotations

from typing import Final

from store.catalog import Catalog

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
        "AND source = ? AND format <> 'session-timeout' ORDER BY batch_id DESC LIMIT 1",
        (BATCHES_LOOKED_AT, source),
    )
    return int(found[0][0]) if found else hour_us + _HOUR_US
