"""Histories: what a store goes through in years, against a model that knows only what each record was promised.

A history is deliveries (new, late, repeated), holds, changes of the policy, clocks that are set wrongly, restarts,
crashes and losses of power at durable steps, compaction and expiry, in any order. After every look, and at the end:

- every record whose period is not over is there, once, and no other: nothing early, nothing resurrected;
- after an expiry run no partition is left whose records are all over and past the floor: nothing late;
- what a hold names and was moved out is there until the hold ends, and not a day longer;
- a location is there as long as its own period lasts, and its key is gone after an expiry run past its floor;
- every erased partition has its certificate, and `verify` finds nothing.

The model tells the end of a record without the policy's formula: it goes from version to version and keeps the shortest
period that it met. A block of histories is replayed by its number: `pytest -m torture -k "[BLOCK]"`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from schemas.errors import ClockError, LagrumError
from schemas.fields import SERVICE_TYPES
from schemas.holds import Purpose
from schemas.policy import Version
from schemas.retention import CategoryPeriod, RetentionClass, add_months
from store import Put, ScanQuery, Store
from store.certificates import stored
from store.clock import to_date
from store.holds import KIND
from store.partitions import PartitionKey, date_to_day
from tests.conftest import FixedClock
from tests.fault.disk import Disk, run_until
from tests.fault.torture import scratch
from tests.store.conftest import deliver
from tests.store.records import CALLING, NOW_US, records, with_column

HISTORIES, BLOCK = 10_000, 100
CLASSES = {"voice": "short", "data": "ten", "sms": "standard"}
FIRST_MONTHS = {"short": 6, "ten": 10, "standard": 24}
KEYS = ScanQuery(0, 2**60, columns=("record_key",))
LOCATED = ScanQuery(0, 2**60, columns=("record_key", "cell_id"))
ACTORS = ("custodian-1", "custodian-2")
SERVICES = st.sampled_from(sorted(CLASSES))
CALLERS = st.integers(0, 2)
"""Whose calls they are; holds name one of them."""


@dataclass
class Record:
    """What the model knows of one record; `months` is the shortest period that it met so far."""

    key: int
    day: date
    kind: str
    caller: int
    months: int
    location: int
    """The shortest period that its location met; 24 is none of its own."""
    located: bool = False
    """Whether its location was kept when it came."""
    erased: bool = False

    def has_location(self, today: date) -> bool:
        return today < add_months(self.day, min(self.months, self.location))

    def is_location_due(self, today: date) -> bool:
        """Whether nothing of its location may be left after an expiry run."""
        waits = self.is_over(today) and not self.is_past_floor(today)
        return not (self.has_location(today) or waits) and today > add_months(self.day, 2)

    def is_over(self, today: date) -> bool:
        return today >= add_months(self.day, self.months)

    def is_past_floor(self, today: date) -> bool:
        return today > add_months(self.day, 6)

    @property
    def partition(self) -> tuple[date, str]:
        return self.day, CLASSES[self.kind]


@dataclass
class Hold:
    """A hold on one caller's records, and what was moved out for it."""

    caller: int
    ends: date
    kept: set[int]
    ended: bool = False


def version(number: int, start: date, months: dict[str, int], location: int = 24) -> Version:
    classes = tuple(RetentionClass(name, count, "duty", f"Act {number}") for name, count in months.items())
    services = {name: CLASSES.get(name, "standard") for name in SERVICE_TYPES}
    own = {"location": CategoryPeriod("location", location, "duty", f"Act {number}")}
    return Version(number, start, classes, services, categories=own)


class Histories(RuleBasedStateMachine):
    """One history."""

    template: Path
    place: Path

    @initialize()
    def begin(self) -> None:
        self.clock = FixedClock(NOW_US)
        self.root = self.place / "root"
        self.boots = 0
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.copytree(self.template, self.root)
        self.store = Store.open(self.root, clock=self.clock)
        self.records: list[Record] = []
        self.deliveries: list[pa.Table] = []
        self.holds: dict[str, Hold] = {}
        self.versions = [(date(1970, 1, 1), FIRST_MONTHS, 24)]
        self.erased: set[tuple[date, str]] = set()

    # deliveries

    def _table(self, age: int, kind: str, caller: int, count: int) -> pa.Table:
        first = 10 * (1 + len(self.deliveries))
        days_ago = date_to_day(to_date(NOW_US)) - date_to_day(self.today) + age
        table = records(count, first_key=first, days_ago=days_ago, seed=first)
        for name, value in (("calling_number", CALLING + caller), ("called_number", CALLING + 50)):
            table = with_column(table, name, [value] * count)
        return with_column(table, "service_type", pa.array([kind] * count).dictionary_encode())

    def _delivered(self, table: pa.Table, age: int, kind: str, caller: int) -> list[Record]:
        day = self.today - timedelta(days=age)
        ends = [start for start, _, _ in self.versions[1:]] + [date.max]
        spans = zip(self.versions, ends, strict=True)
        met = [
            (months[CLASSES[kind]], location)
            for (start, months, location), end in spans
            if start <= self.today and end > day
        ]
        period, location = (min(column) for column in zip(*met, strict=True))
        keys = [key - 10**11 for key in table.column("record_key").to_pylist()]
        return [Record(key, day, kind, caller, period, location) for key in keys]

    @rule(age=st.integers(0, 780), kind=SERVICES, caller=CALLERS, count=st.integers(1, 3))
    def ingest(self, age: int, kind: str, caller: int, count: int) -> None:
        """New records, today's or as late as they come."""
        table = self._table(age, kind, caller, count)
        new = self._delivered(table, age, kind, caller)
        self.deliveries.append(table)
        self._take(new, deliver(self.store, table))

    def _take(self, new: list[Record], receipt: Any) -> None:
        refused = [item for item in new if item.is_over(self.today) or item.partition in self.erased]
        assert receipt.rejected == len(refused), "late records: refused exactly when their period is over"
        self._keep([item for item in new if item not in refused])

    def _keep(self, new: list[Record]) -> None:
        for item in new:
            item.located = item.has_location(self.today)
        self.records += new

    @precondition(lambda self: self.deliveries)
    @rule(pick=st.integers(0, 2**16))
    def repeat(self, pick: int) -> None:
        """An earlier delivery comes again; it adds nothing and resurrects nothing."""
        receipt = deliver(self.store, self.deliveries[pick % len(self.deliveries)])
        assert receipt.accepted == 0
        self.look()

    @rule(age=st.integers(0, 300), kind=SERVICES, caller=CALLERS, at=st.integers(1, 40), power=st.booleans())
    def crash_while_ingesting(self, age: int, kind: str, caller: int, at: int, power: bool) -> None:
        table = self._table(age, kind, caller, 2)
        new = self._delivered(table, age, kind, caller)
        self.deliveries.append(table)
        self._crash(lambda: deliver(self.store, table), at, power)
        receipt = deliver(self.store, table)
        assert receipt.accepted + receipt.duplicates + receipt.rejected == 2
        self._keep([item for item in new if not (item.is_over(self.today) or item.partition in self.erased)])
        self.look()

    # policy and holds

    @rule(
        within=st.integers(1, 90),
        short=st.integers(6, 24),
        ten=st.integers(6, 24),
        standard=st.integers(6, 24),
        location=st.sampled_from([2, 2, 3, 7, 12, 24]),
    )
    def change_policy(self, within: int, short: int, ten: int, standard: int, location: int) -> None:
        months = {"short": short, "ten": ten, "standard": standard}
        start = max(self.today, self.versions[-1][0]) + timedelta(days=within)
        self.store.policies.enforce(version(len(self.versions) + 2, start, months, location), actors=ACTORS)
        self.versions.append((start, months, location))

    @precondition(lambda self: len(self.holds) < 4)
    @rule(caller=CALLERS, days=st.integers(1, 90))
    def hold(self, caller: int, days: int) -> None:
        self._place(caller, self.today + timedelta(days=days))

    @precondition(lambda self: len(self.holds) < 4 and self._kept())
    @rule(pick=st.integers(0, 2**16), days=st.integers(1, 90), at=st.none() | st.integers(1, 60), power=st.booleans())
    def hold_beyond_an_end(self, pick: int, days: int, at: int | None, power: bool) -> None:
        """Hold what a record's caller did, and let the record's partition end meanwhile, with or without a crash."""
        kept = self._kept()
        item = kept[pick % len(kept)]
        end = max(add_months(item.day, item.months), add_months(item.day, 6) + timedelta(days=1))
        self._place(item.caller, end + timedelta(days=days))
        self._time((end - self.today).days)
        if at is not None:
            self._crash(self.store.expire, at, power)
        self.store.expire()
        self._expired()

    def _place(self, caller: int, ends: date) -> None:
        name = f"{len(self.holds):016x}"
        target = {"kind": "number", "value": str(CALLING + caller)[1:]}
        words = {"state": "active", "basis": "preservation", "ends": ends.isoformat(), "accounts": []}
        body = words | {"start_us": 0, "end_us": 2**60, "targets": [target]}
        self.store.documents.commit([Put(KIND, name, body, expect=0)])
        self.holds[name] = Hold(caller, ends, set())

    @precondition(lambda self: any(not hold.ended for hold in self.holds.values()))
    @rule(pick=st.integers(0, 2**16))
    def release(self, pick: int) -> None:
        name = [name for name, hold in self.holds.items() if not hold.ended][pick % self._open_holds()]
        self.store.holds.end(name, reason="lifted", actors=ACTORS)
        self.holds[name].ended = True

    def _open_holds(self) -> int:
        return sum(not hold.ended for hold in self.holds.values())

    # time

    @rule(days=st.one_of(st.integers(1, 60), st.integers(100, 400)))
    def time_passes(self, days: int) -> None:
        self._time(days)

    def _time(self, days: int, *, beats: bool = True) -> None:
        before = self.today
        self.clock.advance(days=days)
        for start, months, location in self.versions:
            if before < start <= self.today:
                for item in self.records:
                    if not item.is_over(start):  # otherwise it was over already when the version came
                        item.months = min(item.months, months[CLASSES[item.kind]])
                    if item.has_location(start):
                        item.location = min(item.location, location)
        if beats:
            self.store.clock_guard.beat()

    @rule(days=st.sampled_from([-800, -30, -1, 1, 30, 365, 800]))
    def clock_is_set_and_set_back(self, days: int) -> None:
        """Whatever a wrong clock shows, nothing is erased by it, and nothing is told to be over that is not."""
        self.store.clock_guard.observe()
        kept = {item.key for item in self._kept()}
        self.clock.jump(days=days)
        with pytest.raises(ClockError):
            self.store.expire()
        with suppress(ClockError):
            assert self._keys() >= kept
        self.clock.jump(days=-days)
        self.look()

    @rule(off_days=st.sampled_from([0, 0, 3, 20]))
    def restart(self, off_days: int) -> None:
        """The machine is off for some days; two custodians confirm the time when it comes back."""
        self.store.clock_guard.beat()
        self.store.close()
        self._time(off_days, beats=False)
        self.boots += 1
        self.clock.restart(f"boot-after-{self.boots}")
        self.store = Store.open(self.root, clock=self.clock)
        if off_days:
            self.store.clock_guard.confirm(self.clock.value_us, reason="was off", actors=ACTORS)
        self.store.clock_guard.beat()
        self.look()

    # upkeep

    @rule()
    def compact(self) -> None:
        self.store.compact(everything=True)
        self.look()

    @rule()
    def expire(self) -> None:
        self.store.expire()
        self._expired()

    @rule(at=st.integers(1, 60), power=st.booleans())
    def crash_while_expiring(self, at: int, power: bool) -> None:
        self._crash(self.store.expire, at, power)
        self.store.expire()
        self._expired()

    def _expired(self) -> None:
        """After an expiry run: move the model along, and look that nothing is late."""
        for hold in self.holds.values():
            hold.ended = hold.ended or self.today >= hold.ends
        leaving = {
            item.partition
            for item in self.records
            if not item.erased and item.is_over(self.today) and item.is_past_floor(self.today)
        }
        for item in self.records:
            if item.partition in leaving and not item.erased:
                item.erased = True
                for hold in self.holds.values():
                    if not hold.ended and hold.caller == item.caller:
                        hold.kept.add(item.key)
        self.erased |= leaving
        left = {(item.key.end_date, item.key.retention_class) for item in self.store.partitions()}
        assert left == {item.partition for item in self.records if not item.erased}, "nothing late, nothing early"
        for item in self.records:
            held = self.store.keyring.has(PartitionKey(*item.partition).location.ref)
            assert held or not (item.located and not item.erased and item.has_location(self.today)), "location: early"
            assert not (held and item.is_location_due(self.today)), "location: late"
        self.look()

    # looking

    @property
    def today(self) -> date:
        return to_date(self.clock.value_us)

    def _kept(self) -> list[Record]:
        return [item for item in self.records if not item.erased and not item.is_over(self.today)]

    def _keys(self) -> set[int]:
        found = [key for batch in self.store.scan(KEYS) for key in batch.column("record_key").to_pylist()]
        assert len(found) == len(set(found)), "a record is there twice"
        return {key - 10**11 for key in found}

    def _located(self) -> set[int]:
        tables = (pa.Table.from_batches([batch]) for batch in self.store.scan(LOCATED))
        kept = [table.filter(pc.is_valid(table.column("cell_id"))) for table in tables]
        return {key - 10**11 for table in kept for key in table.column("record_key").to_pylist()}

    def look(self) -> None:
        """Compare what readers get with what was promised."""
        assert self._keys() == {item.key for item in self._kept()}
        located = {item.key for item in self._kept() if item.located and item.has_location(self.today)}
        assert self._located() == located, "a location: as long as it was promised, and not longer"
        expected: set[int] = set()
        for hold in self.holds.values():
            if not hold.ended and self.today < hold.ends:
                expected |= hold.kept
        batches = self.store.holds.scan(Purpose.DISCLOSURE, start_us=0, end_us=2**60, columns=("record_key",))
        held = [key - 10**11 for batch in batches for key in batch.column("record_key").to_pylist()]
        assert sorted(held) == sorted(expected), "held records: all of them, once, until their hold ends"

    def _crash(self, action: Callable[[], object], at: int, power: bool) -> None:
        """Run an action on a disk that ends at a step; open the store again, whatever became of it."""
        disk = Disk(at)
        with pytest.MonkeyPatch.context() as patch:
            run_until(patch, disk, action)
        if power:
            disk.lose_power()
        with suppress(LagrumError):
            self.store.close()
        self.store = Store.open(self.root, clock=self.clock)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.expire()
            self._expired()
            told = [PartitionKey.parse(partition) for _, partition, _ in stored(self.store)]
            assert len(told) == len(set(told)), "one certificate of each erasure"
            assert {(key.end_date, key.retention_class) for key in told if not key.category} == self.erased
            assert self.store.verify() == []
            self.store.close()


def run(number: int, count: int, steps: int) -> None:
    """Run so many histories of the block with that number."""
    with scratch() as place:
        template = Path(place) / "template"
        with Store.create(template, clock=FixedClock(NOW_US)) as store:
            store.policies.enforce(version(2, date(1970, 1, 1), FIRST_MONTHS), actors=ACTORS)
        machine = type("Histories", (Histories,), {"template": template, "place": Path(place)})
        options = settings(
            max_examples=count,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        run_state_machine_as_test(seed(number)(machine), settings=options)


def test_a_store_keeps_what_it_promised_through_any_history() -> None:
    run(0, 50, 14)


@pytest.mark.torture
@pytest.mark.parametrize("block", range(1, HISTORIES // BLOCK + 1))
def test_ten_thousand_histories(block: int) -> None:
    run(block, BLOCK, 16)
