"""What was delivered to a store, what was acknowledged, and whether the store keeps its word."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from schemas.policy import DEFAULT_POLICY
from store import ScanQuery, Store
from store.clock import Uptime, to_date
from store.partitions import PartitionKey, is_expired

DAY_US = 86_400_000_000
START_US = 1_795_348_800_000_000  # 2026-11-22T12:00:00Z
SOURCE = "east"
CREDENTIAL = "credential"
"""The file beside the root that holds the switch's token."""
EVER = ScanQuery(0, 2**60, columns=("record_key", "conflict"))
KEYS_PER_DELIVERY = 1000
KEY_MIN = 10**12
"""Numbers of deliveries are smaller, packed record keys are not."""


class SharedClock:
    """A clock that goes on from `base_us` and is the same in every process of the machine."""

    def __init__(self, base_us: int, anchor_ns: int | None = None) -> None:
        self.base_us = base_us
        self.anchor_ns = time.monotonic_ns() if anchor_ns is None else anchor_ns

    def now_us(self) -> int:
        return self.base_us + (time.monotonic_ns() - self.anchor_ns) // 1000

    def uptime(self) -> Uptime:
        return Uptime("campaign", self.now_us())

    def later(self, days: int) -> SharedClock:
        return SharedClock(self.base_us + days * DAY_US, self.anchor_ns)


@dataclass(frozen=True)
class Delivery:
    """One delivery of `rows` records that ended on `days`, one day after the other; the same for the same number."""

    number: int
    rows: int
    days: tuple[date, ...]

    def records(self) -> Iterator[tuple[int, date]]:
        """Yield (packed record key, end date)."""
        for row in range(self.rows):
            yield 10**12 + self.number * KEYS_PER_DELIVERY + row, self.days[row % len(self.days)]

    def csv(self) -> bytes:
        """Return the delivery as a file of the format csv."""
        chance = random.Random(self.number)
        lines = ["record_key,switch,service_type,calling_number,called_number,start_time,duration_s"]
        for key, day in self.records():
            clock = f"{chance.randrange(20):02d}:{chance.randrange(60):02d}:{chance.randrange(60):02d}"
            calling, called = (46_701_740_000 + chance.randrange(100) for _ in range(2))
            lines.append(f"{key - 10**12:012d},pbx-1,voice,{calling},{called},{day}T{clock}Z,{chance.randrange(300)}")
        return "\n".join([*lines, ""]).encode()

    def write(self, directory: Path) -> Path:
        """Write the delivery as a file named by its number; return its path."""
        path = directory / f"{self.number}.csv"
        path.write_bytes(self.csv())
        return path


@dataclass
class Ledger:
    """Everything that was delivered, and the numbers of what was acknowledged."""

    delivered: dict[int, Delivery] = field(default_factory=dict)
    acknowledged: set[int] = field(default_factory=set)
    last: int = 0
    asked: set[int] = field(default_factory=set)
    """Keys of records that are to be erased by themselves: each may be there or gone."""
    erased: set[int] = field(default_factory=set)
    """Those of which it was acknowledged."""

    def new(self, rows: int, *days: date) -> Delivery:
        """Make the next delivery; from now on it may be stored."""
        self.last += 1
        delivery = Delivery(self.last, rows, days)
        self.delivered[delivery.number] = delivery
        return delivery

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Note that deliveries must be stored from now on, and records that were asked for be gone."""
        known = set(numbers)
        self.erased |= known & self.asked
        self.acknowledged |= {number for number in known if number < KEY_MIN}

    def open(self) -> list[Delivery]:
        """Return what was delivered and not acknowledged."""
        return [item for number, item in self.delivered.items() if number not in self.acknowledged]

    def forget_over(self, clock: SharedClock) -> None:
        """Drop deliveries that are wholly beyond their period."""
        now_us = clock.now_us()
        over = [
            number
            for number, item in self.delivered.items()
            if all(is_expired(PartitionKey(day, "standard"), now_us, DEFAULT_POLICY) for day in item.days)
        ]
        for number in over:
            del self.delivered[number]

    def copy(self) -> Ledger:
        """Return a ledger of its own."""
        return Ledger(dict(self.delivered), set(self.acknowledged), self.last, set(self.asked), set(self.erased))

    def to_erase(self, clock: SharedClock, count: int, *, but: Iterable[int] = ()) -> list[int]:
        """Choose records to erase, as far as there are any: acknowledged, past their floor, of no delivery of `but`."""
        days, found = (ending(clock, 1), ending(clock, 2)), []
        for number in sorted(self.acknowledged & self.delivered.keys() - set(but)):
            found += [key for key, day in self.delivered[number].records() if day in days and key not in self.asked]
        self.asked |= set(found[:count])
        return found[:count]


def ago(clock: SharedClock, days: int) -> date:
    """Return the day that was so many days before today."""
    return to_date(clock.now_us()) - timedelta(days=days)


def ending(clock: SharedClock, in_days: int) -> date:
    """Return the first day whose period ends `in_days` after today's midnight, or later."""
    today_us = clock.now_us()
    day = to_date(today_us) - timedelta(days=740)
    while is_expired(PartitionKey(day, "standard"), today_us + (in_days - 1) * DAY_US, DEFAULT_POLICY):
        day += timedelta(days=1)
    return day


def first_deliveries(ledger: Ledger, clock: SharedClock) -> list[Delivery]:
    """Make deliveries that leave small parts to merge and a partition whose period ends tomorrow."""
    old, three, two = ending(clock, 1), ago(clock, 3), ago(clock, 2)
    return [ledger.new(40, *days) for days in ((old,), (old,), (three,), (three, two), (two, old))]


def check(root: Path, clock: SharedClock, ledger: Ledger) -> list[str]:
    """Open a store and return every way in which it breaks its word."""
    try:
        with Store.open(root, clock=clock) as store:
            problems = [f"verify: {problem.where}: {problem.what}" for problem in store.verify()]
            keys: Counter[int] = Counter()
            conflicts = 0
            for batch in store.scan(EVER):
                told: list[list[Any]] = [batch.column(name).to_pylist() for name in ("record_key", "conflict")]
                keys.update(told[0])
                conflicts += sum(told[1])
    except Exception as error:
        return [f"the store cannot be used: {type(error).__name__}: {error}"]
    if conflicts:
        problems.append(f"{conflicts} records are flagged as conflicts")
    return problems + compare(keys, ledger, clock.now_us())


def compare(keys: Counter[int], ledger: Ledger, now_us: int) -> list[str]:
    """Return every way in which the stored record keys contradict the ledger."""
    twice = sum(count > 1 for count in keys.values())
    problems = [f"{twice} records are stored twice"] if twice else []
    over: dict[date, bool] = {}
    strangers = set(keys)
    for number, delivery in ledger.delivered.items():
        strangers -= {key for key, _ in delivery.records()}
        kept = []
        for key, day in delivery.records():
            if day not in over:
                over[day] = is_expired(PartitionKey(day, "standard"), now_us, DEFAULT_POLICY)
            if over[day]:
                if key in keys:
                    problems.append(f"a record of delivery {number} is visible beyond its period")
            elif key in ledger.erased and key in keys:
                problems.append(f"an erased record of delivery {number} is visible")
            elif key not in ledger.asked:
                kept.append(key)
        found = sum(key in keys for key in kept)
        if number in ledger.acknowledged and found < len(kept):
            problems.append(f"delivery {number} is acknowledged, and {len(kept) - found} records of it are lost")
        elif 0 < found < len(kept):
            problems.append(f"delivery {number} is half visible: {found} of {len(kept)}")
    if strangers:
        problems.append(f"{len(strangers)} records were never delivered")
    return problems
