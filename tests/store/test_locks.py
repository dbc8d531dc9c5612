"""A process that is stopped while it holds a lock: who waits says so once, and not for ever; nothing is lost by it."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.errors import AuditError, BusyError
from store import AuditEntry, Store, files, locks
from tests.patience import PATIENCE_S, until
from tests.store.conftest import deliver
from tests.store.records import records
from tests.store.spooling.test_spool import group, stored

HOLD = """
import sys
from pathlib import Path
from store import files
with files.lock(Path(sys.argv[1]), exclusive=True):
    print("held", flush=True)
    sys.stdin.read()
"""
WRITE = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
database.execute("ROLLBACK")
"""


@contextmanager
def stopped(path: Path, script: str = HOLD) -> Iterator[int]:
    """Have a process take the lock and stop it; it goes on and ends at the end."""
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, holder.pid, os.WSTOPPED | os.WNOWAIT)
        try:
            yield holder.pid
        finally:
            os.kill(holder.pid, signal.SIGCONT)
            holder.communicate("", timeout=PATIENCE_S)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "TELL_AFTER_S", 0.05)
    monkeypatch.setattr(locks, "LIMIT_S", 0.1)


def scan(store: Store) -> None:
    stored(store)


def open_again(store: Store) -> None:
    Store.open(store.root, clock=store.clock).close()


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("lock", "work", "error"),
    [
        ("run/drain.lock", scan, BusyError),
        ("run/writers.lock", lambda store: deliver(store, records(1, first_key=50)), BusyError),
        ("run/erasure.lock", lambda store: store.expire(), BusyError),
        ("run/outbox.lock", lambda store: store.log(AuditEntry("test.entry", {})), AuditError),
        ("audit/lock", lambda store: store.log(AuditEntry("test.entry", {})), AuditError),
        ("audit/lock", open_again, BusyError),
        ("keyring/lock", open_again, BusyError),
        ("keyring/lock", lambda store: deliver(store, records(1, first_key=60, days_ago=9)), BusyError),
    ],
)
def test_waiting_for_a_stopped_process_ends_and_names_it_and_can_be_repeated(
    store: Store, lock: str, work: Callable[[Store], object], error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    deliver(store, records(3))
    store.spool.append([group(store, 101, 102)])
    with stopped(store.root / lock) as number, pytest.raises(error) as told:
        work(store)
    name = lock.removesuffix("/lock").rpartition("/")[2].removesuffix(".lock")
    holder = f"process {number}, which is stopped, holds it"
    assert isinstance(told.value, (BusyError, AuditError)) and holder in (told.value.hint or "")
    warnings = [record.getMessage() for record in caplog.records if record.getMessage().startswith("waiting for")]
    assert warnings == [f"waiting for the {name} lock; {holder}"]
    assert locks.waiting() == {}
    work(store)  # what waited in vain did nothing, and can be done now
    assert len(stored(store)) == len(set(stored(store)))
    assert store.verify() == []


@pytest.mark.usefixtures("hasty")
def test_a_delivery_beside_a_stopped_audit_log_is_stored_once_and_logged_once(store: Store) -> None:
    with stopped(store.root / "audit/lock"):
        receipt = deliver(store, records(5))
    assert receipt.accepted == 5
    store.flush_outbox(required=True)
    assert [entry.kind for entry in store.audit.entries()].count("batch") == 1
    assert deliver(store, records(5)).duplicates == 5
    assert store.verify() == []


@pytest.mark.usefixtures("hasty")
def test_a_stopped_writer_of_the_catalog_is_named(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with stopped(store.layout.catalog, WRITE) as number:
        with pytest.raises(BusyError, match="catalog"), store.catalog.transaction():
            pytest.fail("somebody else writes")
        assert f"waiting for the catalog lock; process {number}, which is stopped, holds it" in caplog.text
    with store.catalog.transaction() as cursor:
        cursor.execute("SELECT 1")


def test_who_waits_gets_the_lock_when_the_holder_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(locks, "TELL_AFTER_S", 0.0)
    store.spool.append([group(store, 7)])
    found: list[list[str]] = []
    reader = threading.Thread(target=lambda: found.append(stored(store)))
    with stopped(store.layout.drain_lock):
        reader.start()
        while "drain" not in caplog.text:
            reader.join(0.01)
        assert found == [] and list(locks.waiting()) == ["drain"]
    reader.join(PATIENCE_S)
    assert [len(keys) for keys in found] == [1] and locks.waiting() == {}


@pytest.mark.usefixtures("hasty")
def test_only_who_is_patient_waits_beyond_the_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, got = tmp_path / "run.lock", threading.Event()

    def wait() -> None:
        with files.lock(path, exclusive=True, patient=True):
            got.set()

    waiter = threading.Thread(target=wait)
    with stopped(path):
        waiter.start()
        with pytest.raises(BusyError), files.lock(path, exclusive=True):
            pytest.fail("somebody else has it")
        until(lambda: caplog.text.count("waiting for") == 2, "one of them does not say that it waits")
        assert not got.is_set()
    waiter.join(PATIENCE_S)
    assert got.is_set()


@pytest.mark.usefixtures("hasty")
def test_threads_that_wait_behind_one_another_wait_no_longer(store: Store) -> None:
    """The second waits for the first, which waits for the process."""
    errors: list[str | None] = []

    def log() -> None:
        try:
            store.log(AuditEntry("test.entry", {}))
        except AuditError as error:
            errors.append(error.hint)

    threads = [threading.Thread(target=log) for _ in range(4)]
    with stopped(store.root / "run/outbox.lock"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
    assert len(errors) == 4 and all(re.search("process|thread", hint or "") for hint in errors)


def test_a_lock_tells_no_name_of_a_data_file(tmp_path: Path) -> None:
    assert [locks.name_of(tmp_path / name) for name in ("run/drain.lock", "audit/lock", "0a1b.spool")] == [
        "drain",
        "audit",
        "spool",
    ]


def test_a_free_lock_tells_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), files.lock(tmp_path / "x.lock", exclusive=True):
        assert locks.waiting() == {}
    assert caplog.text == ""
