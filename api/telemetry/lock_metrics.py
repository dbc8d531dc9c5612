"""What the metrics say about locks that this process waits for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from store import locks


class LockMetrics(Collector):
    """A gauge per lock that somebody waits for; a lock that nobody waits for has none."""

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe nothing before it is asked for."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge."""
        about = "For how long somebody in this process has waited for a lock that another holds."
        family = GaugeMetricFamily("lagrum_lock_wait_seconds", about, labels=["lock"])
        for name, seconds in sorted(locks.waiting().items()):
            family.add_metric([name], seconds)
        yield family
