"""How retention stands: the clock, the oldest day kept, what is overdue and by how long, what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from store.clock import to_date, to_text
from store.model import PartitionStatus, rfc3339
from store.partitions import LOCATION, ends_apart, is_above_floor, is_due, to_us
from store.retention.clocktrust import WORDS, Verdict
from store.retention.reclassification import Moved, stored_moves

if TYPE_CHECKING:
    from store.store import Store

Phase = Literal["kept", "floor passed", "due", "held", "dropped"]
SOON_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class RetentionStatus:
    """One look at retention."""

    clock: Verdict
    partitions: Sequence[PartitionStatus]
    locations: Sequence[PartitionStatus] = ()
    """Siblings that end before their partitions (`store.siblings`)."""
    moves: Sequence[Moved] = ()
    """Categories of service that end before the partitions in which they lie (`store.retention.reclassification`)."""

    @property
    def every(self) -> list[PartitionStatus]:
        """Everything that ends on a day of its own."""
        return [*self.partitions, *self.locations]

    @property
    def due(self) -> list[PartitionStatus]:
        """Partitions and siblings whose period is over by every clock."""
        return [item for item in self.every if is_due(item.key, self.clock.erase_us, self.clock.policy)]

    @property
    def due_moves(self) -> list[Moved]:
        """Categories whose period is over by every clock, in partitions that are not due themselves."""
        whole = {item.key for item in self.due}
        return [item for item in self.moves if item.is_due(self.clock.erase_us) and item.key not in whole]

    @property
    def due_count(self) -> int:
        """How much is to be erased: partitions, siblings, and categories of other partitions."""
        return len(self.due) + len(self.due_moves)

    @property
    def overdue_seconds(self) -> float:
        """For how long the oldest of it should have been gone: a hold delays nothing; 0 when nothing is due."""
        ends = [to_us(max(item.expires_at, item.floor_until)) for item in self.due]
        ends += [to_us(item.erasable_at) for item in self.due_moves]
        return (self.clock.erase_us - min(ends)) / 1e6 if ends else 0.0

    @property
    def oldest_day(self) -> date | None:
        """The oldest day of which records are kept."""
        return min((item.date for item in self.partitions), default=None)

    @property
    def soon(self) -> list[PartitionStatus]:
        """Partitions and siblings that end within the next days."""
        end_us = self.clock.wall_us + SOON_DAYS * 86_400_000_000
        gone = self.due
        return [item for item in self.every if is_due(item.key, end_us, self.clock.policy) and item not in gone]

    @property
    def soon_moves(self) -> list[Moved]:
        """Categories that end within the next days, of partitions that do not."""
        end_us = self.clock.wall_us + SOON_DAYS * 86_400_000_000
        whole = {item.key for item in [*self.due, *self.soon]}
        gone = self.due_moves
        return [item for item in self.moves if item.is_due(end_us) and item not in gone and item.key not in whole]

    def phase(self, item: PartitionStatus) -> Phase:
        """Tell where a partition stands; one of which a category is due is due."""
        due_moves = any(one.key == item.key for one in self.due_moves)
        if due_moves or is_due(item.key, self.clock.erase_us, self.clock.policy):
            return "due"
        if item.holds:
            return "held"
        return "floor passed" if is_above_floor(item.key, self.clock.erase_us) else "kept"

    def as_dict(self) -> dict[str, Any]:
        """Return the shape of `lagrum retention status --json`."""
        oldest, soon, soon_moves = self.oldest_day, self.soon, self.soon_moves
        following = sorted(
            [item.expires_at for item in self._waiting()]
            + [item.erasable_at for item in self.moves if not item.is_due(self.clock.erase_us)]
        )
        beside = {item.key.core: item for item in self.locations}
        return {
            "clock": {
                "trusted": self.clock.is_trusted,
                "reason": self.clock.reason,
                "text": None if self.clock.reason is None else WORDS[self.clock.reason],
                "time": to_text(self.clock.wall_us),
                "proven": to_text(self.clock.proven_us),
                "doubt_seconds": self.clock.doubt_us / 1e6,
            },
            "due": self.due_count,
            "overdue_seconds": self.overdue_seconds,
            "oldest_day": None if oldest is None else oldest.isoformat(),
            "next_expires_at": rfc3339(following[0]) if following else None,
            "soon": {
                "days": SOON_DAYS,
                "partitions": len(soon) + len(soon_moves),
                "records": _records(soon) + sum(item.records for item in soon_moves),
            },
            "partitions": [
                self._row(item, beside.get(item.key))
                for item in sorted(self.partitions, key=lambda item: item.expires_at)
            ],
        }

    def _waiting(self) -> list[PartitionStatus]:
        gone = self.due
        return sorted((item for item in self.every if item not in gone), key=lambda item: item.expires_at)

    def _row(self, item: PartitionStatus, location: PartitionStatus | None) -> dict[str, Any]:
        names = ("date", "class", "domain", "records", "holds", "floor_until", "expires_at")
        shown = item.as_dict()
        return {
            **{name: shown[name] for name in names},
            "location_expires_at": None if location is None else location.as_dict()["expires_at"],
            "moved": [
                {**one.as_dict(), "due": one.is_due(self.clock.erase_us)} for one in self.moves if one.key == item.key
            ],
            "due": item in self.due,
            "phase": self.phase(item),
        }


def _records(items: Sequence[PartitionStatus]) -> int:
    """Return how many records end as a whole."""
    return sum(item.records for item in items if not item.key.category)


def status(store: Store) -> RetentionStatus:
    """Look at retention; nothing is changed."""
    verdict = store.clock_guard.verdict()
    apart = [item for item in store.catalog.locations(verdict.policy) if ends_apart(item.key, verdict.policy)]
    return RetentionStatus(verdict, store.partitions(), apart, stored_moves(store, verdict.policy))


def calendar(store: Store) -> dict[date, tuple[Phase, int]]:
    """Return per day of ended communications the phase and the number of records of its partitions.

    Of several partitions of a day the one that needs most attention counts: due, held, floor passed, kept, dropped.
    """
    looked = status(store)
    order: tuple[Phase, ...] = ("dropped", "kept", "floor passed", "held", "due")
    days: dict[date, tuple[Phase, int]] = {}
    for key, state in store.catalog.partition_states().items():
        if state == "dropped":
            days.setdefault(key.end_date, ("dropped", 0))
    for item in looked.partitions:
        phase, records = days.get(item.date, ("dropped", 0))
        days[item.date] = (max(phase, looked.phase(item), key=order.index), records + item.records)
    return days


def next_days(looked: RetentionStatus) -> list[dict[str, Any]]:
    """Return what ends on each of the next days: records, their location, services that moved; other days left out."""
    today, soon = to_date(looked.clock.wall_us), looked.soon
    rows = []
    for distance in range(SOON_DAYS + 1):
        day = today + timedelta(days=distance)
        for what, category in (("records", ""), (LOCATION, LOCATION)):
            ending = [item for item in soon if item.key.category == category and item.expires_at.date() == day]
            if ending:
                dates = sorted({item.date.isoformat() for item in ending})
                count = sum(item.records for item in ending)
                rows.append({"day": day.isoformat(), "what": what, "ended": dates, "records": count})
        moved = [item for item in looked.soon_moves if item.erasable_at.date() == day]
        for name in sorted({", ".join(item.services) for item in moved}):
            own = [item for item in moved if ", ".join(item.services) == name]
            dates = sorted({item.date.isoformat() for item in own})
            rows.append(
                {"day": day.isoformat(), "what": name, "ended": dates, "records": sum(item.records for item in own)}
            )
    return rows
