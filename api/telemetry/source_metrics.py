"""What the metrics say about sources and listeners: silence, deliveries, missing files, datagrams that were dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from ingest import silence
from ingest.listeners import tallies
from ingest.silence import SourceState

if TYPE_CHECKING:
    from store import Store

_GAUGES: Final[tuple[tuple[str, str, Callable[[SourceState], float | None]], ...]] = (
    (
        "lagrum_source_silent",
        "1 when the source is overdue.",
        lambda state: None if state.expect_every_s is None else float(state.silent),
    ),
    (
        "lagrum_source_last_delivery_seconds",
        "When the source delivered last, in s since 1970.",
        lambda state: None if state.last_us is None else state.last_us / 1e6,
    ),
    (
        "lagrum_source_missing_files",
        "Numbers that the source's files jumped over.",
        lambda state: float(state.missing),
    ),
    (
        "lagrum_source_records_lost",
        "Records that the source's nodes say they lost.",
        lambda state: float(state.records_lost),
    ),
    (
        "lagrum_watch_files_waiting",
        "Files of a drop folder that are not whole yet.",
        lambda state: float(state.waiting),
    ),
    ("lagrum_watch_files_failed", "Files of a drop folder that could not be read.", lambda state: float(state.failed)),
)


class SourceMetrics(Collector):
    """Gauges per source, as of the last look; the service looks every minute."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._states: list[SourceState] = []
        self._listeners: dict[str, dict[str, int]] = {}

    def refresh(self) -> None:
        """Look at every source, and tell of those that fell silent."""
        self._states = silence.check(self._store)
        self._listeners = tallies.all_of(self._store)

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe nothing before the first look."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        for name, documentation, read in _GAUGES:
            family = GaugeMetricFamily(name, documentation, labels=["source"])
            for state in self._states:
                value = read(state)
                if value is not None:
                    family.add_metric([state.source], value)
            yield family
        family = GaugeMetricFamily(
            "lagrum_listener_events",
            "What a UDP listener has counted since it started, kernel-dropped datagrams among it.",
            labels=["listener", "kind"],
        )
        for listener, counts in self._listeners.items():
            for kind, count in counts.items():
                if kind == tallies.TOLD:
                    continue
                family.add_metric([listener, kind], count)
        yield family
