"""Prometheus metrics in a registry of our own; labels are words that we chose, never anything that was sent.

Source names are labels: they name platforms, not people.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from store import Receipt

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0)


class Metrics:
    """The counters of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "lagrum_http_requests", "Answered requests.", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "lagrum_http_request_seconds", "Time to answer.", ["route"], registry=self.registry, buckets=_SECONDS
        )
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}  # words of ours only, so few
        self._batches = Counter(
            "lagrum_batches", "Acknowledged deliveries.", ["source", "replayed"], registry=self.registry
        )
        self._records = Counter(
            "lagrum_records", "Events of acknowledged deliveries.", ["source", "outcome"], registry=self.registry
        )
        self._rejects = Counter(
            "lagrum_rejects", "Rejected events by reason.", ["source", "reason"], registry=self.registry
        )
        self._bytes = Counter("lagrum_ingest_bytes", "Delivered bytes.", ["source"], registry=self.registry)
        self._pushes = Counter(
            "lagrum_pushes", "Deliveries acknowledged from the spool.", ["source"], registry=self.registry
        )
        self._refused = Counter("lagrum_unauthenticated", "Refused for want of credentials.", registry=self.registry)
        self._upkeep = Counter(
            "lagrum_upkeep_runs", "Background work by outcome.", ["task", "outcome"], registry=self.registry
        )

    def gauge(self, name: str, documentation: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when it is asked for."""
        Gauge(name, documentation, registry=self.registry).set_function(read)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request; `route` is the route's template, never its path."""
        counters = self._answered.get((method, route, status))
        if counters is None:
            counters = self._requests.labels(method, route, str(status)), self._seconds.labels(route)
            self._answered[method, route, status] = counters
        counters[0].inc()
        counters[1].observe(seconds)

    def refused(self) -> None:
        """Count one request without valid credentials."""
        self._refused.inc()

    def upkeep(self, task: str, outcome: str) -> None:
        """Count one run of background work; `outcome` is `done` or `failed`."""
        self._upkeep.labels(task, outcome).inc()

    def received(self, receipt: Receipt) -> None:
        """Count one acknowledged delivery; a replayed one only as a delivery."""
        source = receipt.source
        self._batches.labels(source, str(receipt.replayed).lower()).inc()
        if receipt.replayed:
            return
        self._bytes.labels(source).inc(receipt.bytes)
        self._count(receipt)

    def _count(self, receipt: Receipt) -> None:
        source = receipt.source
        for outcome in ("accepted", "duplicates", "conflicts", "rejected"):
            count = getattr(receipt, outcome)
            if count:
                self._records.labels(source, outcome).inc(count)
        for reason, count in receipt.reject_reasons.items():
            self._rejects.labels(source, str(reason)).inc(count)

    def pushed(self, source: str, pushes: int, size_bytes: int) -> None:
        """Count deliveries that were acknowledged when they were in the spool."""
        self._pushes.labels(source).inc(pushes)
        self._bytes.labels(source).inc(size_bytes)

    def drained(self, receipt: Receipt) -> None:
        """Count the records of a batch that was drained from the spool; its bytes were counted when they came."""
        self._count(receipt)

    def exposition(self) -> bytes:
        """Return the text that Prometheus scrapes."""
        return generate_latest(self.registry)
