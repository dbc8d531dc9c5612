"""What the metrics say about queues: how far behind each consumer is, whichever process it runs in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ingest.consumer import KIND

if TYPE_CHECKING:
    from store import Store

_GAUGES: Final[tuple[tuple[str, str], ...]] = (
    ("waiting", "Messages that were not delivered yet: the lag."),
    ("unacknowledged", "Messages that were delivered and are not acknowledged."),
    ("dropped", "Messages that the broker passed without delivering them."),
    ("redelivered", "Messages that came more than once."),
    ("refused", "Messages that could not be read, and are in the quarantine."),
)


class QueueMetrics(Collector):
    """Gauges per source with a queue, as its consumer wrote them down last."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe nothing before it is asked for."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        documents = self._store.documents.list(KIND)
        for name, documentation in _GAUGES:
            family = GaugeMetricFamily(f"lagrum_queue_{name}", documentation, labels=["source"])
            for document in documents:
                family.add_metric([document.id], float(document.body.get(name, 0)))
            yield family
