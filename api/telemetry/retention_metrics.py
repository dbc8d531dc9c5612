"""What the metrics say about the clock and about expiry that does not happen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from store.retention.retention_status import RetentionStatus, status

if TYPE_CHECKING:
    from store import Store


def _oldest(looked: RetentionStatus) -> float | None:
    day = looked.oldest_day
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


GAUGES: Final[tuple[tuple[str, str, Callable[[RetentionStatus], float | None]], ...]] = (
    (
        "lagrum_clock_trusted",
        "1 while the clock is trusted; at 0 nothing expires.",
        lambda look: float(look.clock.is_trusted),
    ),
    (
        "lagrum_clock_doubt_seconds",
        "How far the clock is ahead of what is proven; erasure lags by it.",
        lambda look: look.clock.doubt_us / 1e6,
    ),
    (
        "lagrum_retention_due_partitions",
        "Partitions past their period, or with a service past its own, that are still there.",
        lambda look: float(look.due_count),
    ),
    (
        "lagrum_retention_overdue_seconds",
        "For how long the oldest of them should have been gone.",
        lambda look: look.overdue_seconds,
    ),
    ("lagrum_retention_oldest_day_seconds", "The oldest day kept, in s since 1970.", _oldest),
)


class RetentionMetrics(Collector):
    """Gauges of retention, read when they are asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def describe(self) -> list[GaugeMetricFamily]:
        """Describe nothing before the first look."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        looked = status(self._store)
        for name, documentation, read in GAUGES:
            family = GaugeMetricFamily(name, documentation)
            value = read(looked)
            if value is not None:
                family.add_metric([], value)
            yield family
