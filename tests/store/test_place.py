"""A root that is renamed away while a process has it open: nothing is acknowledged, and what is there is left alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.errors import AuditError, BusyError, LagrumError
from store import AuditEntry, Put, ScanQuery, Store
from store.keys import KeyRef
from store.place import GONE, place_of
from tests.conftest import FixedClock
from tests.fault.writer import batch_table
from tests.store.conftest import deliver
from tests.store.spooling.test_spool import group


@contextmanager
def replaced(root: Path, clock: FixedClock, other: str) -> Iterator[None]:
    """Put another store, or nothing, in the place of one; then that one again."""
    away, aside = root.with_name("away"), root.with_name("aside")
    root.rename(away)
    if other == "another":
        Store.create(root, clock=clock).close()
    yield
    if other == "another":
        with Store.open(root, clock=clock) as another:
            assert not another.catalog.parts() and not another.spool.drain() and another.verify() == []
        root.rename(aside)
    away.rename(root)


def asked_by_a_new_thread(store: Store) -> None:
    """A thread that was not there before opens a catalog of its own, by name."""
    found: list[BaseException] = []

    def ask() -> None:
        try:
            store.catalog.parts()
        except BusyError as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    for error in found:
        raise error


WORK: dict[str, Callable[[Store], object]] = {
    "delivery": lambda store: deliver(store, batch_table(7, store.clock.now_us())),
    "push": lambda store: store.spool.append([group(store, 1, 2)]),
    "document": lambda store: store.documents.commit([Put("note", "one", {})], []),
    "keys": lambda store: store.keyring.ensure([KeyRef("partition", "2026-11-20", "new", "shared")]),
    "root key": lambda store: store.keyring.rotate(),
    "log": lambda store: store.log(AuditEntry("note", {})),
    "expiry": lambda store: store.expire(),
    "reader": asked_by_a_new_thread,
}


@pytest.mark.parametrize("other", ["another", "none"])
@pytest.mark.parametrize("work", WORK)
def test_nothing_is_acknowledged_while_another_root_is_in_the_place(
    tmp_path: Path, clock: FixedClock, work: str, other: str
) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        deliver(store, batch_table(1, clock.now_us()))
        store.spool.append([group(store, 3)])  # the segment is open when the root goes
        before = sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60)))
        with replaced(store.root, clock, other), pytest.raises((LagrumError, OSError)) as refused:
            WORK[work](store)
        if work == "log":
            assert other == "none" or isinstance(refused.value, AuditError)
        elif other == "another" or work in ("delivery", "push", "reader"):  # others find first that there is no keyring
            assert isinstance(refused.value, BusyError) and refused.value.message == GONE
        WORK[work](store)
        store.spool.drain()
        assert sum(batch.num_rows for batch in store.scan(ScanQuery(0, 2**60))) >= before
        assert store.verify() == []


def test_a_root_that_goes_between_the_work_and_the_commit_commits_nothing(tmp_path: Path, clock: FixedClock) -> None:
    with Store.create(tmp_path / "root", clock=clock) as store:
        with pytest.raises(BusyError, match=GONE), store.catalog.transaction() as cursor:
            cursor.execute("INSERT INTO meta VALUES ('odd', '1')")
            store.root.rename(tmp_path / "away")
        (tmp_path / "away").rename(store.root)
        assert store.catalog.query("SELECT 1 FROM meta WHERE name = 'odd'") == []


def test_a_place_is_told_by_what_lies_there_and_by_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "catalog"
    assert place_of(path) is None and place_of(path / "in") is None
    path.write_bytes(b"")
    first = place_of(path)
    path.write_bytes(b"more")
    assert place_of(path) == first and place_of(path / "in") is None
    path.rename(tmp_path / "away")
    path.write_bytes(b"")
    assert place_of(path) != first
