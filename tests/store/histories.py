"""Histories: what a store goes through in years, against a model that knows only what each record was promised.

A history is deliveries (new, late, repeated), holds, changes of the policy and of the class of a service, erasures of
single records, clocks that are set wrongly, restarts, crashes and losses of power at durable steps, compaction and
expiry, in any order. After every look, and at the end:

- every record whose period is not over is there, once, and no other: nothing early, nothing resurrected;
- after an expiry run no record is stored that is over and past the floor, and each that is not is: nothing late;
- what a hold names and was moved out is there until the hold ends, and not a day longer;
- a location is there as long as its own period lasts, and its key is gone after an expiry run past its floor;
- every erased partition has its certificate, and `verify` finds nothing.

The model tells the end of a record without the policy's formula: it goes from version to version and keeps the shortest
period that it met. A block of histories is known by its number: `tests.store.campaign` runs and repeats them.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from schemas.errors import ClockError, LagrumError, ProcedureError, RetentionError
from schemas.holds import Purpose
from schemas.retention import add_months
from store import Put, ScanQuery, Store
from store.clock import to_date
from store.correcting.overlay import Correction
from store.partitions import PartitionKey, date_to_day, newest
from store.retention import erasing, explain
from store.retention.certificates import held_name, stored
from store.retention.hold import ENDED
from store.retention.holds import KIND
from tests.conftest import FixedClock
from tests.fault.disk import Disk, run_until
from tests.fault.torture import scratch
from tests.store.conftest import deliver
from tests.store.history_model import CLASSES, FIRST_MONTHS, Hold, Record, Rules, version
from tests.store.records import CALLING, NOW_US, records, with_column

HISTORIES, BLOCK, STEPS = 10_000, 100, 16
NAMES = sorted(set(CLASSES.values()))
KEYS = ScanQuery(0, 2**60, columns=("record_key",))
PLACES = ScanQuery(0, 2**60, columns=("record_key", "batch_id", "batch_position"))
LOCATED = ScanQuery(0, 2**60, columns=("record_key", "cell_id"))
ACTORS = ("custodian-1", "custodian-2")
KINDS = st.lists(st.sampled_from(sorted(CLASSES)), min_size=1, max_size=4).map(tuple)
"""The services of a delivery's records."""
CALLERS = st.integers(0, 2)
"""Whose calls they are; holds name one of them."""


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
        self.versions = [Rules(date(1970, 1, 1), FIRST_MONTHS, 24, CLASSES)]
        self.erased: set[tuple[date, str]] = set()
        self.anew: set[tuple[date, str]] = set()
        self.acts = 0

    # deliveries

    def _table(self, age: int, kinds: tuple[str, ...], caller: int) -> pa.Table:
        first, count = 10 * (1 + len(self.deliveries)), len(kinds)
        days_ago = date_to_day(to_date(NOW_US)) - date_to_day(self.today) + age
        table = records(count, first_key=first, days_ago=days_ago, seed=first)
        for name, value in (("calling_number", CALLING + caller), ("called_number", CALLING + 50)):
            table = with_column(table, name, [value] * count)
        return with_column(table, "service_type", pa.array(kinds).dictionary_encode())

    def _delivered(self, table: pa.Table, age: int, kinds: tuple[str, ...], caller: int) -> list[Record]:
        keys = [key - 10**11 for key in table.column("record_key").to_pylist()]
        return [self._record(key, age, kind, caller) for key, kind in zip(keys, kinds, strict=True)]

    def _record(self, key: int, age: int, kind: str, caller: int) -> Record:
        day = self.today - timedelta(days=age)
        ends = [one.start for one in self.versions[1:]] + [date.max]
        lies = [one for one in self.versions if one.start <= day][-1].services[kind]
        met = [
            (one.months[lies], min(one.months[lies], one.months[one.services[kind]]), one.location)
            for one, end in zip(self.versions, ends, strict=True)
            if one.start <= self.today and end > day
        ]
        core, period, location = (min(column) for column in zip(*met, strict=True))
        return Record(key, day, kind, caller, lies, core, period, location)

    @rule(age=st.integers(0, 780), kinds=KINDS, caller=CALLERS)
    def ingest(self, age: int, kinds: tuple[str, ...], caller: int) -> None:
        """New records, today's or as late as they come."""
        table = self._table(age, kinds, caller)
        new = self._delivered(table, age, kinds, caller)
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
        """An earlier delivery comes again: nothing is resurrected; what was erased by itself and is not over is new."""
        table = self.deliveries[pick % len(self.deliveries)]
        receipt = deliver(self.store, table)
        keys = {key - 10**11 for key in table.column("record_key").to_pylist()}
        new = [item for item in self.records if item.key in keys and item.alone and not item.is_over(self.today)]
        assert receipt.accepted == len(new)
        for item in new:
            item.erased = item.alone = False
            item.located = item.has_location(self.today)
        self.look()

    @precondition(lambda self: self._kept())
    @rule(pick=st.integers(0, 2**16), waits=st.booleans(), at=st.none() | st.integers(1, 90), power=st.booleans())
    def erase(self, pick: int, waits: bool, at: int | None, power: bool) -> None:
        """Two custodians erase one record: above its floor, and not while a hold names it."""
        kept = self._kept()
        item = kept[pick % len(kept)]
        if waits and not item.is_past_floor(self.today):
            self._time((add_months(item.day, 6) - self.today).days + 1)
            if item.is_over(self.today):
                return
        action = partial(self._erase, item.key)
        if not item.is_past_floor(self.today):
            with pytest.raises(RetentionError):
                action()
            return
        try:
            if at is not None:
                self._crash(action, at, power)
                item.erased = item.alone = item.key not in self._keys()
                self.store.expire()
                self._expired()
            if not item.erased:
                action()
        except ProcedureError as error:
            assert error.reason == "held"
            assert self._open_holds(), "nothing else forbids it"
            return
        item.erased = item.alone = True
        self.anew.add(item.partition)
        self.look()

    def _erase(self, key: int) -> None:
        rows = [row for batch in self.store.scan(PLACES) for row in batch.to_pylist()]
        batch, position = next(
            (row["batch_id"], row["batch_position"]) for row in rows if row["record_key"] == key + 10**11
        )
        self.acts += 1
        act, words = f"{self.acts:016x}", {"citation": "Act 17"}
        part = explain.part_of(self.store, batch, position)
        wanted = Correction(act, erasing.ERASED, part.partition, batch, position, words, said={"reason": "asked"})
        self.store.corrections.request(wanted, {"by": ACTORS[0]})
        erasing.erase(self.store, act, {}, ACTORS)

    @rule(age=st.integers(0, 300), kinds=KINDS, caller=CALLERS, at=st.integers(1, 40), power=st.booleans())
    def crash_while_ingesting(self, age: int, kinds: tuple[str, ...], caller: int, at: int, power: bool) -> None:
        table = self._table(age, kinds, caller)
        new = self._delivered(table, age, kinds, caller)
        self.deliveries.append(table)
        self._crash(lambda: deliver(self.store, table), at, power)
        receipt = deliver(self.store, table)
        assert receipt.accepted + receipt.duplicates + receipt.rejected == len(kinds)
        self._keep([item for item in new if not (item.is_over(self.today) or item.partition in self.erased)])
        self.look()

    # policy and holds

    @rule(
        within=st.integers(1, 90),
        short=st.integers(6, 24),
        ten=st.integers(6, 24),
        standard=st.integers(6, 24),
        location=st.sampled_from([2, 2, 3, 7, 12, 24]),
        moves=st.none() | st.tuples(*[st.sampled_from(NAMES)] * len(CLASSES)),
    )
    def change_policy(
        self, within: int, short: int, ten: int, standard: int, location: int, moves: tuple[str, ...] | None
    ) -> None:
        """Periods change, and with `moves` the class of every service."""
        months = {"short": short, "ten": ten, "standard": standard}
        services = self.versions[-1].services if moves is None else dict(zip(CLASSES, moves, strict=True))
        start = max(self.today, self.versions[-1].start) + timedelta(days=within)
        number = len(self.versions) + 2
        self.store.policies.enforce(version(number, start, months, location, services), actors=ACTORS)
        self.versions.append(Rules(start, months, location, services))

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

    @precondition(lambda self: self._kept())
    @rule(pick=st.integers(0, 2**16), at=st.none() | st.integers(1, 90), power=st.booleans())
    def move_beyond_an_end(self, pick: int, at: int | None, power: bool) -> None:
        """A record's service moves to a class that ends sooner; its new end comes, with or without a crash."""
        kept = self._kept()
        item, last = kept[pick % len(kept)], self.versions[-1]
        name = min(last.months, key=lambda name: last.months[name])
        moved = tuple(name if kind == item.kind else last.services[kind] for kind in CLASSES)
        self.change_policy(1, *(last.months[own] for own in ("short", "ten", "standard")), last.location, moved)
        end = max(
            self.versions[-1].start,
            add_months(item.day, last.months[name]),
            add_months(item.day, 6) + timedelta(days=1),
        )
        self._time((end - self.today).days)
        self.look()
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
        for one in self.versions:
            if before < one.start <= self.today:
                for item in self.records:
                    if item.has_location(one.start):
                        item.location = min(item.location, one.location)
                    own = one.months[item.lies]
                    if not item.is_over(one.start):  # otherwise it was over already when the version came
                        item.months = min(item.months, own, one.months[one.services[item.kind]])
                    if one.start < add_months(item.day, item.core):
                        item.core = min(item.core, own)
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
        for item in self.records:
            if item.erased or not (item.is_over(self.today) and item.is_past_floor(self.today)):
                continue
            item.erased = True
            for hold in self.holds.values():
                if not hold.ended and hold.caller == item.caller:
                    hold.kept.add(item.key)
            ends_whole = self.today >= add_months(item.day, item.core)
            (self.erased if ends_whole else self.anew).add(item.partition)
        left: Counter[tuple[date, str]] = Counter()
        for found in self.store.partitions():
            left[found.key.end_date, found.key.retention_class] += found.records
        kept = Counter(item.partition for item in self.records if not item.erased)
        assert +left == kept, "nothing late, nothing early"
        states = self.store.catalog.partition_states()
        for item in self.records:
            held = self.store.keyring.has(newest(PartitionKey(*item.partition), states).location.ref)
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
            names = [name for _, name, _ in stored(self.store)]
            assert len(names) == len(set(names)), "one certificate of each erasure"
            ended = {held_name(hold.id) for hold in self.store.holds.all() if hold.state == ENDED}
            assert {name for name in names if name.startswith("hold/")} == ended
            told = [PartitionKey.parse(name) for name in names if name not in ended]
            gone = {(key.end_date, key.retention_class) for key in told if not key.category}
            assert self.anew | self.erased >= gone >= self.anew
            states = self.store.catalog.partition_states()
            assert {key: states[key] for key in told if not key.category} == {
                key: "dropped" for key, state in states.items() if state == "dropped"
            }
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
