"""Files that were merged away: never unlinked under a reader, and not kept for ever by readers that follow another."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import BusyError
from store import Store, files, locks
from store.layout import READER_LOCKS, Layout
from store.reading import turns
from store.reading.turns import TURN_SECONDS, ReadingTurns
from tests.conftest import FixedClock
from tests.patience import PATIENCE_S
from tests.store.compaction.test_compact import deliver_many, rows
from tests.store.test_locks import stopped


class Hall:
    """Readers, files that are merged away, and who unlinks them, by one hand."""

    def __init__(self, layout: Layout) -> None:
        self.turns, self.second = ReadingTurns(layout), 0.0
        self.names = map(str, count())
        self.live: set[str] = {next(self.names)}
        self.retired: set[str] = set()
        self.readers: list[tuple[ExitStack, frozenset[str]]] = []

    def enter(self) -> None:
        stack = ExitStack()
        stack.enter_context(self.turns.reading())
        self.readers.append((stack, frozenset(self.live)))

    def leave(self, number: int) -> None:
        if self.readers:
            self.readers.pop(number % len(self.readers))[0].close()

    def merge(self) -> None:
        self.retired |= self.live
        self.live = {next(self.names)}

    def look(self) -> None:
        def unlink(names: Collection[str]) -> None:
            assert set(names) <= self.retired
            for _, planned in self.readers:
                assert planned.isdisjoint(names), "a reader planned with it"
            self.retired -= set(names)

        self.turns.let_go(self.retired, unlink)


@pytest.fixture
def hall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hall:
    layout = Layout(tmp_path)
    layout.run.mkdir()
    made = Hall(layout)
    monkeypatch.setattr(turns, "boot_seconds", lambda: made.second)
    return made


ACTS = st.one_of(
    st.tuples(st.sampled_from(["enter", "merge", "look"])),
    st.tuples(st.just("leave"), st.integers(0, 5)),
    st.tuples(st.just("pass"), st.floats(0.5, TURN_SECONDS)),
)


@settings(deadline=None)
@given(acts=st.lists(ACTS, max_size=40))
def test_nothing_that_a_reader_planned_with_is_unlinked(
    tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[Any, ...]]
) -> None:
    layout = Layout(tmp_path_factory.mktemp("hall"))
    layout.run.mkdir()
    hall = Hall(layout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(turns, "boot_seconds", lambda: hall.second)
        for name, *more in acts:
            if name == "pass":
                hall.second += more[0]
            elif name == "leave":
                hall.leave(int(more[0]))
            else:
                getattr(hall, name)()
        while hall.readers:
            hall.leave(0)
        hall.look()
        assert not hall.retired, "nobody reads any more"


def test_readers_that_follow_one_another_without_a_gap_do_not_keep_a_file_for_ever(hall: Hall) -> None:
    hall.enter()
    hall.merge()
    for _ in range(8):  # a search of 9 s begins every 8 s
        hall.look()
        hall.second += 8
        hall.enter()
        hall.second += 1
        hall.leave(0)
        assert hall.readers
    hall.look()
    assert not hall.retired


def test_a_reader_that_stays_keeps_what_it_planned_with_and_nothing_that_comes_after_a_free_moment(hall: Hall) -> None:
    hall.enter()
    hall.merge()
    before = set(hall.retired)
    for _ in range(6):
        hall.second += TURN_SECONDS
        hall.look()
    assert hall.retired == before


def test_who_copies_the_store_keeps_everything(hall: Hall) -> None:
    hall.enter()
    hall.merge()
    hall.look()  # one lock was free
    with hall.turns.nothing_goes():
        hall.leave(0)
        hall.look()
        assert hall.retired
    hall.look()
    assert not hall.retired


def test_waiting_for_readers_ends_with_the_last_of_them_and_not_with_those_that_come_later(hall: Hall) -> None:
    hall.enter()
    assert not hall.turns.wait(0)
    seen: list[bool] = []
    waiting = threading.Thread(target=lambda: seen.append(hall.turns.wait(PATIENCE_S)))
    waiting.start()
    waiting.join(0.1)  # it has seen the other lock free
    hall.second += TURN_SECONDS
    hall.enter()
    hall.leave(0)
    waiting.join(PATIENCE_S)
    assert seen == [True] and len(hall.readers) == 1


def test_a_process_that_is_stopped_while_it_unlinks_stops_no_reader(store: Store) -> None:
    deliver_many(store, 2)
    for number in range(READER_LOCKS):
        with stopped(store.layout.readers_lock(number)):
            assert len(rows(store)) == 40


def test_with_every_lock_held_a_search_ends_and_can_be_repeated(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LIMIT_S", 0.1)
    deliver_many(store, 2)
    with ExitStack() as stack:
        for number in range(READER_LOCKS):
            stack.enter_context(files.lock(store.layout.readers_lock(number), exclusive=True))
        with pytest.raises(BusyError):
            rows(store)
    assert len(rows(store)) == 40


READ = """
import sys
from pathlib import Path
from store import ScanQuery, Store
from tests.conftest import FixedClock
store = Store.open(Path(sys.argv[1]), clock=FixedClock(int(sys.argv[2])))
found = store.scan(ScanQuery(0, 2**60))
count = next(found).num_rows
print("reading", flush=True)
sys.stdin.readline()
print(count + sum(batch.num_rows for batch in found), flush=True)
"""


def test_a_reader_that_is_stopped_stops_no_writer_no_merge_and_no_other_reader(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LIMIT_S", 1.0)
    deliver_many(store, 4)
    command = [sys.executable, "-c", READ, str(store.root), str(clock.value_us)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "reading\n"
        os.kill(reader.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, reader.pid, os.WSTOPPED | os.WNOWAIT)
        deliver_many(store, 6)  # four of them again
        merged = store.compact(everything=True)
        assert (merged.merged, merged.retired) == (6, 6)
        assert len(rows(store)) == 120
        os.kill(reader.pid, signal.SIGCONT)
        told, _ = reader.communicate("go on\n", timeout=PATIENCE_S)
    assert told == "80\n"
    assert store.compact(everything=True).retired == 0
