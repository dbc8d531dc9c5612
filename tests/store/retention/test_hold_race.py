"""A hold that another process places while expiry runs: before the intent it wins, after it nothing is left."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from schemas.holds import Purpose
from store import Store
from tests.conftest import FixedClock, ends_us
from tests.store.conftest import deliver
from tests.store.records import CALLING, NOW_US, records, with_column

DAYS = 12
NUMBERS = [str(CALLING + day)[1:] for day in range(DAYS)]


class Side:
    """One process of the race."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def hears(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def goes(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()


@contextmanager
def side(root: Path, now_us: int, *words: str) -> Iterator[Side]:
    argv = [sys.executable, "-m", "tests.store.retention.hold_racer", str(root), str(now_us), *words]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Side(process)
    assert process.returncode == 0


def made(root: Path, days: int) -> int:
    """Make a store with a record of one caller on each of some days; return the time at which all of them end."""
    clock = FixedClock(NOW_US)
    with Store.create(root, clock=clock) as store:
        for day in range(days):
            table = with_column(records(1, first_key=day, days_ago=20 - day), "calling_number", [CALLING + day])
            deliver(store, with_column(table, "called_number", [CALLING + 500]))
        return ends_us(store.partitions()[-1].key)


def held(store: Store) -> set[str]:
    batches = store.holds.scan(Purpose.DISCLOSURE, start_us=0, end_us=2**60, columns=("calling_number",))
    return {str(value)[1:] for batch in batches for value in batch.column("calling_number").to_pylist()}


def test_a_hold_of_another_process_after_the_carving_makes_the_partition_wait(tmp_path: Path) -> None:
    root = tmp_path / "root"
    now_us = made(root, 1)
    with side(root, now_us, "expire", "carved") as eraser:
        assert eraser.hears() == "carved"
        with side(root, now_us, "hold", NUMBERS[0]) as holder:
            assert holder.hears() == "ready"
            holder.goes()
            assert holder.hears() == "placed"
        eraser.goes()
        assert eraser.hears() == "erased 0 held 1"
    with Store.open(root, clock=FixedClock(now_us)) as store:
        (key,) = store.expire().partitions
        assert held(store) == {NUMBERS[0]}
        assert not store.keyring.has(key.ref)
        assert store.verify() == []


def test_a_hold_of_another_process_after_the_intent_finds_nothing(tmp_path: Path) -> None:
    root = tmp_path / "root"
    now_us = made(root, 1)
    with side(root, now_us, "hold", NUMBERS[0]) as holder:
        assert holder.hears() == "ready", "a store that is opened later waits for the erasure"
        with side(root, now_us, "expire", "intended") as eraser:
            assert eraser.hears() == "intended"
            holder.goes()
            assert holder.hears() == "placed"
            eraser.goes()
            assert eraser.hears() == "erased 1 held 0"
    with Store.open(root, clock=FixedClock(now_us)) as store:
        store.expire()
        assert (held(store), store.partitions(), store.verify()) == (set(), [], [])


def test_in_a_free_race_exactly_the_holds_that_came_before_the_intent_hold(tmp_path: Path) -> None:
    """The audit log tells which came first; nothing else may decide."""
    root = tmp_path / "root"
    now_us = made(root, DAYS)
    with side(root, now_us, "expire", "carved") as eraser, side(root, now_us, "hold", *NUMBERS) as holder:
        assert (eraser.hears(), holder.hears()) == ("carved", "ready")
        holder.goes()
        for _ in range(DAYS - 1):  # each partition is carved beside holds that come
            eraser.goes()
            assert eraser.hears() == "carved"
        eraser.goes()
        assert holder.hears() == "placed"
        assert eraser.hears().startswith("erased ")
    with Store.open(root, clock=FixedClock(now_us)) as store:
        store.expire()
        store.audit.refresh()
        placed: dict[str, int] = {}
        intended: dict[str, int] = {}
        for entry in store.audit.entries(0, store.audit.size, reveal=False):
            if entry.kind == "hold.placed":
                placed[NUMBERS[int(entry.public["hold"], 16)]] = entry.index
            elif entry.kind == "erasure.intended":
                intended[entry.public["partition"]] = entry.index
        by_day = dict(zip(sorted(intended), NUMBERS, strict=True))
        first = {number for name, number in by_day.items() if placed[number] < intended[name]}
        assert held(store) == first
        assert (store.partitions(), store.verify()) == ([], [])
