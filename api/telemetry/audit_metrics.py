"""What the metrics say about the audit log and about those who keep its checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from api.witness import AuditKeeper
from store.audit import ShutLog

if TYPE_CHECKING:
    from store import Store


class AuditMetrics(Collector):
    """Gauges of the log, read when they are asked for."""

    def __init__(self, store: Store, keeper: AuditKeeper) -> None:
        self._store, self._keeper = store, keeper

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe nothing before the first look."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        log = self._store.audit
        trusted = "1 while the log is as it was left; at 0 nothing is disclosed."
        yield GaugeMetricFamily("lagrum_audit_trusted", trusted, float(log.distrusted is None))
        if isinstance(log, ShutLog):
            return  # it shows nothing, so nobody can be behind it
        yield GaugeMetricFamily("lagrum_audit_entries", "Entries of the audit log.", float(log.size))
        yield GaugeMetricFamily("lagrum_audit_epoch", "Number of the epoch that signs.", float(log.epoch))
        lag = GaugeMetricFamily(
            "lagrum_witness_lag_seconds", "Age of the oldest entry that a keeper may lack.", labels=["witness"]
        )
        refuses = GaugeMetricFamily(
            "lagrum_witness_refuses", "1 while a keeper refuses the log's checkpoints.", labels=["witness"]
        )
        count = 0
        for name, seconds, refused in self._keeper.lags():
            lag.add_metric([name], seconds)
            refuses.add_metric([name], float(refused))
            count += 1
        yield GaugeMetricFamily("lagrum_witnesses", "Keepers of checkpoints elsewhere.", float(count))
        yield lag
        yield refuses
